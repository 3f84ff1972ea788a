package detect

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// life is a made-up channel around 10 over days: patterns of the day, the week and the year, as strong as swing says, weather that
// wanders, noise, and what happens added by at, all as parts of the level. each is called for every value.
func life(seed uint64, every time.Duration, days int, swing float64, at func(day float64) float64, each func(ms int64, v float64)) {
	rng := rand.New(rand.NewPCG(seed, 5))
	phase, weather := 2*math.Pi*rng.Float64(), 0.0
	stays := math.Exp(-every.Hours() / 60)
	for i := range int(time.Duration(days) * 24 * time.Hour / every) {
		day := float64(i) * every.Hours() / 24
		weather = stays*weather + math.Sqrt(1-stays*stays)*rng.NormFloat64()
		x := 0.2*math.Sin(2*math.Pi*day+phase) + 0.3*math.Sin(2*math.Pi*day/365+phase)
		if int(day)%7 >= 5 {
			x -= 0.2
		}
		each(1767225600000+int64(i)*every.Milliseconds(), 10*math.Exp(swing*x+0.04*weather+0.05*rng.NormFloat64()+at(day)))
	}
}

// firstAlarm is the day of the first alarm, -1 without one, and how many days were in alarm from a day on.
func firstAlarm(seed uint64, every time.Duration, days int, swing, from float64, at func(day float64) float64) (first, inAlarm float64) {
	var w Wear
	first = -1
	day := 0.0
	life(seed, every, days, swing, at, func(ms int64, v float64) {
		if w.Step(ms, v).Alarm {
			if first < 0 {
				first = day
			}
			if day >= from {
				inAlarm += every.Hours() / 24
			}
		}
		day += every.Hours() / 24
	})
	return first, inAlarm
}

// TestWearQuiet: healthy years with all patterns, and with a move in them, are left in peace.
func TestWearQuiet(t *testing.T) {
	for _, every := range []time.Duration{30 * time.Minute, 8 * time.Hour} {
		healthy, moved := 0, 0
		const years = 20
		for seed := range uint64(years) {
			if first, _ := firstAlarm(seed, every, 365, 1, 0, func(float64) float64 { return 0 }); first >= 0 {
				healthy++
			}
			at := 60 + 13.3*float64(seed)
			if first, _ := firstAlarm(seed, every, 365, 1, 0, func(day float64) float64 { return map[bool]float64{true: 0.8}[day > at] }); first >= 0 {
				moved++
			}
		}
		t.Logf("every %v: of %d years in alarm: %d healthy, %d with a move", every, years, healthy, moved)
		if healthy > 1 || moved > 2 {
			t.Errorf("every %v: of %d years in alarm: %d healthy, %d with a move", every, years, healthy, moved)
		}
	}
}

// TestWearFinds: growth to three times the level is found before it is there, and the alarm is over soon after the repair.
func TestWearFinds(t *testing.T) {
	for _, every := range []time.Duration{30 * time.Minute, 8 * time.Hour} {
		for _, days := range []float64{12, 30} {
			found, stays := 0, 0
			const years = 20
			for seed := range uint64(years) {
				first, after := firstAlarm(seed, every, 160, 0.3, 107+days, func(day float64) float64 {
					if day < 100 || day > 105+days {
						return 0
					}
					return math.Log(3) * math.Min(1, (day-100)/days)
				})
				if first >= 100 && first < 100+days {
					found++
				}
				if after > 2 {
					stays++
				}
			}
			t.Logf("every %v, over %v days: %d of %d found in time, %d in alarm after the repair", every, days, found, years, stays)
			least := years * 9 / 10
			if every > time.Hour {
				least = years / 2 // three values a day tell less
			}
			if found < least || stays > 2 {
				t.Errorf("every %v, over %v days: %d of %d found in time, %d in alarm after the repair", every, days, found, years, stays)
			}
		}
	}
}

// TestWearKnowsNoUnits: another unit scores the same; a channel that falls mirrors one that rises.
func TestWearKnowsNoUnits(t *testing.T) {
	var w, unit Wear
	falls, plain := Wear{Falls: true}, Wear{Plain: true}
	highest := 0.0
	life(1, time.Hour, 130, 0.3, func(day float64) float64 { return max(0, day-100) / 20 }, func(ms int64, v float64) {
		want := w.Step(ms, v)
		highest = max(highest, want.Score)
		for name, got := range map[string]Trend{"another unit": unit.Step(ms, v*3.6), "falling": falls.Step(ms, 1/v), "plain": plain.Step(ms, math.Log(v)-100)} {
			if got.Alarm != want.Alarm || math.Abs(got.Score-want.Score) > 1e-6*(1+want.Score) {
				t.Fatalf("%s: %+v, want %+v", name, got, want)
			}
		}
	})
	if highest < 1 {
		t.Errorf("growth scores %v", highest)
	}
}

// TestWearPassesOver: what is no measurement or late teaches nothing; a channel that stands still is quiet for ever.
func TestWearPassesOver(t *testing.T) {
	var a, b Wear
	life(2, time.Hour, 30, 1, func(float64) float64 { return 0 }, func(ms int64, v float64) {
		a.Step(ms, v)
		b.Step(ms, v)
		for _, bad := range []float64{0, -1, math.NaN(), math.Inf(1)} {
			b.Step(ms, bad)
		}
		b.Step(ms-5*60*60*1000, v*100)
	})
	if a != b {
		t.Errorf("%+v\nwant %+v", b, a)
	}
	var still Wear
	for i := range int64(1000) {
		if got := still.Step(i*3600_000, 0.1); got.Score > 1e-6 {
			t.Fatalf("a constant scores %v", got)
		}
	}
}

// TestWearRestored: a detector that was kept and read back goes on identically.
func TestWearRestored(t *testing.T) {
	var w, restored Wear
	n := 0
	life(3, 3*time.Hour, 150, 0.3, func(day float64) float64 { return max(0, day-100) / 20 }, func(ms int64, v float64) {
		if n++; n%37 == 0 {
			restored = Wear{}
			rest, err := restored.ReadState(append(w.AppendState([]byte("x"))[1:], "rest"...))
			if err != nil || string(rest) != "rest" {
				t.Fatal(rest, err)
			}
		} else if n < 37 {
			restored = w
		}
		if got, want := restored.Step(ms, v), w.Step(ms, v); got != want {
			t.Fatalf("value %d: %+v, want %+v", n, got, want)
		}
	})
	kept := w.AppendState(nil)
	for name, bad := range map[string][]byte{"short": kept[:len(kept)-1], "empty": nil, "another": append([]byte{'?'}, kept[1:]...), "no numbers": append(append([]byte{}, kept[:10]...), append([]byte{0, 0, 0, 0, 0, 0, 0xf0, 0x7f}, kept[18:]...)...)} {
		before := w
		if _, err := w.ReadState(bad); err == nil || w != before {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWearSize keeps the state of a series within what a million devices can afford.
func TestWearSize(t *testing.T) {
	if n := unsafe.Sizeof(Wear{}); n > 256 {
		t.Errorf("%d bytes a series, at most 256", n)
	}
	var w Wear
	ms := int64(0)
	if n := testing.AllocsPerRun(1000, func() { ms += 3600_000; w.Step(ms, 1+float64(ms%7)) }); n != 0 {
		t.Errorf("%v allocations a value", n)
	}
}

// FuzzWear: any values at any times are taken; scores are numbers and not below 0.
func FuzzWear(f *testing.F) {
	f.Add(uint64(1), int64(3600_000), 1.0, 2.0)
	f.Add(uint64(2), int64(math.MaxInt64/50), math.MaxFloat64, 5e-324)
	f.Add(uint64(3), int64(-1), -1.0, math.NaN())
	f.Fuzz(func(t *testing.T, seed uint64, step int64, a, b float64) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w, plain := Wear{Falls: seed%2 == 0}, Wear{Plain: true}
		ms := int64(0)
		for range 300 {
			ms += step
			v := a + (b-a)*rng.Float64()
			if seed%3 == 0 {
				v = math.Float64frombits(rng.Uint64())
			}
			for _, got := range []Trend{w.Step(ms, v), plain.Step(ms, v)} {
				if !(got.Score >= 0 && got.Score <= 1e6) {
					t.Fatalf("score %v", got.Score)
				}
			}
		}
	})
}

func BenchmarkWear(b *testing.B) {
	var values []float64
	life(1, 10*time.Minute, 30, 1, func(float64) float64 { return 0 }, func(_ int64, v float64) { values = append(values, v) })
	var w Wear
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		w.Step(i*600_000, values[i%int64(len(values))])
	}
	b.ReportMetric(float64(unsafe.Sizeof(w)), "B/series")
}
