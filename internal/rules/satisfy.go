package rules

import (
	"fmt"
	"math"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// What can be proven about conditions: that one is never true, or that one holds whenever another does. A condition is brought
// into the form "any of these groups, of which all parts must hold"; a group is impossible when what its parts say about one
// value leaves nothing over. Each value is known by its text. What is not understood says nothing, so there is no false alarm.

// maxGroups is how many groups are looked at; of more nothing is proven.
const maxGroups = 64

// part is a condition without and, or and not, or the contrary of one.
type part struct {
	n   ast.Node
	not bool
}

// groups returns the groups of a condition, or of its contrary; false when there are too many.
func groups(n ast.Node, not bool) ([][]part, bool) {
	switch n := n.(type) {
	case *ast.UnaryNode:
		if n.Operator == "not" || n.Operator == "!" {
			return groups(n.Node, !not)
		}
	case *ast.BinaryNode:
		and := n.Operator == "and" || n.Operator == "&&"
		if or := n.Operator == "or" || n.Operator == "||"; !and && !or {
			break
		}
		l, okL := groups(n.Left, not)
		r, okR := groups(n.Right, not)
		if !okL || !okR || len(l)*len(r) > maxGroups || len(l)+len(r) > maxGroups {
			return nil, false
		}
		if and == not { // or, or the contrary of and
			return append(l, r...), true
		}
		var out [][]part
		for _, a := range l {
			for _, b := range r {
				out = append(out, slices.Concat(a, b))
			}
		}
		return out, true
	}
	return [][]part{{{n: n, not: not}}}, true
}

// domain is what a value may be.
type domain struct {
	lo, hi         float64
	loOpen, hiOpen bool // the bound itself is excluded
	words          []string
	some           bool // only words may be
	never          []string
	yes, no        bool // it must be true; it must be false
}

func (d *domain) empty() bool {
	if d.yes && d.no || d.lo > d.hi || d.lo == d.hi && (d.loOpen || d.hiOpen) {
		return true
	}
	return d.some && !slices.ContainsFunc(d.words, func(w string) bool { return !contains(d.never, w) })
}

func (d *domain) atLeast(k float64, open bool) {
	if k > d.lo || k == d.lo && open {
		d.lo, d.loOpen = k, open
	}
}

func (d *domain) atMost(k float64, open bool) {
	if k < d.hi || k == d.hi && open {
		d.hi, d.hiOpen = k, open
	}
}

func (d *domain) compare(op string, k float64) {
	switch op {
	case ">", ">=":
		d.atLeast(k, op == ">")
	case "<", "<=":
		d.atMost(k, op == "<")
	case "==":
		d.atLeast(k, false)
		d.atMost(k, false)
	}
}

func (d *domain) oneOf(words []string) {
	if d.some {
		words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !contains(d.words, w) })
	}
	d.words, d.some = words, true
}

var contrary = map[string]string{">": "<=", ">=": "<", "<": ">=", "<=": ">", "==": "!=", "!=": "=="}

// impossible reports whether all groups of a condition (or, with whenNot, of one and not the other) contradict themselves.
func (b *builder) impossible(n, whenNot ast.Node) bool {
	all, ok := groups(n, false)
	if ok && whenNot != nil {
		var others [][]part
		others, ok = groups(whenNot, true)
		if ok = ok && len(all)*len(others) <= maxGroups; ok {
			both := make([][]part, 0, len(all)*len(others))
			for _, x := range all {
				for _, y := range others {
					both = append(both, slices.Concat(x, y))
				}
			}
			all = both
		}
	}
	if !ok {
		return false
	}
	for _, g := range all {
		if !b.contradicts(g) {
			return false
		}
	}
	return true
}

func (b *builder) contradicts(g []part) bool {
	values := map[string]*domain{}
	of := func(n ast.Node) *domain {
		d := values[n.String()]
		if d == nil {
			d = b.domain(n)
			values[n.String()] = d
		}
		return d
	}
	for _, p := range g {
		if !b.apply(p, of) {
			return true
		}
	}
	for _, d := range values {
		if d.empty() {
			return true
		}
	}
	return false
}

// apply adds what a part says of its value; false: it is never true by itself.
func (b *builder) apply(p part, of func(ast.Node) *domain) bool {
	switch n := p.n.(type) {
	case *ast.BoolNode:
		return n.Value != p.not
	case *ast.BinaryNode:
		if n.Operator == "in" {
			applyIn(n, p.not, of)
			return true
		}
		left, right, op := n.Left, n.Right, n.Operator
		if contrary[op] == "" {
			return true
		}
		if literal(left) {
			left, right, op = right, left, mirrored(op)
		}
		if p.not {
			op = contrary[op]
		}
		b.applyComparison(left, right, op, of)
	default:
		d := of(p.n)
		d.yes, d.no = d.yes || !p.not, d.no || p.not
	}
	return true
}

func (b *builder) applyComparison(left, right ast.Node, op string, of func(ast.Node) *domain) {
	if literal(left) || !literal(right) {
		return
	}
	d := of(left)
	switch r := right.(type) {
	case *ast.StringNode:
		if op == "==" {
			d.oneOf([]string{r.Value})
		} else {
			d.never = append(d.never, r.Value)
		}
	case *ast.BoolNode:
		is := r.Value == (op == "==")
		d.yes, d.no = d.yes || is, d.no || !is
	default:
		if v := (&compiler{b: b}).expr(right); v.isConst {
			d.compare(op, v.konst)
		}
	}
}

func applyIn(n *ast.BinaryNode, not bool, of func(ast.Node) *domain) {
	list, ok := n.Right.(*ast.ArrayNode)
	if !ok {
		return
	}
	var words []string
	for _, item := range list.Nodes {
		lit, ok := item.(*ast.StringNode)
		if !ok {
			return
		}
		words = append(words, lit.Value)
	}
	if d := of(n.Left); not {
		d.never = append(d.never, words...)
	} else {
		d.oneOf(words)
	}
}

// literal reports whether an expression is made of fixed values only.
func literal(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.StringNode, *ast.BoolNode:
		return true
	case *ast.UnaryNode:
		return literal(n.Node)
	case *ast.BinaryNode:
		return literal(n.Left) && literal(n.Right)
	}
	return false
}

// Functions whose values have bounds of their own.
var (
	notNegative = []string{"count", "age", "silent", "held", "since", "times", "codes", "hours", "starts", "stddev"}
	shares      = []string{"share", "anomaly", "peers", "fleet_rate"}
)

// domain is what a value may be before a condition says anything of it.
func (b *builder) domain(n ast.Node) *domain {
	d := &domain{lo: math.Inf(-1), hi: math.Inf(1)}
	if spec := b.bounded(n); spec != nil {
		if spec.HasMin {
			d.atLeast(spec.Min, false)
		}
		if spec.HasMax {
			d.atMost(spec.Max, false)
		}
	}
	if call, ok := n.(*ast.CallNode); ok {
		name, _ := fieldName(call.Callee)
		if contains(notNegative, name) || contains(shares, name) {
			d.atLeast(0, false)
		}
		if contains(shares, name) {
			d.atMost(1, false)
		}
	}
	return d
}

// neverTrue notes parts of a condition that are never true: the smallest that can be named.
func (b *builder) neverTrue(res *result, at located) {
	if at.source.node == nil || len(res.mistakes) > 0 {
		return
	}
	var check func(n ast.Node)
	check = func(n ast.Node) {
		bin, _ := n.(*ast.BinaryNode)
		joins := bin != nil && contains([]string{"and", "&&", "or", "||"}, bin.Operator)
		switch {
		case joins && (!b.impossible(n, nil) || b.impossible(bin.Left, nil) || b.impossible(bin.Right, nil)):
			check(bin.Left)
			check(bin.Right)
		case b.impossible(n, nil):
			res.mistakes = append(res.mistakes, mistake{at: at, err: exprError{
				line: lineOf(at.text, n.Location().From), message: fmt.Sprintf("%s is never true", clip(n.String())), hint: b.whyNever(n)}})
		}
	}
	check(at.source.node)
}

// whyNever explains it as far as that is simple.
func (b *builder) whyNever(n ast.Node) string {
	bin, ok := n.(*ast.BinaryNode)
	if !ok {
		return ""
	}
	if contains([]string{"and", "&&"}, bin.Operator) {
		return "its parts exclude each other"
	}
	value := bin.Left
	if literal(value) {
		value = bin.Right
	}
	if spec := b.bounded(value); spec != nil {
		return bounds(spec)
	}
	switch d := b.domain(value); {
	case d.lo == 0 && d.hi == 1:
		return clip(value.String()) + " is between 0 and 1"
	case d.lo == 0:
		return clip(value.String()) + " is never below 0"
	}
	return ""
}

// neverUseful notes what a rule says in vain although each condition by itself can hold.
func (b *builder) neverUseful(res *result, d *draft) {
	if len(res.mistakes) > 0 {
		return
	}
	if d.InStorage && !res.rule.absence {
		n := resolve(d.o.keys["in_storage"])
		res.mistakes = append(res.mistakes, mistake{at: located{node: n, path: join(d.path, "in_storage")}, err: exprError{
			message: "in_storage is for rules about absence: age, silent, link", hint: "leave it out"}})
	}
	if when, clr := d.when.source.node, d.clear.source.node; when != nil && clr != nil && !d.event && b.impossible(when, clr) {
		res.mistake(d.clear, "it would be over at once", "the rule never opens: clear holds whenever when does")
	}
	for i := range d.levels {
		for k := i + 1; k < len(d.levels); k++ {
			mild, severe := d.levels[i].source.node, d.levels[k].source.node
			if d.Levels[k].For <= d.Levels[i].For && b.impossible(mild, severe) {
				res.mistake(d.levels[i], "give it a limit or a time that is reached earlier", "level %s is never seen: whenever it holds, level %s does",
					d.Levels[i].Severity, d.Levels[k].Severity)
			}
		}
	}
}
