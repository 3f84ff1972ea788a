package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func runRulesTest(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(append([]string{"rules", "test"}, args...))
	root.SetOut(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestRulesTest(t *testing.T) {
	out, err := runRulesTest(t)
	if err != nil || !strings.Contains(out, "ok     configs/rules/washing-machine_test.yaml: ") || !strings.Contains(out, " pass\n") {
		t.Errorf("the shipped tests: %v\n%s", err, out)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "mine_test.yaml")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("tests:\n  - name: wet\n    model: washer-w7\n    series: {leak: true}\n    want: none\n")
	for _, arg := range []string{file, dir} {
		out, err := runRulesTest(t, arg)
		if err == nil || err.Error() != "1 of 1 tests failed" || !strings.Contains(out, file+":2: wet: got washer-leak opened (danger) at 0s") {
			t.Errorf("a test that fails: %v\n%s", err, out)
		}
	}
	write("tests:\n  - name: wet\n    model: washer-w7\n    series: {lek: true}\n    want: none\n")
	var wrong *problemsError
	if _, err := runRulesTest(t, file); !errors.As(err, &wrong) || len(wrong.problems) != 1 || wrong.problems[0].Line != 4 {
		t.Errorf("a test with a mistake: %v", err)
	}
	for _, arg := range []string{filepath.Join(dir, "none"), t.TempDir()} {
		if _, err := runRulesTest(t, arg); err == nil {
			t.Errorf("%s: nothing was run, and that is well", arg)
		}
	}
}
