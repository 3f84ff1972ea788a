package rules

import (
	"math"
	"strings"

	"github.com/expr-lang/expr/ast"
)

func (c *compiler) binary(n *ast.BinaryNode) value {
	switch n.Operator {
	case "and", "&&", "or", "||":
		return c.logic(n)
	case "==", "!=", "<", ">", "<=", ">=":
		return c.compare(n)
	case "+", "-", "*", "/", "%", "**", "^":
		return c.arithmetic(n)
	case "in":
		return c.in(n)
	case "contains", "startsWith", "endsWith":
		return c.texts(n)
	case "..":
		return c.fail(n, "write x >= 1 and x <= 5", "ranges are not part of the rule language")
	}
	return c.fail(n, "", "operator %q is not part of the rule language", n.Operator)
}

func (c *compiler) logic(n *ast.BinaryNode) value {
	l, r := c.expr(n.Left), c.expr(n.Right)
	if l.kind == bad || r.kind == bad {
		return value{slot: -1}
	}
	for _, side := range []struct {
		v value
		n ast.Node
	}{{l, n.Left}, {r, n.Right}} {
		if side.v.kind != boolean {
			return c.fail(side.n, "compare it with something", "%s joins conditions, but %s is %s", n.Operator, clip(side.n.String()), side.v.kind)
		}
	}
	a, b := l.cond, r.cond
	stop := no // and: one that is false decides
	if n.Operator == "or" || n.Operator == "||" {
		stop = yes
	}
	other := negate(stop)
	return value{kind: boolean, slot: -1, cond: func(e *env) tri {
		x := a(e)
		if x == stop {
			return stop
		}
		y := b(e)
		if y == stop {
			return stop
		}
		if x == unknown || y == unknown {
			return unknown
		}
		return other
	}}
}

func (c *compiler) compare(n *ast.BinaryNode) value {
	l, r := c.expr(n.Left), c.expr(n.Right)
	if l.kind == bad || r.kind == bad {
		return value{slot: -1}
	}
	if l.kind != r.kind {
		return c.fail(n, compareHint(l, r, n.Left.String(), n.Right.String()), "cannot compare %s (%s) with %s (%s)",
			clip(n.Left.String()), l.kind, clip(n.Right.String()), r.kind)
	}
	if l.kind != number && n.Operator != "==" && n.Operator != "!=" {
		return c.fail(n, "use == or !=", "%s cannot order %s", n.Operator, l.kind)
	}
	if (l.grows || r.grows) && !c.crosses(l, r) && (l.age || r.age) {
		return c.fail(n, "age(x) > 3600", "age is compared with a fixed number of seconds only")
	}
	out := value{kind: boolean, slot: -1}
	switch l.kind {
	case number:
		if !c.sameUnits(n, n.Operator, l, r, n.Left, n.Right) {
			return value{slot: -1}
		}
		if r.isConst && l.plain {
			out.cond = compareSlot(n.Operator, c.b.p.slots[l.slot].f, r.konst)
		} else {
			out.cond = compareNumbers(n.Operator, l.num, r.num)
		}
	case boolean:
		a, b, want := l.cond, r.cond, n.Operator == "=="
		out.cond = func(e *env) tri {
			x, y := a(e), b(e)
			if x == unknown || y == unknown {
				return unknown
			}
			return truth((x == y) == want)
		}
	default:
		if !c.linkWord(n.Right, l, r) || !c.linkWord(n.Left, r, l) {
			return value{slot: -1}
		}
		a, b, want := l.str, r.str, n.Operator == "=="
		out.cond = func(e *env) tri {
			x, ok1 := a(e)
			y, ok2 := b(e)
			if !ok1 || !ok2 {
				return unknown
			}
			return truth((x == y) == want)
		}
	}
	return out
}

// crosses notes when a comparison of what grows with time, such as age(f), with a constant changes its result, so that it is
// evaluated then.
func (c *compiler) crosses(l, r value) bool {
	a, k := l, r
	if r.grows {
		a, k = r, l
	}
	if !k.isConst || !(k.konst >= 0 && k.konst < 1e9) {
		return false
	}
	at := a.moment
	at.off = int64(k.konst*1000) + 1
	c.use.cross = append(c.use.cross, at)
	return true
}

// compareSlot is the common case, a field against a constant, without a second call.
func compareSlot(op string, i int, k float64) boolFn {
	switch op {
	case ">":
		return func(e *env) tri { return decide(e.d.num(i) > k, e.d.num(i)) }
	case "<":
		return func(e *env) tri { return decide(e.d.num(i) < k, e.d.num(i)) }
	case ">=":
		return func(e *env) tri { return decide(e.d.num(i) >= k, e.d.num(i)) }
	case "<=":
		return func(e *env) tri { return decide(e.d.num(i) <= k, e.d.num(i)) }
	case "==":
		return func(e *env) tri { return decide(e.d.num(i) == k, e.d.num(i)) }
	default:
		return func(e *env) tri { return decide(e.d.num(i) != k, e.d.num(i)) }
	}
}

func decide(is bool, v float64) tri {
	if v != v {
		return unknown
	}
	return truth(is)
}

func compareNumbers(op string, l, r numFn) boolFn {
	with := func(is func(x, y float64) bool) boolFn {
		return func(e *env) tri {
			x, y := l(e), r(e)
			if x != x || y != y {
				return unknown
			}
			return truth(is(x, y))
		}
	}
	switch op {
	case ">":
		return with(func(x, y float64) bool { return x > y })
	case "<":
		return with(func(x, y float64) bool { return x < y })
	case ">=":
		return with(func(x, y float64) bool { return x >= y })
	case "<=":
		return with(func(x, y float64) bool { return x <= y })
	case "==":
		return with(func(x, y float64) bool { return x == y })
	default:
		return with(func(x, y float64) bool { return x != y })
	}
}

func (c *compiler) arithmetic(n *ast.BinaryNode) value {
	l, r := c.expr(n.Left), c.expr(n.Right)
	if l.kind == bad || r.kind == bad {
		return value{slot: -1}
	}
	if l.kind != number || r.kind != number {
		return c.fail(n, "", "%s wants numbers, found %s and %s", n.Operator, l.kind, r.kind)
	}
	op := calculation(n.Operator)
	if l.isConst && r.isConst {
		v := op(l.konst, r.konst)
		if v != v {
			return c.fail(n, "", "%s has no result", clip(n.String()))
		}
		return constant(v)
	}
	out := value{kind: number, slot: -1}
	if n.Operator == "+" || n.Operator == "-" {
		if !c.sameUnits(n, n.Operator, l, r, n.Left, n.Right) {
			return value{slot: -1}
		}
		out.unit = joined(l, r)
	}
	if l.slot >= 0 && (r.isConst || r.slot == l.slot) {
		out.slot = l.slot
	} else if r.slot >= 0 && l.isConst {
		out.slot = r.slot
	}
	a, b := l.num, r.num
	if r.isConst {
		k := r.konst
		out.num = func(e *env) float64 { return op(a(e), k) }
		return out
	}
	out.num = func(e *env) float64 { return op(a(e), b(e)) }
	return out
}

// calculation returns an operator on floats; whatever has no finite result, such as a division by zero, is unknown.
func calculation(op string) func(a, b float64) float64 {
	switch op {
	case "+":
		return func(a, b float64) float64 { return known(a + b) }
	case "-":
		return func(a, b float64) float64 { return known(a - b) }
	case "*":
		return func(a, b float64) float64 { return known(a * b) }
	case "/":
		return func(a, b float64) float64 { return known(a / b) }
	case "%":
		return func(a, b float64) float64 { return known(math.Mod(a, b)) }
	default:
		return func(a, b float64) float64 { return known(math.Pow(a, b)) }
	}
}

// in compares with each item of a list of literals.
func (c *compiler) in(n *ast.BinaryNode) value {
	list, ok := n.Right.(*ast.ArrayNode)
	if !ok || len(list.Nodes) == 0 {
		return c.fail(n, `mode in ["eco", "cotton"]`, "in wants a list of values in brackets")
	}
	l := c.expr(n.Left)
	var words []string
	var nums []float64
	for _, item := range list.Nodes {
		v := c.expr(item)
		switch {
		case l.kind == bad || v.kind == bad:
			return value{slot: -1}
		case v.kind != l.kind:
			return c.fail(item, compareHint(l, v, n.Left.String(), item.String()), "%s is %s, but %s is %s", clip(n.Left.String()), l.kind, clip(item.String()), v.kind)
		case v.isLit:
			if !c.linkWord(item, l, v) {
				return value{slot: -1}
			}
			words = append(words, v.lit)
		case v.isConst:
			nums = append(nums, v.konst)
		default:
			return c.fail(item, "", "a list holds fixed values only, found %s", clip(item.String()))
		}
	}
	if l.kind == number {
		f := l.num
		return value{kind: boolean, slot: -1, cond: func(e *env) tri {
			x := f(e)
			for _, k := range nums {
				if x == k {
					return yes
				}
			}
			return decide(false, x)
		}}
	}
	f := l.str
	return value{kind: boolean, slot: -1, cond: func(e *env) tri {
		x, ok := f(e)
		if !ok {
			return unknown
		}
		return truth(contains(words, x))
	}}
}

func (c *compiler) texts(n *ast.BinaryNode) value {
	l, r := c.expr(n.Left), c.expr(n.Right)
	if l.kind == bad || r.kind == bad {
		return value{slot: -1}
	}
	if l.kind != text || r.kind != text {
		return c.fail(n, "", "%s wants texts, found %s and %s", n.Operator, l.kind, r.kind)
	}
	test := strings.Contains
	switch n.Operator {
	case "startsWith":
		test = strings.HasPrefix
	case "endsWith":
		test = strings.HasSuffix
	}
	return value{kind: boolean, slot: -1, cond: func(e *env) tri {
		x, ok1 := l.str(e)
		y, ok2 := r.str(e)
		if !ok1 || !ok2 {
			return unknown
		}
		return truth(test(x, y))
	}}
}
