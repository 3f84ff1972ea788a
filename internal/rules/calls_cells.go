package rules

import (
	"math"

	"aftercare/internal/fleet"
	"github.com/expr-lang/expr/ast"
)

const msPerHour = 3_600_000

// watched is a condition that a function keeps something about.
type watched struct {
	cond boolFn
	name string // as it names what is kept
	use  usage
}

// watch compiles the condition a function is about. Its own needs are the cell's, not the rule's: a rule with
// since(code == "E18") is not about a moment, though what it waits for is one.
func (c *compiler) watch(n *ast.CallNode, name string, events bool) (watched, bool) {
	arg := n.Arguments[0]
	v, inner := c.apart(arg)
	switch {
	case v.kind == bad:
		return watched{}, false
	case v.kind != boolean:
		c.fail(arg, "compare it with something", "%s wants a condition, but %s is %s", name, clip(arg.String()), v.kind)
		return watched{}, false
	case inner.age || inner.silent:
		c.fail(arg, "use it beside "+name+", joined with and", "silence is not seen by %s: it looks when a reading comes", name)
		return watched{}, false
	case inner.code && !events:
		c.fail(arg, "codes, times, starts or since are about events", "%s wants what lasts, but an event is a moment", name)
		return watched{}, false
	}
	if inner.finding || inner.fleet {
		c.fail(arg, "use it beside "+name+", joined with and", "episodes and other devices are not seen by %s: it looks at what the device sends", name)
		return watched{}, false
	}
	inner.onEvent = inner.onEvent || inner.code
	for _, s := range inner.slots {
		c.uses(s)
	}
	c.use.sliding = c.use.sliding || inner.sliding
	c.use.onEvent = c.use.onEvent || inner.onEvent
	kept := arg.String()
	if inner.limits { // another rule's limit of that name is another number
		c.use.limits = true
		kept += " of " + c.b.draft.ID
	}
	return watched{cond: v.cond, name: kept, use: inner}, true
}

// begins reports whether a condition begins to hold with what is in e, and notes in number f whether it holds. An event is a
// beginning by itself. What is not known ends nothing and begins nothing.
func (w *watched) begins(e *env, f int) bool {
	is, was := w.cond(e), e.d.num(f)
	if w.use.code {
		return is == yes && e.hasCode
	}
	switch is {
	case yes:
		e.d.setNum(f, 1)
		return was == 0
	case no:
		e.d.setNum(f, 0)
	}
	return false
}

// lasting compiles held and since.
func (c *compiler) lasting(n *ast.CallNode, name string) value {
	w, ok := c.watch(n, name, name == "since")
	if !ok {
		return value{slot: -1}
	}
	c.use.sliding = true
	w.use.sliding = true // a value lasts: each reading of the device says that it still holds
	cl, made := c.b.cell(name+"("+w.name+")", 1, 1, w.use)
	f, t := cl.f, cl.t
	out := value{kind: number, slot: -1, unit: "s", moment: crossing{f: f, t: t}, grows: true}
	if name == "held" {
		if made {
			cl.step = func(e *env) {
				if w.begins(e, f) || e.d.num(f) == 1 && e.d.time(t) == 0 {
					e.d.setTime(t, e.now)
				} else if e.d.num(f) == 0 {
					e.d.setTime(t, 0)
				}
			}
		}
		out.num = func(e *env) float64 {
			if e.d.num(f) == 1 {
				return seconds(e.now - e.d.time(t))
			}
			return e.d.num(f)
		}
		return out
	}
	if made {
		cl.step = func(e *env) {
			if w.cond(e) == yes {
				if math.IsNaN(e.d.num(f)) || e.now > e.d.time(t) {
					e.d.setTime(t, e.now)
				}
				e.d.setNum(f, 1)
			}
		}
	}
	out.num = func(e *env) float64 {
		if math.IsNaN(e.d.num(f)) {
			return math.NaN()
		}
		return seconds(e.now - e.d.time(t))
	}
	return out
}

// seconds is a length of time, 0 for a moment that is ahead.
func seconds(ms int64) float64 { return float64(max(ms, 0)) / 1000 }

// counted compiles times and share: windows over what a condition does.
func (c *compiler) counted(n *ast.CallNode, name string) value {
	w, ok := c.watch(n, name, name == "times")
	if !ok {
		return value{slot: -1}
	}
	d, ok := c.span(n, name, "condition")
	if !ok {
		return value{slot: -1}
	}
	c.use.sliding = true
	series := name + "(" + w.name + ")"
	cl, made := c.b.cell(name+"("+w.name+", "+formatDuration(d)+")", 1, 0, w.use)
	f := cl.f
	part := map[string]string{"times": "count", "share": "sum"}[name]
	k, _ := c.b.agg(series, "", d, part)
	out := value{kind: number, slot: -1}
	if name == "times" {
		if made {
			cl.step = func(e *env) {
				if w.begins(e, f) {
					e.d.p.aggs[k].add(e.d, e.now, 1)
				}
			}
		}
		out.num = func(e *env) float64 {
			if math.IsNaN(e.d.num(f)) && !w.use.code {
				return math.NaN()
			}
			return e.d.p.aggs[k].counted(e.d, e.now)
		}
		return out
	}
	if made {
		cl.step = func(e *env) {
			if is := w.cond(e); is != unknown {
				e.d.p.aggs[k].add(e.d, e.now, map[tri]float64{yes: 1}[is])
			}
		}
	}
	out.num = func(e *env) float64 {
		a := &e.d.p.aggs[k]
		return a.summed(e.d, e.now) / a.counted(e.d, e.now)
	}
	return out
}

// codes compiles how many events with a code a window holds.
func (c *compiler) codes(n *ast.CallNode) value {
	code, ok := c.quoted(n, 0, `codes("E18", "7d")`, "the code stands in quotes")
	if !ok {
		return value{slot: -1}
	}
	if known := c.b.codes(); len(known) > 0 && !contains(known, code) {
		return c.fail(n.Arguments[0], didYouMean(code, known), "model %s has no code %q", c.b.model.ID, clip(code))
	}
	d, ok := c.span(n, "codes", `"E18"`)
	if !ok {
		return value{slot: -1}
	}
	c.use.sliding, c.use.onEvent = true, true
	series := `codes("` + code + `")`
	cl, made := c.b.cell(`codes("`+code+`", `+formatDuration(d)+")", 0, 0, usage{onEvent: true})
	k, _ := c.b.agg(series, "", d, "count")
	if made {
		cl.step = func(e *env) {
			if e.hasCode && e.code == code {
				e.d.p.aggs[k].add(e.d, e.now, 1)
			}
		}
	}
	return value{kind: number, slot: -1, num: func(e *env) float64 { return e.d.p.aggs[k].counted(e.d, e.now) }}
}

// lifelong compiles hours and starts: how long and how often a condition held since the device was watched.
func (c *compiler) lifelong(n *ast.CallNode, name string) value {
	w, ok := c.watch(n, name, name == "starts")
	if !ok {
		return value{slot: -1}
	}
	if name == "starts" {
		cl, made := c.b.cell("starts("+w.name+")", 2, 0, w.use)
		f, was := cl.f, cl.f+1
		if made {
			cl.step = func(e *env) {
				begins := w.begins(e, was)
				if math.IsNaN(e.d.num(f)) && w.cond(e) != unknown {
					e.d.setNum(f, 0)
				}
				if begins {
					e.d.setNum(f, e.d.num(f)+1)
				}
			}
		}
		return value{kind: number, slot: -1, num: func(e *env) float64 { return e.d.num(f) }}
	}
	c.use.sliding = true
	w.use.sliding = true // each reading of the device says that the last values still hold
	cl, made := c.b.cell("hours("+w.name+")", 2, 1, w.use)
	f, was, t := cl.f, cl.f+1, cl.t
	hold := c.b.p.hold
	sum := func(e *env) float64 { // ms
		v := e.d.num(f)
		if e.d.num(was) == 1 {
			v += float64(min(max(e.now-e.d.time(t), 0), hold))
		}
		return v
	}
	if made {
		cl.step = func(e *env) {
			is := w.cond(e)
			if math.IsNaN(e.d.num(f)) {
				if is == unknown {
					return
				}
				e.d.setNum(f, 0)
			} else {
				e.d.setNum(f, sum(e))
			}
			e.d.setNum(was, map[tri]float64{yes: 1}[is])
			e.d.setTime(t, e.now)
		}
	}
	return value{kind: number, slot: -1, unit: "h", num: func(e *env) float64 { return sum(e) / msPerHour }}
}

// total compiles the sum of all values of a field since the device was watched.
func (c *compiler) total(n *ast.CallNode) value {
	i, ok := c.takes(n, "total")
	if !ok {
		return value{slot: -1}
	}
	spec := &c.b.p.slots[i].spec
	if spec.Type == fleet.Boolean {
		return c.fail(n, "hours(x) or starts(x)", "total adds up numbers, but %s is a truth value", spec.Name)
	}
	cl, made := c.b.cell("total("+spec.Name+")", 1, 0, usage{slots: []int{i}})
	f := cl.f
	if made {
		cur := c.b.p.slots[i].f
		add := func(d *device, _ int64, v float64) {
			if sum := d.num(f); !math.IsNaN(sum) {
				v += sum
			}
			d.setNum(f, v)
		}
		cl.step = func(e *env) { add(e.d, e.now, e.d.num(cur)) }
		c.b.takesLate(cl, i, add)
	}
	return value{kind: number, slot: i, unit: spec.Unit, num: func(e *env) float64 { return known(e.d.num(f)) }}
}

// ewma compiles the exponentially weighted mean of a field for readings at any interval: a value counts 1-exp(-dt/tau) after
// a pause of dt (Eckner, "Algorithms for Unevenly Spaced Time Series: Moving Averages and Other Rolling Operators", 2012).
// It starts from nothing and is divided by the weight so far, as in Kingma and Ba ("Adam", 2015, section 3), so that the first
// values of a device do not count for weeks.
// Late values are left out: they came after what they would have led to.
func (c *compiler) ewma(n *ast.CallNode) value {
	i, ok := c.takes(n, "ewma")
	if !ok {
		return value{slot: -1}
	}
	tau, ok := c.span(n, "ewma", "field")
	if !ok {
		return value{slot: -1}
	}
	sl := &c.b.p.slots[i]
	cl, made := c.b.cell("ewma("+sl.spec.Name+", "+formatDuration(tau)+")", 1, 2, usage{slots: []int{i}})
	f, t, since, cur, per := cl.f, cl.t, cl.t+1, sl.f, -1/float64(tau.Milliseconds())
	if made {
		cl.step = func(e *env) {
			sum := e.d.num(f)
			if math.IsNaN(sum) {
				sum = 0
				e.d.setTime(since, e.now)
			} else {
				sum += -math.Expm1(float64(e.now-e.d.time(t))*per) * (e.d.num(cur) - sum)
			}
			e.d.setNum(f, sum)
			e.d.setTime(t, e.now)
		}
	}
	return value{kind: number, slot: i, unit: sl.spec.Unit, num: func(e *env) float64 {
		sum := e.d.num(f)
		if math.IsNaN(sum) {
			return sum
		}
		weight := -math.Expm1(float64(e.d.time(t)-e.d.time(since)) * per)
		if weight <= 0 { // one moment only
			return known(e.d.num(cur))
		}
		return known(sum / weight)
	}}
}
