package outreach

import (
	"context"
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// maxAlong bounds how many messages one takes along: more is nothing that anybody reads.
const maxAlong = 9

// gather takes what waits for the person on the same endpoint and may leave now, so that it goes as one with p: decided for as if it
// left by itself, but for the budget, whose place it shares. Danger goes alone. The most important comes first.
func (o *Outreach) gather(ctx context.Context, p *plan) ([]*plan, error) {
	if p.topic == fleet.TopicSafety || len(p.free) == 0 {
		return nil, nil
	}
	var fit []*plan
	var ids []string
	for _, w := range p.free {
		q, err := o.load(ctx, w.row, p.now)
		if err != nil {
			return nil, err
		}
		q.along = true
		if v, _ := q.decide(); v == proceed && q.topic != fleet.TopicSafety {
			fit, ids = append(fit, q), append(ids, q.row.ID)
		}
	}
	slices.SortStableFunc(fit, func(a, b *plan) int { return rank(a.topic) - rank(b.topic) })
	if len(fit) > maxAlong {
		fit, ids = fit[:maxAlong], nil
		for _, q := range fit {
			ids = append(ids, q.row.ID)
		}
	}
	if len(fit) == 0 {
		return nil, nil
	}
	got, err := o.deps.Company.ClaimOutbox(ctx, ids, p.now, o.config.Lease)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(fit, func(q *plan) bool { return !slices.Contains(got, q.row.ID) }), nil
}

// release gives back what was to go along with a message that could not be sent.
func (o *Outreach) release(ctx context.Context, along []*plan, p *plan, due time.Time) error {
	for _, q := range along {
		if err := o.deps.Outbox.PutOffOutbox(ctx, q.row.ID, due, fleet.HeldMark+"was to go along with "+p.row.ID); err != nil {
			return err
		}
	}
	return nil
}

// sent records a message that left, and what went along with it, in one transaction.
func (o *Outreach) sent(ctx context.Context, p *plan, along []*plan) error {
	if len(along) == 0 {
		follow := p.after(stateSent)
		if err := o.end(ctx, p, stateSent, "", nil, follow...); err != nil {
			return err
		}
		o.escalated(p, follow)
		return nil
	}
	record, err := p.record(stateSent, "")
	if err != nil {
		return err
	}
	with := "with " + p.row.ID
	follow := append(p.after(stateSent), record)
	ds := make([]fleet.Delivery, len(along))
	for i, q := range along {
		q.now = p.now
		if record, err = q.record(stateMerged, with); err != nil {
			return err
		}
		ds[i] = q.delivery(stateMerged, with)
		follow = append(append(follow, q.after(stateMerged)...), record)
	}
	begun := o.now()
	rctx, cancel := linger(ctx, recordTime)
	defer cancel()
	if err := o.deps.Company.DeliverWith(rctx, p.row.ID, p.delivery(stateSent, ""), ds, follow); err != nil {
		return fmt.Errorf("record message %q with %d others: %w", p.row.ID, len(ds), err)
	}
	o.observe(p, stateSent, "", begun)
	for _, q := range along {
		o.observe(q, stateMerged, with, begun)
	}
	return nil
}
