package outreach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/words"
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
	p, err := o.load(ctx, row, now)
	if err != nil {
		return err
	}
	switch v, reason := p.decide(); {
	case v == skip:
		return o.end(ctx, p, "skipped", reason, nil)
	case v == hold:
		return o.hold(ctx, p, reason)
	case row.Channel == "":
		return o.spread(ctx, p)
	default:
		return o.send(ctx, p)
	}
}

// load gathers what the stages look at.
func (o *Outreach) load(ctx context.Context, row fleet.OutboxRow, now time.Time) (*plan, error) {
	p := &plan{row: row, now: now, config: &o.config, known: o.names}
	var err error
	if row.Channel != "" {
		if err := json.Unmarshal(row.Body, &p.target); err != nil {
			o.deps.Log.Warn("message row without an address", "row", row.ID, "error", err) // how finds no such address and skips
		}
	}
	if p.kase, err = o.deps.Cases.Case(ctx, row.Tenant, row.CaseID); err != nil {
		if fleet.CodeOf(err) == fleet.CodeNotFound {
			p.kase = nil
			return p, nil
		}
		return nil, fmt.Errorf("message %q: load case %q: %w", row.ID, row.CaseID, err)
	}
	if row.Topic == fleet.EventCleared || row.Ref == fleet.RefBack {
		if p.before, err = o.deps.Cases.CaseDeliveries(ctx, row.Tenant, row.CaseID); err != nil {
			return nil, fmt.Errorf("message %q: %w", row.ID, err)
		}
	}
	p.device, _ = o.deps.Registry.Device(p.kase.Device)
	if p.device != nil && p.device.OwnerID != "" {
		p.person, _ = o.deps.Registry.Person(row.Tenant, p.device.OwnerID)
	}
	return p, nil
}

// compose puts the message into words.
func (o *Outreach) compose(p *plan) fleet.Message {
	r := o.deps.Words.Render(words.Input{Topic: p.row.Topic, Case: p.kase, Device: p.device, Person: p.person, Now: p.now})
	for _, g := range r.Gaps {
		o.metrics.gaps.WithLabelValues(g).Inc()
	}
	return fleet.Message{ID: p.row.ID, Tenant: p.row.Tenant, CaseID: p.kase.ID, Device: p.kase.Device, PersonID: p.person.ID, Channel: p.channel(),
		Topic: p.row.Topic, Kind: p.kase.Kind, Severity: p.kase.Severity, Locale: r.Locale, Title: r.Title, Body: r.Body, At: p.now}
}

// spread puts the message into the inbox and a row for each endpoint of the person into the outbox, in one transaction.
func (o *Outreach) spread(ctx context.Context, p *plan) error {
	p.row.Attempts++
	m := o.compose(p)
	children, err := p.children()
	if err != nil {
		return err
	}
	if err := o.end(ctx, p, "sent", "", &m, children...); err != nil {
		return err
	}
	if len(children) > 0 {
		o.Wake()
	}
	return nil
}

// hold ends the row and puts another in its place for the morning. One that may have been sent before, by a try
// that was recorded or in a lease of which no result is known, keeps its id.
func (o *Outreach) hold(ctx context.Context, p *plan, reason string) error {
	if p.row.Attempts > 0 || p.row.LastErr != "" {
		o.metrics.messages.WithLabelValues(p.channel(), "held").Inc()
		return o.deps.Outbox.PutOffOutbox(ctx, p.row.ID, p.until, reason)
	}
	later, err := p.later()
	if err != nil {
		return err
	}
	return o.end(ctx, p, "held", reason, nil, later)
}

// send tries the row's endpoint once and records how it went.
func (o *Outreach) send(ctx context.Context, p *plan) error {
	p.row.Attempts++ // this one; recorded with its result
	m := o.compose(p)
	start := o.now()
	sctx, cancel := linger(ctx, o.config.SendTimeout)
	err := o.channels[p.row.Channel].Send(sctx, m, p.endpoint)
	cancel()
	p.now = p.now.Add(o.now().Sub(start)) // a receiver's wish counts from its answer
	if err == nil {
		return o.end(ctx, p, "sent", "", nil)
	}
	rctx, cancel := linger(ctx, recordTime)
	defer cancel()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return o.deps.Outbox.RetryOutbox(rctx, p.row.ID, p.now, "interrupted: the server stopped")
	}
	kind, after := classify(err)
	age := p.now.Sub(p.target.From)
	wait, more := nextTry(p.row.ID, p.row.Attempts, age, after)
	switch {
	case kind == gone:
		return o.end(ctx, p, "dead", o.disable(rctx, p, err), nil)
	case kind == never:
		return o.end(ctx, p, "dead", err.Error(), nil)
	case !more:
		return o.end(ctx, p, "dead", fmt.Sprintf("given up after %d tries in %.0f hours: %v", p.row.Attempts, age.Hours(), err), nil)
	}
	o.metrics.messages.WithLabelValues(p.channel(), "retried").Inc()
	o.deps.Log.Info("message not sent, will try again", "row", p.row.ID, "channel", p.channel(), "tries", p.row.Attempts, "wait", wait, "error", err)
	return o.deps.Outbox.RetryOutbox(rctx, p.row.ID, p.now.Add(wait), err.Error())
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
	begun := o.now()
	rctx, cancel := linger(ctx, recordTime)
	defer cancel()
	if err := o.deps.Outbox.Deliver(rctx, p.row.ID, m, p.delivery(state, reason), append(follow, record)); err != nil {
		return fmt.Errorf("record message %q as %s: %w", p.row.ID, state, err)
	}
	o.metrics.messages.WithLabelValues(p.channel(), state).Inc()
	if state == "sent" && !p.row.Cause.IsZero() && !p.target.Held {
		done := p.now.Add(o.now().Sub(begun))
		o.metrics.latency.WithLabelValues(p.channel()).Observe(done.Sub(p.row.Cause).Seconds())
	}
	if state == "dead" {
		o.deps.Log.Warn("message given up", "row", p.row.ID, "channel", p.channel(), "reason", reason)
	}
	return nil
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
