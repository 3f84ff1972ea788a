package device

import (
	"math"

	"aftercare/firmware-sim/internal/signal"
)

// charger is the wall charger E11: an evening charge every second day or so.
type charger struct {
	s        signal.Seed
	sessions *signal.Schedule
	power    float64 // what the household's car takes, kW
	energy   float64 // kWh before the anchor
	relay    int64   // relay operations before the anchor
	leak     float64 // usual residual current, mA
}

func newCharger(s signal.Seed) model {
	c := &charger{s: s, power: []float64{3.7, 7.2, 11, 11}[int(s.U(1, 0)*4)], energy: s.Between(2, 0, 200, 9000),
		relay: int64(s.Between(3, 0, 150, 5500)), leak: s.Between(4, 0, 0.6, 1.6)}
	rate := s.Between(5, 0, 0.35, 0.8)
	c.sessions = signal.NewSchedule(func(day int64) []signal.Slot {
		if often(s, day, rate) == 0 {
			return nil
		}
		start := signal.At(day, 17.5+s.Between(6, day, 0, 3.5))
		return []signal.Slot{{Start: start, End: start + int64(s.Between(7, day, 1.2, 5)*signal.Hour)}}
	})
	return c
}

func (c *charger) measure(m Moment, r *Reading) {
	fx := m.Effects
	garage := 0.6*signal.Outside(m.At) + 6
	state, power, warm := "idle", 0.0, 0.0
	if now, ok := c.sessions.Now(m.At); ok {
		state, power = "charging", c.power-0.1+0.04*c.s.Noise(10, m.At/30)
		warm = 1 - math.Exp(-float64(m.At-now.Start)/1500)
	} else if last, ok := c.sessions.Last(m.At); ok {
		warm = math.Exp(-float64(m.At-last.End) / 1800)
	}
	plug := garage + 27*warm*(c.power/11)*(c.power/11) + 0.4*c.s.Noise(11, m.At/30)
	residual := signal.Clamp(c.leak+0.15*c.s.Noise(12, m.At/30), 0.1, 3)
	if age, ok := fx.age("plug-hot"); ok {
		state, power, plug = "charging", 10.9, 83+math.Min(8, age/180)+0.3*c.s.Noise(11, m.At/30)
	}
	if fx.has("plug-warm") {
		state, power, plug = "charging", 10.9, 68+0.5*c.s.Noise(11, m.At/30)
	}
	if fx.has("residual") {
		residual = 5.7 + 0.15*c.s.Noise(12, m.At/30)
	}
	if fx.has("lock") || fx.has("relay-stuck") {
		state, power = "fault", 0
	}
	count, seconds := c.sessions.Done(m.At)
	r.AddText("state", state)
	r.AddNumber("power_kw", power, 2)
	r.AddNumber("energy_kwh", c.energy+float64(seconds)/signal.Hour*c.power, 2)
	r.AddNumber("plug_c", plug, 1)
	r.AddNumber("residual_ma", residual, 2)
	r.AddNumber("mains_v", 230+2*c.s.Noise(13, m.At/60)-1.5*power/11, 1)
	relay := c.relay + 2*count
	if l := fx.level("relay-worn"); l > 0 {
		relay = 9480 + int64(60*l)
	}
	r.AddInteger("relay_cycles", relay)
	if end, ok := c.sessions.Ended(m.Prev, m.At); ok {
		r.AddNumber("session_kwh", c.power*float64(end.End-end.Start)/signal.Hour, 1)
		r.AddNumber("session_kw", c.power-0.1, 1)
	}
}
