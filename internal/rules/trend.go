package rules

import "math"

// trend is a straight line through the means of a window's buckets, by least squares. The buckets count alike, however many
// readings they hold: a day of many readings is no more than a day.
type trend struct {
	n     int     // buckets with readings
	x, y  float64 // their mean time (days before now, negative) and mean value
	slope float64 // per day
	sxx   float64 // sum of squared distances from x
	s2    float64 // variance of the residuals, with n-2 degrees of freedom
}

// minTrend is the fewest buckets that make a trend: two always lie on a line.
const minTrend = 3

// msPerDay is the length of a day.
const msPerDay = 24 * msPerHour

// trend fits the line at a time. It says false when there are too few buckets with readings.
func (a *agg) trend(d *device, now int64) (tr trend, ok bool) {
	from, n := a.span(d, now)
	var xs, ys [buckets]float64
	for b := from; b < from+n; b++ {
		i := int(b & (buckets - 1))
		c := d.count(a.count + i)
		if c == 0 {
			continue
		}
		middle := (b*a.width + min((b+1)*a.width, max(now, b*a.width))) / 2
		xs[tr.n], ys[tr.n] = float64(middle-now)/msPerDay, d.num(a.sum+i)/float64(c)
		tr.x += xs[tr.n]
		tr.y += ys[tr.n]
		tr.n++
	}
	if tr.n < minTrend {
		return tr, false
	}
	tr.x /= float64(tr.n)
	tr.y /= float64(tr.n)
	var sxy, syy float64
	for i := range tr.n {
		dx, dy := xs[i]-tr.x, ys[i]-tr.y
		tr.sxx += dx * dx
		sxy += dx * dy
		syy += dy * dy
	}
	if tr.sxx <= 0 {
		return tr, false
	}
	tr.slope = sxy / tr.sxx
	tr.s2 = max(syy-tr.slope*sxy, 0) / float64(tr.n-2)
	return tr, finite(tr.slope) && finite(tr.s2)
}

// deviation is the sample standard deviation of what is in the window, put together from its buckets as Chan, Golub and LeVeque
// do (The American Statistician 37(3), 1983). It is not known for fewer than two values.
func (a *agg) deviation(d *device, now int64) float64 {
	from, n := a.span(d, now)
	var count, mean, m2 float64
	for b := from; b < from+n; b++ {
		i := int(b & (buckets - 1))
		c := float64(d.count(a.count + i))
		if c == 0 {
			continue
		}
		delta, all := d.num(a.sum+i)/c-mean, count+c
		m2 += d.num(a.m2+i) + delta*delta*count*c/all
		mean += delta * c / all
		count = all
	}
	if count < 2 {
		return math.NaN()
	}
	return known(math.Sqrt(max(m2, 0) / (count - 1)))
}
