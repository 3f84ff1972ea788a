package bridge

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"devices/+/+/+/telemetry", "devices/demo/w/A1/telemetry", true},
		{"devices/+/+/+/telemetry", "devices/demo/w/A1/command", false},
		{"devices/+/+/+/telemetry", "devices/demo/w/telemetry", false},
		{"devices/+/+/+/telemetry", "devices/demo/w/A1/telemetry/x", false},
		{"spBv1.0/+/+/#", "spBv1.0/demo/NDATA/E1", true},
		{"spBv1.0/+/+/#", "spBv1.0/demo/DDATA/E1/A1", true},
		{"spBv1.0/+/+/#", "spBv1.0/demo/DDATA", true}, // "#" includes the level above it
		{"spBv1.0/+/+/#", "spBv1.0/demo", false},
		{"#", "a/b", true}, {"+", "a", true}, {"+", "a/b", false}, {"a/+", "a/", true}, {"a", "a", true}, {"a", "b", false}, {"a/#", "a", true},
	} {
		if matches(c.filter, c.topic) != c.want {
			t.Errorf("%q, %q: want %v", c.filter, c.topic, c.want)
		}
	}
}

// matches agrees with the rule written level by level.
func TestMatchesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		filter := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "+", ""}), 1, 5).Draw(t, "filter")
		topic := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", ""}), 1, 5).Draw(t, "topic")
		many := rapid.Bool().Draw(t, "#")
		want := len(filter) == len(topic) || many && len(topic) > len(filter)
		for i := range min(len(filter), len(topic)) {
			want = want && (filter[i] == "+" || filter[i] == topic[i])
		}
		f := strings.Join(filter, "/")
		if many {
			f += "/#"
		}
		if matches(f, strings.Join(topic, "/")) != want {
			t.Fatalf("%q, %q: want %v", f, topic, want)
		}
	})
}

func TestValidFilter(t *testing.T) {
	for _, f := range []string{"a", "+", "#", "a/+/#", "devices/+/+/+/telemetry"} {
		if !validFilter(f) {
			t.Errorf("%q refused", f)
		}
	}
	for _, f := range []string{"", "$share/g/a", "$SYS/#", "a/#/b", "a#", "a/b+", "a\x00"} {
		if validFilter(f) {
			t.Errorf("%q taken", f)
		}
	}
}

func TestMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bridge.json")
	m, err := loadMemory(path)
	if err != nil || len(m.Filters) != 0 {
		t.Errorf("%+v, %v", m, err)
	}
	want := memory{Broker: "h:1", ClientID: "c", Filters: []string{"b", "a", "keep", "a"}}
	if err := want.save(path); err != nil {
		t.Fatal(err)
	}
	m, err = loadMemory(path)
	if err != nil || !m.same("h:1", "c") || m.same("h:2", "c") || m.same("h:1", "d") {
		t.Errorf("%+v, %v", m, err)
	}
	if got := m.obsolete(map[string]byte{"keep": 1, "new": 1}); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.URL, cfg.StateFile = "tcp://127.0.0.1:1", path
	if _, err := New(cfg, Deps{Ingest: newInbox(false)}); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged list: %v", err)
	}
}

func FuzzMatches(f *testing.F) {
	f.Add("devices/+/+/+/telemetry", "devices/demo/w/A1/telemetry")
	f.Add("a/#", "a")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		got := matches(filter, topic)
		if filter == topic && !strings.ContainsAny(filter, "+#") && !got {
			t.Error("a topic does not match itself")
		}
	})
}
