package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Scan returns up to limit records of a stream, the oldest first, beginning at sequence from (0 or below the first kept: at the
// first) and passing over gaps. No records and no error: there is nothing from there on. The next page starts at the last
// record's Seq + 1. It asks for one at a time, and remembers nothing: it is meant for pages of some hundred.
func (j *Journal) Scan(ctx context.Context, stream wire.Stream, from uint64, limit int) ([]wire.Record, error) {
	s, err := j.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	st := s.CachedInfo().State
	var out []wire.Record
	for seq := max(from, st.FirstSeq, 1); seq <= st.LastSeq && len(out) < limit; seq++ {
		m, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subjectAll(stream))) // the next one when seq is missing
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("journal: scan %q from %d: %w", stream, seq, err)
		}
		seq = m.Sequence
		out = append(out, decode(stream, m.Subject, m.Sequence, m.Header, m.Data))
	}
	return out, nil
}

// Delete takes one record out of a stream; the others keep their sequences. A sequence that is not kept is
// fleet.CodeNotFound. It is meant for what was put aside: a stream that is read in order must have no holes.
func (j *Journal) Delete(ctx context.Context, stream wire.Stream, seq uint64) error {
	s, err := j.stream(ctx, stream)
	if err != nil {
		return err
	}
	if err = s.DeleteMsg(ctx, seq); errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		if _, missing := s.GetMsg(ctx, seq); errors.Is(missing, jetstream.ErrMsgNotFound) { // the answer itself does not say it
			return fleet.Errorf(fleet.CodeNotFound, "journal: %s has no record %d", stream, seq)
		}
	}
	if err != nil {
		return fmt.Errorf("journal: delete record %d of %q: %w", seq, stream, err)
	}
	return nil
}
