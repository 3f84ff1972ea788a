package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"aftercare/internal/config"
)

// TestTemplatesOfOnesOwn: a mistake in one is named with its file and line; one that is well takes the shipped one's place.
func TestTemplatesOfOnesOwn(t *testing.T) {
	cfg := config.Default()
	load := func(text string) (problems []string) {
		t.Helper()
		cfg.Templates = t.TempDir()
		if err := os.CopyFS(cfg.Templates, fstest.MapFS{"de/case.tmpl": {Data: []byte(text)}}); err != nil {
			t.Fatal(err)
		}
		_, found := LoadFiles(cfg)
		for _, p := range found {
			problems = append(problems, p.String())
		}
		return problems
	}
	got := load("{{/* ours */}}\n{{define \"title\"}}{{wat}}{{end}}\n")
	if want := filepath.Join(cfg.Templates, "de", "case.tmpl") + `:2: function "wat" not defined`; len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := load("{{define \"title\"}}{{what}}{{end}}\n{{define \"body\"}}{{with do}}{{.}}{{end}}{{end}}\n"); len(got) != 0 {
		t.Errorf("%q", got)
	}
	cfg.Templates = filepath.Join(t.TempDir(), "none")
	if _, problems := LoadFiles(cfg); len(problems) != 1 || !strings.HasPrefix(problems[0].String(), "templates: ") {
		t.Errorf("%v", problems)
	}
}
