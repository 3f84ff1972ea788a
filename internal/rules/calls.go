package rules

import (
	"math"
	"time"

	"aftercare/internal/fleet"
	"github.com/expr-lang/expr/ast"
)

func (c *compiler) call(n *ast.CallNode) value {
	name, _ := fieldName(n.Callee)
	if !contains(functions, name) {
		return c.fail(n, didYouMean(name, functions), "unknown function %q", clip(n.Callee.String()))
	}
	windowed := contains([]string{"avg", "min", "max", "sum", "count"}, name)
	want, form := 1, name+"(field)"
	if windowed {
		want, form = 2, name+`(field, "24h")`
	}
	if len(n.Arguments) != want {
		return c.fail(n, "write "+form, "%s wants %d argument(s), found %d", name, want, len(n.Arguments))
	}
	i, ok := c.field(n.Arguments[0])
	if !ok {
		return value{slot: -1}
	}
	typ := c.b.p.slots[i].spec.Type
	if typ == fleet.String && !contains([]string{"count", "age", "changed"}, name) {
		return c.fail(n, "", "%s wants a field with numbers, but %s is a text", name, c.b.p.slots[i].spec.Name)
	}
	if windowed {
		return c.window(n, name, i)
	}
	return c.past(name, i)
}

// past compiles the functions that need no window.
func (c *compiler) past(name string, i int) value {
	cur, at := c.b.p.slots[i].f, c.b.p.slots[i].t
	v := value{kind: number, slot: i, unit: c.b.p.slots[i].spec.Unit}
	switch name {
	case "age":
		c.use.age, c.use.sliding = true, true
		v.unit, v.age = "s", true
		v.num = func(e *env) float64 { return everSeen(e, cur, float64(e.now-e.d.time(at))/1000) }
		return v
	case "changed":
		j := c.b.changed(i)
		return value{kind: boolean, slot: i, cond: func(e *env) tri { return decide(e.d.num(j) != 0, e.d.num(j)) }}
	}
	old, oldAt := c.b.previous(i)
	switch name {
	case "prev":
		v.num = func(e *env) float64 { return e.d.num(old) }
	case "delta":
		v.num = func(e *env) float64 { return known(e.d.num(cur) - e.d.num(old)) }
	default: // rate, per hour
		v.unit += "/h"
		v.num = func(e *env) float64 {
			dt := e.d.time(at) - e.d.time(oldAt)
			if dt <= 0 {
				return math.NaN()
			}
			return known((e.d.num(cur) - e.d.num(old)) * float64(time.Hour/time.Millisecond) / float64(dt))
		}
	}
	return v
}

// window compiles avg, min, max, sum and count over a window of time.
func (c *compiler) window(n *ast.CallNode, name string, i int) value {
	lit, ok := n.Arguments[1].(*ast.StringNode)
	if !ok {
		return c.fail(n.Arguments[1], name+`(field, "24h")`, "the window is a duration in quotes")
	}
	d, err := parseDuration(lit.Value)
	switch {
	case err != nil:
		return c.fail(n.Arguments[1], `write it like "15m", "24h" or "14d"`, "bad window: %v", err)
	case d < minWindow:
		return c.fail(n.Arguments[1], "at least "+formatDuration(minWindow), "window %q is too short", lit.Value)
	case d > c.b.cfg.MaxWindow:
		return c.fail(n.Arguments[1], "at most "+formatDuration(c.b.cfg.MaxWindow), "window %q is longer than what is kept", lit.Value)
	}
	c.use.sliding = true
	k := c.b.window(i, d, name)
	v := value{kind: number, slot: i, unit: c.b.p.slots[i].spec.Unit}
	if name == "count" {
		v.unit = ""
	}
	cur := c.b.p.slots[i].f
	a := func(e *env) *agg { return &e.d.p.aggs[k] }
	switch name {
	case "count":
		v.num = func(e *env) float64 { return everSeen(e, cur, a(e).counted(e.d, e.now)) }
	case "sum":
		v.num = func(e *env) float64 { return known(everSeen(e, cur, a(e).summed(e.d, e.now))) }
	case "min":
		v.num = func(e *env) float64 { return a(e).smallest(e.d, e.now) }
	case "max":
		v.num = func(e *env) float64 { return a(e).largest(e.d, e.now) }
	default:
		v.num = func(e *env) float64 {
			return known(a(e).summed(e.d, e.now) / a(e).counted(e.d, e.now)) // 0/0 is NaN: unknown
		}
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
