package outreach

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
)

// What partners are told of an order: Topic of its rows.
const (
	orderOffered   = "offered"
	orderAccepted  = "accepted" // or moved
	orderCancelled = "cancelled"
	orderExpired   = "expired"
)

const (
	orderTopic = "order."  // before that in deliveries and in the type of webhooks
	partners   = "partner" // the channel of the row that has yet to be spread over a partner's addresses
	orderWait  = time.Minute
	orderLook  = time.Hour // so long an end waits to hear what became of the offer
	orderLife  = 365 * day // of the link
)

// Poster is a channel that takes events besides messages.
type Poster interface {
	Post(ctx context.Context, typ, id string, at time.Time, data any, to fleet.Endpoint) error
}

// order handles a row for a service partner: spread over the addresses of the company, all at once, or sent to one. There are no wishes
// and no quiet hours: a company reads when it is open.
func (o *Outreach) order(ctx context.Context, row fleet.OutboxRow, now time.Time) error {
	p, err := o.loadOrder(ctx, row, now)
	if err != nil {
		return err
	}
	v, reason := p.orderTrue(row.Topic)
	p.trace = append(p.trace, fleet.Step{Stage: "still true", Verdict: v.String(), Reason: reason})
	switch {
	case v == skip:
		return o.end(ctx, p, stateSkipped, reason, nil)
	case v == hold:
		return o.deps.Outbox.PutOffOutbox(ctx, row.ID, p.until, fleet.HeldMark+reason)
	case row.Channel == "":
		return o.spreadOrder(ctx, p, row)
	default:
		return o.sendOrder(ctx, p, row.Topic)
	}
}

// loadOrder gathers what is asked about. A partner reads as a person of its own, with its addresses.
func (o *Outreach) loadOrder(ctx context.Context, row fleet.OutboxRow, now time.Time) (*plan, error) {
	p := &plan{row: row, now: now, config: &o.config, known: o.names, links: o.config.URL != "" && o.deps.Seal != nil, target: target{From: row.About}}
	p.row.Topic = orderTopic + row.Topic
	if row.Channel == "" {
		p.row.Channel = partners
	}
	if o.deps.Orders == nil {
		return p, nil
	}
	var err error
	fail := func() (*plan, error) { return nil, fmt.Errorf("order row %q: %w", row.ID, err) }
	if p.order, err = found(o.deps.Orders.Order(ctx, row.Tenant, row.Ref)); err != nil || p.order == nil {
		if err != nil {
			return fail()
		}
		return p, nil
	}
	if p.partner, err = found(o.deps.Orders.Partner(ctx, row.Tenant, p.order.PartnerID)); err != nil {
		return fail()
	}
	if p.kase, err = found(o.deps.Cases.Case(ctx, row.Tenant, p.order.CaseID)); err != nil {
		return fail()
	}
	if p.before, err = o.deps.Cases.RefDeliveries(ctx, row.Tenant, row.Ref); err != nil {
		return fail()
	}
	if p.partner == nil {
		return p, nil
	}
	p.person = &fleet.Person{ID: partnerPrefix + p.partner.ID, Tenant: row.Tenant, Name: p.partner.Name, Locale: p.partner.Locale, Zone: p.partner.Zone}
	if p.partner.Email != "" {
		p.person.Endpoints = append(p.person.Endpoints, fleet.Endpoint{Channel: "email", Address: p.partner.Email})
	}
	if p.partner.Webhook != "" {
		p.person.Endpoints = append(p.person.Endpoints, fleet.Endpoint{Channel: "webhook", Address: p.partner.Webhook, Secret: string(p.partner.Secret)})
	}
	if i := slices.IndexFunc(p.person.Endpoints, func(e fleet.Endpoint) bool { return e.Channel == row.Channel }); i >= 0 {
		p.endpoint = p.person.Endpoints[i]
		p.target.Address = p.endpoint.Address
	}
	if device, ok := o.deps.Registry.Device(p.order.Device); ok { // what the owner calls it is nobody else's business
		plain := *device
		plain.Name, plain.Room = "", ""
		p.device = &plain
	}
	return p, nil
}

// partnerPrefix begins the person of a delivery that went to a partner.
const partnerPrefix = "partner:"

func toPartner(d *fleet.Delivery) bool { return strings.HasPrefix(d.PersonID, partnerPrefix) }

// orderTrue says whether a partner still has to hear that: of an offer that waits for an answer, of a time that holds, of an end where
// the offer arrived.
func (p *plan) orderTrue(what string) (verdict, string) {
	o := p.order
	switch {
	case o == nil:
		return skip, "the work order does not exist any more"
	case p.partner == nil:
		return skip, "the partner is not known any more"
	case what == orderOffered && o.State == fleet.OrderOffered:
		return proceed, "it waits for an answer"
	case what == orderOffered:
		return skip, fmt.Sprintf("the order was %s before the offer left", o.State)
	case what == orderAccepted && o.State == fleet.OrderAccepted && !p.movedOn():
		return proceed, "the visit is agreed"
	case what == orderAccepted:
		return skip, "the order has moved on"
	case what == orderCancelled && o.State == fleet.OrderCancelled, what == orderExpired && o.State == fleet.OrderDeclined:
		return p.orderHeard()
	}
	return skip, fmt.Sprintf("the order is %s", o.State)
}

// movedOn says whether the order was changed after the row was written: then another row tells what is to be told.
func (p *plan) movedOn() bool {
	return p.order.UpdatedAt.Truncate(time.Millisecond).After(p.row.About)
}

// orderHeard lets the end of an order go where its beginning went. While that is under way it waits.
func (p *plan) orderHeard() (verdict, string) {
	fate := ""
	for i := range p.before {
		d := &p.before[i]
		if d.Channel != p.row.Channel || d.Topic != orderTopic+orderOffered && d.Topic != orderTopic+orderAccepted {
			continue
		}
		fate = d.State
		switch {
		case fate == stateSent:
			return proceed, "the partner has heard of it here"
		case d.Topic == orderTopic+orderAccepted && fate == stateDead: // whoever passed the link on passes this on too
			return proceed, "the partner agreed to come"
		}
	}
	if fate == "" && p.now.Before(p.row.About.Add(orderLook)) {
		p.until = p.now.Add(orderWait)
		return hold, "the offer is still on its way"
	}
	return skip, "the partner has not heard of it here"
}

// spreadOrder writes a row for each address of the partner that a channel is set up for.
func (o *Outreach) spreadOrder(ctx context.Context, p *plan, row fleet.OutboxRow) error {
	var follow []fleet.OutboxRow
	var missing []string
	for _, e := range p.person.Endpoints {
		if !slices.Contains(p.known, e.Channel) {
			missing = append(missing, e.Channel)
			continue
		}
		r := row
		r.ID, r.Channel, r.DueAt, r.Attempts, r.LastErr = fleet.ID("ord", row.ID, e.Channel), e.Channel, p.now, 0, ""
		follow = append(follow, r)
	}
	if len(follow) == 0 {
		reason := "the partner has no address that works"
		if len(missing) > 0 {
			reason += ": " + strings.Join(missing, " and ") + " is not set up here; pass the order's link on, or set it up and try again"
		}
		return o.end(ctx, p, stateDead, reason, nil)
	}
	defer o.Wake()
	return o.end(ctx, p, stateSent, fmt.Sprintf("to %d addresses", len(follow)), nil, follow...)
}

// sendOrder tries one address once and records how it went.
func (o *Outreach) sendOrder(ctx context.Context, p *plan, what string) error {
	channel := o.channels[p.row.Channel]
	switch {
	case p.endpoint.Channel == "":
		return o.end(ctx, p, stateSkipped, "the partner does not use this address any more", nil)
	case channel == nil:
		return o.end(ctx, p, stateDead, "the channel is not set up", nil)
	}
	at := host(p.row.Channel, p.endpoint.Address)
	if until := o.circuits.closedAt(at, p.now, o.config.SendTimeout); until.After(p.now) {
		o.metrics.rests.WithLabelValues(p.channel()).Inc()
		return o.deps.Outbox.PutOffOutbox(ctx, p.row.ID, until, "the receiver's host is left alone for a while")
	}
	p.row.Attempts++ // this one; recorded with its result
	start := o.now()
	sctx, cancel := linger(ctx, o.config.SendTimeout)
	defer cancel()
	var err error
	if poster, ok := channel.(Poster); ok {
		err = poster.Post(sctx, orderTopic+what, p.row.ID, p.order.UpdatedAt, o.orderData(p), p.endpoint)
	} else {
		err = channel.Send(sctx, o.orderMessage(p), p.endpoint)
	}
	p.now = p.now.Add(o.now().Sub(start)) // a receiver's wish counts from its answer
	kind, _ := classify(err)
	o.circuits.heard(at, err != nil && kind == again, p.now)
	if err != nil {
		return o.failedHere(ctx, p, err)
	}
	return o.end(ctx, p, stateSent, "", nil)
}

// OrderLink is the page on which a partner answers an order: the same whenever it is asked for, good for a year from the offer on. base
// is where the owners' pages are reached.
func OrderLink(s *seal.Seal, base string, o *fleet.Order) string {
	return base + "/order/" + s.Sign(seal.Claim{Purpose: seal.Order, Tenant: o.Tenant, Subject: o.ID, Person: o.PartnerID,
		Expires: o.CreatedAt.Add(orderLife).Truncate(time.Second)})
}
