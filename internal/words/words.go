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
	models    map[string]*fleet.Model
	texts     func(rule string) fleet.Texts
	templates *Templates // nil: messages are the rules' own texts
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

// With returns a renderer that composes messages with these templates.
func (r *Renderer) With(t *Templates) *Renderer {
	return &Renderer{models: r.models, texts: r.texts, templates: t}
}

// Input is what a message is about. Device and Person may be nil: then the model's label and English are used.
type Input struct {
	Topic  string // one of the fleet.Event constants
	Case   *fleet.Case
	Device *fleet.Device
	Person *fleet.Person
	Now    time.Time
}

// Rendered is a message in words.
type Rendered struct {
	Title  string // 1 to MaxTitle characters
	Body   string // paragraphs with an empty line between; may be empty
	Do     string // of the inbox: what to do now, in a line; may be empty
	Locale string // what was used: "en", "de"
	// Gaps names the parts of the text (what, why, otherwise, do, cost, clear) of which a sentence was left out or replaced
	// because a value was not there or the template failed, and "title" when the first line had to be shortened.
	Gaps []string
}

// Render never fails: a sentence whose value is not known is left out, a line that does not work is replaced by a plain one,
// and the gaps say so. It needs no template: pages say a case so, and a message whose template does not work.
func (r *Renderer) Render(in Input) Rendered { return r.scope(in).plain(in.Topic) }

// plain is a message made of the rule's own text alone.
func (s *scope) plain(event string) Rendered {
	out := Rendered{Locale: s.locale.Lang}
	first := (*scope).what
	if event == fleet.EventCleared {
		first = (*scope).clear
	}
	out.Title, out.Body = s.title(func(s *scope) (string, bool) { return string(first(s)), true })
	if event != fleet.EventCleared {
		for _, p := range []phrase{s.why(), s.slot("otherwise", s.text.Otherwise, ""), s.slot("do", s.text.Do, ""), s.slot("cost", s.text.Cost, "")} {
			if out.Body != "" && p != "" {
				out.Body += "\n\n"
			}
			out.Body += string(p)
		}
		out.Do = string(s.slot("do", s.text.Do, ""))
	}
	out.Gaps = *s.gaps
	return out
}

func (s *scope) what() phrase  { return s.slot("what", s.text.What, s.plainWhat()) }
func (s *scope) why() phrase   { return s.slot("why", s.text.Why, s.plainWhy()) }
func (s *scope) clear() phrase { return s.slot("clear", s.text.Clear, s.plainClear()) }

// slot is one part of the rule's text; plain replaces one that was meant to say something and has nothing to say.
func (s *scope) slot(name, source, plain string) phrase {
	t, whole := s.say(source)
	if !whole || t == "" && (name == "what" || name == "clear") {
		s.gap(name)
	}
	if t == "" && (!whole || strings.TrimSpace(source) == "") {
		t = plain
	}
	return phrase(t)
}

// title makes a first line. When it is longer than MaxTitle the device's short name is tried, then fewer clauses, then fewer
// words, and the whole sentence is returned for the body.
func (s *scope) title(say func(*scope) (string, bool)) (title, rest string) {
	full, _ := say(s)
	if utf8.RuneCountInString(full) <= MaxTitle {
		return full, ""
	}
	s.gap("title")
	short := *s
	short.thing = s.shortThing
	title = full
	if t, _ := say(&short); t != "" {
		title = t
	}
	return shorten(title, MaxTitle), full
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
