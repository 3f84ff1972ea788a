package device

import (
	"math"

	"aftercare/firmware-sim/internal/signal"
)

// printer is the office printer P5: busy on working days between 8 and 18.
type printer struct {
	s       signal.Seed
	perDay  float64 // pages on a working day
	base    float64
	perJam  float64
	offsets [3]float64 // where toner, drum and waste box stood at the anchor, pages
}

func newPrinter(s signal.Seed) model {
	return &printer{s: s, perDay: s.Between(1, 0, 120, 420), base: math.Floor(s.Between(2, 0, 5000, 120000)),
		perJam:  s.Between(3, 0, 1400, 2600),
		offsets: [3]float64{s.Between(4, 0, 0, 7000), s.Between(5, 0, 0, 50000), s.Between(6, 0, 0, 20000)}}
}

// workday is the share of a working day's use that is over at an hour.
func workday(hour float64) float64 { return signal.Clamp((hour-8)/10, 0, 1) }

// workdays counts the working days from the anchor to a local day, which is not counted itself.
func workdays(day int64) float64 {
	n := signal.DaysSinceAnchor(day)
	w := n / 7 * 5
	for d := day - n%7; d < day; d++ {
		if signal.Weekday(d) < 5 {
			w++
		}
	}
	return float64(w)
}

func (p *printer) printed(at int64) float64 {
	day, hour := signal.LocalDay(at)
	n := workdays(day)
	if signal.Weekday(day) < 5 {
		n += workday(hour)
	}
	return math.Floor(p.perDay * n)
}

func (p *printer) measure(m Moment, r *Reading) {
	fx := m.Effects
	day, hour := signal.LocalDay(m.At)
	printed := p.printed(m.At)
	left := func(i int, life, last float64) float64 { // in percent; changed in time, when last percent are left
		return 100 - math.Mod(p.offsets[i]+printed, life*(100-last)/100)/life*100
	}
	toner, drum, waste := left(0, 8000, 11), left(1, 60000, 12), 100-left(2, 25000, 16)
	jams := math.Floor((p.base + printed) / p.perJam)
	open := signal.Weekday(day) < 5 && hour >= 7.5 && hour < 18.5
	fuser, power := 22+p.s.Noise(10, m.At/300), 3+0.2*p.s.Noise(11, m.At/300)
	if open {
		fuser, power = 162+3*p.s.Noise(10, m.At/60), 45+4*p.s.Noise(11, m.At/60)
		if p.s.U(12, m.At/120) < 0.3 {
			fuser, power = 195+1.5*p.s.Noise(13, m.At/60), 620+60*p.s.Noise(14, m.At/60)
		}
	}
	if age, ok := fx.age("fuser-hot"); ok {
		fuser, power = 240+math.Min(8, age/60)+0.4*p.s.Noise(13, m.At), 900
	}
	if fx.has("fuser-dead") {
		fuser, power = 23, 40
	}
	if l := fx.level("toner-low"); l > 0 {
		toner = 13 - 8*l
	}
	if l := fx.level("waste-full"); l > 0 {
		waste = 85 + 9*l
	}
	jams += math.Floor(14 * fx.level("rollers-worn"))
	r.AddInteger("pages", int64(p.base+printed))
	r.AddNumber("toner_pct", toner, 1)
	r.AddNumber("drum_pct", drum, 1)
	r.AddInteger("jams", int64(jams))
	r.AddNumber("fuser_c", fuser, 1)
	r.AddNumber("power_w", math.Max(0, power), 1)
	r.AddNumber("waste_pct", waste, 1)
}

// laptop is the laptop L4: some hours of work a day, on battery in the evening.
type laptop struct {
	s      signal.Seed
	health float64
	cycles float64
	wear   float64
}

func newLaptop(s signal.Seed) model {
	return &laptop{s: s, health: s.Between(1, 0, 80, 99), cycles: s.Between(2, 0, 20, 400), wear: s.Between(3, 0, 1, 30)}
}

func (l *laptop) measure(m Moment, r *Reading) {
	fx := m.Effects
	day, hour := signal.LocalDay(m.At)
	weekend := signal.Weekday(day) >= 5
	busy := hour >= 8.5 && hour < 17.5 && !weekend || hour >= 19 && hour < 22.5
	cpu := 37 + 1.5*l.s.Noise(10, m.At/120)
	if busy {
		cpu = 52 + 9*l.s.U(11, m.At/600) + 2*l.s.Noise(12, m.At/60)
		if l.s.U(13, m.At/1800) < 0.1 {
			cpu += 14 // a build, a call
		}
	}
	charge, mains := 99.0, true
	switch {
	case hour >= 19 && hour < 22.5:
		charge, mains = 99-62*(hour-19)/3.5, false
	case hour >= 22.5:
		charge = 37 + 62*math.Min(1, (hour-22.5)/1.4)
	}
	if fx.has("always-full") {
		charge, mains = 99.2+0.3*l.s.Noise(14, m.At/600), true
	}
	cpu = signal.Clamp(cpu+38*fx.level("fan-dusty"), 20, 101)
	fan := signal.Clamp(900+70*(cpu-45), 0, 5200)
	if cpu < 40 {
		fan = 0
	}
	batteryC := 24 + 0.12*(cpu-37) + 0.5*l.s.Noise(15, m.At/120)
	if !mains {
		batteryC += 5
	}
	if age, ok := fx.age("laptop-battery-hot"); ok {
		batteryC = 63 + math.Min(5, age/60) + 0.3*l.s.Noise(15, m.At)
	}
	days := float64(signal.DaysSinceAnchor(day)) + hour/24
	health := math.Max(76, l.health-0.008*days) + 0.15*l.s.Noise(16, m.At/signal.Day)
	if fx.has("laptop-battery-aged") {
		health = 69 - 1.2*fx.level("laptop-battery-aged")
	}
	r.AddNumber("charge_pct", signal.Clamp(charge, 0, 100), 1)
	r.AddNumber("battery_health_pct", health, 1)
	r.AddInteger("battery_cycles", int64(l.cycles+0.6*days))
	r.AddNumber("battery_c", batteryC, 1)
	r.AddNumber("cpu_c", cpu, 1)
	r.AddNumber("fan_rpm", fan, 0)
	r.AddNumber("disk_wear_pct", math.Min(90, l.wear+0.01*days), 1)
	r.AddBool("on_mains", mains)
}
