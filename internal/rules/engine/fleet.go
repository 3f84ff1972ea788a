package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
)

// Rules may compare a device with others, and a partition knows its own devices only. So each partition keeps under a key of its own what
// these contribute to a picture of the fleet, anew each time its clock passes a multiple of fleet_every. Whoever works partition 0
// puts the parts together and into every partition, as a record that is stepped like any other.
//
// Nothing of it is exact or exactly once, and need not be: devices are spread over the partitions at random, so that the fleet without
// some of them looks much the same, and the newest summary counts. A process that stood still can therefore do no harm: the part it
// writes is of an older time and is written over at the next interval, and states take no summary that is older than what they have.
// Time is the partitions' clock, which stands still when no record comes: then nothing of this happens.

// Summaries takes summaries of the fleet: each is to become a record of every partition. At least once is
// enough.
type Summaries interface {
	Summarise(ctx context.Context, sum fleet.Summary) error
}

// fleetStep makes a partition's part, and in partition 0 the summary. Only the worker's goroutine calls it; what is stored is stored
// beside evaluation.
type fleetStep struct {
	every     time.Duration // 0: off
	parts     int
	store     Snapshots
	to        Summaries // nil: off
	metrics   *metrics
	partition int
	log       *slog.Logger

	lease  *lease
	slot   int64              // interval of the partition's clock for which it was done last; 0: none
	began  time.Time          // by our own clock
	making *rules.Aggregating // nil: none
	flight chan struct{}      // closed when nothing is stored any more; nil: nothing was

	said   []byte // partition 0: what the last summary said, but for its time
	saidAt time.Time
}

// gatherFor is how long partition 0 waits, by its own clock, for the parts of others; gatherPause lies between two looks.
const (
	gatherFor   = time.Minute
	gatherPause = time.Second
)

// repeatAfter is when a summary that says the same as the one before is said all the same: a partition may have lost it.
const repeatAfter = 24 * time.Hour

func (f *fleetStep) key(partition int) string { return fmt.Sprintf("rules.p%d.aggregate", partition) }

func (f *fleetStep) slotOf(at time.Time) int64 { return at.UnixMilli() / f.every.Milliseconds() }

// reset begins under a lease, with a state that was loaded. Nothing may be stored any more.
func (f *fleetStep) reset(l *lease, state *rules.State) {
	f.lease, f.slot, f.began, f.making, f.said = l, 0, time.Now(), nil, nil
	if f.every > 0 && !state.Now().IsZero() {
		f.slot = f.slotOf(state.Now())
	}
}

// look begins to make the partition's part when its clock has passed into another interval. While there is more to read at once (busy),
// the clock runs fast: then it is as often as the interval is long by our own clock.
func (f *fleetStep) look(w *worker, busy bool) {
	if f.every <= 0 || f.to == nil || f.making != nil || w.state.Now().IsZero() || !w.state.Set().LooksAtFleet() {
		return
	}
	slot := f.slotOf(w.state.Now())
	switch {
	case f.slot == 0:
		f.slot = slot
	case slot == f.slot || f.storing() || !w.state.Settled() || busy && time.Since(f.began) < f.every:
	default:
		f.slot, f.began, f.making = slot, time.Now(), w.state.BeginAggregate()
	}
}

// storing reports whether a part or a summary is still being stored.
func (f *fleetStep) storing() bool {
	if f.flight == nil {
		return false
	}
	select {
	case <-f.flight:
		f.flight = nil
		return false
	default:
		return true
	}
}

// work goes on for about as long as budget says; when all devices were seen, the rest is done beside evaluation.
func (f *fleetStep) work(ctx context.Context, budget time.Duration) {
	start, done := time.Now(), false
	for !done {
		done = f.making.Go(stride)
		if time.Since(start) >= budget {
			break
		}
	}
	f.metrics.fleetPause.Observe(time.Since(start).Seconds())
	if !done {
		return
	}
	making, flight := f.making, make(chan struct{})
	f.making, f.flight = nil, flight
	go func() {
		defer close(flight)
		part := making.Result()
		if f.save(ctx, &part) == nil && f.partition == 0 {
			f.summarise(ctx, part)
		}
	}()
}

// finish waits until nothing is stored any more; ctx of work has ended.
func (f *fleetStep) finish() {
	if f.flight != nil {
		<-f.flight
	}
	f.flight, f.making = nil, nil
}

func (f *fleetStep) save(ctx context.Context, part *rules.Aggregate) error {
	return f.retry(ctx, "saving what the partition contributes to the summary of the fleet", func(ctx context.Context) error {
		return f.store.Save(ctx, f.key(f.partition), seal(encode(part)))
	})
}

func (f *fleetStep) retry(ctx context.Context, what string, g func(context.Context) error) error {
	return retry(ctx, f.log, what, func(ctx context.Context) error {
		if err := f.lease.wait(ctx); err != nil {
			return err
		}
		return g(ctx)
	})
}

// summarise puts the parts together, partition 0's own being the newest, and hands over what they say when that is new.
func (f *fleetStep) summarise(ctx context.Context, own rules.Aggregate) {
	parts := f.gather(ctx, own)
	sum, left := rules.Summarise(parts, own.At)
	if left > 0 {
		f.metrics.fleetLeft.Add(float64(left))
		f.log.Warn("THE FLEET IS TOO VARIED FOR ONE SUMMARY: the smallest groups are left out, and rules that compare with them know nothing", "left_out", left)
	}
	said := encode(fleet.Summary{Peers: sum.Peers, Rates: sum.Rates})
	if bytes.Equal(said, f.said) && own.At.Sub(f.saidAt) < repeatAfter {
		f.metrics.summaries.WithLabelValues("same").Inc()
		return
	}
	err := f.retry(ctx, "handing over the summary of the fleet", func(ctx context.Context) error { return f.to.Summarise(ctx, sum) })
	if err != nil {
		return // ctx ended
	}
	f.said, f.saidAt = said, own.At
	f.metrics.summaries.WithLabelValues("new").Inc()
	f.log.Debug("summary of the fleet", "at", own.At, "tables", len(sum.Peers), "rates", len(sum.Rates), "partitions", len(parts))
}

// gather returns the parts of all partitions. It waits for those of its own interval, for a while; then what is not older than two
// intervals will do.
func (f *fleetStep) gather(ctx context.Context, own rules.Aggregate) []rules.Aggregate {
	found, slot := make([]*rules.Aggregate, f.parts), f.slotOf(own.At)
	found[f.partition] = &own
	until := time.Now().Add(min(gatherFor, f.every/2))
	for {
		missing := 0
		for p, a := range found {
			if a == nil || f.slotOf(a.At) < slot {
				if now := f.load(ctx, p); now != nil {
					a, found[p] = now, now
				}
			}
			if a == nil || f.slotOf(a.At) < slot {
				missing++
			}
		}
		if missing == 0 || !time.Now().Before(until) || sleep(ctx, gatherPause) != nil {
			break
		}
	}
	out := make([]rules.Aggregate, 0, f.parts)
	for p, a := range found {
		if a == nil || own.At.Sub(a.At) > 2*f.every {
			f.log.Info("the summary of the fleet is without a partition: nothing came from it for two intervals", "without", p)
			continue
		}
		out = append(out, *a)
	}
	return out
}

// load returns what is stored of a partition; nil when there is nothing, or nothing that can be read.
func (f *fleetStep) load(ctx context.Context, partition int) *rules.Aggregate {
	body, rev, err := f.store.Load(ctx, f.key(partition))
	if err == nil && rev == 0 {
		return nil
	}
	var a rules.Aggregate
	if err == nil {
		if body, err = open(body); err == nil {
			err = json.Unmarshal(body, &a)
		}
	}
	if err != nil {
		f.log.Debug("what a partition contributes to the summary of the fleet cannot be read", "of", partition, "error", err)
		return nil
	}
	return &a
}
