package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
)

// A snapshot is a manifest and the chunks it names. Chunks hold devices; a snapshot writes only those that changed, and
// the manifest, written last, names every chunk that still holds the newest copy of some device. Two manifests take turns.
// A chunk's key is used again only when neither of them names it.

// manifest is the JSON under a manifest's key.
type manifest struct {
	Generation uint64          `json:"generation"`
	Seq        uint64          `json:"seq"`    // the readings up to here are in it
	Set        string          `json:"set"`    // hash of the rules it was made with
	Layout     json.RawMessage `json:"layout"` // what the numbers in the chunks mean
	Header     []byte          `json:"header"`
	Chunks     []chunkRef      `json:"chunks"` // oldest first
}

type chunkRef struct {
	ID   uint32 `json:"id"`
	Size int    `json:"size"`
	CRC  uint32 `json:"crc"`
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

func (s *snapshotter) chunkKey(id uint32) string {
	return fmt.Sprintf("rules.p%d.chunk.%d", s.partition, id)
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
	m := &manifest{Generation: 1, Seq: w.seq, Set: w.set.Hash(), Layout: w.set.Layout(), Header: w.state.Header()}
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
	id := uint32(0)
	mk.saving = w.state.BeginSave(s.cfg.ChunkBytes-envelopeBytes, func() uint32 {
		for id++; used[id]; id++ {
		}
		return id
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
		if err := s.save(ctx, s.chunkKey(c.ID), c.Body); err != nil {
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

func (s *snapshotter) writeManifest(ctx context.Context, m *manifest) error {
	body, err := json.Marshal(m)
	if err != nil {
		s.log.Error("manifest cannot be encoded", "error", err)
		return err
	}
	return s.save(ctx, s.manifestKey(m.Generation), seal(body))
}

func (s *snapshotter) save(ctx context.Context, key string, body []byte) error {
	s.metrics.snapshotBytes.Add(float64(len(body)))
	return retry(ctx, s.log, "saving a snapshot", func(ctx context.Context) error { return s.store.Save(ctx, key, body) })
}

// load reads the newest snapshot that is whole, else the older one, else nothing: then everything the journal still has is
// stepped again. It returns an error only when ctx ended.
func (s *snapshotter) load(ctx context.Context, set *rules.Set) (*rules.State, uint64, []fleet.Finding, error) {
	gens, damaged, err := s.manifests(ctx)
	if err != nil {
		return nil, 0, nil, err
	}
	for i, m := range gens {
		chunks, err := s.chunks(ctx, m)
		if ctx.Err() != nil {
			return nil, 0, nil, ctx.Err()
		}
		if err == nil {
			state, ended, restoreErr := rules.Restore(set, m.Header, m.Layout, chunks)
			if err = restoreErr; err == nil {
				s.gens = gens[i:]
				if string(set.Layout()) != string(m.Layout) {
					state.Resave() // the numbers in the old chunks mean something else now
					s.anew = true
				}
				s.publish()
				return state, m.Seq, ended, nil
			}
		}
		damaged++
		s.metrics.snapshotFallback.Inc()
		s.log.Error("SNAPSHOT DAMAGED, falling back", "generation", m.Generation, "sequence", m.Seq, "error", err)
	}
	if damaged > 0 {
		s.log.Error("NO SNAPSHOT IS WHOLE: stepping everything the journal still has; what is older is lost to the rules")
	}
	return rules.NewState(set), 0, nil, nil
}

// manifests returns the whole ones, newest first, and how many were damaged.
func (s *snapshotter) manifests(ctx context.Context) (gens []*manifest, damaged int, err error) {
	for turn := range uint64(2) {
		body, found, err := s.fetch(ctx, s.manifestKey(turn))
		if err != nil {
			return nil, 0, err
		}
		if !found {
			continue
		}
		m := &manifest{}
		payload, err := open(body)
		if err == nil {
			err = json.Unmarshal(payload, m)
		}
		if err != nil {
			damaged++
			s.metrics.snapshotFallback.Inc()
			s.log.Error("SNAPSHOT MANIFEST DAMAGED", "key", s.manifestKey(turn), "error", err)
			continue
		}
		gens = append(gens, m)
	}
	sort.Slice(gens, func(i, j int) bool { return gens[i].Generation > gens[j].Generation })
	return gens, damaged, nil
}

func (s *snapshotter) chunks(ctx context.Context, m *manifest) ([]rules.Chunk, error) {
	var out []rules.Chunk
	for _, c := range m.Chunks {
		body, found, err := s.fetch(ctx, s.chunkKey(c.ID))
		if err != nil {
			return nil, err
		}
		if !found || len(body) != c.Size || checksum(body) != c.CRC {
			return nil, fmt.Errorf("chunk %d of %d bytes: found %v, %d bytes, other checksum", c.ID, c.Size, found, len(body))
		}
		payload, err := open(body)
		if err != nil {
			return nil, fmt.Errorf("chunk %d: %w", c.ID, err)
		}
		out = append(out, rules.Chunk{ID: c.ID, Body: payload})
	}
	return out, nil
}

func (s *snapshotter) fetch(ctx context.Context, key string) (body []byte, found bool, err error) {
	err = retry(ctx, s.log, "loading a snapshot", func(ctx context.Context) error {
		var err error
		body, found, err = s.store.Load(ctx, key)
		return err
	})
	return body, found, err
}
