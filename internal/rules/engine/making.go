package engine

import (
	"context"
	"time"

	"aftercare/internal/rules"
)

// making is a snapshot that is being encoded: of the state as it was when it began, while evaluation goes on.
type making struct {
	manifest *manifest
	old      []chunkRef // the chunks of the manifest before it
	lowered  []*manifest
	saving   *rules.Saving
	start    time.Time
}

// slice is how long evaluation stands still at a time while a snapshot is encoded, and stride how many devices are encoded
// between two looks at the clock.
const (
	slice  = 5 * time.Millisecond
	stride = 64
)

// work goes on encoding for about as long as budget says; when all is encoded, the write begins.
func (s *snapshotter) work(ctx context.Context, w *worker, budget time.Duration) {
	start, mk, done := time.Now(), s.making, false
	for !done {
		done = mk.saving.Go(stride)
		if time.Since(start) >= budget {
			break
		}
	}
	if done {
		s.making = nil
		held := w.state.Held()
		for _, c := range mk.old {
			if held[c.ID] > 0 {
				mk.manifest.Chunks = append(mk.manifest.Chunks, c)
			}
		}
		s.launch(ctx, mk)
	}
	s.metrics.snapshotPause.Observe(time.Since(start).Seconds())
}

// launch writes an encoded snapshot beside evaluation.
func (s *snapshotter) launch(ctx context.Context, mk *making) {
	ctx, cancel := s.lease.during(context.WithoutCancel(ctx)) // a stop lets it finish, within the stop timeout
	done := make(chan struct{})
	s.flight, s.stop = done, cancel
	go func() {
		defer close(done)
		defer cancel()
		m, chunks := mk.manifest, mk.saving.Chunks()
		for i := range chunks {
			chunks[i].Body = seal(chunks[i].Body)
			m.Chunks = append(m.Chunks, chunkRef{Epoch: m.Epoch, ID: chunks[i].ID, Size: len(chunks[i].Body), CRC: checksum(chunks[i].Body)})
		}
		if s.again(ctx, mk.lowered) == nil && s.write(ctx, m, chunks) == nil {
			s.metrics.snapshotSeconds.Observe(time.Since(mk.start).Seconds())
			s.keep(ctx, m)
		}
	}()
}
