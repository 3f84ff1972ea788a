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

// REL-05 as far as JetStream's files allow: one damaged record is counted, everything after it is read.
func TestDamagedRecord(t *testing.T) {
	j := open(t, damage(t, false))
	s := openSource(t, j, -1, "other", 0)
	got := fetch(t, s, 29)
	expect(t, "around it", bodies(got[9:11]), "record-10 record-12")
	missing(t, j, 1)
	expect(t, "position", bodies(fetch(t, openSource(t, j, -1, "history", 0), 1)), "record-30")
}

// When the server has to rebuild the block it cuts it off at the damaged record and gives the sequences out again. That is
// counted, and no reader takes the new records for read.
func TestDamagedRecordAfterKill(t *testing.T) {
	j := open(t, damage(t, true))
	missing(t, j, 20) // 11 to 30
	snapshot := openSource(t, j, -1, "", 30)
	appendAll(t, j, reading(0, "new"))
	for what, s := range map[string]wire.Source{"consumer": openSource(t, j, -1, "history", 0), "from a snapshot": snapshot} {
		r := fetch(t, s, 1)
		expect(t, what, bodies(r), "new")
		if r[0].Seq != 11 {
			t.Fatalf("sequence %d, want 11 again", r[0].Seq)
		}
	}
}
