package app

import (
	"context"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/journal"
	"aftercare/internal/registry"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

// tape is the journal of a replay. It keeps nothing: a record of readings is stepped by the rules of its partition as it is
// appended, as if their worker had been waiting for it, and what they find is kept until it is taken.
type tape struct {
	states []*rules.State
	seq    uint64
	out    []fleet.Finding
	found  []foundOn
	use    tapeUse
}

type foundOn struct {
	partition int
	finding   fleet.Finding
}

func newTape(partitions int, set *rules.Set) *tape {
	t := &tape{use: tapeUse{watched: map[string][]byte{}, counted: map[string][]byte{}}}
	for range partitions {
		t.states = append(t.states, rules.NewState(set))
	}
	return t
}

func (t *tape) Partitions() int { return len(t.states) }

func (t *tape) PartitionOf(k fleet.DeviceKey) int { return journal.Partition(k, len(t.states)) }

// Append steps records of readings. The others are what ingest puts aside and replies to commands: nobody reads them here.
func (t *tape) Append(_ context.Context, records []wire.Record) error {
	for i := range records {
		rec := &records[i]
		if rec.Stream != wire.Readings {
			continue
		}
		t.seq++
		rec.Seq = t.seq
		t.out = t.states[rec.Partition].Step(rec, t.out[:0])
		for _, f := range t.out {
			t.found = append(t.found, foundOn{rec.Partition, f})
		}
		t.use.take(rec, t.states[rec.Partition].Counters())
	}
	return nil
}

// take hands over what was found since it was called last, in the order it was found.
func (t *tape) take() []foundOn {
	found := t.found
	t.found = nil
	return found
}

// summarise puts into every partition what the fleet as a whole looks like.
func (t *tape) summarise(ctx context.Context, at time.Time) error {
	if !t.states[0].Set().LooksAtFleet() {
		return nil
	}
	parts := make([]rules.Aggregate, len(t.states))
	for p := range t.states {
		parts[p] = t.states[p].Aggregate()
	}
	sum, _ := rules.Summarise(parts, at)
	records, err := wire.EncodeSummary(len(t.states), sum)
	if err != nil {
		return err
	}
	return t.Append(ctx, records)
}

// replayKeys lists the devices by serial.
func replayKeys(r *registry.Registry) (keys []fleet.DeviceKey) {
	for d := range r.Devices {
		keys = append(keys, d.Key)
	}
	slices.SortFunc(keys, func(a, b fleet.DeviceKey) int { return strings.Compare(a.String(), b.String()) })
	return keys
}
