package history

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"aftercare/internal/wire"
)

// RunReadings writes the batches of the readings stream as they are, until ctx ends. It commits a record after the database
// has accepted all its lines or Reject has taken them. It returns nil when ctx ends, an error when src fails.
func (h *History) RunReadings(ctx context.Context, src wire.Source) error {
	return h.run(ctx, wire.Readings, src, func(r wire.Record) ([]byte, error) {
		if r.Kind != wire.KindReadings {
			return nil, nil
		}
		return r.Body, nil
	})
}

// RunFindings writes findings as measurement "finding" and counters as measurement "counter", until ctx ends, as RunReadings does.
func (h *History) RunFindings(ctx context.Context, src wire.Source) error {
	return h.run(ctx, wire.Findings, src, func(r wire.Record) ([]byte, error) {
		if r.Kind == wire.KindCounters {
			return r.Body, nil
		}
		if r.Kind != wire.KindFinding {
			return nil, nil
		}
		f, err := wire.DecodeFinding(r)
		if err != nil {
			return nil, err
		}
		return findingLine(f)
	})
}

// RunChanges writes changes as measurement "change", until ctx ends, as RunReadings does.
func (h *History) RunChanges(ctx context.Context, src wire.Source) error {
	return h.run(ctx, wire.Changes, src, func(r wire.Record) ([]byte, error) {
		if r.Kind != wire.KindChange {
			return nil, nil
		}
		n, err := wire.DecodeChange(r)
		if err != nil {
			return nil, err
		}
		return changeLine(n)
	})
}

// encoder turns a record into lines; nothing for one that is not for history.
type encoder func(wire.Record) ([]byte, error)

// batch is the body of one write: whole lines, each ended by a newline.
type batch struct {
	body  string
	lines int
}

// run is the loop all streams share: fetch, write, commit. Nothing is committed before everything fetched with it is done.
func (h *History) run(ctx context.Context, stream wire.Stream, src wire.Source, encode encoder) error {
	w := &writer{h: h, stream: string(stream), outage: h.outageOf(string(stream))}
	for ctx.Err() == nil {
		if err := h.round(ctx, w, src, encode); err != nil && ctx.Err() == nil {
			return fmt.Errorf("history: %s: %w", stream, err)
		}
	}
	return nil // what is not committed comes again
}

// round brings what one Fetch gives to its end.
func (h *History) round(ctx context.Context, w *writer, src wire.Source, encode encoder) error {
	recs, err := src.Fetch(ctx, h.cfg.Fetch)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if len(recs) == 0 {
		return nil
	}
	last := recs[len(recs)-1]
	h.m.lag.begin(w.stream, last.Received)
	if err := h.handle(ctx, w, recs, encode); err != nil {
		return err
	}
	h.commit(ctx, w.stream, src, last.Seq)
	h.m.lag.end(w.stream, time.Now())
	return nil
}

// handle brings recs to their end: written or rejected. Its error is ctx's.
func (h *History) handle(ctx context.Context, w *writer, recs []wire.Record, encode encoder) error {
	bodies := make([][]byte, 0, len(recs))
	for _, r := range recs {
		body, err := encode(r)
		if err != nil {
			if err := w.reject(ctx, string(r.Body), reasonRecord, err.Error()); err != nil {
				return err
			}
		}
		if len(body) > 0 {
			bodies = append(bodies, body)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(h.cfg.Writers)
	for _, b := range join(bodies, h.cfg.BatchLines, h.cfg.BatchBytes) {
		g.Go(func() error { return w.deliver(ctx, b) })
	}
	return g.Wait()
}

// commit tells the journal. When that fails the records come again, which is harmless, or the next commit covers them.
func (h *History) commit(ctx context.Context, stream string, src wire.Source, seq uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := src.Commit(ctx, seq); err != nil {
		h.deps.Log.Warn("history could not commit its position; the next commit covers it", "stream", stream, "seq", seq, "err", err)
	}
}

// join packs bodies into as few writes as the limits allow. A body is never divided.
func join(bodies [][]byte, maxLines, maxBytes int) []batch {
	var out []batch
	for len(bodies) > 0 {
		n, lines, size := 0, 0, 0
		for _, b := range bodies {
			l := bytes.Count(b, newline)
			if b[len(b)-1] != '\n' {
				l++
			}
			if n > 0 && (lines+l > maxLines || size+len(b)+1 > maxBytes) {
				break
			}
			n, lines, size = n+1, lines+l, size+len(b)+1
		}
		var s strings.Builder
		s.Grow(size)
		for _, b := range bodies[:n] {
			s.Write(b)
			if b[len(b)-1] != '\n' {
				s.WriteByte('\n')
			}
		}
		out = append(out, batch{body: s.String(), lines: lines})
		bodies = bodies[n:]
	}
	return out
}

var newline = []byte{'\n'}
