package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"aftercare/internal/cases"
	"aftercare/internal/fleet"
	"aftercare/internal/history"
	"aftercare/internal/journal"
	"aftercare/internal/store"
	"aftercare/internal/wire"
)

// The adapters turn what one part offers into what another asks for. They hold no state and decide nothing.

// readings is the journal as the rules see it.
type readings struct{ j *journal.Journal }

func (r readings) OpenReadings(ctx context.Context, partition int, from uint64) (wire.Source, error) {
	return r.j.Open(ctx, wire.Readings, partition, "", from)
}

func (r readings) First(ctx context.Context) (uint64, time.Time, error) {
	return r.j.First(ctx, wire.Readings)
}

// Summarise puts a summary of the fleet into every partition.
func (r readings) Summarise(ctx context.Context, sum fleet.Summary) error {
	records, err := wire.EncodeSummary(r.j.Partitions(), sum)
	if err != nil {
		return err
	}
	return r.j.Append(ctx, records)
}

// past is what the rules are made from when their snapshots are lost.
type past struct {
	*history.History
	s *server
}

func (p past) Facts(ctx context.Context, partition int, each func(fleet.Facts) error) error {
	const page = 500
	for mark := (fleet.FactsMark{}); ; {
		list, last, err := p.s.store.UnsentFacts(ctx, mark, page) // all of them: since the beginning
		if err != nil {
			return err
		}
		for i := range list {
			if p.s.journal.PartitionOf(list[i].Device) != partition {
				continue
			}
			if err := each(list[i]); err != nil {
				return err
			}
		}
		if len(list) < page {
			return nil
		}
		mark = last
	}
}

// findings is where the rules put what they found.
type findings struct {
	append func(context.Context, []wire.Record) error
	log    *slog.Logger
}

// Emit appends findings. One that cannot be written is said loudly and passed over: the partition would stand still before it for ever.
func (f findings) Emit(ctx context.Context, partition int, fs []fleet.Finding) error {
	records := make([]wire.Record, 0, len(fs))
	for i := range fs {
		r, err := wire.EncodeFinding(partition, fs[i])
		if err != nil {
			f.log.Error("A FINDING CANNOT BE WRITTEN; nobody is told of it", "device", fs[i].Device, "rule", fs[i].Rule, "err", err)
			continue
		}
		records = append(records, r)
	}
	return f.append(ctx, records)
}

// snapshots is where presence keeps its state.
type snapshots struct{ j *journal.Journal }

func (s snapshots) Save(ctx context.Context, key string, body []byte) error {
	return s.j.SaveSnapshot(ctx, key, body)
}

func (s snapshots) Load(ctx context.Context, key string) ([]byte, bool, error) {
	return s.j.LoadSnapshot(ctx, key)
}

func (f findings) Count(ctx context.Context, partition int, at time.Time, lines []byte) error {
	return f.append(ctx, []wire.Record{{Stream: wire.Findings, Partition: partition, Kind: wire.KindCounters, Received: at, Body: lines}})
}

// ruleState is where the rules keep theirs.
type ruleState struct{ j *journal.Journal }

func (r ruleState) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	return r.j.LoadSnapshotRevision(ctx, key)
}

func (r ruleState) Save(ctx context.Context, key string, body []byte) error {
	return r.j.SaveSnapshot(ctx, key, body)
}

func (r ruleState) Swap(ctx context.Context, key string, body []byte, revision uint64) (uint64, error) {
	return r.j.SwapSnapshot(ctx, key, body, revision)
}

func (r ruleState) Keys(ctx context.Context, prefix string) ([]string, error) {
	return r.j.SnapshotKeys(ctx, prefix)
}

func (r ruleState) Delete(ctx context.Context, key string) error { return r.j.DeleteSnapshot(ctx, key) }

// clocks is the journal as ingest sees it: where it keeps which devices' clocks are wrong.
type clocks struct{ j *journal.Journal }

func (c clocks) Save(ctx context.Context, key string, body []byte) error {
	return c.j.SaveClocks(ctx, key, body)
}

func (c clocks) Load(ctx context.Context, key string) ([]byte, bool, error) {
	return c.j.LoadClocks(ctx, key)
}

// notices is the changes stream as the relay sees it.
type notices struct{ j *journal.Journal }

func (n notices) Append(ctx context.Context, list []fleet.Notice) error {
	records := make([]wire.Record, 0, len(list))
	for _, x := range list {
		body, err := json.Marshal(x)
		if err != nil {
			return fmt.Errorf("encode notice %s: %w", x.ID, err)
		}
		records = append(records, wire.Record{Stream: wire.Changes, Partition: n.j.PartitionOf(x.Device), Kind: wire.KindChange, Received: time.Now(), ID: x.ID, Body: body})
	}
	return n.j.Append(ctx, records)
}

// found is the findings stream as cases see it. A record that cannot be read is said loudly and passed over: it would end every
// start of the process in the same place.
type found struct {
	src wire.Source
	log *slog.Logger
}

func (f found) Next(ctx context.Context) ([]fleet.Finding, func(context.Context) error, error) {
	records, err := f.src.Fetch(ctx, 256)
	if err != nil {
		return nil, nil, err
	}
	out := make([]fleet.Finding, 0, len(records))
	for _, r := range records {
		if r.Kind != wire.KindFinding {
			continue // counters, for history
		}
		x, err := wire.DecodeFinding(r)
		if err != nil {
			f.log.Error("A FINDING CANNOT BE READ; no case comes of it", "seq", r.Seq, "err", err)
			continue
		}
		out = append(out, x)
	}
	last := records[len(records)-1].Seq
	return out, func(ctx context.Context) error { return f.src.Commit(ctx, last) }, nil
}

// desk is what agents do, as the pages see it.
type desk struct{ c *cases.Cases }

func (d desk) Do(ctx context.Context, a fleet.CaseAct) error { return d.c.Do(ctx, a) }

// Can asks the table of states.
func (d desk) Can(state fleet.CaseState, verb fleet.CaseVerb) bool {
	_, err := cases.Next(state, verb, "agent:")
	return err == nil
}

func (d desk) Acknowledge(ctx context.Context, tenant, caseID, actor string) error {
	return d.c.Acknowledge(ctx, cases.Action{Tenant: tenant, CaseID: caseID, Actor: actor, At: time.Now()})
}

func (d desk) Resolve(ctx context.Context, tenant, caseID, actor, outcome, note string) error {
	return d.c.Resolve(ctx, cases.Action{Tenant: tenant, CaseID: caseID, Actor: actor, Note: note, At: time.Now()}, fleet.Outcome(outcome))
}

func (d desk) Comment(ctx context.Context, tenant, caseID, actor, text string) error {
	return d.c.Comment(ctx, cases.Action{Tenant: tenant, CaseID: caseID, Actor: actor, Note: text, At: time.Now()})
}

// waking is the store as cases see it; a commit wakes those who wait for outbox rows.
type waking struct {
	*store.Store
	s *server
}

func (w waking) Commit(ctx context.Context, changes ...fleet.Change) error {
	if err := w.Store.Commit(ctx, changes...); err != nil {
		return err
	}
	w.s.outreach.Wake()
	w.s.relay.Wake()
	return nil
}
