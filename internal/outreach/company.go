package outreach

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// maxAlong bounds how many messages one takes along: more is nothing that anybody reads.
const maxAlong = 9

// tried says whether the row may have been sent before. Then it goes by itself, under its own id, by which the receiver knows it.
func (p *plan) tried() bool {
	return p.target.Tried || p.row.Attempts > 0 || p.row.LastErr != "" && !p.row.Held()
}

// wasWith says whether the process died while p was being sent and took this one along: the next try of p, which has the same id, takes it
// along again. A try that was recorded has let it go.
func (p *plan) wasWith(q *plan) bool {
	return p.target.With == q.row.ID && p.target.WithTry == q.row.Attempts
}

// bind finds out what was going along with what when the process died. That one takes it along again, and nobody else does.
func (o *Outreach) bind(ctx context.Context, p *plan) error {
	var with []string
	for _, q := range append(append([]*plan{p}, p.free...), p.leased...) {
		if q.target.With != "" && q.target.With != p.row.ID {
			with = append(with, q.target.With)
		}
	}
	if len(with) == 0 {
		return nil
	}
	tries, err := o.deps.Company.OutboxTries(ctx, with)
	if err != nil {
		return err
	}
	bound := func(q *plan) bool {
		n, live := tries[q.target.With]
		return live && n == q.target.WithTry && q.target.With != p.row.ID
	}
	p.bound = bound(p)
	p.free, p.leased = slices.DeleteFunc(p.free, bound), slices.DeleteFunc(p.leased, bound)
	return nil
}

// together puts the rows of a batch that wait for one person on one channel behind one another, what others take along first, so that it
// is free when they come.
func together(rows []fleet.OutboxRow) [][]fleet.OutboxRow {
	out := make([][]fleet.OutboxRow, 0, len(rows))
	var groups map[[3]string]int
	for i := range rows {
		r := &rows[i]
		if r.Channel == "" || r.LastErr == "" || r.Kind != fleet.OutboxMessage {
			out = append(out, rows[i:i+1])
			continue
		}
		if groups == nil {
			groups = map[[3]string]int{}
		}
		who := [3]string{r.Tenant, r.PersonID, r.Channel}
		if n, ok := groups[who]; ok {
			out[n] = append(slices.Clip(out[n]), *r)
			continue
		}
		groups[who] = len(out)
		out = append(out, rows[i:i+1])
	}
	for _, n := range groups {
		if len(out[n]) > 1 {
			slices.SortStableFunc(out[n], alongFirst)
		}
	}
	return out
}

// alongFirst orders rows by who takes whom along.
func alongFirst(a, b fleet.OutboxRow) int {
	p, q := &plan{row: a}, &plan{row: b}
	if json.Unmarshal(a.Body, &p.target) != nil || json.Unmarshal(b.Body, &q.target) != nil {
		return 0
	}
	switch with, without := p.target.With != "", q.target.With != ""; {
	case with != without && with:
		return -1
	case with != without:
		return 1
	}
	q.topic = q.target.Topic
	if p.first(q) {
		return 1
	}
	return -1
}

// gather takes what waits for the person on the same endpoint and may leave now, so that it goes as one with p: decided for as if it
// left by itself, but for the budget, whose place it shares. Danger goes alone. The most important comes first.
func (o *Outreach) gather(ctx context.Context, p *plan) ([]*plan, error) {
	if p.topic == fleet.TopicSafety || len(p.free) == 0 {
		return nil, nil
	}
	var fit []*plan
	for _, w := range p.free {
		if p.tried() && !w.wasWith(p) { // a receiver that has it would not look at it again
			continue
		}
		q, err := o.load(ctx, w.row, p.now)
		if err != nil {
			return nil, err
		}
		q.along = true
		if v, _ := q.decide(); v == proceed && q.topic != fleet.TopicSafety {
			fit = append(fit, q)
		}
	}
	slices.SortStableFunc(fit, func(a, b *plan) int { return rank(a.topic) - rank(b.topic) })
	fit = fit[:min(len(fit), maxAlong)]
	if len(fit) == 0 {
		return nil, nil
	}
	rows := make([]fleet.OutboxRow, len(fit))
	for i, q := range fit {
		q.target.With, q.target.WithTry = p.row.ID, p.row.Attempts
		q.row.Body = body(q.target)
		rows[i] = q.row
	}
	got, err := o.deps.Company.ClaimOutbox(ctx, rows, p.now, o.config.Lease)
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
