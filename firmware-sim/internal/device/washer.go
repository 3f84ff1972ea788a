package device

import (
	"math"

	"aftercare/firmware-sim/internal/signal"
)

// often spreads rate uses a day evenly over the days: rate 0.7 gives seven uses in ten days, at most three in one.
func often(s signal.Seed, day int64, rate float64) int {
	phase := s.U(900, 0)
	return min(3, int(math.Floor(rate*float64(day+1)+phase)-math.Floor(rate*float64(day)+phase)))
}

// washer is the washing machine W7: 5 to 11 washes a week, every fourth a hot one.
type washer struct {
	s       signal.Seed
	washes  *signal.Schedule
	base    int64   // washes before the anchor
	drain   float64 // this machine's usual draining time in seconds
	vibrate float64 // its usual vibration in mm/s
}

func newWasher(s signal.Seed) model {
	w := &washer{s: s, base: int64(s.Between(1, 0, 50, 900)), drain: s.Between(2, 0, 46, 60), vibrate: s.Between(3, 0, 3.5, 8)}
	rate := s.Between(4, 0, 0.8, 1.6)
	w.washes = signal.NewSchedule(func(day int64) []signal.Slot {
		n := often(s, day, rate)
		slots := make([]signal.Slot, 0, n)
		for i := range n {
			k := day*4 + int64(i)
			start := signal.At(day, 7+5*float64(i)+s.Between(5, k, 0, 2.5))
			slots = append(slots, signal.Slot{Start: start, End: start + int64(s.Between(6, k, 70, 125)*signal.Minute)})
		}
		return slots
	})
	return w
}

// programme returns the temperature of wash n.
func (w *washer) programme(n int64, cold bool) float64 {
	switch {
	case cold:
		return 30
	case n%4 == 0:
		return 60
	default:
		return []float64{30, 40, 40}[n%3]
	}
}

func (w *washer) measure(m Moment, r *Reading) {
	cold := m.Effects.has("cold-only")
	done, _ := w.washes.Done(m.At)
	r.AddInteger("cycles", w.base+done)
	room := 17 + 1.5*w.s.Wander(10, m.At, 6*signal.Hour)
	now, on := w.washes.Now(m.At)
	if m.Effects.has("drain-blocked") || m.Effects.has("inlet") || m.Effects.has("leak") {
		on = false // the machine stops itself
	}
	power, water := 0.9+0.05*w.s.Noise(11, m.At/600), room
	if on {
		f := float64(m.At-now.Start) / float64(now.End-now.Start)
		target := w.programme(now.N, cold)
		switch {
		case f < 0.3:
			power, water = 2000+40*w.s.Noise(12, m.At), room+(target-room)*f/0.3
		case f < 0.85:
			power, water = 140+25*w.s.Noise(12, m.At), target-(target-room)*0.5*(f-0.3)
		default:
			power, water = 420+40*w.s.Noise(12, m.At), room+8
		}
	}
	r.AddBool("running", on)
	r.AddNumber("power_w", math.Max(0, power), 1)
	r.AddNumber("water_temp_c", water, 1)
	r.AddBool("leak", m.Effects.has("leak"))
	if end, ok := w.washes.Ended(m.Prev, m.At); ok {
		w.report(end, m.Effects, cold, r)
	}
}

// report adds what a wash was like, once, when it has ended. A heavy load now and then drains and shakes a little more.
func (w *washer) report(end signal.Slot, fx Effects, cold bool, r *Reading) {
	heavy := 1.0
	if w.s.U(20, end.N) < 0.08 {
		heavy = 1.12
	}
	r.AddNumber("drain_s", signal.Clamp(w.drain*heavy+1.8*w.s.Noise(21, end.N)+60*fx.level("drain-slow"), 20, 600), 1)
	r.AddNumber("vibration_mm_s", signal.Clamp(w.vibrate*heavy+0.6*w.s.Noise(22, end.N)+14*fx.level("unlevel"), 1, 60), 1)
	r.AddNumber("wash_temp_c", w.programme(end.N, cold)+0.7*w.s.Noise(23, end.N), 1)
	r.AddNumber("programme_c", w.programme(end.N, cold), 0)
	r.AddNumber("water_l", signal.Clamp(48*heavy+3*w.s.Noise(24, end.N), 20, 120), 1)
}
