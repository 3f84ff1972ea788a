package rules

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// testModels are small profiles of one category and one of another.
func testModels() []fleet.Model {
	field := func(name string, t fleet.FieldType, unit string, lim ...float64) fleet.FieldSpec {
		f := fleet.FieldSpec{Name: name, Type: t, Unit: unit}
		if len(lim) == 2 {
			f.Min, f.Max, f.HasMin, f.HasMax = lim[0], lim[1], true, true
		}
		return f
	}
	washer := fleet.Model{ID: "washer-w7", Category: "washing-machine", Interval: 10 * time.Minute, Fields: []fleet.FieldSpec{
		field("drain_s", fleet.Float, "s", 0, 900), field("vibration_mm_s", fleet.Float, "mm/s"), field("cycles", fleet.Integer, ""),
		field("door_open", fleet.Boolean, ""), field("mode", fleet.String, ""), field("motor.temp", fleet.Float, "°C"),
	}}
	washer.Components = []fleet.Component{
		{Name: "drain-pump", Counter: "cycles", Life: 3000}, {Name: "door-lock", Counter: "starts(door_open)"},
		{Name: "inlet", Counter: "total(drain_s)", Life: 1e5}, {Name: "light", Counter: "hours(door_open)", Life: 1000}, {Name: "foot"},
	}
	plain := fleet.Model{ID: "washer-w1", Category: "washing-machine", Interval: 10 * time.Minute, Fields: []fleet.FieldSpec{
		field("drain_s", fleet.Float, "s"),
	}}
	fridge := fleet.Model{ID: "fridge-f2", Category: "refrigerator", Interval: 10 * time.Minute, Fields: []fleet.FieldSpec{
		field("temp_c", fleet.Float, "°C", -40, 60),
	}}
	return []fleet.Model{washer, plain, fridge}
}

const texts = `{en: {what: w, why: y, otherwise: o, do: d, clear: c}, de: {what: w, why: y, otherwise: o, do: d, clear: c}}`

// packYAML makes a pack of one-line rules: "id | key: value | key: value".
func packYAML(rules ...string) string {
	var b strings.Builder
	b.WriteString("pack: test\napplies: {category: washing-machine}\n")
	if len(rules) == 0 {
		return b.String() + "rules: []\n"
	}
	b.WriteString("rules:\n")
	for _, r := range rules {
		parts := strings.Split(r, " | ")
		fmt.Fprintf(&b, "  - id: %s\n    kind: fault\n    severity: due\n    text: %s\n", parts[0], texts)
		for _, p := range parts[1:] {
			fmt.Fprintf(&b, "    %s\n", p)
		}
	}
	return withoutSeverity(b.String())
}

func loadText(pack string) (*Set, []fleet.Problem) {
	return Load(fstest.MapFS{"test.yaml": {Data: []byte(pack)}}, testModels())
}

func loadPack(t testing.TB, rules ...string) *Set {
	t.Helper()
	set, problems := loadText(packYAML(rules...))
	for _, p := range problems {
		t.Errorf("unexpected problem: %s", p)
	}
	if t.Failed() {
		t.FailNow()
	}
	return set
}

var t0 = time.UnixMilli(1_700_000_000_000).UTC()

// life is one device's: it makes records and collects findings.
type life struct {
	t    testing.TB
	s    *State
	seq  int64
	lag  time.Duration // receipt minus reading time
	last time.Time     // receipt time of the last record
	all  []fleet.Finding
}

func newLife(t testing.TB, rules ...string) *life {
	t.Helper()
	return &life{t: t, s: NewState(loadPack(t, rules...)), lag: time.Second}
}

// fields parses "drain_s=5 door_open=true mode=eco cycles=3i".
func fields(s string) (out []fleet.Field) {
	for _, kv := range strings.Fields(s) {
		k, v, _ := strings.Cut(kv, "=")
		f := fleet.Field{Name: k}
		switch {
		case v == "true" || v == "false":
			f.Value.Type = fleet.Boolean
			if v == "true" {
				f.Value.Int = 1
			}
		case strings.HasSuffix(v, "i"):
			f.Value.Type = fleet.Integer
			_, _ = fmt.Sscan(strings.TrimSuffix(v, "i"), &f.Value.Int)
		default:
			if _, err := fmt.Sscan(v, &f.Value.Float); err != nil {
				f.Value = fleet.Value{Type: fleet.String, Str: v}
			}
		}
		out = append(out, f)
	}
	return out
}

func (l *life) reading(class fleet.Class, after time.Duration, fs string) fleet.Reading {
	l.seq++
	return fleet.Reading{
		Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, Model: "washer-w7", Class: class,
		Time: t0.Add(after), Boot: 1, Seq: l.seq, HasSeq: true, Fields: fields(fs),
	}
}

func (l *life) step(rec wire.Record) []fleet.Finding {
	l.last = rec.Received
	out := l.s.Step(&rec, nil)
	l.all = append(l.all, out...)
	return out
}

// send steps one telemetry reading, received lag after it was made.
func (l *life) send(after time.Duration, fs string) []fleet.Finding {
	return l.sendReading(l.reading(fleet.Telemetry, after, fs))
}

func (l *life) event(after time.Duration, code string) []fleet.Finding {
	return l.sendReading(l.reading(fleet.Event, after, "code="+code))
}

func (l *life) sendReading(r fleet.Reading) []fleet.Finding {
	return l.step(wire.Record{Kind: wire.KindReadings, Received: r.Time.Add(l.lag), Body: wire.AppendReading(nil, &r)})
}

func (l *life) tick(after time.Duration) []fleet.Finding {
	return l.step(wire.Record{Kind: wire.KindTick, Received: t0.Add(after)})
}

// want compares findings with "rule phase" words.
func want(t testing.TB, got []fleet.Finding, expect ...string) {
	t.Helper()
	have := make([]string, 0, len(got))
	for _, f := range got {
		have = append(have, f.Rule+" "+string(f.Phase))
	}
	if strings.Join(have, ", ") != strings.Join(expect, ", ") {
		t.Errorf("findings [%s], want [%s]", strings.Join(have, ", "), strings.Join(expect, ", "))
	}
}

// withoutSeverity takes the severity away that packYAML gives every rule, from those that have levels.
func withoutSeverity(pack string) string {
	parts := strings.Split(pack, "  - id: ")
	for i, p := range parts {
		if strings.Contains(p, "levels:") {
			parts[i] = strings.Replace(p, "    severity: due\n", "", 1)
		}
	}
	return strings.Join(parts, "  - id: ")
}
