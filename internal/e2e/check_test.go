package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"aftercare/configs"
)

// The files below have a mistake in each line that ends in "# wrong", and in no other.

const wrongConfig = `data: d
roles: [gateway, web]
nonsense: 1                      # wrong
log:
  level: loud                    # wrong
  colour: red                    # wrong
gateway:
  lisen: 127.0.0.1:1883          # wrong
  listen: nowhere                # wrong
web:
  listen: 0.0.0.0:8080           # wrong
  listen: 127.0.0.1:8080         # wrong
journal:
  sync: sometimes                # wrong
history:
  url: ftp://example.org         # wrong
  tokn: x                        # wrong
ingest: 3                        # wrong
bridge:
  enabled: true
  url: mqtt                      # wrong
rules:
  lateness: -1s                  # wrong
`

const wrongTypes = `gateway:
  max_packet: many               # wrong
  connect_timeout: soon          # wrong
  max_inflight: 20
log:
  colour: red                    # wrong
journal:
  partitions: [1]                # wrong
`

const wrongModel = `model: kettle-k2                # wrong
category: Kettles!              # wrong
label: {en: kettle}
interval: soon                  # wrong
colour: red                     # wrong
chart: [temp_c,
  steam]                        # wrong
fields:
  temp_c: {type: floot}         # wrong
  name: {type: string, min: 1}  # wrong
  power_w: {type: float}        # wrong
  level: {type: float, unit: "1", min: 3, max: 2} # wrong
`

const wrongRules = `pack: washers
applies: {category: washing-machine}
rulez: []                       # wrong
rules:
  - id: many mistakes           # wrong
    kind: falt                  # wrong
    severity: urgent            # wrong
    wen: leak                   # wrong
    text: {}                    # wrong
  - id: misspelt
    kind: fault
    severity: fault
    when: drian_s > 3           # wrong
    for: soon                   # wrong
    text:
      en: {what: w, why: w, otherwise: o, do: d, clear: c}
      de: {what: w, why: w, otherwise: o, do: d, clear: c}
  - id: never
    kind: fault
    severity: fault
    when: drain_s > 901         # wrong
    text:
      en: {what: w, why: w, otherwise: o, do: d, clear: c}
      de: {what: w, why: w, otherwise: o, do: d, clear: c}
  - id: speechless
    kind: fault
    severity: fault
    when: leak
    text:
      en: {what: w, why: w, otherwise: o, do: d, clear: c}
      de: {what: w, why: w, otherwise: o, do: d}                        # wrong
  - id: wordless
    kind: fault
    severity: fault
    when: leak
    text:
      en: {what: "{{.Nothing}}", why: w, otherwise: o, do: d, clear: c} # wrong
      de: {what: w, why: w, otherwise: o, do: d, clear: c}
`

// TestCheckPrintsEveryMistake: one run names them all, each with file and line, and ends with code 2.
func TestCheckPrintsEveryMistake(t *testing.T) {
	dir := t.TempDir()
	models, packs := filepath.Join(dir, "models"), filepath.Join(dir, "rules")
	shipped(t, "models", models)
	write(t, filepath.Join(models, "kettle-k1.yaml"), wrongModel)
	write(t, filepath.Join(packs, "washers.yaml"), wrongRules)
	write(t, filepath.Join(packs, "broken.yaml"), "pack: [                  # wrong\n")
	config, types := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "types.yaml")
	write(t, config, wrongConfig)
	write(t, types, wrongTypes)

	everyMistake(t, []string{"--config", config}, map[string]string{"config.yaml": wrongConfig})
	everyMistake(t, []string{"--config", types}, map[string]string{"types.yaml": wrongTypes})
	everyMistake(t, []string{"--models", models}, map[string]string{"kettle-k1.yaml": wrongModel})
	out := everyMistake(t, []string{"--config", config, "--models", models, "--rules.dir", packs},
		map[string]string{"config.yaml": wrongConfig, "kettle-k1.yaml": wrongModel, "washers.yaml": wrongRules, "broken.yaml": "# wrong"})
	for _, hint := range []string{"did you mean gateway.listen?", `did you mean "drain_s"?`, `did you mean "when"?`} {
		if !strings.Contains(out, hint) {
			t.Errorf("the answer does not say %q\n%s", hint, out)
		}
	}
}

// everyMistake runs check and compares the lines it names with the lines that are marked.
func everyMistake(t *testing.T, args []string, files map[string]string) string {
	t.Helper()
	code, out := aftercare(t, nil, append([]string{"check"}, args...)...)
	if code != 2 {
		t.Errorf("check %v ends with %d\n%s", args, code, out)
	}
	want, got := map[string]bool{}, map[string]bool{}
	for name, text := range files {
		for i, line := range strings.Split(text, "\n") {
			if strings.HasSuffix(line, "# wrong") {
				want[fmt.Sprintf("%s:%d", name, i+1)] = true
			}
		}
	}
	n := 0
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line == "" {
			break // after it comes the count
		}
		n++
		m := place.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("no file and line in %q", line)
			continue
		}
		got[filepath.Base(m[1])+":"+m[2]] = true
	}
	if !maps.Equal(want, got) {
		t.Errorf("check %v names\n  %v\nwant\n  %v\n%s", args, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)), out)
	}
	if count := fmt.Sprintf("%d mistakes", n); n < len(want) || !strings.Contains(out, count) {
		t.Errorf("the answer does not end with %q\n%s", count, out)
	}
	return out
}

var place = regexp.MustCompile(`^(\S+\.yaml):(?: line )?(\d+): \S`)

// TestCheckNeedsNobody: it answers while its ports are taken, opens no socket and leaves nothing behind.
func TestCheckNeedsNobody(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := filepath.Join(t.TempDir(), "data")
	taken := []string{"check", "--data", dir, "--owner.listen", "127.0.0.1:0", "--web.listen", ln.Addr().String(), "--gateway.listen", ln.Addr().String(), "--history.url", "http://192.0.2.1:8086"}
	if code, out := aftercare(t, nil, taken...); code != 0 || !strings.Contains(out, "no mistakes") {
		t.Errorf("check ends with %d\n%s", code, out)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("check made the data folder: %v", err)
	}
	strace, trace := tool(t, "strace"), filepath.Join(t.TempDir(), "trace")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	line := append([]string{"-f", "-o", trace, "-e", "trace=socket,bind,listen,connect", program(t, "aftercare")}, taken...)
	if out, err := exec.CommandContext(ctx, strace, line...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(read(t, trace)) {
		if strings.Contains(line, "AF_INET") || strings.Contains(line, "AF_UNIX") || strings.Contains(line, "listen(") {
			t.Errorf("check opens a socket: %s", line)
		}
	}
	if !strings.Contains(read(t, trace), "exited with 0") {
		t.Error("the trace does not show the end of check: it is not read rightly")
	}
}

// TestUnknownSettings: a variable or a flag that nobody reads is a mistake that is named.
func TestUnknownSettings(t *testing.T) {
	for _, command := range []string{"check", "config", "serve"} {
		code, out := aftercare(t, []string{"AFTERCARE_GATEWAY_LISEN=127.0.0.1:1", "AFTERCARE_NONSENSE=1"}, command, "--data", t.TempDir())
		if code != 2 || !strings.Contains(out, "AFTERCARE_GATEWAY_LISEN") || !strings.Contains(out, "AFTERCARE_NONSENSE") || !strings.Contains(out, "gateway.listen") {
			t.Errorf("%s ends with %d\n%s", command, code, out)
		}
		if code, out := aftercare(t, nil, command, "--gateway.lisen", "x"); code != 2 || !strings.Contains(out, "--gateway.lisen") {
			t.Errorf("%s with an unknown flag ends with %d\n%s", command, code, out)
		}
	}
	if code, out := aftercare(t, []string{"AFTERCARE_CONFIG=" + filepath.Join(t.TempDir(), "none.yaml")}, "check"); code != 2 || !strings.Contains(out, "none.yaml") {
		t.Errorf("a file that is not there: %d\n%s", code, out)
	}
}

// TestPrecedence: defaults < file < environment < flags.
func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	write(t, file, "gateway:\n  max_inflight: 11\n  max_per_device: 11\n  max_clients: 11\n")
	code, out := aftercare(t, []string{"AFTERCARE_CONFIG=" + file, "AFTERCARE_GATEWAY_MAX_INFLIGHT=12", "AFTERCARE_GATEWAY_MAX_PER_DEVICE=12"},
		"config", "--gateway.max_inflight", "13")
	if code != 0 {
		t.Fatalf("config ends with %d\n%s", code, out)
	}
	for from, line := range map[string]string{"the defaults": "max_packet: 65536", "the file": "max_clients: 11", "the environment": "max_per_device: 12", "the flags": "max_inflight: 13"} {
		if !regexp.MustCompile(`(?m)^ +` + line + `$`).MatchString(out) {
			t.Errorf("%q, from %s, is not in force\n%s", line, from, out)
		}
	}
	// What is printed can be used: it says the same again.
	again := filepath.Join(t.TempDir(), "b.yaml")
	write(t, again, out)
	if code, second := aftercare(t, nil, "config", "--config", again); code != 0 || second != out {
		t.Errorf("the printed configuration is not the same configuration: %d\n%s", code, second)
	}
}

// TestSecretsAreRedacted: no secret of the configuration is printed, wherever it comes from, also not in what is said of mistakes. (SEC-18)
func TestSecretsAreRedacted(t *testing.T) {
	const canary = "CANARY-0123456789-0123456789-0123456789"
	file := filepath.Join(t.TempDir(), "a.yaml")
	write(t, file, "web:\n  token: "+canary+"\n")
	environment := []string{"AFTERCARE_BRIDGE_PASSWORD=" + canary, "AFTERCARE_BRIDGE_USERNAME=aftercare"}
	code, out := aftercare(t, environment, "config", "--config", file, "--history.token", canary)
	if code != 0 || strings.Contains(out, canary) {
		t.Errorf("config ends with %d and prints a secret\n%s", code, out)
	}
	if n := strings.Count(out, "redacted"); n != 3 {
		t.Errorf("%d secrets are shown as redacted, want 3\n%s", n, out)
	}
	code, out = aftercare(t, append(environment, "AFTERCARE_LOG_LEVEL=loud", "AFTERCARE_BRIDGE_ENABLED=true", "AFTERCARE_BRIDGE_URL=tcp://user:"+canary+"@example.org:1883"),
		"check", "--config", file, "--history.token", canary)
	if code != 2 || strings.Contains(out, canary) {
		t.Errorf("check ends with %d and prints a secret\n%s", code, out)
	}
}

// aftercare runs the program to its end, with env and nothing else that begins with AFTERCARE_, and returns its code and output.
func aftercare(t *testing.T, env []string, args ...string) (code int, out string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, "aftercare"), args...)
	ours := func(kv string) bool { return strings.HasPrefix(kv, "AFTERCARE_") }
	cmd.Env = append(slices.DeleteFunc(os.Environ(), ours), env...)
	text, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("aftercare %v: %v", args, err)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// shipped copies a folder of the shipped configuration.
func shipped(t *testing.T, folder, to string) {
	t.Helper()
	entries, err := configs.FS.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := configs.FS.ReadFile(folder + "/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(to, e.Name()), string(text))
	}
}
