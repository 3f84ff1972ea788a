package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"aftercare/internal/api"
	"aftercare/internal/app"
	"aftercare/internal/config"
	"aftercare/internal/fleet"
)

var update = flag.Bool("update", false, "write the golden files anew")

const explainPack = `pack: x
applies: {category: washing-machine}
rules:
  - id: slow
    kind: maintenance
    severity: due
    limits: {usual: {value: 70, unit: s}}
    when: avg(drain_s, "3h") > limits.usual and (vibration_mm_s > 5 or count(drain_s, "3h") >= 3)
    for: 2h
    clear: drain_s < 60
    clear_for: 1h
    text:
      en: {what: "{{.Thing}} is slow.", why: It says so., otherwise: It waits., do: Wait., clear: "{{.Thing}} is fine."}
      de: {what: "{{.Thing}} ist langsam.", why: Es sagt es., otherwise: Es wartet., do: Warten., clear: "{{.Thing}} ist in Ordnung."}
`

// TestExplainSaysWhy compares what is printed with the files beside it (go test -update writes them).
func TestExplainSaysWhy(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte(explainPack), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Rules.Dir = dir
	files, problems := app.LoadFiles(cfg)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	t0 := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	key := fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}
	facts := fleet.Facts{Device: key, Model: "washer-w7"}
	slow := func(n int, value float64) (out []api.PastReading) {
		for i := range n {
			out = append(out, api.PastReading{At: t0.Add(time.Duration(i) * 10 * time.Minute), Class: "telemetry", Fields: map[string]any{"drain_s": value, "cycles": 812.0}})
		}
		return out
	}
	own, barred := facts, facts
	own.Limits = map[string]float64{"slow.usual": 110}
	barred.Maintenance = []fleet.Span{{From: t0, To: t0.Add(24 * time.Hour)}}
	for _, c := range []struct {
		name string
		past api.DevicePast
		at   time.Time
	}{
		{"nothing-sent", api.DevicePast{Facts: facts}, t0},
		{"for-runs", api.DevicePast{Facts: facts, Readings: slow(7, 94)}, t0.Add(time.Hour)},
		{"open", api.DevicePast{Facts: facts, Readings: slow(20, 94)}, t0.Add(190 * time.Minute)},
		{"own-limit", api.DevicePast{Facts: own, Readings: slow(20, 94)}, t0.Add(190 * time.Minute)},
		{"maintenance", api.DevicePast{Facts: barred, Readings: slow(20, 94)}, t0.Add(190 * time.Minute)},
	} {
		c.past.Rules = files.Rules.Hash()
		var text, js bytes.Buffer
		if err := explain(&text, files, &c.past, key, "slow", c.at, false); err != nil {
			t.Fatal(c.name, err)
		}
		if err := explain(&js, files, &c.past, key, "slow", c.at, true); err != nil || !json.Valid(js.Bytes()) {
			t.Errorf("%s: not JSON (%v)\n%s", c.name, err, js.Bytes())
		}
		version := regexp.MustCompile(`version [0-9a-f]{12}`)
		got := version.ReplaceAll(text.Bytes(), []byte("version V"))
		golden := filepath.Join("testdata", "explain", c.name+".txt")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil { //nolint:gosec // a golden file is for everybody
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s: want\n%s\ngot\n%s", c.name, want, got)
		}
	}
	if err := explain(&bytes.Buffer{}, files, &api.DevicePast{Facts: facts}, key, "slwo", t0, false); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("an unknown rule: %v", err)
	}
}

// TestExplainKnowsEveryShippedRule: on a device of which only facts are known, and on one that has sent a number in every field.
func TestExplainKnowsEveryShippedRule(t *testing.T) {
	files, problems := app.LoadFiles(config.Default())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	t0 := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	for _, r := range files.Rules.Rules() {
		for _, id := range r.Models {
			m, err := modelOf(files, id)
			if err != nil {
				t.Fatal(err)
			}
			key := fleet.DeviceKey{Tenant: "demo", Serial: "X"}
			fields := map[string]any{}
			for _, f := range m.Fields {
				switch f.Type {
				case fleet.Boolean:
					fields[f.Name] = true
				case fleet.String:
					fields[f.Name] = "x"
				default:
					fields[f.Name] = 1.0
				}
			}
			past := api.DevicePast{Facts: fleet.Facts{Device: key, Model: id}}
			for range 2 {
				var out bytes.Buffer
				if err := explain(&out, files, &past, key, r.ID, t0.Add(time.Hour), true); err != nil {
					t.Fatal(r.ID, err)
				}
				var x explanation
				if err := json.Unmarshal(out.Bytes(), &x); err != nil || x.When == nil && len(x.Levels) == 0 || len(x.Gates) < 2 {
					t.Errorf("%s of %s: %v\n%s", r.ID, id, err, out.Bytes())
				}
				past.Readings = []api.PastReading{{At: t0, Class: "telemetry", Fields: fields}}
			}
		}
	}
}
