package words

import (
	"text/template"
	"text/template/parse"
)

// names lists the evidence a template asks for: the constant arguments of value, normal, limit, at and ahead. A template that does
// not parse asks for nothing.
func names(source string) []string {
	t, err := template.New("text").Funcs((&scope{}).funcs()).Parse(source)
	if err != nil || t.Tree == nil {
		return nil
	}
	var out []string
	collect(t.Root, &out)
	return out
}

func collect(n parse.Node, out *[]string) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, c := range n.Nodes {
				collect(c, out)
			}
		}
	case *parse.ActionNode:
		collect(n.Pipe, out)
	case *parse.IfNode:
		branch(&n.BranchNode, out)
	case *parse.WithNode:
		branch(&n.BranchNode, out)
	case *parse.RangeNode:
		branch(&n.BranchNode, out)
	case *parse.PipeNode:
		if n != nil {
			for _, c := range n.Cmds {
				collect(c, out)
			}
		}
	case *parse.CommandNode:
		command(n, out)
	}
}

func branch(n *parse.BranchNode, out *[]string) {
	collect(n.Pipe, out)
	collect(n.List, out)
	collect(n.ElseList, out)
}

func command(n *parse.CommandNode, out *[]string) {
	if id, ok := n.Args[0].(*parse.IdentifierNode); ok && len(n.Args) > 1 {
		switch id.Ident {
		case "value", "normal", "limit", "at", "ahead":
			if s, ok := n.Args[1].(*parse.StringNode); ok {
				*out = append(*out, s.Text)
			}
		}
	}
	for _, a := range n.Args {
		collect(a, out)
	}
}
