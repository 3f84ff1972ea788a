package device

import (
	"math"

	"aftercare/firmware-sim/internal/signal"
)

// mower is the robot mower M2: two rounds on a dry, mild day in season; parked otherwise, stored from December to February.
type mower struct {
	s      signal.Seed
	rounds *signal.Schedule
	base   float64 // hours on the blades at the anchor
}

// charge time after a round, seconds.
const mowerCharge = 80 * signal.Minute

func newMower(s signal.Seed) model {
	w := &mower{s: s, base: s.Between(1, 0, 0, 50)}
	w.rounds = signal.NewSchedule(func(day int64) []signal.Slot {
		var slots []signal.Slot
		for i, hour := range [2]float64{10, 14.5} {
			start := signal.At(day, hour+s.Between(2, day*2+int64(i), 0, 0.7))
			if winter(day) || signal.Outside(start) < 7.5 || signal.Rain(start) {
				continue
			}
			slots = append(slots, signal.Slot{Start: start, End: start + int64(s.Between(3, day*2+int64(i), 55, 75)*signal.Minute)})
		}
		return slots
	})
	return w
}

func winter(day int64) bool {
	f := signal.YearFraction(day)
	return f < 0.16 || f > 0.915
}

func (w *mower) measure(m Moment, r *Reading) {
	day, _ := signal.LocalDay(m.At)
	outside := signal.Outside(m.At) + 0.4*w.s.Noise(10, m.At/60)
	state, battery, rpm := w.routine(m.At, day)
	batteryC := outside + 4
	if state == "mowing" || state == "charging" {
		batteryC += 9
	}
	lifted := state == "parked" && w.s.U(11, m.At/300) < 0.001 // somebody carries it
	tilt := math.Abs(1.5 * w.s.Noise(12, m.At/60))
	blade := math.Mod(w.base+w.hours(m.At), 55) // changed in time
	fx := m.Effects
	if fx.has("blade-lifted") {
		state, lifted, rpm, tilt = "lifted", true, 2250+30*w.s.Noise(13, m.At), 35
	}
	if age, ok := fx.age("mower-battery-hot"); ok {
		state, batteryC = "charging", 63+math.Min(5, age/60)+0.3*w.s.Noise(14, m.At)
	}
	if age, ok := fx.age("stuck"); ok {
		state, rpm, tilt, battery = "stuck", 0, 12, math.Max(4, 72-age/180)
	}
	if fx.has("blade-motor") {
		state, rpm = "stopped", 0
	}
	if l := fx.level("blades-worn"); l > 0 {
		blade = 57 + 7*l
	}
	if age, ok := fx.age("stored-empty"); ok {
		state, battery, rpm = "stored", math.Max(5, 19.5-age/signal.Day), 0
	}
	r.AddText("state", state)
	r.AddNumber("battery_pct", signal.Clamp(battery, 0, 100), 1)
	r.AddNumber("battery_c", batteryC, 1)
	r.AddNumber("blade_h", blade, 2)
	r.AddNumber("blade_rpm", rpm, 0)
	r.AddBool("lifted", lifted)
	r.AddNumber("tilt_deg", tilt, 1)
	r.AddInteger("mowed_m2", int64(w.hours(m.At)*60*24))
	if end, ok := w.rounds.Ended(m.Prev, m.At); ok {
		r.AddNumber("round_min", float64(end.End-end.Start)/signal.Minute, 0)
	}
	r.AddBool("rain", signal.Rain(m.At))
	r.AddNumber("outside_c", outside, 1)
	r.AddNumber("contact_ohm", signal.Clamp(w.s.Between(15, 0, 0.2, 0.45)+0.03*w.s.Noise(16, m.At/60), 0.05, 5), 2)
}

// routine is what the mower does when nothing is wrong.
func (w *mower) routine(at, day int64) (state string, battery, rpm float64) {
	if now, ok := w.rounds.Now(at); ok {
		f := float64(at-now.Start) / float64(now.End-now.Start)
		return "mowing", 99 - 65*f, 2500 + 40*w.s.Noise(20, at)
	}
	if last, ok := w.rounds.Last(at); ok && at-last.End < mowerCharge {
		return "charging", 34 + 65*float64(at-last.End)/mowerCharge, 0
	}
	if winter(day) {
		return "stored", 78 + 2*w.s.Wander(21, at, 20*signal.Day), 0
	}
	return "parked", 98.5 + 0.5*w.s.Noise(22, at/600), 0
}

func (w *mower) hours(at int64) float64 {
	_, sec := w.rounds.Done(at)
	return float64(sec) / signal.Hour
}
