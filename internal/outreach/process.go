package outreach

import (
	"context"
	"errors"
	"fmt"
	"time"

	"aftercare/internal/fleet"
)

// After the loop was told to stop, a send under way may take grace, and writing down a result may take recordTime: together
// they stay below the 5 s in which the process ends.
const (
	grace      = 2 * time.Second
	recordTime = 2 * time.Second
)

// process handles one leased row: load, decide, send, record. An error means that the row was left as it is; its lease ends
// and it comes back. A crash between a send and its record does the same: the message is sent again under the same id, and that
// one try is not counted.
func (o *Outreach) process(ctx context.Context, row fleet.OutboxRow, now time.Time) error {
	switch row.Kind {
	case fleet.OutboxNotify:
		return o.notify(ctx, row, now)
	case fleet.OutboxOrder:
		return o.order(ctx, row, now)
	}
	p, err := o.load(ctx, row, now)
	if err != nil {
		return err
	}
	if err := o.loadWhen(ctx, p); err != nil {
		return fmt.Errorf("message %q: %w", row.ID, err)
	}
	switch v, reason := p.decide(); {
	case v == skip:
		return o.skip(ctx, p, reason)
	case v == hold:
		return o.hold(ctx, p, reason)
	case v == merge:
		return o.deps.Outbox.PutOffOutbox(ctx, p.row.ID, p.until, fleet.HeldMark+reason)
	case p.outside():
		return o.send(ctx, p)
	default:
		return o.spread(ctx, p)
	}
}

// skip ends a row that is not sent. When only its endpoint barred it, the next one's row follows.
func (o *Outreach) skip(ctx context.Context, p *plan, reason string) error {
	return o.end(ctx, p, stateSkipped, reason, nil, append(p.after(stateSkipped), p.others()...)...)
}

// spread puts the message into the inbox and rows for the endpoints it goes to into the outbox, in one transaction. A message that
// the person does not want in the inbox has a page all the same, if it goes anywhere.
func (o *Outreach) spread(ctx context.Context, p *plan) error {
	p.row.Attempts++
	m := o.compose(ctx, p, nil)
	state, reason, kept := stateSent, "", &m
	if p.want == fleet.WantNever {
		state, reason, m.Channel = stateSkipped, fmt.Sprintf("does not want to hear of %s here", p.topic), "page"
		if len(p.fan) == 0 {
			kept = nil
		}
	}
	follow := append(p.spread(), p.others()...)
	if err := o.end(ctx, p, state, reason, kept, follow...); err != nil {
		return err
	}
	o.escalated(p, follow)
	if len(follow) > 0 {
		o.Wake()
	}
	return nil
}

// hold puts the row off, with what each stage said. The whole decision is made again then.
func (o *Outreach) hold(ctx context.Context, p *plan, reason string) error {
	if n := len(p.trace); p.trace[n-1].Stage == "budget" {
		o.metrics.over.Inc()
	}
	record, err := p.record(stateHeld, reason)
	if err != nil {
		return err
	}
	t := p.target
	t.Topic = p.topic
	if p.row.Attempts == 0 {
		t.From = p.until
	}
	if t.Made.IsZero() {
		t.Made = p.now
	}
	t.Tried = p.tried()
	p.row.DueAt, p.row.Body = p.until, body(t)
	if err := o.deps.Outbox.HoldOutbox(ctx, p.row, p.delivery(stateHeld, reason), []fleet.OutboxRow{record}); err != nil {
		return fmt.Errorf("hold message %q: %w", p.row.ID, err)
	}
	o.count(p, stateHeld)
	return nil
}

// send tries the row's endpoint once, with what goes along, and records how it went.
func (o *Outreach) send(ctx context.Context, p *plan) error {
	at := host(p.row.Channel, p.target.Address)
	if until := o.circuits.closedAt(at, p.now, o.config.SendTimeout); until.After(p.now) && p.topic != fleet.TopicSafety { // danger is tried all the same
		return o.rest(ctx, p, until)
	}
	if ok, err := o.place(ctx, p); err != nil || !ok {
		return err
	}
	along, err := o.gather(ctx, p)
	if err != nil {
		return err
	}
	p.row.Attempts++ // this one; recorded with its result
	m := o.compose(ctx, p, along)
	start := o.now()
	sctx, cancel := linger(ctx, o.config.SendTimeout)
	err = o.channels[p.row.Channel].Send(sctx, m, p.endpoint)
	cancel()
	p.now = p.now.Add(o.now().Sub(start)) // a receiver's wish counts from its answer
	if err == nil {
		o.circuits.heard(at, false, p.now)
		return errors.Join(o.keep(ctx, p), o.sent(ctx, p, along))
	}
	rctx, cancel := linger(ctx, recordTime)
	defer cancel()
	if err := o.vacate(rctx, p); err != nil {
		o.deps.Log.Warn("place in the budget not given back", "row", p.row.ID, "error", err)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.Join(o.release(rctx, along, p, p.now), o.deps.Outbox.RetryOutbox(rctx, p.row.ID, p.now, "interrupted: the server stopped"))
	}
	kind, _ := classify(err)
	o.circuits.heard(at, kind == again, p.now)
	return o.failed(rctx, p, along, err)
}

// rest puts a row off because its receiver's host is left alone. What presses goes elsewhere in time.
func (o *Outreach) rest(ctx context.Context, p *plan, until time.Time) error {
	o.metrics.rests.WithLabelValues(p.channel()).Inc()
	if err := o.elsewhere(ctx, p); err != nil {
		return err
	}
	mark := fleet.HeldMark
	if p.tried() {
		mark = ""
	}
	return o.deps.Outbox.PutOffOutbox(ctx, p.row.ID, until, mark+"the receiver's host is left alone for a while")
}

func (o *Outreach) elsewhere(ctx context.Context, p *plan) error {
	rows := p.meanwhile()
	if len(rows) == 0 {
		return nil
	}
	return o.deps.Outbox.AddOutbox(ctx, rows)
}

// vacate gives the place in the budget back after a try that failed, unless the message was sent to another endpoint: the next try takes
// one at its own time, and what is given up has none.
func (o *Outreach) vacate(ctx context.Context, p *plan) error {
	rows := make([]string, 0, len(p.person.Endpoints))
	for _, e := range p.person.Endpoints {
		rows = append(rows, p.rowID(e))
	}
	return o.deps.Contacts.ReleaseContact(ctx, p.row.Tenant, p.message(), rows)
}

// keep takes the place again of a message that shared it with another endpoint's row: that one may have given it back meanwhile.
func (o *Outreach) keep(ctx context.Context, p *plan) error {
	if _, shared := p.contacts[p.message()]; !shared {
		return nil
	}
	_, err := o.deps.Contacts.TakeContact(ctx, p.row.Tenant, p.account(), p.message(), p.now, 0, 0)
	return err
}

// place takes a place in the household's budget. Another message may have taken the last one since it was looked at: then this one is
// held like any other that does not fit.
func (o *Outreach) place(ctx context.Context, p *plan) (bool, error) {
	if _, has := p.contacts[p.message()]; has {
		return true, nil
	}
	days, weeks := p.limits()
	if p.topic == fleet.TopicSafety {
		days, weeks = 0, 0
	}
	ok, err := o.deps.Contacts.TakeContact(ctx, p.row.Tenant, p.account(), p.message(), p.now, days, weeks)
	if ok || err != nil {
		return ok, err
	}
	if p.contacts, err = o.deps.Contacts.Contacts(ctx, p.row.Tenant, p.account(), p.now.Add(-week)); err != nil {
		return false, err
	}
	v, reason := affordable(p)
	if v == proceed { // a place has become free meanwhile
		p.until = p.now.Add(gatherTime)
	}
	p.trace = append(p.trace, fleet.Step{Stage: "budget", Verdict: hold.String(), Reason: reason})
	return false, o.hold(ctx, p, reason)
}

// failed records a try that failed: it is tried again, or given up and the next endpoint's row follows.
func (o *Outreach) failed(ctx context.Context, p *plan, along []*plan, cause error) error {
	kind, after := classify(cause)
	age := p.now.Sub(p.target.From)
	wait, more := nextTry(p.row.ID, p.row.Attempts, age, after)
	switch {
	case kind == gone:
		return o.dead(ctx, p, along, o.disable(ctx, p, cause))
	case kind == never:
		return o.dead(ctx, p, along, cause.Error())
	case !more:
		return o.dead(ctx, p, along, fmt.Sprintf("given up after %d tries in %.0f hours: %v", p.row.Attempts, age.Hours(), cause))
	}
	o.count(p, "retried")
	o.deps.Log.Info("message not sent, will try again", "row", p.row.ID, "channel", p.channel(), "tries", p.row.Attempts, "wait", wait, "error", cause)
	if err := o.elsewhere(ctx, p); err != nil { // it goes on trying here, too
		return err
	}
	due := p.now.Add(wait)
	return errors.Join(o.deps.Outbox.RetryOutbox(ctx, p.row.ID, due, cause.Error()), o.release(ctx, along, p, due))
}

// dead gives the row up. What was to go along goes by itself; the next endpoint's row follows, or is made due now when it waits.
func (o *Outreach) dead(ctx context.Context, p *plan, along []*plan, reason string) error {
	follow := p.after(stateDead)
	if err := o.end(ctx, p, stateDead, reason, nil, follow...); err != nil {
		return err
	}
	o.escalated(p, follow)
	if err := o.release(ctx, along, p, p.now); err != nil {
		return err
	}
	next := p.next()
	if next == nil {
		return nil
	}
	defer o.Wake()
	return o.deps.Outbox.HurryOutbox(ctx, []string{p.rowID(*next)}, p.now)
}

// disable takes the endpoint off the person's list and returns the reason that people read. Failing at it loses nothing but a
// try: the next message gets the same answer.
func (o *Outreach) disable(ctx context.Context, p *plan, cause error) string {
	if o.deps.People == nil {
		return cause.Error()
	}
	if err := o.deps.People.RemoveEndpoint(ctx, p.row.Tenant, p.person.ID, p.endpoint.Channel, p.endpoint.Address); err != nil {
		o.deps.Log.Error("endpoint not disabled", "person", p.person.ID, "channel", p.endpoint.Channel, "error", err)
		return cause.Error()
	}
	return cause.Error() + "; the address was taken off the person's list"
}

// end records what became of the row, with the record for the changes stream and whatever else follows, in one transaction.
// It does so also when the loop has been told to stop: what was sent must not be sent again for that.
func (o *Outreach) end(ctx context.Context, p *plan, state, reason string, m *fleet.Message, follow ...fleet.OutboxRow) error {
	record, err := p.record(state, reason)
	if err != nil {
		return err
	}
	if state == stateDead {
		follow = append(follow, o.diedRow(p, reason)...)
	}
	begun := o.now()
	rctx, cancel := linger(ctx, recordTime)
	defer cancel()
	if err := o.deps.Outbox.Deliver(rctx, p.row.ID, m, p.delivery(state, reason), append(follow, record)); err != nil {
		return fmt.Errorf("record message %q as %s: %w", p.row.ID, state, err)
	}
	o.observe(p, state, reason, begun)
	return nil
}

// observe counts what became of a row.
func (o *Outreach) observe(p *plan, state, reason string, begun time.Time) {
	o.count(p, state)
	if state == stateSent && !p.row.Cause.IsZero() && !p.row.Held() {
		done := p.now.Add(o.now().Sub(begun))
		o.metrics.latency.WithLabelValues(p.channel()).Observe(done.Sub(p.row.Cause).Seconds())
	}
	if state == stateDead {
		o.deps.Log.Warn("message given up", "row", p.row.ID, "channel", p.channel(), "reason", reason)
	}
}

func (o *Outreach) count(p *plan, state string) {
	o.metrics.messages.WithLabelValues(p.channel(), state, string(p.topic)).Inc()
}

// escalated counts the rows that go to another endpoint, person or the operators.
func (o *Outreach) escalated(p *plan, follow []fleet.OutboxRow) {
	for i := range follow {
		switch r := &follow[i]; {
		case r.Kind == fleet.OutboxNotify:
			o.metrics.instead.WithLabelValues("operators").Inc()
		case r.Kind != fleet.OutboxMessage:
		case p.outside() && r.PersonID == p.person.ID:
			o.metrics.instead.WithLabelValues("endpoint").Inc()
		case r.Channel == "" && r.PersonID != p.person.ID && !ends(r.Topic):
			o.metrics.instead.WithLabelValues("person").Inc()
		}
	}
}

// linger returns a context that ends after limit, and grace after ctx: what has begun may end in peace, but not for long.
func linger(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	var timer *time.Timer
	started := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		timer = time.AfterFunc(grace, cancel)
		close(started)
	})
	return out, func() {
		if !stop() {
			<-started
			timer.Stop()
		}
		cancel()
	}
}
