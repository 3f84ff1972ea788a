package outreach

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"aftercare/internal/fleet"
)

// leaseMargin is what must be left of a lease, beyond the time of one try, when work on a row begins.
const leaseMargin = 5 * time.Second

// job is a leased row on its way to a worker, or several that one worker handles one after the other.
type job struct {
	rows  []fleet.OutboxRow
	until time.Time // end of the lease
}

// bells wake those who lease, by channel.
type bells map[string]chan struct{}

func newBells(names []string) bells {
	b := bells{}
	for _, n := range append([]string{inbox}, names...) {
		b[n] = make(chan struct{}, 1)
	}
	return b
}

// Wake makes Run look for due rows now: to be called after a commit that wrote some. It never blocks.
func (o *Outreach) Wake() {
	for _, b := range o.bells {
		select {
		case b <- struct{}{}:
		default:
		}
	}
}

// Run leases due rows of each channel and hands them to the channel's workers. Each channel has its own of all of this, so
// that a receiver that hangs, and however many rows wait for it, delay nobody but its own channel; rows that are for no channel yet
// go through the inbox's. Run returns nil when ctx ends, after the sends under way ended and the rows still waiting were given back.
func (o *Outreach) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, name := range append([]string{inbox}, o.names...) {
		q := make(chan job, o.config.Queue)
		wg.Go(func() {
			defer close(q)
			o.feed(ctx, name, q)
		})
		for range o.workers(name) {
			wg.Go(func() { o.work(ctx, q) })
		}
	}
	q := make(chan job, o.config.Queue)
	wg.Go(func() {
		defer close(q)
		o.feed(ctx, operations, q)
	})
	for range operationsWorkers {
		wg.Go(func() { o.work(ctx, q) })
	}
	wg.Go(func() { o.watchDepth(ctx) })
	wg.Wait()
	return nil
}

// inboxWorkers are many because they wait for nobody but the disk, and those who wait for it together share the wait.
const inboxWorkers = 64

func (o *Outreach) workers(name string) int {
	if name == inbox {
		return max(inboxWorkers, o.config.Workers)
	}
	return o.config.Workers
}

// operations is the name of the queue of what operators are told: on no channel's, so that it waits for no owner's message.
const operations = "operations"

const operationsWorkers = 2

// strayEvery is how often rows for channels that are not set up are looked for.
const strayEvery = time.Minute

// feed leases the due rows of a channel, as fast as its workers take them, until ctx ends.
func (o *Outreach) feed(ctx context.Context, name string, q chan<- job) {
	tick := time.NewTicker(o.config.Poll)
	defer tick.Stop()
	channel := name
	if name == inbox {
		channel = ""
	}
	var strays time.Time
	for ctx.Err() == nil {
		if o.lease(ctx, channel, q) {
			continue
		}
		if now := o.now(); name == inbox && now.Sub(strays) >= strayEvery {
			strays = now
			o.leaseStrays(ctx, q)
		}
		select {
		case <-ctx.Done():
		case <-o.bells[name]:
		case <-tick.C:
		}
	}
}

// take leases one batch of a channel, or of what operators are told.
func (o *Outreach) take(ctx context.Context, channel string, now time.Time) ([]fleet.OutboxRow, error) {
	if channel == operations {
		return o.deps.Outbox.LeaseOutbox(ctx, fleet.OutboxNotify, now, o.config.Lease, o.config.Batch)
	}
	return o.deps.Outbox.LeaseChannel(ctx, channel, now, o.config.Lease, o.config.Batch)
}

// lease takes one batch of a channel and puts it into its queue; it reports whether there may be more.
func (o *Outreach) lease(ctx context.Context, channel string, q chan<- job) bool {
	now := o.now()
	rows, err := o.take(ctx, channel, now)
	if err != nil {
		o.notRead(ctx, err)
		return false
	}
	for _, g := range together(rows) {
		j := job{rows: g, until: now.Add(o.config.Lease)}
		select {
		case q <- j:
		case <-ctx.Done():
			for _, r := range g {
				o.giveBack(ctx, r, now)
			}
		}
	}
	return len(rows) == o.config.Batch
}

// leaseStrays takes rows for channels that are not set up any more: the stages say so.
func (o *Outreach) leaseStrays(ctx context.Context, q chan<- job) {
	names, err := o.deps.Outbox.OutboxChannels(ctx)
	if err != nil {
		o.notRead(ctx, err)
		return
	}
	for _, name := range names {
		if name == "" || o.channels[name] != nil {
			continue
		}
		for ctx.Err() == nil && o.lease(ctx, name, q) {
		}
	}
}

func (o *Outreach) notRead(ctx context.Context, err error) {
	if ctx.Err() == nil {
		o.deps.Log.Error("outbox not read", "error", err)
		o.metrics.errors.Inc()
	}
}

// Pass handles the rows that are due at now, one after the other in the caller's goroutine, until none is; they are leased as Run does.
// It is for who replays the past and calls it, in the place of Run, whenever one may be due.
func (o *Outreach) Pass(ctx context.Context, now time.Time) error {
	channels, err := o.deps.Outbox.OutboxChannels(ctx)
	if err != nil {
		return err
	}
	for _, name := range append([]string{"", operations}, o.names...) {
		if !slices.Contains(channels, name) {
			channels = append(channels, name)
		}
	}
	var errs []error
	for more := true; more; {
		more = false
		for _, name := range channels {
			rows, err := o.take(ctx, name, now)
			if err != nil {
				return errors.Join(append(errs, err)...)
			}
			for _, g := range together(rows) {
				for _, r := range g {
					errs, more = append(errs, o.process(ctx, r, now)), true
				}
			}
		}
	}
	return errors.Join(errs...)
}

// work handles jobs until the queue is closed.
func (o *Outreach) work(ctx context.Context, q <-chan job) {
	for j := range q {
		for _, r := range j.rows {
			o.workOn(ctx, r, j.until)
		}
	}
}

// workOn handles a row. One whose lease has become too short for a try is left for the next lease: another process may be about to take
// it. That is no try.
func (o *Outreach) workOn(ctx context.Context, r fleet.OutboxRow, until time.Time) {
	now := o.now()
	switch {
	case ctx.Err() != nil:
		o.giveBack(ctx, r, now)
		return
	case now.Add(o.config.SendTimeout + leaseMargin/2).After(until):
		o.metrics.deferred.WithLabelValues(channelOf(r)).Inc()
		return
	}
	if err := o.process(ctx, r, now); err != nil && ctx.Err() == nil {
		o.deps.Log.Error("message left for later", "row", r.ID, "channel", channelOf(r), "error", err)
		o.metrics.errors.Inc()
	}
}

// giveBack makes a row that nobody worked on due at once, so that the next start need not wait for its lease to end.
func (o *Outreach) giveBack(ctx context.Context, r fleet.OutboxRow, now time.Time) {
	rctx, cancel := linger(ctx, recordTime)
	defer cancel()
	if err := o.deps.Outbox.PutOffOutbox(rctx, r.ID, now, r.LastErr); err != nil {
		o.deps.Log.Warn("message row not given back", "row", r.ID, "error", err)
	}
}

func channelOf(r fleet.OutboxRow) string {
	if r.Channel == "" {
		return inbox
	}
	return r.Channel
}
