package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

// replayFact is what somebody entered about a device while it was replayed: a line of JSON.
type replayFact struct {
	Time      time.Time `json:"time"` // of entering
	Device    string    `json:"device"`
	Fact      string    `json:"fact"` // service or stored
	Component string    `json:"component"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"` // zero: until further notice
	line      int
}

// readReplayFacts reads facts, one a line, and returns them in order of time. A nil in has none.
func readReplayFacts(in io.Reader) (out []replayFact, err error) {
	if in == nil {
		return nil, nil
	}
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		x := replayFact{line: n}
		if err := json.Unmarshal(lines.Bytes(), &x); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if x.Time.IsZero() || x.Fact != "service" && x.Fact != "stored" {
			return nil, fmt.Errorf("line %d: want a time and the fact \"service\" or \"stored\"", n)
		}
		out = append(out, x)
	}
	slices.SortStableFunc(out, func(a, b replayFact) int { return a.Time.Compare(b.Time) })
	return out, lines.Err()
}

// enter tells the registry what was entered until now.
func (r *replay) enter(ctx context.Context) error {
	for len(r.facts) > 0 && !r.facts[0].Time.After(r.now) {
		x := &r.facts[0]
		r.facts = r.facts[1:]
		key := fleet.DeviceKey{Tenant: r.options.Tenant, Serial: x.Device}
		var err error
		if x.Fact == "service" {
			err = errors.Join(r.registry.Serviced(ctx, key, fleet.Service{Component: x.Component, At: x.Time, By: "owner"}), r.life.serviced(ctx, x))
		} else {
			err = r.registry.AddSpan(ctx, key, registry.Storage, fleet.Span{From: x.From, To: x.To})
		}
		if err != nil {
			return fmt.Errorf("the facts, line %d: %w", x.line, err)
		}
		r.changed = true
	}
	return nil
}

// know makes records of what has changed of devices: all of it at first.
func (r *replay) know(ctx context.Context) error {
	if !r.changed {
		return nil
	}
	r.changed = false
	if err := r.registry.WriteObserved(ctx); err != nil {
		return err
	}
	return r.registry.SendFacts(ctx, r)
}

// AppendFacts is the journal as the registry sees it.
func (r *replay) AppendFacts(ctx context.Context, facts []fleet.Facts) error {
	records, err := factsRecords(facts, r.now, r.tape.PartitionOf)
	if err != nil {
		return err
	}
	return r.tape.Append(ctx, records)
}
