package life

import (
	"testing"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

// mean plays a device with and without a spell and returns a value's mean inside it, and in the twin at the same time.
func mean(t *testing.T, model, kind string, value func(r *device.Reading) (float64, bool)) (with, without float64) {
	t.Helper()
	from, to := start+100*signal.Day, start+110*signal.Day
	out := [2]float64{}
	for i := range out {
		var sum, n float64
		for _, serial := range []string{"O-1", "O-2", "O-3", "O-4"} {
			l := alive(t, model, serial)
			l.spells, l.Home.spells, l.Home.weather = nil, nil, &Weather{}
			if i == 0 {
				switch kind {
				case "healthy/heat-wave":
					l.Home.weather = &Weather{spells{{kind, from - signal.Day, to + signal.Day}}}
				case "healthy/party", "healthy/busy", "healthy/holiday", "healthy/move":
					l.Home.spells = spells{{kind, from, to}}
				default:
					l.spells = spells{{kind, from, to}}
				}
			}
			var r device.Reading
			for at := from - 20*signal.Day; at < to; at += l.Interval {
				l.Step(at, &r)
				if v, ok := value(&r); ok && at >= from {
					sum, n = sum+v, n+1
				}
			}
		}
		out[i] = sum / n
	}
	return out[0], out[1]
}

// What is odd but healthy is felt as it would be, and no more than that.
func TestOddities(t *testing.T) {
	for _, c := range []struct {
		model, kind, field string
		lo, hi             float64 // bounds of with / without
	}{
		{washer, "healthy/party", "power_w", 2, 12},
		{washer, "healthy/holiday", "running", 0, 0.01},
		{washer, "washer/cold-only", "programme_c", 0.5, 0.85},
		{fridge, "healthy/party", "compressor_duty", 1.02, 1.4},
		{fridge, "healthy/heat-wave", "ambient_c", 1.02, 1.3},
		{fridge, "fridge/set-too-cold", "freezer_c", 1.1, 1.4},
		{laptop, "healthy/holiday", "cpu_c", 0.4, 0.9},
		{laptop, "healthy/dock", "charge_pct", 0.7, 0.95},
		{laptop, "laptop/always-full", "charge_pct", 1.001, 1.3},
		{printer, "healthy/holiday", "power_w", 0, 0.3},
		{printer, "printer/no-sleep", "fuser_c", 1.2, 3},
		{charger, "healthy/guest", "power_kw", 1.2, 6},
		{charger, "charger/short-charges", "session_kwh", 0, 0.3},
		{mower, "mower/wet-mowing", "blade_rpm", 1, 2},
		{base, "base/crowded", "tools", 1.5, 4},
		{car, "car/never-plugged", "traction_pct", 0, 0.6},
		{car, "healthy/holiday", "battery_12v_v", 0.97, 0.9999},
		{drill, "healthy/busy", "charge_pct", 0.5, 0.99},
		{drill, "drill/charged-hot", "pack_c", 0.98, 1.2},
	} {
		with, without := mean(t, c.model, c.kind, func(r *device.Reading) (float64, bool) { return r.Number(c.field) })
		if ratio := with / without; !(ratio >= c.lo && ratio <= c.hi) {
			t.Errorf("%s: %s of a %s is %.4g times as much (%.4g, %.4g)", c.kind, c.field, c.model, ratio, with, without)
		}
	}
}

// A glitch is one wrong value of one reading.
func TestGlitchIsOneValue(t *testing.T) {
	for _, m := range models {
		from := start + 30*signal.Day
		well, odd := alive(t, m.id, "G-1"), alive(t, m.id, "G-1")
		well.spells, odd.spells = nil, spells{{"healthy/sensor-glitch", from, from + m.interval}}
		var a, b device.Reading
		differ := 0
		for at := start; at < start+40*signal.Day; at += m.interval {
			well.Step(at, &a)
			odd.Step(at, &b)
			for name := range a.All() {
				x, _ := a.Number(name)
				y, _ := b.Number(name)
				if x != y {
					differ++
				}
			}
		}
		if differ > 1 || differ == 0 && m.id != car { // a car may be on its way
			t.Errorf("%s: %d values differ", m.id, differ)
		}
	}
}

// A part that was replaced counts from nothing, the service is noted, and not everybody replaces it in time.
func TestParts(t *testing.T) {
	overdue, inTime := 0, 0
	for _, serial := range []string{"P-1", "P-2", "P-3", "P-4", "P-5", "P-6"} {
		l := alive(t, mower, serial)
		last, falls := 0.0, 0
		play(l, func(_ int64, r *device.Reading, _ []Event) {
			v, _ := r.Number("blade_h")
			if v < last {
				falls++
				if v > 1 {
					t.Errorf("blade_h fell to %v", v)
				}
			}
			last = v
		})
		services := 0
		for _, s := range l.Services {
			if s.Component == "blades" {
				services++
			}
		}
		if services != falls {
			t.Errorf("%s: %d services, the counter fell %d times", serial, services, falls)
		}
		for _, c := range l.Conditions {
			switch {
			case c.Kind != "mower/blades-due":
			case c.Failure != 0:
				overdue++
			case c.End != 0:
				inTime++
			}
		}
	}
	if overdue == 0 || inTime == 0 {
		t.Errorf("%d replaced in time, %d overdue", inTime, overdue)
	}
}
