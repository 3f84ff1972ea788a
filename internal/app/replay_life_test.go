package app

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

const replayHomes = `id,household,rank,name,locale,zone,preferences,consents
h1-a,h1,0,Person 1-1,de-DE,Europe/Berlin,maintenance ntfy digest;tip ntfy never,tips;review
h1-b,h1,1,Person 1-2,en-GB,Europe/London,,
`

// TestReplayPeople: a household of the list hears as it wishes, its members open and answer messages, and a service that somebody
// entered is answered as fixed and watched. All of it is the same the second time.
func TestReplayPeople(t *testing.T) {
	list, lines := written(2, 10) // the second one clogs
	list = strings.NewReplacer("serial,model,firmware,region", "serial,model,firmware,region,owner", ",DE\n", ",DE,h1-a\n").Replace(list)
	facts := `{"time":"2026-01-14T09:00:00Z","device":"WM-0001","fact":"service","component":"drain-pump"}`
	run := func() (string, map[string]int) {
		cfg := config.Default()
		cfg.Data = filepath.Join(t.TempDir(), "data")
		files, problems := LoadFiles(cfg)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		var told, log bytes.Buffer
		if _, err := Replay(t.Context(), ReplayOptions{Config: cfg, Files: files, Tenant: "demo", Messages: strings.NewReader(lines), Devices: strings.NewReader(list),
			People: strings.NewReader(replayHomes), Facts: strings.NewReader(facts), Sent: &told, Log: &log}); err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for line := range strings.Lines(told.String()) {
			var m ReplayMessage
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			if m.State == "sent" && (m.Home != "h1" || m.Zone == "" || m.Local != m.At.In(mustZone(t, m.Zone)).Format("2006-01-02 15:04")) {
				t.Errorf("household and time of %s", line)
			}
			seen[m.State]++
			seen[m.Person+" "+m.Did]++
		}
		return told.String(), seen
	}
	told, seen := run()
	if seen["asked"] == 0 || seen["sent"] == 0 || seen["did"] == 0 || seen["h1-a opened"]+seen["h1-b opened"] == 0 {
		t.Errorf("%v\n%s", seen, told)
	}
	if again, _ := run(); again != told {
		t.Error("the second time differs")
	}
}

func mustZone(t *testing.T, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestReplayUse: what history would answer is answered from the tape, for a counter of the rules, a field and the newest reading.
func TestReplayUse(t *testing.T) {
	key := fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}
	at := time.Date(2026, 1, 7, 8, 0, 0, 0, time.UTC)
	u := tapeUse{watched: map[string][]byte{}, counted: map[string][]byte{}}
	counters := wire.AppendCounters(nil, &wire.Counters{Device: key, Model: "washer-w7", At: at,
		Values: []wire.Counter{{Name: "hours(power_w > 5, x=y)", Value: 12.5}, {Name: "hours(power_w > 5, x=y) #1", Value: 3}, {Name: "starts(running)", Value: 4}}})
	line := func(cycles int64, class fleet.Class) []byte {
		return wire.AppendReading(nil, &fleet.Reading{Device: key, Model: "washer-w7", Class: class, Time: at, Fields: []fleet.Field{
			{Name: "cycles", Value: fleet.Value{Type: fleet.Integer, Int: cycles}}, {Name: "hours", Value: fleet.Value{Type: fleet.Float, Float: 2.5}}}})
	}
	record := func(body []byte) *wire.Record {
		return &wire.Record{Stream: wire.Readings, Kind: wire.KindReadings, Body: body}
	}
	u.take(record(line(7, fleet.Telemetry)), nil)
	u.watch("WM-1")
	r := replayUsage{&replay{tape: &tape{}}}
	r.r.tape.use = u
	if _, _, ok, err := r.Use(t.Context(), key, "", "cycles"); ok || err != nil {
		t.Errorf("nothing came since it is watched: %v, %v", ok, err)
	}
	u.take(record(append(line(8, fleet.Telemetry), line(9, fleet.Event)...)), counters)
	for counter, want := range map[string]float64{"cycles": 8, "hours": 2.5, "hours(power_w > 5, x=y)": 12.5, "starts(running)": 4} {
		if v, when, ok, err := r.Use(t.Context(), key, "", counter); v != want || !when.Equal(at) || !ok || err != nil {
			t.Errorf("%s: %v at %v, %v, %v: want %v", counter, v, when, ok, err, want)
		}
	}
	for _, none := range []string{"hours(other)", "power_w"} {
		if _, _, ok, err := r.Use(t.Context(), key, "", none); ok || err != nil {
			t.Errorf("%s: %v, %v", none, ok, err)
		}
	}
}
