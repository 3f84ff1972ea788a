package journal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
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
