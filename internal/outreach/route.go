package outreach

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// routed is the plan of the channels. A row for the person is spread: danger, and what tells of an end, to all endpoints at once, the
// rest to the first, and the next follow when it fails: see after. A row for an endpoint goes there if the person still has it, and not
// when the message has arrived at one before it.
func routed(p *plan) (verdict, string) {
	if !p.outside() {
		p.fan = p.route()
		if !p.atOnce() && len(p.fan) > 1 {
			p.fan = p.fan[:1]
		}
		return proceed, fmt.Sprintf("the inbox and %d endpoints", len(p.fan))
	}
	p.endpoint = p.own()
	switch {
	case p.endpoint.Channel == "":
		p.elsewise = true
		return skip, "the person does not use this address any more"
	case !slices.Contains(p.known, p.row.Channel):
		p.elsewise = true
		return skip, "the channel is not set up"
	}
	var last time.Time
	for i := range p.before {
		d := &p.before[i]
		if !slices.Contains(p.target.Before, d.OutboxID) && d.OutboxID != p.message() {
			continue
		}
		if !d.DeliveredAt.IsZero() || !d.OpenedAt.IsZero() || !d.ActedAt.IsZero() {
			return skip, "it arrived: " + d.Channel
		}
		if !p.links && taken(d) { // no more than that will ever be known
			return skip, d.Channel + " took it"
		}
		if d.State == stateSent && d.Channel != inbox && d.At.After(last) {
			last = d.At
		}
	}
	if until := last.Add(p.config.FailOver); len(p.target.Before) > 0 && until.After(p.now) {
		p.until = until
		return hold, "an endpoint before this one has time to answer"
	}
	return proceed, label(p.endpoint)
}

// atOnce says whether the message goes to all endpoints.
func (p *plan) atOnce() bool {
	return p.topic == fleet.TopicSafety || ends(p.row.Topic) && p.row.Topic != fleet.EventReview
}

// own is the endpoint of the row as the person has it now; without a channel when she does not.
func (p *plan) own() fleet.Endpoint {
	if p.person != nil {
		for _, e := range p.person.Endpoints {
			if e.Channel == p.row.Channel && e.Address == p.target.Address {
				return e
			}
		}
	}
	return fleet.Endpoint{}
}

// route is where the message may go besides the inbox, in the person's order.
func (p *plan) route() (out []fleet.Endpoint) {
	for _, e := range p.person.Endpoints {
		if slices.Contains(p.known, e.Channel) && p.wish(e.Channel) != fleet.WantNever {
			out = append(out, e)
		}
	}
	return out
}

func (p *plan) rowID(e fleet.Endpoint) string {
	return fleet.ID("dlv", p.message(), e.Channel, e.Address)
}

// child is the row of a single endpoint, due then.
func (p *plan) child(e fleet.Endpoint, before []string, due time.Time) fleet.OutboxRow {
	t := target{Address: e.Address, From: due, Made: p.made(), Parent: p.message(), Before: before, Root: p.root(), Instead: p.target.Instead, Since: p.target.Since}
	return p.rowOf(p.rowID(e), p.person.ID, e.Channel, t, due)
}

func (p *plan) rowOf(id, person, channel string, t target, due time.Time) fleet.OutboxRow {
	return fleet.OutboxRow{ID: id, Kind: fleet.OutboxMessage, Tenant: p.row.Tenant, CaseID: p.row.CaseID, PersonID: person, Channel: channel,
		Topic: p.row.Topic, Ref: p.row.Ref, About: p.row.About, Body: body(t), DueAt: due, Cause: p.row.Cause}
}

func body(t target) []byte {
	b, err := json.Marshal(t)
	if err != nil { // texts and times of sane years
		panic(fmt.Sprintf("encode a row's target: %v", err))
	}
	return b
}

func (p *plan) root() string {
	if p.target.Root != "" {
		return p.target.Root
	}
	return p.row.ID
}

func (p *plan) made() time.Time {
	if !p.target.Made.IsZero() {
		return p.target.Made
	}
	return p.now
}

// spread is the rows that follow from the person's message: one for each endpoint it goes to now, and the next person's when there is
// none, unless she wants to hear of it nowhere.
func (p *plan) spread() (out []fleet.OutboxRow) {
	for _, e := range p.fan {
		out = append(out, p.child(e, nil, p.now))
	}
	if len(p.fan) == 0 && p.want != fleet.WantNever {
		out = p.instead(p.now.Add(p.config.Escalate))
	}
	return out
}

// others are the rows of the further persons that news of an end goes to: of all that were told.
func (p *plan) others() (out []fleet.OutboxRow) {
	if p.outside() || p.row.PersonID != "" || p.person == nil || p.row.Topic != fleet.EventCleared && p.row.Topic != fleet.EventConfirmedFixed {
		return nil
	}
	seen := []string{p.person.ID}
	for _, d := range p.before {
		if p.told(d) && !slices.Contains(seen, d.PersonID) {
			seen = append(seen, d.PersonID)
			out = append(out, p.rowOf(fleet.ID("msg", p.row.ID, d.PersonID), d.PersonID, "", target{}, p.now))
		}
	}
	return out
}

// after is the rows that follow from what became of a row for one endpoint. When it failed there the next endpoint's is due now, and the
// next person's later when there is no other; a fault that was sent goes on to both unless it arrives or is opened by then. Without links
// nobody hears whether it does: that a channel took it has to do.
func (p *plan) after(state string) []fleet.OutboxRow {
	failed := state == stateDead || state == stateSkipped && p.elsewise
	if !p.outside() || p.person == nil || !failed && state != stateSent && state != stateMerged {
		return nil
	}
	var out []fleet.OutboxRow
	next := p.next()
	switch {
	case failed && next != nil:
		out = append(out, p.child(*next, p.passed(), p.now))
	case !failed && p.links && next != nil && p.pressing():
		out = append(out, p.child(*next, p.passed(), p.now.Add(p.config.FailOver)))
	}
	if failed && next == nil || !failed && p.links {
		out = append(out, p.instead(p.now.Add(p.config.Escalate))...)
	}
	return out
}

// meanwhile is the rows that follow from a try that failed and is not the last: what presses goes elsewhere in time, unless a later try
// here comes to something by then.
func (p *plan) meanwhile() []fleet.OutboxRow {
	var out []fleet.OutboxRow
	if next := p.next(); next != nil && p.pressing() {
		out = append(out, p.child(*next, p.passed(), p.now.Add(p.config.FailOver)))
	}
	return append(out, p.instead(p.now.Add(p.config.Escalate))...)
}

// pressing says whether the message goes on when it does not arrive in time.
func (p *plan) pressing() bool { return p.topic == fleet.TopicFault && p.config.FailOver > 0 }

func (p *plan) passed() []string { return append(slices.Clone(p.target.Before), p.row.ID) }

// next is the first endpoint that the message was not meant for before.
func (p *plan) next() *fleet.Endpoint {
	if p.atOnce() {
		return nil
	}
	for _, e := range p.route() {
		own := e.Channel == p.row.Channel && e.Address == p.target.Address
		if !own && !slices.Contains(p.target.Before, p.rowID(e)) {
			return &e
		}
	}
	return nil
}

// instead is the row of who hears when nobody has opened it by then: the next of the household, then the operators.
func (p *plan) instead(due time.Time) []fleet.OutboxRow {
	told := p.row.Topic == fleet.EventOpened || p.row.Topic == fleet.EventEscalated
	if p.config.Escalate == 0 || !told || p.topic != fleet.TopicSafety && p.topic != fleet.TopicFault || p.kase == nil || p.device == nil {
		return nil
	}
	t := target{Root: p.root(), Instead: p.target.Instead + 1, Since: p.target.Since}
	if t.Since.IsZero() {
		t.Since = p.made()
	}
	order := []string{p.device.OwnerID}
	for _, m := range p.household {
		if m.ID != p.device.OwnerID {
			order = append(order, m.ID)
		}
	}
	if t.Instead < len(order) {
		return []fleet.OutboxRow{p.rowOf(fleet.ID("esc", p.root(), order[t.Instead]), order[t.Instead], "", t, due)}
	}
	op := fleet.Operation{Name: "case_escalated", Severity: "warning", Summary: fmt.Sprintf("Nobody has opened the message about %s of %s", p.kase.Problem, p.kase.Device.Serial),
		Detail: fmt.Sprintf("%d of the household were written to.", len(order)), At: t.Since,
		Labels: map[string]string{"tenant": p.row.Tenant, "case": p.row.CaseID, "device": p.kase.Device.Serial}}
	if p.topic == fleet.TopicSafety {
		op.Severity = "critical"
	}
	b, err := json.Marshal(op)
	if err != nil {
		panic(fmt.Sprintf("encode an operation: %v", err))
	}
	return []fleet.OutboxRow{{ID: fleet.ID("esc", p.root(), "operators"), Kind: fleet.OutboxNotify, Tenant: p.row.Tenant, CaseID: p.row.CaseID,
		Topic: eventUnopened, Body: b, DueAt: due, Cause: p.row.Cause}}
}

// eventUnopened is the topic of a notification that is sent only if still nobody has opened the message about the case.
const eventUnopened = "unopened"

// label says which endpoint it is, without its secret: an address may be one.
func label(e fleet.Endpoint) string {
	switch {
	case e.Channel == "":
		return ""
	case e.Label != "":
		return e.Channel + ": " + e.Label
	}
	if name, domain, ok := strings.Cut(e.Address, "@"); ok && name != "" {
		return e.Channel + ": " + string([]rune(name)[:1]) + "***@" + domain
	}
	if u, err := url.Parse(e.Address); err == nil && u.Host != "" {
		return e.Channel + ": " + u.Host
	}
	return e.Channel
}
