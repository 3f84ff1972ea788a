package rules

import (
	"math"
	"testing"
)

// lastTwo are the last values of drain_s that came in order, the newest first; unknown where there are fewer.
func lastTwo(c *chronicle) (newest, before point) {
	newest, before = point{v: math.NaN()}, point{v: math.NaN()}
	for _, h := range c.readings() {
		if v, ok := h.came["drain_s"]; ok {
			newest, before = point{h.t, v}, newest
		}
	}
	return newest, before
}

// TestPastAgainstTheObviousVersion: the functions of the last values, and the plain windows.
func TestPastAgainstTheObviousVersion(t *testing.T) {
	of := func(f func(newest, before point) float64) func(*chronicle, int64) float64 {
		return func(c *chronicle, _ int64) float64 { return f(lastTwo(c)) }
	}
	known := func(v point, got float64) float64 {
		if math.IsNaN(v.v) {
			return math.NaN()
		}
		return got
	}
	// count and sum of an empty window are 0 once the field came in order; a late value alone is in the window all the same.
	window := func(f func([]float64) float64) func(*chronicle, int64) float64 {
		return func(c *chronicle, at int64) float64 {
			newest, _ := lastTwo(c)
			return known(newest, f(inWindow(c, at, msPerDay)))
		}
	}
	total := func(v []float64) (sum float64) {
		for _, x := range v {
			sum += x
		}
		return sum
	}
	against(t, 1e-9, map[string]func(*chronicle, int64) float64{
		`drain_s`:        of(func(newest, _ point) float64 { return newest.v }),
		`prev(drain_s)`:  of(func(_, before point) float64 { return before.v }),
		`delta(drain_s)`: of(func(newest, before point) float64 { return newest.v - before.v }),
		`rate(drain_s)`: of(func(newest, before point) float64 {
			if newest.t == before.t {
				return math.NaN()
			}
			return (newest.v - before.v) / (float64(newest.t-before.t) / msPerHour)
		}),
		`changed(drain_s) ? 1 : 0`: of(func(newest, before point) float64 {
			if newest.v != before.v {
				return known(before, 1)
			}
			return 0
		}),
		`age(drain_s)`: func(c *chronicle, at int64) float64 {
			newest, _ := lastTwo(c)
			return known(newest, float64(at-newest.t)/1000)
		},
		`sum(drain_s, "1d")`:   window(total),
		`count(drain_s, "1d")`: window(func(v []float64) float64 { return float64(len(v)) }),
		`min(drain_s, "1d")`:   func(c *chronicle, at int64) float64 { return quantileOf(inWindow(c, at, msPerDay), 0) },
		`max(drain_s, "1d")`:   func(c *chronicle, at int64) float64 { return quantileOf(inWindow(c, at, msPerDay), 1) },
	})
}
