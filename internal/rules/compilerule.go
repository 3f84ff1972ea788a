package rules

import (
	"fmt"
	"slices"
	"strings"

	"aftercare/internal/fleet"
	"github.com/expr-lang/expr/ast"
)

// mistake is an exprError with the expression it is in.
type mistake struct {
	at  located
	err exprError
}

// result is a rule compiled for one model.
type result struct {
	rule     compiled
	use      usage
	mistakes []mistake
	missing  []string // fields the model does not have
	program  *program // what it was compiled into
}

// check compiles a rule for every model in scope, on trial, notes the mistakes and fills in d.Models. It returns the evidence
// that texts may name, which is the same for all models.
func (l *loader) check(r *reader, d *draft) (told []telling) {
	sc := d.to
	var nearest *result // of a model that lacks fields: the one with most fields among those that lack fewest
	lacking, fields := 0, 0
	noted := map[string]bool{}
	note := func(m mistake) {
		key := fmt.Sprint(m.at.path, m.err.line, m.err.message)
		if !noted[key] {
			noted[key] = true
			r.problemIn(m.at.node, m.at.path, m.err)
		}
	}
	for _, id := range sc.models {
		res := newBuilder(l.cfg, l.models[id]).compile(d)
		if len(res.missing) > 0 && !sc.explicit {
			lacking++
			has := len(l.models[id].Fields)
			if nearest == nil || len(res.missing) < len(nearest.missing) || len(res.missing) == len(nearest.missing) && has > fields {
				nearest, fields = &res, has
			}
			continue
		}
		for _, m := range res.mistakes {
			note(m)
		}
		if much := l.builder(id).p.over(res.program); much != "" && len(res.mistakes) == 0 {
			note(mistake{at: d.when, err: exprError{message: much, hint: "fewer windows, or the same ones in several rules"}})
		}
		told = res.rule.tells()
		d.Models = append(d.Models, id)
	}
	if lacking > 0 && lacking == len(sc.models) { // no model of the category has all the fields: misspelt, not absent
		for _, m := range nearest.mistakes {
			note(m)
		}
	}
	for _, name := range d.limitNames() {
		if len(d.Models) > 0 && len(noted) == 0 && !d.bad && !d.limitsUsed[name] {
			n := resolve(d.o.keys["limits"])
			r.problem(n, join(d.path, "limits."+name), "limits."+name+" in a condition", "limit %q is not used", name)
		}
	}
	l.strangeCodes(d)
	return told
}

// add compiles a rule that was checked into the model's program.
func (b *builder) add(d *draft) {
	res := b.compile(d)
	b.p.rules = append(b.p.rules, res.rule)
	b.uses = append(b.uses, res.use)
}

// compile compiles all expressions of a rule. Its mistakes are in the result.
func (b *builder) compile(d *draft) result {
	b.draft = d
	b.trace = map[ast.Node]value{}
	res := result{program: b.p, rule: compiled{Rule: d.Rule, forMs: d.For.Milliseconds(), clearMs: d.ClearFor.Milliseconds()}}
	if len(d.levels) > 0 {
		res.rule.when, res.use = b.ladder(&res, d)
	} else {
		res.rule.when, res.use = b.condition(&res, d.when)
	}
	use := res.use
	link := slices.ContainsFunc(use.slots, func(i int) bool { return b.p.slots[i].link })
	d.event = use.code
	res.rule.absence = use.age || use.silent || link
	res.rule.lasting = res.rule.absence || d.event || len(use.slots) == 0
	res.rule.crossings = use.cross
	if d.event && d.For > 0 {
		res.mistake(d.when, "leave out for", "for cannot be used with code: an event is a moment")
	}
	if d.event && d.ClearFor == 0 && d.clear.source.node == nil {
		res.rule.clearMs = defaultEventClear.Milliseconds()
	}
	if d.clear.source.node != nil {
		clr, cu := b.condition(&res, d.clear)
		res.rule.clear, res.rule.clearCode = clr, cu.code
		cu.code, cu.cross = false, nil // a clear condition is looked at with readings only
		res.use.join(cu)
	}
	b.conduct(&res, d)
	for _, at := range d.expressions() {
		b.neverTrue(&res, at)
	}
	b.neverUseful(&res, d)
	b.explain(&res, d)
	res.rule.whenTrace, res.rule.clearTrace = traced{d.when.source.node, b.trace}, traced{d.clear.source.node, b.trace}
	for i := range res.rule.levels {
		res.rule.levels[i].trace = traced{d.levels[i].source.node, b.trace}
	}
	b.trace = nil
	return res
}

func (res *result) mistake(at located, hint, format string, args ...any) {
	res.mistakes = append(res.mistakes, mistake{at: at, err: exprError{message: fmt.Sprintf(format, args...), hint: hint}})
}

// expression runs one expression through a compiler of its own.
func (b *builder) expression(res *result, at located) (value, usage) {
	c := &compiler{b: b, src: at.source}
	v := c.expr(at.source.node)
	for _, e := range c.errs {
		res.mistakes = append(res.mistakes, mistake{at: at, err: e})
	}
	res.missing = append(res.missing, c.missing...)
	return v, c.use
}

func (b *builder) condition(res *result, at located) (boolFn, usage) {
	if at.source.node == nil {
		return nil, usage{}
	}
	v, use := b.expression(res, at)
	if v.kind != boolean && v.kind != bad {
		res.mistake(at, "compare it with something", "want a condition, found %s", v.kind)
	}
	return v.cond, use
}

// explain compiles what is shown with a finding: the evidence as written, or else the fields and calls `when` uses. Each
// level shows the same with its own limits.
func (b *builder) explain(res *result, d *draft) {
	items := d.evidence
	if len(items) == 0 {
		items = defaultEvidence(append([]located{d.when}, d.levels...))
	}
	for _, k := range d.normals {
		if slices.ContainsFunc(items, func(e located) bool { return named(e, k) }) {
			continue
		}
		src, err := parseExpr(k)
		if err != nil {
			res.mistakes = append(res.mistakes, mistake{at: d.normal[k], err: *err})
			continue
		}
		items = append(slices.Clip(items), located{source: src, node: d.normal[k].node, path: d.normal[k].path})
	}
	for _, it := range items {
		if it.source.node != nil {
			res.rule.evidence = append(res.rule.evidence, b.evidence(res, d, it))
		}
	}
	for i := range res.rule.levels {
		res.rule.levels[i].evidence = slices.Clone(res.rule.evidence)
		for k := range res.rule.evidence {
			e := &res.rule.levels[i].evidence[k]
			if e.value.kind == number {
				e.limit = b.limit(d.levels[i], e.written)
			}
		}
	}
}

// evidence compiles one value that explains.
func (b *builder) evidence(res *result, d *draft, it located) evidence {
	v, _ := b.expression(res, it)
	e := evidence{name: it.text, written: it.source.node.String(), unit: v.unit, slot: v.slot, value: v}
	for _, k := range d.normals {
		if named(it, k) && d.normal[k].source.node != nil {
			e.normal = b.numeric(res, d.normal[k])
		}
	}
	if v.kind == number {
		e.limit = b.limit(d.when, e.written)
	}
	return e
}

func named(e located, k string) bool {
	return e.text == k || e.source.node != nil && e.source.node.String() == k
}

func (b *builder) numeric(res *result, at located) numFn {
	v, _ := b.expression(res, at)
	if v.kind != number && v.kind != bad {
		res.mistake(at, "", "want a number, found %s", v.kind)
	}
	return v.num
}

// maxEvidence bounds what a finding carries when the rule does not say what explains it.
const maxEvidence = 8

// defaultEvidence lists the fields and calls of conditions, in the order they are written.
func defaultEvidence(conditions []located) (out []located) {
	for _, when := range conditions {
		if when.source.node == nil {
			continue
		}
		walk(when.source.node, func(n ast.Node) bool {
			switch n.(type) {
			case *ast.CallNode, *ast.IdentifierNode, *ast.MemberNode:
			default:
				return true
			}
			name := n.String()
			if len(out) < maxEvidence && !strings.HasPrefix(name, limitPrefix) && !slices.ContainsFunc(out, func(e located) bool { return e.text == name }) {
				out = append(out, located{source: source{text: name, node: n}, node: when.node, path: when.path})
			}
			return false
		})
	}
	return out
}

// walk visits the nodes our language has; visit says whether to go below.
func walk(n ast.Node, visit func(ast.Node) bool) {
	if n == nil || !visit(n) {
		return
	}
	switch n := n.(type) {
	case *ast.UnaryNode:
		walk(n.Node, visit)
	case *ast.BinaryNode:
		walk(n.Left, visit)
		walk(n.Right, visit)
	case *ast.ConditionalNode:
		walk(n.Cond, visit)
		walk(n.Exp1, visit)
		walk(n.Exp2, visit)
	}
}

// limit finds the first comparison of the expression called name in a condition and compiles its other side.
func (b *builder) limit(when located, name string) (f numFn) {
	if when.source.node == nil {
		return nil
	}
	walk(when.source.node, func(n ast.Node) bool {
		bin, ok := n.(*ast.BinaryNode)
		if !ok || f != nil || !contains([]string{"<", ">", "<=", ">=", "=="}, bin.Operator) {
			return f == nil
		}
		other := bin.Right
		switch name {
		case bin.Left.String():
		case bin.Right.String():
			other = bin.Left
		default:
			return true
		}
		c := &compiler{b: b, src: when.source}
		if v := c.expr(other); v.kind == number && len(c.errs) == 0 {
			f = v.num
		}
		return false
	})
	return f
}

// bounded returns the field whose bounds hold for an expression: the field, or its mean, smallest or largest value.
func (b *builder) bounded(n ast.Node) *fleet.FieldSpec {
	if call, ok := n.(*ast.CallNode); ok && len(call.Arguments) > 0 {
		if name, _ := fieldName(call.Callee); contains([]string{"avg", "min", "max", "prev"}, name) {
			n = call.Arguments[0]
		}
	}
	name, ok := fieldName(n)
	if !ok {
		return nil
	}
	return b.model.Field(name)
}

func mirrored(op string) string {
	if m, ok := map[string]string{"<": ">", ">": "<", "<=": ">=", ">=": "<="}[op]; ok {
		return m
	}
	return op
}

func bounds(s *fleet.FieldSpec) string {
	switch {
	case s.HasMin && s.HasMax:
		return fmt.Sprintf("the profile allows %g to %g for %s", s.Min, s.Max, s.Name)
	case s.HasMin:
		return fmt.Sprintf("the profile allows %g and more for %s", s.Min, s.Name)
	}
	return fmt.Sprintf("the profile allows at most %g for %s", s.Max, s.Name)
}
