package rules

import (
	"strings"
	"text/template"
	"text/template/parse"
)

// templateWords are what a rule's text may use, with the number of arguments; package words gives them their meaning.
var templateWords = map[string]int{
	"value": 1, "normal": 1, "limit": 1, "at": 1, "ahead": 1, "since": 0, "code": 0, "cause": 0, "remedy": 0, "part": 0, "cover": 0,
}

// templateFields are the words with a dot.
var templateFields = []string{"Thing", "thing"}

// checkTemplates parses the texts of a rule and compares the values they name with the rule's evidence, where
// that is known (not nil).
func checkTemplates(o object, evidence []string) {
	if o.keys["text"] == nil {
		return // noted already
	}
	langs, ok := o.r.object(resolve(o.keys["text"]), join(o.path, "text"))
	if !ok {
		return
	}
	funcs := template.FuncMap{}
	for w := range templateWords {
		funcs[w] = func(...any) string { return "" }
	}
	for _, lang := range langs.ordered() {
		parts, ok := o.r.object(langs.keys[lang], join(langs.path, lang))
		if !ok {
			continue
		}
		for _, key := range parts.ordered() {
			s, n := parts.text(key, false)
			if n == nil {
				continue
			}
			t, err := template.New("text").Funcs(funcs).Parse(s)
			if err != nil {
				msg := strings.TrimPrefix(err.Error(), "template: ")
				_, msg, _ = strings.Cut(msg, ": ")
				o.r.problem(n, join(parts.path, key), "", "bad template: %s", msg)
				continue
			}
			if t.Tree == nil {
				continue
			}
			eachCommand(t.Root, func(cmd *parse.CommandNode) {
				if msg, hint := commandMistake(cmd, evidence); msg != "" {
					o.r.problem(n, join(parts.path, key), hint, "%s", msg)
				}
			})
		}
	}
}

// commandMistake looks at one {{word "argument"}}.
func commandMistake(cmd *parse.CommandNode, evidence []string) (msg, hint string) {
	switch first := cmd.Args[0].(type) {
	case *parse.FieldNode:
		if len(first.Ident) != 1 || !contains(templateFields, first.Ident[0]) {
			return "unknown word {{" + first.String() + "}}", "{{.Thing}} or {{.thing}}"
		}
	case *parse.IdentifierNode:
		want, ours := templateWords[first.Ident]
		if !ours {
			return "", ""
		}
		if len(cmd.Args)-1 != want {
			return "{{" + cmd.String() + "}} has the wrong number of arguments", `{{value "field"}}`
		}
		if want == 1 {
			name, ok := cmd.Args[1].(*parse.StringNode)
			if ok && evidence != nil && !contains(evidence, name.Text) {
				return "{{" + cmd.String() + "}}: no evidence is called so", didYouMean(name.Text, evidence)
			}
		}
	}
	return "", ""
}

func eachCommand(n parse.Node, visit func(*parse.CommandNode)) {
	pipe := func(p *parse.PipeNode) {
		if p != nil {
			for _, c := range p.Cmds {
				visit(c)
			}
		}
	}
	list := func(l *parse.ListNode) {
		if l != nil {
			for _, c := range l.Nodes {
				eachCommand(c, visit)
			}
		}
	}
	switch n := n.(type) {
	case *parse.ListNode:
		list(n)
	case *parse.ActionNode:
		pipe(n.Pipe)
	case *parse.IfNode:
		pipe(n.Pipe)
		list(n.List)
		list(n.ElseList)
	case *parse.WithNode:
		pipe(n.Pipe)
		list(n.List)
		list(n.ElseList)
	}
}
