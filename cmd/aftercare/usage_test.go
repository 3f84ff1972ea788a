package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWrongWordsAreNamed: a word that is no command, and arguments that are missing, end with what is wanted.
func TestWrongWordsAreNamed(t *testing.T) {
	for line, want := range map[string]string{
		"rules tset":          `unknown command "tset" for "aftercare rules" (did you mean "test"?)`,
		"device shwo":         `did you mean "show"?`,
		"quarantine empty":    `see aftercare quarantine --help`,
		"device service WM-1": `aftercare device service SERIAL COMPONENT`,
		"check my/rules":      `--rules.dir my/rules`,
		"score --truth a --findings b --min-warned 95": `1 mistake`,
		"replay usage_test.go":                         `1 mistake`,
		"rules activate --data " + t.TempDir():         `no server has run on the data folder`,
		"rules explain a b --data " + t.TempDir():      `no server has run on the data folder`,
	} {
		root := newRoot()
		root.SetArgs(strings.Fields(line))
		root.SetOut(io.Discard)
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

// TestRulesBesideTests: tests in a folder with packs are of those packs, and a rule that is for devices of which nothing is said is named.
func TestRulesBesideTests(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("p.yaml", `pack: mine
applies: {models: [washer-w7]}
rules:
  - id: mine-slow
    kind: maintenance
    severity: due
    applies: {firmware: ">=2", region: [DE]}
    when: drain_s > 90
    text: {en: {what: "a", why: "b", otherwise: "c", do: "d", clear: "e"}, de: {what: "a", why: "b", otherwise: "c", do: "d", clear: "e"}}
`)
	write("p_test.yaml", "tests: [{name: n, model: washer-w7, series: {drain_s: 55x3 95}, facts: [{firmware: 2.1, region: DE-BY}], want: [{at: 30m, rule: mine-slow}]}]\n")
	write("drain.csv", "drain_s\n55\n95\n")
	run := func(args ...string) (string, error) {
		var out strings.Builder
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(&out)
		root.SetErr(&out)
		err := root.Execute()
		return out.String(), err
	}
	for _, where := range []string{dir, filepath.Join(dir, "p_test.yaml")} {
		if out, err := run("rules", "test", where); err != nil || !strings.Contains(out, "1 tests of 1 rules pass") {
			t.Errorf("rules test %s: %v\n%s", where, err, out)
		}
	}
	out, err := run("detect", "rules", "--model", "washer-w7", "--rules.dir", dir, "--out", filepath.Join(dir, "out"), filepath.Join(dir, "drain.csv"))
	if err != nil || !strings.Contains(out, "note: mine-slow holds at no row: it applies to a certain firmware, region") {
		t.Errorf("detect rules: %v\n%s", err, out)
	}
	write("p_test.yaml", "tests: [{name: n, model: washer-w7, series: {drain_s: 55x3 95}, want: [{at: 30m, rule: mine-slow}]}]\n")
	if out, err := run("rules", "test", dir); err == nil || !strings.Contains(out, "got nothing of this rule (it applies to a certain firmware, which the test's facts do not say)") {
		t.Errorf("a test without facts: %v\n%s", err, out)
	}
}
