package ingest

import (
	"context"
	"strings"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Record queues readings of our own, presence, for the next commit, and returns without waiting for it; nobody is
// acknowledged. Each needs a device and class Presence; the model is looked up and a time set where they are missing. It
// waits while the queue is full. On an error (fleet.CodeInvalid, ErrClosed, ctx ended) none or only the first of them are
// queued; recording them again is harmless.
func (in *Ingest) Record(ctx context.Context, readings []fleet.Reading) error {
	w := in.workers.Get().(*worker)
	defer in.workers.Put(w)
	for i := range readings {
		r := readings[i]
		if r.Model == "" {
			if d, ok := in.deps.Devices.Device(r.Device); ok {
				r.Model = d.Model
			}
		}
		if r.Time.IsZero() {
			r.Time = in.deps.Now()
		}
		if err := recordable(&r); err != nil {
			return err
		}
		w.begin(in.deps.Now())
		w.partition = in.deps.Journal.PartitionOf(r.Device)
		w.stored = 1
		w.lines = wire.AppendReading(w.lines, &r)
		if err := in.enqueue(ctx, w, &wire.Inbound{Door: doorSystem}); err != nil {
			return err
		}
	}
	return nil
}

// recordable refuses what could not be read back from the journal.
func recordable(r *fleet.Reading) error {
	if r.Class != fleet.Presence || !fleet.ValidName(r.Device.Tenant) || !fleet.ValidName(r.Device.Serial) || !fleet.ValidName(r.Model) || len(r.Fields) == 0 {
		return fleet.Errorf(fleet.CodeInvalid, "a reading of class %s of %s, model %q, with %d fields cannot be recorded", r.Class, r.Device, r.Model, len(r.Fields))
	}
	for _, f := range r.Fields {
		if !wire.ValidField(f.Name) || f.Value.Type == fleet.String && strings.ContainsAny(f.Value.Str, "\n\r") {
			return fleet.Errorf(fleet.CodeInvalid, "field %q of a presence reading of %s cannot be recorded", f.Name, r.Device)
		}
	}
	return nil
}
