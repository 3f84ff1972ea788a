package fleet

import (
	"fmt"
	"time"
)

// Kind is what a finding is about.
type Kind string

// The kinds of findings.
const (
	KindFault       Kind = "fault"
	KindMaintenance Kind = "maintenance"
	KindSafety      Kind = "safety"
	KindUsage       Kind = "usage"
	KindExperience  Kind = "experience"
)

// Severity is a step on the ladder a finding climbs.
type Severity uint8

// The severities, mildest first.
const (
	Info   Severity = iota // worth knowing
	Watch                  // keep an eye on it
	Due                    // something should be done soon
	Fault                  // something is broken
	Danger                 // somebody could be hurt or something damaged
)

var severityWords = [...]string{"info", "watch", "due", "fault", "danger"}

// String returns the word used in rule files: info, watch, due, fault, danger.
func (s Severity) String() string {
	if int(s) < len(severityWords) {
		return severityWords[s]
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// MarshalText and UnmarshalText use the words.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads one of the words; anything else is an error that lists them.
func (s *Severity) UnmarshalText(b []byte) error {
	for i, w := range severityWords {
		if w == string(b) {
			*s = Severity(i)
			return nil
		}
	}
	return fmt.Errorf("severity %q: want one of %v", b, severityWords)
}

// TellsOwner reports whether owners hear of a finding of this kind at this severity: of what concerns the product, from "watch"
// on. The others are for those who make and support it.
func TellsOwner(k Kind, s Severity) bool {
	return s >= Watch && (k == KindFault || k == KindMaintenance || k == KindSafety)
}

// Phase is where in its life an episode stands.
type Phase string

// The phases of an episode.
const (
	Opened  Phase = "opened"
	Updated Phase = "updated" // severity, cause or flapping changed, or the device caught up with the present (Live became true)
	Cleared Phase = "cleared"
)

// Evidence is one value that made a rule fire, beside what is normal for the device where that is known.
type Evidence struct {
	Name      string    `json:"name"` // field, or the expression's text for a computed value
	Value     float64   `json:"value"`
	Text      string    `json:"text,omitempty"` // for values that are not numbers
	Unit      string    `json:"unit,omitempty"`
	At        time.Time `json:"at"`
	Normal    float64   `json:"normal,omitempty"`
	HasNormal bool      `json:"has_normal,omitempty"`
	Limit     float64   `json:"limit,omitempty"`
	HasLimit  bool      `json:"has_limit,omitempty"`
	// Low and High bound an estimate (eta): the true value lies between them with a probability of about 80 %.
	Low      float64 `json:"low,omitempty"`
	High     float64 `json:"high,omitempty"`
	HasRange bool    `json:"has_range,omitempty"`
}

// Finding is one record about an episode: a rule's condition that began to hold for a device, changed or ended. It carries
// keys and values, never sentences. ID is deterministic: device, rule and the event time at which the episode opened.
type Finding struct {
	ID       string     `json:"id"`
	Revision int        `json:"revision"` // 0 for opened, then counting: (ID, Revision) is unique
	Phase    Phase      `json:"phase"`
	Device   DeviceKey  `json:"device"`
	Model    string     `json:"model"`
	Category string     `json:"category"`
	Rule     string     `json:"rule"`
	Version  string     `json:"version"` // hash of the rule's content
	Problem  string     `json:"problem"` // episodes of one problem share a case; the rule's id unless it says otherwise
	Kind     Kind       `json:"kind"`
	Severity Severity   `json:"severity"`
	OpenedAt time.Time  `json:"opened_at"` // event time: the device's clock
	At       time.Time  `json:"at"`        // event time of this record
	Received time.Time  `json:"received"`  // receipt time of the reading or tick that caused it
	Live     bool       `json:"live"`      // false while the device is still uploading its past: nobody is told yet
	Evidence []Evidence `json:"evidence,omitempty"`
	Cause    string     `json:"cause,omitempty"`    // the rule whose open episode explains this one, which is its symptom; may come and go with updates
	Flapping bool       `json:"flapping,omitempty"` // it opened and cleared so often that it is kept open until it is quiet
}
