package web

import (
	"context"
	"slices"
	"sort"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// event is one entry of a case's timeline: what happened, who did it and why, in words.
type event struct {
	ID    string // unique on the page
	At    time.Time
	Kind  string // finding, act, message, answer, order: how it looks
	State state  // of a finding
	Title string
	Who   string
	Lines []string
	Link  *link
	File  *link
	To    *link // of a message: to whom
	Ways  []way // of a message: what became of it on each channel
}

// way is a message on one channel: what became of it, and what each stage of the decision said.
type way struct {
	channelState
	ID       string
	Endpoint string
	Marks    []receipt
	Steps    []step
}

// receipt is how far a message is known to have come.
type receipt struct {
	Word string
	At   time.Time
}

type step struct{ Stage, Verdict, Reason string }

const (
	sameMessage = 10 * time.Minute // deliveries of one event to one person within this are one message on several channels
	sameAnswer  = 5 * time.Second  // an answer and its line in the history
)

// history is the case's timeline, newest first.
func (p *casePage) history(ctx context.Context, s *Web, people *names) error {
	tenant, id := p.Case.Device.Tenant, p.Case.ID
	audit, err := s.deps.Stories.CaseAudit(ctx, tenant, id)
	if err != nil {
		return err
	}
	if p.answers, err = s.deps.Stories.CaseAnswers(ctx, tenant, id); err != nil {
		return err
	}
	if p.files, err = s.deps.Stories.Attachments(ctx, tenant, id); err != nil {
		return err
	}
	sent, err := s.deps.Stories.CaseDeliveries(ctx, tenant, id)
	if err != nil {
		return err
	}
	m, _ := s.deps.Models.Model(p.Case.Model)
	if m == nil {
		m = &fleet.Model{ID: p.Case.Model}
	}
	used := map[string]bool{} // episodes whose evidence is shown
	for i := range audit {
		if e, ok := p.happened(&audit[i], people, m, used); ok {
			p.Timeline = append(p.Timeline, e)
		}
	}
	p.answered(people)
	p.ordered()
	if err := p.told(ctx, s, people, sent); err != nil {
		return err
	}
	sort.SliceStable(p.Timeline, func(i, j int) bool { return p.Timeline[i].At.Before(p.Timeline[j].At) })
	slices.Reverse(p.Timeline) // of two things at the same time the later line is the newer one
	for i := range p.Timeline {
		p.Timeline[i].ID = "e" + itoa(len(p.Timeline)-i) // the same after something was added
	}
	return nil
}

// happened is one line of the history in words. An owner's answer is shown by itself.
func (p *casePage) happened(a *fleet.Audit, people *names, m *fleet.Model, used map[string]bool) (event, bool) {
	if a.Action == "answered" && slices.ContainsFunc(p.answers, func(x fleet.Answer) bool { return x.At.Sub(a.At).Abs() < sameAnswer }) {
		return event{}, false
	}
	e := event{At: a.At, Kind: "act", Title: upperFirst(p.actionWord(a.Action)), Who: p.actor(a.Actor, people)}
	switch a.Action {
	case "opened", "reopened", "escalated", "cleared", "updated":
		if strings.HasPrefix(a.Actor, "rules") {
			e.Kind = "finding"
			p.finding(a, &e, m, used)
			return e, true
		}
	}
	p.explain(a, &e, people)
	return e, true
}

// finding adds what a rule saw: the values of the episode that the line is about.
func (p *casePage) finding(a *fleet.Audit, e *event, m *fleet.Model, used map[string]bool) {
	e.State = severityState(p.Case.Severity)
	if a.Action == "cleared" {
		e.State = "good"
		return
	}
	var ep *fleet.Episode
	for i := range p.Case.Episodes {
		if x := &p.Case.Episodes[i]; !used[x.FindingID] && !x.OpenedAt.After(a.At) {
			ep = x
			break
		}
	}
	if ep == nil {
		if a.Detail != "" {
			e.Lines = append(e.Lines, a.Detail)
		}
		return
	}
	used[ep.FindingID] = true
	e.State = severityState(ep.Severity)
	e.Lines = append(e.Lines, p.Word(e.State)+", "+p.T("case.rule")+" "+ep.Rule)
	for i, ev := range ep.Evidence {
		if i == 3 {
			break
		}
		row := p.evidenceRow(ev, m)
		line := row.Label + ": " + row.Value
		if row.Normal != "" {
			line += ", " + p.T("evidence.normal.short") + " " + row.Normal
		}
		if row.Limit != "" {
			line += ", " + p.T("chart.limit") + " " + row.Limit
		}
		e.Lines = append(e.Lines, line)
	}
	if ep.Cause != "" {
		e.Lines = append(e.Lines, p.Fill("finding.cause", humanise(ep.Cause)))
	}
}

// answered shows what owners said.
func (p *casePage) answered(people *names) {
	for _, a := range p.answers {
		e := event{At: a.At, Kind: "answer", Title: p.Fill("answer.said", "“"+p.Loc.Verdict(a.Verdict)+"”"), Who: people.name(a.PersonID)}
		if a.Note != "" {
			e.Lines = append(e.Lines, "“"+a.Note+"”")
		}
		p.Timeline = append(p.Timeline, e)
	}
}

// ordered shows each work order where it stands now; how it came there are lines of the history.
func (p *casePage) ordered() {
	for _, o := range p.Orders {
		e := event{At: o.Changed, Kind: "order", Title: p.T("order.title") + ": " + o.State, Who: o.Partner}
		if e.At.IsZero() {
			e.At = o.Created
		}
		if o.When != "" {
			e.Lines = append(e.Lines, p.Fill("order.visit", o.When))
		}
		for _, text := range []string{o.Reason, o.Outcome, o.Order.FixCause, o.Order.FixPart, o.Order.Note} {
			if text != "" {
				e.Lines = append(e.Lines, text)
			}
		}
		p.Timeline = append(p.Timeline, e)
	}
}

// told shows messages: each once, with what became of it on every channel.
func (p *casePage) told(ctx context.Context, s *Web, people *names, sent []fleet.Delivery) error {
	texts := map[string]fleet.Message{}
	for id := range recipients(sent) {
		inbox, err := s.deps.Mail.Inbox(ctx, p.Case.Device.Tenant, id, 200)
		if err != nil {
			return err
		}
		for _, m := range inbox {
			if m.CaseID == p.Case.ID {
				texts[m.ID] = m
			}
		}
	}
	from := len(p.Timeline)
	for i := range sent {
		d := &sent[i]
		p.Told = p.Told || d.State == "sent"
		w := p.way(d, from+i)
		m, has := texts[d.OutboxID]
		j := slices.IndexFunc(p.Timeline[from:], func(e event) bool { return e.sameAs(people, d) })
		if j < 0 {
			e := event{At: d.At, Kind: "message", Title: p.about(d.Topic)}
			if d.PersonID != "" {
				e.To = &link{people.name(d.PersonID), personURL(p.Case.Device.Tenant, d.PersonID)}
			}
			p.Timeline = append(p.Timeline, e)
			j = len(p.Timeline) - 1 - from
		}
		e := &p.Timeline[from+j]
		e.Ways = append(e.Ways, w)
		if has {
			e.Title, e.Lines = m.Title, paragraphs(m.Body)
		}
	}
	return nil
}

// sameAs reports whether a delivery belongs to a message that is in the timeline already.
func (e *event) sameAs(people *names, d *fleet.Delivery) bool {
	if e.Kind != "message" || d.At.Sub(e.At).Abs() > sameMessage || (e.To == nil) != (d.PersonID == "") {
		return false
	}
	if e.To != nil && e.To.Text != people.name(d.PersonID) {
		return false
	}
	return len(e.Ways) > 0 && e.Ways[0].Topic == d.Topic
}

// about is what a message without a kept text was about.
func (v *view) about(topic string) string {
	if t := v.T("event." + topic); t != "event."+topic {
		return t
	}
	return v.T("event.other")
}

// way is what became of a message on one channel.
func (v *view) way(d *fleet.Delivery, n int) way {
	w := way{channelState: v.channel(*d), ID: "w" + itoa(n), Endpoint: d.Endpoint}
	w.Topic = d.Topic
	for _, x := range []struct {
		key string
		at  time.Time
	}{{"delivered", d.DeliveredAt}, {"opened", d.OpenedAt}, {"acted", d.ActedAt}} {
		if x.at.IsZero() {
			continue
		}
		word := v.T("receipt." + x.key)
		if x.key == "acted" && d.Acted != "" {
			word += ": " + v.Loc.Verdict(d.Acted)
		}
		w.Marks = append(w.Marks, receipt{word, x.at})
	}
	for _, t := range d.Trace {
		w.Steps = append(w.Steps, step{v.orHuman("stage.", t.Stage), v.orHuman("verdict.", t.Verdict), t.Reason})
	}
	return w
}

func recipients(sent []fleet.Delivery) map[string]bool {
	out := map[string]bool{}
	for _, d := range sent {
		if d.PersonID != "" {
			out[d.PersonID] = true
		}
	}
	return out
}

func (v *view) channel(d fleet.Delivery) channelState {
	st := knownDelivery(d.State)
	word := v.T("delivery." + st)
	switch {
	case st == "other":
		word = humanise(d.State)
	case st == "skipped" && withdrawn(d.Reason):
		word = v.T("delivery.withdrawn")
	}
	ch := d.Channel
	if ch == "" {
		ch = "message"
	}
	return channelState{Channel: v.orHuman("channel.", ch), State: st, Word: word, Reason: d.Reason, At: d.At}
}

// withdrawn reports whether a message was taken back before it left, which the reasons of cases say.
func withdrawn(reason string) bool {
	for _, mark := range []string{"merged into another", "before the message left", "covered by incident", "no part of the incident", "over before"} {
		if strings.Contains(reason, mark) {
			return true
		}
	}
	return false
}
