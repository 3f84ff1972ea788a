package device

import (
	"math"

	"aftercare/firmware-sim/internal/signal"
)

// drill is the cordless drill D18: up to three jobs a day, charged afterwards.
type drill struct {
	s        signal.Seed
	jobs     *signal.Schedule
	capacity float64
	cycles   int64
	hours    float64
	gear     float64
}

// A drill rests before it is charged.
const (
	drillRest   = 30 * signal.Minute
	drillCharge = 45 * signal.Minute
)

func newDrill(s signal.Seed) model {
	d := &drill{s: s, capacity: s.Between(1, 0, 78, 99), cycles: int64(s.Between(2, 0, 20, 350)),
		hours: s.Between(3, 0, 5, 120), gear: s.Between(4, 0, 3.5, 6)}
	d.jobs = signal.NewSchedule(func(day int64) []signal.Slot {
		n := 3
		if signal.Weekday(day) >= 5 {
			n = 1
		}
		slots := make([]signal.Slot, 0, n)
		for i := range n {
			k := day*4 + int64(i)
			start := signal.At(day, 8+3.2*float64(i)+s.Between(5, k, 0, 1.2))
			slots = append(slots, signal.Slot{Start: start, End: start + int64(s.Between(6, k, 15, 50)*signal.Minute)})
		}
		return slots
	})
	return d
}

func (d *drill) measure(m Moment, r *Reading) {
	fx := m.Effects
	room := 16 + 2*d.s.Wander(10, m.At, 8*signal.Hour)
	charge, pack, motor, charging := 97+d.s.Noise(11, m.At/600), room, room, false
	now, working := d.jobs.Now(m.At)
	if working {
		f := float64(m.At-now.Start) / float64(now.End-now.Start)
		charge, pack, motor = 98-60*f, room+18*f, room+35*math.Min(1, 3*f)
	} else if last, ok := d.jobs.Last(m.At); ok && m.At-last.End < drillRest+drillCharge {
		since := m.At - last.End
		warm := math.Exp(-float64(since) / (12 * signal.Minute))
		charge, pack, motor = 38, room+18*warm, room+35*warm
		if since >= drillRest {
			f := float64(since-drillRest) / drillCharge
			charge, pack, charging = 38+60*f, pack+7*math.Sin(math.Pi*f), true
		}
	}
	if age, ok := fx.age("pack-hot"); ok {
		pack, charging = 63+math.Min(6, age/60)+0.3*d.s.Noise(12, m.At), true
	}
	if fx.has("electronics") {
		motor, working = 118, false
	}
	count, seconds := d.jobs.Done(m.At)
	r.AddNumber("charge_pct", signal.Clamp(charge, 0, 100), 1)
	r.AddNumber("pack_c", pack+0.3*d.s.Noise(13, m.At/60), 1)
	r.AddBool("charging", charging)
	r.AddNumber("motor_h", d.hours+float64(seconds)/signal.Hour*0.12, 2)
	r.AddNumber("motor_c", motor+0.5*d.s.Noise(14, m.At/60), 1)
	if working {
		r.AddNumber("gear_mm_s", signal.Clamp(d.gear+0.5*d.s.Noise(15, m.At/10)+8*fx.level("gear-worn"), 1, 60), 1)
	}
	capacity := math.Max(76, d.capacity-0.004*float64(count)) + 0.2*d.s.Noise(16, m.At/signal.Hour)
	if fx.has("pack-aged") {
		capacity = 68.5 - 1.5*fx.level("pack-aged")
	}
	r.AddNumber("capacity_pct", capacity, 1)
	r.AddInteger("pack_cycles", d.cycles+count/6)
}

// base is the base station B4.
type base struct {
	s     signal.Seed
	link  float64
	tools int64
}

func newBase(s signal.Seed) model {
	return &base{s: s, link: s.Between(1, 0, -74, -52), tools: int64(s.Between(2, 0, 2, 5))}
}

func (b *base) measure(m Moment, r *Reading) {
	fx := m.Effects
	_, hour := signal.LocalDay(m.At)
	var charging int64
	if hour > 8.5 && hour < 18 {
		charging = int64(b.s.Between(10, m.At/2400, 0, float64(min(b.tools, 3)+1)))
	}
	temp := 21 + 6*float64(charging) + 1.5*b.s.Wander(11, m.At, signal.Hour)
	fan := 0.0
	if temp > 36 {
		fan = 2400 + 60*b.s.Noise(12, m.At/30)
	}
	if age, ok := fx.age("base-overheated"); ok {
		temp, fan = 73+math.Min(5, age/120), 2900+60*b.s.Noise(12, m.At/30)
	}
	if fx.has("base-fan-still") {
		temp, fan, charging = 53+1.5*b.s.Wander(13, m.At, signal.Hour), 0, max(charging, 2)
	}
	r.AddNumber("temp_c", temp+0.2*b.s.Noise(14, m.At/30), 1)
	r.AddNumber("fan_rpm", fan, 0)
	r.AddNumber("mains_v", 231+1.8*b.s.Noise(15, m.At/60), 1)
	link := b.link + 1.5*b.s.Noise(16, m.At/60)
	if fx.has("base-link-weak") {
		link = -89 + b.s.Noise(16, m.At/60)
	}
	r.AddNumber("link_dbm", link, 0)
	r.AddInteger("tools", b.tools)
	r.AddInteger("charging", min(charging, 4))
}
