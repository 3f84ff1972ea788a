// Package engine runs the rules: one worker for each partition of the readings stream steps the state through the records,
// hands the findings on, and keeps snapshots so that a restart reads only what came after. It decides nothing: what follows
// from a record is the pure step of package rules.
//
// Who may import it: app, cmd. It imports fleet, wire and rules.
package engine

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Config says how the loop works; how conditions look at time is in rules.Config.
type Config struct {
	SnapshotEvery time.Duration `mapstructure:"snapshot_every" help:"time between two snapshots of a partition's state; longer means more to read again after a crash"`
	FetchMax      int           `mapstructure:"fetch_max" help:"journal records worked on between two hand-overs of findings"`
	ChunkBytes    int           `mapstructure:"chunk_bytes" help:"largest part of a snapshot, in bytes"`
	StopTimeout   time.Duration `mapstructure:"stop_timeout" help:"when the server stops: how long the last snapshot may take"`
	OwnerTerm     time.Duration `mapstructure:"owner_term" help:"with several servers on one journal (journal.url): a partition whose server gives no sign for so long goes to another one"`
	FleetEvery    time.Duration `mapstructure:"fleet_every" help:"how often peers and fleet_rate get a new picture of the fleet, when a rule uses them; 0: never"`
	WarmUp        string        `mapstructure:"warm_up" help:"make the state of the rules from history: auto (when no snapshot is whole and the journal begins later), always (at every start), off"`
}

// DefaultConfig takes a snapshot every 30 seconds. Its chunks leave room for headers below the 1 MiB that an external
// journal takes by default.
func DefaultConfig() Config {
	return Config{SnapshotEvery: 30 * time.Second, FetchMax: 64, ChunkBytes: 960 << 10, StopTimeout: 4 * time.Second, OwnerTerm: 15 * time.Second,
		FleetEvery: 15 * time.Minute, WarmUp: warmAuto}
}

// Validate names the field and the value of what is wrong.
func (c Config) Validate() error {
	switch {
	case c.SnapshotEvery < time.Second:
		return fmt.Errorf("rules.engine.snapshot_every %v: want at least 1s", c.SnapshotEvery)
	case c.FetchMax < 1 || c.FetchMax > 10000:
		return fmt.Errorf("rules.engine.fetch_max %d: want 1 to 10000", c.FetchMax)
	case c.ChunkBytes < 4096 || c.ChunkBytes > 1<<20:
		return fmt.Errorf("rules.engine.chunk_bytes %d: want 4096 to 1048576", c.ChunkBytes)
	case c.StopTimeout < 0:
		return fmt.Errorf("rules.engine.stop_timeout %v: want 0 or more", c.StopTimeout)
	case c.OwnerTerm < time.Second:
		return fmt.Errorf("rules.engine.owner_term %v: want at least 1s", c.OwnerTerm)
	case c.FleetEvery != 0 && c.FleetEvery < time.Minute:
		return fmt.Errorf("rules.engine.fleet_every %v: want at least 1m, or 0 for never", c.FleetEvery)
	case c.WarmUp != warmAuto && c.WarmUp != warmAlways && c.WarmUp != warmOff:
		return fmt.Errorf("rules.engine.warm_up %q: want auto, always or off", c.WarmUp)
	}
	return nil
}

// Log is where readings come from. OpenReadings starts at the stream sequence from (0: the first kept) and gives only
// records of the partition. Several partitions are opened concurrently. First returns the sequence of the first record that is
// kept, of any partition, and when it was received; the next one's and no time when none is.
type Log interface {
	First(ctx context.Context) (seq uint64, received time.Time, err error)
	OpenReadings(ctx context.Context, partition int, from uint64) (wire.Source, error)
}

// Findings takes what the rules found. It may block; the findings are durable when it returns nil. After an error all of
// them are handed over again: (ID, Revision) makes repeats harmless.
//
// Count takes, in the same way, lines of line protocol on how much devices were used; at is the receipt time of the newest
// reading in them.
type Findings interface {
	Emit(ctx context.Context, partition int, fs []fleet.Finding) error
	Count(ctx context.Context, partition int, at time.Time, lines []byte) error
}

// Snapshots keeps the newest body under each key. Save is durable enough to survive a restart of the process when it
// returns nil; a body that is lost or damaged is noticed by its checksum. Load returns revision 0 for a key that is not there.
// Swap saves under the condition that the key's revision is still the given one (0: the key is not there) and returns the new one;
// fleet.CodeConflict means that somebody else was faster, or that an earlier Swap took effect whose answer did not arrive. Keys
// returns the keys that begin with prefix, which ends with a dot. Delete of a key that is not there is no error.
type Snapshots interface {
	Load(ctx context.Context, key string) (body []byte, revision uint64, err error)
	Save(ctx context.Context, key string, body []byte) error
	Swap(ctx context.Context, key string, body []byte, revision uint64) (uint64, error)
	Keys(ctx context.Context, prefix string) ([]string, error)
	Delete(ctx context.Context, key string) error
}

// Deps is what the engine works with.
type Deps struct {
	Partitions int
	Log        Log
	Findings   Findings
	Snapshots  Snapshots
	Summaries  Summaries // nil: nobody makes summaries of the fleet
	Past       Past      // nil: nothing is known beside the journal
	Alone      bool      // no other process can work these partitions: none is waited for
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept and shown nowhere
}

// Engine runs the rules of all partitions.
type Engine struct {
	cfg     Config
	set     *rules.Set
	deps    Deps
	metrics *metrics
	workers []*worker
}

// New builds an engine; nothing runs and nothing is read before Run. The configuration must be valid.
func New(cfg Config, set *rules.Set, deps Deps) *Engine {
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{cfg: cfg, set: set, deps: deps, metrics: newMetrics(deps.Registerer)}
	token := rand.Text()
	for p := range deps.Partitions {
		log := deps.Logger.With("partition", p)
		e.workers = append(e.workers, &worker{
			cfg: cfg, set: set, deps: deps, metrics: e.metrics, partition: p, log: log,
			snaps: &snapshotter{cfg: cfg, store: deps.Snapshots, metrics: e.metrics, partition: p, log: log},
			fleet: &fleetStep{
				every: cfg.FleetEvery, parts: deps.Partitions, store: deps.Snapshots, to: deps.Summaries, metrics: e.metrics, partition: p, log: log,
			},
			owners: &owners{
				term: cfg.OwnerTerm, alone: deps.Alone, store: deps.Snapshots, metrics: e.metrics, partition: p, token: token, log: log,
			},
		})
	}
	return e
}

// Run works until ctx ends, then takes a last snapshot of each partition and returns nil. What it cannot reach (journal,
// snapshots) it tries again, with growing pauses. Partitions that another process works it takes over when that one ends.
func (e *Engine) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range e.workers {
		g.Go(func() error { return w.run(ctx) })
	}
	return g.Wait()
}

// Position returns the stream sequence up to which a partition's records are not needed any more, for the journal's trimmer:
// the older of the two snapshots that are kept, so that falling back to it can still be followed by its records. 0: none.
func (e *Engine) Position(partition int) uint64 {
	if partition < 0 || partition >= len(e.workers) {
		return 0
	}
	return e.workers[partition].snaps.position.Load()
}

// Stats is where one partition stands.
type Stats struct {
	Partition int
	Stepped   uint64    // sequence of the last record whose findings were handed over
	Saved     uint64    // sequence the newest snapshot holds
	Received  time.Time // receipt time of the last record stepped; zero before the first
	Devices   int
	Summary   time.Time // of the last summary of the fleet; zero: there was none
}

// Stats returns where each partition stands. It is safe to call at any time.
func (e *Engine) Stats() []Stats {
	out := make([]Stats, len(e.workers))
	for i, w := range e.workers {
		out[i] = Stats{Partition: i, Stepped: w.stepped.Load(), Saved: w.snaps.saved.Load(), Devices: int(w.devices.Load())}
		if ms := w.received.Load(); ms != 0 {
			out[i].Received = time.UnixMilli(ms)
		}
		if ms := w.summary.Load(); ms != 0 {
			out[i].Summary = time.UnixMilli(ms)
		}
	}
	return out
}

// progress is what a worker shows of itself to other goroutines.
type progress struct {
	stepped  atomic.Uint64
	received atomic.Int64 // ms
	devices  atomic.Int64
	summary  atomic.Int64 // ms
	warming  warming
}
