package rules

import (
	"slices"
	"strings"

	"aftercare/internal/fleet"
	"github.com/expr-lang/expr/ast"
)

// function is a word of the language that takes arguments.
type function struct {
	name string
	form string // how it is written
	min  int    // arguments
	max  int
}

// functions are all there are. What each means is in README.md.
var functions = []function{
	{"where", "where(field, condition)", 2, 2},
	{"prev", "prev(field)", 1, 1},
	{"delta", "delta(field)", 1, 1},
	{"rate", "rate(field)", 1, 1},
	{"changed", "changed(field)", 1, 1},
	{"age", "age(field)", 1, 1},
	{"avg", `avg(field, "24h")`, 2, 2},
	{"min", `min(field, "24h")`, 2, 2},
	{"max", `max(field, "24h")`, 2, 2},
	{"sum", `sum(field, "24h")`, 2, 2},
	{"count", `count(field, "24h")`, 2, 2},
	{"stddev", `stddev(field, "24h")`, 2, 2},
	{"quantile", `quantile(field, 0.9, "24h")`, 3, 3},
	{"slope", `slope(field, "7d")`, 2, 2},
	{"ewma", `ewma(field, "2h")`, 2, 2},
	{"held", "held(condition)", 1, 1},
	{"since", "since(condition)", 1, 1},
	{"times", `times(condition, "7d")`, 2, 2},
	{"share", `share(condition, "7d")`, 2, 2},
	{"codes", `codes("E18", "7d")`, 2, 2},
	{"hours", "hours(condition)", 1, 1},
	{"starts", "starts(condition)", 1, 1},
	{"total", "total(field)", 1, 1},
	{"silent", "silent()", 0, 0},
	{"finding", `finding("rule-id")`, 1, 1},
	{"used", `used("drain-pump")`, 1, 1},
	{"life", `life("drain-pump")`, 1, 1},
	{"anomaly", "anomaly(field) or anomaly(field, field)", 1, 8},
	{"peers", `peers(avg(field, "7d"))`, 1, 1},
	{"fleet_rate", `fleet_rate("rule-id")`, 1, 1},
	{"eta", `eta(field, limit, "30d")`, 2, 3},
}

func functionNames() []string {
	out := make([]string, len(functions))
	for i, f := range functions {
		out[i] = f.name
	}
	return out
}

// call compiles a call: the arguments are counted here, what they are is looked at by each function.
func (c *compiler) call(n *ast.CallNode) value {
	name, _ := fieldName(n.Callee)
	i := slices.IndexFunc(functions, func(f function) bool { return f.name == name })
	if i < 0 {
		return c.fail(n, hintFunction(name), "unknown function %q", clip(n.Callee.String()))
	}
	if f := functions[i]; len(n.Arguments) < f.min || len(n.Arguments) > f.max {
		return c.fail(n, "write "+f.form, "%s wants %d argument(s), found %d", name, f.min, len(n.Arguments))
	}
	switch name {
	case "avg", "min", "max", "sum", "count", "stddev", "quantile":
		return c.window(n, name)
	case "where":
		return c.where(n)
	case "slope":
		return c.slope(n)
	case "ewma":
		return c.ewma(n)
	case "held", "since":
		return c.lasting(n, name)
	case "times", "share":
		return c.counted(n, name)
	case "codes":
		return c.codes(n)
	case "hours", "starts":
		return c.lifelong(n, name)
	case "total":
		return c.total(n)
	case "silent":
		return c.silent()
	case "finding":
		return c.finding(n)
	case "used":
		return c.used(n)
	case "life":
		return c.life(n)
	case "anomaly":
		return c.anomaly(n)
	case "peers":
		return c.peers(n)
	case "fleet_rate":
		return c.fleetRate(n)
	case "eta":
		return c.eta(n)
	default:
		return c.past(n, name)
	}
}

// takes is the slot of the field the first argument names, or of the series that is calculated from fields. Functions that calculate want numbers; a truth value counts as 0 or 1.
func (c *compiler) takes(n *ast.CallNode, name string) (int, bool) {
	if _, isField := fieldName(n.Arguments[0]); !isField && !contains([]string{"prev", "delta", "rate", "changed", "age", "total"}, name) {
		return c.series(n.Arguments[0], name)
	}
	i, ok := c.field(n.Arguments[0])
	if !ok {
		return 0, false
	}
	spec := &c.b.p.slots[i].spec
	if spec.Type == fleet.String && !contains([]string{"count", "age", "changed"}, name) {
		c.fail(n, "", "%s wants a field with numbers, but %s is a text", name, spec.Name)
		return 0, false
	}
	return i, true
}

// quoted is an argument that is a text written down, such as a window or the name of a component.
func (c *compiler) quoted(n *ast.CallNode, arg int, hint, message string) (string, bool) {
	lit, ok := n.Arguments[arg].(*ast.StringNode)
	if !ok || strings.TrimSpace(lit.Value) == "" {
		c.fail(n.Arguments[arg], hint, "%s", message)
		return "", false
	}
	return lit.Value, true
}

// apart compiles an argument whose needs are not the rule's at once: the caller says which of them are.
func (c *compiler) apart(n ast.Node) (value, usage) {
	outer := c.use
	c.use = usage{}
	v := c.expr(n)
	inner := c.use
	c.use = outer
	return v, inner
}
