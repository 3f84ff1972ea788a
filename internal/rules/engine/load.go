package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
)

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
				s.use(gens[i:])
				if string(state.Set().Layout()) != string(m.Layout) {
					state.Resave() // the numbers in the old chunks mean something else now
					s.anew = true
				}
				return state, m.Seq, ended, nil
			}
		}
		damaged++
		s.metrics.snapshotFallback.Inc()
		s.log.Error("SNAPSHOT DAMAGED, falling back", "generation", m.Generation, "sequence", m.Seq, "error", err)
	}
	if damaged > 0 {
		s.log.Error("NO SNAPSHOT IS WHOLE: stepping everything the journal still has, behind what history tells")
	}
	return rules.NewState(set), 0, nil, nil
}

// use goes on from what was loaded.
func (s *snapshotter) use(gens []*manifest) {
	s.gens = gens
	for _, m := range gens {
		for _, c := range m.Chunks {
			s.last = max(s.last, c.ID)
		}
	}
	s.publish()
}

// manifests returns the whole ones, newest first, and how many were damaged. It makes both keys ours first: a manifest that
// their former owner still writes is refused from then on.
func (s *snapshotter) manifests(ctx context.Context) (gens []*manifest, damaged int, err error) {
	for turn := uint64(0); turn < 2; {
		m, rev, bad, err := s.manifest(ctx, turn)
		if err != nil {
			return nil, 0, err
		}
		again, err := s.claim(ctx, turn, m, rev)
		if err != nil {
			return nil, 0, err
		}
		if again {
			continue
		}
		turn++
		if bad != nil {
			damaged++
			s.metrics.snapshotFallback.Inc()
			s.log.Error("SNAPSHOT MANIFEST DAMAGED", "key", s.manifestKey(turn-1), "error", bad)
		} else if m.Generation > 0 {
			gens = append(gens, m)
		}
	}
	sort.Slice(gens, func(i, j int) bool { return gens[i].Generation > gens[j].Generation })
	return gens, damaged, nil
}

// manifest reads what is under a manifest's key; an empty one when there is nothing, or nothing that is whole.
func (s *snapshotter) manifest(ctx context.Context, turn uint64) (m *manifest, rev uint64, damage, err error) {
	body, rev, err := s.fetch(ctx, s.manifestKey(turn))
	m = &manifest{}
	if err != nil || rev == 0 {
		return m, rev, nil, err
	}
	payload, damage := open(body)
	if damage == nil {
		damage = json.Unmarshal(payload, m)
	}
	if damage != nil {
		m = &manifest{}
	}
	return m, rev, damage, nil
}

// claim writes a manifest anew with our epoch; again says that it has changed meanwhile. Alone nothing needs it, and two manifests
// that are written at the same moment would be lost in the same power cut.
func (s *snapshotter) claim(ctx context.Context, turn uint64, m *manifest, rev uint64) (again bool, err error) {
	if s.lease.o.alone {
		return false, nil
	}
	if m.Epoch > s.lease.epoch() {
		s.lease.lose(fmt.Errorf("a manifest is of epoch %d", m.Epoch))
		return false, errLost
	}
	m.Epoch = s.lease.epoch()
	body := seal(encode(m))
	err = s.save(ctx, body, func(ctx context.Context) error {
		s.revs[turn], err = s.store.Swap(ctx, s.manifestKey(turn), body, rev)
		if again = fleet.CodeOf(err) == fleet.CodeConflict; again {
			return nil
		}
		return err
	})
	return again, err
}

func (s *snapshotter) chunks(ctx context.Context, m *manifest) ([]rules.Chunk, error) {
	var out []rules.Chunk
	for _, c := range m.Chunks {
		body, rev, err := s.fetch(ctx, chunkKey(s.partition, c.Epoch, c.ID))
		if err != nil {
			return nil, err
		}
		if rev == 0 || len(body) != c.Size || checksum(body) != c.CRC {
			return nil, fmt.Errorf("chunk %d of %d bytes: found %v, %d bytes, other checksum", c.ID, c.Size, rev > 0, len(body))
		}
		payload, err := open(body)
		if err != nil {
			return nil, fmt.Errorf("chunk %d: %w", c.ID, err)
		}
		out = append(out, rules.Chunk{ID: c.ID, Body: payload})
	}
	return out, nil
}

func (s *snapshotter) fetch(ctx context.Context, key string) (body []byte, rev uint64, err error) {
	err = retry(ctx, s.log, "loading a snapshot", func(ctx context.Context) error {
		var err error
		body, rev, err = s.store.Load(ctx, key)
		return err
	})
	return body, rev, err
}

// look learns from the manifests how far the process that works the partition is: the journal keeps what that one needs.
func (s *snapshotter) look(ctx context.Context) {
	if time.Since(s.looked) < s.cfg.SnapshotEvery {
		return
	}
	s.looked = time.Now()
	var position uint64
	for turn := range uint64(2) {
		m, _, damage, err := s.manifest(ctx, turn)
		if err != nil || damage != nil || m.Generation == 0 {
			position = 0
			break
		}
		if turn == 0 || m.Seq < position {
			position = m.Seq
		}
	}
	s.position.Store(position)
}
