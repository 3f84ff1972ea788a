package words

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

// MaxWords is the longest a message may be, its five parts together.
const MaxWords = 60

// Check parses the templates of one language's text and runs them with sample values, and says everything that is wrong:
// templates that do not work, values the rule has no evidence of, a first line that is too long, too many words, exclamation
// marks. evidence names what the rule's findings carry; without any, every name is taken for known. The errors begin with
// the part's name: "what: ...".
func Check(t fleet.Text, lang string, evidence ...string) error {
	return check(t, lang, sample{model: sampleModel, code: "E1"}, evidence)
}

// CheckFor is Check with the words of a real model: what it is called, and what its dictionary says of the code that the rule
// is about (empty: it is about none).
func CheckFor(t fleet.Text, lang string, m *fleet.Model, code string) error {
	return check(t, lang, sample{model: m, code: code}, nil)
}

// sample is what a text is tried with.
type sample struct {
	model *fleet.Model
	code  string
}

var sampleModel = &fleet.Model{Label: fleet.Words{"en": "washing machine", "de": "Waschmaschine"}, FaultCodes: []fleet.FaultCode{{Code: "E1",
	Meaning: fleet.Words{"en": "a known fault"}, Cause: fleet.Words{"en": "a known cause"}, Remedy: fleet.Words{"en": "a known remedy"}, Part: "a part"}}}

func check(t fleet.Text, lang string, with sample, evidence []string) error {
	var errs []error
	fail := func(part, format string, args ...any) {
		errs = append(errs, fmt.Errorf(part+": "+format, args...))
	}
	words := 0
	for _, p := range []struct{ name, source string }{{"what", t.What}, {"why", t.Why}, {"otherwise", t.Otherwise},
		{"do", t.Do}, {"cost", t.Cost}, {"clear", t.Clear}} {
		if strings.TrimSpace(p.source) == "" {
			if p.name == "what" || p.name == "clear" {
				fail(p.name, "the text is empty")
			}
			continue
		}
		text, unknown, err := trial(p.source, lang, with, evidence)
		if err != nil {
			fail(p.name, "%w", err)
			continue
		}
		for _, n := range unknown {
			fail(p.name, "value %q: the rule has no such evidence (it has %s)", n, strings.Join(evidence, ", "))
		}
		if n := utf8.RuneCountInString(text); n > MaxTitle && (p.name == "what" || p.name == "clear") {
			fail(p.name, "%d characters when rendered, at most %d fit a lock screen: %q", n, MaxTitle, text)
		}
		if strings.ContainsRune(text, '!') || strings.ContainsFunc(text, func(r rune) bool { return unicode.Is(unicode.So, r) && r != '°' }) {
			fail(p.name, "no exclamation marks and no emoji: %q", text)
		}
		if p.name != "clear" {
			words += strings.Count(text, " ") + 1 // a number and its unit are one
		}
	}
	if words > MaxWords {
		fail("text", "%d words together when rendered, want at most %d", words, MaxWords)
	}
	return errors.Join(errs...)
}

// trial runs a template with sample values, then without any: it must not fail either way.
func trial(source, lang string, with sample, known []string) (text string, unknown []string, err error) {
	now := time.Date(2026, 3, 11, 19, 0, 0, 0, time.UTC)
	s := &scope{locale: For(lang, "UTC", ""), now: now, since: now.Add(-26 * time.Hour), gaps: new([]string),
		device: &fleet.Device{WarrantyUntil: now.AddDate(0, 0, 23)}, model: with.model}
	s.thing, s.shortThing = things(lang, &fleet.Device{Room: "cellar"}, with.model)
	asked := names(source)
	for _, n := range asked {
		if len(known) > 0 && !slices.ContainsFunc(known, func(k string) bool { return squeeze(k) == squeeze(n) }) {
			unknown = append(unknown, n)
		}
		s.evidence = append(s.evidence, fleet.Evidence{Name: n, Value: 94, Unit: "s", At: s.since, Normal: 55, HasNormal: true, Limit: 70, HasLimit: true})
	}
	if with.code != "" {
		s.evidence = append(s.evidence, fleet.Evidence{Name: "code", Text: with.code, At: s.since})
	}
	raw, err := s.execute(source)
	if err != nil {
		return "", nil, err
	}
	text, _ = assemble(raw)
	s.evidence, s.device = nil, &fleet.Device{}
	if _, err := s.execute(source); err != nil {
		return "", nil, fmt.Errorf("without its values: %w", err)
	}
	return text, unknown, nil
}
