package rules

import (
	"fmt"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
)

// Bounds of one expression: they bound the time and the stack that parsing, checking and evaluating it can take.
const (
	maxExpr  = 4096
	maxNodes = 500
)

// codeName is the identifier of an event's code.
const codeName = "code"

// source is an expression as written, with its tree.
type source struct {
	text string
	node ast.Node
}

// exprError is a mistake at a place in an expression.
type exprError struct {
	line    int // 0-based within the expression
	message string
	hint    string
}

// parseExpr parses with expr's parser. All of expr's own functions are off, so that nothing reads a clock; the parser is
// somebody else's code, so a panic in it becomes a mistake in the rule.
func parseExpr(text string) (src source, problem *exprError) {
	defer func() {
		if p := recover(); p != nil {
			problem = &exprError{message: fmt.Sprintf("cannot be parsed: %v", p)}
		}
	}()
	if len(text) > maxExpr {
		return source{}, &exprError{message: fmt.Sprintf("longer than %d bytes", maxExpr), hint: "split the rule"}
	}
	if strings.TrimSpace(text) == "" {
		return source{}, &exprError{message: "the expression is empty"}
	}
	tree, err := parser.ParseWithConfig(text, exprConfig())
	if err != nil {
		e := &exprError{message: "cannot be parsed: " + err.Error()}
		if fe, ok := err.(*file.Error); ok { //nolint:errorlint // the parser returns it bare
			e = unparsed(text, fe)
		}
		return source{}, e
	}
	return source{text: strings.TrimSpace(text), node: tree.Node}, nil
}

func exprConfig() *conf.Config {
	c := &conf.Config{
		MaxNodes:          maxNodes,
		Disabled:          map[string]bool{},
		Functions:         conf.FunctionsTable{},
		DisableIfOperator: true,
	}
	for _, b := range builtin.Builtins {
		c.Disabled[b.Name] = true
	}
	for _, f := range functions {
		c.Functions[f.name] = nil // present: the parser then makes a plain call of it, not one of expr's own
	}
	return c
}

// fieldName returns the name an identifier or a chain of them ("motor.temp") stands for.
func fieldName(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value, true
	case *ast.MemberNode:
		head, ok := fieldName(n.Node)
		tail, isName := n.Property.(*ast.StringNode)
		if !ok || !isName || n.Optional || n.Method {
			return "", false
		}
		return head + "." + tail.Value, true
	case *ast.ChainNode:
		return fieldName(n.Node)
	}
	return "", false
}

// lineOf returns the 0-based line of a place (in runes) in an expression.
func lineOf(text string, from int) int {
	line, i := 0, 0
	for _, r := range text {
		if i >= from {
			break
		}
		if r == '\n' {
			line++
		}
		i++
	}
	return line
}
