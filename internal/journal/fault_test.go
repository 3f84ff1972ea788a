//go:build linux

package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// tmpfs mounts a small file system of its own, the only honest way to a full disk.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED: the faults of a full disk are NOT tested, a tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill leaves about free bytes of a file system and returns how to give the rest back.
func fill(t *testing.T, dir string, free int) (release func()) {
	t.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, int(s.Bavail)*int(s.Bsize)-free), 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}
}

// REL-06 and REL-07: a write that fails is never acknowledged, the journal says that it is broken, opens again by itself when
// there is room, and everything acknowledged before and after is there, once per append at least and in order.
func TestFailedWriteBreaksAndReopens(t *testing.T) {
	cfg := testConfig(t)
	cfg.Dir = filepath.Join(tmpfs(t, "24m"), "log")
	cfg.MinFree, cfg.AckTimeout = 0, 500*time.Millisecond // the check would not let it come so far
	j := open(t, cfg)
	s := openSource(t, j, 0, "history", 0)
	appendAll(t, j, reading(0, "first"))
	expect(t, "before", bodies(fetch(t, s, 1)), "first")

	release := fill(t, cfg.Dir+"/..", 300<<10)
	acked := []string{"first"}
	var failed error
	for i := range 200 {
		body := fmt.Sprintf("%d:%s", i, strings.Repeat("x", 40_000))
		if failed = j.Append(t.Context(), []wire.Record{reading(0, body)}); failed != nil {
			break
		}
		acked = append(acked, body)
	}
	if !errors.Is(failed, ErrBroken) || fleet.CodeOf(failed) != fleet.CodeBusy {
		t.Fatalf("on a full disk: got %v, want ErrBroken", failed)
	}
	t.Logf("%d records before: %v", len(acked)-1, failed)

	// While it is full the next one waits, and is not acknowledged.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := j.Append(ctx, []wire.Record{reading(0, strings.Repeat("y", 2<<20))}); err == nil {
		t.Fatal("acknowledged on a full disk")
	}
	release()
	last := ""
	for i := 0; last == ""; i++ { // a caller that sends again; each try blocks until the journal is open
		if j.Append(t.Context(), []wire.Record{reading(0, "last")}) == nil {
			last = "last"
		} else if i == 20 {
			t.Fatal("did not come back")
		}
	}
	acked = append(acked, last)
	if err := j.Check(t.Context()); err != nil {
		t.Fatalf("health after reopening: %v", err)
	}
	if testutil.ToFloat64(j.metrics.reopens) < 1 {
		t.Fatal("no reopening counted")
	}
	// Nothing acknowledged is missing, in order; what was not acknowledged may be there as well. The same source goes on.
	got := append([]wire.Record{{Body: []byte("first")}}, fetchUntil(t, s, "last")...)
	for _, r := range got {
		if len(acked) > 0 && string(r.Body) == acked[0] {
			acked = acked[1:]
		}
	}
	if len(acked) > 0 {
		t.Fatalf("%d acknowledged records are missing, the first is %.20q", len(acked), acked[0])
	}
	commit(t, s, got[len(got)-1].Seq)
}

func fetchUntil(t *testing.T, s wire.Source, body string) []wire.Record {
	t.Helper()
	var out []wire.Record
	for {
		out = append(out, fetch(t, s, 1)...)
		if string(out[len(out)-1].Body) == body {
			return out
		}
	}
}

// REL-07: below the reserve nothing is acknowledged, before anything meets a full disk; it resumes by itself.
func TestDiskReserve(t *testing.T) {
	cfg := testConfig(t)
	cfg.Dir = filepath.Join(tmpfs(t, "32m"), "log")
	j := open(t, cfg)
	appendAll(t, j, reading(0, "a"))
	now := time.Now()
	release := fill(t, cfg.Dir+"/..", 1<<20) // 3 %
	err := j.append(t.Context(), []wire.Record{reading(0, "b")}, now.Add(2*time.Second))
	if !errors.Is(err, ErrFull) || fleet.CodeOf(err) != fleet.CodeBusy {
		t.Fatalf("got %v, want ErrFull", err)
	}
	release()
	if err := j.append(t.Context(), []wire.Record{reading(0, "c")}, now.Add(2500*time.Millisecond)); !errors.Is(err, ErrFull) {
		t.Fatalf("asked the disk again within the second: %v", err)
	}
	if err := j.append(t.Context(), []wire.Record{reading(0, "d")}, now.Add(4*time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := j.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, "records", bodies(fetch(t, openSource(t, j, 0, "", 0), 2)), "a d")
}

// A full stream takes no more and loses nothing; other streams go on.
func TestFullStreamNeverAcknowledges(t *testing.T) {
	cfg := testConfig(t)
	cfg.ReadingsBytes, cfg.TrimBytes = 1<<20, 1<<20
	j := open(t, cfg)
	body := bytes.Repeat([]byte("x"), 100_000)
	stored := 0
	for i := range 30 {
		err := j.Append(t.Context(), []wire.Record{{Stream: wire.Readings, Body: body}, {Stream: wire.Findings, Body: []byte("f")}})
		if err == nil {
			if stored++; stored != i+1 {
				t.Fatal("acknowledged again although nothing was purged")
			}
			continue
		}
		if !errors.Is(err, ErrFull) || fleet.CodeOf(err) != fleet.CodeBusy {
			t.Fatalf("got %v, want ErrFull", err)
		}
	}
	if stored < 5 || stored > 11 {
		t.Fatalf("%d records of 100 kB in 1 MiB", stored)
	}
	fetch(t, openSource(t, j, -1, "", 0), stored)
	if f, err := j.Tail(t.Context(), wire.Findings, 100); err != nil || len(f) != 30 {
		t.Fatalf("findings: %d, %v", len(f), err)
	}
	if err := j.Check(t.Context()); err != nil {
		t.Fatalf("full is not broken: %v", err)
	}
}

// The server is taken away under an open source, with records given out and not committed.
func TestSourceSurvivesReopen(t *testing.T) {
	j := open(t, testConfig(t))
	appendAll(t, j, reading(0, "a"), reading(0, "b"), reading(0, "c"), reading(0, "d"))
	kept, free := openSource(t, j, 0, "history", 0), openSource(t, j, 0, "", 0)
	expect(t, "with memory", bodies(fetch(t, kept, 3)), "a b c")
	expect(t, "without", bodies(fetch(t, free, 2)), "a b")
	commit(t, kept, 1)

	breakNow(t, j)
	commit(t, kept, 2) // before anything is delivered again
	expect(t, "with memory, after", bodies(fetch(t, kept, 1)), "d")
	expect(t, "without, after", bodies(fetch(t, free, 2)), "c d")
	commit(t, kept, 3)

	// A reader that waits while the server goes away gets what comes afterwards.
	done := make(chan string)
	go func() {
		r, err := kept.Fetch(t.Context(), 1)
		done <- fmt.Sprint(bodies(r), err)
	}()
	breakNow(t, j)
	appendAll(t, j, reading(0, "e"))
	expect(t, "waiting", <-done, "e<nil>")
	_ = kept.Close()
	expect(t, "position", bodies(fetch(t, openSource(t, j, 0, "history", 0), 2)), "d e")
}

// breakNow makes the journal give its server up, as after an append without an answer.
func breakNow(t *testing.T, j *Journal) {
	t.Helper()
	l, err := j.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	j.fail(l, errors.New("test"))
	if err := j.Check(t.Context()); err == nil {
		t.Log("open again already")
	}
}
