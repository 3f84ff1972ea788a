package presence

import (
	"context"
	"time"

	"aftercare/internal/fleet"
)

// batch is how many readings Record gets at once.
const batch = 1000

// lastSave is how long the states may take to be kept at the end.
const lastSave = 20 * time.Second

// Run loads the states of before, and then looks for silence and records changes until ctx ends; then it keeps the states and
// returns nil. What cannot be recorded or kept is tried again, so is a journal that does not answer at the start: nothing is
// recorded before it does. From then on every deadline is counted anew: our absence is not theirs. Neither is it while it runs:
// when this process or machine slept, the clock was set, or the doors could not take anything, every deadline is counted anew.
func (t *Tracker) Run(ctx context.Context) error {
	if !t.begin(ctx) {
		return nil
	}
	t.looked, t.saved = t.now(), t.now()
	tick := time.NewTicker(t.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return t.end(context.WithoutCancel(ctx))
		case <-tick.C:
		}
		t.Look(ctx, t.now())
	}
}

// Look does once what Run does all the time: it looks for silence, records what changed and keeps the states when it is time for
// that. It is for who replays the past, has no time to wait for and calls it, in the place of Run, at least every Config.Every
// of the time that goes by.
func (t *Tracker) Look(ctx context.Context, now time.Time) {
	if t.looked.IsZero() {
		t.looked, t.saved = now, now
	}
	t.lookFor(now)
	t.emit(ctx)
	if now.Sub(t.saved) >= t.cfg.SnapshotEvery {
		t.saved = now
		for i := range t.shards {
			t.sweep(&t.shards[i], now.UnixMilli())
		}
		t.cascade()
		t.save(ctx, false)
	}
}

// lookFor looks for silence, if we would have heard.
func (t *Tracker) lookFor(now time.Time) {
	if t.stalled() {
		return // the gap that this makes is ours
	}
	// Wall clocks: a machine that sleeps stops the monotonic one.
	if gap := now.Round(0).Sub(t.looked.Round(0)); gap < -time.Second || gap > t.cfg.Every+t.cfg.MinGrace/2 {
		t.log.Warn("devices could not be heard for a while, or the clock was set; every device's time until it counts as silent begins anew", "gap", gap)
		for i := range t.shards {
			t.excuse(&t.shards[i], now.UnixMilli())
		}
	}
	t.looked = now
	t.scan(now.UnixMilli())
}

// begin loads, and tries again until it can or ctx ends.
func (t *Tracker) begin(ctx context.Context) bool {
	for gap := time.Second; ; gap = min(2*gap, 30*time.Second) {
		err := t.load(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		t.metrics.failures.WithLabelValues("load").Inc()
		t.log.Warn("presence of before the start not loaded, trying again", "after", gap, "err", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(gap):
		}
	}
}

func (t *Tracker) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lastSave)
	defer cancel()
	t.cascade()
	clean := t.emit(ctx)
	t.save(ctx, clean)
	return nil
}

// emit hands what waits to Record, in order, and reports whether nothing is left. What Record does not take is kept and
// tried next time, before anything newer.
func (t *Tracker) emit(ctx context.Context) bool {
	for i := 0; ; {
		for len(t.unsent) < batch && i < len(t.shards) {
			s := &t.shards[i]
			s.mu.Lock()
			t.unsent = append(t.unsent, s.pending...)
			s.pending = s.pending[:0]
			if cap(s.pending) > 16 {
				s.pending = nil // a herd is no reason to keep the room
			}
			s.mu.Unlock()
			i++
		}
		if len(t.unsent) == 0 {
			return true
		}
		if !t.hand(ctx, t.unsent[:min(len(t.unsent), batch)]) {
			return false
		}
		t.unsent = t.unsent[min(len(t.unsent), batch):]
		if len(t.unsent) == 0 {
			t.unsent = nil
		}
	}
}

func (t *Tracker) hand(ctx context.Context, changes []change) bool {
	readings := make([]fleet.Reading, len(changes))
	for i, c := range changes {
		s := &t.shards[c.id>>slotBits]
		s.mu.Lock()
		d := s.entry(c.id).dev // it stays as long as a change of it is pending
		s.mu.Unlock()
		readings[i] = reading(d, c)
	}
	err := t.record(ctx, readings)
	if fleet.CodeOf(err) == fleet.CodeInvalid { // one that can never be recorded must not stop the others
		for i := range readings {
			if err = t.record(ctx, readings[i:i+1]); fleet.CodeOf(err) == fleet.CodeInvalid {
				t.metrics.failures.WithLabelValues("left_out").Inc()
				t.log.Error("A CHANGE OF PRESENCE IS LEFT OUT: it can never be recorded", "device", readings[i].Device.String(), "err", err)
				err = nil
			}
			if err != nil {
				break
			}
		}
	}
	if err != nil {
		t.metrics.failures.WithLabelValues("record").Inc()
		t.log.Warn("presence not recorded, trying again", "readings", len(readings), "err", err)
		return false
	}
	for _, c := range changes {
		s := &t.shards[c.id>>slotBits]
		s.mu.Lock()
		s.entry(c.id).pending--
		s.mu.Unlock()
	}
	return true
}
