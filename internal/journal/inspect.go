package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"aftercare/internal/wire"
)

// A Damage is one place in a block file that is not as it was written.
type Damage struct {
	Stream  wire.Stream
	File    string // of the block
	Offset  int
	Bytes   int    // how many are not part of a whole record
	Seq     uint64 // the first record concerned; 0 when it cannot be told
	Records int    // how many are concerned
	Outcome string // OutcomeRepaired and so on

	// LinesSaved are readings of the record that lie in whole chunks, LinesLost those that do not; 0 and 0 for other records.
	LinesSaved, LinesLost int
}

// The outcomes of damage.
const (
	OutcomeRepaired = "repaired" // the record is again as it was
	OutcomeLost     = "lost"     // the record is gone, but for the lines saved
	OutcomeTorn     = "torn"     // the end of the newest file: an unfinished record that nobody was told of, or only zeros
	OutcomeMissing  = "missing"  // acknowledged records are not there at all: a file was cut or taken away
	OutcomePosition = "position" // a consumer's position cannot be read: it reads everything again
)

// Report is what a look at the files has found.
type Report struct {
	Files   int
	Bytes   int64
	Records int
	Took    time.Duration
	Damages []Damage
}

// repairBudget bounds the bytes that are hashed in search of flipped bits, over all records of one file: about a second of work.
const repairBudget = 1 << 30

// Inspect looks at every record in the journal's directory and changes nothing. The journal must be closed. The damage of what was
// being written when a process was killed is reported as torn.
func Inspect(dir string) (Report, error) {
	known, _ := readMarks(dir) // a power cut may have taken them; without them less is noticed
	in := inspector{dir: dir, acked: known.Acked}
	return in.run()
}

// inspector goes through the block files before the server opens them: the server cuts a file off at the first record that is
// damaged when it has to rebuild its index, and passes the record over when it has not.
type inspector struct {
	dir    string
	mend   bool                   // files are changed
	acked  map[wire.Stream]uint64 // how far each stream was acknowledged, at least
	before map[string]stamp       // files that were whole the last time; may be nil
	stamps map[string]stamp       // those of this time
}

type stamp struct {
	size int64
	time time.Time
}

// A block is a file with what was found in it.
type block struct {
	path    string
	number  int
	stamp   stamp
	skip    bool // not changed since it was whole
	pieces  []piece
	data    []byte // only of a damaged file
	records int
	first   uint64 // sequence of the first record, also of one that is erased; 0: none
	last    uint64 // highest sequence
	time    int64  // of the last record
	err     error
}

// A piece is a stretch of a damaged file.
type piece struct {
	off, end int
	raw      []byte // what is to stand there; empty: nothing
	damage   *Damage
	saved    []wire.Record
	first    uint64 // the sequences that are lost with it
	last     uint64
}

func (in *inspector) run() (Report, error) {
	var report Report
	began := time.Now()
	in.stamps = map[string]stamp{}
	for _, stream := range streams {
		blocks, err := in.blocks(stream)
		if err != nil {
			return report, fmt.Errorf("journal: look at the files of %q: %w", stream, err)
		}
		in.readAll(stream, blocks)
		for _, b := range blocks {
			if b.err != nil {
				return report, fmt.Errorf("journal: look at %q: %w", b.path, b.err)
			}
			report.Files++
			report.Bytes += b.stamp.size
			report.Records += b.records
			if len(b.pieces) == 0 {
				in.stamps[b.path] = b.stamp
			}
		}
		damages, err := in.settle(stream, blocks)
		report.Damages = append(report.Damages, damages...)
		if err != nil {
			return report, fmt.Errorf("journal: mend the files of %q: %w", stream, err)
		}
		last := uint64(0)
		if len(blocks) > 0 && !slices.ContainsFunc(blocks, func(b *block) bool { return b.skip }) {
			last = blocks[len(blocks)-1].last
		}
		damages, err = in.positions(stream, last)
		report.Damages = append(report.Damages, damages...)
		if err != nil {
			return report, fmt.Errorf("journal: look at the consumers of %q: %w", stream, err)
		}
	}
	report.Took = time.Since(began)
	return report, nil
}

// blocks lists the files of a stream in order.
func (in *inspector) blocks(stream wire.Stream) ([]*block, error) {
	paths, err := filepath.Glob(filepath.Join(in.dir, "jetstream", "*", "streams", string(stream), "msgs", "*.blk"))
	if err != nil {
		return nil, err
	}
	var out []*block
	for _, path := range paths {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), ".blk"))
		if err != nil {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		b := &block{path: path, number: n, stamp: stamp{info.Size(), info.ModTime()}}
		b.skip = in.before[path] == b.stamp
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b *block) int { return a.number - b.number })
	return out, nil
}

// readAll looks at the files, a few at a time.
func (in *inspector) readAll(stream wire.Stream, blocks []*block) {
	var wg sync.WaitGroup
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	for _, b := range blocks {
		if b.skip {
			continue
		}
		turn <- struct{}{}
		wg.Go(func() {
			b.err = b.look(stream)
			<-turn
		})
	}
	wg.Wait()
}

// look reads a file and verifies every record. It keeps the data only when there is damage.
func (b *block) look(stream wire.Stream) error {
	f, err := newFormat(string(stream), b.number)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(b.path)
	if err != nil {
		return err
	}
	if len(bytes.Trim(data, "\x00")) == 0 && len(data) > 0 {
		b.data, b.pieces = data, []piece{{end: len(data), damage: &Damage{Stream: stream, File: b.path, Bytes: len(data), Outcome: OutcomeTorn}}}
		return nil
	}
	b.walk(f, stream, data)
	if len(b.pieces) > 0 {
		b.data = data
	}
	return nil
}

// walk goes from record to record, and from damage to the next whole record.
func (b *block) walk(f *format, stream wire.Stream, data []byte) {
	budget := int64(repairBudget)
	for off := 0; off < len(data); {
		if r, ok := f.read(data[off:]); ok {
			b.note(&r)
			off += len(r.raw)
			continue
		}
		p := b.damaged(f, stream, data, off, &budget)
		if r, ok := f.read(p.raw); ok {
			b.note(&r)
		}
		b.pieces = append(b.pieces, p)
		off = p.end
	}
}

func (b *block) note(r *stored) {
	if !r.tomb && !r.gone {
		b.records++
	}
	if !r.tomb && b.first == 0 {
		b.first = r.seq
	}
	if r.seq > b.last {
		b.last, b.time = r.seq, r.time
		if r.tomb && b.time == 0 {
			b.time = r.time
		}
	}
}

// damaged decides what becomes of the damage at off: a record that can be repaired, or one that is lost.
func (b *block) damaged(f *format, stream wire.Stream, data []byte, off int, budget *int64) piece {
	end := f.next(data, off+1, b.last)
	p := piece{off: off, end: end, damage: &Damage{Stream: stream, File: b.path, Offset: off, Records: 1}}
	if fixed, ok := f.repair(data[off:end], budget); ok {
		r, _ := f.read(fixed)
		p.raw = fixed
		p.damage.Outcome, p.damage.Seq, p.damage.Bytes = OutcomeRepaired, r.seq, len(fixed)
		return p
	}
	r, whole := f.parse(data[off:end])
	mine := whole && bytes.HasPrefix(r.subject, []byte(f.prefix))
	if mine && len(r.raw) < end-off {
		// Behind it there is more that is damaged: one record at a time. It may be repaired on its own.
		p.end = off + len(r.raw)
		if fixed, ok := f.repair(data[off:p.end], budget); ok {
			p.raw = fixed
			p.damage.Outcome, p.damage.Seq, p.damage.Bytes = OutcomeRepaired, r.seq, len(fixed)
			return p
		}
	}
	p.damage.Bytes = p.end - off
	p.damage.Outcome = OutcomeLost
	if !whole && end == len(data) {
		p.damage.Outcome = OutcomeTorn // settled when it is known whether this is the newest file
	}
	if mine {
		p.saved, p.damage.LinesSaved, p.damage.LinesLost = salvage(&r)
	}
	if stream != wire.Snapshots { // they are made again
		p.saved = append(p.saved, quarantined(p.damage, &r, mine, data[off:p.end], b.time))
	}
	if mine && r.seq > b.last && r.seq <= b.last+uint64(len(data)/emptyRecord) {
		p.damage.Seq = r.seq
	}
	return p
}

// rewrite puts the mended file in place of the damaged one, which is kept aside with what was saved from it.
func (in *inspector) rewrite(stream wire.Stream, b *block) error {
	var out []byte
	at := 0
	var saved []wire.Record
	for i := range b.pieces {
		p := &b.pieces[i]
		out = append(append(out, b.data[at:p.off]...), p.raw...)
		at = p.end
		if p.damage.Outcome != OutcomeTorn {
			saved = append(saved, p.saved...)
		}
	}
	out = append(out, b.data[at:]...)
	base := fmt.Sprintf("%s-%d-%d", stream, b.number, time.Now().UnixNano())
	if err := in.keep(base, b.data, saved); err != nil {
		return err
	}
	// The index says what was in the file; without it the server reads the files.
	if err := os.Remove(filepath.Join(filepath.Dir(b.path), "index.db")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	b.data = nil
	return writeFile(b.path, out)
}

// writeFile replaces a file so that after a power cut the old or the new one is there.
func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
