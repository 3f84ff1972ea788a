package journal

import (
	"context"
	"errors"
	"fmt"

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
