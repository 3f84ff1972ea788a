package life

import (
	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

// washers is the washing machine W7. A wash takes its heat from cold water that follows the season, and shakes and drains
// according to its load; drain height, floor and water hardness are the home's.
type washers struct {
	diary
	rate, drain, shake, water float64
	hot                       float64 // share of 60 °C washes
	cycles                    int64
	pump, heater              *part
}

func newWasher(l *Life) machine {
	w := &washers{rate: l.seed.Between(1, 0, 0.45, 1.6), drain: l.seed.Between(2, 0, 40, 78), shake: l.seed.Between(3, 0, 3, 9),
		water: l.seed.Between(4, 0, 40, 58), hot: l.seed.Between(5, 0, 0.12, 0.4), cycles: int64(l.seed.Between(6, 0, 40, 1900))}
	if l.seed.U(7, 0) < 0.12 {
		w.cycles = int64(l.seed.Between(8, 0, 2330, 2700)) // an old machine: pump and heater come to their end
	}
	w.pump = l.newPart("washer/part-due", "drain-pump", 3000, float64(w.cycles))
	w.heater = l.newPart("washer/part-due", "heating-element", 3000, float64(w.cycles))
	return w
}

func (w *washers) plan(l *Life) func(day int64) []use {
	return func(day int64) []use {
		n, gap := min(3, l.count(10, day, w.rate*l.work(day))), 4.2
		switch {
		case l.work(day) == 0:
			n = 0
		case l.onAt("healthy/party", signal.At(day, 12)):
			n, gap = 6, 2.6
		}
		return l.draw(12, day, n, 7, gap, 70, 125)
	}
}

// programme returns the temperature the owner chose for a wash.
func (w *washers) programme(l *Life, k int64) float64 {
	switch x := l.seed.U(20, k); {
	case l.on("washer/cold-only"):
		return 30
	case x < w.hot:
		return 60
	case x < w.hot+0.25:
		return 30
	default:
		return 40
	}
}

func (w *washers) step(l *Life, r *device.Reading) {
	now := w.advance(l, w.plan(l))
	broken := l.down("washer/drain-clog", "washer/heater-scale", "washer/door-lock-wear", "washer/hose-leak", "washer/inlet-blocked", "washer/bearing-wear")
	if broken {
		now, w.closed = nil, nil
	}
	for range w.closed {
		w.cycles++
		l.used(1 / w.rate / 1.15) // a home that washes more wears it faster, though not in proportion
		l.used(0.9 - 0.9/w.rate/1.15*min(1, w.rate/1.15))
		w.pump.spend(l, 1)
		w.heater.spend(l, 1)
	}
	room := l.Home.Room(l.at) - 2
	power, water := 0.9+0.05*l.noise(30, 600), room
	if now != nil {
		f, target := now.part(l.at), w.programme(l, now.k)
		switch {
		case f < 0.3:
			power, water = 2000+40*l.noise(31, 1), room+(target-room)*f/0.3
		case f < 0.85:
			power, water = 140+25*l.noise(32, 1), target-(target-room)*0.5*(f-0.3)
		default:
			power, water = 420+40*l.noise(33, 1), room+8
		}
	}
	r.AddInteger("cycles", w.cycles)
	r.AddBool("running", now != nil)
	r.AddNumber("power_w", max(0, power), 1)
	r.AddNumber("water_temp_c", water, 1)
	r.AddBool("leak", l.failed("washer/hose-leak"))
	if len(w.closed) > 0 {
		w.report(l, w.closed[len(w.closed)-1], r)
	}
	// Laundry caught in the door happens to everybody; a worn lock makes it frequent.
	lock := l.level("washer/door-lock-wear")
	if (now != nil || len(w.closed) > 0) && l.seed.U(40, l.at/600) < 0.0015+0.09*lock {
		l.blip("washer/door-caught", 8, lock)
	}
}

// report adds what a wash was like, once, when it has ended.
func (w *washers) report(l *Life, u use, r *device.Reading) {
	heavy := 1.0
	if l.seed.U(21, u.k) < 0.1 {
		heavy = 1.14
	}
	moved := l.Home.settled(l.at)
	drain := (w.drain+7*moved*l.seed.Noise(22, 0))*heavy + 2.2*l.seed.Noise(23, u.k) + 1.5*l.seed.Wander(45, l.at, 9*signal.Day) + 1.2*l.updated()
	if l.seed.U(24, u.k) < 0.04 {
		drain += l.seed.Between(25, u.k, 5, 16) // foam
	}
	drain += l.level("washer/drain-clog") * l.seed.Between(26, 0, 55, 110) * (1 + 0.15*l.seed.Noise(27, u.k))
	shake := (w.shake+1.2*moved*l.seed.Noise(28, 0))*(0.6+0.4*u.size)*heavy + 0.6*l.seed.Noise(29, u.k)
	shake += l.level("washer/bearing-wear") * l.seed.Between(41, 0, 11, 20) * (0.7 + 0.3*u.size)
	chosen := w.programme(l, u.k)
	warm := chosen + 0.8*l.seed.Noise(42, u.k) - 0.6*l.Home.hard
	warm -= l.level("washer/heater-scale") * 0.24 * (chosen - 12) * (1 + 0.15*l.seed.Noise(43, u.k))
	r.AddNumber("drain_s", signal.Clamp(drain, 20, 600), 1)
	r.AddNumber("vibration_mm_s", signal.Clamp(shake, 1, 60), 1)
	r.AddNumber("wash_temp_c", warm, 1)
	r.AddNumber("programme_c", chosen, 0)
	r.AddNumber("water_l", signal.Clamp(w.water*heavy*(0.8+0.2*u.size)+2.5*l.seed.Noise(44, u.k), 20, 120), 1)
}

func (w *washers) renewed(l *Life, kind string) {
	switch kind {
	case "washer/drain-clog":
		w.pump.renew(l)
	case "washer/heater-scale":
		w.heater.renew(l)
	}
}
