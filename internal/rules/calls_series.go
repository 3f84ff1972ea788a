package rules

import (
	"math"

	"aftercare/internal/fleet"
	"github.com/expr-lang/expr/ast"
)

// series compiles an argument that is calculated from fields, such as where(plug_c, power_kw > 5) or a - b. It is kept like a field of
// its own: it has a value at each in-order reading that brings one of its fields and with which it is known. Late readings
// are left out, since they do not say what the other fields were.
func (c *compiler) series(arg ast.Node, name string) (int, bool) {
	v, inner := c.apart(arg)
	switch {
	case v.kind == bad:
		return 0, false
	case v.kind != number:
		c.fail(arg, "where(field, condition) is the field while the condition holds", "%s wants a number, but %s is %s", name, clip(arg.String()), v.kind)
		return 0, false
	case len(inner.slots) == 0:
		c.fail(arg, "", "%s wants a field, or what is calculated from fields, found %s", name, clip(arg.String()))
		return 0, false
	case inner.finding || inner.fleet:
		c.fail(arg, "", "episodes and other devices are not seen by %s: it looks at what the device sends", name)
		return 0, false
	case inner.age || inner.code || inner.onEvent:
		c.fail(arg, "", "silence and events are not seen by %s: it looks when a reading comes", name)
		return 0, false
	}
	for _, s := range inner.slots {
		c.uses(s)
	}
	kept := arg.String()
	if inner.limits { // another rule's limit of that name is another number
		c.use.limits = true
		kept += " of " + c.b.draft.ID
	}
	i := c.b.slot(fleet.FieldSpec{Name: kept, Type: fleet.Float, Unit: v.unit})
	cl, made := c.b.cell("series("+kept+")", 0, 0, usage{slots: inner.slots})
	if made {
		num := v.num
		cl.step = func(e *env) {
			if x := num(e); finite(x) {
				sl := &e.d.p.slots[i]
				e.d.set(sl, &fleet.Value{Type: fleet.Float, Float: x}, e.now, true)
				e.came.add(i)
				e.cells.union(sl.cells) // of outer calls: they come later
			}
		}
	}
	return i, true
}

// where compiles where(number, condition): the number while the condition holds, unknown while it does not.
func (c *compiler) where(n *ast.CallNode) value {
	v, cond := c.expr(n.Arguments[0]), c.expr(n.Arguments[1])
	switch {
	case v.kind == bad || cond.kind == bad:
		return value{slot: -1}
	case v.kind != number:
		return c.fail(n.Arguments[0], "", "where wants a number first, but %s is %s", clip(n.Arguments[0].String()), v.kind)
	case cond.kind != boolean:
		return c.fail(n.Arguments[1], "compare it with something", "where wants a condition second, but %s is %s", clip(n.Arguments[1].String()), cond.kind)
	}
	num, holds := v.num, cond.cond
	return value{kind: number, slot: v.slot, unit: v.unit, num: func(e *env) float64 {
		if holds(e) != yes {
			return math.NaN()
		}
		return num(e)
	}}
}
