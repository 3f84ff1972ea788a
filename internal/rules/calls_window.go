package rules

import (
	"math"
	"time"

	"github.com/expr-lang/expr/ast"
)

// window compiles avg, min, max, sum and count over a window of time.
func (c *compiler) window(n *ast.CallNode, name string) value {
	i, ok := c.takes(n, name)
	if !ok {
		return value{slot: -1}
	}
	d, ok := c.span(n, name, "field")
	if !ok {
		return value{slot: -1}
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
