package journal

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

func TestSnapshots(t *testing.T) {
	cfg := testConfig(t)
	j := open(t, cfg)
	if _, ok, err := j.LoadSnapshot(t.Context(), "0.manifest"); ok || err != nil {
		t.Fatalf("nothing there yet: %v, %v", ok, err)
	}
	chunk := make([]byte, 1<<20)
	for _, body := range [][]byte{[]byte("old"), chunk} {
		if err := j.SaveSnapshot(t.Context(), "0.g1.c3", body); err != nil {
			t.Fatal(err)
		}
	}
	rev, err := j.SwapSnapshot(t.Context(), "0.manifest", []byte("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.SwapSnapshot(t.Context(), "0.manifest", []byte("late"), 0); fleet.CodeOf(err) != fleet.CodeConflict {
		t.Fatalf("a second first one: %v", err)
	}
	if _, err = j.SwapSnapshot(t.Context(), "0.manifest", []byte("two"), rev); err != nil {
		t.Fatal(err)
	}
	closeNow(t, j)

	j = open(t, cfg)
	body, ok, err := j.LoadSnapshot(t.Context(), "0.g1.c3")
	if err != nil || !ok || len(body) != len(chunk) {
		t.Fatalf("chunk: %d bytes, %v, %v", len(body), ok, err)
	}
	manifest, revision, err := j.LoadSnapshotRevision(t.Context(), "0.manifest")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "manifest", string(manifest), "two")
	if _, err := j.SwapSnapshot(t.Context(), "0.manifest", []byte("three"), revision); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotsAreListedAndDeleted(t *testing.T) {
	cfg := testConfig(t)
	j := open(t, cfg)
	for _, key := range []string{"r.p1.c.1", "r.p1.c.2", "r.p1.m", "r.p11.c.1", "x"} {
		if err := j.SaveSnapshot(t.Context(), key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	list := func(prefix string) string {
		keys, err := j.SnapshotKeys(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(keys)
		return strings.Join(keys, " ")
	}
	expect(t, "keys", list("r.p1."), "r.p1.c.1 r.p1.c.2 r.p1.m")
	expect(t, "no keys", list("r.p2."), "")
	for _, key := range []string{"r.p1.c.1", "r.p1.m", "r.p1.m", "never"} {
		if err := j.DeleteSnapshot(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.SwapSnapshot(t.Context(), "r.p1.m", []byte("anew"), 0); err != nil {
		t.Error(err)
	}
	if err := j.DeleteSnapshot(t.Context(), "x"); err != nil { // the stream's last but one
		t.Fatal(err)
	}
	if err := j.DeleteSnapshot(t.Context(), "r.p1.m"); err != nil { // and its last
		t.Fatal(err)
	}
	closeNow(t, j)
	j = open(t, cfg)
	expect(t, "keys of the next start", list("r."), "r.p1.c.2 r.p11.c.1")
	for _, key := range []string{"r.*", ">", "r..p"} {
		if _, err := j.SnapshotKeys(t.Context(), key+"."); fleet.CodeOf(err) != fleet.CodeInvalid {
			t.Errorf("%q is listed: %v", key, err)
		}
		if err := j.DeleteSnapshot(t.Context(), key); fleet.CodeOf(err) != fleet.CodeInvalid {
			t.Errorf("%q is deleted: %v", key, err)
		}
	}
}

// REL-08: what SaveClocks has confirmed is in the files, so that a killed process finds it; a reading that is corrected by it is
// acknowledged right after.
func TestClocksAreInTheFilesWhenSaved(t *testing.T) {
	cfg := testConfig(t)
	j := open(t, cfg)
	for i := range 100 {
		body := fmt.Sprint("state ", i, ".")
		if err := j.SaveClocks(t.Context(), "7", []byte(body)); err != nil {
			t.Fatal(err)
		}
		there := false
		for _, path := range blockFiles(t, cfg, wire.Clocks) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			there = there || bytes.Contains(data, []byte(body))
		}
		if !there {
			t.Fatalf("%q is in no file", body)
		}
	}
	if body, ok, err := j.LoadClocks(t.Context(), "7"); err != nil || !ok || string(body) != "state 99." {
		t.Errorf("the newest: %q, %v, %v", body, ok, err)
	}
	if _, ok, err := j.LoadClocks(t.Context(), "8"); ok || err != nil {
		t.Errorf("a key that was never saved: %v, %v", ok, err)
	}
}

func TestSnapshotKeys(t *testing.T) {
	for _, key := range []string{"0", "0.manifest", "12.g1.c3", "a_b-C"} {
		if err := validKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{"", ".", "0.", ".0", "0..1", "0.*", ">", "a b", "ä"} {
		if fleet.CodeOf(validKey(key)) != fleet.CodeInvalid {
			t.Errorf("%q is accepted", key)
		}
	}
}
