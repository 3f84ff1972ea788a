package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

func runLint(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	if _, err := os.Stat("configs"); err != nil {
		t.Chdir("../..") // the shipped files are found from there
	}
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(append([]string{"lint"}, args...))
	root.SetIn(strings.NewReader(input))
	root.SetOut(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// TestLint: a firmware developer learns of every mistake, without a server or a data folder.
func TestLint(t *testing.T) {
	out, err := runLint(t, "{\"ts\":\"2026-05-04T12:00:00Z\",\"boot\":1,\"seq\":1,\"cycles\":7}\n\n{\"boot\":1,\"seq\":2,\"cyles\":8,\"drain_s\":-1}\n{\"\x1b\u009b[2J\"\n", "--model", "washer-w7")
	for _, want := range []string{"line 1: stored\n", "line 3: QUARANTINED\n", "error  drain_s [range]: ", "error  cycles [missing_field]: ", `(did you mean "cycles"?)`, "line 4: QUARANTINED\n", "3 payloads of washer-w7 as json: 1 good, 2 with"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if err == nil || strings.ContainsAny(out, "\x1b\u009b") {
		t.Errorf("ends with %v", err)
	}
}

func TestLintOfBinaryPayloads(t *testing.T) {
	out, err := runLint(t, "a366637963 6c657307 64626f6f7401 6373657102\n", "--model", "washer-w7", "--format", "cbor") // {"cycles": 7, "boot": 1, "seq": 2}
	if err != nil || !strings.Contains(out, "line 1: stored") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestLintSaysWhatIsWrongWithItsFlags(t *testing.T) {
	for _, args := range [][]string{{"--model", "nothing"}, {"--model", "washer-w7", "--format", "xml"}, {"--model", "washer-w7", "--format", "sparkplug"}, {"--model", "washer-w7", "--class", "gossip"}, {}} {
		var wrong *problemsError
		if _, err := runLint(t, "{}", args...); !errors.As(err, &wrong) || len(wrong.problems) != 1 || wrong.problems[0].Hint == "" {
			t.Errorf("%v: %v", args, err)
		}
	}
	if _, err := runLint(t, "\n", "--model", "washer-w7"); err == nil {
		t.Error("no payload is no mistake")
	}
}
