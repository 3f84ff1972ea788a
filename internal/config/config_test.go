package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "aftercare.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Flags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestDefaultsAreValid(t *testing.T) {
	cfg, problems := Load("", nil, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if cfg.Store.Path != filepath.Join("data", "aftercare.db") || cfg.Gateway.Listen != "127.0.0.1:1883" || cfg.Journal.Sync != "always" {
		t.Errorf("store %q, gateway %q, sync %q", cfg.Store.Path, cfg.Gateway.Listen, cfg.Journal.Sync)
	}
}

func TestShippedFileIsValid(t *testing.T) {
	if _, problems := Load("../../configs/aftercare.yaml", nil, nil); len(problems) > 0 {
		t.Fatal(problems)
	}
}

func TestPrecedence(t *testing.T) {
	path := file(t, "ingest: {tick_every: 2s}\n")
	for _, c := range []struct {
		name string
		file string
		env  []string
		args []string
		want time.Duration
	}{
		{"default", "", nil, nil, 5 * time.Second},
		{"file over default", path, nil, nil, 2 * time.Second},
		{"environment over file", path, []string{"AFTERCARE_INGEST_TICK_EVERY=3s"}, nil, 3 * time.Second},
		{"flag over environment", path, []string{"AFTERCARE_INGEST_TICK_EVERY=3s"}, []string{"--ingest.tick_every", "4s"}, 4 * time.Second},
	} {
		cfg, problems := Load(c.file, c.env, flags(t, c.args...))
		if len(problems) > 0 || cfg.Ingest.TickEvery != c.want {
			t.Errorf("%s: %v, %v", c.name, cfg.Ingest.TickEvery, problems)
		}
	}
}

func TestPathsFollowFromData(t *testing.T) {
	cfg, problems := Load("", []string{"AFTERCARE_DATA=/srv/a"}, flags(t, "--journal.dir", "/fast"))
	if len(problems) > 0 || cfg.Store.Path != "/srv/a/aftercare.db" || cfg.Journal.Dir != "/fast" || cfg.History.Embedded.Dir != "/srv/a/influxdb" || cfg.Registry.KeyFile != "/srv/a/registry.key" {
		t.Errorf("%v: store %q journal %q influx %q key %q", problems, cfg.Store.Path, cfg.Journal.Dir, cfg.History.Embedded.Dir, cfg.Registry.KeyFile)
	}
}

// TestEveryMistakeIsNamed: not only the first, each with its place.
func TestEveryMistakeIsNamed(t *testing.T) {
	path := file(t, `gateway:
  listn: 127.0.0.1:1
  max_clients: 0
ingest:
  tick_every: soon
wether: {a: 1}
web:
  listen: 0.0.0.0:80
log: loud
data: a
data: b
`)
	_, problems := Load(path, []string{"AFTERCARE_GATEWAY_LISTN=x", "OTHER=1", "AFTERCARE_CONFIG=" + path}, nil)
	var got strings.Builder
	for _, p := range problems {
		got.WriteString(strings.TrimPrefix(p.String(), path) + "\n")
	}
	for _, want := range []string{":2: gateway.listn: unknown key (did you mean gateway.listen?)", ":6: wether: unknown key", ":9: log: want keys", ":11: data: is given twice",
		"AFTERCARE_GATEWAY_LISTN: unknown key", "tick_every"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("no %q in\n%s", want, got.String())
		}
	}
	path = file(t, "gateway:\n  max_clients: 0\nweb:\n  listen: 0.0.0.0:80\n")
	_, problems = Load(path, nil, nil)
	got.Reset()
	for _, p := range problems {
		got.WriteString(strings.TrimPrefix(p.String(), path) + "\n")
	}
	for _, want := range []string{":2: gateway.max_clients 0", `:4: web.listen "0.0.0.0:80"`} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("no %q in\n%s", want, got.String())
		}
	}
}

// TestWrongTypesHideNothing: a value of the wrong type is named, and so are the wrong values beside it.
func TestWrongTypesHideNothing(t *testing.T) {
	path := file(t, "gateway: {connect_timeout: soon, max_inflight: 1.7, max_packet: 1}\nweb:\n  max_live: true\n  listen: 0.0.0.0:80\nlog: {level: loud, format: xml, admin: 0.0.0.0:1}\nroles: [cook]\nbridge: {enabled: 3}\n")
	_, problems := Load(path, []string{"AFTERCARE_HISTORY_URL=http://u:CANARY@h:1"}, nil)
	var got strings.Builder
	for _, p := range problems {
		got.WriteString(strings.TrimPrefix(p.String(), path) + "\n")
	}
	for _, want := range []string{`"soon" is not a duration`, "1.7 is not a whole number", "true is not a number", "gateway.max_packet 1", `web.listen "0.0.0.0:80"`,
		`log.level "loud"`, `log.format "xml"`, `log.admin "0.0.0.0:1"`, `roles "cook"`, "3 is neither true nor false", "history.url"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("no %s in\n%s", want, got.String())
		}
	}
	if strings.Contains(got.String(), "CANARY") {
		t.Errorf("a password is shown in\n%s", got.String())
	}
}

// TestMistakesInLists: what is wrong in an item of a list is named with its line and with what to write instead.
func TestMistakesInLists(t *testing.T) {
	path := file(t, "cases:\n  sla:\n    - fault acknowledge 24h\n    - fault ack 24h\npush:\n  hosts: [\"https://push.example.org/x\"]\nntfy: {full: yes please}\n"+
		"email: {port: many}\noutreach:\n  operations:\n    - email ops@example.org\n    - {chanel: ntfy, address: x}\n")
	_, problems := Load(path, nil, nil)
	var got strings.Builder
	for _, p := range problems {
		got.WriteString(strings.TrimPrefix(p.String(), path) + "\n")
	}
	for _, want := range []string{":4: 'cases.sla[1]'", ":6: push.hosts[0]", `:7: 'ntfy.full' "yes please" is neither true nor false`, `:8: 'email.port' "many" is not a number`,
		":11: outreach.operations[0]: want channel, address and secret", ":12: outreach.operations[1].chanel: unknown key (did you mean channel?)"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("no %s in\n%s", want, got.String())
		}
	}
	if strings.Contains(got.String(), "map or struct") {
		t.Errorf("words of a library in\n%s", got.String())
	}
}

func TestACommandsOwnDefault(t *testing.T) {
	own := Setting{Key: "log.level", Value: "warn"}
	if cfg, _ := Load("", nil, nil, own); cfg.Log.Level != "warn" {
		t.Errorf("level %q", cfg.Log.Level)
	}
	if cfg, _ := Load("", []string{"AFTERCARE_LOG_LEVEL=debug"}, nil, own); cfg.Log.Level != "debug" {
		t.Errorf("level %q", cfg.Log.Level)
	}
}

func TestFilesThatAreNoConfiguration(t *testing.T) {
	for name, text := range map[string]string{"list": "- a\n", "scalar": "5\n", "broken": "a: [\n", "two documents": "data: a\n---\ndata: b\n", "deep scalar": "gateway: 5\n"} {
		if _, problems := Load(file(t, text), nil, nil); len(problems) == 0 {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, problems := Load(filepath.Join(t.TempDir(), "none.yaml"), nil, nil); len(problems) == 0 {
		t.Error("a file that is not there: accepted")
	}
	if _, problems := Load(file(t, "# nothing but a comment\ngateway:\n"), nil, nil); len(problems) > 0 {
		t.Errorf("an empty file: %v", problems)
	}
}

// TestEveryKeyCanBeSet: each key reaches its package by file, environment and flag under the name that config prints, and no two
// keys share a variable.
func TestEveryKeyCanBeSet(t *testing.T) {
	seen := map[string]string{}
	for _, k := range keys(Default()) {
		if other, twice := seen[k.env()]; twice {
			t.Errorf("%s and %s share %s", k.path, other, k.env())
		}
		seen[k.env()] = k.path
		if _, problems := Load("", []string{k.env() + "=" + k.text()}, flags(t, "--"+k.path+"="+k.text())); len(problems) > 0 {
			t.Errorf("%s=%q: %v", k.path, k.text(), problems)
		}
	}
	if len(seen) < 50 {
		t.Errorf("%d keys only", len(seen))
	}
}

func TestSecretsAreNotPrinted(t *testing.T) { // SEC-18
	const canary = "canary-0123456789abcdefghijklmnop"
	cfg, problems := Load("", []string{"AFTERCARE_WEB_TOKEN=" + canary, "AFTERCARE_HISTORY_TOKEN=" + canary, "AFTERCARE_BRIDGE_PASSWORD=" + canary}, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if string(cfg.Web.Token) != canary || string(cfg.History.Token) != canary {
		t.Error("a secret did not arrive")
	}
	var out bytes.Buffer
	if err := Print(&out, cfg); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), canary) || !strings.Contains(out.String(), "redacted") {
		t.Errorf("secrets in\n%s", out.String())
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("gateway:\n  listen: 127.0.0.1:1\n")
	f.Add("a: &x [*x]\n")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "f.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = Load(path, nil, nil)
	})
}
