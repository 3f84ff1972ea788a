package app

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// ReplayMessage is a line of a replay's messages: a message that was asked for, what became of it, or what its reader did.
type ReplayMessage struct {
	At       time.Time      `json:"at"`
	State    string         `json:"state"`             // asked; held; sent, skipped, merged, dead, withdrawn, waiting (at the end); did
	ID       string         `json:"id"`                // of the outbox row
	Message  string         `json:"message,omitempty"` // of the person's message, the same on all its channels
	Event    string         `json:"event,omitempty"`
	Topic    fleet.Topic    `json:"topic,omitempty"` // what it was about to outreach
	Device   string         `json:"device,omitempty"`
	Model    string         `json:"model,omitempty"`
	Problem  string         `json:"problem,omitempty"`
	Kind     fleet.Kind     `json:"kind,omitempty"`
	Severity fleet.Severity `json:"severity"`
	Channel  string         `json:"channel,omitempty"`
	Endpoint string         `json:"endpoint,omitempty"`
	Detail   string         `json:"detail,omitempty"`
	Case     string         `json:"case,omitempty"`
	Ref      string         `json:"ref,omitempty"`
	Person   string         `json:"person,omitempty"`
	Home     string         `json:"household,omitempty"`
	Zone     string         `json:"zone,omitempty"`
	Local    string         `json:"local,omitempty"` // the time on the person's wall
	About    time.Time      `json:"about,omitzero"`  // of the evidence
	Due      time.Time      `json:"due,omitzero"`
	Trace    []fleet.Step   `json:"trace,omitempty"`
	Did      string         `json:"did,omitempty"` // opened, or an answer
	Title    string         `json:"title,omitempty"`
	Body     string         `json:"body,omitempty"`
}

// about is what a row says of itself.
func (b *replayOutbox) about(r *fleet.OutboxRow) ReplayMessage {
	var of struct{ Parent string }
	_ = json.Unmarshal(r.Body, &of) // a row that cases wrote has none
	m := ReplayMessage{ID: r.ID, Message: r.ID, Event: r.Topic, Case: r.CaseID, Ref: r.Ref, Person: r.PersonID, Channel: r.Channel, About: r.About}
	if of.Parent != "" {
		m.Message = of.Parent
	}
	return m
}

// write notes the fate of a message. What it is about stands in the record for the changes stream that follows it.
func (b *replayOutbox) write(inbox *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) {
	row, known := b.asked[d.OutboxID]
	m := b.about(&row)
	m.At, m.ID, m.Event, m.Topic, m.Channel, m.Endpoint, m.State, m.Case, m.Ref, m.Person, m.Trace = d.At, d.OutboxID, d.Topic, d.Subject, d.Channel, d.Endpoint, d.State,
		d.CaseID, d.Ref, d.PersonID, d.Trace
	for i := range follow {
		var n fleet.Notice
		if follow[i].Kind != fleet.OutboxRecord || json.Unmarshal(follow[i].Body, &n) != nil {
			continue
		}
		m.Device, m.Model, m.Problem, m.Kind, m.Severity, m.Detail = n.Device.Serial, n.Model, n.Problem, n.Kind, n.Severity, n.Detail
	}
	if p, ok := b.registry.Person(b.tenant, d.PersonID); ok {
		m.Home, m.Zone = p.Household, p.Zone
		if zone, err := time.LoadLocation(p.Zone); err == nil {
			m.Local = d.At.In(zone).Format("2006-01-02 15:04")
		}
	}
	if inbox != nil {
		m.Title, m.Body, m.Message = inbox.Title, inbox.Body, inbox.ID
	}
	b.report.told(m.Channel, m.State)
	if known && d.State != "held" {
		delete(b.asked, d.OutboxID)
		b.ended[d.OutboxID] = true
	}
	b.print(&m)
	if d.State == "sent" && inbox == nil && known {
		b.told(&m)
	}
}

// withdrawn writes down which messages of a case were taken back.
func (b *replayOutbox) withdrawn(ctx context.Context, k *fleet.Case) error {
	all, err := b.CaseDeliveries(ctx, k.Device.Tenant, k.ID)
	if err != nil {
		return err
	}
	for i := range all {
		d := &all[i]
		row, open := b.asked[d.OutboxID]
		if !open || d.State != "skipped" {
			continue
		}
		delete(b.asked, d.OutboxID)
		b.ended[d.OutboxID] = true
		m := b.about(&row)
		m.At, m.State, m.Detail = b.now(), "withdrawn", strings.TrimPrefix(row.Topic+": "+d.Reason, ": ")
		m.Device, m.Model, m.Problem, m.Kind, m.Severity = k.Device.Serial, k.Model, k.Problem, k.Kind, k.Severity
		b.report.told(cmpChannel(row.Channel), m.State)
		b.print(&m)
	}
	return nil
}

func cmpChannel(c string) string {
	if c == "" {
		return "inbox"
	}
	return c
}

// left writes down the messages that wait when the replay ends. What was asked for, did not end and does not wait is lost.
func (b *replayOutbox) left(ctx context.Context, now time.Time) error {
	for {
		rows, err := b.LeaseOutbox(ctx, fleet.OutboxMessage, now.AddDate(100, 0, 0), time.Hour, math.MaxInt16)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return b.err
		}
		slices.SortFunc(rows, func(a, b fleet.OutboxRow) int { return strings.Compare(a.ID, b.ID) })
		for i := range rows {
			m := b.about(&rows[i])
			m.At, m.State, m.Due, m.Detail = now, "waiting", rows[i].DueAt, rows[i].LastErr
			b.report.told(cmpChannel(rows[i].Channel), m.State)
			b.print(&m)
		}
	}
}

// did writes down what somebody did with a message.
func (b *replayOutbox) did(a *replayAct) {
	b.print(&ReplayMessage{At: b.now(), State: "did", ID: a.message, Message: a.message, Case: a.caseID, Device: a.device, Person: a.person, Topic: a.topic, Did: a.what})
}

func (b *replayOutbox) print(m *ReplayMessage) {
	if b.to == nil || b.err != nil {
		return
	}
	line, err := json.Marshal(m)
	if err == nil {
		_, err = fmt.Fprintf(b.to, "%s\n", line)
	}
	if err != nil {
		b.err = fmt.Errorf("write messages: %w", err)
	}
}
