package fleet

import "time"

// Facts is what the registry knows of a device that rules may look at. Each record holds all of it: the newest counts.
type Facts struct {
	Device   DeviceKey `json:"device"`
	At       time.Time `json:"at"` // since when it is so, by the server's clock
	Model    string    `json:"model"`
	Firmware string    `json:"firmware,omitempty"`
	Hardware string    `json:"hardware,omitempty"`
	Batch    string    `json:"batch,omitempty"`
	Region   string    `json:"region,omitempty"`  // ISO 3166 country, optionally with subdivision: "DE-BY"
	Station  string    `json:"station,omitempty"` // serial of the base station that may speak for it
	// Limits are this device's own values of rules' named limits, by "rule-id.limit", in the limit's unit.
	Limits map[string]float64 `json:"limits,omitempty"`
	// Maintenance is when somebody works on it: nothing but safety is found in it. Stored is when it is put away on purpose:
	// its silence is no fault. Sorted, past ones left out. A zero To means until further notice.
	Maintenance []Span `json:"maintenance,omitempty"`
	Stored      []Span `json:"stored,omitempty"`
	// Services is the last service of each component: its use is counted from then on.
	Services []Service `json:"services,omitempty"`
	Revoked  bool      `json:"revoked,omitempty"` // it is not a device of ours any more
}

// Span is a time from From up to but not including To; a zero To never comes.
type Span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to,omitzero"`
}

// Holds reports whether t lies in the span.
func (s Span) Holds(t time.Time) bool { return !t.Before(s.From) && (s.To.IsZero() || t.Before(s.To)) }

// Service is work on a component after which its use is counted anew.
type Service struct {
	Component string    `json:"component"` // of the model's profile
	At        time.Time `json:"at"`
	By        string    `json:"by,omitempty"` // "owner", a partner's or an agent's name
}

// FactsMark is a place in the order in which devices' facts changed: a revision of the registry and, as one revision may have
// changed many devices, the last device. The zero mark is before all.
type FactsMark struct {
	Rev    int64
	Device DeviceKey
}

// RuleActivation is a set of rule packs that was put in force.
type RuleActivation struct {
	N     int64 // counts from 1
	At    time.Time
	By    string            // who asked for it: a person's id, "agent:api", "start"
	Set   string            // hash of the rules compiled from them
	Packs map[string]string // content by file name
	Sent  bool              // every partition of the journal has it
}
