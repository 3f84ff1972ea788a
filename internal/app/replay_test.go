package app

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/config"
	"aftercare/internal/fleet"
)

var replayStart = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// written is what washers send, made by code: one of every eight clogs from the middle on and reports E18 near the end, one
// goes silent for two days, one sends nonsense now and then.
func written(devices, days int) (list, lines string) {
	rng := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	csv := "serial,model,firmware,region\n"
	for d := range devices {
		csv += fmt.Sprintf("WM-%04d,washer-w7,1.2,DE\n", d)
	}
	send := func(at time.Time, serial, class, payload string) {
		fmt.Fprintf(&b, "%d devices/demo/washer-w7/%s/%s %s\n", at.UnixMilli(), serial, class, payload)
	}
	steps := days * 144
	for i := range steps {
		at := replayStart.Add(time.Duration(i) * 10 * time.Minute)
		for d := range devices {
			serial, share := fmt.Sprintf("WM-%04d", d), float64(i)/float64(steps)
			if d%8 == 2 && share > 0.4 && share < 0.6 {
				continue
			}
			drain := 50 + 5*rng.Float64()
			if d%8 == 1 && share > 0.5 {
				drain += 300 * (share - 0.5)
			}
			t := at.Add(time.Duration(d) * time.Second)
			payload := fmt.Sprintf(`{"ts":%d,"boot":1,"seq":%d,"cycles":%d,"power_w":%.1f,"drain_s":%.1f}`, t.UnixMilli()-800, i+1, 100+i/40, 3+rng.Float64(), drain)
			if d%8 == 3 && i%50 == 7 {
				payload = `{"ts":1,"cycles":"many"}`
			}
			send(t, serial, "telemetry", payload)
			if d%8 == 1 && i == steps*9/10 {
				send(t, serial, "event", fmt.Sprintf(`{"ts":%d,"boot":1,"seq":%d,"code":"E18"}`, t.UnixMilli(), 1_000_000+i))
			}
			if d%8 == 4 && i == steps/2 {
				send(t, serial, "status", fmt.Sprintf(`{"ts":%d,"online":true,"firmware":"1.3"}`, t.UnixMilli()))
			}
		}
	}
	return csv, b.String()
}

func replayed(t testing.TB, list, lines string) (report ReplayReport, findings, messages string, err error) {
	t.Helper()
	return replayedWith(t, func(*config.Config) {}, list, lines)
}

func replayedWith(t testing.TB, set func(*config.Config), list, lines string) (report ReplayReport, findings, messages string, err error) {
	t.Helper()
	cfg := config.Default()
	set(&cfg)
	cfg.Data = filepath.Join(t.TempDir(), "data")
	files, problems := LoadFiles(cfg)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var found, told, log bytes.Buffer
	report, err = Replay(t.Context(), ReplayOptions{Config: cfg, Files: files, Tenant: "demo", Messages: strings.NewReader(lines),
		Devices: strings.NewReader(list), Findings: &found, Sent: &told, Log: &log})
	if log.Len() > 0 {
		t.Logf("log:\n%s", log.String())
	}
	return report, found.String(), told.String(), err
}

func TestReplayFindsAndTells(t *testing.T) {
	list, lines := written(8, 10)
	report, findings, messages, err := replayed(t, list, lines)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Count(lines, "\n"); report.Messages != want || report.Broken != 0 {
		t.Errorf("%d messages, %d broken: want %d and 0", report.Messages, report.Broken, want)
	}
	if n := total(report.Quarantined); n != strings.Count(lines, `"many"`) || n == 0 {
		t.Errorf("%d put aside", n)
	}
	if report.In <= report.Messages {
		t.Errorf("%d readings of %d messages: presence is not among them", report.In, report.Messages)
	}
	var blocked fleet.Finding
	for line := range strings.Lines(findings) {
		var f fleet.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		if f.Rule == "washer-drain-blocked" && f.Phase == fleet.Opened {
			blocked = f
		}
	}
	if blocked.Device.Serial != "WM-0001" || !blocked.Live || !blocked.OpenedAt.Equal(replayStart.Add(9*24*time.Hour+time.Second)) {
		t.Errorf("the blocked drain: %+v", blocked)
	}
	fates := map[string]bool{}
	for line := range strings.Lines(messages) {
		var m ReplayMessage
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		fates[m.Device+" "+m.Channel+" "+m.State] = true
		if m.State == "sent" && (m.Event == "" || m.Topic == "" || m.Local == "" || m.ID == "" || len(m.Trace) == 0) {
			t.Errorf("nobody can judge %s", line)
		}
	}
	for _, want := range []string{"WM-0001 inbox sent", "WM-0001 ntfy sent"} {
		if !fates[want] {
			t.Errorf("no message %q:\n%.2000s", want, messages)
		}
	}
	if !strings.HasSuffix(strings.TrimSpace(findings), "}}") || !strings.Contains(findings, `{"replay":{"devices":8,`) {
		t.Errorf("no report behind the findings: %.300s", findings[max(0, len(findings)-300):])
	}
}

func total(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

func TestReplayTwiceIsTheSame(t *testing.T) {
	list, lines := written(24, 6)
	_, findings, messages, err := replayed(t, list, lines)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(lines))
	_ = z.Close()
	_, again, told, err := replayed(t, list, packed.String())
	if err != nil {
		t.Fatal(err)
	}
	if again != findings || told != messages {
		t.Errorf("the second time differs: %d and %d bytes of findings, %d and %d of messages", len(findings), len(again), len(messages), len(told))
	}
	if strings.Count(messages, "\n") == 0 {
		t.Error("no message: nothing was compared")
	}
}

func TestReplayNamesBrokenLines(t *testing.T) {
	good := "1767571200000 devices/demo/washer-w7/WM-1/telemetry {\"cycles\":1}\n"
	broken := []string{"nonsense", "soon devices/demo/washer-w7/WM-1/telemetry {}", "1767571200000 devices/x", "1767571100000 devices/demo/washer-w7/WM-1/telemetry {}",
		"4000000000000 devices/demo/washer-w7/WM-1/telemetry {}", "-5 a b", "1767571200001 t " + strings.Repeat("x", maxReplayLine)}
	report, _, _, err := replayed(t, "serial,model\nWM-1,washer-w7\n", good+strings.Join(broken, "\n")+"\n\n"+good+"1767571200005 devices/demo/washer-w7/WM-2/telemetry {}")
	if err != nil {
		t.Fatal(err)
	}
	if report.Broken != len(broken) || len(report.BrokenLines) != len(broken) || report.Messages != 3 || report.Refused["unknown_device"] != 1 {
		t.Errorf("%+v", report)
	}
	for i, line := range report.BrokenLines {
		if !strings.HasPrefix(line, fmt.Sprintf("line %d: ", i+2)) {
			t.Errorf("%q", line)
		}
	}
}

func TestReplayRefuses(t *testing.T) {
	for name, c := range map[string]struct{ list, lines, want string }{
		"no line":       {"serial,model\nWM-1,washer-w7\n", "\n", "there is no line"},
		"a bad list":    {"serial,model\nWM-1,washer-w8\n", "1767571200000 a b", "washer-w8"},
		"a cut archive": {"serial,model\nWM-1,washer-w7\n", "\x1f\x8b\x08\x00", "read the messages"},
	} {
		if _, _, _, err := replayed(t, c.list, c.lines); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReplayFacts: what was entered reaches the partition of its device at its time, with all that is known of the device.
func TestReplayFacts(t *testing.T) {
	cfg := config.Default()
	cfg.Data = t.TempDir()
	files, _ := LoadFiles(cfg)
	r := &replay{options: ReplayOptions{Files: files, Tenant: "demo", Devices: strings.NewReader("serial,model,firmware\nWM-1,washer-w7,1.2\nWM-2,washer-w7,1.2\n"),
		Facts: strings.NewReader(`{"time":"2026-01-07T00:00:00Z","device":"WM-1","fact":"service","component":"drain-pump"}
{"time":"2026-01-06T00:00:00Z","device":"WM-1","fact":"stored","from":"2026-01-06T00:00:00Z","to":"2026-01-06T12:00:00Z"}
{"time":"2026-01-08T00:00:00Z","device":"WM-1","fact":"service","component":"drain-pump"}`), Log: io.Discard},
		cfg: cfg, metrics: prometheus.NewRegistry(), now: replayStart}
	if err := r.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if err := r.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	key := fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}
	for _, c := range []struct{ day, services, stored int }{{0, 0, 0}, {1, 0, 1}, {2, 1, 1}, {4, 2, 1}} {
		at := replayStart.AddDate(0, 0, c.day)
		if err := r.until(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		x, err := r.registry.Facts(t.Context(), key)
		sent := uint64(0)
		for _, s := range r.tape.states {
			sent += s.Counts().Facts
		}
		if err != nil || len(x.Stored) != c.stored || x.Firmware != "1.2" || sent != uint64(2+c.stored+c.services) {
			t.Errorf("day %d: %+v, %d sent, %v", c.day, x, sent, err)
		}
	}
	if x, _ := r.registry.Facts(t.Context(), key); len(x.Services) == 0 || !x.Services[len(x.Services)-1].At.Equal(replayStart.AddDate(0, 0, 3)) {
		t.Errorf("services %+v", x.Services)
	}
	for _, bad := range []string{`{"device":"WM-1","fact":"service"}`, `{"time":"2026-01-07T00:00:00Z","device":"WM-1","fact":"lost"}`, `{`} {
		if _, err := readReplayFacts(strings.NewReader(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	r.facts = []replayFact{{Time: r.now, Device: "WM-9", Fact: "service", Component: "drain-pump", line: 7}}
	if err := r.enter(t.Context()); err == nil || !strings.Contains(err.Error(), "line 7") {
		t.Errorf("a device that is not there: %v", err)
	}
}

// FuzzReplayLine: a line is a message of its time or has a reason.
func FuzzReplayLine(f *testing.F) {
	f.Add([]byte("1767571200000 devices/demo/washer-w7/WM-1/telemetry {}"), int64(0))
	f.Add([]byte("1 a b"), int64(5))
	f.Fuzz(func(t *testing.T, text []byte, last int64) {
		before := time.UnixMilli(max(last, 1) & (1<<42 - 1))
		l, reason := parseReplayLine(text, before)
		if (reason == "") != (l.topic != "") || reason == "" && (l.at.Before(before) || l.at.Sub(before) > maxReplayGap) {
			t.Errorf("%q: %+v, %q", text, l, reason)
		}
	})
}
