package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"aftercare/internal/wire"
)

// REL-05: a flipped bit that moves a consumer's position on makes it pass over nothing.
func TestPositionThatJumpedAhead(t *testing.T) {
	cfg := testConfig(t)
	j := open(t, cfg)
	for i := range 30 {
		appendAll(t, j, reading(i%4, fmt.Sprintf("record-%02d", i+1)))
	}
	s := openSource(t, j, -1, "history", 0)
	fetch(t, s, 30)
	commit(t, s, 8)
	if err := j.saveMarks(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.Dir, marksFile)
	early := readFiles(t, []string{path})
	commit(t, s, 10)
	closeNow(t, j)
	position := filepath.Join(cfg.Dir, "jetstream", "$G", "streams", "readings", "obs", "history", "o.dat")
	data := readFiles(t, []string{position})[position]
	if data[3] != 10 {
		t.Fatalf("the position is not where the test looks: % x", data)
	}

	first := func(want string) {
		t.Helper()
		j := open(t, cfg)
		expect(t, "the first behind its position", string(fetch(t, openSource(t, j, -1, "history", 0), 1)[0].Body), want)
		closeNow(t, j)
	}
	first("record-11")
	flip := func() {
		t.Helper()
		data[3] = 10 ^ 4
		if err := os.WriteFile(position, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	first("record-11")
	// Without the copy it is not noticed: the server believes it.
	flip()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	first("record-15")
	// After a kill the copy is older than the position: what was committed since is read again.
	if err := os.WriteFile(path, early[path], 0o600); err != nil {
		t.Fatal(err)
	}
	first("record-09")
}

// A position before the first record that is kept is no hindrance.
func TestPositionBeforeWhatIsKept(t *testing.T) {
	cfg := testConfig(t)
	j := open(t, cfg)
	for i := range 20 {
		appendAll(t, j, reading(0, fmt.Sprintf("record-%02d", i+1)))
	}
	s := openSource(t, j, -1, "history", 0)
	fetch(t, s, 20)
	commit(t, s, 15)
	j.noteCommitted(wire.Readings, "history", 3)
	trim(t, j, time.Now().Add(cfg.Keep+time.Hour), 15)
	closeNow(t, j)
	j = open(t, cfg)
	expect(t, "behind the purge", bodies(fetch(t, openSource(t, j, -1, "history", 0), 5)), "record-16 record-17 record-18 record-19 record-20")
	missing(t, j, 0)
}

// A flipped bit in the marks is noticed, or changes nothing; so are marks that a power cut has cut off.
func TestDamagedMarks(t *testing.T) {
	cfg := testConfig(t)
	j := open(t, cfg)
	appendAll(t, j, reading(0, "a"), reading(0, "b"))
	s := openSource(t, j, -1, "history", 0)
	fetch(t, s, 2)
	commit(t, s, 1)
	closeNow(t, j)
	path := filepath.Join(cfg.Dir, marksFile)
	want, err := readMarks(cfg.Dir)
	if err != nil || want.Acked[wire.Readings] != 2 || want.Committed["readings/history"] != 1 {
		t.Fatalf("%+v, %v", want, err)
	}
	whole := readFiles(t, []string{path})[path]
	try := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readMarks(cfg.Dir)
		if err == nil && !reflect.DeepEqual(got, want) || err != nil && (len(got.Acked) > 0 || got.Acked == nil || len(got.Committed) > 0 || got.Committed == nil) {
			t.Fatalf("%q is read as %+v, %v", data, got, err)
		}
	}
	for i := range whole {
		try(whole[:i])
		for bit := range 8 {
			data := append([]byte(nil), whole...)
			data[i] ^= 1 << bit
			try(data)
		}
	}
	try([]byte("null"))
	try([]byte("{}"))
	try(make([]byte, len(whole)))
	j = open(t, cfg)
	expect(t, "position", bodies(fetch(t, openSource(t, j, -1, "history", 0), 1)), "b")
	missing(t, j, 0)
}
