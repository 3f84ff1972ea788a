package journal

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"aftercare/internal/wire"
)

const (
	// fetchMax bounds the memory of one Fetch whatever the caller asks for.
	fetchMax = 512
	// gatherFor bounds how long a record that has come waits for others that are stored behind it and come late.
	gatherFor = 50 * time.Millisecond
	// ackWait is far beyond any pause of a consumer: within it the server never sends a record a second time by itself.
	ackWait = 7 * 24 * time.Hour
	// apiTimeout is for one question to the server.
	apiTimeout = 5 * time.Second
	// forgetAfter removes the server's side of a source without memory that was not closed.
	forgetAfter = 5 * time.Minute
)

// source implements wire.Source on a pull consumer. It belongs to one goroutine.
//
// Each time it attaches to a server (again) it sets the consumer back to what is committed, and skips what it has given out
// before. So a record that was on its way when a connection broke is never lost, and none comes twice or out of order.
type source struct {
	j         *Journal
	stream    wire.Stream
	partition int
	durable   string // the consumer's name on the server; empty: without memory
	from      uint64 // durable: position to set when first attached, 0 keeps it

	link     *link
	seen     *link // the last one it was attached to
	cons     jetstream.Consumer
	waiting  jetstream.MessageBatch // an open request, with what has come for it; survives the end of a Fetch's context
	withdraw context.CancelFunc     // ends it
	expected uint64                 // delivery number of the next message from the server
	previous uint64                 // sequence of the last message from the server
	pending  []delivery             // given out and not committed, in order
	last     uint64                 // highest sequence given out
	done     uint64                 // highest sequence committed
}

type delivery struct {
	seq   uint64
	reply string // where to acknowledge; the message itself would keep its body in memory
}

// Open returns a view of a stream, in order: of one partition, or of all with -1. With a durable name the position is kept by
// the server: Commit moves it, and the next Open goes on behind it. Such a consumer starts at the first kept record; from
// above 0 sets the position, so that from is the next record (for a worker that knows from its snapshot where it was).
// Without a name the source starts at from (0: the first kept) and remembers nothing. Two sources must not be open under one
// name, stream and partition at the same time.
//
// The source survives a reopening of the journal: Fetch and Commit wait for it.
func (j *Journal) Open(ctx context.Context, stream wire.Stream, partition int, durable string, from uint64) (wire.Source, error) {
	if partition < -1 || partition >= j.partitions {
		return nil, fmt.Errorf("journal: open %q: partition %d: want -1 to %d", stream, partition, j.partitions-1)
	}
	from, err := j.clamp(ctx, stream, durable, from)
	if err != nil {
		return nil, err
	}
	s := &source{j: j, stream: stream, partition: partition, durable: durable, from: from}
	if durable != "" && partition >= 0 {
		s.durable = durable + "-p" + strconv.Itoa(partition)
	}
	if from > 0 {
		s.last, s.done = from-1, from-1
	}
	if err := s.attach(ctx); err != nil {
		return nil, fmt.Errorf("journal: open %q for %q: %w", stream, durable, err)
	}
	return s, nil
}

// clamp keeps a position from lying beyond the end of the stream: the sequences up to it would be taken for read when they are
// given out. It happens when a stream was damaged or replaced and a snapshot was not.
func (j *Journal) clamp(ctx context.Context, stream wire.Stream, durable string, from uint64) (uint64, error) {
	if from == 0 {
		return 0, nil
	}
	s, err := j.stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	end := s.CachedInfo().State.LastSeq + 1
	if from > end {
		j.log.Error("journal: a position beyond the end of the stream is set back", "stream", stream, "consumer", durable, "from", from, "to", end)
	}
	return min(from, end), nil
}

// attach makes sure of the consumer on the current link and sets it to what is committed.
func (s *source) attach(ctx context.Context) error {
	l, err := s.j.current(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	s.detach()
	if end, ok := l.rewound[s.stream]; ok && s.seen != l {
		s.last, s.done = min(s.last, end), min(s.done, end)
	}
	cfg := jetstream.ConsumerConfig{
		FilterSubject: subjectAll(s.stream), DeliverPolicy: jetstream.DeliverAllPolicy, MaxDeliver: -1,
	}
	if s.partition >= 0 {
		cfg.FilterSubject = subjectOf(s.stream, s.partition)
	}
	if s.durable == "" {
		cfg.AckPolicy, cfg.InactiveThreshold, cfg.MemoryStorage = jetstream.AckNonePolicy, forgetAfter, true
		if s.last > 0 {
			cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.last+1
		}
	} else {
		cfg.Durable, cfg.AckPolicy, cfg.AckWait, cfg.MaxAckPending = s.durable, jetstream.AckAllPolicy, ackWait, -1
	}
	cons, err := l.js.CreateOrUpdateConsumer(ctx, string(s.stream), cfg)
	if err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	if s.durable != "" {
		start := s.from
		if start > 0 {
			s.j.noteCommitted(s.stream, s.durable, start-1)
		} else {
			start = s.j.startOf(s.stream, s.durable, cons.CachedInfo().AckFloor.Stream)
		}
		if start > 0 {
			_, err = l.js.ResetConsumerToSequence(ctx, string(s.stream), s.durable, start)
		} else {
			_, err = l.js.ResetConsumer(ctx, string(s.stream), s.durable)
		}
		if err != nil {
			return fmt.Errorf("set consumer to its position: %w", err)
		}
		s.from = 0
	}
	s.link, s.cons, s.expected, s.previous, s.seen = l, cons, 1, 0, l
	return nil
}

func (s *source) detach() {
	s.stopWaiting()
	s.link, s.cons, s.pending = nil, nil, nil
}

// stopWaiting withdraws an open request and drops what has come for it. It returns when the request takes no more. What the
// server sends to it all the same is missed by its number, and asked for again.
func (s *source) stopWaiting() {
	if s.waiting != nil {
		s.withdraw()
		for range s.waiting.Messages() { // not given out: it is delivered again
		}
	}
	s.waiting, s.withdraw = nil, nil
}

// attached returns nil when the source is on the journal's current link, attaching it if it is not.
func (s *source) attached(ctx context.Context) error {
	for {
		if s.link != nil {
			select {
			case <-s.link.down:
				s.detach()
			default:
				return nil
			}
		}
		err := s.attach(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrClosed) {
			return err
		}
		s.j.log.Warn("journal: a consumer cannot attach yet", "stream", s.stream, "consumer", s.durable, "error", err)
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// Fetch implements wire.Source.
func (s *source) Fetch(ctx context.Context, limit int) ([]wire.Record, error) {
	limit = min(max(limit, 1), fetchMax)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.attached(ctx); err != nil {
			return nil, err
		}
		records, err := s.read(ctx, limit)
		if len(records) > 0 {
			return records, nil // what went wrong behind them is found by the next Fetch
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			s.j.log.Warn("journal: a consumer attaches again", "stream", s.stream, "consumer", s.durable, "error", err)
			s.detach()
			if err := pause(ctx, 100*time.Millisecond); err != nil {
				return nil, err
			}
		}
	}
}

// read waits for one record and takes with it what is there already. The request outlives the call: a record that comes after
// ctx has ended is picked up by the next one.
//
// A request is never given up for being slow. The server stores all it has taken in before it hands deliveries on, so these
// can be seconds late while much is written, and those that come after the end of their request are missed. FetchNoWait cannot
// be used for that reason: its client ends it after a second of silence, and so does a context with a deadline. This request
// is ended by the server alone, in order behind its last delivery; heartbeats tell when there is no server any more.
func (s *source) read(ctx context.Context, limit int) ([]wire.Record, error) {
	if err := s.request(limit); err != nil {
		return nil, err
	}
	var records []wire.Record
	var late <-chan time.Time
	for len(records) < limit {
		select {
		case m, ok := <-s.waiting.Messages():
			if !ok {
				err := s.waiting.Error()
				s.stopWaiting()
				return records, err // without an error: all has come, or nothing in that time; the caller asks again
			}
			var more bool
			var err error
			if records, more, err = s.accept(records, m); err != nil || len(records) > 0 && !more {
				return records, err
			}
			if late == nil && len(records) > 0 {
				t := time.NewTimer(gatherFor)
				defer t.Stop()
				late = t.C
			}
		case <-late:
			return records, nil
		case <-s.link.down:
			return records, ErrBroken
		case <-ctx.Done():
			return records, ctx.Err()
		}
	}
	return records, nil
}

// request makes sure that one is open at the server, for limit records.
func (s *source) request(limit int) error {
	if s.waiting != nil {
		return nil
	}
	open, withdraw := context.WithCancel(context.Background())
	batch, err := s.cons.Fetch(limit, jetstream.FetchContext(open)) // no deadline: the server's, after DefaultExpires
	if err != nil {
		withdraw()
		return err
	}
	s.waiting, s.withdraw = batch, withdraw
	return nil
}

// accept appends a message unless it was given out before, and notices when one is missing. It tells whether more are stored
// that the server has not sent yet.
func (s *source) accept(records []wire.Record, m jetstream.Msg) (_ []wire.Record, more bool, _ error) {
	meta, err := m.Metadata()
	if err != nil {
		return records, false, fmt.Errorf("read the metadata of a message: %w", err)
	}
	if meta.Sequence.Consumer != s.expected {
		return records, false, fmt.Errorf("delivery %d came where %d was expected", meta.Sequence.Consumer, s.expected)
	}
	s.expected++
	s.countGap(meta.Sequence.Stream)
	if s.durable != "" {
		s.pending = append(s.pending, delivery{seq: meta.Sequence.Stream, reply: m.Reply()})
	}
	more = meta.NumPending > 0
	if meta.Sequence.Stream <= s.last {
		return records, more, nil
	}
	s.last = meta.Sequence.Stream
	return append(records, decode(s.stream, m.Subject(), s.last, m.Headers(), m.Data())), more, nil
}

// countGap makes visible that the server passed over records which it could not read. Streams that are only ever purged from
// the front have no gaps otherwise. The reader of one partition cannot tell.
func (s *source) countGap(seq uint64) {
	whole := s.partition < 0 && s.durable != "" && s.stream != wire.Quarantine && s.stream != wire.Snapshots
	if whole && s.previous > 0 && seq > s.previous+1 {
		s.j.metrics.missing.Add(float64(seq - s.previous - 1))
		s.j.log.Error("journal: RECORDS CANNOT BE READ, their files are damaged", "stream", s.stream, "consumer", s.durable,
			"from", s.previous+1, "to", seq-1)
	}
	s.previous = seq
}

// Commit implements wire.Source. It returns after the server has confirmed the position; it waits while the journal is broken.
func (s *source) Commit(ctx context.Context, seq uint64) error {
	if s.durable == "" || seq <= s.done {
		return nil
	}
	if seq > s.last {
		return fmt.Errorf("journal: commit %d of %q: only %d was given out", seq, s.durable, s.last)
	}
	for {
		if err := s.attached(ctx); err != nil {
			return err
		}
		err := s.commit(ctx, seq)
		if err == nil {
			s.done = seq
			s.j.noteCommitted(s.stream, s.durable, seq)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.j.log.Warn("journal: a commit is tried again", "stream", s.stream, "consumer", s.durable, "error", err)
		s.detach()
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *source) commit(ctx context.Context, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	n := sort.Search(len(s.pending), func(i int) bool { return s.pending[i].seq > seq })
	// After a reopening the server may not yet have delivered again what is to be committed: then the position is set.
	if n == len(s.pending) && (n == 0 || s.pending[n-1].seq < seq) {
		s.stopWaiting() // first: no request of before may take deliveries of after
		if _, err := s.link.js.ResetConsumerToSequence(ctx, string(s.stream), s.durable, seq+1); err != nil {
			return err
		}
		s.pending, s.expected, s.previous = nil, 1, 0
		return nil
	}
	if n > 0 {
		// A request and not a publish: the answer says that the position has moved.
		if _, err := s.link.nc.RequestWithContext(ctx, s.pending[n-1].reply, []byte("+ACK")); err != nil {
			return err
		}
		s.pending = append(s.pending[:0], s.pending[n:]...)
	}
	return nil
}

// Close implements wire.Source.
func (s *source) Close() error {
	if s.link == nil || s.durable != "" {
		s.detach()
		return nil
	}
	l, name := s.link, s.cons.CachedInfo().Name
	s.detach()
	ctx, cancel := context.WithTimeout(context.Background(), apiTimeout)
	defer cancel()
	if err := l.js.DeleteConsumer(ctx, string(s.stream), name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		select {
		case <-l.down: // the server is gone, and the consumer with it
		default:
			return fmt.Errorf("journal: close a source of %q: %w", s.stream, err)
		}
	}
	return nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
