package rules

import (
	"math"
	"regexp"

	"aftercare/internal/fleet"
	"github.com/expr-lang/expr/ast"
)

// component is the one that the first argument of used and life names.
func (c *compiler) component(n *ast.CallNode, name string) (*fleet.Component, bool) {
	called, ok := c.quoted(n, 0, name+`("drain-pump")`, "the name of a component stands in quotes")
	if !ok {
		return nil, false
	}
	names := make([]string, 0, len(c.b.model.Components))
	for i := range c.b.model.Components {
		comp := &c.b.model.Components[i]
		if comp.Name == called {
			if comp.Counter == "" {
				c.fail(n.Arguments[0], "give it a counter in the profile", "nothing counts the use of component %q of model %s", called, c.b.model.ID)
				return nil, false
			}
			return comp, true
		}
		names = append(names, comp.Name)
	}
	c.missing = append(c.missing, called)
	c.fail(n.Arguments[0], didYouMean(called, names), "unknown component %q of model %s", clip(called), c.b.model.ID)
	return nil, false
}

// counter compiles what counts a component's use: a field, or hours, starts or total of something.
func (c *compiler) counter(n *ast.CallNode, comp *fleet.Component) (value, usage, bool) {
	src, problem := parseExpr(comp.Counter)
	sub := &compiler{b: c.b, src: src}
	var v value
	if problem == nil {
		v = sub.expr(src.node)
		if len(sub.errs) > 0 {
			problem = &sub.errs[0]
		} else if v.kind != number {
			problem = &exprError{message: "it is " + v.kind.String()}
		}
	}
	c.missing = append(c.missing, sub.missing...)
	if problem != nil {
		c.fail(n, "see the model's profile", "the counter %q of component %q of model %s does not count: %s", comp.Counter, comp.Name, c.b.model.ID, problem.message)
		return v, usage{}, false
	}
	for _, s := range sub.use.slots {
		c.uses(s)
	}
	c.use.sliding = c.use.sliding || sub.use.sliding
	c.use.onEvent = c.use.onEvent || sub.use.onEvent
	if calls.MatchString(comp.Counter) && v.unit == "" {
		v.unit = "1"
	}
	return v, sub.use, true
}

// calls matches a counter that we keep ourselves.
var calls = regexp.MustCompile(`^(hours|starts|total)\(`)

// use is what is kept of a component: its counter as if it had never been reset, and where that stood at the last service.
type use struct {
	last, offset, base int // numbers: the counter, what to add to it, what to take from the sum
	served             int // time of the service that base is of; 0: none
	component          string
	counter            numFn
}

// grown is the counter as if it had never been reset.
func (u *use) grown(d *device) float64 { return d.num(u.last) + d.num(u.offset) }

// take looks at the counter. When it falls to less than half it was reset with the part; by less, it lost some and is taken to have
// stood still. After a service the use begins at what the counter was when it was read last before.
func (u *use) take(e *env) (grown float64, ok bool) {
	d, v := e.d, u.counter(e)
	if math.IsNaN(v) {
		return 0, false
	}
	before := u.grown(d)
	switch last := d.num(u.last); {
	case math.IsNaN(last):
		d.setNum(u.offset, 0)
		d.setNum(u.base, 0)
		before = v // what it did before it was heard of first is not known; without a service it is all its own
	case v < last/2:
		d.setNum(u.offset, before)
		d.setNum(u.base, before)
	case v < last:
		d.setNum(u.offset, before-v)
	}
	d.setNum(u.last, v)
	if at := d.servicedAt(u.component); at > d.time(u.served) && e.now >= at {
		d.setTime(u.served, at)
		d.setNum(u.base, before)
	}
	return u.grown(d), true
}

// used compiles the use of a component since its last service, in the unit of its counter.
func (c *compiler) used(n *ast.CallNode) value {
	v, _, ok := c.useOf(n)
	if !ok {
		return value{slot: -1}
	}
	return v
}

// useOf is used with what is kept for it.
func (c *compiler) useOf(n *ast.CallNode) (value, *use, bool) {
	comp, ok := c.component(n, "used")
	if !ok {
		return value{}, nil, false
	}
	counter, needs, ok := c.counter(n, comp)
	if !ok {
		return value{}, nil, false
	}
	cl, made := c.b.cell("used("+comp.Name+", "+comp.Counter+")", 3, 1, needs)
	u := &use{last: cl.f, offset: cl.f + 1, base: cl.f + 2, served: cl.t, component: comp.Name, counter: counter.num}
	if made {
		cl.step = func(e *env) { u.take(e) }
	}
	num := func(e *env) float64 { return known(u.grown(e.d) - e.d.num(u.base)) }
	return value{kind: number, slot: counter.slot, unit: counter.unit, num: num}, u, true
}

// life compiles what a component is made for.
func (c *compiler) life(n *ast.CallNode) value {
	comp, ok := c.component(n, "life")
	if !ok {
		return value{slot: -1}
	}
	if comp.Life <= 0 {
		return c.fail(n, "give it a life in the profile", "the life of component %q of model %s is not known", comp.Name, c.b.model.ID)
	}
	v := constant(comp.Life)
	if counter, _, ok := c.counter(n, comp); ok {
		v.unit = counter.unit
	}
	return v
}
