package cases

import (
	"fmt"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// tell asks for a message if the owner should hear of what happened; whether it is sent is decided when it is due.
func (d *decision) tell() {
	if !d.c.State.Open() {
		if d.action == actCleared {
			d.tellEnd(d.f.At, d.cause())
		}
		return
	}
	if d.f.Phase == fleet.Cleared {
		return
	}
	if why := d.tellOpen(d.f.Live, d.f.OpenedAt, d.f.At, d.cause()); why != "" {
		d.detail += "; " + why
	}
}

// cause names the finding as what asks for a message.
func (d *decision) cause() string { return fmt.Sprintf("%s.%d", d.f.ID, d.f.Revision) }

// worth is what an owner would be told: the kind and severity of the most severe condition that holds and that no other one
// explains. What has become dangerous is told all the same. False when there is none.
func worth(c *fleet.Case) (fleet.Kind, fleet.Severity, bool) {
	best := -1
	for i, e := range c.Episodes {
		if !e.ClearedAt.IsZero() || e.Cause != "" && e.Severity < fleet.Danger {
			continue
		}
		if best < 0 || e.Severity >= c.Episodes[best].Severity {
			best = i
		}
	}
	if best < 0 {
		return "", 0, false
	}
	return c.Episodes[best].Kind, c.Episodes[best].Severity, true
}

// tellOpen asks for the message that there is a problem, or says why none is. opened is when what is told began, about when it
// was so.
func (e *edit) tellOpen(live bool, opened, about time.Time, cause string) (why string) {
	kind, severity, plain := worth(&e.c)
	if !plain {
		return e.c.CauseRule + " explains it"
	}
	if live && !about.Before(e.owned) {
		e.newOwner()
	}
	topic := fleet.TopicOf(kind, severity)
	switch {
	case topic == "":
		return fmt.Sprintf("nobody is told of %s at severity %s", kind, severity)
	case !live:
		return "nobody is told while the device uploads its past"
	case e.c.Snooze.Holds(e.now, severity) && severity < fleet.Danger:
		return "the case is snoozed"
	case e.covered() && topic != fleet.TopicSafety:
		return e.tellIncident(severity, about)
	case !e.c.ToldAny, severity > e.c.Told && (e.c.AllClear || e.c.IncidentID != ""):
		e.asked(severity)
		e.message(fleet.EventOpened, cause, e.now, about)
	case severity > e.c.Told:
		e.asked(severity)
		e.message(fleet.EventEscalated, cause, e.now, about)
	case e.c.AllClear && e.c.BackAt.IsZero():
		e.tellBack(opened, about, cause)
	default:
		return "the owner was told before"
	}
	return ""
}

func (e *edit) asked(s fleet.Severity) {
	e.c.Told, e.c.ToldAny, e.c.AllClear, e.c.BackAt, e.c.ToldAt = max(e.c.Told, s), true, false, time.Time{}, e.now
}

// newOwner forgets what the owner before was told, and what he did not want to hear: the present one was told nothing.
func (e *edit) newOwner() {
	if !e.c.ToldAny || e.c.ToldAt.IsZero() || !e.c.ToldAt.Before(e.owned) {
		return
	}
	e.c.Told, e.c.ToldAny, e.c.AllClear, e.c.BackAt = fleet.Info, false, false, time.Time{}
	if strings.HasPrefix(e.c.Snooze.By, byOwner+":") {
		e.c.Snooze = fleet.Snooze{}
	}
}

// covered says whether an incident speaks for the case. One that is over does not.
func (e *edit) covered() bool {
	return e.c.IncidentID != "" && (e.match == nil || e.match(&e.c) != "")
}

// tellIncident asks for the one message of the incident that a case is a child of, once for each case.
func (e *edit) tellIncident(s fleet.Severity, about time.Time) (why string) {
	why = "it is part of an incident"
	if !e.c.ToldAny || e.c.AllClear {
		e.asked(s)
		e.incidentMessage(about)
	}
	return why
}

// incidentMessage is the same row however often it is asked for.
func (e *edit) incidentMessage(about time.Time) {
	e.outbox = append(e.outbox, fleet.OutboxRow{ID: fleet.ID("msg", e.c.IncidentID, e.c.ID), Kind: fleet.OutboxMessage, Tenant: e.c.Device.Tenant,
		CaseID: e.c.ID, Topic: fleet.EventIncident, Ref: e.c.IncidentID, DueAt: e.now, About: about, Cause: e.received})
}

// tellBack asks for the message that a problem is back: at once when it was away for long enough to have been over, else it is
// due when that time has passed, and outreach leaves it out if the problem has gone away again by then. So a
// condition that flaps is not told again and again, and one that has come back to stay is. Whether the all-clear ever left, or
// even the first message, is not known here: who still has to hear is decided when it is due (fleet.Heard.TellAgain).
func (e *edit) tellBack(opened, about time.Time, cause string) {
	e.c.BackAt = e.now.Add(max(0, e.cfg.RetellAfter-e.sinceEnd(opened)))
	e.message(fleet.EventOpened, cause, e.c.BackAt, about).Ref = fleet.RefBack
}

// sinceEnd is the event time between the last end of an episode and opened.
func (e *edit) sinceEnd(opened time.Time) time.Duration {
	var end time.Time
	for _, x := range e.c.Episodes {
		end = later(end, x.ClearedAt)
	}
	return opened.Sub(end)
}

// tellEnd asks for the all-clear, once, if a message was asked for before; outreach sends it to exactly those who got one. A tip
// has none. When it follows from a reading that arrived late, the row waits: outreach leaves it out if the problem is back by
// then. What has not left yet of the messages before is taken back, but for one that waits to say that the problem is back: when
// that is due it is over, or back again.
func (e *edit) tellEnd(about time.Time, cause string) {
	waits := !e.c.BackAt.IsZero() && e.now.Before(e.c.BackAt)
	told := e.c.ToldAny && (!e.c.AllClear || !e.c.BackAt.IsZero() && !waits)
	e.recall("it was over before the message left", fleet.EventEscalated, fleet.EventReminder, fleet.EventWarranty)
	if !waits {
		e.recall(e.why, fleet.EventOpened)
	}
	if !told || fleet.TopicOf(e.c.Kind, e.c.Severity) == fleet.TopicTip {
		return
	}
	e.c.AllClear, e.c.BackAt = true, time.Time{}
	due := e.now
	if !e.received.IsZero() && e.received.Sub(about) > e.cfg.LateAfter {
		due = due.Add(e.cfg.SettleFor)
	}
	e.message(fleet.EventCleared, cause, due, about)
}

// tellCover asks for the message that the cover of the device ends soon, due some time before it does, when a problem that it may
// pay for is told. Within that time the message itself says how long it lasts.
func (e *edit) tellCover(until time.Time) {
	at := until.Add(-e.cfg.WarrantyLead)
	if e.cfg.WarrantyLead == 0 || until.IsZero() || !at.After(e.now) || e.before.ToldAny || !e.c.ToldAny {
		return
	}
	e.message(fleet.EventWarranty, e.cause(), at, e.now)
}
