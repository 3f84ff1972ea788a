package detect

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestStateIsKept: a detector that was encoded and read anywhere on its way says the same as one that was not.
func TestStateIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a Anomaly
		cfg := DefaultMulti(2)
		cfg.Train = minTrain
		m, err := NewMulti(cfg)
		if err != nil {
			t.Fatal(err)
		}
		b, other := a, m
		values := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 250).Draw(t, "values")
		at := rapid.IntRange(0, len(values)).Draw(t, "at")
		for i, v := range values {
			if i == at {
				kept := a.AppendState([]byte("x"))
				b = Anomaly{}
				if rest, err := b.ReadState(append(kept[1:], "rest"...)); err != nil || string(rest) != "rest" {
					t.Fatalf("%q, %v", rest, err)
				}
				other, _ = NewMulti(cfg)
				if rest, err := other.ReadState(append(m.AppendState(nil), "rest"...)); err != nil || string(rest) != "rest" {
					t.Fatalf("%q, %v", rest, err)
				}
			}
			x := a.Step(v)
			if y := b.Step(v); i >= at && x != y {
				t.Fatalf("value %d: %v and %v", i, x, y)
			}
			row := []float64{v, math.NaN()}
			if i%3 == 0 {
				row[1] = -v
			}
			said := m.Next(row)
			if i < at {
				continue
			}
			if y := other.Next(row); said != y {
				t.Fatalf("row %d: %v and %v", i, said, y)
			}
		}
	})
}

// FuzzState: what is damaged is refused or read, never a panic, and a detector that refused goes on as it was.
func FuzzState(f *testing.F) {
	var a Anomaly
	m, err := NewMulti(DefaultMulti(2))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(a.AppendState(nil))
	f.Add(m.AppendState(nil))
	for i := range 1000 {
		a.Step(float64(i % 17))
		m.Next([]float64{float64(i % 17), float64(i % 5)})
	}
	f.Add(a.AppendState(nil))
	f.Add(m.AppendState(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, before := a, a
		if _, err := x.ReadState(b); err != nil && x != before {
			t.Fatal("changed by what it refused")
		}
		if s := x.Step(3); !(s >= 0 && s < 1) {
			t.Fatalf("score %v", s)
		}
		y, err := NewMulti(DefaultMulti(2))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = y.ReadState(b)
		y.Next([]float64{1, 2})
	})
}
