package fleet

import "time"

// CaseState is where a case stands.
type CaseState string

// The states of a case.
const (
	CaseOpen     CaseState = "open"
	CaseAcked    CaseState = "acknowledged" // an agent has it
	CaseResolved CaseState = "resolved"
)

// MaxEpisodes bounds how many episodes a case keeps in full; Count goes on counting.
const MaxEpisodes = 20

// Case is one problem of one device: all its episodes, from the first until it is resolved.
type Case struct {
	ID        string
	Version   int64 // counts committed changes; 0 for one that does not exist yet
	Device    DeviceKey
	Model     string
	Category  string
	Problem   string
	Rule      string // the rule whose finding speaks for the case: the most severe, then the newest
	Kind      Kind
	Severity  Severity // highest of the episodes that are open now; the last one's when none is
	State     CaseState
	OpenedAt  time.Time // event time of the first episode
	UpdatedAt time.Time // event time of the last change
	ClosedAt  time.Time
	Count     int       // how many episodes there were
	Live      bool      // whether any episode was still open when the device had caught up: only then is anybody told
	Told      Severity  // highest severity a message was asked for
	ToldAny   bool      // whether a message was asked for at all
	AllClear  bool      // whether the last message asked for was the all-clear
	BackAt    time.Time // when the message is due that the problem is back after the all-clear, if it still is by then; zero: none is
	SeenUntil time.Time // findings opened until then that are not in Episodes were applied before: forgotten here or part of an earlier case
	Outcome   string    // why it is resolved: "cleared", "fixed", "no fault found", ...
	Assignee  string
	Episodes  []Episode // newest last, at most MaxEpisodes: ended ones are forgotten first
}

// Episode is one finding's life inside a case.
type Episode struct {
	FindingID string     `json:"finding_id"`
	Revision  int        `json:"revision"` // highest revision applied
	Rule      string     `json:"rule"`
	RuleHash  string     `json:"rule_hash"`
	Kind      Kind       `json:"kind"`
	Severity  Severity   `json:"severity"`
	OpenedAt  time.Time  `json:"opened_at"`
	ClearedAt time.Time  `json:"cleared_at,omitzero"`
	Evidence  []Evidence `json:"evidence,omitempty"`
}

// Audit is one line of a case's history: who did what, when and why.
type Audit struct {
	CaseID string
	At     time.Time // when it was recorded
	Actor  string    // "rules", "agent:<name>", "owner:<id>"
	Action string    // "opened", "escalated", "cleared", "reopened", "acknowledged", "resolved", "comment"
	Detail string
}

// OutboxKind says what an outbox row asks for.
type OutboxKind string

// The kinds of outbox rows.
const (
	OutboxMessage OutboxKind = "message" // tell the owner: decided again at sending time
	OutboxRecord  OutboxKind = "record"  // relay to the changes stream of the journal
)

// OutboxRow is work that was decided in the same transaction as the case change that caused it.
type OutboxRow struct {
	ID       string // deterministic, also the idempotency key towards receivers
	Kind     OutboxKind
	Tenant   string
	CaseID   string
	PersonID string // message: to whom; empty means the device's owner at sending time
	Channel  string // message: empty means decide at sending time and fan out; else this one channel
	Topic    string // message: "opened", "escalated", "cleared"
	Body     []byte // record: the record's JSON
	DueAt    time.Time
	Attempts int    // tries that were recorded, not leases: a crash between a try and its record loses the count of that one
	LastErr  string // why it was put off, or that a lease of it ended without a result; empty: nobody can have sent it yet
	// Cause is the receipt time of the telemetry that led to it: what "time from telemetry to message" starts from.
	Cause time.Time
}

// Change is everything one decision writes, in one transaction or not at all. The store answers CodeConflict when the
// case's version is not Expected any more.
type Change struct {
	Case     Case
	Expected int64
	Audit    []Audit
	Outbox   []OutboxRow
}

// Notice is what the changes stream carries: something that happened to a case, a message or a command, for history,
// dashboards and pages that show it at once.
type Notice struct {
	ID       string    `json:"id"`   // deterministic
	Type     string    `json:"type"` // "case", "message" or "command"
	Device   DeviceKey `json:"device"`
	Model    string    `json:"model,omitempty"`
	CaseID   string    `json:"case_id"`
	Problem  string    `json:"problem,omitempty"`
	Kind     Kind      `json:"kind,omitempty"`
	Severity Severity  `json:"severity"`
	Action   string    `json:"action"` // case: opened, escalated, cleared, reopened, acknowledged, resolved; message: sent, skipped, dead
	Channel  string    `json:"channel,omitempty"`
	PersonID string    `json:"person_id,omitempty"`
	Actor    string    `json:"actor,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	At       time.Time `json:"at"`
	// Of a command: which one and what it asks for. Action is the state it came to.
	CommandID string `json:"command_id,omitempty"`
	Command   string `json:"command,omitempty"`
}
