package rules

import (
	"testing"
	"time"
)

// calculated are the values of f over the in-order readings that brought one of the fields and have all of them.
func calculated(c *chronicle, fields []string, f func(have map[string]float64) (float64, bool)) (out []point) {
	for _, h := range c.readings() {
		came, all := false, true
		for _, name := range fields {
			_, is := h.came[name]
			_, has := h.have[name]
			came, all = came || is, all && has
		}
		if !came || !all {
			continue
		}
		if v, ok := f(h.have); ok {
			if n := len(out); n > 0 && out[n-1].t == h.t { // of one moment the last counts for what it is, the first is counted
				continue
			}
			out = append(out, point{h.t, v})
		}
	}
	return out
}

// TestSeriesAgainstTheObviousVersion: windows over what is calculated from fields, and over a field while a condition holds.
func TestSeriesAgainstTheObviousVersion(t *testing.T) {
	both := []string{"drain_s", "cycles"}
	while := func(have map[string]float64) (float64, bool) { return have["drain_s"], have["cycles"] > 5 }
	sum := func(have map[string]float64) (float64, bool) { return 2*have["drain_s"] + have["cycles"], true }
	in := func(fields []string, f func(map[string]float64) (float64, bool), eval func([]float64) float64) func(*chronicle, int64) float64 {
		return func(c *chronicle, at int64) float64 {
			var v []float64
			for _, p := range calculated(c, fields, f) {
				if p.t >= begin(at, msPerDay) {
					v = append(v, p.v)
				}
			}
			return eval(v)
		}
	}
	against(t, 1e-6, map[string]func(*chronicle, int64) float64{
		`avg(where(drain_s, cycles > 5), "1d")`:    in(both, while, mean),
		`stddev(where(drain_s, cycles > 5), "1d")`: in(both, while, deviation),
		`avg(2 * drain_s + cycles, "1d")`:          in(both, sum, mean),
		`max(2 * drain_s + cycles, "1d")`:          in(both, sum, func(v []float64) float64 { return quantileOf(v, 1) }),
	})
}

// TestSeriesInSeries: a window over a window is filled at each reading of the field, and what is calculated is shared by the rules.
func TestSeriesInSeries(t *testing.T) {
	l := newLife(t, `a | when: avg(max(drain_s, "1h"), "1d") > 59`, `b | when: avg(max(drain_s,"1h"), "1d") > 59 and held(drain_s > 1) > 1e6`)
	if n := len(l.s.set.programs["washer-w7"].cells); n != 2 { // the series, and held
		t.Errorf("%d cells, want 2", n)
	}
	want(t, l.send(0, "drain_s=40"))
	want(t, l.send(30*time.Minute, "drain_s=70")) // 40, 70: their mean is 55
	want(t, l.send(40*time.Minute, "drain_s=50"), "a opened")
	want(t, l.send(41*time.Minute, "vibration_mm_s=5"))
}
