package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func call(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestHelpGoesToStandardOutput(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"demo", "--help"}, {"load", "-h"}, {"simulate", "--help"}, {"kinds"}} {
		if code, out, errOut := call(t, args...); code != 0 || out == "" || errOut != "" {
			t.Errorf("%v: code %d, out %q, err %q", args, code, out, errOut)
		}
	}
}

func TestWrongCallsSayWhat(t *testing.T) {
	fleet := filepath.Join(t.TempDir(), "fleet.json")
	text := `{"tenant":"demo","broker":"tcp://127.0.0.1:1","devices":[{"model":"washer-w7","serial":"A","secret":"hush"}]}`
	if err := os.WriteFile(fleet, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"demo", nil},
		{`"walk"`, []string{"walk"}},
		{"--fleet", []string{"demo", "--state", "x"}},
		{"--state", []string{"demo", "--fleet", fleet}},
		{"speed", []string{"demo", "--fleet", fleet, "--state", "x", "--speed", "0"}},
		{"interval", []string{"demo", "--fleet", fleet, "--state", "x", "--interval", "1ms"}},
		{"broker", []string{"load", "--fleet", fleet, "--broker", "localhost"}},
		{"connections", []string{"load", "--fleet", fleet, "--connections", "-1"}},
		{`"more"`, []string{"load", "--fleet", fleet, "more"}},
		{"--out", []string{"simulate", "--days", "3"}},
		{"start", []string{"--out", "x", "--start", "today"}},
		{"devices", []string{"simulate", "--out", "x", "--devices", "8"}},
		{"days", []string{"simulate", "--out", "x", "--days", "0"}},
		{"-fast", []string{"load", "-fast"}},
	} {
		code, _, errOut := call(t, c.args...)
		if code != 2 || !strings.Contains(errOut, c.want) {
			t.Errorf("%v: code %d, %q", c.args, code, errOut)
		}
	}
	code, _, errOut := call(t, "load", "--fleet", fleet, "--connections", "1", "--duration", "1s")
	if code != 1 || !strings.Contains(errOut, "connect A") || strings.Contains(errOut, "hush") {
		t.Errorf("nobody listens: code %d, %q", code, errOut)
	}
	if code, _, errOut := call(t, "load", "--fleet", fleet+".gone"); code != 1 || !strings.Contains(errOut, "fleet.json.gone") {
		t.Errorf("no such file: code %d, %q", code, errOut)
	}
}

// The command may be left out; the files lie beside FILE.
func TestSimulate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.gz")
	code, out, errOut := call(t, "--out", path, "--devices", "9", "--days", "1")
	if code != 0 || !strings.HasPrefix(out, "9 devices, 1 days: ") || errOut != "" {
		t.Errorf("code %d, %q, %q", code, out, errOut)
	}
	for _, name := range []string{path, strings.TrimSuffix(path, ".gz") + ".devices.csv", strings.TrimSuffix(path, ".gz") + ".truth.jsonl"} {
		if info, err := os.Stat(name); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if code, _, errOut := call(t, "simulate", "--out", filepath.Join(path, "below", "a")); code != 1 || !strings.Contains(errOut, "below") {
		t.Errorf("code %d, %q", code, errOut)
	}
}
