package detect

import "math"

// Anomaly scores the values of one channel: how far each is from a mean that follows slowly, in mean absolute deviations.
type Anomaly struct {
	n         int
	mean, dev float64
}

// Step takes the next value and gives its score, from 0 (as usual) to 1, from the values before it.
func (a *Anomaly) Step(v float64) float64 {
	a.n++
	if a.n == 1 {
		a.mean = v
	}
	d := math.Abs(v - a.mean)
	w := 1 / math.Min(float64(a.n), 500)
	s := 0.0
	if a.dev > 0 {
		s = d / a.dev
	}
	a.mean += w * (v - a.mean)
	a.dev += w * (d - a.dev)
	return s / (s + 5)
}
