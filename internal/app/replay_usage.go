package app

import (
	"bytes"
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
	"aftercare/internal/wire"
)

// tapeUse is what history would know of how much devices were used: of each the last line of counters, which comes once a day, and
// of those that somebody was told of the last telemetry.
type tapeUse struct {
	watched map[string][]byte // by serial
	counted map[string][]byte
}

func (u *tapeUse) watch(serial string) {
	if _, ok := u.watched[serial]; !ok {
		u.watched[serial] = nil
	}
}

// take keeps the lines of a record.
func (u *tapeUse) take(rec *wire.Record, counters []byte) {
	for len(counters) > 0 {
		var line []byte
		line, counters, _ = bytes.Cut(counters, []byte("\n"))
		u.counted[string(serialOf(line))] = bytes.Clone(line)
	}
	if len(u.watched) == 0 || rec.Kind != wire.KindReadings {
		return
	}
	for batch := rec.Body; len(batch) > 0; {
		var line []byte
		line, batch, _ = bytes.Cut(batch, []byte("\n"))
		serial := serialOf(line)
		if old, ok := u.watched[string(serial)]; ok && !bytes.Contains(line[:bytes.IndexByte(line, ' ')+1], []byte(",model=")) {
			u.watched[string(serial)] = append(old[:0], line...)
		}
	}
}

// serialOf is the device of a line, empty when it is none.
func serialOf(line []byte) []byte {
	_, rest, _ := bytes.Cut(line, []byte(",serial="))
	return rest[:max(bytes.IndexByte(rest, ','), 0)]
}

// replayUsage answers from them as history does.
type replayUsage struct{ r *replay }

// Use is part of cases.Usage.
func (u replayUsage) Use(_ context.Context, key fleet.DeviceKey, _, counter string) (value float64, at time.Time, ok bool, err error) {
	switch {
	case counter == "":
		link, ok := u.r.presence.State(key)
		return 0, link.Heard, ok && !link.Heard.IsZero(), nil
	case strings.Contains(counter, "("):
		value, at, ok = countedIn(u.r.tape.use.counted[key.Serial], counter)
		return value, at, ok, nil
	}
	var reading fleet.Reading
	line := u.r.tape.use.watched[key.Serial]
	if len(line) == 0 {
		return 0, at, false, nil
	}
	if _, err := wire.NextLine(line, &reading); err != nil {
		return 0, at, false, err
	}
	for i := range reading.Fields {
		f := &reading.Fields[i]
		switch {
		case f.Name != counter:
		case f.Value.Type == fleet.Float:
			return f.Value.Float, reading.Time, true, nil
		case f.Value.Type == fleet.Integer:
			return float64(f.Value.Int), reading.Time, true, nil
		}
	}
	return 0, at, false, nil
}

// countedIn reads one counter of a line of them.
func countedIn(line []byte, counter string) (value float64, at time.Time, ok bool) {
	var one []byte
	one = wire.AppendCounters(one, &wire.Counters{Values: []wire.Counter{{Name: counter, Value: 1}}})
	name := one[bytes.IndexByte(one, ' ')+1 : bytes.LastIndex(one, []byte("=1 "))+1]
	for _, before := range []string{" ", ","} {
		if i := bytes.Index(line, append([]byte(before), name...)); i >= 0 {
			text, _, _ := bytes.Cut(line[i+1+len(name):], []byte(","))
			text, _, _ = bytes.Cut(text, []byte(" "))
			v, err := strconv.ParseFloat(string(text), 64)
			ns, err2 := strconv.ParseInt(string(line[bytes.LastIndexByte(line, ' ')+1:]), 10, 64)
			return v, time.Unix(0, ns).UTC(), err == nil && err2 == nil && !math.IsNaN(v)
		}
	}
	return 0, at, false
}

// replayParts is what models are made of and rules are about.
type replayParts struct {
	*registry.Registry
	component func(rule string) string
}

// Component is part of cases.Parts.
func (p replayParts) Component(rule string) string { return p.component(rule) }

// replayCases is the cases that are built after the incidents.
type replayCases struct{ r *replay }

// Adopt, Release and Updated are incidents.Cases.
func (c replayCases) Adopt(ctx context.Context, tenant, caseID, incidentID, actor, why string, at time.Time) error {
	return c.r.cases.Adopt(ctx, tenant, caseID, incidentID, actor, why, at)
}

func (c replayCases) Release(ctx context.Context, tenant, caseID, actor, why string, at time.Time) error {
	return c.r.cases.Release(ctx, tenant, caseID, actor, why, at)
}

func (c replayCases) Updated(ctx context.Context, tenant, caseID, firmware string, at time.Time) error {
	return c.r.cases.Updated(ctx, tenant, caseID, firmware, at)
}

// lookForIncidents does so once an hour of a time in which cases change, else once a day.
func (r *replay) lookForIncidents(ctx context.Context) error {
	since := r.now.Sub(r.passed)
	if since < time.Hour || !r.outbox.changed && since < 24*time.Hour {
		return nil
	}
	r.passed, r.outbox.changed = r.now, false
	if err := r.incident.Pass(ctx, r.now); err != nil {
		return err
	}
	return r.settle(ctx)
}
