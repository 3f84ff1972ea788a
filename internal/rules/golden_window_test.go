package rules

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// inWindow are the values of drain_s that a window of time holds.
func inWindow(c *chronicle, at, ms int64) (out []float64) {
	for _, p := range c.values("drain_s") {
		if p.t >= begin(at, ms) {
			out = append(out, p.v)
		}
	}
	return out
}

// inCycles are the values of drain_s in the last n cycles: those that came since the counter fell last, by where it stood then.
func inCycles(c *chronicle, n float64) (out []float64, ok bool) {
	type counted struct{ at, v float64 }
	var list []counted
	last := math.NaN()
	for _, h := range c.readings() {
		at, known := h.have["cycles"]
		if !known {
			continue
		}
		if at < last {
			list = nil
		}
		last = at
		if v, came := h.came["drain_s"]; came {
			list = append(list, counted{at, v})
		}
	}
	from := begin(int64(last*1000), int64(n*1000))
	for _, p := range list {
		if int64(p.at*1000) >= from {
			out = append(out, p.v)
		}
	}
	return out, !math.IsNaN(last)
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

func deviation(v []float64) float64 {
	if len(v) < 2 {
		return math.NaN()
	}
	m, sum := mean(v), 0.0
	for _, x := range v {
		sum += (x - m) * (x - m)
	}
	return math.Sqrt(sum / float64(len(v)-1))
}

// quantileOf is type 7 on all values.
func quantileOf(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	at := q * float64(len(v)-1)
	i := int(at)
	if i == len(v)-1 {
		return v[i]
	}
	return v[i] + (v[i+1]-v[i])*(at-float64(i))
}

// crowded reports whether a bucket of a window got more values than a sketch tells apart.
func crowded(points []point, ms int64) bool {
	in := map[int64]int{}
	for _, p := range points {
		if in[floorDiv(p.t, ms/buckets)]++; in[floorDiv(p.t, ms/buckets)] > centroids {
			return true
		}
	}
	return false
}

func obviousSlope(c *chronicle, at int64) float64 {
	const width = 2 * msPerDay / buckets
	bucket := map[int64][]float64{}
	for _, p := range c.values("drain_s") {
		if p.t >= begin(at, 2*msPerDay) {
			bucket[floorDiv(p.t, width)] = append(bucket[floorDiv(p.t, width)], p.v)
		}
	}
	xs, ys := make([]float64, 0, len(bucket)), make([]float64, 0, len(bucket))
	for b, v := range bucket {
		end := (b + 1) * width
		if at < end {
			end = at
		}
		xs, ys = append(xs, float64((b*width+end)/2-at)/msPerDay), append(ys, mean(v))
	}
	if len(xs) < 3 {
		return math.NaN()
	}
	sxy, sxx := 0.0, 0.0
	for i := range xs {
		sxy += (xs[i] - mean(xs)) * (ys[i] - mean(ys))
		sxx += (xs[i] - mean(xs)) * (xs[i] - mean(xs))
	}
	return sxy / sxx
}

// TestWindowFunctionsAgainstTheObviousVersion: in windows of time and of a counter, with late values and counters that are reset.
func TestWindowFunctionsAgainstTheObviousVersion(t *testing.T) {
	const day = msPerDay
	cycles := func(f func([]float64) float64) func(*chronicle, int64) float64 {
		return func(c *chronicle, _ int64) float64 {
			v, ok := inCycles(c, 20)
			if !ok {
				return math.NaN()
			}
			return f(v)
		}
	}
	against(t, 1e-6, map[string]func(*chronicle, int64) float64{
		`stddev(drain_s, "1d")`:        func(c *chronicle, at int64) float64 { return deviation(inWindow(c, at, day)) },
		`avg(drain_s, "1d")`:           func(c *chronicle, at int64) float64 { return mean(inWindow(c, at, day)) },
		`slope(drain_s, "2d")`:         obviousSlope,
		`avg(drain_s, "20 cycles")`:    cycles(mean),
		`stddev(drain_s, "20 cycles")`: cycles(deviation),
		`max(drain_s, "20 cycles")`:    cycles(func(v []float64) float64 { return quantileOf(v, 1) }),
		`quantile(drain_s, 0.9, "1d")`: func(c *chronicle, at int64) float64 {
			if crowded(c.values("drain_s"), day) {
				return anything
			}
			return quantileOf(inWindow(c, at, day), 0.9)
		},
		`quantile(drain_s, 0.5, "20 cycles")`: cycles(func(v []float64) float64 {
			if len(v) > centroids {
				return anything
			}
			return quantileOf(v, 0.5)
		}),
		`count(drain_s, "20 cycles")`: func(c *chronicle, _ int64) float64 {
			v, ok := inCycles(c, 20)
			seen := false
			for _, h := range c.readings() {
				_, came := h.came["drain_s"]
				seen = seen || came
			}
			if !ok || !seen {
				return math.NaN()
			}
			return float64(len(v))
		},
	})
}

// TestSketchIsNear: of any number of values the quantile lies where at most an eighth of them and two more are between it and the true one.
func TestSketchIsNear(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSketch().(*sketch) //nolint:forcetypeassert // as newSketch made it
		n := rapid.IntRange(1, 3000).Draw(t, "n")
		order := rapid.SampledFrom([]string{"none", "rising", "falling"}).Draw(t, "order")
		rng := uint64(rapid.IntRange(1, 1<<30).Draw(t, "seed"))
		values := make([]float64, n)
		for i := range values {
			rng = rng*6364136223846793005 + 1442695040888963407
			values[i] = math.Pow(float64(rng>>40), 1.5)
		}
		if order != "none" {
			slices.Sort(values)
		}
		if order == "falling" {
			slices.Reverse(values)
		}
		for i, v := range values {
			s.add(int64(i), 200, v)
		}
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		within := values[max(0, (n-1)/200-15)*200:]
		got, _ := s.quantile(q, int64(n-1), 200)
		below := 0.0
		for _, v := range within {
			if v < got {
				below++
			}
		}
		const off = 0.125
		if have := below / float64(len(within)); math.Abs(have-q) > off+2/float64(len(within)) {
			t.Fatalf("%v of %d values (%s) are below the quantile %v", have, len(within), order, q)
		}
	})
}
