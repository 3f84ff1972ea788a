package life

import (
	"math"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

// printers is the office printer P5: pages on working days, more at the end of a month.
type printers struct {
	perDay, perJam, pages, jams float64
	ready, hot, todo            float64
	toner, drum, waste          *part
}

func newPrinter(l *Life) machine {
	s := l.seed
	p := &printers{perDay: s.Between(1, 0, 60, 420), perJam: s.Between(2, 0, 1100, 3200), pages: math.Floor(s.Between(3, 0, 5000, 90000)),
		ready: s.Between(4, 0, 158, 168), hot: s.Between(5, 0, 190, 199)}
	p.jams = math.Floor(p.pages / p.perJam)
	p.toner = l.newPart("printer/toner-low", "", 8000, s.Between(6, 0, 0, 6000)).limits(l, 0.85, 1)
	p.drum = l.newPart("printer/drum-due", "drum", 60000, s.Between(7, 0, 0, 48000)).limits(l, 0.85, 0.98)
	p.waste = l.newPart("printer/waste-full", "waste-box", 25000, s.Between(8, 0, 0, 18000)).limits(l, 0.8, 1)
	return p
}

func (p *printers) step(l *Life, r *device.Reading) {
	s := l.seed
	day, hour := signal.LocalDay(l.at)
	dt := float64(l.at - l.prev)
	open := signal.Weekday(day) < 5 && hour >= 7.5 && hour < 18.5 && l.work(day) > 0
	if l.Off() {
		open = false
	}
	broken := l.down("printer/roller-wear", "printer/fuser-wear", "printer/toner-leak", "printer/fuser-overheat") || p.toner.share() >= 1
	var printed float64
	if open && !broken {
		rush := 1.0
		if day%30 > 26 {
			rush = 1.7
		}
		burst := -math.Log(1 - s.U(10, l.at/600)) // pages come in jobs
		p.todo += p.perDay * l.work(day) * rush * burst * dt / (11 * signal.Hour)
		printed = math.Floor(p.todo)
		p.todo -= printed
	}
	p.pages += printed
	l.used(printed / p.perDay / 5 * 7)
	dense := s.Between(11, 0, 0.85, 1.2)
	leak := l.level("printer/toner-leak")
	p.toner.spend(l, printed*dense*(1+1.6*leak))
	p.drum.spend(l, printed)
	p.waste.spend(l, printed*(1+7*leak)*dense)
	worn := l.level("printer/roller-wear")
	jams := printed / p.perJam * (1 + 14*worn)
	if s.U(12, l.at/60) < 1-math.Exp(-jams) {
		p.jams++
		if s.U(13, l.at) < 0.5 {
			l.blip("printer/jam", 12, worn)
		}
	}
	p.report(l, r, open, printed > 0)
}

func (p *printers) report(l *Life, r *device.Reading, open, printing bool) {
	s := l.seed
	worn := l.level("printer/fuser-wear")
	room := l.Home.Room(l.at)
	fuser, power := room+1+l.noise(20, 300), 3+0.2*l.noise(21, 300)
	awake := open || l.on("printer/no-sleep")
	if awake && !l.Off() {
		fuser, power = p.ready+3*l.noise(20, 60)-5*worn+1.5*l.updated(), 45+4*l.noise(22, 60)
	}
	if printing && s.U(23, l.at/60) < 0.45 {
		fuser = p.hot - worn*s.Between(24, 0, 11, 19) + (1.6+5*worn)*l.noise(25, 60) + 1.5*l.updated()
		power = 620 + 130*worn + 60*l.noise(26, 60)
	}
	if age, ok := l.since("printer/fuser-overheat"); ok {
		fuser, power = p.hot+(242-p.hot)*math.Min(1, l.level("printer/fuser-overheat")+age/signal.Day)+0.5*l.noise(27, 1), 900
	}
	if l.down("printer/fuser-wear") {
		fuser, power = room+2, 40
	}
	r.AddInteger("pages", int64(p.pages))
	r.AddNumber("toner_pct", signal.Clamp(100-100*p.toner.share(), 0, 100), 1)
	r.AddNumber("drum_pct", signal.Clamp(100-100*p.drum.share(), 0, 100), 1)
	r.AddInteger("jams", int64(p.jams))
	r.AddNumber("fuser_c", fuser, 1)
	r.AddNumber("power_w", math.Max(0, power), 1)
	r.AddNumber("waste_pct", signal.Clamp(100*p.waste.share(), 0, 100), 1)
}

func (p *printers) renewed(l *Life, kind string) {
	if kind == "printer/toner-leak" {
		p.waste.renew(l)
		p.toner.renew(l)
	}
}

// laptops is the laptop L4: work by day, an evening on battery. Heat follows the work, the room and the dust.
type laptops struct {
	health, cycles, wear     float64
	cool, heavy, evening     float64
	charge, battery, chassis float64
}

func newLaptop(l *Life) machine {
	s := l.seed
	return &laptops{health: s.Between(1, 0, 78, 99), cycles: s.Between(2, 0, 20, 420), wear: s.Between(3, 0, 1, 25), cool: s.Between(4, 0, 0.75, 1.3),
		heavy: s.Between(5, 0, 0.05, 0.35), evening: s.Between(6, 0, 0.2, 0.95), charge: 98, battery: 24, chassis: 36}
}

// duty is what the processor does: 0 asleep, 1 a call or a build.
func (c *laptops) duty(l *Life) (duty float64, mobile bool) {
	s := l.seed
	day, hour := signal.LocalDay(l.at)
	if l.work(day) == 0 {
		return 0, false
	}
	evening := hour >= 19 && hour < 22.5 && s.U(10, day) < c.evening
	if !evening && (signal.Weekday(day) >= 5 || hour < 8.5 || hour >= 17.5) {
		return 0, false
	}
	duty = 0.3 + 0.22*s.U(11, l.at/600) + 0.05*l.noise(12, 60)
	if s.U(13, l.at/1800) < c.heavy*math.Min(2, l.work(day)) {
		duty += 0.38
	}
	return duty, evening
}

func (c *laptops) step(l *Life, r *device.Reading) {
	s := l.seed
	dt := float64(l.at-l.prev) / signal.Minute
	room := l.Home.Room(l.at)
	duty, mobile := c.duty(l)
	l.used(math.Min(2.2, dt/60/7) * math.Min(1, 2*duty))
	c.wear += (0.004*dt/1440 + 0.006*dt/1440*duty)
	dock := l.on("healthy/dock")
	mains := !mobile || dock || l.on("laptop/always-full")
	ceiling := 99.3
	if dock {
		ceiling = 80
		duty += 0.04 * math.Min(1, duty*10) // it drives the screens
	}
	if mains {
		if c.charge > ceiling {
			c.charge = math.Max(ceiling, c.charge-dt*0.05)
		} else {
			c.charge = math.Min(ceiling, c.charge+dt*0.7)
		}
	} else {
		spent := math.Min(c.charge-4, dt*0.3*(0.6+duty)*100/c.health)
		c.charge -= spent
		c.cycles += spent / 100
		c.health -= spent / 100 * 0.009
	}
	dust, fanBad := l.level("laptop/fan-dust"), l.level("laptop/fan-bearing")
	stalled := l.down("laptop/fan-bearing") || s.U(14, l.at/1200) < 0.3*fanBad
	cpu, fan := c.heat(l, room, duty, dust, stalled)
	batteryTo := room + 3 + 0.14*(cpu-37)
	if !mains || c.charge < ceiling-1 {
		batteryTo += 5
	}
	c.battery += (batteryTo - c.battery) * (1 - math.Exp(-dt/30))
	if age, ok := l.since("laptop/battery-hot"); ok {
		c.battery = math.Max(c.battery, 30+34*math.Min(1, l.level("laptop/battery-hot")+age/signal.Day))
	}
	worn := l.level("laptop/drive-wear")
	health := c.health - l.level("laptop/battery-aging")*math.Max(0, c.health-57)
	r.AddNumber("charge_pct", signal.Clamp(c.charge+0.2*l.noise(20, 600), 0, 100), 1)
	r.AddNumber("battery_health_pct", signal.Clamp(health+0.2*l.noise(21, signal.Day)+s.Noise(24, l.at/(17*signal.Day)), 20, 104), 1)
	r.AddInteger("battery_cycles", int64(c.cycles))
	r.AddNumber("battery_c", c.battery+0.5*l.noise(22, 120), 1)
	r.AddNumber("cpu_c", cpu, 1)
	r.AddNumber("fan_rpm", fan, 0)
	r.AddNumber("disk_wear_pct", math.Min(200, c.wear+worn*s.Between(23, 0, 55, 85)), 1)
	r.AddBool("on_mains", mains)
}

// heat balances work against the fan, which turns as the processor gets warm.
func (c *laptops) heat(l *Life, room, duty, dust float64, stalled bool) (cpu, fan float64) {
	if duty == 0 {
		return room + 10 + 1.2*l.noise(15, 120), 0
	}
	rise := 46 * math.Min(0.95, duty) * c.cool
	fan = signal.Clamp(1100+4300*(rise-8)/40+1500*dust, 0, 5400) + 50*l.noise(16, 60)
	if stalled {
		fan = 180 * l.seed.U(17, l.at/600)
		rise *= 1.5
	}
	cpu = room + 13 + rise*(1+0.55*dust) + 22*dust*duty + 1.8*l.noise(18, 60) + 1.5*l.updated()
	return signal.Clamp(cpu, 15, 104), math.Max(0, fan)
}

func (c *laptops) renewed(_ *Life, kind string) {
	switch kind {
	case "laptop/battery-aging", "laptop/battery-hot":
		c.health, c.cycles = 99, 0
	case "laptop/drive-wear":
		c.wear = 0
	}
}
