package ingest

import (
	"context"
	"fmt"
	"time"

	"aftercare/internal/wire"
)

// Hand is an Ingest that somebody drives instead of Run: who replays the past has no time to wait for. It works in the caller's
// goroutine; one goroutine uses it.
type Hand struct {
	in         *Ingest
	spare      *cycle
	unfinished *cycle // was taken and could not be committed
	idle       []bool // by partition: nothing came since the last tick
}

// ByHand returns the steps that Run is made of. Nobody may call Run then.
func (in *Ingest) ByHand() *Hand {
	n := in.deps.Journal.Partitions()
	return &Hand{in: in, spare: newCycle(n), idle: make([]bool, n)}
}

// Begin loads what is remembered of clocks and says in the journal that we receive from now on. Submit waits until then.
func (h *Hand) Begin(ctx context.Context) error {
	if err := h.in.remember(ctx); err != nil {
		return err
	}
	return h.in.commit(ctx, h.in.marks(wire.KindStart))
}

// Commit makes durable what is queued and tells those who wait. On an error nothing more can be done but End.
func (h *Hand) Commit(ctx context.Context) error {
	start := time.Now() // for the metric only
	c := h.in.swap(h.spare)
	if records := c.records(h.in.deps.Now()); len(records) > 0 {
		if err := h.in.commit(ctx, records); err != nil {
			h.unfinished = c
			return err
		}
	}
	for p := range c.lines {
		h.idle[p] = h.idle[p] && len(c.lines[p].chunks) == 0 && len(c.lines[p].open) == 0
	}
	h.in.meter.cycle(c, h.in.deps.Now(), time.Since(start))
	c.done()
	c.reset()
	h.spare = c
	return nil
}

// Tick says in every partition where nothing came since the last call that time has gone on.
func (h *Hand) Tick(ctx context.Context) error {
	var records []wire.Record
	for _, r := range h.in.marks(wire.KindTick) {
		if h.idle[r.Partition] {
			records = append(records, r)
		}
		h.idle[r.Partition] = true
	}
	if len(records) == 0 {
		return nil
	}
	return h.in.commit(ctx, records)
}

// End commits what is queued once more, saves the counts of what devices send, and closes.
func (h *Hand) End(ctx context.Context) error {
	err := h.drain()
	h.in.flush(ctx)
	return err
}

const lastTry = 3 * time.Second

// drain commits what is queued once more, the unfinished cycle first, and says good-bye in the journal.
func (h *Hand) drain() error {
	in := h.in
	ctx, cancel := context.WithTimeout(context.Background(), lastTry)
	defer cancel()
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	last := in.swap(newCycle(in.deps.Journal.Partitions()))
	var cycles []*cycle
	if h.unfinished != nil {
		cycles = append(cycles, h.unfinished)
	}
	cycles = append(cycles, last)
	in.tracks.touch()
	records := in.marks(wire.KindStop)
	for i := len(cycles) - 1; i >= 0; i-- {
		records = append(cycles[i].records(in.deps.Now()), records...)
	}
	if err := in.append(ctx, records); err != nil {
		n := 0
		for _, c := range cycles {
			n += len(c.waiters)
			c.done(wire.Failed)
		}
		return fmt.Errorf("last commit, %d messages not acknowledged: %w", n, err)
	}
	for _, c := range cycles {
		in.meter.cycle(c, in.deps.Now(), 0)
		c.done()
	}
	return nil
}
