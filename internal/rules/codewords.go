package rules

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// strangeCodes notes codes that a rule waits for and that no model's dictionary has: it would wait for ever. A device may send a code
// that its profile does not know, so models without a dictionary say nothing.
func (l *loader) strangeCodes(d *draft) {
	var known []string
	for _, id := range d.to.models {
		for _, c := range l.models[id].FaultCodes {
			if !contains(known, c.Code) {
				known = append(known, c.Code)
			}
		}
	}
	if len(known) == 0 {
		return
	}
	for _, at := range d.expressions() {
		if at.source.node == nil {
			continue
		}
		each(at.source.node, func(n ast.Node) {
			for _, lit := range codesCompared(n) {
				if !contains(known, lit.Value) {
					d.r.problemIn(at.node, at.path, exprError{line: lineOf(at.text, lit.Location().From),
						message: fmt.Sprintf("no model here has a code %q", clip(lit.Value)), hint: didYouMean(lit.Value, known)})
				}
			}
		})
	}
}

// codesCompared are the codes that a comparison names: code == "E18", code in ["E17", "E18"].
func codesCompared(n ast.Node) (out []*ast.StringNode) {
	bin, ok := n.(*ast.BinaryNode)
	if !ok || !contains([]string{"==", "!=", "in"}, bin.Operator) {
		return nil
	}
	sides := []ast.Node{bin.Left, bin.Right}
	isCode := func(n ast.Node) bool { name, _ := fieldName(n); return name == codeName }
	if !slices.ContainsFunc(sides, isCode) {
		return nil
	}
	for _, side := range sides {
		items := []ast.Node{side}
		if list, isList := side.(*ast.ArrayNode); isList {
			items = list.Nodes
		}
		for _, item := range items {
			if lit, isText := item.(*ast.StringNode); isText {
				out = append(out, lit)
			}
		}
	}
	return out
}
