package rules

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"aftercare/internal/fleet"
	"github.com/expr-lang/expr/ast"
)

// tri is a truth value: a missing field makes a condition unknown, which neither fires nor clears.
type tri uint8

const (
	no tri = iota
	yes
	unknown
)

func truth(b bool) tri {
	if b {
		return yes
	}
	return no
}

// The compiled forms. A number that is not known is NaN; a text says so itself.
type (
	numFn  func(*env) float64
	boolFn func(*env) tri
	strFn  func(*env) (string, bool)
)

// env is what a closure sees: one device at one moment.
type env struct {
	d       *device
	now     int64 // ms, the device's time
	code    string
	hasCode bool
	came    ruleset      // fields that came with the reading: for cells
	fleet   *fleetTables // the last summary; nil: none yet
	cells   ruleset      // cells that are updated with it
}

type kind uint8

const (
	bad kind = iota // a mistake was noted already: say nothing more about what depends on it
	number
	boolean
	text
)

func (k kind) String() string {
	return [...]string{"nothing", "a number", "a truth value", "a text"}[k]
}

// value is a compiled expression with what is known of it.
type value struct {
	kind    kind
	num     numFn
	cond    boolFn
	str     strFn
	isConst bool
	konst   float64
	lit     string
	isLit   bool
	slot    int  // the field it is about; -1 for none or several
	plain   bool // it is the field itself
	unit    string
	age     bool
	within  func(*env) (low, high float64, ok bool) // bounds of an estimate; nil: none
	moment  crossing                                // of a number of seconds that grows with time from there on
	grows   bool                                    // it has a moment
}

// usage is what one expression needs.
type usage struct {
	slots   []int
	sliding bool
	code    bool
	age     bool
	onEvent bool  // it changes with events, though it does not read `code` itself: codes("E18", "7d")
	silent  bool  // about silence itself, as age is
	finding bool  // it looks at episodes
	rules   []int // of these, those that run for the model
	fleet   bool  // it looks at other devices
	limits  bool  // it has limits of the rule
	cross   []crossing
}

// compiler turns expressions into closures for one model. Mistakes are noted with their place and go on as `bad`.
type compiler struct {
	b       *builder
	src     source
	use     usage
	errs    []exprError
	missing []string // fields the model does not have
}

func (c *compiler) fail(n ast.Node, hint, format string, args ...any) value {
	c.errs = append(c.errs, exprError{line: lineOf(c.src.text, n.Location().From), message: fmt.Sprintf(format, args...), hint: hint})
	return value{slot: -1}
}

// expr compiles a part of an expression and keeps what came of it for those who ask why (explain.go).
func (c *compiler) expr(n ast.Node) value {
	v := c.node(n)
	if c.b.trace != nil {
		c.b.trace[n] = v
	}
	return v
}

func (c *compiler) node(n ast.Node) value {
	switch n := n.(type) {
	case *ast.IntegerNode:
		return constant(float64(n.Value))
	case *ast.FloatNode:
		return constant(n.Value)
	case *ast.BoolNode:
		t := truth(n.Value)
		return value{kind: boolean, slot: -1, cond: func(*env) tri { return t }}
	case *ast.StringNode:
		s := n.Value
		return value{kind: text, slot: -1, lit: s, isLit: true, str: func(*env) (string, bool) { return s, true }}
	case *ast.IdentifierNode, *ast.MemberNode, *ast.ChainNode:
		return c.identifier(n)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ConditionalNode:
		return c.conditional(n)
	case *ast.CallNode:
		return c.call(n)
	case *ast.BuiltinNode:
		return c.fail(n, hintFunction(n.Name), "unknown function %q", n.Name)
	default:
		return c.fail(n, "", "%s is not part of the rule language", clip(n.String()))
	}
}

func constant(v float64) value {
	return value{kind: number, slot: -1, isConst: true, konst: v, num: func(*env) float64 { return v }}
}

// field returns the slot of a field, or notes that there is no such field.
func (c *compiler) field(n ast.Node) (int, bool) {
	name, ok := fieldName(n)
	if !ok {
		c.fail(n, "functions of the past are about one field, not about a calculation", "want the name of a field, found %s", clip(n.String()))
		return 0, false
	}
	if name == codeName {
		c.fail(n, `compare it: code == "E18"`, "code is an event's, it has no past")
		return 0, false
	}
	spec := c.b.spec(name)
	if spec == nil {
		c.missing = append(c.missing, name)
		c.fail(n, c.b.hintField(name), "unknown field %q of model %s", name, c.b.model.ID)
		return 0, false
	}
	i := c.b.slot(*spec)
	c.uses(i)
	return i, true
}

// uses notes that the result changes with a field.
func (c *compiler) uses(slot int) {
	if !slices.Contains(c.use.slots, slot) {
		c.use.slots = append(c.use.slots, slot)
	}
}

func (c *compiler) identifier(n ast.Node) value {
	if name, _ := fieldName(n); name == codeName {
		c.use.code = true
		return value{kind: text, slot: -1, str: func(e *env) (string, bool) { return e.code, e.hasCode }}
	} else if limit, is := strings.CutPrefix(name, limitPrefix); is {
		return c.limitRef(n, limit)
	}
	i, ok := c.field(n)
	if !ok {
		return value{slot: -1}
	}
	sl := c.b.p.slots[i]
	k := sl.f
	v := value{slot: i, plain: true, unit: sl.spec.Unit}
	switch sl.spec.Type {
	case fleet.Boolean:
		v.kind = boolean
		v.cond = func(e *env) tri {
			f := e.d.num(k)
			return decide(f != 0, f)
		}
	case fleet.String:
		v.kind = text
		s := c.b.text(i)
		v.str = func(e *env) (string, bool) { return e.d.text(s), !math.IsNaN(e.d.num(k)) }
	default:
		v.kind = number
		v.num = func(e *env) float64 { return e.d.num(k) }
	}
	return v
}

func (c *compiler) unary(n *ast.UnaryNode) value {
	v := c.expr(n.Node)
	if v.kind == bad {
		return v
	}
	switch n.Operator {
	case "-", "+":
		if v.kind != number {
			return c.fail(n, "", "%s wants a number, found %s", n.Operator, v.kind)
		}
		if n.Operator == "+" {
			return v
		}
		if v.isConst {
			return constant(-v.konst)
		}
		f := v.num
		return value{kind: number, slot: v.slot, unit: v.unit, num: func(e *env) float64 { return -f(e) }}
	case "not", "!":
		if v.kind != boolean {
			return c.fail(n, "", "%s wants a condition, found %s", n.Operator, v.kind)
		}
		f := v.cond
		return value{kind: boolean, slot: -1, cond: func(e *env) tri { return negate(f(e)) }}
	}
	return c.fail(n, "", "operator %q is not part of the rule language", n.Operator)
}

func negate(t tri) tri {
	switch t {
	case yes:
		return no
	case no:
		return yes
	}
	return unknown
}

func (c *compiler) conditional(n *ast.ConditionalNode) value {
	cond, a, b := c.expr(n.Cond), c.expr(n.Exp1), c.expr(n.Exp2)
	if cond.kind == bad || a.kind == bad || b.kind == bad {
		return value{slot: -1}
	}
	if cond.kind != boolean {
		return c.fail(n.Cond, "", "want a condition before ?, found %s", cond.kind)
	}
	if a.kind != b.kind {
		return c.fail(n, "", "the two sides of : differ: %s and %s", a.kind, b.kind)
	}
	out, f := value{kind: a.kind, slot: -1}, cond.cond
	switch a.kind {
	case number:
		if !c.sameUnits(n, "or", a, b, n.Exp1, n.Exp2) {
			return value{slot: -1}
		}
		out.unit = joined(a, b)
		out.num = func(e *env) float64 {
			switch f(e) {
			case yes:
				return a.num(e)
			case no:
				return b.num(e)
			}
			return math.NaN()
		}
	case boolean:
		out.cond = func(e *env) tri {
			switch f(e) {
			case yes:
				return a.cond(e)
			case no:
				return b.cond(e)
			}
			return unknown
		}
	default:
		out.str = func(e *env) (string, bool) {
			switch f(e) {
			case yes:
				return a.str(e)
			case no:
				return b.str(e)
			}
			return "", false
		}
	}
	return out
}
