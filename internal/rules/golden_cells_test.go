package rules

import (
	"math"
	"testing"
)

// drains is drain_s > 50 as the obvious version sees it: whether it holds, and whether that is known.
func drains(h *happening) (holds, isKnown bool) {
	v, ok := h.have["drain_s"]
	return v > 50, ok
}

func obviousHeld(c *chronicle, at int64) float64 {
	since, out := int64(-1), math.NaN()
	for _, h := range c.readings() {
		switch holds, ok := drains(&h); {
		case !ok:
		case !holds:
			since, out = -1, 0
		case since < 0:
			since = h.t
		}
	}
	if since >= 0 {
		return float64(at-since) / 1000
	}
	return out
}

func obviousSince(c *chronicle, at int64) float64 {
	out := math.NaN()
	for _, h := range c.readings() {
		if holds, _ := drains(&h); holds {
			out = float64(at-h.t) / 1000
		}
	}
	return out
}

func obviousSinceCode(c *chronicle, at int64) float64 {
	last := int64(-1)
	for _, h := range c.all {
		if h.code == "E18" {
			last = max(last, h.t)
		}
	}
	if last < 0 {
		return math.NaN()
	}
	return max(0, float64(at-last)/1000)
}

func obviousTimes(from func(at int64) int64) func(c *chronicle, at int64) float64 {
	return func(c *chronicle, at int64) float64 {
		n, was, known := 0.0, true, false
		for _, h := range c.readings() {
			holds, ok := drains(&h)
			if !ok {
				continue
			}
			if holds && !was && h.t >= from(at) {
				n++
			}
			was, known = holds, true
		}
		if !known {
			return math.NaN()
		}
		return n
	}
}

func obviousCodes(c *chronicle, at int64) float64 {
	n := 0.0
	for _, h := range c.all {
		if h.code == "E18" && h.t >= begin(at, 6*3_600_000) {
			n++
		}
	}
	return n
}

func obviousShare(c *chronicle, at int64) float64 {
	n, of := 0.0, 0.0
	for _, h := range c.readings() {
		_, came := h.came["drain_s"]
		if !came || h.t < begin(at, 12*3_600_000) {
			continue
		}
		of++
		if holds, _ := drains(&h); holds {
			n++
		}
	}
	return n / of
}

func obviousHours(c *chronicle, at int64) float64 {
	sum, known := 0.0, false
	rs := c.readings()
	for i, h := range rs {
		holds, ok := drains(&h)
		known = known || ok
		until := at
		if i+1 < len(rs) {
			until = rs[i+1].t
		}
		if holds {
			sum += float64(min(until-h.t, c.hold)) / 3_600_000
		}
	}
	if !known {
		return math.NaN()
	}
	return sum
}

func obviousTotal(c *chronicle, _ int64) float64 {
	sum := math.NaN()
	for i, v := range c.values("drain_s") {
		if i == 0 {
			sum = 0
		}
		sum += v.v
	}
	return sum
}

func obviousEwma(c *chronicle, _ int64) float64 {
	const tau = 7_200_000
	var got []point
	for _, h := range c.readings() {
		if v, ok := h.came["drain_s"]; ok {
			got = append(got, point{h.t, v})
		}
	}
	if len(got) == 0 {
		return math.NaN()
	}
	last, sum, weights := got[len(got)-1], 0.0, 0.0
	for i, p := range got[1:] { // a value stands for the time since the one before it; the first stands for none
		w := math.Exp(-float64(last.t-p.t)/tau) - math.Exp(-float64(last.t-got[i].t)/tau)
		sum, weights = sum+w*p.v, weights+w
	}
	if weights == 0 {
		return last.v
	}
	return sum / weights
}

// TestCellsAgainstTheObviousVersion: the functions that keep a cell give what going through all readings gives.
func TestCellsAgainstTheObviousVersion(t *testing.T) {
	against(t, 1e-9, map[string]func(*chronicle, int64) float64{
		`held(drain_s > 50)`:         obviousHeld,
		`since(drain_s > 50)`:        obviousSince,
		`since(code == "E18")`:       obviousSinceCode,
		`times(drain_s > 50, "12h")`: obviousTimes(func(at int64) int64 { return begin(at, 12*3_600_000) }),
		`starts(drain_s > 50)`:       obviousTimes(func(int64) int64 { return never }),
		`codes("E18", "6h")`:         obviousCodes,
		`times(code == "E18", "6h")`: obviousCodes,
		`share(drain_s > 50, "12h")`: obviousShare,
		`hours(drain_s > 50)`:        obviousHours,
		`total(drain_s)`:             obviousTotal,
		`ewma(drain_s, "2h")`:        obviousEwma,
		`ewma(drain_s, "120m") * 2`:  func(c *chronicle, at int64) float64 { return 2 * obviousEwma(c, at) },
	})
}
