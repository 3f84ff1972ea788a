package app

import (
	"context"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/journal"
	"aftercare/internal/wire"
)

// factsLog is the readings stream as the registry sees it: what rules may know of devices, beside what these send.
type factsLog struct{ j *journal.Journal }

// factsBytes is how large a record of facts gets: many devices share one, and an external journal takes 1 MiB by default.
const factsBytes = 448 << 10

func (l factsLog) AppendFacts(ctx context.Context, facts []fleet.Facts) error {
	records, err := factsRecords(facts, time.Now(), l.j.PartitionOf)
	if err != nil {
		return err
	}
	return l.j.Append(ctx, records)
}

// factsRecords packs facts into records, those of one device in their order.
func factsRecords(facts []fleet.Facts, at time.Time, partitionOf func(fleet.DeviceKey) int) (out []wire.Record, err error) {
	open := map[int]int{} // by partition: which record of out is being filled
	for i := range facts {
		p := partitionOf(facts[i].Device)
		one, err := wire.EncodeFacts(p, at, facts[i])
		if err != nil {
			return nil, err
		}
		k, ok := open[p]
		if !ok || len(out[k].Body)+len(one.Body) > factsBytes {
			open[p] = len(out)
			out = append(out, one)
			continue
		}
		out[k].Body = append(out[k].Body, one.Body...) // lines, one a device
	}
	return out, nil
}

func (s *server) runFacts(ctx context.Context) error {
	return s.registry.RunFacts(ctx, factsLog{s.journal})
}

// behindStart runs f once the journal says that this process began to receive.
func (s *server) behindStart(f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-s.ingest.Started():
			return f(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}
