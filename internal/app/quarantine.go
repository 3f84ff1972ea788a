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
				if q, ok := asideOf(r); ok && f.Selects(&q) {
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

const reasonDatabase = "database" // of a line, not of a payload

// How much one call tries again, and for how long.
const (
	againAtOnce = 100_000
	againWait   = time.Minute
)

func (d doors) Reingest(ctx context.Context, f fleet.QuarantineFilter) (fleet.Reingest, error) {
	ctx, cancel := context.WithTimeout(ctx, againWait)
	defer cancel()
	f.Limit = againAtOnce
	return d.in.Reingest(ctx, d.j, f)
}
