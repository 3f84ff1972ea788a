package cases

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"aftercare/internal/fleet"
)

// actorRules and the others are who acts when no person does.
const (
	actorRules     = byRules
	actorClock     = byClock
	actorIncidents = byIncidents
)

// What happens to a case; the words of audit lines and notices. What people do is named by their verbs.
const (
	actOpened    = "opened"
	actEscalated = "escalated"
	actCleared   = "cleared"
	actReopened  = "reopened"
	actUpdated   = "updated" // goes on, in a way that changes neither state nor severity
	actNoted     = "noted"   // history only: the case is over and stays so
	actAcked     = "acknowledged"
	actResolved  = "resolved"
	actClosed    = "closed"
	actComment   = "comment"
	actLate      = "late"     // a promised time has passed
	actReminded  = "reminded" // a step of the escalation
	actAnswered  = "answered" // the owner said something
)

// edit is a case on its way from one version to the next, with everything that is written beside it. It is decided by whom it
// belongs to; finish closes it.
type edit struct {
	cfg      Config
	now      time.Time
	actor    string
	received time.Time                // of the telemetry that led to it; zero: none did
	match    func(*fleet.Case) string // the open incident that a case belongs to; nil: there are none
	owned    time.Time                // since when its device is its owner's; zero: since ever
	before   fleet.Case               // zero when the case is new
	c        fleet.Case               // as it becomes

	audited  []fleet.Audit
	outbox   []fleet.OutboxRow
	withdraw []string
	why      string
	answers  []fleet.Answer
	record   []fleet.RuleRecord
	files    []fleet.Attachment
}

func (e *edit) audit(action, detail string) {
	e.audited = append(e.audited, fleet.Audit{CaseID: e.c.ID, At: e.now, Actor: e.actor, Action: action, Detail: detail})
}

// message asks for a message to the owner; whether it is sent is decided when it is due. Its id is the same whenever the same
// cause asks for it.
func (e *edit) message(event, cause string, due, about time.Time) *fleet.OutboxRow {
	e.outbox = append(e.outbox, fleet.OutboxRow{ID: fleet.ID("msg", e.c.ID, event, e.c.Severity.String(), cause), Kind: fleet.OutboxMessage,
		Tenant: e.c.Device.Tenant, CaseID: e.c.ID, Topic: event, DueAt: due, About: about, Cause: e.received})
	return &e.outbox[len(e.outbox)-1]
}

// cause names the change itself as what asks for something: no other one has its version.
func (e *edit) cause() string { return fmt.Sprint("version ", e.before.Version) }

// recall takes messages back that have not left.
func (e *edit) recall(why string, events ...string) {
	e.withdraw, e.why = append(e.withdraw, events...), why
}

// tellAgents asks for word to operators and agents. The name and the labels are what an alert is the same by.
func (e *edit) tellAgents(name, severity, to, summary, detail string) {
	labels := map[string]string{"tenant": e.c.Device.Tenant, "case": e.c.ID, "device": e.c.Device.Serial, "model": e.c.Model, "problem": e.c.Problem}
	if to != "" {
		labels["to"] = to
	}
	e.operation(fleet.Operation{Name: name, Severity: severity, Summary: summary, Detail: detail, Labels: labels, At: e.now})
}

func (e *edit) operation(op fleet.Operation) {
	body, err := json.Marshal(op)
	if err != nil { // strings and times of sane years: it cannot fail
		panic(fmt.Sprintf("encode operation %s: %v", op.Name, err))
	}
	e.outbox = append(e.outbox, fleet.OutboxRow{ID: fleet.ID("ntf", e.c.ID, op.Name, e.cause(), strconv.Itoa(len(e.outbox))), Kind: fleet.OutboxNotify, Tenant: e.c.Device.Tenant,
		CaseID: e.c.ID, Topic: op.Name, Body: body, DueAt: e.now})
}

// count adds to the record of the rule that speaks for the case.
func (e *edit) count(what string) {
	if e.c.Rule == "" {
		return
	}
	e.record = append(e.record, fleet.RuleRecord{Tenant: e.c.Device.Tenant, Rule: e.c.Rule, RuleHash: hashOf(&e.c), What: what, N: 1})
}

// hashOf is the version of the rule that speaks for a case.
func hashOf(c *fleet.Case) string {
	for i := len(c.Episodes) - 1; i >= 0; i-- {
		if c.Episodes[i].Rule == c.Rule {
			return c.Episodes[i].RuleHash
		}
	}
	return ""
}

// finish closes the edit: clocks, the timer that wakes for the next of them, and one record for the changes stream whose notice is
// said by the last line of the history. The notice is of time at; key makes its id.
func (e *edit) finish(at time.Time, key ...string) fleet.Change {
	e.runClocks()
	expected := e.before.Version
	e.c.Version = expected + 1
	if wake := e.cfg.wake(&e.c); !wake.IsZero() && (expected == 0 || !wake.Equal(e.cfg.wake(&e.before))) {
		e.outbox = append(e.outbox, fleet.OutboxRow{ID: fleet.ID("tmr", e.c.ID, fmt.Sprint(e.c.Version)), Kind: fleet.OutboxTimer,
			Tenant: e.c.Device.Tenant, CaseID: e.c.ID, Topic: TimerClock, DueAt: wake})
	}
	e.callOff()
	last := e.audited[len(e.audited)-1]
	n := fleet.Notice{ID: fleet.ID("ntc", append([]string{e.c.ID}, key...)...), Type: "case", Device: e.c.Device, Model: e.c.Model, CaseID: e.c.ID,
		Problem: e.c.Problem, Kind: e.c.Kind, Severity: e.c.Severity, Action: last.Action, Actor: e.actor, Detail: last.Detail, At: at}
	return fleet.Change{Case: e.c, Expected: expected, Audit: e.audited, Outbox: append(e.outbox, recordRow(n, e.now, e.received)),
		Withdraw: e.withdraw, Why: e.why, Answers: e.answers, Record: e.record, Files: e.files}
}

// recordRow puts a notice on the changes stream.
func recordRow(n fleet.Notice, due, cause time.Time) fleet.OutboxRow {
	body, err := json.Marshal(n)
	if err != nil { // strings, times of sane years and a severity in range: it cannot fail
		panic(fmt.Sprintf("encode notice %s: %v", n.ID, err))
	}
	return fleet.OutboxRow{ID: fleet.ID("rec", n.ID), Kind: fleet.OutboxRecord, Tenant: n.Device.Tenant, CaseID: n.CaseID,
		Topic: n.Action, Body: body, DueAt: due, Cause: cause}
}

func open(c *fleet.Case) int {
	n := 0
	for _, e := range c.Episodes {
		if e.ClearedAt.IsZero() {
			n++
		}
	}
	return n
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
