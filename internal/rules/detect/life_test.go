package detect

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// roads are the ways from 10 to 2 over 100 places: evenly, in parts of itself, and late but then fast.
var roads = map[string]func(x float64) float64{
	"evenly":   func(x float64) float64 { return 10 - 8*x/100 },
	"in parts": func(x float64) float64 { return 10 * math.Pow(0.2, x/100) },
	"late":     func(x float64) float64 { return 10 - 8*math.Pow(x/100, 4) },
}

// TestLifeForesees: each way is recognised from what lies behind, without noise nearly exactly, with noise within the interval that is given.
func TestLifeForesees(t *testing.T) {
	for name, road := range roads {
		l := Life{Limit: 2}
		for x := range 70 {
			l.Step(float64(x), road(float64(x)))
		}
		if got := l.Left(); !got.Known || math.Abs(got.Remaining-31) > 1 || got.Low > 31 || got.High < 31 {
			t.Errorf("%s: %+v, want 31", name, got)
		}
		inside, known := 0, 0
		for seed := range uint64(100) {
			rng := rand.New(rand.NewPCG(seed, 2))
			l := Life{Limit: 2}
			for x := range 70 {
				l.Step(float64(x), road(float64(x))+0.3*rng.NormFloat64())
			}
			if got := l.Left(); got.Known {
				known++
				if got.Low <= 31 && got.High >= 31 {
					inside++
				}
			}
		}
		t.Logf("%s: with noise known %d of 100, in the interval %d", name, known, inside)
		if known < 90 || inside < known*8/10 {
			t.Errorf("%s: with noise known %d of 100, in the interval %d", name, known, inside)
		}
	}
}

// TestLifeKnowsNothing: of what stands still, wanders about or moves away from the limit nothing is said, or seldom.
func TestLifeKnowsNothing(t *testing.T) {
	said, n := 0, 0
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 3))
		still, away, wander := Life{Limit: 20}, Life{Limit: 20}, 0.0
		for x := range 300 {
			wander = 0.9*wander + rng.NormFloat64()
			if still.Step(float64(x), 10+wander).Known {
				said++
			}
			if away.Step(float64(x), 10-float64(x)/20+0.1*wander).Known && x > 30 {
				t.Fatalf("value %d moves away, and %+v", x, away.Left())
			}
			n++
		}
	}
	t.Logf("%d of %d values that stand still are said to lead somewhere", said, n)
	if said > n/10 {
		t.Errorf("%d of %d values that stand still are said to lead somewhere", said, n)
	}
}

// TestLifeKnowsNoUnits: another unit of the values or the places, another origin of the places, and the mirror image say the same.
func TestLifeKnowsNoUnits(t *testing.T) {
	l, unit, seconds, mirror := Life{Limit: 2}, Life{Limit: 7.2}, Life{Limit: 2}, Life{Limit: -2}
	plain := Life{Limit: 2}
	plain.noLogs = true // as the mirror image: below 0 there are no logarithms
	rng := rand.New(rand.NewPCG(5, 5))
	same := func(what string, got, want Left, scale float64) {
		t.Helper()
		for _, d := range []float64{got.Remaining - want.Remaining*scale, got.Low - want.Low*scale, got.High - want.High*scale} {
			if got.Known != want.Known || math.Abs(d) > 1e-6*(1+want.High*scale) {
				t.Fatalf("%s: %+v, want %+v times %v", what, got, want, scale)
			}
		}
	}
	known := 0
	for x := range 99 {
		at, v := float64(x), roads["evenly"](float64(x))+0.2*rng.NormFloat64()
		want := l.Step(at, v)
		same("another unit", unit.Step(at, v*3.6), want, 1)
		same("seconds", seconds.Step(1e6+at*3600, v), want, 3600)
		same("mirrored", mirror.Step(at, -v), plain.Step(at, v), 1)
		if want.Known {
			known++
		}
	}
	if known < 60 {
		t.Errorf("%d of 99 known", known)
	}
}

// TestLifeAtTheLimit: nothing is left at the limit; what comes back has some again. What is no measurement teaches nothing.
func TestLifeAtTheLimit(t *testing.T) {
	l := Life{Limit: 2}
	for x := range 101 {
		l.Step(float64(x), roads["evenly"](float64(x)))
		before := l
		l.Step(float64(x), math.NaN())
		l.Step(math.Inf(1), 3)
		l.Step(float64(x)-1, 300)
		if l != before {
			t.Fatal("what is no measurement has taught something")
		}
	}
	if got := l.Left(); got != (Left{Known: true}) {
		t.Errorf("at the limit: %+v", got)
	}
	if got := l.Step(101, 2.5); !got.Known || got.Remaining > 10 {
		t.Errorf("above it again: %+v", got)
	}
}

func TestLifeRestored(t *testing.T) {
	l, restored := Life{Limit: 2}, Life{Limit: 2}
	rng := rand.New(rand.NewPCG(7, 5))
	for x := range 110 {
		if x%9 == 0 {
			restored = Life{Limit: 2}
			if rest, err := restored.ReadState(append(l.AppendState(nil), 1, 2)); err != nil || len(rest) != 2 || restored != l {
				t.Fatal(rest, err)
			}
		}
		v := roads["late"](float64(x)) + rng.NormFloat64()
		if got, want := restored.Step(float64(x), v), l.Step(float64(x), v); got != want {
			t.Fatalf("value %d: %+v, want %+v", x, got, want)
		}
	}
	kept, before := l.AppendState(nil), l
	for name, bad := range map[string][]byte{"short": kept[:len(kept)-1], "another": new(Wear).AppendState(nil)} {
		if _, err := l.ReadState(bad); err == nil || l != before {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLifeSize(t *testing.T) {
	if n := unsafe.Sizeof(Life{}); n > 320 {
		t.Errorf("%d bytes a series, at most 320", n)
	}
	l, x := Life{Limit: 2}, 0.0
	if n := testing.AllocsPerRun(1000, func() { x++; l.Step(x, 1e6-x) }); n != 0 {
		t.Errorf("%v allocations a value", n)
	}
}

// FuzzLife: whatever comes, what is said is in order, and the state can be kept.
func FuzzLife(f *testing.F) {
	f.Add(uint64(1), 1.0, 10.0, 2.0)
	f.Add(uint64(2), 1e29, 1e99, -1e99)
	f.Add(uint64(3), 1e-160, -5.0, 0.0)
	f.Add(uint64(4), math.Inf(1), 5e-324, 5e-324)
	f.Fuzz(func(t *testing.T, seed uint64, step, from, limit float64) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l, at := Life{Limit: limit}, 0.0
		for range 60 {
			at += step * rng.Float64()
			v := from + (limit-from)*rng.Float64()
			if seed%3 == 0 {
				v = math.Float64frombits(rng.Uint64())
			}
			got := l.Step(at, v)
			if !(got.Low >= 0 && got.Low <= got.Remaining && got.Remaining <= got.High) || !got.Known && got != (Left{}) {
				t.Fatalf("%+v", got)
			}
		}
		if _, err := new(Life).ReadState(l.AppendState(nil)); err != nil {
			t.Fatalf("%+v cannot be kept", l)
		}
	})
}

func BenchmarkLife(b *testing.B) {
	l, x := Life{Limit: 2}, 0.0
	b.ReportAllocs()
	for b.Loop() {
		x++
		l.Step(x, 1e9-x)
	}
	b.ReportMetric(float64(unsafe.Sizeof(l)), "B/series")
}
