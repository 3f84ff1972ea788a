package cases

import (
	"encoding/json"
	"fmt"
	"time"

	"aftercare/internal/fleet"
)

// The topics of messages.
const (
	topicOpened    = "opened"
	topicEscalated = "escalated"
	topicCleared   = "cleared"
)

// tell asks for a message if the owner should hear of what happened; whether it is sent is decided when it is due.
func (d *decision) tell() {
	if d.c.State == fleet.CaseResolved {
		d.tellEnd()
		return
	}
	if d.f.Phase == fleet.Cleared {
		return
	}
	if d.explained() {
		d.detail += "; " + d.f.Cause + " explains it"
		return
	}
	topic, why := d.topic()
	switch {
	case topic != "":
		d.c.Told, d.c.ToldAny, d.c.AllClear, d.c.BackAt = max(d.c.Told, d.c.Severity), true, false, time.Time{}
		d.message(topic, d.now)
	case d.isBack():
		d.tellBack()
	default:
		d.detail += "; " + why
	}
}

// explained says whether a finding only tells that an open episode is the symptom of another one: its owner hears of that. What
// has become dangerous is told all the same.
func (d *decision) explained() bool {
	return d.f.Phase == fleet.Updated && d.f.Cause != "" && d.c.Severity < fleet.Danger
}

// topic returns what the owner should hear, or why nothing.
func (d *decision) topic() (topic, why string) {
	switch {
	case !fleet.TellsOwner(d.c.Kind, d.c.Severity):
		return "", fmt.Sprintf("nobody is told of %s at severity %s", d.c.Kind, d.c.Severity)
	case !d.f.Live:
		return "", "nobody is told while the device uploads its past"
	case !d.c.ToldAny:
		return topicOpened, ""
	case d.c.Severity > d.c.Told && d.c.AllClear:
		return topicOpened, ""
	case d.c.Severity > d.c.Told:
		return topicEscalated, ""
	default:
		return "", "the owner was told before"
	}
}

// isBack says whether a fault or danger shows again that its owner believes to be over.
func (d *decision) isBack() bool {
	return d.f.Live && d.c.AllClear && d.c.Severity >= fleet.Fault && d.c.BackAt.IsZero()
}

// tellBack asks for the message that a problem is back: at once when it was away for long enough to have been over, else it is
// due when that time has passed, and outreach leaves it out if the problem has gone away again by then. So a
// condition that flaps is not told again and again, and one that has come back to stay is.
func (d *decision) tellBack() {
	d.c.BackAt = d.now.Add(max(0, d.cfg.RetellAfter-d.sinceEnd()))
	d.message(topicOpened, d.c.BackAt)
}

// sinceEnd is the event time between the last end of an episode and the beginning of the finding's.
func (d *decision) sinceEnd() time.Duration {
	var end time.Time
	for _, e := range d.c.Episodes {
		end = later(end, e.ClearedAt)
	}
	return d.f.OpenedAt.Sub(end)
}

// tellEnd asks for the all-clear, once, if the owner was told that there was something. When the finding comes from a
// reading that arrived late, the row waits: outreach leaves it out if the problem is back by then.
func (d *decision) tellEnd() {
	toldBack := !d.c.BackAt.IsZero() && !d.now.Before(d.c.BackAt)
	if d.action != actCleared || !d.c.ToldAny || (d.c.AllClear && !toldBack) {
		return
	}
	d.c.AllClear, d.c.BackAt = true, time.Time{}
	due := d.now
	if d.f.Received.Sub(d.f.At) > d.cfg.LateAfter {
		due = due.Add(d.cfg.SettleFor)
	}
	d.message(topicCleared, due)
}

func (d *decision) message(topic string, due time.Time) {
	cause := fmt.Sprintf("%s.%d", d.f.ID, d.f.Revision)
	d.outbox = append(d.outbox, messageRow(&d.c, topic, cause, due, d.f.Received))
}

// messageRow asks for a message. Its id is the same whenever the same finding asks for it.
func messageRow(c *fleet.Case, topic, cause string, due, received time.Time) fleet.OutboxRow {
	return fleet.OutboxRow{ID: fleet.ID("msg", c.ID, topic, c.Severity.String(), cause), Kind: fleet.OutboxMessage,
		Tenant: c.Device.Tenant, CaseID: c.ID, Topic: topic, DueAt: due, Cause: received}
}

// change closes the decision: one audit line and one record for the changes stream, beside the messages.
func (d *decision) change() fleet.Change {
	d.audit(d.action, d.detail)
	n := notice(&d.c, d.action, actorRules, d.detail, d.f.At)
	n.ID = fleet.ID("ntc", d.c.ID, d.f.ID, fmt.Sprint(d.f.Revision))
	expected := d.before.Version
	d.c.Version = expected + 1
	return fleet.Change{Case: d.c, Expected: expected, Audit: d.audited,
		Outbox: append(d.outbox, recordRow(n, d.now, d.f.Received))}
}

func notice(c *fleet.Case, action, actor, detail string, at time.Time) fleet.Notice {
	return fleet.Notice{Type: "case", Device: c.Device, Model: c.Model, CaseID: c.ID, Problem: c.Problem, Kind: c.Kind,
		Severity: c.Severity, Action: action, Actor: actor, Detail: detail, At: at}
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
