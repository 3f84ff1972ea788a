package outreach

import (
	"context"
	"errors"
	"sync"
	"time"

	"aftercare/internal/fleet"
)

// leaseMargin is what must be left of a lease, beyond the time of one try, when work on a row begins.
const leaseMargin = 5 * time.Second

// job is a leased row on its way to a worker.
type job struct {
	row   fleet.OutboxRow
	until time.Time // end of the lease
}

// Run leases due rows and hands each to the workers of its channel, so that a receiver that hangs delays nobody but its own
// channel; rows that are for no channel yet (the inbox) have workers of their own. Run returns nil when ctx ends, after the
// sends under way ended and the rows still waiting were given back.
func (o *Outreach) Run(ctx context.Context) error {
	queues := map[string]chan job{}
	var wg sync.WaitGroup
	for _, name := range append([]string{inbox}, o.names...) {
		q := make(chan job, o.config.Queue)
		queues[name] = q
		for range o.config.Workers {
			wg.Go(func() { o.work(ctx, q) })
		}
	}
	wg.Go(func() { o.watchDepth(ctx) })
	tick := time.NewTicker(o.config.Poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		if o.lease(ctx, queues) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-o.wake:
		case <-tick.C:
		}
	}
	for _, q := range queues {
		close(q)
	}
	wg.Wait()
	return nil
}

// lease takes one batch and spreads it over the queues; it reports whether there may be more.
func (o *Outreach) lease(ctx context.Context, queues map[string]chan job) bool {
	now := o.now()
	rows, err := o.deps.Outbox.LeaseOutbox(ctx, fleet.OutboxMessage, now, o.config.Lease, o.config.Batch)
	if err != nil {
		if ctx.Err() == nil {
			o.deps.Log.Error("outbox not read", "error", err)
			o.metrics.errors.Inc()
		}
		return false
	}
	for _, r := range rows {
		name := r.Channel
		if queues[name] == nil {
			name = inbox // a channel that is not set up: the stages say so
		}
		select {
		case queues[name] <- job{row: r, until: now.Add(o.config.Lease)}:
		default: // full: its lease ends and it comes back, with no try counted
			o.metrics.deferred.WithLabelValues(name).Inc()
		}
	}
	return len(rows) == o.config.Batch
}

// Pass handles the rows that are due at now, one after the other in the caller's goroutine, until none is. It is for who replays
// the past and calls it, in the place of Run, whenever one may be due.
func (o *Outreach) Pass(ctx context.Context, now time.Time) error {
	var errs []error
	for {
		rows, err := o.deps.Outbox.LeaseOutbox(ctx, fleet.OutboxMessage, now, o.config.Lease, o.config.Batch)
		if err != nil || len(rows) == 0 {
			return errors.Join(append(errs, err)...)
		}
		for _, r := range rows {
			errs = append(errs, o.process(ctx, r, now))
		}
	}
}

// work handles jobs until the queue is closed. A row whose lease has become too short for a try is left for the next lease:
// another process may be about to take it. That is no
// try.
func (o *Outreach) work(ctx context.Context, q <-chan job) {
	for j := range q {
		now := o.now()
		switch {
		case ctx.Err() != nil:
			o.giveBack(ctx, j, now)
			continue
		case now.Add(o.config.SendTimeout + leaseMargin/2).After(j.until):
			o.metrics.deferred.WithLabelValues(channelOf(j.row)).Inc()
			continue
		}
		if err := o.process(ctx, j.row, now); err != nil && ctx.Err() == nil {
			o.deps.Log.Error("message left for later", "row", j.row.ID, "channel", channelOf(j.row), "error", err)
			o.metrics.errors.Inc()
		}
	}
}

// giveBack makes a row that nobody worked on due at once, so that the next start need not wait for its lease to end.
func (o *Outreach) giveBack(ctx context.Context, j job, now time.Time) {
	rctx, cancel := linger(ctx, recordTime)
	defer cancel()
	if err := o.deps.Outbox.PutOffOutbox(rctx, j.row.ID, now, j.row.LastErr); err != nil {
		o.deps.Log.Warn("message row not given back", "row", j.row.ID, "error", err)
	}
}

func channelOf(r fleet.OutboxRow) string {
	if r.Channel == "" {
		return inbox
	}
	return r.Channel
}
