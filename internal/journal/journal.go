// Package journal is the durable log of the system: the streams of package wire on NATS JetStream, in the process or on an
// external server, with the same client code. What Append has accepted is on disk. It also keeps the positions of the
// consumers, the snapshots of rule state, and purges what everybody has read.
//
// It is not a broker for devices and knows nothing of what is in a record. It imports fleet, wire and obs; app and cmd may
// import it, everybody else names the few methods needed as an interface.
package journal

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Errors that callers may want to tell apart. Both carry fleet.CodeBusy: trying again later may succeed.
var (
	// ErrFull says that the stream has reached its limit or the disk its reserve; nothing of the record was stored.
	ErrFull = errors.New("the journal is full")
	// ErrBroken says that JetStream gave no answer; the record may or may not be stored. The journal is being reopened.
	ErrBroken = errors.New("the journal gives no answer")
	// ErrClosed says that Close was called.
	ErrClosed = errors.New("the journal is closed")
)

// Journal is an open log. All methods are safe for concurrent use.
type Journal struct {
	cfg        Config
	log        *slog.Logger
	metrics    *metrics
	space      space
	partitions int

	ctx  context.Context //nolint:containedctx // the journal's own life: ends with Close and stops a reopening
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu        sync.Mutex
	link      *link                  // nil while broken
	ready     chan struct{}          // closed when link is set again or the journal is closed
	cause     error                  // why it is broken
	acked     map[wire.Stream]uint64 // highest sequence that was acknowledged
	committed map[string]uint64      // by stream/consumer: how far it has committed
	safe      func() map[int]uint64

	whole map[string]stamp // files that were looked at; used by whoever dials, one at a time
}

// Open opens or makes the log. It refuses a configuration that is not valid, which includes anything but sync "always" under
// strict durability. For the embedded server nothing listens on any port.
func Open(ctx context.Context, cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Journal, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Sync != syncAlways {
		log.Warn("journal: acknowledged records are NOT on disk until the next sync: a power cut loses them",
			"sync", cfg.Sync, "durability", cfg.Durability)
	}
	if cfg.URL != "" {
		log.Warn("journal: whether an external server syncs before it answers cannot be seen from here; "+
			"its jetstream configuration must have sync_interval: always", "url", cfg.URL)
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	j := &Journal{cfg: cfg, log: log, metrics: m, ready: make(chan struct{}), acked: map[wire.Stream]uint64{}, committed: map[string]uint64{}}
	j.loadMarks()
	if j.link, j.partitions, err = j.dial(ctx); err != nil {
		return nil, err
	}
	if cfg.URL == "" {
		j.space = space{dir: cfg.Dir, min: cfg.MinFree, free: freeShare}
	}
	close(j.ready)
	// The journal's own life does not end with the context of opening it.
	j.ctx, j.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := j.restore(ctx); err != nil {
		j.log.Error("journal: what was saved from damaged files waits for the next start", "error", err)
	}
	log.Info("journal: open", "dir", cfg.Dir, "url", cfg.URL, "sync", cfg.Sync, "partitions", j.partitions, "took", time.Since(started))
	return j, nil
}

// Close waits until the embedded server has written its state and released its files. Appends that wait return ErrClosed.
func (j *Journal) Close() error {
	j.mu.Lock()
	j.stop() // under the lock: from here on fail starts no reopening that nobody waits for
	j.mu.Unlock()
	j.wg.Wait()
	j.mu.Lock()
	l := j.link
	j.link, j.cause = nil, ErrClosed
	j.mu.Unlock()
	if l == nil {
		return nil
	}
	close(l.down)
	l.close()
	return j.saveMarks()
}

// Partitions returns how many partitions the streams were made with.
func (j *Journal) Partitions() int { return j.partitions }

// PartitionOf returns the partition of a device: FNV-1a of tenant, a zero byte and serial, modulo Partitions. It never
// changes, because a device's records must stay together.
func (j *Journal) PartitionOf(k fleet.DeviceKey) int { return Partition(k, j.partitions) }

// Partition is PartitionOf for a count of partitions.
func Partition(k fleet.DeviceKey, partitions int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(k.Tenant))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(k.Serial))
	return int(h.Sum64() % uint64(partitions))
}

// Check is the health check: it fails while the log is broken, closed or the disk is nearly full.
func (j *Journal) Check(context.Context) error {
	j.mu.Lock()
	l, cause := j.link, j.cause
	j.mu.Unlock()
	if l == nil {
		return fmt.Errorf("broken, being reopened: %w", cause)
	}
	return j.space.check(time.Now())
}

// current returns the link, waiting while the journal is broken.
func (j *Journal) current(ctx context.Context) (*link, error) {
	for {
		j.mu.Lock()
		l, ready := j.link, j.ready
		j.mu.Unlock()
		if l != nil {
			return l, nil
		}
		select {
		case <-ready:
			if j.ctx.Err() != nil {
				return nil, ErrClosed
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-j.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// fail gives a link up and starts reopening. Only the first to report a link does anything.
func (j *Journal) fail(l *link, cause error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.link != l || j.ctx.Err() != nil {
		return
	}
	j.link, j.cause, j.ready = nil, cause, make(chan struct{})
	close(l.down)
	j.log.Error("journal: broken, nothing is acknowledged until it is reopened", "cause", cause)
	j.wg.Go(func() { j.reopen(l) })
}

// dial opens a link and looks whether all that was acknowledged is there.
func (j *Journal) dial(ctx context.Context) (*link, int, error) {
	j.mu.Lock()
	acked := maps.Clone(j.acked)
	j.mu.Unlock()
	if err := j.mend(acked); err != nil {
		return nil, 0, err
	}
	l, partitions, err := dial(ctx, j.cfg, j.log)
	if err != nil {
		return nil, 0, err
	}
	missing, err := l.verify(ctx, j.log, acked)
	if err != nil {
		l.close()
		return nil, 0, err
	}
	j.metrics.missing.Add(float64(missing))
	j.mu.Lock()
	for s, last := range l.rewound {
		j.acked[s] = last
	}
	j.mu.Unlock()
	return l, partitions, nil
}

// reopen closes the old server and tries to open it again with back-off until it works or the journal is closed.
func (j *Journal) reopen(old *link) {
	old.close()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		l, partitions, err := j.dial(j.ctx)
		if err == nil && partitions != j.partitions {
			l.close()
			err = fmt.Errorf("journal: the streams have %d partitions now, had %d", partitions, j.partitions)
		}
		if err == nil {
			j.mu.Lock()
			j.link, j.cause = l, nil
			close(j.ready)
			j.mu.Unlock()
			j.metrics.reopens.Inc()
			j.log.Info("journal: open again")
			if err := j.restore(j.ctx); err != nil {
				j.log.Error("journal: what was saved from damaged files waits for the next start", "error", err)
			}
			return
		}
		j.mu.Lock()
		j.cause = err
		j.mu.Unlock()
		j.log.Warn("journal: cannot be opened again yet", "error", err, "next_try", wait)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-j.ctx.Done():
			t.Stop()
			return
		}
	}
}
