package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
)

// A snapshot is a manifest and the chunks it names. Chunks hold devices; a snapshot writes only those that changed, and
// the manifest, written last, names every chunk that still holds the newest copy of some device. Two manifests take turns.
// A chunk's key is written once; it is deleted when neither of them names it.

// manifest is the JSON under a manifest's key.
type manifest struct {
	Generation uint64          `json:"generation"`      // 0: only a claim, there is no snapshot under this key
	Epoch      uint64          `json:"epoch,omitempty"` // of who wrote it; 0: from before there were epochs
	Seq        uint64          `json:"seq"`             // the readings up to here are in it
	Set        string          `json:"set"`             // hash of the rules it was made with
	Layout     json.RawMessage `json:"layout"`          // what the numbers in the chunks mean
	Header     []byte          `json:"header"`
	Chunks     []chunkRef      `json:"chunks"` // oldest first
}

type chunkRef struct {
	Epoch uint64 `json:"epoch,omitempty"`
	ID    uint32 `json:"id"` // no two chunks of a state share it, of whatever epochs
	Size  int    `json:"size"`
	CRC   uint32 `json:"crc"`
}

// snapshotter writes and reads the snapshots of one partition. begin and finish are called by the worker; one write at a
// time goes on beside it.
type snapshotter struct {
	cfg       Config
	store     Snapshots
	metrics   *metrics
	partition int
	log       *slog.Logger
	position  atomic.Uint64
	saved     atomic.Uint64

	lease  *lease
	revs   [2]uint64     // revisions of the manifests' keys
	last   uint32        // highest id of a chunk
	looked time.Time     // at what another process has stored
	swept  bool          // what others left behind was deleted
	gens   []*manifest   // what is stored, newest first, at most two; the write's while one goes on
	making *making       // the snapshot that is being encoded between records; nil: none
	flight chan struct{} // closed when the write that goes on is done; nil: none
	stop   context.CancelFunc

	mu   sync.Mutex // position is not raised beyond back meanwhile
	lost bool       // the stream was set back, and the manifests do not say so yet
	back uint64     // to behind here

	anew bool // what is stored is of other rules: save even when nothing was read since
}

func (s *snapshotter) manifestKey(generation uint64) string {
	return fmt.Sprintf("rules.p%d.manifest.%d", s.partition, generation%2)
}

// reset begins anew under a lease. No write may go on.
func (s *snapshotter) reset(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lease, s.revs, s.last, s.swept, s.gens, s.making, s.lost, s.anew = l, [2]uint64{}, 0, false, nil, nil, false, false
	s.saved.Store(0)
	s.position.Store(0)
}

// goBack notes that the records behind seq are others than those that were stepped, and keeps them from being trimmed.
func (s *snapshotter) goBack(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		seq = min(seq, s.back)
	}
	s.lost, s.back = true, seq
	s.position.Store(min(s.position.Load(), seq))
}

// behind reports whether manifests may hold a sequence from before the stream was set back.
func (s *snapshotter) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// lower makes the manifests begin where the stream was set back to, and returns those that must be stored again: their
// sequences mean other records now, and a start from one of them would pass these over once the stream has grown beyond it.
// No write may go on.
func (s *snapshotter) lower() []*manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lost {
		return nil
	}
	s.lost = false
	var changed []*manifest
	for _, m := range s.gens {
		if m.Seq > s.back {
			m.Seq = s.back
			changed = append(changed, m)
		}
	}
	return changed
}

// begin starts a snapshot, unless the last one still goes on or there is nothing new. Its devices are encoded by work.
func (s *snapshotter) begin(w *worker) {
	if s.busy() {
		return
	}
	lowered := s.lower()
	if w.seq == 0 || (!s.anew && len(s.gens) > 0 && s.gens[0].Seq == w.seq) {
		return
	}
	s.anew = false
	start := time.Now()
	s.making = s.prepare(w)
	s.making.lowered, s.making.start = lowered, start
	s.metrics.snapshotPause.Observe(time.Since(start).Seconds())
}

// busy reports whether a snapshot is being encoded or written.
func (s *snapshotter) busy() bool {
	if s.making != nil {
		return true
	}
	if s.flight == nil {
		return false
	}
	select {
	case <-s.flight:
		s.flight = nil
		return false
	default:
		return true
	}
}

func (s *snapshotter) publish() {
	s.saved.Store(s.gens[0].Seq)
	s.metrics.saved.WithLabelValues(strconv.Itoa(s.partition)).Set(float64(s.gens[0].Seq))
	if len(s.gens) == 2 {
		position := min(s.gens[0].Seq, s.gens[1].Seq)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lost {
			position = min(position, s.back)
		}
		s.position.Store(position)
	}
}

// finish waits for the snapshot that goes on and writes what is left, both within ctx. It returns with no goroutine left.
func (s *snapshotter) finish(ctx context.Context, w *worker) {
	if s.lease.isLost() {
		if s.flight != nil {
			s.stop()
			<-s.flight
		}
		s.flight, s.making = nil, nil
		return
	}
	all := func() {
		for s.making != nil {
			s.work(ctx, w, slice)
		}
	}
	all() // what it holds is from before anything that is broken now
	wait := func() {
		if s.flight == nil {
			return
		}
		select {
		case <-s.flight:
		case <-ctx.Done():
			s.stop()
			<-s.flight
		}
		s.flight = nil
	}
	wait()
	if ctx.Err() != nil {
		return // the older snapshot stands: what came after it is stepped again
	}
	if w.broken { // as above
		if err := s.again(ctx, s.lower()); err != nil {
			s.log.Error("the snapshots were not set back with the stream: the next start may pass records over", "error", err)
		}
		return
	}
	s.begin(w)
	all()
	wait()
	if len(s.gens) > 0 && s.gens[0].Seq != w.seq {
		s.log.Warn("the last snapshot was not written: more is read again at the next start", "sequence", w.seq)
	}
}

// prepare makes the next manifest but for its chunks, and begins to encode what is new in them.
func (s *snapshotter) prepare(w *worker) *making {
	set := w.state.Set()
	m := &manifest{Generation: 1, Epoch: s.lease.epoch(), Seq: w.seq, Set: set.Hash(), Layout: set.Layout(), Header: w.state.Header()}
	mk := &making{manifest: m}
	used := map[uint32]bool{}
	for i, g := range s.gens {
		if i == 0 {
			m.Generation, mk.old = g.Generation+1, g.Chunks
		}
		for _, c := range g.Chunks {
			used[c.ID] = true
		}
	}
	s.compact(w.state, mk.old)
	mk.saving = w.state.BeginSave(s.cfg.ChunkBytes-envelopeBytes, func() uint32 {
		for s.last++; s.last == 0 || used[s.last]; s.last++ {
		}
		return s.last
	})
	return mk
}

// slack is how many bytes of outdated copies are left alone.
const slack = 4 << 20

// compact lets the oldest chunks be written anew once more than half of what is stored are outdated copies, so that what
// is stored, and what a start has to read, stays within about twice the state.
func (s *snapshotter) compact(state *rules.State, old []chunkRef) {
	stored, live := 0, 0
	held := state.Held()
	for _, c := range old {
		if held[c.ID] > 0 {
			stored += c.Size
			live += held[c.ID]
		}
	}
	var anew []uint32
	for _, c := range old {
		if stored <= 2*live+slack {
			break
		}
		if held[c.ID] > 0 {
			anew = append(anew, c.ID)
			stored -= c.Size - held[c.ID]
		}
	}
	if len(anew) > 0 {
		state.Resave(anew...)
	}
}

// write stores the chunks and then the manifest; it tries again until ctx ends.
func (s *snapshotter) write(ctx context.Context, m *manifest, chunks []rules.Chunk) error {
	for _, c := range chunks {
		key := chunkKey(s.partition, m.Epoch, c.ID)
		err := s.save(ctx, c.Body, func(ctx context.Context) error { return s.store.Save(ctx, key, c.Body) })
		if err != nil {
			return err
		}
	}
	return s.writeManifest(ctx, m)
}

// again stores manifests whose chunks are stored.
func (s *snapshotter) again(ctx context.Context, ms []*manifest) error {
	for _, m := range ms {
		if err := s.writeManifest(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// writeManifest stores a manifest unless somebody else has changed what is under its key: then the partition is not ours any more.
func (s *snapshotter) writeManifest(ctx context.Context, m *manifest) error {
	m.Epoch = s.lease.epoch()
	key, turn, body := s.manifestKey(m.Generation), m.Generation%2, seal(encode(m))
	return s.save(ctx, body, func(ctx context.Context) error {
		if s.lease.o.alone {
			return s.store.Save(ctx, key, body)
		}
		rev, err := s.store.Swap(ctx, key, body, s.revs[turn])
		if fleet.CodeOf(err) == fleet.CodeConflict {
			now, found, readErr := s.store.Load(ctx, key)
			if readErr != nil {
				return readErr
			}
			if !bytes.Equal(now, body) {
				s.lease.lose(err)
				return errLost
			}
			rev, err = found, nil // it is ours: the answer did not arrive
		}
		if err == nil {
			s.revs[turn] = rev
		}
		return err
	})
}

func (s *snapshotter) save(ctx context.Context, body []byte, f func(context.Context) error) error {
	s.metrics.snapshotBytes.Add(float64(len(body)))
	return retry(ctx, s.log, "saving a snapshot", func(ctx context.Context) error {
		if err := s.lease.wait(ctx); err != nil {
			return err
		}
		return f(ctx)
	})
}

// keep notes that a manifest is stored, and deletes the chunks that nobody refers to any more.
func (s *snapshotter) keep(ctx context.Context, m *manifest) {
	var unused []string
	named := map[string]bool{}
	if len(s.gens) == 2 {
		unused = s.keysOf(s.gens[1])
	}
	s.gens = append([]*manifest{m}, s.gens...)
	s.gens = s.gens[:min(len(s.gens), 2)]
	s.publish()
	for _, g := range s.gens {
		for _, k := range s.keysOf(g) {
			named[k] = true
		}
	}
	if !s.swept { // once: what a process left behind that was killed while it wrote, or lost the partition
		keys, err := s.store.Keys(ctx, chunkPrefix(s.partition))
		if err != nil {
			s.log.Debug("old parts of snapshots were not looked for", "error", err)
		}
		unused, s.swept = append(unused, keys...), err == nil
	}
	for _, k := range unused {
		if named[k] || epochOf(s.partition, k) > m.Epoch {
			continue
		}
		named[k] = true
		if err := s.store.Delete(ctx, k); err != nil {
			s.log.Debug("an old part of a snapshot was not deleted: the next start does", "key", k, "error", err)
			return
		}
	}
}

func (s *snapshotter) keysOf(m *manifest) []string {
	out := make([]string, 0, len(m.Chunks))
	for _, c := range m.Chunks {
		out = append(out, chunkKey(s.partition, c.Epoch, c.ID))
	}
	return out
}
