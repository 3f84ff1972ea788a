package rules

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"pgregory.net/rapid"
)

// TestStudentTables integrates the density of Student's distribution up to the tables' values.
func TestStudentTables(t *testing.T) {
	for _, table := range []struct {
		name   string
		values [14]float64
		share  float64
	}{{"t80", t80, 0.80}, {"t99", t99, 0.99}} {
		for i, limit := range table.values {
			df := float64(i + 1)
			a, _ := math.Lgamma((df + 1) / 2)
			b, _ := math.Lgamma(df / 2)
			norm := math.Exp(a-b) / math.Sqrt(df*math.Pi)
			const steps = 200_000
			sum := 0.0
			for k := range steps {
				x := (float64(k) + 0.5) / steps * limit
				sum += norm * math.Pow(1+x*x/df, -(df+1)/2)
			}
			if got := 2 * sum * limit / steps; math.Abs(got-table.share) > 0.0003 {
				t.Errorf("%s, %d degrees of freedom: %v lie within %v", table.name, i+1, got, limit)
			}
		}
	}
}

// windowOf fills a window of 30 days with a value a day from a function of the day.
func windowOf(p *program, days int, f func(day int) float64) (d *device, now int64) {
	fresh := newDevice(fleet.DeviceKey{}, p, append([]uint64(nil), p.blank...))
	d = &fresh
	for day := range days {
		now = t0.UnixMilli() + int64(day)*msPerDay
		p.aggs[0].add(d, now, f(day))
	}
	return d, now
}

func etaProgram(t *testing.T) *program {
	t.Helper()
	return loadPack(t, `a | when: 'eta(drain_s, 100, "30d") < 100'`).programs["washer-w7"]
}

// TestTheBoundsAreFiellers: at the bounds the line misses the limit by just what it may be off there.
func TestTheBoundsAreFiellers(t *testing.T) {
	p := etaProgram(t)
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(1, rapid.Uint64().Draw(rt, "seed")))
		rise := rapid.Float64Range(-3, 3).Draw(rt, "rise")
		d, now := windowOf(p, 40, func(day int) float64 { return rise*float64(day) + rng.NormFloat64()*5 })
		tr, ok := p.aggs[0].trend(d, now)
		if !ok {
			rt.Fatal("no trend")
		}
		limit := rapid.Float64Range(-300, 300).Draw(rt, "limit")
		est, ok := tr.reaches(limit)
		if !ok {
			return
		}
		if !(est.low <= est.hours && est.hours <= est.high) {
			rt.Fatalf("%+v is not in order", est)
		}
		for _, h := range []float64{est.low, est.high} {
			if h == 0 {
				continue // cut off: it is not in the past
			}
			x := h/24 - tr.x
			off := tr.y + tr.slope*x - limit
			may := t80[tr.n-3] * math.Sqrt(tr.s2*(1/float64(tr.n)+x*x/tr.sxx))
			if math.Abs(math.Abs(off)-may) > 1e-6*(1+may) {
				rt.Fatalf("at the bound of %v hours the line is off by %v, want %v", h, off, may)
			}
		}
	})
}

// TestEtaHoldsWhatItSays: over many devices that wear in a straight line with noise, the moment lies within the bounds as often
// as promised; and of those that do not wear at all few are told anything.
func TestEtaHoldsWhatItSays(t *testing.T) {
	p := etaProgram(t)
	const devices = 1500
	within, told, wrong := 0, 0, 0
	for seed := range uint64(devices) {
		rng := rand.New(rand.NewPCG(7, seed))
		d, now := windowOf(p, 30, func(day int) float64 { return 40 + float64(day) + rng.NormFloat64()*6 })
		tr, _ := p.aggs[0].trend(d, now)
		if est, ok := tr.reaches(100); ok {
			told++
			if truth := float64(60-29) * 24; est.low <= truth && truth <= est.high {
				within++
			}
		}
		d, now = windowOf(p, 30, func(int) float64 { return 60 + rng.NormFloat64()*6 })
		tr, _ = p.aggs[0].trend(d, now)
		if _, ok := tr.reaches(100); ok {
			wrong++
		}
	}
	t.Logf("told %d of %d, within bounds %.1f %%; %d of %d that do not wear", told, devices, 100*float64(within)/float64(told), wrong, devices)
	if share := float64(within) / float64(told); told < devices*9/10 || share < 0.75 || share > 0.87 {
		t.Errorf("%d of %d told, %.3f of them within the bounds, want 0.8", told, devices, share)
	}
	if wrong > devices/100 {
		t.Errorf("%d of %d without wear are told when they end", wrong, devices)
	}
}

// TestPaceHoldsWhatItSays: the same for a counter that grows by chance, on some days more than on others.
func TestPaceHoldsWhatItSays(t *testing.T) {
	p := etaProgram(t)
	const devices = 1500
	within, told := 0, 0
	for seed := range uint64(devices) {
		rng := rand.New(rand.NewPCG(9, seed))
		wash := func() float64 { return math.Floor(-math.Log(1-rng.Float64()) * 1.5) } // 0 to many a day
		at := 500.0
		d, now := windowOf(p, 30, func(int) float64 { at += wash(); return at })
		pc, ok := p.aggs[0].pace(d, now)
		if !ok {
			continue
		}
		est, ok := pc.reaches(60)
		if !ok {
			continue
		}
		told++
		days := 0
		for more := 0.0; more < 60; days++ {
			more += wash()
		}
		if h := float64(days) * 24; est.low <= h && h <= est.high {
			within++
		}
	}
	t.Logf("told %d of %d, within bounds %.1f %%", told, devices, 100*float64(within)/float64(told))
	if share := float64(within) / float64(told); told < devices/2 || share < 0.72 || share > 0.88 {
		t.Errorf("%d of %d told, %.3f of them within the bounds, want 0.8", told, devices, share)
	}
}

// TestEtaInARule: it comes with bounds as evidence, and without a clear trend it is not known.
func TestEtaInARule(t *testing.T) {
	l := newLife(t, `a | when: 'eta(drain_s, 100, "10d") < 200' | evidence: ['eta(drain_s, 100, "10d")']`)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 24 * 30 {
		found := l.send(time.Duration(i)*2*time.Hour, "drain_s="+fmt.Sprintf("%.3f", 40+float64(i)/12+rng.NormFloat64()))
		if len(found) == 0 {
			continue
		}
		ev := found[0].Evidence[0]
		if !ev.HasRange || !(ev.Low < ev.Value && ev.Value < ev.High) || ev.Unit != "h" || ev.Value > 200 || ev.Value < 150 {
			t.Errorf("evidence %+v", ev)
		}
		if left := float64(60*24 - i*2); left < ev.Low-100 || left > ev.High+100 {
			t.Errorf("%v hours are left, the evidence says %v (%v to %v)", left, ev.Value, ev.Low, ev.High)
		}
		return
	}
	t.Error("it never opened")
}

// TestBoundsOfHugeNumbers: whatever a device sends, evidence holds no bound that is not a number.
func TestBoundsOfHugeNumbers(t *testing.T) {
	bounds := 0
	for _, scale := range []float64{1e-170, 1e-160, 1e-155, 1e-150, 1, 1e140, 1e150, 1e153, 1e155, 1e160} {
		for _, limit := range []string{"0", "1", "1e150", "1e155", "1e300"} {
			l := newLife(t, `e | when: eta(vibration_mm_s, `+limit+`, "5m") >= 0 | evidence: ['eta(vibration_mm_s, `+limit+`, "5m")']`)
			for i := range 40 {
				r := l.reading(fleet.Telemetry, time.Duration(i)*20*time.Second, "")
				v := scale * (float64(i) + 0.01*float64(i*i%7))
				r.Fields = []fleet.Field{{Name: "vibration_mm_s", Value: fleet.Value{Type: fleet.Float, Float: v}}}
				for _, f := range l.sendReading(r) {
					if e := f.Evidence[0]; !finite(e.Low) || !finite(e.High) {
						t.Errorf("scale %g, limit %s: %+v", scale, limit, e)
					} else if e.HasRange {
						bounds++
					}
				}
			}
		}
	}
	if bounds == 0 {
		t.Error("no bounds were seen")
	}
}
