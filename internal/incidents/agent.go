package incidents

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

const (
	actorRules     = "rules"
	actorIncidents = "incidents" // in the history of cases
	maxTries       = 20
	maxText        = 2000 // bytes of a note and of the news in one language
	maxTitle       = 200  // bytes
)

// What happens to an incident: the words of its history.
const (
	actOpened   = "opened"
	actDeclared = "declared"
	actEdited   = "edited"
	actWorse    = "worse"
	actFixed    = "fixed"
	actClosed   = "closed"
	actQuiet    = "quiet"   // agents were asked whether it is fixed
	actOverdue  = "overdue" // agents were told that owners wait for news
)

// Action is what an agent does to an incident.
type Action struct {
	Tenant  string
	ID      string
	Version int64  // what the agent saw; 0: whatever it is
	Actor   string // "agent:<name>"
	Why     string
	At      time.Time
}

func (a *Action) check() error {
	if a.Actor == "" || strings.TrimSpace(a.Why) == "" || len(a.Why) > maxText || !utf8.ValidString(a.Why) {
		return fleet.Errorf(fleet.CodeInvalid, "incident %q: actor %q, a reason of %d bytes: want an actor and a reason of at most %d bytes", a.ID, a.Actor, len(a.Why), maxText)
	}
	return nil
}

// Draft is what an agent says of an incident.
type Draft struct {
	Problem  string
	Model    string
	Firmware string // empty: any
	Batch    string // empty: any
	Title    string // empty: one is made
	News     fleet.Words
	NextAt   time.Time
}

func checkText(title string, news fleet.Words) error {
	if len(title) > maxTitle || !utf8.ValidString(title) {
		return fleet.Errorf(fleet.CodeInvalid, "a title of %d bytes: want at most %d", len(title), maxTitle)
	}
	for _, lang := range slices.Sorted(maps.Keys(news)) {
		if text := news[lang]; len(lang) != 2 || strings.TrimSpace(text) == "" || len(text) > maxText || !utf8.ValidString(text) {
			return fleet.Errorf(fleet.CodeInvalid, "news in %.10q of %d bytes: want a language of two letters and at most %d bytes", lang, len(text), maxText)
		}
	}
	if len(news) > 0 && news["en"] == "" {
		return fleet.Errorf(fleet.CodeInvalid, "news without English: who speaks none of the other languages would get none")
	}
	return nil
}

// Declare opens an incident that the numbers do not show (yet). Its open cases become children at once. CodeConflict when one of the
// same problem and group is open.
func (n *Incidents) Declare(ctx context.Context, a Action, d Draft) (*fleet.Incident, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	if a.Tenant == "" || d.Problem == "" || len(d.Problem) > 100 || !fleet.ValidName(d.Model) || len(d.Firmware) > 64 || len(d.Batch) > 64 {
		return nil, fleet.Errorf(fleet.CodeInvalid, "an incident of problem %.100q, model %.64q, firmware %.64q, batch %.64q: want a problem and a model, and at most 64 bytes of each",
			d.Problem, d.Model, d.Firmware, d.Batch)
	}
	if err := checkText(d.Title, d.News); err != nil {
		return nil, err
	}
	at := a.At.Truncate(time.Millisecond).UTC()
	i := fleet.Incident{Tenant: a.Tenant, State: fleet.IncidentOpen, Problem: d.Problem, Model: d.Model, Firmware: d.Firmware, Batch: d.Batch, OpenedAt: at,
		By: a.Actor, Title: strings.TrimSpace(d.Title), News: d.News, NextAt: d.NextAt}
	if i.Title == "" {
		i.Title = title(&i)
	}
	for d := range n.deps.Devices.Devices {
		if d.Key.Tenant == i.Tenant && d.Model == i.Model && !d.Revoked && (place{i.Firmware, i.Batch}).has(place{d.Firmware, d.Batch}) {
			i.Devices++
		}
	}
	if i.Devices == 0 { // a slip of the pen: it would wait for cases that never come
		return nil, fleet.Errorf(fleet.CodeInvalid, "there is no device of model %q, firmware %q and batch %q (empty: any)", d.Model, d.Firmware, d.Batch)
	}
	i.ID = incidentID(&i)
	err := n.commit(ctx, fleet.IncidentChange{Incident: i, Audit: []fleet.Audit{audit(&i, at, a.Actor, actDeclared, a.Why)},
		Outbox: []fleet.OutboxRow{notify(&i, 1, actDeclared, "Incident: "+i.Title, a.Why, at)}}, at)
	if err != nil {
		return nil, err
	}
	i.Version = 1
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.tend(ctx, &i, at); err != nil { // the next pass does the rest
		n.log.Warn("not all cases of a declared incident belong to it yet", "incident", i.ID, "err", err)
	}
	return n.deps.Store.Incident(ctx, a.Tenant, i.ID)
}

// Edit changes an incident that is open. News that differ go to all who were told of it.
func (n *Incidents) Edit(ctx context.Context, a Action, e fleet.IncidentEdit) error {
	var name string
	if e.Title != nil {
		name = *e.Title
	}
	if err := checkText(name, e.News); err != nil {
		return err
	}
	return n.act(ctx, a, func(i *fleet.Incident) (action string, topic string, err error) {
		if i.State != fleet.IncidentOpen {
			return "", "", fleet.Errorf(fleet.CodeConflict, "incident %q is %s", i.ID, i.State)
		}
		if e.Title != nil && strings.TrimSpace(name) != "" {
			i.Title = strings.TrimSpace(name)
		}
		if e.NextAt != nil {
			i.NextAt = *e.NextAt
		}
		if e.News != nil && !maps.Equal(e.News, i.News) {
			i.News, topic = e.News, fleet.EventIncidentNews
		}
		return actEdited, topic, nil
	})
}

// Fix says that the fault is over: everybody who was told of it hears so, once. Its cases stay children and are closed as they clear.
func (n *Incidents) Fix(ctx context.Context, a Action) error {
	return n.act(ctx, a, func(i *fleet.Incident) (string, string, error) {
		if i.State != fleet.IncidentOpen {
			return "", "", fleet.Errorf(fleet.CodeConflict, "incident %q is %s already", i.ID, i.State)
		}
		i.State, i.FixedAt, i.NextAt = fleet.IncidentFixed, a.At, time.Time{}
		return actFixed, fleet.EventIncidentFixed, nil
	})
}

// Close ends an incident: it was none, or nothing follows any more. Cases that are open go their own way from then on; nobody is told.
// Such a group is not taken for an incident again by the numbers before a window has gone by.
func (n *Incidents) Close(ctx context.Context, a Action) error {
	err := n.act(ctx, a, func(i *fleet.Incident) (string, string, error) {
		if i.State == fleet.IncidentClosed {
			return "", "", fleet.Errorf(fleet.CodeConflict, "incident %q is closed already", i.ID)
		}
		i.State, i.ClosedAt, i.NextAt = fleet.IncidentClosed, a.At, time.Time{}
		return actClosed, "", nil
	})
	if err != nil {
		return err
	}
	i, err := n.deps.Store.Incident(ctx, a.Tenant, a.ID)
	if err == nil {
		err = n.release(ctx, i, a.At)
	}
	if err != nil { // the next pass does the rest
		n.log.Warn("not all cases of a closed incident were released yet", "incident", a.ID, "err", err)
	}
	return nil
}

// act loads the incident, lets do change it and commits, again when somebody else was first and the agent did not say which version was
// meant. do returns what happened, and the message for those who were told, if there is one.
func (n *Incidents) act(ctx context.Context, a Action, do func(*fleet.Incident) (action, topic string, err error)) error {
	if err := a.check(); err != nil {
		return err
	}
	for try := 1; ; try++ {
		i, err := n.deps.Store.Incident(ctx, a.Tenant, a.ID)
		if err != nil {
			return err
		}
		if a.Version != 0 && a.Version != i.Version {
			return fleet.Errorf(fleet.CodeConflict, "incident %q is at version %d, not %d: somebody else changed it; look at it again", i.ID, i.Version, a.Version)
		}
		expected := i.Version
		action, topic, err := do(i)
		if err != nil {
			return err
		}
		ch := fleet.IncidentChange{Incident: *i, Expected: expected, Audit: []fleet.Audit{audit(i, a.At, a.Actor, action, a.Why)},
			Outbox: []fleet.OutboxRow{notify(i, expected+1, action, fmt.Sprintf("Incident %s: %s", action, i.Title), a.Why, a.At)}}
		if topic != "" {
			told, err := n.deps.Children.IncidentTold(ctx, i.Tenant, i.ID, fleet.EventIncident)
			if err != nil {
				return err
			}
			for _, t := range told {
				ch.Outbox = append(ch.Outbox, messageRow(i, topic, expected+1, t, a.At))
			}
		}
		if err = n.commit(ctx, ch, a.At); err == nil || fleet.CodeOf(err) != fleet.CodeConflict || try == maxTries || a.Version != 0 {
			return err
		}
	}
}

// messageRow asks for a message to somebody who was told. That it is fixed is said once, whatever happens.
func messageRow(i *fleet.Incident, topic string, version int64, t fleet.Told, at time.Time) fleet.OutboxRow {
	id := fleet.ID("msg", i.ID, topic, fmt.Sprint(version), t.PersonID)
	if topic == fleet.EventIncidentFixed {
		id = fleet.ID("msg", i.ID, topic, t.PersonID)
	}
	return fleet.OutboxRow{ID: id, Kind: fleet.OutboxMessage, Tenant: i.Tenant, CaseID: t.CaseID, PersonID: t.PersonID, Topic: topic, Ref: i.ID, About: at, DueAt: at, Cause: at}
}

func audit(i *fleet.Incident, at time.Time, actor, action, detail string) fleet.Audit {
	return fleet.Audit{CaseID: i.ID, At: at, Actor: actor, Action: action, Detail: detail}
}

// notify tells operators and agents.
func notify(i *fleet.Incident, version int64, action, summary, detail string, at time.Time) fleet.OutboxRow {
	o := fleet.Operation{Name: "incident", Severity: "warning", Summary: summary, Detail: detail, At: i.OpenedAt,
		Labels: map[string]string{"tenant": i.Tenant, "incident": i.ID, "problem": i.Problem, "model": i.Model}}
	if i.Severity >= fleet.Fault {
		o.Severity = "critical"
	}
	if i.State != fleet.IncidentOpen {
		o.Severity, o.Ends = "info", at
	}
	body, err := json.Marshal(o)
	if err != nil { // strings and times of sane years: it cannot fail
		panic(fmt.Sprintf("encode operation of incident %s: %v", i.ID, err))
	}
	return fleet.OutboxRow{ID: fleet.ID("ntf", i.ID, action, fmt.Sprint(version)), Kind: fleet.OutboxNotify, Tenant: i.Tenant, Ref: i.ID, Topic: "incident",
		Body: body, DueAt: at, Cause: at}
}
