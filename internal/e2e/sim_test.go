package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// simulation is ten days of some sixty devices with faults, and what the server's parts made of them.
type simulation struct{ dir string }

func (s simulation) path(name string) string { return filepath.Join(s.dir, name) }

// ended runs one of our programs to its end and returns its exit code and what it wrote.
func ended(t *testing.T, name string, args ...string) (code int, out string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, name), args...)
	text, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState.ExitCode() < 0 {
		t.Fatalf("%s %v: %v\n%s", name, args, err, text)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

func (s simulation) replay(t *testing.T, findings, messages string) string {
	t.Helper()
	code, out := ended(t, "aftercare", "replay", s.path("fleet.gz"), "--findings", s.path(findings), "--messages", s.path(messages))
	if code != 0 {
		t.Fatalf("replay: exit code %d\n%s", code, out)
	}
	return out
}

// TestSimulation is `make sim` for ten days. Ten days are too short for wear: what it shows is that all of it fits together, that
// abrupt faults are told, and that healthy devices mostly are not.
func TestSimulation(t *testing.T) {
	s := simulation{t.TempDir()}
	if code, out := ended(t, "firmware-sim", "simulate", "--out", s.path("fleet.gz"), "--truth", s.path("truth.jsonl"), "--devices", "60", "--days", "10", "--seed", "2"); code != 0 {
		t.Fatalf("simulate: exit code %d\n%s", code, out)
	}
	s.conserved(t, s.replay(t, "findings.jsonl", "messages.jsonl"))
	s.replay(t, "again.jsonl", "messages-again.jsonl")
	for one, other := range map[string]string{"findings.jsonl": "again.jsonl", "messages.jsonl": "messages-again.jsonl"} {
		a, b := s.read(t, one), s.read(t, other)
		if len(a) == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s: %d bytes the first time, %d the second, and not the same", one, len(a), len(b))
		}
	}
	s.judge(t)
}

func (s simulation) read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(s.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// conserved checks the report behind the findings: everything in is stored, put aside or refused.
func (s simulation) conserved(t *testing.T, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(s.read(t, "findings.jsonl"))), "\n")
	var last struct {
		Replay struct {
			Devices, Messages, In, Stored, Broken, Opened int
			Quarantined, Refused                          map[string]int
		}
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	r, gone := last.Replay, 0
	for _, counts := range []map[string]int{r.Quarantined, r.Refused} {
		for _, n := range counts {
			gone += n
		}
	}
	if r.In != r.Stored+gone || r.In < r.Messages || r.Messages < 30_000 || r.Devices < 50 || r.Broken != 0 || gone*100 > r.In || r.Opened == 0 {
		t.Errorf("%+v\n%s", r, out)
	}
}

func (s simulation) judge(t *testing.T) {
	t.Helper()
	args := []string{"score", "--truth", s.path("truth.jsonl"), "--findings", s.path("findings.jsonl"), "--messages", s.path("messages.jsonl")}
	code, out := ended(t, "aftercare", append(args, "--json")...)
	var r struct {
		Abrupt       struct{ Conditions, Warned, Late int }
		FalsePerUnit float64  `json:"false_per_device_month"`
		Unknown      []string `json:"unknown_rules"`
		Messages     struct{ Problems, Rings int }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("score: exit code %d, %v\n%s", code, err, out)
	}
	_, table := ended(t, "aftercare", append(args, "--details")...)
	switch {
	case r.Abrupt.Conditions < 4 || r.Abrupt.Warned < 2 || 2*(r.Abrupt.Warned+r.Abrupt.Late) < r.Abrupt.Conditions:
		t.Errorf("abrupt faults are not told: %+v\n%s", r.Abrupt, table)
	case r.FalsePerUnit > 0.1:
		t.Errorf("%.3f false tellings a device-month\n%s", r.FalsePerUnit, table)
	case len(r.Unknown) > 0:
		t.Errorf("configs/sim/score.yaml names rules that are not there: %v", r.Unknown)
	case r.Messages.Problems == 0 || r.Messages.Rings == 0:
		t.Errorf("owners heard nothing: %+v", r.Messages)
	}
	if code, out := ended(t, "aftercare", append(args, "--min-warned", "1")...); code != 1 || !strings.Contains(out, "want at least 100.0 %") {
		t.Errorf("a share that ten days cannot show: exit code %d\n%s", code, out)
	}
}
