package ingest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

func TestLintNamesEverything(t *testing.T) {
	l := NewLinter(DefaultConfig(), &models[0])
	r := l.Payload(fleet.Telemetry, fleet.FormatJSON, []byte(`{"ts":"1999-01-01T00:00:00Z","temp_c":400,"cylces":7,"door":"open","n":12345678901234567891}`), at("12:00:00"))
	got := make([]string, 0, len(r.Findings))
	for _, f := range r.Findings {
		got = append(got, strings.TrimSpace(fmt.Sprint(f.Error, " ", f.Field, " ", f.Reason, " ", f.Hint)))
	}
	want := []string{"true temp_c range", "true door wrong_type", "true cycles missing_field", `false cylces unknown_kept did you mean "cycles"?`, "false n unknown_kept", "false ts clock_corrected",
		"false n precision send fewer digits, or a string"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if r.Quarantined != 1 || r.Stored != 0 || r.Readings != 1 {
		t.Errorf("%+v", r)
	}
	if d := r.Findings[0].Detail; !strings.Contains(d, "a float in °C from -40 to 120") {
		t.Errorf("%q does not say what is expected", d)
	}
	if r := l.Payload(fleet.Telemetry, fleet.FormatJSON, []byte(`[{"cycles":1},{"cycles":2`), at("12:00:00")); r.Quarantined != 1 || r.Stored != 0 || !r.Findings[len(r.Findings)-1].Error {
		t.Errorf("half a payload: %+v", r)
	}
	if r := l.Payload(fleet.Reply, fleet.FormatJSON, []byte(`{"id":"a","status":"done"}`), at("12:00:00")); r.Quarantined != 0 || r.Stored != 1 {
		t.Errorf("an answer: %+v", r)
	}
	if r := l.Payload(fleet.Event, fleet.FormatJSON, []byte(`{"cod":"E1"}`), at("12:00:00")); r.Quarantined != 1 {
		t.Errorf("an event: %+v", r)
	}
}

// someProfile draws a model that names some of the fields that somePayload sends.
func someProfile(t *rapid.T) fleet.Model {
	m := fleet.Model{ID: "w7", Unknown: fleet.UnknownFields(rapid.IntRange(0, 2).Draw(t, "unknown"))}
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 4, rapid.ID).Draw(t, "fields") {
		m.Fields = append(m.Fields, fleet.FieldSpec{Name: name, Type: fleet.FieldType(rapid.IntRange(0, 3).Draw(t, "type")), HasMin: rapid.Bool().Draw(t, "min"), Min: -1,
			HasMax: rapid.Bool().Draw(t, "max"), Max: 10, Required: rapid.Bool().Draw(t, "required")})
	}
	return m
}

func somePayload(t *rapid.T) string {
	member := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{`"a"`, `"b"`, `"c"`, `"d"`, `"e"`, `"ts"`, `"boot"`, `"seq"`, `"a b"`, `"clock_off_ms"`}).Draw(t, "name") + ":" +
			rapid.SampledFrom([]string{"0", "1", "-5", "7.5", "1e9", "1e999", "true", `"x"`, "null", "[]", `{"z":1}`, "1777896000000", "99999999999999", "-1"}).Draw(t, "value")
	})
	reading := rapid.Custom(func(t *rapid.T) string {
		return "{" + strings.Join(rapid.SliceOfN(member, 0, 5).Draw(t, "members"), ",") + "}"
	})
	return rapid.OneOf(reading, rapid.Custom(func(t *rapid.T) string {
		return "[" + strings.Join(rapid.SliceOfN(reading, 0, 3).Draw(t, "readings"), ",") + "]"
	}), rapid.String()).Draw(t, "payload")
}

// TestLintSaysWhatIngestDoes: as many readings stored, corrected and put aside, whatever the payload and the profile.
func TestLintSaysWhatIngestDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := someProfile(t)
		now := at("12:00:00")
		l := NewLinter(DefaultConfig(), &m)
		in := New(DefaultConfig(), Deps{Journal: &log{}, Devices: known, Models: []fleet.Model{m}, Log: obs.Discard(), Metrics: prometheus.NewRegistry(), Now: func() time.Time { return now }})
		class := rapid.SampledFrom([]fleet.Class{fleet.Telemetry, fleet.Event, fleet.Status, fleet.Reply}).Draw(t, "class")
		for range 3 {
			payload := somePayload(t)
			r := l.Payload(class, fleet.FormatJSON, []byte(payload), now)
			w := newWorker(in)
			w.take(&wire.Inbound{Speaker: washer, Topic: "devices/demo/w7/WM-1/" + class.String(), Payload: []byte(payload)})
			if r.Stored != w.stored || r.Corrected != w.corrected || r.Quarantined != len(w.aside) {
				t.Fatalf("%s: lint says %+v, ingest stores %d (%d corrected) and puts aside %v", payload, r, w.stored, w.corrected, w.aside)
			}
			errors := 0
			for _, f := range r.Findings {
				if f.Error {
					errors++
				}
			}
			if (errors > 0) != (r.Quarantined > 0) {
				t.Fatalf("%s: %d errors and %d put aside", payload, errors, r.Quarantined)
			}
		}
	})
}

// FuzzProfile: whatever a device sends, what is stored has the types, ranges and required fields of the profile and can be read back.
func FuzzProfile(f *testing.F) { // SEC-08
	for _, s := range []string{`{"temp_c":41.5,"cycles":7}`, `{"cycles":7.0,"door":1,"phase":5}`, `[{"cycles":1},{"cycles":"x"}]`, `{"ts":-1,"cycles":1}`, `{"cycles":9223372036854775807}`,
		`{"ts":9223372036854775807,"boot":1,"seq":1,"cycles":1}`, `{"cycles":1,"phase":"a\\\"b"}`} {
		f.Add([]byte(s))
	}
	l := &log{}
	in := New(DefaultConfig(), Deps{Journal: l, Devices: known, Models: models, Log: obs.Discard(), Metrics: prometheus.NewRegistry(), Now: func() time.Time { return at("12:00:00") }})
	f.Fuzz(func(t *testing.T, payload []byte) {
		w := newWorker(in)
		w.take(&wire.Inbound{Speaker: washer, Topic: "devices/demo/w7/WM-1/telemetry", Payload: payload})
		if w.stored+len(w.aside) == 0 {
			t.Fatal("neither stored nor put aside")
		}
		var r fleet.Reading
		n := 0
		for rest := w.lines; len(rest) > 0; n++ {
			var err error
			if rest, err = wire.NextLine(rest, &r); err != nil {
				t.Fatalf("%q: %v", w.lines, err)
			}
			cycles := false
			for _, x := range r.Fields {
				if spec := models[0].Field(x.Name); spec != nil {
					v, _ := x.Value.Number()
					if x.Value.Type != spec.Type || spec.HasMin && v < spec.Min || spec.HasMax && v > spec.Max {
						t.Fatalf("%s is %+v", x.Name, x.Value)
					}
				}
				cycles = cycles || x.Name == "cycles"
			}
			if !cycles || r.Time.After(at("12:02:00")) || r.Device != washer {
				t.Fatalf("stored %+v", r)
			}
		}
		if n != w.stored {
			t.Fatalf("%d lines of %d readings", n, w.stored)
		}
	})
}
