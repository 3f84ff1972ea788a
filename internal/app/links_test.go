package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aftercare/internal/config"
)

// TestTheKeyOfLinksIsMadeOnceAndKeptToItself: with another key no link that is out there works any more.
func TestTheKeyOfLinksIsMadeOnceAndKeptToItself(t *testing.T) {
	cfg := config.Config{Data: t.TempDir()}
	first, err := linksOf(cfg)
	if err != nil || len(first) != linksKey || bytes.Equal(first, make([]byte, linksKey)) {
		t.Fatalf("%x, %v", first, err)
	}
	path := filepath.Join(cfg.Data, linksFile)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if again, err := linksOf(cfg); err != nil || !bytes.Equal(again, first) {
		t.Errorf("the second start has another key: %v", err)
	}
	if other, err := linksOf(config.Config{Data: t.TempDir()}); err != nil || bytes.Equal(other, first) {
		t.Errorf("two installations have one key: %v", err)
	}
	for _, damaged := range [][]byte{nil, first[:31], append(bytes.Clone(first), 'x')} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := linksOf(cfg); err == nil || !strings.Contains(err.Error(), "bring back the file from a backup") {
			t.Errorf("%d bytes: %v", len(damaged), err)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, damaged) { //nolint:gosec // ours
			t.Errorf("a damaged key was replaced: %v", err)
		}
	}
}
