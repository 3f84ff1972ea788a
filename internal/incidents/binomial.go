package incidents

import "math"

// tail is the probability of at least k of n when each has it with probability p, independently: the upper tail of the binomial
// distribution, summed term by term. Below the mean the other tail is summed, so that the terms always fall and the result keeps its
// relative precision.
func tail(k, n int, p float64) float64 {
	switch {
	case k <= 0:
		return 1
	case k > n || p <= 0:
		return 0
	case p >= 1:
		return 1
	}
	if float64(k) > float64(n)*p {
		return min(1, sum(k, n, p, 1))
	}
	return max(0, 1-sum(k-1, n, p, -1))
}

// sum adds the probabilities of k, k+step, k+2 step ... of n until nothing is added any more. They must fall from k on.
func sum(k, n int, p float64, step int) float64 {
	term := math.Exp(logChoose(n, k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	total := 0.0
	for odds := p / (1 - p); k >= 0 && k <= n && term > total*1e-17; k += step {
		total += term
		if step > 0 {
			term *= odds * float64(n-k) / float64(k+1)
		} else {
			term *= float64(k) / float64(n-k+1) / odds
		}
	}
	return total
}

func logChoose(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

// confidence is that of the upper bounds.
const confidence = 0.95

// upper is the rate that is not exceeded, with a confidence of 95 %, when x of n had it: the upper bound of Clopper and Pearson
// (Biometrika 26, 1934), the p at which so few as x of n have the probability 5 %. With x = 0 it is small and not zero
// (3/n); with n = 0 nothing is known, and it is 1.
func upper(x, n int) float64 {
	if x >= n {
		return 1
	}
	low, high := float64(x)/float64(n), 1.0
	for range 60 {
		p := (low + high) / 2
		if 1-tail(x+1, n, p) > 1-confidence {
			low = p
		} else {
			high = p
		}
	}
	return high
}

// likelihood is the logarithm of that of k of n at the rate k/n.
func likelihood(k, n float64) float64 {
	if n <= 0 || k <= 0 || k >= n {
		return 0
	}
	return k*math.Log(k/n) + (n-k)*math.Log1p(-k/n)
}
