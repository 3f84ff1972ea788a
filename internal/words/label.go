package words

import "aftercare/internal/fleet"

// Sign is a state as pages show it: never colour alone, always a shape and a word.
type Sign struct{ Symbol, Word string }

// two is a word in both languages.
type two struct{ en, de string }

func (t two) in(lang string) string {
	if lang == "de" {
		return t.de
	}
	return t.en
}

func pick[K comparable](lang string, words map[K]two, key K) string { return words[key].in(lang) }

// The shapes.
const (
	symbolGood   = "●"
	symbolWatch  = "◐"
	symbolDue    = "▲"
	symbolFault  = "■"
	symbolSilent = "○"
)

var severities = map[fleet.Severity]struct {
	symbol string
	word   two
}{
	fleet.Info:   {symbolGood, two{"good to know", "gut zu wissen"}},
	fleet.Watch:  {symbolWatch, two{"watch", "beobachten"}},
	fleet.Due:    {symbolDue, two{"due", "fällig"}},
	fleet.Fault:  {symbolFault, two{"fault", "Störung"}},
	fleet.Danger: {symbolFault, two{"danger", "Gefahr"}},
}

var kinds = map[fleet.Kind]two{
	fleet.KindFault:       {"fault", "Störung"},
	fleet.KindMaintenance: {"maintenance", "Wartung"},
	fleet.KindSafety:      {"safety", "Sicherheit"},
	fleet.KindUsage:       {"usage", "Nutzung"},
	fleet.KindExperience:  {"tip", "Tipp"},
}

var states = map[fleet.CaseState]two{
	fleet.CaseNew:        {"new", "neu"},
	fleet.CaseAcked:      {"taken on", "angenommen"},
	fleet.CaseInProgress: {"in progress", "in Arbeit"},
	fleet.CaseWaiting:    {"waiting", "wartet"},
	fleet.CaseReopened:   {"back again", "wieder da"},
	fleet.CaseResolved:   {"resolved", "erledigt"},
	fleet.CaseWatching:   {"being watched", "unter Beobachtung"},
	fleet.CaseClosed:     {"closed", "geschlossen"},
}

// verdicts are the buttons of a message.
var verdicts = map[fleet.Verdict]two{
	fleet.VerdictFixed:   {"I fixed it", "Ist erledigt"},
	fleet.VerdictNotTrue: {"That's not true", "Das stimmt nicht"},
	fleet.VerdictBook:    {"Book a visit", "Termin buchen"},
	fleet.VerdictOrder:   {"Order the part", "Teil bestellen"},
	fleet.VerdictNotNow:  {"Not now", "Nicht jetzt"},
	fleet.VerdictStop:    {"Stop these", "Nicht mehr melden"},
	fleet.VerdictShow:    {"Show me how", "So geht's"},
}

// plainWhat completes "The washing machine ..." when a rule's own first line does not work.
var plainWhat = map[fleet.Kind]two{
	"":                    {"needs attention", "braucht Aufmerksamkeit"},
	fleet.KindFault:       {"has a fault", "hat eine Störung"},
	fleet.KindMaintenance: {"needs maintenance", "braucht eine Wartung"},
	fleet.KindSafety:      {"must be checked now", "muss jetzt geprüft werden"},
	fleet.KindUsage:       {"is used in a new way", "wird anders genutzt als sonst"},
	fleet.KindExperience:  {"has a tip for you", "hat einen Tipp für Sie"},
}

// Severity returns the shape and word of a severity.
func (l Locale) Severity(s fleet.Severity) Sign {
	v, ok := severities[s]
	if !ok {
		return Sign{symbolFault, s.String()}
	}
	return Sign{v.symbol, v.word.in(l.Lang)}
}

// Good is the sign of a device without an open case.
func (l Locale) Good() Sign { return Sign{symbolGood, two{"good", "gut"}.in(l.Lang)} }

// Silent is the sign of a device that has not been heard of for too long.
func (l Locale) Silent() Sign {
	return Sign{symbolSilent, two{"silent", "meldet sich nicht"}.in(l.Lang)}
}

// Kind returns the word for what a case is about, the key itself if there is none.
func (l Locale) Kind(k fleet.Kind) string {
	if w := pick(l.Lang, kinds, k); w != "" {
		return w
	}
	return string(k)
}

// Verdict returns what stands on a button, the key itself if there is no word for it.
func (l Locale) Verdict(v fleet.Verdict) string {
	if w := pick(l.Lang, verdicts, v); w != "" {
		return w
	}
	return string(v)
}

// State returns the word for where a case stands, the key itself if there is none.
func (l Locale) State(s fleet.CaseState) string {
	if w := pick(l.Lang, states, s); w != "" {
		return w
	}
	return string(s)
}
