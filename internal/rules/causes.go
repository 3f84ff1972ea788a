package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"go.yaml.in/yaml/v3"
)

// changed makes the rules that depend on one whose episode has opened or ended look again in the same pass.
func (s *State) changed(d *device, rule *compiled) {
	out := d.outside()
	for _, k := range rule.dependents {
		if s.pass != nil && (out == nil || !out.has(k)) {
			s.pass.add(k)
		}
	}
}

// attribute tells of open episodes whose cause has opened or ended.
func (s *State) attribute(d *device) {
	if !d.p.hasCauses {
		return
	}
	for i := range d.active {
		e := &d.active[i]
		if !e.open {
			continue
		}
		cause := -1
		for _, k := range d.p.rules[e.rule].causes {
			if d.isOpen(k) {
				cause = k
				break
			}
		}
		if cause != e.cause {
			e.cause = cause
			s.update(d, e, s.env.now)
		}
	}
}

// causeOf is the id of the rule that explains an episode, or empty.
func (p *program) causeOf(e *episode) string {
	if e.cause < 0 || e.cause >= len(p.rules) {
		return ""
	}
	return p.rules[e.cause].ID
}

// finding compiles finding("rule-id"): whether that rule's episode is open. A rule that does not run for the model never has one.
func (c *compiler) finding(n *ast.CallNode) value {
	lit, ok := n.Arguments[0].(*ast.StringNode)
	if !ok {
		return c.fail(n.Arguments[0], `finding("rule-id")`, "finding wants the id of a rule in quotes")
	}
	c.use.finding = true
	k := slices.IndexFunc(c.b.p.rules, func(r compiled) bool { return r.ID == lit.Value })
	if k < 0 {
		return value{kind: boolean, slot: -1, cond: func(*env) tri { return no }}
	}
	if !slices.Contains(c.use.rules, k) {
		c.use.rules = append(c.use.rules, k)
	}
	return value{kind: boolean, slot: -1, cond: func(e *env) tri { return truth(e.d.isOpen(k)) }}
}

// reference is another rule that a rule names.
type reference struct {
	id   string
	node *yaml.Node
	path string
	line int // within the expression
}

// references lists the rules that a draft looks at: its causes and the findings in its conditions.
func (d *draft) references() (out []reference) {
	for i, n := range d.causeNodes {
		out = append(out, reference{id: resolve(n).Value, node: n, path: fmt.Sprintf("%s.cause[%d]", d.path, i)})
	}
	for _, at := range d.expressions() {
		if at.source.node == nil {
			continue
		}
		each(at.source.node, func(n ast.Node) {
			call, ok := n.(*ast.CallNode)
			if !ok || len(call.Arguments) != 1 {
				return
			}
			lit, ok := call.Arguments[0].(*ast.StringNode)
			if name, _ := fieldName(call.Callee); ok && name == "finding" {
				out = append(out, reference{id: lit.Value, node: at.node, path: at.path, line: lineOf(at.text, n.Location().From)})
			}
		})
	}
	return out
}

// strangers notes rules that a draft looks at although they run for none of its models: it could wait for them for ever. Those
// were compiled before.
func (l *loader) strangers(d *draft) {
	for _, ref := range d.references() {
		k := slices.IndexFunc(l.drafts, func(o *draft) bool { return o.ID == ref.id })
		if k < 0 || l.drafts[k].bad || len(l.drafts[k].Models) == 0 || len(d.Models) == 0 {
			continue
		}
		if !slices.ContainsFunc(d.Models, func(id string) bool { return contains(l.drafts[k].Models, id) }) {
			d.r.problemIn(ref.node, ref.path, exprError{line: ref.line, message: fmt.Sprintf("rule %q runs for none of these models", ref.id)})
		}
	}
}

// each visits all nodes of an expression, the arguments of calls too.
func each(n ast.Node, visit func(ast.Node)) {
	walk(n, func(n ast.Node) bool {
		visit(n)
		if call, ok := n.(*ast.CallNode); ok {
			for _, a := range call.Arguments {
				each(a, visit)
			}
		}
		return true
	})
}

// order sorts the drafts so that each stands behind those it looks at. Rules that are not there, and rules that look at
// each other in a circle, are mistakes; a rule with one is left out.
func (l *loader) order() {
	byID := map[string]*draft{}
	for _, d := range l.drafts {
		byID[d.ID] = d
	}
	ids := make([]string, 0, len(byID))
	for id := range byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	const begun, done = 1, 2
	state := map[*draft]int{}
	var sorted []*draft
	var trail []string
	var visit func(d *draft)
	visit = func(d *draft) {
		state[d] = begun
		trail = append(trail, d.ID)
		for _, ref := range d.references() {
			to := byID[ref.id]
			mistake := exprError{line: ref.line}
			switch {
			case to == nil && l.seen[ref.id] != "": // it is there and has a mistake of its own
				continue
			case to == nil:
				mistake.message, mistake.hint = fmt.Sprintf("unknown rule %q", clip(ref.id)), hintRule(ref.id, ids)
			case state[to] == begun:
				circle := append(slices.Clone(trail[slices.Index(trail, to.ID):]), to.ID)
				for _, id := range circle {
					byID[id].bad = true
				}
				mistake.message = "rules that look at each other in a circle: " + strings.Join(circle, ", ")
			case state[to] == 0:
				visit(to)
				continue
			default:
				continue
			}
			d.r.problemIn(ref.node, ref.path, mistake)
			d.bad = true
		}
		trail = trail[:len(trail)-1]
		state[d] = done
		sorted = append(sorted, d)
	}
	for _, d := range l.drafts {
		if state[d] == 0 {
			visit(d)
		}
	}
	l.drafts = sorted
}
