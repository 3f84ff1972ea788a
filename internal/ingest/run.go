package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Run commits until ctx ends, then what is queued once more, and returns. Messages that cannot be made durable within that
// last try hear Failed. It may be called once.
func (in *Ingest) Run(ctx context.Context) error {
	h := in.ByHand()
	if err := h.Begin(ctx); err != nil {
		return in.close(err)
	}
	close(in.started)
	var counting sync.WaitGroup
	defer counting.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	counting.Go(func() { in.flushing(ctx) })
	ticker := time.NewTicker(in.cfg.TickEvery)
	defer ticker.Stop()
	last := in.deps.Now()
	for {
		select {
		case <-ctx.Done():
			return h.drain()
		case <-ticker.C:
			now := in.deps.Now()
			in.watch(last, now)
			last = now
			if err := h.Tick(ctx); err != nil {
				return h.drain()
			}
		case <-in.work:
			if err := h.Commit(ctx); err != nil {
				return h.drain()
			}
		}
	}
}

// Started is closed once the journal holds our start, which says for how long nothing was received. Nothing else may be put
// into the stream of readings before it, or that gap would seem shorter.
func (in *Ingest) Started() <-chan struct{} { return in.started }

// watch notices that our own clock was set, between two moments: by it devices' clocks were called wrong that may be right, as
// on a machine that starts without the time and gets it later. (One that slept looks the same, which does no harm.)
func (in *Ingest) watch(last, now time.Time) {
	set := now.Round(0).Sub(last.Round(0)) - now.Sub(last) // wall clock against monotonic
	if set.Abs() > in.cfg.Clock.MaxAhead {
		in.deps.Log.Warn("our clock was set, or the machine slept: how wrong devices' clocks are is judged anew", "by", set)
		in.tracks.doubt()
	}
}

// remember loads which clocks are wrong, and lets Submit go on. It tries until ctx ends: without it resends could become
// other points than before.
func (in *Ingest) remember(ctx context.Context) error {
	if in.deps.Clocks == nil {
		return nil
	}
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := in.tracks.load(ctx, in.deps.Clocks)
		if err == nil || fleet.CodeOf(err) == fleet.CodeInvalid {
			if err != nil {
				in.deps.Log.Error("what was remembered of wrong clocks is lost in part; resends of their readings may become points of their own", "err", err)
			}
			close(in.ready)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		in.deps.Log.Error("the memory of wrong clocks does not load; nothing is taken in, trying again", "in", wait, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// swap takes the pending cycle and puts an empty one in its place.
func (in *Ingest) swap(empty *cycle) *cycle {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.pending
	in.pending = empty
	close(in.room)
	in.room = make(chan struct{})
	return c
}

// commit appends until it worked or ctx ended: not stored means not acknowledged, so there is nothing else to do. Only a record
// that the journal can never take ends it early.
func (in *Ingest) commit(ctx context.Context, records []wire.Record) error {
	in.committing.Store(in.deps.Now().UnixNano())
	defer in.committing.Store(0)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := in.append(ctx, records)
		if err == nil {
			return nil
		}
		in.meter.failures.Inc()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fleet.CodeOf(err) == fleet.CodeInvalid { // the bounds on messages make it impossible; trying for ever would stop all intake
			return fmt.Errorf("the journal can never take a record of this cycle: %w", err)
		}
		in.deps.Log.Error("the journal did not take a cycle; nothing of it is acknowledged, trying again", "records", len(records), "in", wait, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// append makes durable what the corrections of the records' times depend on, then the records.
func (in *Ingest) append(ctx context.Context, records []wire.Record) error {
	if err := in.tracks.save(ctx, in.deps.Clocks, in.deps.Now()); err != nil {
		return err
	}
	return in.deps.Journal.Append(ctx, records)
}

// marks makes one record without body for each partition.
func (in *Ingest) marks(kind wire.Kind) []wire.Record {
	now := in.deps.Now()
	out := make([]wire.Record, in.deps.Journal.Partitions())
	for p := range out {
		out[p] = wire.Record{Stream: wire.Readings, Partition: p, Kind: kind, Received: now}
	}
	return out
}

func (in *Ingest) close(cause error) error {
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	c := in.swap(newCycle(in.deps.Journal.Partitions()))
	c.done(wire.Failed)
	if errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}
