package rules

import (
	"slices"
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

// telling is an evidence as texts see it.
type telling struct {
	name          string
	normal, limit bool // whether it has one
	unit          string
}

// tells lists what a rule's texts may name.
func (c *compiled) tells() (out []telling) {
	for k, e := range c.evidence {
		limit := e.limit != nil
		for i := range c.levels {
			limit = limit || c.levels[i].evidence[k].limit != nil
		}
		out = append(out, telling{name: e.name, normal: e.normal != nil, limit: limit, unit: e.unit})
	}
	return out
}

// checkTemplates parses the texts of a rule and compares the values they name with the rule's evidence, where
// that is known (not nil).
func checkTemplates(o object, evidence []telling) {
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
				o.r.problem(n, join(parts.path, key), templateHint(msg, namesOf(evidence)), "bad template: %s", msg)
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
func commandMistake(cmd *parse.CommandNode, evidence []telling) (msg, hint string) {
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
			if name, ok := cmd.Args[1].(*parse.StringNode); ok && evidence != nil {
				return valueMistake(first.Ident, name.Text, cmd.String(), evidence)
			}
		}
		if contains([]string{"code", "cause", "remedy", "part"}, first.Ident) && evidence != nil && !contains(namesOf(evidence), codeName) {
			return "{{" + cmd.String() + "}} is of an event's code, which is no evidence here: it stays empty", "evidence: [code] in a rule about a code"
		}
	}
	return "", ""
}

// valueMistake looks at one {{word "evidence"}}: a sentence with a value that is never known would never be told.
func valueMistake(word, name, written string, evidence []telling) (msg, hint string) {
	i := slices.IndexFunc(evidence, func(e telling) bool { return e.name == name })
	switch {
	case i < 0:
		return "{{" + written + "}}: no evidence is called so", evidenceHint(word, name, namesOf(evidence))
	case word == "normal" && !evidence[i].normal:
		return "{{" + written + "}}: the rule does not say what is normal", "normal: {" + name + `: 'avg(field, "14d")'}`
	case word == "limit" && !evidence[i].limit:
		return "{{" + written + "}}: the condition compares it with nothing", "name what is compared in evidence, as it is written in the condition"
	case word == "ahead" && evidence[i].unit != "h":
		return "{{" + written + "}}: ahead is for hours, such as those of eta", `{{value ...}}`
	}
	return "", ""
}

func namesOf(evidence []telling) []string {
	out := make([]string, len(evidence))
	for i := range evidence {
		out[i] = evidence[i].name
	}
	return out
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
