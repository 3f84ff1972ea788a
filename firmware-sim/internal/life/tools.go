package life

import (
	"math"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

// drills is the cordless drill D18: jobs on working days, and a charge after each that takes heat from the work along.
type drills struct {
	diary
	rate, gear, vents  float64
	capacity           float64
	charge, pack, heat float64 // percent, °C of pack and motor
	rest               int64   // until when it waits before it charges
	charging           bool
	cells, box         *part
}

func newDrill(l *Life) machine {
	s := l.seed
	d := &drills{rate: s.Between(1, 0, 0.25, 2.6), gear: s.Between(2, 0, 3, 6.5), vents: s.Between(3, 0, 26, 42), capacity: s.Between(4, 0, 80, 99),
		charge: 97, pack: 16, heat: 16}
	d.cells = l.newPart("drill/pack-due", "battery-pack", 800, s.Between(6, 0, 10, 560))
	d.box = l.newPart("drill/gearbox-due", "gearbox", 300, s.Between(5, 0, 5, 200))
	return d
}

func (d *drills) plan(l *Life) func(day int64) []use {
	return func(day int64) []use {
		rate := d.rate * l.work(day)
		if signal.Weekday(day) == 6 || l.onAt("healthy/winter-storage", signal.At(day, 12)) {
			rate = 0
		} else if signal.Weekday(day) == 5 {
			rate *= 0.4
		}
		if rate == 0 {
			return nil
		}
		return l.draw(12, day, min(4, l.count(10, day, rate)), 7.5, 2.6, 15, 50)
	}
}

func (d *drills) step(l *Life, r *device.Reading) {
	dt := float64(l.at-l.prev) / signal.Minute
	now := d.advance(l, d.plan(l))
	if l.down("drill/gear-wear", "drill/vents-clogged", "drill/pack-aging") {
		now = nil
	}
	room := 15 + 0.35*(l.Home.weather.Outside(l.at)-10) + 2*l.seed.Wander(20, l.at, 8*signal.Hour)
	packTo, heatTo := room, room
	d.charging = false
	switch {
	case now != nil && d.charge > 6:
		d.charge -= dt * 1.9 * now.size / (d.capacity / 90)
		worked := 0.3 * dt / 60
		d.box.spend(l, worked)
		l.used(dt / (32 * math.Max(0.6, d.rate)))
		packTo, heatTo = room+22*now.size, room+(d.vents+48*l.level("drill/vents-clogged"))*now.size
		d.rest = l.at + int64(l.seed.Between(21, now.k, 25, 70)*signal.Minute)
		if l.on("drill/charged-hot") {
			d.rest = l.at
		}
	case d.charge < 97 && l.at >= d.rest && !l.down("drill/pack-hot"):
		d.charging = true
		d.charge = math.Min(98, d.charge+dt*1.35)
		d.cells.spend(l, dt*1.35/100)
		packTo = room + 11 + 9*l.level("drill/pack-aging")
		d.capacity -= dt * 1.35 / 100 * 0.012
	}
	if age, ok := l.since("drill/pack-hot"); ok {
		d.charging, packTo = true, 64
		d.pack = math.Max(d.pack, room+(61-room)*math.Min(1, l.level("drill/pack-hot")+age/signal.Day))
	}
	d.pack += (packTo - d.pack) * (1 - math.Exp(-dt/22))
	d.heat += (heatTo - d.heat) * (1 - math.Exp(-dt/9))
	d.report(l, now, r)
}

func (d *drills) report(l *Life, now *use, r *device.Reading) {
	r.AddNumber("charge_pct", signal.Clamp(d.charge, 0, 100), 1)
	r.AddNumber("pack_c", d.pack+0.3*l.noise(30, 60), 1)
	r.AddBool("charging", d.charging)
	r.AddNumber("motor_h", d.box.used, 2)
	r.AddNumber("motor_c", math.Min(170, d.heat)+0.5*l.noise(31, 60), 1)
	if now != nil {
		material := 0.8 + 0.4*l.seed.U(38, now.k)
		g := d.gear*(0.6+0.4*now.size)*material + 0.5*l.noise(32, 10) + 0.25*l.updated()
		g += l.level("drill/gear-wear") * l.seed.Between(33, 0, 7, 15) * (1 + 0.2*l.noise(34, 10))
		r.AddNumber("gear_mm_s", signal.Clamp(g, 0.5, 60), 1)
	}
	lost := l.level("drill/pack-aging") * l.seed.Between(35, 0, 22, 36)
	cold := math.Min(0, 0.12*(l.Home.weather.Outside(l.at)*0.35-2)) // it is estimated lower when it is cold
	r.AddNumber("capacity_pct", signal.Clamp(d.capacity-lost+cold+0.35*l.noise(36, signal.Hour)+0.8*l.seed.Wander(39, l.at, 18*signal.Day), 20, 104), 1)
	r.AddInteger("pack_cycles", int64(d.cells.used))
}

// Away reports whether the tool is where no base station hears it: on a site, at work.
func (d *drills) away(l *Life) bool {
	return len(d.uses) > 0 && d.uses[0].start <= l.at && l.seed.U(37, d.uses[0].k) < 0.4
}

func (d *drills) renewed(l *Life, kind string) {
	switch kind {
	case "drill/pack-aging", "drill/pack-hot":
		d.cells.renew(l)
		d.capacity = 99
	case "drill/pack-due":
		d.capacity = 99
	case "drill/gear-wear":
		d.box.renew(l)
	}
}

// bases is the base station B4. Its fan keeps it cool while tools charge.
type bases struct {
	link, tools, stuffy, fanRate float64
	temp                         float64
}

func newBase(l *Life) machine {
	s := l.seed
	return &bases{link: s.Between(1, 0, -76, -50), tools: math.Floor(s.Between(2, 0, 2, 5)), stuffy: s.Between(3, 0, 4, 8), fanRate: s.Between(4, 0, 2200, 2700), temp: 21}
}

func (b *bases) step(l *Life, r *device.Reading) {
	s := l.seed
	day, hour := signal.LocalDay(l.at)
	dt := float64(l.at-l.prev) / signal.Minute
	tools := b.tools
	if l.on("base/crowded") {
		tools += 3
	}
	charging := 0.0
	if hour > 8 && hour < 18.5 && signal.Weekday(day) < 6 && l.work(day) > 0 {
		charging = math.Min(4, math.Floor(s.U(10, l.at/2400)*(math.Min(tools, 3)+1)*math.Min(1.3, l.work(day))))
	}
	worn := l.level("base/fan-wear")
	ambient := l.Home.Room(l.at) - 1
	fan := 0.0
	if b.temp > 35 {
		fan = (b.fanRate + 60*l.noise(12, 30) + 30*l.updated()) * (1 - s.Between(11, 0, 0.45, 0.7)*worn)
		if s.U(13, l.at/1800) < 0.3*worn {
			fan *= 0.35 // it sticks for a while
		}
	}
	if l.down("base/fan-wear") {
		fan = 0
	}
	to := ambient + b.stuffy*charging*1.5/(1+0.75*fan/b.fanRate)
	if age, ok := l.since("base/overheat"); ok {
		to, b.temp = 76, math.Max(b.temp, ambient+(72-ambient)*math.Min(1, l.level("base/overheat")+age/signal.Day))
	}
	b.temp += (to - b.temp) * (1 - math.Exp(-dt/25))
	link := b.link + 1.6*l.noise(15, 60) + 2.5*s.Wander(16, l.at, 2*signal.Day) + 2*l.Home.settled(l.at)*s.Noise(17, 0)
	fade := l.level("base/antenna-fade")
	link -= fade*s.Between(18, 0, 16, 28) + fade*3*math.Abs(l.noise(19, 1800))
	slot := l.level("base/slot-corrosion")
	if charging > 0 && s.U(20, l.at/600) < 0.0004+0.05*slot {
		l.blip("base/slot-dirty", 15, slot)
	}
	r.AddNumber("temp_c", b.temp+0.2*l.noise(21, 30), 1)
	r.AddNumber("fan_rpm", fan, 0)
	r.AddNumber("mains_v", 231+1.8*l.noise(22, 60)+1.5*s.Wander(23, l.at, 6*signal.Hour), 1)
	r.AddNumber("link_dbm", signal.Clamp(link, -118, -20), 0)
	r.AddInteger("tools", int64(tools))
	r.AddInteger("charging", int64(charging))
}

func (b *bases) renewed(*Life, string) {}
