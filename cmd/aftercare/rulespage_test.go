package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRulesPage: the rule that internal/rules/README.md begins with has no mistake beside the shipped packs and passes its tests, and so
// does each condition of the page's table, and each fragment of a rule.
func TestRulesPage(t *testing.T) {
	page, err := os.ReadFile("../../internal/rules/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for i, block := range strings.Split(string(page), "```") {
		if kind, body, _ := strings.Cut(block, "\n"); i%2 == 1 && kind == "yaml" {
			blocks = append(blocks, body)
		}
	}
	if len(blocks) < 5 || !strings.HasPrefix(blocks[0], "pack:") || !strings.HasPrefix(blocks[1], "tests:") {
		t.Fatalf("the page begins otherwise: %q", blocks)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(want string, args ...string) {
		var out strings.Builder
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(&out)
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%v: %v\n%s", args, err, out.String())
			if wrong, ok := err.(*problemsError); ok { //nolint:errorlint // our own, bare
				t.Errorf("%v", wrong.problems)
			}
		}
	}
	shipped, err := filepath.Glob("../../configs/rules/*.yaml")
	if err != nil || len(shipped) == 0 {
		t.Fatal("the shipped packs are not there", err)
	}
	for _, f := range shipped {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(f, "_test.yaml") {
			write(filepath.Base(f), string(text))
		}
	}
	write("workshop.yaml", blocks[0])
	write("workshop_test.yaml", blocks[1])
	run("no mistakes", "check", "--rules.dir", dir)
	run("2 tests of ", "rules", "test", dir)

	const head = "pack: page\napplies: {category: washing-machine}\nrules:\n"
	const text = "    text: {en: {what: a, why: b, otherwise: c, do: d, clear: e}, de: {what: a, why: b, otherwise: c, do: d, clear: e}}\n"
	pack := head
	table, _, _ := strings.Cut(string(page), "## Conditions")
	_, table, _ = strings.Cut(table, "| I want to know when |")
	conditions := regexp.MustCompile("`([^`]*[<>=]=?[^`]*)`").FindAllStringSubmatch(table, -1)
	if len(conditions) < 15 {
		t.Fatalf("only %d conditions in the table", len(conditions))
	}
	for i, c := range conditions {
		pack += "  - id: page-" + string(rune('a'+i)) + "\n    kind: fault\n    severity: due\n    when: '" + c[1] + "'\n" + text
	}
	for i, fragment := range blocks[2:] {
		switch {
		case strings.HasPrefix(fragment, "tests:"):
			write("page_test.yaml", fragment)
		case strings.Contains(fragment, "levels:"):
			pack += "  - id: page-levels\n    kind: fault\n" + fragment + text
		default:
			pack += "  - id: page-fragment-" + string(rune('a'+i)) + "\n    kind: fault\n    severity: due\n" + fragment + text
		}
	}
	write("page.yaml", pack)
	run("no mistakes", "check", "--rules.dir", dir)
	root := newRoot() // an example of all keys: whether it passes is not asked
	root.SetArgs([]string{"rules", "test", filepath.Join(dir, "page_test.yaml")})
	root.SetOut(io.Discard)
	var wrong *problemsError
	if err := root.Execute(); errors.As(err, &wrong) {
		t.Errorf("the page's tests: %v", wrong.problems)
	}
}
