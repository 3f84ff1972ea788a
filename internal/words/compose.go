package words

import (
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"golang.org/x/text/language"

	"aftercare/internal/fleet"
)

// Compose puts a letter into words for its channel. It never fails: what a template cannot say is left out and named in Gaps,
// and when one does not work at all the rule's own text stands in for it.
func (r *Renderer) Compose(l Letter) Composed {
	missing := r.language(&l)
	s := r.scope(l.Input)
	s.letter = &l
	if l.Cover.Kind != "" {
		s.cover = &l.Cover
	}
	out := Composed{Evidence: s.evidence[:min(len(s.evidence), maxReadings)], Readings: s.readings(), Fallback: missing}
	c := composer{scope: s, templates: r.templates, letter: &l, fallback: &out.Fallback}
	s.labels = c.label
	out.Rendered = c.message()
	if l.Channel == inboxChannel && r.templates != nil {
		out.Do = c.line()
	}
	if l.Topic == EventOrder && r.templates != nil {
		if text, err := c.run("calendar"); err == nil {
			out.Calendar = shorten(strings.Join(text, " "), MaxTitle)
		}
	}
	out.Actions = c.actions()
	if l.Channel == "email" && r.templates != nil {
		c.mail(&out)
	}
	out.Gaps = *s.gaps
	return out
}

// language chooses the language of the whole message: the person's, or English when the rule or the event has no text in hers.
// Half a message in each would help nobody. It says what was missing.
func (r *Renderer) language(l *Letter) string {
	p := l.Person
	if p == nil || p.Locale == "" {
		return ""
	}
	tag, err := language.Parse(p.Locale)
	base, _ := tag.Base()
	lang := base.String()
	var missing string
	switch {
	case err != nil:
		return "language unknown: en"
	case !slices.Contains(Languages(), lang):
		return "language " + lang + ": en"
	case lang == "en":
		return ""
	case l.Case != nil && lacks(r.texts(l.Case.Rule), lang):
		missing = "rule " + l.Case.Rule
	case r.templates.lacks(lang, l.Topic):
		missing = "template " + l.Topic
	default:
		return ""
	}
	english := *p
	english.Locale = "en"
	if region := For(p.Locale, "", "").Region; region != "" {
		english.Locale += "-" + region // units and dates stay as she writes them
	}
	l.Person = &english
	return missing + " in " + lang + ": en"
}

func lacks(t fleet.Texts, lang string) bool {
	_, has := t[lang]
	return len(t) > 0 && !has
}

func (t *Templates) lacks(lang, event string) bool {
	return t != nil && t.files[lang+"/"+event] == nil && t.files["en/"+event] != nil
}

// composer makes one message.
type composer struct {
	scope     *scope
	templates *Templates
	letter    *Letter
	fallback  *string
}

func (c *composer) fell(format string, args ...any) {
	if *c.fallback == "" {
		*c.fallback = fmt.Sprintf(format, args...)
	}
}

// message makes title and body, without what belongs to an e-mail alone.
func (c *composer) message() Rendered {
	if c.templates == nil {
		c.fell("templates: none")
		return c.scope.plain(c.letter.Topic)
	}
	var broken error
	title, rest := c.scope.title(func(s *scope) (string, bool) {
		here := *c
		here.scope = s
		text, err := here.run("title")
		broken = err
		return strings.Join(text, " "), true
	})
	body, err := c.run("body")
	if broken == nil {
		broken = err
	}
	if title == "" && broken == nil {
		broken = fmt.Errorf("template %s: title: it is empty", c.letter.Topic)
	}
	if broken != nil {
		c.fell("%s: plain text", broken)
		c.scope.gap("template")
		return c.scope.plain(c.letter.Topic)
	}
	if rest != "" {
		body = append([]string{rest}, body...)
	}
	if len(c.letter.Also) > 0 {
		title, body = c.digest(title, body)
	}
	return Rendered{Title: title, Body: strings.Join(body, "\n\n"), Locale: c.scope.locale.Lang}
}

// inboxChannel is where messages stand in a list, each with its title and what to do.
const inboxChannel = "inbox"

// line is what stands under the title in a list: what a lock screen shows there. Without one the title is enough.
func (c *composer) line() string {
	l := *c.letter
	l.Channel = "push"
	s := *c.scope
	s.letter, s.gaps = &l, new([]string) // what it misses, the body misses too
	here := composer{scope: &s, templates: c.templates, letter: &l, fallback: new(string)}
	text, err := here.run("body")
	if err != nil {
		return ""
	}
	return strings.Join(text, " ")
}

// digest adds what the message takes along; without a template for that nothing is lost either.
func (c *composer) digest(title string, body []string) (string, []string) {
	l := *c.letter
	l.Topic, l.Subject = digestFile, ""
	here := *c
	here.letter = &l
	s := *c.scope
	s.letter, s.first, here.scope = &l, title, &s
	line, err := here.run("title")
	if len(line) > 0 && err == nil {
		title = shorten(strings.Join(line, " "), MaxTitle)
	}
	more, err := here.run("body")
	if err != nil {
		c.fell("%s: plain text", err)
		for _, a := range c.letter.Also {
			more = append(more, a.Title)
		}
	}
	return title, append(body, more...)
}

// run renders a part of the letter's template to paragraphs.
func (c *composer) run(part string) ([]string, error) {
	t, name := c.lookup(part)
	if t == nil {
		if part == "calendar" || part == "body" {
			return nil, nil
		}
		return nil, fmt.Errorf("template %s: there is no %q", c.letter.Topic, part)
	}
	raw, err := c.execute(t, name)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range paragraphs(raw) {
		text, whole := assemble(p)
		if !whole {
			c.scope.gap(part)
		}
		if text != "" {
			out = append(out, text)
		}
	}
	return out, nil
}

// paragraphs are what stands between empty lines.
func paragraphs(s string) []string {
	var out []string
	var b strings.Builder
	for line := range strings.Lines(s + "\n\n") {
		if strings.TrimSpace(line) != "" {
			b.WriteString(line)
			continue
		}
		if b.Len() > 0 {
			out = append(out, strings.TrimSpace(b.String()))
		}
		b.Reset()
	}
	return out
}

// lookup finds the part for the letter, the most special one: for the channel, for its family, for all. What a rule says is looked
// for in the file of its topic, then in that of all cases; other events have a file of their own, and what that does not define
// is as in all cases.
func (c *composer) lookup(part string) (*template.Template, string) {
	keys := []string{part + "." + c.letter.Channel, part + "." + family(c.letter.Channel), part}
	in := func(name string, keys ...string) (*template.Template, string) {
		file := c.templates.files[c.scope.locale.Lang+"/"+name]
		for _, k := range keys {
			if file != nil && file.Lookup(k) != nil {
				return file, k
			}
		}
		return nil, ""
	}
	switch c.letter.Topic {
	case fleet.EventOpened, fleet.EventEscalated:
		for _, k := range keys {
			for _, name := range []string{string(c.letter.Subject), caseFile} {
				if file, _ := in(name, k); file != nil {
					return file, k
				}
			}
		}
		return nil, ""
	case digestFile, EventOrder, EventOperation:
		return in(c.letter.Topic, keys...)
	}
	if file, k := in(c.letter.Topic, keys...); file != nil {
		return file, k
	}
	return in(caseFile, keys...)
}

func family(channel string) string {
	if f, ok := channelFamily[channel]; ok {
		return f
	}
	return "long"
}

// label is a word or sentence of the labels file in the reader's language, in English where it is missing.
func (c *composer) label(key string) string {
	if c.templates == nil {
		return ""
	}
	for _, lang := range []string{c.scope.locale.Lang, "en"} {
		file := c.templates.files[lang+"/"+labelFile]
		if file == nil || file.Lookup(key) == nil {
			continue
		}
		text, err := c.execute(file, key)
		if err != nil {
			c.fell("%v", err)
			continue
		}
		if lang != c.scope.locale.Lang {
			c.fell("label %s in %s: en", key, c.scope.locale.Lang)
		}
		text, _ = assemble(strings.TrimSpace(text))
		return text
	}
	return ""
}

// execute runs one part of a file. Most labels are a word: those need no running.
func (c *composer) execute(file *template.Template, part string) (string, error) {
	if nodes := file.Lookup(part).Root.Nodes; len(nodes) == 1 {
		if word, ok := nodes[0].(*parse.TextNode); ok {
			return string(word.Text), nil
		}
	}
	t, err := file.Clone()
	if err != nil {
		return "", fmt.Errorf("template %s: %w", file.Name(), err)
	}
	b := bounded{left: maxOutput}
	if err := t.Funcs(c.scope.letterFuncs()).ExecuteTemplate(&b, part, c.scope.dot()); err != nil {
		return "", fmt.Errorf("template %s: %w", file.Name(), err)
	}
	return b.String(), nil
}

// actions puts labels on the buttons.
func (c *composer) actions() []fleet.Action {
	out := slices.Clone(c.letter.Actions)
	for i := range out {
		if out[i].Label = c.label(string(out[i].Verdict)); out[i].Label == "" {
			out[i].Label = c.scope.locale.Verdict(out[i].Verdict)
		}
	}
	return out
}
