package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Aside is the quarantine stream: Scan returns up to limit records from a sequence on, the oldest first, none at the end;
// Delete takes one out (fleet.CodeNotFound: it is gone already).
type Aside interface {
	Scan(ctx context.Context, stream wire.Stream, from uint64, limit int) ([]wire.Record, error)
	Delete(ctx context.Context, stream wire.Stream, seq uint64) error
}

// reingestPage is how many payloads are tried at once.
const reingestPage = 100

// Reingest tries payloads again that were put aside, the oldest first and at most f.Limit (0: 100) of them; the filter's Before
// bounds the sequence as in lists. What is stored in full is deleted from the quarantine, after it is durable; what is still bad
// stays. A payload that was cut, or that the database refused, cannot be tried and counts as still bad. After an error, what was
// stored may still be in the quarantine: trying it again changes nothing. When ctx's deadline comes first, what was done until then
// is no error: at least one remains.
func (in *Ingest) Reingest(ctx context.Context, from Aside, f fleet.QuarantineFilter) (fleet.Reingest, error) {
	var done fleet.Reingest
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	for next := uint64(0); ; {
		records, err := from.Scan(ctx, wire.Quarantine, next, reingestPage)
		if err != nil {
			return inTime(ctx, done, fmt.Errorf("read the quarantine: %w", err))
		}
		if len(records) == 0 {
			return done, nil
		}
		next = records[len(records)-1].Seq + 1
		var batch []fleet.Quarantined
		for _, r := range records {
			if f.Before > 0 && r.Seq >= f.Before {
				break
			}
			q, ok := matches(r, f)
			switch {
			case !ok:
			case done.Tried+len(batch) == limit:
				done.Remaining++
			default:
				batch = append(batch, q)
			}
		}
		if err := in.tryAgain(ctx, from, batch, &done); err != nil {
			return inTime(ctx, done, err)
		}
	}
}

// inTime is the end that err made of it, or the time that was given.
func inTime(ctx context.Context, done fleet.Reingest, err error) (fleet.Reingest, error) {
	if done.Tried > 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		done.Remaining = max(done.Remaining, 1)
		return done, nil
	}
	return done, err
}

// matches decodes a record and reports whether the filter selects it.
func matches(r wire.Record, f fleet.QuarantineFilter) (fleet.Quarantined, bool) {
	var q fleet.Quarantined
	if json.Unmarshal(r.Body, &q) != nil {
		return q, false
	}
	q.Seq = r.Seq
	return q, f.Selects(&q)
}

// outcomes hears what became of the payloads of a batch.
type outcomes chan wire.Outcome

func (o outcomes) Done(_ uint64, x wire.Outcome) { o <- x }

func (in *Ingest) tryAgain(ctx context.Context, from Aside, batch []fleet.Quarantined, done *fleet.Reingest) error {
	heard := make([]outcomes, len(batch))
	for i, q := range batch {
		done.Tried++
		if q.Cut > 0 || q.Topic == "" {
			done.StillBad++
			continue
		}
		o := make(outcomes, 1)
		err := in.Submit(ctx, wire.Inbound{Door: doorAgain, Trusted: true, Topic: q.Topic, Payload: q.Payload, ContentType: q.ContentType, Ack: o, Received: q.At, Again: true})
		if err != nil {
			return fmt.Errorf("try payload %d again: %w", q.Seq, err)
		}
		heard[i] = o
	}
	var errs []error
	for i, o := range heard {
		if o == nil {
			continue
		}
		select {
		case x := <-o:
			if x != wire.Stored {
				done.StillBad++
				continue
			}
			done.Stored++
			if err := from.Delete(ctx, wire.Quarantine, batch[i].Seq); err != nil && fleet.CodeOf(err) != fleet.CodeNotFound {
				errs = append(errs, fmt.Errorf("payload %d is stored and stays in the quarantine: %w", batch[i].Seq, err))
			}
		case <-ctx.Done():
			return fmt.Errorf("wait for payload %d: %w", batch[i].Seq, ctx.Err())
		}
	}
	return errors.Join(errs...)
}
