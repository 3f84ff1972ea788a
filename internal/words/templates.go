package words

import (
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"aftercare/internal/fleet"
)

// Languages are those there are words in; English is what others fall back to.
func Languages() []string { return []string{"en", "de"} }

// The files of a folder of templates.
const (
	caseFile   = "case"   // of any topic that has no file of its own
	digestFile = "digest" // what a message adds that takes others along
	labelFile  = "labels"
	mailText   = "email.txt"
	mailHTML   = "email.html"
)

// EventOrder is the work order that a partner gets, and EventOperation what operators are told: messages that no owner sees.
const (
	EventOrder     = "order"
	EventOperation = "operation"
)

// files are the names that a file may have, the ending left out: topics, then events.
var files = []string{caseFile, string(fleet.TopicSafety), string(fleet.TopicFault), string(fleet.TopicWarranty), string(fleet.TopicMaintenance),
	string(fleet.TopicTip), string(fleet.TopicReview), fleet.EventCleared, fleet.EventReminder, fleet.EventVisit, fleet.EventIncident,
	fleet.EventIncidentNews, fleet.EventIncidentFixed, fleet.EventConfirmedFixed, EventOrder, EventOperation, digestFile, labelFile}

// parts are what a file may define, alone or with a channel or family behind a dot: "body.email", "body.short".
var fileParts = []string{"title", "body", "calendar"}

// Channels are those a template may be for, by their family: on short ones a message is read on a lock screen.
var channelFamily = map[string]string{"push": "short", "fcm": "short", "ntfy": "short", "inbox": "long", "email": "long", "webhook": "long"}

// maxOutput bounds what one template writes: a mistake in one must not fill the memory.
const maxOutput = 64 << 10

// Templates are the texts around the rules' own: one file for each topic and event and language, and the layouts of an e-mail.
// They are not changed after they were read and safe for concurrent use.
type Templates struct {
	files map[string]*template.Template // by "en/case"
	text  *template.Template            // layouts of an e-mail
	html  *htmltemplate.Template
}

// LoadTemplates reads the templates from layers of folders; a file of a later one takes the place of an earlier one's. It
// returns every mistake with file and line, relative to the folders. The templates can be used when there is none.
func LoadTemplates(layers ...fs.FS) (*Templates, []fleet.Problem) {
	t := &Templates{files: map[string]*template.Template{}}
	sources, problems := read(layers)
	for _, name := range slices.Sorted(mapKeys(sources)) {
		problems = append(problems, t.add(name, sources[name])...)
	}
	for _, lang := range Languages() {
		for _, f := range []string{caseFile, labelFile} {
			if _, ok := sources[lang+"/"+f+ending]; !ok {
				problems = append(problems, fleet.Problem{File: lang + "/" + f + ending, Message: "there is no such file, and no other stands in for it"})
			}
		}
	}
	for _, f := range []string{mailText, mailHTML} {
		if _, ok := sources[f]; !ok {
			problems = append(problems, fleet.Problem{File: f, Message: "there is no such file, and no other stands in for it"})
		}
	}
	if len(problems) == 0 {
		problems = t.Check()
	}
	return t, problems
}

// Len is how many files there are.
func (t *Templates) Len() int {
	n := len(t.files)
	for _, there := range []bool{t.text != nil, t.html != nil} {
		if there {
			n++
		}
	}
	return n
}

const ending = ".tmpl"

func mapKeys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func read(layers []fs.FS) (map[string]string, []fleet.Problem) {
	sources := map[string]string{}
	var problems []fleet.Problem
	for _, layer := range layers {
		err := fs.WalkDir(layer, ".", func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() || strings.EqualFold(path.Ext(name), ".md") || strings.HasPrefix(d.Name(), "."):
				return nil
			case !known(name):
				problems = append(problems, fleet.Problem{File: name, Message: "no message is made from this file", Hint: hintFile(name)})
				return nil
			}
			b, err := fs.ReadFile(layer, name)
			if err != nil {
				return err
			}
			if len(b) > maxOutput {
				problems = append(problems, fleet.Problem{File: name, Message: fmt.Sprintf("%d bytes, want at most %d", len(b), maxOutput)})
				return nil
			}
			sources[name] = string(b)
			return nil
		})
		if err != nil {
			problems = append(problems, fleet.Problem{Message: fmt.Sprintf("cannot be read: %v", err)})
		}
	}
	return sources, problems
}

func known(name string) bool {
	if name == mailText || name == mailHTML {
		return true
	}
	lang, file := path.Split(name)
	return slices.Contains(Languages(), strings.TrimSuffix(lang, "/")) && strings.HasSuffix(file, ending) && slices.Contains(files, strings.TrimSuffix(file, ending))
}

func hintFile(name string) string {
	if lang, _, ok := strings.Cut(name, "/"); ok && !slices.Contains(Languages(), lang) {
		return "languages are " + strings.Join(Languages(), " and ")
	}
	return "want LANGUAGE/NAME" + ending + " with a name of " + strings.Join(files, ", ") + ", or " + mailText + ", " + mailHTML
}

// add parses one file.
func (t *Templates) add(name, source string) []fleet.Problem {
	var err error
	var trees []*template.Template
	switch name {
	case mailHTML:
		t.html, err = htmltemplate.New(name).Option("missingkey=error").Parse(source)
		if err != nil {
			return []fleet.Problem{problem(name, err)}
		}
		return forbidden(name, t.html.Tree)
	case mailText:
		t.text, err = template.New(name).Option("missingkey=error").Parse(source)
		if err != nil {
			return []fleet.Problem{problem(name, err)}
		}
		return forbidden(name, t.text.Tree)
	}
	parsed, err := template.New(name).Option("missingkey=error").Funcs((&scope{}).letterFuncs()).Parse(dropMarks(source))
	if err != nil {
		return []fleet.Problem{problem(name, err)}
	}
	base := strings.TrimSuffix(name, ending)
	t.files[base] = parsed
	trees = parsed.Templates()
	slices.SortFunc(trees, func(a, b *template.Template) int { return strings.Compare(a.Name(), b.Name()) })
	var out []fleet.Problem
	for _, d := range trees {
		if d.Name() == name {
			if strings.TrimSpace(dropComments(d.Tree)) != "" {
				out = append(out, fleet.Problem{File: name, Line: 1, Message: "there is text outside of {{define}}, and nobody would read it"})
			}
			continue
		}
		if path.Base(base) != labelFile && !knownPart(d.Name()) {
			out = append(out, fleet.Problem{File: name, Line: lineOf(source, d.Name()), Path: d.Name(), Message: "nothing is made from a part of this name",
				Hint: "parts are " + strings.Join(fileParts, ", ") + ", with a channel or family behind a dot: body.short, body.email"})
		}
		out = append(out, forbidden(name, d.Tree)...)
	}
	return out
}

// lineOf is the line on which a part is defined, 0 when it is not found.
func lineOf(source, part string) int {
	i := strings.Index(source, `define "`+part+`"`)
	if i < 0 {
		return 0
	}
	return strings.Count(source[:i], "\n") + 1
}

func dropComments(tree *parse.Tree) string {
	var b strings.Builder
	for _, n := range tree.Root.Nodes {
		if n.Type() != parse.NodeComment {
			b.WriteString(n.String())
		}
	}
	return b.String()
}

func knownPart(name string) bool {
	part, rest, dotted := strings.Cut(name, ".")
	if !slices.Contains(fileParts, part) {
		return false
	}
	_, channel := channelFamily[rest]
	return !dotted || channel || rest == "short" || rest == "long"
}

// forbidden names what would let a file run for ever: loops over anything but lists, and templates that call templates.
func forbidden(file string, tree *parse.Tree) (out []fleet.Problem) {
	if tree == nil || tree.Root == nil {
		return nil
	}
	var visit func(n parse.Node)
	complain := func(n parse.Node, what string) {
		where, _ := tree.ErrorContext(n)
		out = append(out, problem(file, errors.New("template: "+where+": "+what)))
	}
	visit = func(n parse.Node) {
		switch n := n.(type) {
		case *parse.ListNode:
			if n != nil {
				for _, c := range n.Nodes {
					visit(c)
				}
			}
		case *parse.IfNode:
			visit(n.List)
			visit(n.ElseList)
		case *parse.WithNode:
			visit(n.List)
			visit(n.ElseList)
		case *parse.RangeNode:
			if !isList(n.Pipe) {
				complain(n, "{{range}} goes over a list: also, or a field")
			}
			visit(n.List)
			visit(n.ElseList)
		case *parse.TemplateNode:
			complain(n, "{{template}} and {{block}} are not used here")
		}
	}
	visit(tree.Root)
	return out
}

func isList(p *parse.PipeNode) bool {
	if len(p.Cmds) != 1 || len(p.Cmds[0].Args) != 1 {
		return false
	}
	switch a := p.Cmds[0].Args[0].(type) {
	case *parse.FieldNode:
		return true
	case *parse.IdentifierNode:
		return a.Ident == "also"
	case *parse.VariableNode:
		return len(a.Ident) > 1 && a.Ident[0] == "$"
	}
	return false
}

// problem takes the line out of a message of the template packages: "template: en/case.tmpl:3:7: ..." or "html/template:...".
func problem(file string, err error) fleet.Problem {
	p := fleet.Problem{File: file, Message: err.Error()}
	var e *htmltemplate.Error
	if errors.As(err, &e) {
		p.Line, p.Message = e.Line, e.Description
	}
	if i := strings.LastIndex(p.Message, file+":"); i >= 0 {
		rest := p.Message[i+len(file)+1:]
		digits, after, _ := strings.Cut(rest, ":")
		if n, err := strconv.Atoi(digits); err == nil {
			p.Line, p.Message = n, strings.TrimSpace(after)
			if column, text, ok := strings.Cut(p.Message, ":"); ok {
				if _, err := strconv.Atoi(column); err == nil {
					p.Message = strings.TrimSpace(text)
				}
			}
		}
	}
	return p
}

// bounded ends a template that writes without end.
type bounded struct {
	strings.Builder
	left int
}

var errTooLong = fmt.Errorf("writes more than %d bytes", maxOutput)

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errTooLong
	}
	return b.Builder.Write(p)
}
