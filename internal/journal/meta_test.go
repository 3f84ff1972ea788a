//go:build linux

package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"aftercare/internal/wire"
)

// REL-05: whatever happens to the files around the records, the journal opens and every record is there; a consumer whose file is
// damaged reads again what it has read.
func TestDamagedStateFiles(t *testing.T) {
	base := testConfig(t)
	j := open(t, base)
	for i := range 30 {
		appendAll(t, j, reading(i%4, fmt.Sprintf("record-%02d", i+1)))
	}
	s := openSource(t, j, -1, "history", 0)
	fetch(t, s, 30)
	commit(t, s, 29)
	closeNow(t, j)
	for _, name := range []string{"meta.inf", "meta.sum", "msgs/index.db", "obs/history/meta.inf", "obs/history/meta.sum", "obs/history/o.dat"} {
		for what, damage := range map[string]func([]byte) []byte{
			"flipped": func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
			"cut":     func(b []byte) []byte { return b[:len(b)/2] },
			"empty":   func([]byte) []byte { return nil },
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				cfg := copyOf(t, base)
				path := filepath.Join(cfg.Dir, "jetstream", "$G", "streams", "readings", name)
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, damage(data), 0o600); err != nil {
					t.Fatal(err)
				}
				j := open(t, cfg)
				got := fetch(t, openSource(t, j, -1, "other", 0), 30)
				expect(t, "the first", string(got[0].Body), "record-01")
				appendAll(t, j, reading(0, "new"))
				if got, err := j.Tail(t.Context(), wire.Readings, 1); err != nil || got[0].Seq != 31 {
					t.Fatalf("the next sequence is not 31: %+v, %v", got, err)
				}
				behind := fetchUntil(t, openSource(t, j, -1, "history", 0), "new")
				if len(behind) < 2 {
					t.Fatalf("the consumer was given %d records, want what it had not committed", len(behind))
				}
			})
		}
	}
}
