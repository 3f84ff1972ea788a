// Package ingest is what happens between a door and the journal: it authorises, decodes, checks against the model's
// profile, stamps, puts aside what is bad with a reason, and commits the rest in groups, one fsync for all that waits.
//
// It is not a queue with a life of its own: nothing is acknowledged from here before the journal has it.
//
// Resends. A reading is identified by (device, boot, seq), or by (device, time) where it has no seq. It is not looked for in
// what is stored: the same reading becomes the same point again (wire.Timestamp folds boot and seq into it), so the database
// keeps one, and the rules pass over what they have stepped (by boot and seq). Ingest's part is that a corrected time comes
// out the same: the offset of a wrong clock is kept by device, boot and range of seqs, durable before the first reading that
// uses it is committed. Not recognised, and counted as unidentifiable: readings with neither time nor seq, readings with a wrong
// time and no seq, and those of a boot whose clock changed more than some sixty times. One gap is left: that a clock fell back is
// noticed by the device's reading before it, which a restart forgets; after a kill, such a reading that comes out of order and
// again may become a second point. Several processes with doors on one external journal share these snapshots and would
// overwrite each other's.
//
// Who may import it: app, and cmd for the linter. It imports fleet, wire and obs.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Config bounds what ingest holds and accepts.
type Config struct {
	// QueueBytes is how much may wait for the journal; beyond it Submit waits, which is the back-pressure on the doors.
	QueueBytes int `mapstructure:"queue_bytes" help:"bytes that may wait for the journal; beyond them devices are read more slowly"`
	// RecordBytes is the size at which a journal record of readings is closed. JetStream takes at most 1 MiB.
	RecordBytes int           `mapstructure:"record_bytes" help:"size at which a journal record of readings is closed, at most 1 MiB"`
	Clock       ClockConfig   `mapstructure:"clock"`
	TickEvery   time.Duration `mapstructure:"tick_every" help:"how often rules are told that time goes on while nothing arrives"`
}

// ClockConfig says which device clocks are wrong. Their readings are stored with the time corrected, and marked.
type ClockConfig struct {
	MaxAhead time.Duration `mapstructure:"max_ahead" help:"a reading stamped further ahead of its arrival has a wrong clock: its time is corrected and marked with clock_off_ms"`
	// Earliest is the first day that makes sense, as 2006-01-02: clocks that lost their battery begin long before it.
	Earliest string `mapstructure:"earliest" help:"a reading stamped before this day (2006-01-02) has a wrong clock: its time is corrected and marked"`
}

// DefaultConfig holds up to 32 MiB, ticks every 5 s, and lets a clock be 2 minutes ahead and no earlier than 2020.
func DefaultConfig() Config {
	return Config{QueueBytes: 32 << 20, RecordBytes: 256 << 10, TickEvery: 5 * time.Second,
		Clock: ClockConfig{MaxAhead: 2 * time.Minute, Earliest: "2020-01-01"}}
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
	if c.Clock.MaxAhead < time.Second || c.Clock.MaxAhead > 24*time.Hour {
		errs = append(errs, fmt.Errorf("ingest.clock.max_ahead %v: want 1s to 24h", c.Clock.MaxAhead))
	}
	if t, err := time.Parse(time.DateOnly, c.Clock.Earliest); err != nil || t.Year() < 1970 || t.Year() > 2025 {
		errs = append(errs, fmt.Errorf("ingest.clock.earliest %q: want a day as 2006-01-02, from 1970 to 2025", c.Clock.Earliest))
	}
	if c.TickEvery < time.Second {
		errs = append(errs, fmt.Errorf("ingest.tick_every %v: at least 1s", c.TickEvery))
	}
	return errors.Join(errs...)
}

// Ingest takes messages from the doors. Submit may be called from many goroutines, Run from one.
type Ingest struct {
	deps     Deps
	cfg      Config
	limits   limits
	profiles map[string]*profile
	tracks   *tracks
	quality  *quality
	edges    *edges
	ready    chan struct{} // closed when what was remembered of clocks is back
	started  chan struct{} // closed when the journal holds our start
	meter    *meter
	workers  sync.Pool

	committing atomic.Int64 // when the commit at work began, by our clock in nanoseconds; 0: none

	mu      sync.Mutex
	closed  bool
	pending *cycle
	room    chan struct{} // closed and replaced when a cycle was taken: those who wait for room look again
	work    chan struct{} // holds one token when there is something to commit
}

// New builds an Ingest. The configuration must be valid.
func New(cfg Config, d Deps) *Ingest {
	if d.Now == nil {
		d.Now = time.Now
	}
	in := &Ingest{deps: d, cfg: cfg, profiles: map[string]*profile{}, meter: newMeter(d.Metrics), tracks: newTracks(), quality: newQuality(), edges: newEdges(),
		ready: make(chan struct{}), started: make(chan struct{}), limits: cfg.Clock.limits(), room: make(chan struct{}), work: make(chan struct{}, 1)}
	for i := range d.Models {
		in.profiles[d.Models[i].ID] = newProfile(&d.Models[i])
	}
	in.workers.New = func() any { return newWorker(in) }
	in.pending = newCycle(d.Journal.Partitions())
	if d.Clocks == nil {
		close(in.ready)
	}
	return in
}

func (c ClockConfig) limits() limits {
	earliest, _ := time.Parse(time.DateOnly, c.Earliest) // Validate has seen it
	return limits{ahead: c.MaxAhead.Milliseconds(), earliest: earliest.UnixMilli()}
}

// maxCycleExtra bounds the payloads put aside and the replies in one cycle: each is a record of its own.
const maxCycleExtra = 2000

// ErrClosed says that ingest takes nothing any more.
var ErrClosed = errors.New("ingest is closed")

// Submit decodes and checks a message in the caller's goroutine and queues it for the next commit. It waits while the queue
// is full. On nil, m.Ack hears the outcome exactly once; on an error (ctx ended, or ErrClosed) it hears nothing.
func (in *Ingest) Submit(ctx context.Context, m wire.Inbound) error {
	select {
	case <-in.ready:
	default:
		select {
		case <-in.ready:
		case <-ctx.Done():
			return fmt.Errorf("wait for the start: %w", ctx.Err())
		}
	}
	w := in.workers.Get().(*worker)
	defer in.workers.Put(w)
	w.take(&m)
	return in.enqueue(ctx, w, &m)
}

// enqueue puts what w made of m into the next commit; it waits while the queue is full.
func (in *Ingest) enqueue(ctx context.Context, w *worker, m *wire.Inbound) error {
	for {
		in.mu.Lock()
		if in.closed {
			in.mu.Unlock()
			return ErrClosed
		}
		if in.pending.bytes < in.cfg.QueueBytes && len(in.pending.extra) < maxCycleExtra {
			in.pending.add(w, m, in.cfg.RecordBytes)
			in.mu.Unlock()
			select {
			case in.work <- struct{}{}:
			default:
			}
			in.meter.count(m.Door, w)
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

// stalledAfter is how long a commit may take before those who wait for it count as kept from reporting.
const stalledAfter = 5 * time.Second

// Stalled reports whether devices cannot report because of us: ingest has not begun, or the journal has not taken a cycle for
// seconds.
func (in *Ingest) Stalled() bool {
	select {
	case <-in.ready:
	default:
		return true
	}
	began := in.committing.Load()
	return began != 0 && in.deps.Now().UnixNano()-began > int64(stalledAfter)
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
