package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// SEC-16: the key of push requests is made once, kept as a secret, and never replaced.
func TestPushKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "vapid.key")
	first, err := pushKey(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if again, err := pushKey(file); err != nil || again.Public() != first.Public() || len(first.Public()) != 87 {
		t.Errorf("%v, %v; want %v", again, err, first)
	}
	if err := os.WriteFile(file, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pushKey(file); err == nil || !strings.Contains(err.Error(), "push.key_file") {
		t.Errorf("%v", err)
	}
	if text, _ := os.ReadFile(file); string(text) != "damaged" {
		t.Error("a damaged key was replaced")
	}
}
