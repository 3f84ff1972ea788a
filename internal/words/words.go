// Package words turns keys and values into sentences: a rule's text and a case's evidence into the title and body of a
// message, in English and German, with numbers, units, times and durations as the reader writes them.
//
// It decides nothing (whether, when and to whom is outreach's matter) and escapes for no channel: what it returns is plain
// text without control characters, markup or direction overrides, and a channel or page escapes it for its own syntax.
// Outreach, api, web and the checking tools may import it. It imports fleet and golang.org/x/text.
package words

import (
	"strings"
	"time"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

// MaxTitle is the longest title in characters: what a lock screen shows.
const MaxTitle = 80

// Renderer renders messages. It is safe for concurrent use if the texts function is.
type Renderer struct {
	models map[string]*fleet.Model
	texts  func(rule string) fleet.Texts
}

// New returns a renderer that knows the models' labels, units and fault codes; texts answers a rule's texts, nil for a rule
// that is not known (any more).
func New(models []fleet.Model, texts func(rule string) fleet.Texts) *Renderer {
	r := &Renderer{models: make(map[string]*fleet.Model, len(models)), texts: texts}
	for i := range models {
		r.models[models[i].ID] = &models[i]
	}
	return r
}

// Input is what a message is about. Device and Person may be nil: then the model's label and English are used.
type Input struct {
	Topic  string // "opened", "escalated", "cleared"
	Case   *fleet.Case
	Device *fleet.Device
	Person *fleet.Person
	Now    time.Time
}

// Rendered is a message in words.
type Rendered struct {
	Title  string // 1 to MaxTitle characters
	Body   string // paragraphs with an empty line between; may be empty
	Locale string // what was used: "en", "de"
	// Gaps names the parts of the text (what, why, otherwise, do, cost, clear) of which a sentence was left out or replaced
	// because a value was not there or the template failed, and "title" when the first line had to be shortened.
	Gaps []string
}

// Render never fails: a sentence whose value is not known is left out, a line that does not work is replaced by a plain one,
// and the gaps say so.
func (r *Renderer) Render(in Input) Rendered {
	s := r.scope(in)
	out := Rendered{Locale: s.locale.Lang}
	text := r.texts(in.Case.Rule).In(s.locale.Lang)
	if in.Topic == "cleared" {
		s.title(&out, "clear", text.Clear, s.plainClear())
		return out
	}
	s.title(&out, "what", text.What, s.plainWhat())
	s.part(&out, "why", text.Why, s.plainWhy())
	s.part(&out, "otherwise", text.Otherwise, "")
	s.part(&out, "do", text.Do, "")
	s.part(&out, "cost", text.Cost, "")
	return out
}

// title sets the first line. When it is longer than MaxTitle the device's short name is tried, then fewer clauses, then
// fewer words, and the whole sentence goes into the body.
func (s *scope) title(out *Rendered, part, source, plain string) {
	full, whole := s.say(source)
	if !whole || full == "" {
		out.Gaps = append(out.Gaps, part)
	}
	if full == "" {
		full = plain
	}
	out.Title = full
	if utf8.RuneCountInString(full) <= MaxTitle {
		return
	}
	out.Gaps = append(out.Gaps, "title")
	out.Body = full
	short := *s
	short.thing = s.shortThing
	if t, _ := short.say(source); t != "" {
		full = t
	}
	out.Title = shorten(full, MaxTitle)
}

// part appends a paragraph; plain replaces one that was meant to say something and has nothing to say.
func (s *scope) part(out *Rendered, name, source, plain string) {
	t, whole := s.say(source)
	if !whole {
		out.Gaps = append(out.Gaps, name)
	}
	if t == "" && (!whole || source == "") {
		t = plain
	}
	if t == "" {
		return
	}
	if out.Body != "" {
		out.Body += "\n\n"
	}
	out.Body += t
}

// shorten cuts a line to limit characters: behind a sentence or clause if that keeps at least half, else behind a word, with
// an ellipsis that shows the cut.
func shorten(line string, limit int) string {
	if utf8.RuneCountInString(line) <= limit {
		return line
	}
	runes := []rune(line)
	for _, stop := range []string{". ", "; ", ", "} {
		if i := strings.LastIndex(string(runes[:limit]), stop); i > 0 && utf8.RuneCountInString(line[:i]) >= limit/2 {
			return line[:i] + strings.TrimRight(stop[:1], ",;")
		}
	}
	cut := runes[:limit-1]
	for i := len(cut) - 1; i > limit/2; i-- {
		if cut[i] == ' ' {
			cut = cut[:i]
			break
		}
	}
	return strings.TrimRight(string(cut), " .,;:-–") + "…"
}
