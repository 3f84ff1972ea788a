package fleet

import "time"

// IncidentState is where an incident stands.
type IncidentState string

// The states of an incident.
const (
	IncidentOpen   IncidentState = "open"
	IncidentFixed  IncidentState = "fixed"  // all who were told of it hear so; its cases go on being closed as they clear
	IncidentClosed IncidentState = "closed" // it was none, or nothing follows any more
)

// Incident is one fault of many devices: a problem whose rate among a model, a firmware or a batch is above its normal. While it
// is open nobody is told to book a repair for it.
type Incident struct {
	ID       string
	Tenant   string
	Version  int64
	State    IncidentState
	Problem  string
	Model    string
	Firmware string // empty: any
	Batch    string // empty: any
	OpenedAt time.Time
	FixedAt  time.Time
	ClosedAt time.Time
	By       string    // "rules", or who declared it: "agent:<name>"
	Title    string    // for agents
	News     Words     // what owners are told, one or two sentences by language; empty: the shipped text
	NextAt   time.Time // when owners hear again at the latest; zero: no promise
	Severity Severity  // of its most severe case

	// The evidence: of Devices in the group Affected had the problem within Window; Expected of them by the normal rate, and
	// Chance is how likely so many are by chance alone.
	Devices  int
	Affected int
	Window   time.Duration
	Expected float64
	Chance   float64
}

// Matches reports whether a case belongs to the incident.
func (i *Incident) Matches(c *Case) bool {
	same := func(want, have string) bool { return want == "" || want == have }
	return i.Tenant == c.Device.Tenant && i.Problem == c.Problem && same(i.Model, c.Model) && same(i.Firmware, c.Firmware) && same(i.Batch, c.Batch)
}

// Overlaps reports whether a device could belong to the groups of both incidents.
func (i *Incident) Overlaps(o *Incident) bool {
	same := func(a, b string) bool { return a == "" || b == "" || a == b }
	return i.Tenant == o.Tenant && i.Problem == o.Problem && same(i.Model, o.Model) && same(i.Firmware, o.Firmware) && same(i.Batch, o.Batch)
}

// GroupCount is how many devices of one model, firmware and batch had a problem: what incidents are found by. Firmware and batch
// are those of the time the case was opened.
type GroupCount struct {
	Model    string
	Problem  string
	Firmware string
	Batch    string
	Affected int // devices, each counted once in each part of the time
	Present  int // of these, those that have the same firmware and batch still
	Hard     int // of these, those with a fault or danger: with no such case it is maintenance that is due
	Severity Severity
}

// Onset is when one device's case of a problem was opened.
type Onset struct {
	Serial   string
	Firmware string
	Batch    string
	OpenedAt time.Time
}

// Told is somebody who was sent a message of an incident, and the case it was sent about first.
type Told struct {
	PersonID string
	CaseID   string
}

// IncidentFilter selects incidents of one tenant, newest first.
type IncidentFilter struct {
	Tenant string
	States []IncidentState // none: all
	Limit  int             // 0 means 100
}

// IncidentEdit is what an agent changes of an incident; what is nil stays.
type IncidentEdit struct {
	Title  *string
	News   Words // owners who were told hear of it
	NextAt *time.Time
}

// IncidentChange is everything one decision about an incident writes, in one transaction or not at all. CodeConflict when it is
// not at version Expected any more, or another one of the same problem and group is open.
type IncidentChange struct {
	Incident Incident
	Expected int64
	Audit    []Audit // CaseID is the incident's id
	Outbox   []OutboxRow
}

// Operation is what operators and agents are told outside the desk: an incident, a case nobody took on, messages that died.
type Operation struct {
	Name     string // "incident", "case_escalated", "dead_letter": the alert's name
	Severity string // "info", "warning", "critical"
	Summary  string // one line, in English
	Detail   string
	Labels   map[string]string // what the alert is the same by: tenant, case, incident
	URL      string            // the page at the desk
	At       time.Time
	Ends     time.Time // zero: it goes on
}
