package life

import (
	"math"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

// mowers is the robot mower M2: rounds on dry, mild days from spring to autumn, as long as its charge lasts; put away over the
// winter. Garden, slope and grass are the home's.
type mowers struct {
	diary
	charge       float64 // percent
	minutes      float64 // a round lasts from full to a third when the battery is new
	rpm, contact float64
	slope, rate  float64 // m² an hour
	area         float64
	spring       int64 // local day of the year on which it is put out
	autumn       int64
	leak         float64 // percent a day while put away
	wipe         int64   // days between two wipes of the contacts
	blades       *part
	round        float64 // minutes of the round that goes on
	over         int64   // number of the round that ended because the charge did
	stuckTil     int64
}

func newMower(l *Life) machine {
	s := l.seed
	m := &mowers{charge: s.Between(1, 0, 55, 85), minutes: s.Between(2, 0, 50, 80), rpm: s.Between(3, 0, 2350, 2620), contact: s.Between(4, 0, 0.18, 0.55),
		slope: s.Between(5, 0, 2, 16), rate: s.Between(6, 0, 40, 70), area: math.Floor(s.Between(7, 0, 1e4, 9e5)),
		spring: int64(s.Between(8, 0, 68, 98)), autumn: int64(s.Between(9, 0, 300, 330)), leak: s.Between(10, 0, 0.05, 0.22), wipe: int64(s.Between(13, 0, 18, 45))}
	m.blades = l.newPart("mower/blades-due", "blades", 60, s.Between(11, 0, 0, 35))
	return m
}

// season reports whether it is out on a local day.
func (m *mowers) season(day int64) bool {
	n := int64(signal.YearFraction(day) * 365)
	return n >= m.spring && n < m.autumn
}

// inSeason returns the moment or, if it is put away then, a moment some days after it is put out again.
func (m *mowers) inSeason(at int64) int64 {
	day, _ := signal.LocalDay(at)
	if m.season(day) {
		return at
	}
	for !m.season(day) {
		day++
	}
	return at + (day-at/signal.Day+at/signal.Day%9)*signal.Day
}

func (m *mowers) plan(l *Life) func(day int64) []use {
	return func(day int64) []use {
		if !m.season(day) || l.onAt("healthy/move", signal.At(day, 12)) {
			return nil
		}
		uses := l.draw(12, day, 2, 9.6, 4.4, m.minutes*0.93, m.minutes*1.07)
		kept := uses[:0]
		for _, u := range uses {
			wet := signal.Rain(u.start) && !l.onAt("mower/wet-mowing", u.start)
			if !wet && l.Home.weather.Outside(u.start) > 7.5 {
				kept = append(kept, u)
			}
		}
		return kept
	}
}

func (m *mowers) step(l *Life, r *device.Reading) {
	day, _ := signal.LocalDay(l.at)
	dt := float64(l.at-l.prev) / signal.Minute
	now := m.advance(l, m.plan(l))
	aged := l.level("mower/battery-aging")
	still := l.down("mower/blade-drag", "mower/contact-corrosion", "mower/battery-aging", "mower/wheel-wear", "mower/wire-cut")
	state := "parked"
	switch {
	case !m.season(day):
		state = "stored"
		m.winter(l)
	case l.at < m.stuckTil || l.down("mower/wheel-wear"):
		state = "stuck"
		m.charge -= dt * 0.02
	case now != nil && !still && m.charge > 31 && m.over != now.k:
		state = "mowing"
		m.round += math.Min(dt, float64(l.at-now.start)/signal.Minute)
		pull := 67 / m.minutes * (1 + 0.05*l.noise(20, 1800)) / (1 - 0.55*aged)
		m.charge -= dt * pull
		m.area += m.rate * dt / 60
		m.blades.spend(l, dt/60)
		l.used(dt / (1.5 * m.minutes))
		m.stumble(l)
	case m.charge < 98:
		state = "charging"
		if l.down("mower/contact-corrosion") {
			state = "parked"
			m.charge -= dt * 0.012
		} else {
			m.charge += dt * 0.8 / (1 + 0.5*l.level("mower/contact-corrosion"))
		}
	}
	if l.down("mower/blade-drag", "mower/wire-cut") && state != "stored" {
		state = "stopped"
	}
	if now != nil && m.charge <= 31 && m.over != now.k {
		m.over = now.k // it goes home and stays there until the next round
	}
	m.charge = signal.Clamp(m.charge, 1, 99)
	m.report(l, state, r)
	if state != "mowing" && m.round > 0 {
		if len(m.closed) > 0 && m.closed[0].k != m.over {
			m.round += float64(m.closed[0].end-l.prev) / signal.Minute
		}
		r.AddNumber("round_min", m.round, 0)
		m.round = 0
	}
}

// winter discharges it slowly; a faulty charger board does so within weeks.
func (m *mowers) winter(l *Life) {
	day := float64(l.at-l.prev) / signal.Day
	loss := m.leak
	for _, f := range l.faults {
		if f.kind.Name != "mower/stored-empty" || f.ended != 0 {
			continue
		}
		loss = l.seed.Between(15, 0, 0.9, 1.6)
		if m.charge < 25 && f.start > l.at {
			f.start = l.at
		}
		if f.start <= l.at {
			f.p = signal.Clamp((25-m.charge)/20, 0, 1)
		}
	}
	m.charge = math.Max(1, m.charge-loss*day)
}

// stumble may leave it stuck: seldom, more on a slope in the wet, often with worn wheels.
func (m *mowers) stumble(l *Life) {
	worn := l.level("mower/wheel-wear")
	perHour := 0.004 + 0.0004*m.slope + 0.3*worn
	if signal.Rain(l.at-3*signal.Hour) || signal.Rain(l.at) {
		perHour *= 2.5
	}
	if l.chance(25, perHour*24) {
		wait := l.seed.Between(26, l.at, 20, 150)
		m.stuckTil = l.at + int64(wait*signal.Minute)
		l.blip("mower/stuck", wait, worn)
	}
}

func (m *mowers) report(l *Life, state string, r *device.Reading) {
	s := l.seed
	outside := l.Home.weather.Outside(l.at) + 0.4*l.noise(30, 60)
	rain := signal.Rain(l.at)
	warm, rpm, tilt := 4.0, 0.0, math.Abs(1.5*l.noise(31, 60))
	switch state {
	case "mowing":
		grass := 55 * math.Exp(-math.Pow((signal.YearFraction(l.at/signal.Day)-0.39)/0.07, 2)) // thick in May
		rpm = m.rpm - grass - 25*min(1, m.blades.share()) + 38*l.noise(32, 1) - 14*l.updated()
		rpm -= l.level("mower/blade-drag") * s.Between(33, 0, 380, 700) * (1 + 0.2*l.noise(34, 1))
		tilt += m.slope * s.U(35, l.at)
		warm = 11
	case "charging":
		warm = 10
	case "stuck":
		tilt += m.slope
	}
	lifted := state == "parked" && s.U(36, l.at/300) < 0.0006
	grime := float64(l.at/signal.Day%m.wipe) / float64(m.wipe) // wiped now and then
	ohm := m.contact + 0.2*grime + 0.03*l.noise(37, 60) + 0.1*l.seed.Wander(38, l.at, 3*signal.Day)*m.contact
	bad := l.level("mower/contact-corrosion") * s.Between(39, 0, 2.5, 7)
	if rain {
		ohm, bad = ohm+0.12, bad*1.4
	}
	r.AddText("state", state)
	r.AddNumber("battery_pct", m.charge, 1)
	r.AddNumber("battery_c", signal.Clamp(outside+warm+4*l.level("mower/battery-aging"), -28, 80), 1)
	r.AddNumber("blade_h", m.blades.used, 2)
	r.AddNumber("blade_rpm", math.Max(0, rpm), 0)
	r.AddBool("lifted", lifted)
	r.AddNumber("tilt_deg", tilt, 1)
	r.AddInteger("mowed_m2", int64(m.area))
	r.AddBool("rain", rain)
	r.AddNumber("outside_c", outside, 1)
	r.AddNumber("contact_ohm", signal.Clamp(ohm+bad*(1+0.2*l.noise(40, 60)), 0.05, 40), 2)
}

func (m *mowers) renewed(l *Life, kind string) {
	if kind == "mower/stored-empty" || kind == "mower/battery-aging" || kind == "mower/contact-corrosion" {
		m.charge = 95
	}
}
