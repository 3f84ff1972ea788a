package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// sample is a closed journal with n records of very different sizes, and the readings in it.
func sample(t *testing.T, n int, change func(*Config)) (Config, map[string]bool) {
	t.Helper()
	cfg := testConfig(t)
	cfg.Sync, cfg.Durability = syncInterval, durabilityRelaxed
	if change != nil {
		change(&cfg)
	}
	j := open(t, cfg)
	dice := rand.New(rand.NewPCG(uint64(n), 7))
	lines := map[string]bool{}
	for i := range n {
		r := reading(i%4, "")
		for range []int{1, 3, 20, 200, 700}[dice.IntN(5)] {
			line := fmt.Sprintf("washer-w7,serial=WM-%04d,tenant=demo drain_s=%d,cycles=%di,boot=3i,seq=%di 1700000000123877903\n", i, dice.IntN(90), i, len(lines))
			lines[line] = true
			r.Body = append(r.Body, line...)
		}
		appendAll(t, j, r, wire.Record{Stream: wire.Findings, Partition: i % 4, Kind: wire.KindFinding, Received: r.Received, ID: fmt.Sprint(i), Body: []byte("{}")})
	}
	if err := j.SaveSnapshot(t.Context(), "0.g1", bytes.Repeat([]byte("state"), 5000)); err != nil {
		t.Fatal(err)
	}
	closeNow(t, j)
	return cfg, lines
}

func blockFiles(t *testing.T, cfg Config, stream wire.Stream) []string {
	t.Helper()
	in := inspector{dir: cfg.Dir}
	blocks, err := in.blocks(stream)
	if err != nil || len(blocks) == 0 {
		t.Fatalf("%d blocks, %v", len(blocks), err)
	}
	out := make([]string, 0, len(blocks))
	for _, b := range blocks {
		out = append(out, b.path)
	}
	return out
}

// stand puts copies of files back, and takes away what looking at them has left.
func stand(t testing.TB, cfg Config, files map[string][]byte) {
	t.Helper()
	for path, data := range files {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(cfg.Dir, damagedDir)); err != nil {
		t.Fatal(err)
	}
}

func readFiles(t testing.TB, paths []string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out[p] = data
	}
	return out
}

func look(t testing.TB, cfg Config, mend bool) Report {
	t.Helper()
	in := inspector{dir: cfg.Dir, mend: mend}
	report, err := in.run()
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// readingsIn reads all readings of an open journal, by line.
func readingsIn(t *testing.T, j *Journal) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for from := uint64(0); ; {
		page, err := j.Scan(t.Context(), wire.Readings, from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return out
		}
		for _, r := range page {
			for line := range strings.Lines(string(r.Body)) {
				out[line] = true
			}
		}
		from = page[len(page)-1].Seq + 1
	}
}

// REL-05: whichever single bit flips in whichever file, all files are again as they were, and a second look finds nothing.
func TestAnyFlippedBitIsRepaired(t *testing.T) {
	cfg, _ := sample(t, 40, nil)
	paths := slices.Concat(blockFiles(t, cfg, wire.Readings), blockFiles(t, cfg, wire.Findings), blockFiles(t, cfg, wire.Snapshots))
	files := readFiles(t, paths)
	rapid.Check(t, func(r *rapid.T) {
		path := rapid.SampledFrom(paths).Draw(r, "file")
		data := bytes.Clone(files[path])
		at := rapid.IntRange(0, len(data)-1).Draw(r, "byte")
		data[at] ^= 1 << rapid.IntRange(0, 7).Draw(r, "bit")
		stand(t, cfg, map[string][]byte{path: data})
		if seen := look(t, cfg, false); len(seen.Damages) != 1 {
			r.Fatalf("looking only: %+v", seen.Damages)
		}
		report := look(t, cfg, true)
		if len(report.Damages) != 1 || report.Damages[0].Outcome != OutcomeRepaired {
			r.Fatalf("%+v", report.Damages)
		}
		for p, want := range readFiles(t, paths) {
			if !bytes.Equal(want, files[p]) {
				r.Fatalf("%s is not as it was", p)
			}
		}
		if again := look(t, cfg, true); len(again.Damages) != 0 {
			r.Fatalf("a second look: %+v", again.Damages)
		}
	})
}

// REL-05: a damaged sector costs the readings of the chunks it touches and no others, and what it costs is counted and put aside.
func TestDamagedSectorCostsNoOtherReading(t *testing.T) {
	base, lines := sample(t, 60, nil)
	f, err := newFormat("readings", 1)
	if err != nil {
		t.Fatal(err)
	}
	dice := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for range 12 {
		cfg := copyOf(t, base)
		path := blockFiles(t, cfg, wire.Readings)[0]
		whole := readFiles(t, []string{path})[path]
		data := bytes.Clone(whole)
		at := dice.IntN(len(data) - 512)
		for i := range 512 {
			data[at+i] = byte(dice.Uint32())
		}
		may := mayLose(f, whole, at, at+512)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		j := open(t, cfg)
		got := readingsIn(t, j)
		for line := range lines {
			if !got[line] && !may[line] {
				t.Fatalf("sector at %d: a reading that was not damaged is gone: %s", at, line)
			}
		}
		for line := range got {
			if !lines[line] {
				t.Fatalf("sector at %d: a reading that nobody sent: %q", at, line)
			}
		}
		aside, err := j.Tail(t.Context(), wire.Quarantine, 1)
		if err != nil || len(aside) != 1 {
			t.Fatalf("nothing was put aside: %v", err)
		}
		var q fleet.Quarantined
		if err := json.Unmarshal(aside[0].Body, &q); err != nil || q.Reason != ReasonDamaged || len(q.Payload) == 0 {
			t.Fatalf("put aside: %+v, %v", q, err)
		}
		if n := testutil.ToFloat64(j.metrics.damages.WithLabelValues(OutcomeLost)); n < 1 {
			t.Fatal("not counted")
		}
		// The sequences of before stay, and the next one is new.
		appendAll(t, j, reading(0, "next"))
		if copies, _ := filepath.Glob(filepath.Join(cfg.Dir, damagedDir, "*.blk")); len(copies) != 1 {
			t.Fatalf("%d copies of the damaged file", len(copies))
		}
		closeNow(t, j)
		expectClean(t, cfg)
	}
}

// mayLose returns the lines that touch a damaged chunk; all of a record whose head or hash is hit.
func mayLose(f *format, data []byte, from, to int) map[string]bool {
	out := map[string]bool{}
	for off := 0; off < len(data); {
		r, ok := f.read(data[off:])
		if !ok {
			break
		}
		body := off + len(r.raw) - recordHash - len(r.body)
		for a := 0; a < len(r.body); {
			b := a + bytes.IndexByte(r.body[a:], '\n') + 1
			first, last := body+max(a-1, 0)/sumChunk*sumChunk, body+((b-1)/sumChunk+1)*sumChunk
			headHit := from < body && to > off
			if headHit || len(r.body) <= sumChunk && from < off+len(r.raw) && to > off || from < last && to > first {
				out[string(r.body[a:b])] = true
			}
			a = b
		}
		off += len(r.raw)
	}
	return out
}

// REL-05: of a file that is cut anywhere, every whole record is kept, and no sequence is given out again.
func TestCutFileKeepsWholeRecords(t *testing.T) {
	base, lines := sample(t, 700, func(c *Config) { c.ReadingsBytes, c.TrimBytes = 24<<20, 24<<20 })
	dice := rand.New(rand.NewPCG(2, uint64(time.Now().UnixNano())))
	for round := range 6 {
		cfg := copyOf(t, base)
		paths := blockFiles(t, cfg, wire.Readings)
		if len(paths) < 3 {
			t.Fatalf("%d files, want several", len(paths))
		}
		which := round % len(paths)
		data := readFiles(t, paths[which:which+1])[paths[which]]
		cut := dice.IntN(len(data))
		gone := cutAway(t, which+1, data, cut)
		if err := os.Truncate(paths[which], int64(cut)); err != nil {
			t.Fatal(err)
		}
		j := open(t, cfg)
		got := readingsIn(t, j)
		for line := range lines {
			if got[line] == gone[line] {
				t.Fatalf("file %d cut at %d of %d: there %v, cut away %v: %s", which, cut, len(data), got[line], gone[line], line)
			}
		}
		if testutil.ToFloat64(j.metrics.missing) == 0 {
			t.Fatal("not counted as missing")
		}
		appendAll(t, j, reading(0, "next\n"))
		last, err := j.Tail(t.Context(), wire.Readings, 1)
		if err != nil || last[0].Seq <= 700 {
			t.Fatalf("a sequence was given out again: %+v, %v", last, err)
		}
		closeNow(t, j)
		expectClean(t, cfg)
	}
}

// cutAway returns the lines of the records that do not lie wholly before the cut.
func cutAway(t *testing.T, number int, data []byte, cut int) map[string]bool {
	t.Helper()
	f, err := newFormat("readings", number)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for off := 0; off < len(data); {
		r, ok := f.read(data[off:])
		if !ok {
			t.Fatalf("the sample is damaged at %d", off)
		}
		if off += len(r.raw); off > cut {
			for line := range strings.Lines(string(r.body)) {
				out[line] = true
			}
		}
	}
	return out
}

// copyOf is a journal with the same files in another place.
func copyOf(t *testing.T, base Config) Config {
	t.Helper()
	cfg := base
	cfg.Dir = t.TempDir()
	if err := os.CopyFS(cfg.Dir, os.DirFS(base.Dir)); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func expectClean(t *testing.T, cfg Config) {
	t.Helper()
	if again := look(t, cfg, false); len(again.Damages) != 0 {
		t.Fatalf("a second look: %+v", again.Damages)
	}
}

// Whatever a file holds, looking at it comes to an end and tells of no record that was not written.
func FuzzWalk(f *testing.F) {
	form, err := newFormat("readings", 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, 0, byte(0))
	f.Add(form.erased(form.erased(nil, 7, 1), 8, 2), 31, byte(4))
	f.Fuzz(func(t *testing.T, data []byte, at int, flip byte) {
		whole := form.erased(form.erased(form.erased(nil, 1, 1), 2, 1), 3, 1)
		data = append(append(bytes.Clone(whole), data...), whole...)
		data[max(at, 0)%len(data)] ^= flip
		b := block{path: "1.blk"}
		b.walk(form, wire.Readings, data)
		off := 0
		for _, p := range b.pieces {
			if p.off < off || p.end <= p.off || p.end > len(data) {
				t.Fatalf("a piece from %d to %d after %d of %d", p.off, p.end, off, len(data))
			}
			off = p.end
		}
	})
}
