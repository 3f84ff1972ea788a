package ruletest

import (
	"math"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// written shows points one by one, so that a case is one line.
func written(ps []point) string {
	var out []string
	for _, p := range ps {
		if p.gap {
			out = append(out, "_")
		} else {
			out = append(out, show(p.value))
		}
	}
	return strings.Join(out, " ")
}

func TestSeries(t *testing.T) {
	for _, c := range []struct {
		in   string
		of   fleet.FieldType
		want string
	}{
		{"55", fleet.Float, "55"},
		{"55x3 _ -1.5", fleet.Float, "55 55 55 _ -1.5"},
		{"70..95/6 _x3", fleet.Float, "70 75 80 85 90 95 _ _ _"},
		{"10..0/3", fleet.Float, "10 5 0"},
		{"0..1/2x2", fleet.Float, "0 1 0 1"},
		{"1..2/4", fleet.Integer, "1 1 2 2"},
		{"false true _ true", fleet.Boolean, "false true _ true"},
		{"mowing a..b _", fleet.String, "mowing a..b _"},
		{"ecox x2x1", fleet.String, "ecox x2"},
	} {
		got, err := parseSeries(c.in, c.of)
		if err != nil || written(got) != c.want {
			t.Errorf("%q: %q, %v; want %q", c.in, written(got), err, c.want)
		}
	}
}

func TestSeriesRefuses(t *testing.T) {
	for in, of := range map[string]fleet.FieldType{
		"": fleet.Float, "5x0": fleet.Float, "x3": fleet.Float, "NaN": fleet.Float, "inf": fleet.Float, "1..2": fleet.Float, "1..2/1": fleet.Float,
		"a..2/3": fleet.Float, "1x100001": fleet.Float, "1x60000 2x60000": fleet.Float, "1..2/60000x2": fleet.Float, "1..2/9x99999": fleet.Float,
		"1.5": fleet.Integer, "1e300": fleet.Integer, "1": fleet.Boolean, "true..false/2": fleet.Boolean, "yes": fleet.Boolean,
	} {
		if got, err := parseSeries(in, of); err == nil {
			t.Errorf("%q is taken as %q", in, written(got))
		}
	}
}

func TestTime(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0s": 0, "90s": 90 * time.Second, "2h30m": 150 * time.Minute, "3d": 72 * time.Hour, "3d12h": 84 * time.Hour,
	} {
		if got, err := parseTime(in); err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "5", "-1h", "d", "-1d", "3dd", "1d-1h", "900d", "732d1s", "99999999999999999999d", "1d2d"} {
		if got, err := parseTime(in); err == nil {
			t.Errorf("%q is taken as %v", in, got)
		}
	}
	for _, want := range []string{"0s", "1m30s", "2h", "2h30m", "3d", "3d12h", "1d1s", "10m", "20h10m"} {
		if d, err := parseTime(want); err != nil || spell(d) != want {
			t.Errorf("%q comes back as %q, %v", want, spell(d), err)
		}
	}
}

// FuzzSeries: whatever is written, the answer is an error or a bounded series of finite values of the profile's type; and what
// was read comes back when it is written out value by value.
func FuzzSeries(f *testing.F) {
	for _, s := range []string{"55x20 70..95/10 _x3", "true", "a..b", "1x99999 2", "..", "/", "xx1", "0x5", "1e9..-1e9/7x3"} {
		f.Add(s, uint8(0))
	}
	types := []fleet.FieldType{fleet.Float, fleet.Integer, fleet.Boolean, fleet.String}
	f.Fuzz(func(t *testing.T, s string, of uint8) {
		want := types[int(of)%len(types)]
		got, err := parseSeries(s, want)
		if err != nil {
			return
		}
		if len(got) == 0 || len(got) > maxValues {
			t.Fatalf("%q: %d values", s, len(got))
		}
		for _, p := range got {
			if !p.gap && (p.value.Type != want || math.IsNaN(p.value.Float) || math.IsInf(p.value.Float, 0)) {
				t.Fatalf("%q: %+v", s, p)
			}
		}
		if want != fleet.Integer || len(got) > 1000 {
			return
		}
		again, err := parseSeries(written(got), want)
		if err != nil || written(again) != written(got) {
			t.Fatalf("%q: %q comes back as %q, %v", s, written(got), written(again), err)
		}
	})
}

// FuzzTime: a time that is read is within bounds, and comes back when it is spelled.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"3d12h", "1h1m1s", "0s", "1.5h", "1ns"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseTime(s)
		if err != nil {
			return
		}
		if d < 0 || d > maxSpan {
			t.Fatalf("%q: %v", s, d)
		}
		if again, err := parseTime(spell(d)); err != nil || again != d {
			t.Fatalf("%q: %v is spelled %q and read as %v, %v", s, d, spell(d), again, err)
		}
	})
}
