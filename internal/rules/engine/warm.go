package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

// Past is what is known beside the journal. A method may fail because a server is away: it is called again.
type Past interface {
	// Facts gives the facts of all devices of a partition, as they are now.
	Facts(ctx context.Context, partition int, each func(fleet.Facts) error) error
	// Readings gives a device's telemetry, events and presence for from <= time < to, oldest first. A reading is valid during the call.
	Readings(ctx context.Context, key fleet.DeviceKey, model string, from, to time.Time, each func(*fleet.Reading) error) error
	// Counters returns what was handed over last of a device's counters before a moment, by wire.CounterField; nil: nothing.
	Counters(ctx context.Context, key fleet.DeviceKey, before time.Time) (at time.Time, values map[string]float64, err error)
	// Findings returns the newest finding of each rule about a device before a moment.
	Findings(ctx context.Context, key fleet.DeviceKey, before time.Time) ([]fleet.Finding, error)
}

// When the state is warmed up.
const (
	warmAuto   = "auto"
	warmAlways = "always"
	warmOff    = "off"
)

// warming is what a warm-up shows of itself.
type warming struct {
	mu            sync.Mutex
	active        bool
	devices, done int
	cause         error // of the last failure; nil once it worked again
}

func (w *warming) set(f func(*warming)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

// Check reports whether the rules look at what comes in: obs.Check. They do not while a state is warmed up.
func (e *Engine) Check(context.Context) error {
	for _, w := range e.workers {
		w.warming.mu.Lock()
		active, devices, done, cause := w.warming.active, w.warming.devices, w.warming.done, w.warming.cause
		w.warming.mu.Unlock()
		if !active {
			continue
		}
		if cause != nil {
			return fmt.Errorf("the rules of partition %d are made from history, %d of %d devices, and cannot go on: %w", w.partition, done, devices, cause)
		}
		return fmt.Errorf("the rules of partition %d are made from history: %d of %d devices", w.partition, done, devices)
	}
	return nil
}

// wantsWarm reports whether the state that was loaded has to be made from history, and where the journal begins.
func (w *worker) wantsWarm(ctx context.Context) (want bool, first uint64, begins time.Time, err error) {
	whole := len(w.snaps.gens) > 0
	if w.cfg.WarmUp == warmOff || whole && w.cfg.WarmUp != warmAlways {
		return false, 0, begins, nil
	}
	err = retry(ctx, w.log, "looking where the journal begins", func(ctx context.Context) (err error) {
		first, begins, err = w.deps.Log.First(ctx)
		return err
	})
	if err != nil || first <= 1 && w.cfg.WarmUp != warmAlways {
		return false, 0, begins, err // the journal has all there ever was
	}
	if begins.IsZero() {
		begins = time.Now()
	}
	if w.deps.Past == nil {
		w.log.Error("NO SNAPSHOT AND NO HISTORY TO READ: what is older than the journal is lost to the rules", "journal_begins", begins)
		return false, 0, begins, nil
	}
	return true, first, begins, nil
}

// warm makes the state from history, up to where the journal begins; from there on the journal is stepped. It returns an error only
// when ctx ended. Readings that history and the journal both have are recognised by their numbers; of those without a number what
// lies behind what is known is late and counts for nothing, but for the last minutes, which may be twice in a window.
func (w *worker) warm(ctx context.Context, first uint64, begins time.Time) error {
	start := time.Now()
	w.log.Warn("the state of the rules is made from history, up to where the journal begins", "warm_up", w.cfg.WarmUp, "snapshot", len(w.snaps.gens) > 0, "journal_begins", begins)
	w.warming.set(func(v *warming) { v.active, v.devices, v.done, v.cause = true, 0, 0, nil })
	defer w.warming.set(func(v *warming) { v.active = false })
	state := rules.NewState(w.set)
	from := begins.Add(-state.Reach())
	var devices []fleet.Facts
	err := w.past(ctx, "reading the facts of devices", func(ctx context.Context) error {
		devices = devices[:0]
		return w.deps.Past.Facts(ctx, w.partition, func(f fleet.Facts) error {
			devices = append(devices, f)
			return nil
		})
	})
	if err != nil {
		return err
	}
	w.warming.set(func(v *warming) { v.devices = len(devices) })
	var found []fleet.Finding
	for i := range devices {
		if found, err = w.relive(ctx, state, &devices[i], from, begins, found); err != nil {
			return err
		}
		w.metrics.warmed.Inc()
		w.warming.set(func(v *warming) { v.done++ })
	}
	state.Rewind(begins)
	w.state, w.seq, w.counts = state, max(first, 1)-1, state.Counts()
	if err := w.emit(ctx, found); err != nil {
		return err
	}
	w.log.Info("the rules were made from history", "devices", len(devices), "findings", len(found), "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// relive steps one device's past: its facts, the readings of the longest window, and what was counted before them.
func (w *worker) relive(ctx context.Context, state *rules.State, f *fleet.Facts, from, to time.Time, found []fleet.Finding) ([]fleet.Finding, error) {
	if err := w.lease.wait(ctx); err != nil {
		return nil, err
	}
	var counted time.Time
	var counters map[string]float64
	var told []fleet.Finding
	err := w.past(ctx, "reading what was counted and found", func(ctx context.Context) (err error) {
		if counted, counters, err = w.deps.Past.Counters(ctx, f.Device, to); err == nil {
			told, err = w.deps.Past.Findings(ctx, f.Device, to)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	state.Rewind(from)
	if rec, err := wire.EncodeFacts(w.partition, from, *f); err != nil {
		w.log.Error("a device's rules go on without its facts", "error", err)
	} else {
		state.Step(&rec, nil)
	}
	recount := func() {
		if counters != nil {
			state.Recount(f.Device, f.Model, counted.UnixMilli(), counters)
		}
		counters = nil
	}
	err = w.past(ctx, "reading what a device sent", func(ctx context.Context) error {
		return w.deps.Past.Readings(ctx, f.Device, f.Model, from, to, func(r *fleet.Reading) error {
			if r.Time.After(counted) {
				recount()
			}
			state.Relive(r)
			from = r.Time.Add(time.Millisecond) // after a failure it goes on behind it
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	recount()
	state.Step(&wire.Record{Kind: wire.KindTick, Received: to}, nil)
	return state.Settle(f.Device, told, to, found), nil
}

// past asks for what lies beside the journal until it is answered; its error is ctx's. Failures show in Check.
func (w *worker) past(ctx context.Context, what string, f func(context.Context) error) error {
	return retry(ctx, w.log, "making the rules from history: "+what, func(ctx context.Context) error {
		err := f(ctx)
		w.warming.set(func(v *warming) { v.cause = err })
		return err
	})
}
