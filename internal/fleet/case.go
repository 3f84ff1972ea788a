package fleet

import (
	"strings"
	"time"
)

// CaseState is where a case stands.
type CaseState string

// The states of a case. New, acknowledged, in progress, waiting and reopened are open: something is to be done.
const (
	CaseNew        CaseState = "new"
	CaseAcked      CaseState = "acknowledged" // an agent has it
	CaseInProgress CaseState = "in_progress"
	CaseWaiting    CaseState = "waiting"  // Case.WaitingFor says for whom
	CaseReopened   CaseState = "reopened" // it was resolved, watched or closed, and the symptom is back
	CaseResolved   CaseState = "resolved" // said to be over; the same problem soon after opens it again
	CaseWatching   CaseState = "watching" // repaired, and watched until the repair is proven
	CaseClosed     CaseState = "closed"   // for good: a later episode is a new case, but of one whose repair was watched
)

// Open reports whether something is still to be done.
func (s CaseState) Open() bool {
	return s != CaseResolved && s != CaseWatching && s != CaseClosed
}

// OpenStates are the states of which Open is true, ClosedStates the others.
func OpenStates() []CaseState {
	return []CaseState{CaseNew, CaseAcked, CaseInProgress, CaseWaiting, CaseReopened}
}

// ClosedStates are the states of which Open is false.
func ClosedStates() []CaseState { return []CaseState{CaseResolved, CaseWatching, CaseClosed} }

// Whom a case waits for.
const (
	WaitOwner   = "owner" // the clocks of the agreed times stand still
	WaitPartner = "partner"
	WaitPart    = "part"
)

// Outcome is why a case is over.
type Outcome string

// The outcomes. All but cleared are said by somebody.
const (
	OutcomeCleared      Outcome = "cleared"          // its conditions ended by themselves
	OutcomeRepaired     Outcome = "repaired"         // Case.FixCause says what it was
	OutcomePart         Outcome = "part_replaced"    // Case.FixPart says which
	OutcomeUpdated      Outcome = "firmware_updated" // Case.FixPart is the version
	OutcomeNoFault      Outcome = "no_fault_found"
	OutcomeOwnerFixed   Outcome = "fixed_by_owner"
	OutcomeDuplicate    Outcome = "duplicate" // Case.MergedInto says of which
	OutcomeFalseAlarm   Outcome = "false_alarm"
	OutcomeConfirmedFix Outcome = "confirmed_fixed" // watched, and clean
)

// Outcomes are those that a person may give, in the order they are offered.
func Outcomes() []Outcome {
	return []Outcome{OutcomeRepaired, OutcomePart, OutcomeUpdated, OutcomeOwnerFixed, OutcomeNoFault, OutcomeFalseAlarm, OutcomeDuplicate}
}

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
	Outcome   Outcome
	Assignee  string    // "agent:<name>"; empty: nobody has it
	Episodes  []Episode // newest last, at most MaxEpisodes: ended ones are forgotten first

	// What the registry said of the device when the case was opened: incidents compare by it.
	Firmware string
	Batch    string
	Region   string

	IncidentID string // the incident it is a child of
	MergedInto string // the case it was merged into: closed as a duplicate, its later findings go there
	CauseRule  string // the rule whose open episode on the same device explains this one: nobody is told of a symptom

	CaseCare
}

// CaseCare is what people and clocks have to do with a case. It is kept as one value.
type CaseCare struct {
	WaitingFor string    `json:"waiting_for,omitempty"` // in state waiting: owner, partner, part
	Snooze     Snooze    `json:"snooze,omitzero"`
	FixCause   string    `json:"fix_cause,omitempty"`  // what it was, with an outcome that says so
	FixPart    string    `json:"fix_part,omitempty"`   // the part or the firmware
	PartnerID  string    `json:"partner_id,omitempty"` // who was, or is, sent: the same partner when the symptom is back
	OrderID    string    `json:"order_id,omitempty"`   // its last work order
	OrderSeen  int64     `json:"order_seen,omitempty"` // the order's newest version that was brought here
	Proof      Proof     `json:"proof,omitzero"`
	ToldAt     time.Time `json:"told_at,omitzero"`    // when a message to the owner was asked for last
	AckedAt    time.Time `json:"acked_at,omitzero"`   // when somebody first took it on
	AckBy      time.Time `json:"ack_by,omitzero"`     // until when it is to be taken on; zero: no such promise
	ResolveBy  time.Time `json:"resolve_by,omitzero"` // until when it is to be resolved, moved by each pause
	PausedAt   time.Time `json:"paused_at,omitzero"`  // since when the clocks stand still
	Escalated  int       `json:"escalated,omitempty"` // how many steps of the escalation were taken
	ClockFrom  time.Time `json:"clock_from,omitzero"` // since when the escalation counts, moved by each pause
	ClockSeen  time.Time `json:"clock_seen,omitzero"` // until when the steps of the escalation were taken, moved with it
	AckLate    bool      `json:"ack_late,omitempty"`  // AckBy has passed, and it was said
	FixLate    bool      `json:"fix_late,omitempty"`  // so has ResolveBy
	CheckAt    time.Time `json:"check_at,omitzero"`   // resolved while its condition held: when to look whether it still does
	CloseAt    time.Time `json:"close_at,omitzero"`   // resolved: when the clock closes it; kept after that
	// SplitOff names, by rule, the case to which the rule's episodes go since they were split off.
	SplitOff map[string]string `json:"split_off,omitempty"`
}

// Snooze keeps a case quiet: nobody is reminded, nothing escalates, and of what happens only danger is told, until a time or
// until the case gets worse.
type Snooze struct {
	Until    time.Time `json:"until,omitzero"` // zero with Worse: without a limit
	Worse    bool      `json:"worse,omitempty"`
	Severity Severity  `json:"severity,omitempty"` // at which it was snoozed
	Device   bool      `json:"device,omitempty"`   // the whole device is: a case that opens meanwhile is quiet too
	By       string    `json:"by,omitempty"`
}

// Holds reports whether the case is quiet at t when its severity is s.
func (z Snooze) Holds(t time.Time, s Severity) bool {
	if z.By == "" || z.Worse && s > z.Severity {
		return false
	}
	return z.Until.IsZero() || t.Before(z.Until)
}

// Proof is the proof of a fix: after a repair, a part or an update the device is watched for an amount of use.
type Proof struct {
	Since   time.Time `json:"since,omitzero"`    // zero: it was never watched
	Counter string    `json:"counter,omitempty"` // component or field whose use is counted; empty: days count
	Unit    string    `json:"unit,omitempty"`    // of From, Need and Seen: "h", "cycles", "days"
	From    float64   `json:"from,omitempty"`    // the counter at Since
	Need    float64   `json:"need,omitempty"`    // how much use proves it
	Seen    float64   `json:"seen,omitempty"`    // how much there was
	Until   time.Time `json:"until,omitzero"`    // at the latest it is looked at then, and asked whether the device is used at all
	Clean   bool      `json:"clean,omitempty"`   // it was proven
	Back    time.Time `json:"back,omitzero"`     // the symptom was back
}

// Episode is one finding's life inside a case.
type Episode struct {
	FindingID string     `json:"finding_id"`
	Revision  int        `json:"revision"` // highest revision applied
	Rule      string     `json:"rule"`
	Problem   string     `json:"problem,omitempty"` // when it is not the case's: it was merged
	RuleHash  string     `json:"rule_hash"`
	Kind      Kind       `json:"kind"`
	Severity  Severity   `json:"severity"`
	OpenedAt  time.Time  `json:"opened_at"`
	ClearedAt time.Time  `json:"cleared_at,omitzero"`
	Cause     string     `json:"cause,omitempty"` // the rule that explained it last
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
	OutboxOrder   OutboxKind = "order"   // tell a service partner of a work order: Ref is its id
	OutboxErrand  OutboxKind = "errand"  // wake up for a work order: Ref is its id, Topic says what for
	OutboxNotify  OutboxKind = "notify"  // tell the operators or agents: Body is a fleet.Operation
	OutboxRecord  OutboxKind = "record"  // relay to the changes stream of the journal
	OutboxTimer   OutboxKind = "timer"   // wake up for a case or an incident: Topic says what for; due at any time to come
)

// OutboxRow is work that was decided in the same transaction as the case change that caused it.
type OutboxRow struct {
	ID       string // deterministic, also the idempotency key towards receivers
	Kind     OutboxKind
	Tenant   string
	CaseID   string
	PersonID string // message: to whom; empty means the device's owner at sending time
	Channel  string // message: empty means decide at sending time and fan out; else this one channel
	Topic    string // message: one of the Event constants; timer: what it is for
	// Ref is the incident, work order or message it is about, when that is no case; RefBack on an opened message says that the
	// problem is back: who it still has something new for is what Heard.TellAgain says.
	Ref      string
	About    time.Time // event time of what it tells: an owner hears nothing of the time before the device was hers
	Body     []byte    // record: the record's JSON
	DueAt    time.Time
	Attempts int    // tries that were recorded, not leases: a crash between a try and its record loses the count of that one
	LastErr  string // why it was put off, or that a lease of it ended without a result; empty: nobody can have sent it yet
	// Cause is the receipt time of the telemetry that led to it: what "time from telemetry to message" starts from.
	Cause time.Time
}

// HeldMark begins LastErr of a message that a stage of the sending decision holds back: it was not tried since.
const HeldMark = "held: "

// Held reports whether the message was held back and not tried since.
func (r *OutboxRow) Held() bool { return strings.HasPrefix(r.LastErr, HeldMark) }

// Change is everything one decision writes, in one transaction or not at all. The store answers CodeConflict when the
// case's version is not Expected any more.
type Change struct {
	Case     Case
	Expected int64
	Audit    []Audit
	Outbox   []OutboxRow
	// Withdraw names messages that must not leave any more, with the reason in Why: their rows end as skipped unless they
	// were sent already.
	// An entry is the id of a row, or an event: then all messages of the case about it are meant.
	Withdraw []string
	Why      string
	// Answers are kept with the case; Record is added to the counts of the rules' versions.
	Answers []Answer
	Record  []RuleRecord
	Files   []Attachment
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
