package app

import (
	"context"
	"encoding/json"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/ingest"
	"aftercare/internal/journal"
	"aftercare/internal/store"
	"aftercare/internal/web"
	"aftercare/internal/wire"
)

// doors is what did not get in, how much does, and how good it is.
type doors struct {
	in *ingest.Ingest
	j  *journal.Journal
	st *store.Store
}

func (d doors) Refusals() ([]fleet.Refusal, map[string]uint64) { return d.in.Refusals() }

func (d doors) Pulse() web.Pulse {
	perMinute, last := d.in.Pulse(time.Now())
	return web.Pulse{PerMinute: perMinute, LastReading: last}
}

func (d doors) Quality(ctx context.Context, tenant, model string, since time.Time) ([]fleet.Quality, error) {
	return d.st.Quality(ctx, tenant, model, since)
}

// quarantineWindow is how many records are looked at in one step of going back in time.
const quarantineWindow = 500

// Quarantined goes back from the newest record until enough of them match.
func (d doors) Quarantined(ctx context.Context, f fleet.QuarantineFilter) ([]fleet.Quarantined, error) {
	if f.Limit == 0 {
		f.Limit = 100
	}
	last, err := d.j.Tail(ctx, wire.Quarantine, 1)
	if err != nil || len(last) == 0 {
		return nil, err
	}
	end := last[0].Seq + 1 // first sequence that is not looked at any more
	if f.Before > 0 {
		end = min(end, f.Before)
	}
	var out []fleet.Quarantined
	for end > 1 && len(out) < f.Limit {
		from := uint64(1)
		if end > quarantineWindow {
			from = end - quarantineWindow
		}
		records, err := d.j.Scan(ctx, wire.Quarantine, from, quarantineWindow)
		if err != nil {
			return nil, err
		}
		if len(records) == 0 || records[0].Seq >= end && from == 1 {
			break
		}
		for i := len(records) - 1; i >= 0 && len(out) < f.Limit; i-- {
			if r := records[i]; r.Seq < end {
				if q, ok := asideOf(r); ok && selects(f, &q) {
					out = append(out, q)
				}
			}
		}
		end = from
	}
	return out, nil
}

// asideOf reads a record of quarantine; false for one that cannot be read, which nobody can do anything about here.
func asideOf(r wire.Record) (fleet.Quarantined, bool) {
	var q fleet.Quarantined
	err := json.Unmarshal(r.Body, &q)
	q.Seq = r.Seq
	return q, err == nil
}

func selects(f fleet.QuarantineFilter, q *fleet.Quarantined) bool {
	return q.Device.Tenant == f.Tenant && (f.Model == "" || q.Model == f.Model) && (f.Serial == "" || q.Device.Serial == f.Serial) &&
		(f.Firmware == "" || q.Firmware == f.Firmware) && (f.Reason == "" || q.Reason == f.Reason) && !q.At.Before(f.Since)
}

// How much one call of Reingest tries, and how long it waits for the journal.
const (
	againAtOnce = 1000
	againWait   = 30 * time.Second
)

// Reingest hands payloads to ingest once more, the oldest first. What is stored then is taken out of quarantine; when the process ends in
// between it is tried another time, which changes nothing: it gives the same points.
func (d doors) Reingest(ctx context.Context, f fleet.QuarantineFilter) (fleet.Reingest, error) {
	var done fleet.Reingest
	ctx, cancel := context.WithTimeout(ctx, againWait)
	defer cancel()
	for from := uint64(1); ; {
		records, err := d.j.Scan(ctx, wire.Quarantine, from, quarantineWindow)
		if err != nil || len(records) == 0 {
			return done, err
		}
		from = records[len(records)-1].Seq + 1
		for _, r := range records {
			q, ok := asideOf(r)
			if !ok || !selects(f, &q) {
				continue
			}
			if done.Tried == againAtOnce {
				done.Remaining++
				continue
			}
			done.Tried++
			stored, err := d.again(ctx, &q)
			if err != nil {
				return done, err
			}
			if !stored {
				done.StillBad++
				continue
			}
			if err := d.j.Delete(ctx, wire.Quarantine, q.Seq); err != nil {
				return done, err
			}
			done.Stored++
		}
	}
}

// again tries one payload. Lines that the database refused, or that were damaged on the disk, are no payloads of a device, and of some
// payloads only the beginning was kept.
func (d doors) again(ctx context.Context, q *fleet.Quarantined) (stored bool, err error) {
	if q.Reason == reasonDatabase || q.Reason == journal.ReasonDamaged || q.Topic == "" || q.Cut > 0 {
		return false, nil
	}
	heard := make(outcome, 1)
	err = d.in.Submit(ctx, wire.Inbound{Door: "again", Trusted: true, Topic: q.Topic, Payload: q.Payload, ContentType: q.ContentType, Ack: heard, Received: q.At, Again: true})
	if err != nil {
		return false, err
	}
	select {
	case o := <-heard:
		if o == wire.Failed {
			return false, fleet.Errorf(fleet.CodeBusy, "the journal does not take anything just now")
		}
		return o == wire.Stored, nil
	case <-ctx.Done():
		return false, fleet.Errorf(fleet.CodeBusy, "the journal takes too long: %w", ctx.Err())
	}
}

const reasonDatabase = "database" // of a line, not of a payload

// outcome waits for what becomes of one message.
type outcome chan wire.Outcome

func (o outcome) Done(_ uint64, result wire.Outcome) { o <- result }
