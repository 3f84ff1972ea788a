package rules

import (
	"math"
	"time"

	"github.com/expr-lang/expr/ast"
)

// past compiles the functions that need no window.
func (c *compiler) past(n *ast.CallNode, name string) value {
	i, ok := c.takes(n, name)
	if !ok {
		return value{slot: -1}
	}
	cur, at := c.b.p.slots[i].f, c.b.p.slots[i].t
	v := value{kind: number, slot: i, unit: c.b.p.slots[i].spec.Unit}
	switch name {
	case "age":
		c.use.age, c.use.sliding = true, true
		v.unit, v.age = "s", true
		v.moment, v.grows = crossing{f: cur, t: at}, true
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
