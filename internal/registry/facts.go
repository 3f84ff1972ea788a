package registry

import (
	"context"
	"fmt"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Facts is what the registry needs of SQL for what rules may look at besides readings.
type Facts interface {
	// DeviceFacts returns all of it; CodeNotFound for an unknown device.
	DeviceFacts(ctx context.Context, key fleet.DeviceKey) (fleet.Facts, error)
	// EditFacts writes what edit makes of limits, spans and services; an error of edit changes nothing.
	EditFacts(ctx context.Context, key fleet.DeviceKey, edit func(*fleet.Facts) error, events ...fleet.SecurityEvent) error
	// UnsentFacts returns at most limit facts that changed after a mark, in the order they changed, and the last one's mark.
	UnsentFacts(ctx context.Context, after fleet.FactsMark, limit int) ([]fleet.Facts, fleet.FactsMark, error)
	// FactsSent and MarkFactsSent keep up to which revision all of it was sent; ResendFacts begins anew.
	FactsSent(ctx context.Context) (rev int64, err error)
	MarkFactsSent(ctx context.Context, rev int64) error
	ResendFacts(ctx context.Context) error
}

// FactsLog is the journal as the registry sees it.
type FactsLog interface {
	// AppendFacts returns nil when all of them are durable, each in its device's partition, in this order. After an error they
	// are sent again.
	AppendFacts(ctx context.Context, facts []fleet.Facts) error
}

// Facts are sent by pages with a pause between two, at most 40,000 devices a second: whatever else the journal has to take at
// the time of a large import waits no longer than a page takes.
const (
	factsPage  = 1000
	factsPause = 25 * time.Millisecond
	factsAgain = 10 * time.Second // the longest wait after a failure
)

// RunFacts appends the facts of every device that changed to the log until ctx ends: at least once, those of one device in the
// order they changed. What changed is known by the revision that every change of a device gets in its own transaction, so a
// crash between that and the append loses nothing. At the first start over an existing installation that is every device.
// One process at a time may run it.
func (r *Registry) RunFacts(ctx context.Context, log FactsLog) error {
	wait := time.Second
	for ctx.Err() == nil {
		err := r.SendFacts(ctx, log)
		switch {
		case ctx.Err() != nil: // stopping is no failure
		case err == nil:
			wait = time.Second
			select {
			case <-ctx.Done():
			case <-r.changed:
			}
		default:
			if wait == time.Second {
				r.log.Warn("rules do not hear of changed devices, trying again", "err", err)
			}
			pause(ctx, wait)
			wait = min(2*wait, factsAgain)
		}
	}
	return nil
}

// SendFacts sends what is not sent yet, once: what RunFacts does whenever something changed. One call at a time. Up to which revision all is sent is
// kept when nothing of it can be on the way.
func (r *Registry) SendFacts(ctx context.Context, log FactsLog) error {
	sent, err := r.store.FactsSent(ctx)
	if err != nil {
		return err
	}
	mark := fleet.FactsMark{Rev: sent + 1}
	for {
		page, last, err := r.store.UnsentFacts(ctx, mark, factsPage)
		if err != nil {
			return err
		}
		now := r.now()
		if now.After(r.told) { // a clock that is set back must not make what is new look old
			r.told = now
		}
		for i := range page {
			f := &page[i]
			f.At, f.Maintenance, f.Stored = r.told, recent(f.Maintenance, now), recent(f.Stored, now)
			for _, text := range []*string{&f.Firmware, &f.Hardware, &f.Batch, &f.Region} {
				*text = clip(*text)
			}
		}
		if len(page) > 0 {
			if err := log.AppendFacts(ctx, page); err != nil {
				return fmt.Errorf("append facts of %d devices: %w", len(page), err)
			}
			r.metrics.facts.Add(float64(len(page)))
			mark = last
		}
		whole := mark.Rev - 1 // the next page may begin with others of that revision
		if len(page) < factsPage && mark.Device != (fleet.DeviceKey{}) {
			whole = mark.Rev
		}
		if whole > sent {
			if err := r.store.MarkFactsSent(ctx, whole); err != nil {
				return err
			}
			sent = whole
		}
		if len(page) < factsPage {
			return nil
		}
		if !pause(ctx, factsPause) {
			return ctx.Err()
		}
	}
}

// ResendFacts sends the facts of all devices again, for rule state that begins anew.
func (r *Registry) ResendFacts(ctx context.Context) error {
	if err := r.store.ResendFacts(ctx); err != nil {
		return err
	}
	r.wakeFacts()
	return nil
}

func (r *Registry) wakeFacts() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// spanKept is how long a span that is over stays among the facts: as long as a device may still upload readings of then.
const spanKept = 31 * 24 * time.Hour

// recent leaves out spans that ended long ago.
func recent(spans []fleet.Span, now time.Time) (out []fleet.Span) {
	for _, s := range spans {
		if s.To.IsZero() || now.Sub(s.To) < spanKept {
			out = append(out, s)
		}
	}
	return out
}

// maxFact is how much of a text goes into the journal. Lists may hold longer ones; no rule can mean them.
const maxFact = 128

func clip(s string) string {
	if len(s) > maxFact {
		return strings.ToValidUTF8(s[:maxFact], "")
	}
	return s
}
