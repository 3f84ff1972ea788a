package outreach

import (
	"context"
	"net/url"
	"slices"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
	"aftercare/internal/words"
)

// letter is what the message may speak of.
func (o *Outreach) letter(p *plan) words.Letter {
	l := words.Letter{Input: words.Input{Topic: p.row.Topic, Case: p.kase, Device: p.device, Person: p.person, Now: p.now}, Channel: p.channel(),
		Subject: p.topic, Cover: p.cover, Order: p.order, Partner: p.partner}
	if p.aboutIncident() {
		l.Incident = p.incident
	}
	if l.Case == nil { // of an incident, for somebody who was told of it
		l.Case = &fleet.Case{Device: fleet.DeviceKey{Tenant: p.row.Tenant}, Model: p.incident.Model, Problem: p.incident.Problem,
			Kind: fleet.KindFault, Severity: p.incident.Severity, IncidentID: p.incident.ID}
	}
	return l
}

// compose puts the message into words, with what goes along with it.
func (o *Outreach) compose(ctx context.Context, p *plan, along []*plan) fleet.Message {
	l := o.letter(p)
	m := fleet.Message{ID: p.row.ID, Tenant: p.row.Tenant, CaseID: p.row.CaseID, Ref: p.row.Ref, Device: l.Case.Device, PersonID: p.person.ID,
		Channel: p.channel(), Topic: p.row.Topic, Subject: p.topic, Kind: l.Case.Kind, Severity: l.Case.Severity, At: p.now,
		TTL: lifeOf(p.topic), Collapse: fleet.ID("c", p.person.ID, p.row.CaseID, p.row.Ref), Rule: l.Case.Rule}
	if !p.outside() {
		m.ID = p.message()
	}
	said := []string{p.says()}
	for _, q := range along {
		m.Merged = append(m.Merged, q.message())
		if !slices.Contains(said, q.says()) { // of one case they say the same, as it is now
			said = append(said, q.says())
			l.Also = append(l.Also, o.deps.Words.Render(o.letter(q).Input))
		}
	}
	if p.links && p.outside() {
		o.link(p, &m)
		l.URL, l.StopURL, l.Actions = m.URL, m.StopURL, m.Actions
	}
	if p.row.Channel == "email" && o.deps.Picture != nil && p.kase != nil {
		m.Chart = o.deps.Picture(ctx, p.kase, p.person)
		l.HasChart = len(m.Chart) > 0
	}
	c := o.deps.Words.Compose(l)
	for _, g := range c.Gaps {
		o.metrics.gaps.WithLabelValues(g).Inc()
	}
	if c.Fallback != "" {
		o.metrics.fallbacks.Inc()
	}
	m.Locale, m.Title, m.Body, m.Do, m.HTML, m.Actions, m.Evidence = c.Locale, c.Title, c.Body, c.Do, c.HTML, c.Actions, c.Evidence
	m.RuleHash, m.Evidence = spoke(l.Case, m.Evidence)
	return m
}

// says is what the message is about and which news of it.
func (p *plan) says() string {
	news := p.row.Topic
	if news == fleet.EventEscalated || news == fleet.EventReminder {
		news = fleet.EventOpened
	}
	ref := p.row.Ref
	if ref == fleet.RefBack {
		ref = ""
	}
	return p.row.CaseID + " " + ref + " " + news
}

// spoke is the version of the rule that speaks for the case, and its evidence unless there is some.
func spoke(c *fleet.Case, have []fleet.Evidence) (hash string, evidence []fleet.Evidence) {
	for i := len(c.Episodes) - 1; i >= 0; i-- {
		if e := &c.Episodes[i]; e.Rule == c.Rule {
			if len(have) == 0 {
				have = e.Evidence[:min(3, len(e.Evidence))]
			}
			return e.RuleHash, have
		}
	}
	return "", have
}

// link gives a message its page, its buttons and its receipt.
func (o *Outreach) link(p *plan, m *fleet.Message) {
	expires := p.now.Add(o.config.LinkLife).Truncate(time.Second)
	sign := func(purpose, subject string, until time.Time) string {
		return o.deps.Seal.Sign(seal.Claim{Purpose: purpose, Tenant: m.Tenant, Subject: subject, Person: m.PersonID, Expires: until})
	}
	m.URL = o.config.URL + "/m/" + sign(seal.Message, p.message(), expires)
	m.StopURL = o.config.URL + "/stop/" + sign(seal.Stop, string(p.topic)+" "+p.row.Channel, time.Time{}) // works for ever
	m.Receipt = sign(seal.Receipt, m.ID, expires)
	for _, v := range p.offers() {
		m.Actions = append(m.Actions, fleet.Action{Verdict: v, URL: m.URL + "?a=" + url.QueryEscape(string(v)),
			Token: sign(seal.Answer, p.message()+" "+string(v), expires)})
	}
}

// lifeOf is after how long a message is of no use any more to a device that could not be reached.
func lifeOf(t fleet.Topic) time.Duration {
	if t == fleet.TopicSafety || t == fleet.TopicFault {
		return 3 * day
	}
	return week
}
