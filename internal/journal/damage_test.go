//go:build linux

package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/wire"
)

// damage writes 30 records of which a consumer has committed all but the last, closes the journal and flips one bit of the
// eleventh. Without its index the server must read the block itself, as after a kill.
func damage(t *testing.T, killed bool) Config {
	t.Helper()
	cfg := testConfig(t)
	j := open(t, cfg)
	for i := range 30 {
		appendAll(t, j, reading(i%4, fmt.Sprintf("record-%02d", i+1)))
	}
	s := openSource(t, j, -1, "history", 0)
	fetch(t, s, 30)
	commit(t, s, 29)
	closeNow(t, j)
	dir := filepath.Join(cfg.Dir, "jetstream", "*", "streams", "readings", "msgs")
	blocks, err := filepath.Glob(filepath.Join(dir, "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("blocks: %v, %v", blocks, err)
	}
	data, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, []byte("record-11"))+3] ^= 1
	if err := os.WriteFile(blocks[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if killed {
		if err := os.Remove(filepath.Join(filepath.Dir(blocks[0]), "index.db")); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

func missing(t *testing.T, j *Journal, want float64) {
	t.Helper()
	if got := testutil.ToFloat64(j.metrics.missing); got != want {
		t.Fatalf("%v records counted as missing, want %v", got, want)
	}
}

// REL-05: a flipped bit is turned back before the server sees it, after an orderly end and after a kill.
func TestFlippedBitIsRepaired(t *testing.T) {
	for _, killed := range []bool{false, true} {
		j := open(t, damage(t, killed))
		got := fetch(t, openSource(t, j, -1, "other", 0), 30)
		expect(t, "around it", bodies(got[9:12]), "record-10 record-11 record-12")
		missing(t, j, 0)
		outcomes(t, j, OutcomeRepaired, 1)
		expect(t, "position", bodies(fetch(t, openSource(t, j, -1, "history", 0), 1)), "record-30")
	}
}

func outcomes(t *testing.T, j *Journal, outcome string, want float64) {
	t.Helper()
	if got := testutil.ToFloat64(j.metrics.damages.WithLabelValues(outcome)); got != want {
		t.Fatalf("%v records counted as %s, want %v", got, outcome, want)
	}
}

// Damage that comes while the journal is open meets the server, which reads its files again when its cache has gone. A reader passes
// over the record, neither stops nor loops, and the loss is counted; the next opening repairs it.
func TestDamageWhileRunning(t *testing.T) {
	cfg := testConfig(t)
	cfg.ReadingsBytes, cfg.TrimBytes = 24<<20, 24<<20 // files of 4 MiB
	cfg.Sync, cfg.Durability = syncInterval, durabilityRelaxed
	j := open(t, cfg)
	for i := range 150 {
		appendAll(t, j, reading(i%4, fmt.Sprintf("record-%03d %s", i+1, bytes.Repeat([]byte("x"), 60_000))))
	}
	breakNow(t, j) // a server without caches, that has looked at whole files
	appendAll(t, j, reading(0, "last"))
	path := blockFiles(t, cfg, wire.Readings)[0]
	data := readFiles(t, []string{path})[path]
	at := bytes.Index(data, []byte("record-011"))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{data[at+3] ^ 1}, int64(at+3)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	got := fetchUntil(t, openSource(t, j, -1, "history", 0), "last")
	if len(got) != 150 {
		t.Fatalf("%d records, want all 151 but one", len(got))
	}
	missing(t, j, 1)
	closeNow(t, j)
	j = open(t, cfg)
	if got := fetchUntil(t, openSource(t, j, -1, "other", 0), "last"); len(got) != 151 || !bytes.HasPrefix(got[10].Body, []byte("record-011")) {
		t.Fatalf("after the next opening: %d records", len(got))
	}
	outcomes(t, j, OutcomeRepaired, 1)
}
