// Package ingest is what happens between a door and the journal: it authorises, decodes, checks against the model's
// profile, stamps, puts aside what is bad with a reason, and commits the rest in groups, one fsync for all that waits.
//
// It is not a queue with a life of its own: nothing is acknowledged from here before the journal has it.
//
// Who may import it: app. It imports fleet, wire and obs.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Config bounds what ingest holds and accepts.
type Config struct {
	// QueueBytes is how much may wait for the journal; beyond it Submit waits, which is the back-pressure on the doors.
	QueueBytes int `mapstructure:"queue_bytes"`
	// RecordBytes is the size at which a journal record of readings is closed. JetStream takes at most 1 MiB.
	RecordBytes int `mapstructure:"record_bytes"`
	// MaxFuture is how far ahead of us a device's clock may be before the reading is put aside.
	MaxFuture time.Duration `mapstructure:"max_future"`
	// TickEvery is how often an idle partition is told that time goes on.
	TickEvery time.Duration `mapstructure:"tick_every"`
}

// DefaultConfig holds up to 32 MiB and ticks every 5 s.
func DefaultConfig() Config {
	return Config{QueueBytes: 32 << 20, RecordBytes: 256 << 10, MaxFuture: 24 * time.Hour, TickEvery: 5 * time.Second}
}

// maxRecord leaves room for headers and one more payload below JetStream's limit.
const maxRecord = 768 << 10

// Validate names the field and the value of what is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.QueueBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("ingest.queue_bytes %d: at least 1048576", c.QueueBytes))
	}
	if c.RecordBytes < 1<<10 || c.RecordBytes > maxRecord {
		errs = append(errs, fmt.Errorf("ingest.record_bytes %d: want 1024 to %d", c.RecordBytes, maxRecord))
	}
	if c.MaxFuture < time.Second {
		errs = append(errs, fmt.Errorf("ingest.max_future %v: at least 1s", c.MaxFuture))
	}
	if c.TickEvery < time.Second {
		errs = append(errs, fmt.Errorf("ingest.tick_every %v: at least 1s", c.TickEvery))
	}
	return errors.Join(errs...)
}

// Journal is where readings become durable. Append returns nil only when all records are fsynced; after an error they may or
// may not be stored, and appending them again is harmless.
type Journal interface {
	Append(ctx context.Context, records []wire.Record) error
	Partitions() int
	PartitionOf(k fleet.DeviceKey) int
}

// Devices answers who is who; it is asked for every message and must not block.
type Devices interface {
	Device(k fleet.DeviceKey) (*fleet.Device, bool)
	SpeaksFor(identity fleet.DeviceKey, serial string) bool
}

// Deps is what ingest needs from the rest of the process.
type Deps struct {
	Journal Journal
	Devices Devices
	Models  []fleet.Model
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time // nil: time.Now
}

// Ingest takes messages from the doors. Submit may be called from many goroutines, Run from one.
type Ingest struct {
	cfg      Config
	journal  Journal
	devices  Devices
	profiles map[string]*profile
	log      *slog.Logger
	now      func() time.Time
	meter    *meter
	workers  sync.Pool

	mu      sync.Mutex
	closed  bool
	pending *cycle
	room    chan struct{} // closed and replaced when a cycle was taken: those who wait for room look again
	work    chan struct{} // holds one token when there is something to commit
}

// New builds an Ingest. The configuration must be valid.
func New(cfg Config, d Deps) *Ingest {
	in := &Ingest{cfg: cfg, journal: d.Journal, devices: d.Devices, profiles: map[string]*profile{}, log: d.Log, now: d.Now,
		meter: newMeter(d.Metrics), room: make(chan struct{}), work: make(chan struct{}, 1)}
	if in.now == nil {
		in.now = time.Now
	}
	for i := range d.Models {
		in.profiles[d.Models[i].ID] = newProfile(&d.Models[i])
	}
	in.workers.New = func() any { return &worker{in: in} }
	in.pending = newCycle(d.Journal.Partitions())
	return in
}

// maxCycleAside bounds the payloads put aside in one cycle: each is a record of its own.
const maxCycleAside = 2000

// ErrClosed says that ingest takes nothing any more.
var ErrClosed = errors.New("ingest is closed")

// Submit decodes and checks a message in the caller's goroutine and queues it for the next commit. It waits while the queue
// is full. On nil, m.Ack hears the outcome exactly once; on an error (ctx ended, or ErrClosed) it hears nothing.
func (in *Ingest) Submit(ctx context.Context, m wire.Inbound) error {
	w := in.workers.Get().(*worker)
	defer in.workers.Put(w)
	w.take(&m)
	for {
		in.mu.Lock()
		if in.closed {
			in.mu.Unlock()
			return ErrClosed
		}
		if in.pending.bytes < in.cfg.QueueBytes && len(in.pending.aside) < maxCycleAside {
			in.pending.add(w, &m, in.cfg.RecordBytes)
			in.mu.Unlock()
			select {
			case in.work <- struct{}{}:
			default:
			}
			in.meter.count(m.Door, w.stored+len(w.reasons), w.dropped, w.unnumbered)
			return nil
		}
		room := in.room
		in.mu.Unlock()
		in.meter.waits.Inc()
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("wait for room in the queue: %w", ctx.Err())
		}
	}
}

// Refuse counts a message that a door turned away, and keeps it for the page that shows the recent ones.
func (in *Ingest) Refuse(r fleet.Refusal) {
	in.meter.in.WithLabelValues(r.Door).Inc()
	in.meter.refuse(r)
}

// Refusals returns the recent refusals, newest first, and how many there were by reason since the start.
func (in *Ingest) Refusals() (recent []fleet.Refusal, byReason map[string]uint64) {
	return in.meter.refusals()
}

// Pulse returns how many readings were stored in the minute before now, and when the last one was (zero: none yet).
func (in *Ingest) Pulse(now time.Time) (perMinute float64, last time.Time) {
	return in.meter.pulse(now)
}

// Run commits until ctx ends, then what is queued once more, and returns. Messages that cannot be made durable within that
// last try hear Failed. It may be called once.
func (in *Ingest) Run(ctx context.Context) error {
	if err := in.commit(ctx, in.marks(wire.KindStart)); err != nil {
		return in.close(err)
	}
	ticker := time.NewTicker(in.cfg.TickEvery)
	defer ticker.Stop()
	spare := newCycle(in.journal.Partitions())
	idle := make([]bool, in.journal.Partitions())
	for {
		select {
		case <-ctx.Done():
			return in.drain(nil)
		case <-ticker.C:
			if err := in.tick(ctx, idle); err != nil {
				return in.drain(nil)
			}
		case <-in.work:
			c := in.swap(spare)
			if err := in.commitCycle(ctx, c, idle); err != nil {
				return in.drain(c)
			}
			c.done()
			c.reset()
			spare = c
		}
	}
}

// swap takes the pending cycle and puts an empty one in its place.
func (in *Ingest) swap(empty *cycle) *cycle {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.pending
	in.pending = empty
	close(in.room)
	in.room = make(chan struct{})
	return c
}

func (in *Ingest) commitCycle(ctx context.Context, c *cycle, idle []bool) error {
	start := time.Now()
	records := c.records(in.now())
	if len(records) > 0 {
		if err := in.commit(ctx, records); err != nil {
			return err
		}
	}
	for p := range c.lines {
		idle[p] = idle[p] && len(c.lines[p].chunks) == 0 && len(c.lines[p].open) == 0
	}
	in.meter.cycle(c, in.now(), time.Since(start))
	return nil
}

// commit appends until it worked or ctx ended: not stored means not acknowledged, so there is nothing else to do. Only a record
// that the journal can never take ends it early.
func (in *Ingest) commit(ctx context.Context, records []wire.Record) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := in.journal.Append(ctx, records)
		if err == nil {
			return nil
		}
		in.meter.failures.Inc()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fleet.CodeOf(err) == fleet.CodeInvalid { // the bounds on messages make it impossible; trying for ever would stop all intake
			return fmt.Errorf("the journal can never take a record of this cycle: %w", err)
		}
		in.log.Error("the journal did not take a cycle; nothing of it is acknowledged, trying again", "records", len(records), "in", wait, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (in *Ingest) tick(ctx context.Context, idle []bool) error {
	var records []wire.Record
	for _, r := range in.marks(wire.KindTick) {
		if idle[r.Partition] {
			records = append(records, r)
		}
		idle[r.Partition] = true
	}
	if len(records) == 0 {
		return nil
	}
	return in.commit(ctx, records)
}

// marks makes one record without body for each partition.
func (in *Ingest) marks(kind wire.Kind) []wire.Record {
	now := in.now()
	out := make([]wire.Record, in.journal.Partitions())
	for p := range out {
		out[p] = wire.Record{Stream: wire.Readings, Partition: p, Kind: kind, Received: now}
	}
	return out
}

const lastTry = 3 * time.Second

// drain commits what is queued once more, the unfinished cycle first, and says good-bye in the journal.
func (in *Ingest) drain(unfinished *cycle) error {
	ctx, cancel := context.WithTimeout(context.Background(), lastTry)
	defer cancel()
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	last := in.swap(newCycle(in.journal.Partitions()))
	var cycles []*cycle
	if unfinished != nil {
		cycles = append(cycles, unfinished)
	}
	cycles = append(cycles, last)
	records := in.marks(wire.KindStop)
	for i := len(cycles) - 1; i >= 0; i-- {
		records = append(cycles[i].records(in.now()), records...)
	}
	if err := in.journal.Append(ctx, records); err != nil {
		n := 0
		for _, c := range cycles {
			n += len(c.waiters)
			c.done(wire.Failed)
		}
		return fmt.Errorf("last commit, %d messages not acknowledged: %w", n, err)
	}
	for _, c := range cycles {
		in.meter.cycle(c, in.now(), 0)
		c.done()
	}
	return nil
}

func (in *Ingest) close(cause error) error {
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	c := in.swap(newCycle(in.journal.Partitions()))
	c.done(wire.Failed)
	if errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}
