package words

import (
	"strings"

	"aftercare/internal/fleet"
)

// mailPage is what the layouts of an e-mail see. The HTML one escapes every value for the place where it stands.
type mailPage struct {
	Lang       string
	Sign       Sign // of the case; both empty where there is none
	Title      string
	Paragraphs []string
	Chart      bool
	Readings   []Reading
	Rule       string
	Buttons    []Button // at most three
	Links      []Button // the others, in small letters
	Page       string
	Stop       string
	c          *composer
}

// Button is an action with its link.
type Button struct{ Label, URL string }

// Label is a word or sentence of the labels file.
func (p *mailPage) Label(key string) string { return p.c.label(key) }

// maxButtons is how many actions are shown large.
const maxButtons = 3

// mail lays the message out as an e-mail: its text in the body, the same as HTML beside it. A layout that does not work leaves
// the plain message.
func (c *composer) mail(out *Composed) {
	p := &mailPage{Lang: c.scope.locale.Lang, Title: out.Title, Paragraphs: paragraphs(out.Body), Chart: c.letter.HasChart, Rule: string(c.scope.ruleWords()),
		Page: c.letter.URL, Stop: c.letter.StopURL, c: c}
	switch {
	case c.letter.Topic == fleet.EventCleared, c.letter.Topic == fleet.EventConfirmedFixed, c.letter.Topic == fleet.EventIncidentFixed:
		p.Sign = c.scope.locale.Good()
		p.Rule = ""
	case c.letter.Case != nil && c.tellsProblem():
		p.Sign, p.Readings = c.scope.locale.Severity(c.letter.Case.Severity), out.Readings
	default:
		p.Rule = ""
	}
	for _, a := range out.Actions {
		small := a.Verdict == fleet.VerdictNotTrue || a.Verdict == fleet.VerdictStop || len(p.Buttons) == maxButtons
		switch {
		case a.URL == "" || a.Verdict == fleet.VerdictStop && p.Stop != "":
		case small:
			p.Links = append(p.Links, Button{a.Label, a.URL})
		default:
			p.Buttons = append(p.Buttons, Button{a.Label, a.URL})
		}
	}
	var text, html bounded
	text.left, html.left = maxOutput, 4*maxOutput
	if err := c.templates.text.Execute(&text, p); err != nil {
		c.fell("template %s: %v: plain text", mailText, err)
		c.scope.gap("template")
		return
	}
	if err := c.templates.html.Execute(&html, p); err != nil {
		c.fell("template %s: %v: text only", mailHTML, err)
		c.scope.gap("template")
	} else {
		out.HTML = html.String()
	}
	out.Body = tidy(text.String())
}

// tellsProblem says whether the message is about what is wrong: then the values stand beside it.
func (c *composer) tellsProblem() bool {
	switch c.letter.Topic {
	case fleet.EventOpened, fleet.EventEscalated, fleet.EventReminder:
		return true
	}
	return false
}

// tidy leaves at most one empty line between paragraphs and no blanks at the ends of lines.
func tidy(s string) string {
	var b strings.Builder
	empty := 0
	for line := range strings.Lines(s) {
		line = strings.TrimRight(line, " \t\r\n")
		if empty++; line != "" {
			empty = 0
		}
		if empty < 2 && (b.Len() > 0 || line != "") {
			b.WriteString(line + "\n")
		}
	}
	return strings.TrimSpace(b.String())
}
