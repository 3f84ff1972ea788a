package rules

import (
	"math"
	"time"

	"github.com/expr-lang/expr/ast"
)

// An estimate of when a limit is reached, in hours from now; low and high bound it with a probability of about 80 %.
type estimate struct{ hours, low, high float64 }

// Quantiles of Student's t distribution for 1 to 14 degrees of freedom: 80 % lie within t80, and 99 % within t99.
var (
	t80 = [...]float64{3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372, 1.363, 1.356, 1.350, 1.345}
	t99 = [...]float64{63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012, 2.977}
)

// minEstimate is the fewest buckets of a window from which anything is foretold.
const minEstimate = 5

// reaches tells when the line reaches a limit, when it is on its way there and clearly has a slope: |t| beyond the 99 % of Student's
// distribution. The bounds are those of Fieller (J. Royal Statistical Society B 16(2), 1954) for the point at which a fitted line has a
// given value, as in Draper and Smith, Applied Regression Analysis, section 3.2, inverse estimation from a straight line.
func (tr *trend) reaches(limit float64) (estimate, bool) {
	if tr.n < minEstimate {
		return estimate{}, false
	}
	df := tr.n - 2 - 1 // index of the tables
	error2 := tr.s2 / tr.sxx
	if !(tr.slope*tr.slope > t99[df]*t99[df]*error2) {
		return estimate{}, false
	}
	days := tr.x + (limit-tr.y)/tr.slope
	if !(days >= 0) || !finite(days) {
		return estimate{}, false
	}
	g := t80[df] * t80[df] * error2 / (tr.slope * tr.slope)
	ahead := days - tr.x
	middle := tr.x + ahead/(1-g)
	half := t80[df] / math.Abs(tr.slope) * math.Sqrt(tr.s2*(ahead*ahead/tr.sxx+(1-g)/float64(tr.n))) / (1 - g)
	return estimate{hours: days * 24, low: max(middle-half, 0) * 24, high: (middle + half) * 24}, true
}

// pace is how fast a counter that only grows does so, taken from what it gained from each bucket to the next.
type pace struct {
	n     int     // gains
	days  float64 // they took together
	daily float64 // mean gain
	var1  float64 // variance of the gain of a day
}

// pace takes the gains from a window's buckets. It says false when there are too few of them. Means of m values in a row differ less
// from one to the next than single values do: by (2m²+1)/(3m²) in their variance (Working, Econometrica 28(4), 1960).
func (a *agg) pace(d *device, now int64) (p pace, ok bool) {
	from, n := a.span(d, now)
	var gains, took [buckets]float64
	lastX, lastY, readings := math.NaN(), 0.0, 0.0
	for b := from; b < from+n; b++ {
		i := int(b & (buckets - 1))
		c := d.count(a.count + i)
		if c == 0 {
			continue
		}
		x := float64(b*a.width+min((b+1)*a.width, max(now, b*a.width))) / 2 / msPerDay
		y := d.num(a.sum+i) / float64(c)
		if !math.IsNaN(lastX) && x > lastX {
			gains[p.n], took[p.n] = y-lastY, x-lastX
			p.days += took[p.n]
			p.daily += gains[p.n]
			p.n++
		}
		lastX, lastY = x, y
		readings += float64(c)
	}
	if p.n+1 < minEstimate {
		return p, false
	}
	p.daily /= p.days
	for i := range p.n {
		off := gains[i] - p.daily*took[i]
		p.var1 += off * off / took[i]
	}
	m := readings / float64(p.n+1)
	p.var1 *= 3 * m * m / (2*m*m + 1) / float64(p.n-1)
	return p, finite(p.daily) && finite(p.var1)
}

// reaches tells when a counter has gained so much more, at a pace that is clearly above zero. It is taken to be a Wiener process
// with drift: the time to a level is then inverse Gaussian with mean rest/pace and variance rest*var/pace^3 (Folks and Chhikara, J. Royal
// Statistical Society B 40(3), 1978); that of the pace itself is added. The bounds are normal ones on the logarithm: time is not negative.
func (p *pace) reaches(rest float64) (estimate, bool) {
	df := p.n - 1 - 1
	error2 := p.var1 / p.days
	if !(p.daily > 0) || !(p.daily*p.daily > t99[df]*t99[df]*error2) {
		return estimate{}, false
	}
	if rest <= 0 {
		return estimate{}, true
	}
	days := rest / p.daily
	relative := math.Sqrt(p.var1/(rest*p.daily) + error2/(p.daily*p.daily))
	factor := math.Exp(t80[df] * math.Sqrt(math.Log1p(relative*relative)))
	if !finite(days * factor) {
		return estimate{}, false
	}
	return estimate{hours: days * 24, low: days / factor * 24, high: days * factor * 24}, true
}

// defaultEta is the window that eta looks at when the rule does not say.
const defaultEta = "30d"

// eta compiles the hours until a field, or the use of a component, reaches a limit at the device's own pace.
func (c *compiler) eta(n *ast.CallNode) value {
	if len(n.Arguments) == 2 {
		call := *n
		call.Arguments = append(append([]ast.Node{}, n.Arguments...), &ast.StringNode{Value: defaultEta})
		n = &call
	}
	w, ok := c.span(n, "eta", "field, limit")
	if !ok {
		return value{slot: -1}
	}
	call, isCall := n.Arguments[0].(*ast.CallNode)
	if isCall && len(call.Arguments) == 1 {
		if name, _ := fieldName(call.Callee); name == "used" {
			return c.etaUsed(n, call, w)
		}
	}
	i, ok := c.takes(n, "eta")
	if !ok {
		return value{slot: -1}
	}
	spec := c.b.p.slots[i].spec
	limit, ok := c.limitOf(n, value{unit: spec.Unit})
	if !ok {
		return value{slot: -1}
	}
	c.use.sliding = true
	k := c.b.window(i, w, "slope")
	return estimated(i, func(e *env) (estimate, bool) {
		tr, ok := e.d.p.aggs[k].trend(e.d, e.now)
		if !ok {
			return estimate{}, false
		}
		return tr.reaches(limit(e))
	})
}

// etaUsed is eta over the use of a component. What it gained while another part of its kind was in counts for its pace.
func (c *compiler) etaUsed(n, call *ast.CallNode, window time.Duration) value {
	v, u, ok := c.useOf(call)
	if !ok {
		return value{slot: -1}
	}
	limit, ok := c.limitOf(n, v)
	if !ok {
		return value{slot: -1}
	}
	c.use.sliding = true
	series := "used(" + u.component + ")"
	k, made := c.b.agg(series, "", window, "slope")
	if made {
		cl := &c.b.p.cells[c.b.p.cellOf(u.last)]
		before := cl.step
		cl.step = func(e *env) {
			before(e)
			if grown := u.grown(e.d); !math.IsNaN(grown) {
				e.d.p.aggs[k].add(e.d, e.now, grown)
			}
		}
	}
	return estimated(v.slot, func(e *env) (estimate, bool) {
		p, ok := e.d.p.aggs[k].pace(e.d, e.now)
		if !ok {
			return estimate{}, false
		}
		return p.reaches(limit(e) - v.num(e))
	})
}

// limitOf reads the limit of eta, which is in the unit of what reaches it.
func (c *compiler) limitOf(n *ast.CallNode, of value) (numFn, bool) {
	l := c.expr(n.Arguments[1])
	switch {
	case l.kind == bad:
		return nil, false
	case l.kind != number:
		c.fail(n.Arguments[1], "", "the limit of eta is a number, but %s is %s", clip(n.Arguments[1].String()), l.kind)
		return nil, false
	}
	return l.num, c.sameUnits(n, "reaching", of, l, n.Arguments[0], n.Arguments[1])
}

// estimated is a value with the bounds it lies in.
func estimated(slot int, f func(*env) (estimate, bool)) value {
	return value{
		kind: number, slot: slot, unit: "h",
		num: func(e *env) float64 {
			if est, ok := f(e); ok {
				return est.hours
			}
			return math.NaN()
		},
		within: func(e *env) (low, high float64, ok bool) {
			est, ok := f(e)
			return est.low, est.high, ok
		},
	}
}
