package life

import (
	"math"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

// chargers is the wall charger E11: the household's car in the evening, now and then a guest's.
type chargers struct {
	diary
	power, rate, leak float64
	contact, garage   float64 // contact resistance against the mean; K above the air outside
	energy, warm      float64
	session, most     float64 // kWh and seconds of the charge that goes on
	relay             *part
	open              bool
}

func newCharger(l *Life) machine {
	s := l.seed
	c := &chargers{power: []float64{3.7, 7.2, 11, 11}[int(s.U(1, 0)*4)], rate: s.Between(2, 0, 0.3, 0.85), leak: s.Between(3, 0, 0.5, 2),
		contact: s.Between(4, 0, 0.65, 1.15), garage: s.Between(5, 0, 2, 9), energy: s.Between(6, 0, 200, 9000)}
	worn := s.Between(7, 0, 150, 6500)
	if s.U(8, 0) < 0.2 {
		worn = s.Between(9, 0, 7700, 8600)
	}
	c.relay = l.newPart("charger/relay-due", "main-relay", 10000, worn)
	return c
}

func (c *chargers) plan(l *Life) func(day int64) []use {
	return func(day int64) []use {
		noon := signal.At(day, 12)
		n := min(1, l.count(10, day, math.Min(1, c.rate*l.work(day))))
		if l.work(day) == 0 {
			n = 0
		}
		uses := l.draw(12, day, n, 17.4, 5, 60, 300)
		switch {
		case l.onAt("charger/short-charges", noon) && l.work(day) > 0:
			return l.draw(12, day, 5, 8, 2.7, 8, 20)
		case l.onAt("healthy/guest", noon):
			return append(l.draw(15, day, 1, 10, 3, 90, 240), uses...)
		}
		return uses
	}
}

func (c *chargers) step(l *Life, r *device.Reading) {
	s := l.seed
	dt := float64(l.at - l.prev)
	now := c.advance(l, c.plan(l))
	state, power, draws := "idle", 0.0, c.power
	broken := l.down("charger/plug-wear", "charger/insulation", "charger/lock-wear", "charger/relay-weld")
	if now != nil {
		_, hour := signal.LocalDay(now.start)
		if l.on("healthy/guest") && hour < 17 {
			draws = 11 + 3.7 - c.power // a car of another kind
		}
		failsToLock := s.U(18, now.k) < 0.55*l.level("charger/lock-wear") || s.U(19, now.k) < 0.008
		switch {
		case broken:
		case failsToLock && l.at-now.start < 1500: // it tries again after a while
			l.blip("charger/plug-not-in", 15, l.level("charger/lock-wear"))
			state = "fault"
		default:
			state, power = "charging", draws-0.1+0.04*l.noise(20, 30)
			fade := 1 - now.part(l.at)
			if fade < 0.12 {
				power *= 0.35 + 5*fade // the car takes less towards the end
			}
		}
	}
	if broken {
		state = "fault"
	}
	if power > 0 && !c.open {
		c.relay.spend(l, 1)
		c.session, c.most = 0, 0
	}
	if power == 0 && c.open {
		c.relay.spend(l, 1)
	}
	closed := c.open && power == 0
	c.open = power > 0
	if power > 0 {
		c.energy += power * dt / signal.Hour
		c.session += power * dt / signal.Hour
		c.most += dt
		l.used(dt / signal.Hour / 3 / c.rate * 0.95)
	}
	c.report(l, r, state, power, closed)
}

func (c *chargers) report(l *Life, r *device.Reading, state string, power float64, closed bool) {
	s := l.seed
	dt := float64(l.at - l.prev)
	full := (power / 11) * (power / 11)
	own := (c.power / 11) * (c.power / 11)
	resists := c.contact + s.Between(25, 0, 1.5, 2.6)*l.level("charger/plug-wear")/own // a small current heats it only when it is bad
	c.warm += (27*full*resists - c.warm) * (1 - math.Exp(-dt/1500))
	garage := l.Home.weather.Outside(l.at)*0.7 + c.garage
	wet := 0.0
	if signal.Rain(l.at) || signal.Rain(l.at-3*signal.Hour) {
		wet = 1
	}
	residual := c.leak*(1+0.12*wet+0.12*s.Wander(31, l.at, 3*signal.Day)) + 0.15*l.noise(26, 30)
	residual += l.level("charger/insulation") * s.Between(27, 0, 3, 4.6) * (0.75 + 0.45*wet)
	r.AddText("state", state)
	r.AddNumber("power_kw", math.Max(0, power), 2)
	r.AddNumber("energy_kwh", c.energy, 2)
	r.AddNumber("plug_c", garage+c.warm+0.4*l.noise(28, 30)+0.7*l.updated(), 1)
	r.AddNumber("residual_ma", signal.Clamp(residual, 0.05, 30), 2)
	r.AddNumber("mains_v", 230+2*l.noise(29, 60)-1.5*power/11+2*s.Wander(30, l.at, 6*signal.Hour), 1)
	r.AddInteger("relay_cycles", int64(c.relay.used))
	if closed && c.most > 0 {
		r.AddNumber("session_kwh", c.session, 1)
		r.AddNumber("session_kw", c.session/c.most*signal.Hour, 1)
	}
}

func (c *chargers) renewed(l *Life, kind string) {
	if kind == "charger/relay-weld" {
		c.relay.renew(l)
	}
}
