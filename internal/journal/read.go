package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Get returns one record. A sequence that is not kept is fleet.CodeNotFound.
func (j *Journal) Get(ctx context.Context, stream wire.Stream, seq uint64) (wire.Record, error) {
	s, err := j.stream(ctx, stream)
	if err != nil {
		return wire.Record{}, err
	}
	m, err := s.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return wire.Record{}, fleet.Errorf(fleet.CodeNotFound, "journal: %s has no record %d", stream, seq)
	}
	if err != nil {
		return wire.Record{}, fmt.Errorf("journal: read record %d of %q: %w", seq, stream, err)
	}
	return decode(stream, m.Subject, m.Sequence, m.Header, m.Data), nil
}

// First returns the sequence of the first record that a stream keeps and when it was received. An empty stream gives the sequence of
// the next record and no time.
func (j *Journal) First(ctx context.Context, stream wire.Stream) (uint64, time.Time, error) {
	s, err := j.stream(ctx, stream)
	if err != nil {
		return 0, time.Time{}, err
	}
	st := s.CachedInfo().State
	if st.Msgs == 0 {
		return st.LastSeq + 1, time.Time{}, nil
	}
	m, err := s.GetMsg(ctx, st.FirstSeq, jetstream.WithGetMsgSubject(subjectAll(stream))) // the next one where it is missing
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("journal: read the first record of %q: %w", stream, err)
	}
	return st.FirstSeq, decode(stream, m.Subject, m.Sequence, m.Header, m.Data).Received, nil
}

// Tail returns the newest n records of a stream, the newest first; fewer when there are fewer. It asks for one at a time: it
// is meant for pages of some hundred.
func (j *Journal) Tail(ctx context.Context, stream wire.Stream, n int) ([]wire.Record, error) {
	s, err := j.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	st := s.CachedInfo().State
	var out []wire.Record
	for seq := st.LastSeq; seq >= st.FirstSeq && seq > 0 && len(out) < n; seq-- {
		m, err := s.GetMsg(ctx, seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("journal: read record %d of %q: %w", seq, stream, err)
		}
		out = append(out, decode(stream, m.Subject, m.Sequence, m.Header, m.Data))
	}
	return out, nil
}

// stream looks a stream up, with its state of this moment.
func (j *Journal) stream(ctx context.Context, stream wire.Stream) (jetstream.Stream, error) {
	l, err := j.current(ctx)
	if err != nil {
		return nil, err
	}
	s, err := l.js.Stream(ctx, string(stream))
	if err != nil {
		return nil, fmt.Errorf("journal: look up stream %q: %w", stream, err)
	}
	return s, nil
}
