package rules

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"github.com/expr-lang/expr/ast"
)

// extent is how long a window is: of time, or of a counter, in thousandths of it as if they were milliseconds.
type extent struct {
	d    time.Duration
	axis int // the counter's slot; -1: time
}

// window compiles the functions over a window of a field.
func (c *compiler) window(n *ast.CallNode, name string) value {
	i, ok := c.takes(n, name)
	if !ok {
		return value{slot: -1}
	}
	q := 0.0
	if name == "quantile" {
		if q, ok = c.share(n); !ok {
			return value{slot: -1}
		}
	}
	w, ok := c.extent(n, name)
	if !ok {
		return value{slot: -1}
	}
	c.use.sliding = c.use.sliding || w.axis < 0
	spec, cur := c.b.p.slots[i].spec, c.b.p.slots[i].f
	v := value{kind: number, slot: i, unit: spec.Unit}
	if name == "quantile" {
		v.num = c.quantile(i, w, q)
		return v
	}
	k := c.b.windowOver(i, w, name)
	switch name {
	case "count":
		v.unit = ""
		counted := c.b.over(k, w, (*agg).counted)
		v.num = func(e *env) float64 { return everSeen(e, cur, counted(e)) }
	case "sum":
		summed := c.b.over(k, w, (*agg).summed)
		v.num = func(e *env) float64 { return known(everSeen(e, cur, summed(e))) }
	case "min":
		v.num = c.b.over(k, w, (*agg).smallest)
	case "max":
		v.num = c.b.over(k, w, (*agg).largest)
	case "stddev":
		v.num = c.b.over(k, w, (*agg).deviation)
	default:
		v.num = c.b.over(k, w, (*agg).mean)
	}
	return v
}

// over reads a window at the moment, or where the counter stands that measures it.
func (b *builder) over(k int, w extent, read func(*agg, *device, int64) float64) numFn {
	if w.axis < 0 {
		return func(e *env) float64 { return read(&e.d.p.aggs[k], e.d, e.now) }
	}
	counter := b.p.slots[w.axis].f
	return func(e *env) float64 {
		at, ok := thousandths(e.d.num(counter))
		if !ok {
			return math.NaN()
		}
		return read(&e.d.p.aggs[k], e.d, at)
	}
}

// thousandths is the place of a counter's value in a window that it measures.
func thousandths(v float64) (int64, bool) {
	if !(math.Abs(v) < 1e12) {
		return 0, false
	}
	return int64(math.Floor(v * 1000)), true
}

// windowOver returns the number of the aggregate over a field and a window, with the part that fn reads.
func (b *builder) windowOver(slot int, w extent, fn string) int {
	if w.axis < 0 {
		return b.window(slot, w.d, fn)
	}
	spec, axis := b.p.slots[slot].spec, b.p.slots[w.axis].spec.Name
	k, made := b.agg(spec.Name, axis, w.d, fn)
	if made {
		b.along(spec.Name, slot, w, func(d *device) { d.p.aggs[k].empty(d) }, func(d *device, at int64, v float64) { d.p.aggs[k].add(d, at, v) })
	}
	return k
}

// along makes the cell that fills a window measured by a counter. A counter that falls was reset: the window begins anew. A late
// reading is left out, since it does not say where the counter stood.
func (b *builder) along(name string, slot int, w extent, empty func(*device), add func(*device, int64, float64)) {
	axis := &b.p.slots[w.axis]
	cl, made := b.cell("along("+name+", "+axis.spec.Name+", "+strconv.FormatInt(w.d.Milliseconds(), 10)+")", 1, 0, usage{slots: []int{slot, w.axis}})
	if !made {
		return
	}
	f, counter, cur := cl.f, axis.f, b.p.slots[slot].f
	cl.step = func(e *env) {
		at, ok := thousandths(e.d.num(counter))
		if !ok {
			return
		}
		if last := e.d.num(f); float64(at) < last {
			empty(e.d)
		}
		e.d.setNum(f, float64(at))
		if e.came.has(slot) {
			add(e.d, at, e.d.num(cur))
		}
	}
}

// quantile compiles the value below which a share of a window's values lies.
func (c *compiler) quantile(slot int, w extent, q float64) numFn {
	spec, cur, axis := c.b.p.slots[slot].spec, c.b.p.slots[slot].f, ""
	if w.axis >= 0 {
		axis = c.b.p.slots[w.axis].spec.Name + " "
	}
	width := w.d.Milliseconds() / buckets
	cl, made := c.b.cell("quantiles("+spec.Name+", "+axis+strconv.FormatInt(w.d.Milliseconds(), 10)+")", 0, 0, usage{slots: []int{slot}})
	if made {
		c.b.remembers(cl, newSketch, sketchBytes)
	}
	k := c.b.cellNumber(cl.name)
	add := func(d *device, at int64, v float64) { d.memo(&d.p.cells[k]).(*sketch).add(at, width, v) } //nolint:forcetypeassert // as newSketch made it
	if made && w.axis < 0 {
		cl.step = func(e *env) { add(e.d, e.now, e.d.num(cur)) }
		c.b.takesLate(cl, slot, add)
	} else if made {
		cl.step = func(*env) {}
		c.b.along("quantiles("+spec.Name+")", slot, w, func(d *device) { d.forget(&d.p.cells[k]) }, add)
	}
	worked := func(e *env, at int64) (v float64, n float64) {
		sk, ok := e.d.peek(&e.d.p.cells[k]).(*sketch)
		if !ok {
			return math.NaN(), 0
		}
		return sk.quantile(q, at, width)
	}
	if w.axis < 0 {
		return c.b.kept(spec.Name, slot, w, q, worked)
	}
	counter := c.b.p.slots[w.axis].f
	return func(e *env) float64 {
		at, ok := thousandths(e.d.num(counter))
		if !ok {
			return math.NaN()
		}
		v, _ := worked(e, at)
		return known(v)
	}
}

// A window of many values grows by its sixteenth, as it moves on by sixteenths, before its quantiles are worked out anew: one more
// of many changes little, and sorting them at every reading would be most of the work there is.
const (
	refresh = 16
	many    = 64
)

// kept keeps a quantile of a window of time until the window moves on by a bucket or has grown.
func (b *builder) kept(name string, slot int, w extent, q float64, worked func(e *env, at int64) (v, n float64)) numFn {
	width := w.d.Milliseconds() / buckets
	cl, made := b.cell(fmt.Sprintf("quantile(%s, %v, %d)", name, q, w.d.Milliseconds()), 2, 1, usage{slots: []int{slot}, sliding: true})
	f, left, t := cl.f, cl.f+1, cl.t
	if made {
		cl.step = func(e *env) {
			bucket, wait := floorDiv(e.now, width), e.d.num(left)
			if !math.IsNaN(e.d.num(f)) && e.d.time(t) == bucket {
				if !e.came.has(slot) {
					return
				}
				if wait > 1 {
					e.d.setNum(left, wait-1)
					return
				}
			}
			v, n := worked(e, e.now)
			e.d.setNum(f, v)
			if n < many {
				n = 0
			}
			e.d.setNum(left, math.Floor(n/refresh))
			e.d.setTime(t, bucket)
		}
		b.takesLate(cl, slot, func(d *device, _ int64, _ float64) { d.setTime(t, never) })
	}
	return func(e *env) float64 {
		if v := e.d.num(f); !math.IsNaN(v) && e.d.time(t) == floorDiv(e.now, width) {
			return known(v)
		}
		v, _ := worked(e, e.now)
		return known(v)
	}
}

// share reads the second argument of quantile.
func (c *compiler) share(n *ast.CallNode) (float64, bool) {
	v, _ := c.apart(n.Arguments[1])
	if v.kind == bad {
		return 0, false
	}
	if v.kind != number || !v.isConst || !(v.konst >= 0 && v.konst <= 1) {
		c.fail(n.Arguments[1], "0.5 is the median, 0.9 the value that nine of ten do not reach", "%s is not a share from 0 to 1", clip(n.Arguments[1].String()))
		return 0, false
	}
	return v.konst, true
}

// slope compiles the trend of a field in a window, per day.
func (c *compiler) slope(n *ast.CallNode) value {
	i, ok := c.takes(n, "slope")
	if !ok {
		return value{slot: -1}
	}
	d, ok := c.span(n, "slope", "field")
	if !ok {
		return value{slot: -1}
	}
	c.use.sliding = true
	k := c.b.window(i, d, "slope")
	v := value{kind: number, slot: i, num: func(e *env) float64 {
		tr, ok := e.d.p.aggs[k].trend(e.d, e.now)
		if !ok {
			return math.NaN()
		}
		return tr.slope
	}}
	if unit := c.b.p.slots[i].spec.Unit; measured(unit) {
		v.unit = unit + "/d"
	}
	return v
}

// everSeen makes count and sum of an empty window zero only for a device that has sent the field at all.
func everSeen(e *env, cur int, v float64) float64 {
	if f := e.d.num(cur); math.IsNaN(f) {
		return f
	}
	return v
}

// extent reads the last argument of a function as a window of time, or of a counter: "50 cycles".
func (c *compiler) extent(n *ast.CallNode, name string) (extent, bool) {
	arg := len(n.Arguments) - 1
	lit, isText := n.Arguments[arg].(*ast.StringNode)
	amount, counter, isCounter := "", "", false
	if isText {
		amount, counter, isCounter = strings.Cut(strings.TrimSpace(lit.Value), " ")
	}
	much, err := strconv.ParseFloat(amount, 64)
	spec := c.b.model.Field(strings.TrimSpace(counter))
	if !isCounter || err != nil || spec == nil && isUnitWord(counter) {
		d, ok := c.span(n, name, "field")
		return extent{d: d, axis: -1}, ok
	}
	switch {
	case spec == nil:
		c.missing = append(c.missing, strings.TrimSpace(counter))
		c.fail(n.Arguments[arg], didYouMean(counter, c.b.names()), "unknown field %q of model %s", clip(counter), c.b.model.ID)
	case spec.Type != fleet.Integer && spec.Type != fleet.Float:
		c.fail(n.Arguments[arg], "a number that only grows", "%s is a %s: it does not measure a window", spec.Name, spec.Type)
	case !(much >= 0.1 && much <= 1e9):
		c.fail(n.Arguments[arg], "from 0.1 to 1000000000", "a window of %s is too short or too long", clip(lit.Value))
	default:
		slot := c.b.slot(*spec)
		c.uses(slot)
		return extent{d: time.Duration(math.Round(much*1000)) * time.Millisecond, axis: slot}, true
	}
	return extent{}, false
}

// isUnitWord tells "1 day" from "50 cycles", where there is no such field.
func isUnitWord(s string) bool {
	return contains([]string{"s", "second", "minute", "min", "h", "hour", "d", "day", "week", "month"}, strings.TrimSuffix(strings.TrimSpace(s), "s"))
}

// span reads a window of time, the last argument of a function.
func (c *compiler) span(n *ast.CallNode, name, first string) (time.Duration, bool) {
	arg := len(n.Arguments) - 1
	lit, ok := c.quoted(n, arg, name+"("+first+`, "24h")`, "the window is a duration in quotes")
	if !ok {
		return 0, false
	}
	d, err := parseDuration(lit)
	switch {
	case err != nil:
		c.fail(n.Arguments[arg], `write it like "15m", "24h" or "14d"`, "bad window: %v", err)
	case d < minWindow:
		c.fail(n.Arguments[arg], "at least "+formatDuration(minWindow), "window %q is too short", lit)
	case d > c.b.cfg.MaxWindow:
		c.fail(n.Arguments[arg], "at most "+formatDuration(c.b.cfg.MaxWindow), "window %q is longer than what is kept", lit)
	default:
		return d, true
	}
	return 0, false
}
