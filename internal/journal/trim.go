package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"aftercare/internal/wire"
)

// measureEvery is how often the lag is looked at.
const measureEvery = 5 * time.Second

// Protect sets a function that names, by partition, the highest sequence of readings that is no longer needed; the trimmer goes
// no further than the lowest. Durable consumers hold back the trimmer by themselves and need no such function.
func (j *Journal) Protect(safe func() map[int]uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.safe = safe
}

// Run trims what everybody has read and measures lag and size until ctx ends; it returns ctx's error.
func (j *Journal) Run(ctx context.Context) error {
	measure, trim := time.NewTicker(measureEvery), time.NewTicker(j.cfg.TrimEvery)
	defer measure.Stop()
	defer trim.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-measure.C:
			err = j.measure(ctx)
		case now := <-trim.C:
			_, err = j.Trim(ctx, now)
		}
		if errors.Is(err, ErrClosed) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			j.log.Warn("journal: housekeeping", "error", err)
		}
	}
}

// Trim purges the records that are older than Config.Keep or make their stream too large, but never one that a durable consumer
// has not committed or, of readings, that Protect holds back. Readings may take Config.TrimBytes, findings and changes three
// quarters of the bytes they have; of these nothing is purged before anybody reads them. It returns how many records it purged.
//
// It purges the whole stream up to one sequence, not partition by partition: a purge by subject deletes record by record and
// leaves holes. So the slowest partition holds back all of them.
func (j *Journal) Trim(ctx context.Context, now time.Time) (uint64, error) {
	var purged uint64
	for _, t := range []struct {
		stream wire.Stream
		mark   int64
	}{
		{wire.Readings, j.cfg.TrimBytes},
		{wire.Findings, j.cfg.FindingsBytes / 4 * 3},
		{wire.Changes, j.cfg.ChangesBytes / 4 * 3},
	} {
		n, err := j.trim(ctx, t.stream, uint64(t.mark), now)
		if purged += n; err != nil {
			return purged, err
		}
	}
	return purged, nil
}

func (j *Journal) trim(ctx context.Context, stream wire.Stream, mark uint64, now time.Time) (uint64, error) {
	s, err := j.stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	st := s.CachedInfo().State
	if st.Msgs == 0 {
		return 0, nil
	}
	target, err := j.wanted(ctx, s, stream, mark, now)
	if err != nil || target < st.FirstSeq {
		return 0, err
	}
	limit, holder, err := j.limit(ctx, s, stream)
	if err != nil {
		return 0, err
	}
	if limit < target && holder != "" {
		j.log.Warn("journal: "+string(stream)+" that should go are still needed", "from", st.FirstSeq, "to", target, "kept_from", limit+1,
			"for", holder, "bytes", st.Bytes)
	}
	if target = min(target, limit); target < st.FirstSeq {
		return 0, nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(target+1)); err != nil {
		return 0, fmt.Errorf("journal: purge %s up to %d: %w", stream, target, err)
	}
	purged := target - st.FirstSeq + 1
	j.metrics.trimmed.Add(float64(purged))
	j.log.Info("journal: old "+string(stream)+" purged", "records", purged, "to", target)
	return purged, nil
}

// wanted returns the last sequence that age or size want gone; below FirstSeq when nothing is.
func (j *Journal) wanted(ctx context.Context, s jetstream.Stream, stream wire.Stream, mark uint64, now time.Time) (uint64, error) {
	st := s.CachedInfo().State
	target := st.FirstSeq - 1
	if st.Bytes > mark {
		share := float64(st.Bytes-mark) / float64(st.Bytes)
		target += min(uint64(share*float64(st.Msgs))+1, st.Msgs)
	}
	old := now.Add(-j.cfg.Keep)
	if !st.FirstTime.Before(old) {
		return target, nil
	}
	// Binary search for the first record that is young enough: in [low, high).
	low, high := target+1, st.LastSeq+1
	for low < high {
		mid := low + (high-low)/2
		// With a subject, the next one is answered where mid itself is missing.
		m, err := s.GetMsg(ctx, mid, jetstream.WithGetMsgSubject(subjectAll(stream)))
		if err != nil {
			return 0, fmt.Errorf("journal: look for %s older than %s: %w", stream, old, err)
		}
		if m.Time.Before(old) {
			low = m.Sequence + 1
		} else {
			high = mid
		}
	}
	return max(target, low-1), nil
}

// limit returns the highest sequence that nobody needs, and who needs the next one.
func (j *Journal) limit(ctx context.Context, s jetstream.Stream, stream wire.Stream) (uint64, string, error) {
	limit, holder, readers := s.CachedInfo().State.LastSeq, "", 0
	lower := func(seq uint64, who string) {
		if seq < limit {
			limit, holder = seq, who
		}
	}
	consumers := s.ListConsumers(ctx)
	for c := range consumers.Info() {
		// One that has read everything holds nothing back, however long ago its partition's last record was.
		if c.Config.Durable == "" {
			continue
		}
		if readers++; c.NumPending+uint64(c.NumAckPending) > 0 {
			lower(c.AckFloor.Stream, c.Name)
		}
	}
	if err := consumers.Err(); err != nil {
		return 0, "", fmt.Errorf("journal: list the consumers of %s: %w", stream, err)
	}
	if stream != wire.Readings {
		if readers == 0 {
			limit = 0
		}
		return limit, holder, nil
	}
	j.mu.Lock()
	safe := j.safe
	j.mu.Unlock()
	if safe != nil {
		for p, seq := range safe() {
			lower(seq, fmt.Sprintf("partition %d", p))
		}
	}
	return limit, holder, nil
}

// measure sets the gauges of lag and size, and saves the marks.
func (j *Journal) measure(ctx context.Context) error {
	for _, name := range streams {
		s, err := j.stream(ctx, name)
		if err != nil {
			return err
		}
		j.metrics.size.WithLabelValues(string(name)).Set(float64(s.CachedInfo().State.Bytes))
		consumers := s.ListConsumers(ctx)
		for c := range consumers.Info() {
			if c.Config.Durable != "" {
				j.metrics.lag.WithLabelValues(string(name), c.Name).Set(float64(c.NumPending) + float64(c.NumAckPending))
			}
		}
		if err := consumers.Err(); err != nil {
			return fmt.Errorf("journal: list the consumers of %q: %w", name, err)
		}
	}
	return j.saveMarks()
}
