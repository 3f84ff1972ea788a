package journal

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"aftercare/internal/wire"
)

// REL-01: a folder counts as synced until it changes, and one that has just changed does not: the next change may have the same time.
func TestFolderIsSyncedAgainAfterAChange(t *testing.T) {
	dir := t.TempDir()
	f := folders{dir: dir, synced: map[string]time.Time{}}
	known := func(want bool, when string) {
		t.Helper()
		if err := f.one(dir); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.synced[dir].Equal(info.ModTime()); got != want {
			t.Fatalf("%s it counts as synced: %v, want %v", when, got, want)
		}
	}
	file := filepath.Join(dir, "1.blk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(dir, time.Time{}, time.Now().Add(time.Hour)); err != nil { // a clock that was set back
		t.Fatal(err)
	}
	known(false, "with a change in the future")
	if err := os.Chtimes(dir, time.Time{}, time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	known(true, "a minute after a change")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || f.synced[dir].Equal(info.ModTime()) {
		t.Fatalf("a change is not seen: %v", err)
	}
}

// A folder that cannot be synced is an error, and the record in it is not acknowledged.
func TestFolderThatIsGone(t *testing.T) {
	j := open(t, testConfig(t))
	l, err := j.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.folders.dir = filepath.Join(t.TempDir(), "gone")
	if err := j.Append(t.Context(), []wire.Record{reading(0, "a")}); err == nil {
		t.Fatal("acknowledged although its folder cannot be synced")
	}
	if err := j.Append(t.Context(), []wire.Record{reading(0, "a")}); err != nil { // it has reopened
		t.Fatal(err)
	}
}
