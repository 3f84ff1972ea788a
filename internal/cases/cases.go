// Package cases turns findings into cases: one case per problem of a device, all its episodes in it, with a history of who
// did what, and with the messages and records that follow from a change. What a finding does to a case is decided by a pure
// function, Config.Decide; the store commits the result in one transaction or answers conflict, and it is decided
// again. It sends nothing and reads no telemetry.
//
// Only app may import it. It imports fleet and obs.
package cases

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
)

// Store is what cases needs of SQL. Its methods are safe for concurrent use.
type Store interface {
	// LatestCase returns the case of a device's problem that is not resolved, else the one opened last, else nil.
	LatestCase(ctx context.Context, key fleet.DeviceKey, problem string) (*fleet.Case, error)
	// Case returns one case, or CodeNotFound.
	Case(ctx context.Context, tenant, id string) (*fleet.Case, error)
	// Commit writes all of the changes or nothing. It is durable when it returns nil. CodeConflict when a case is not at
	// the expected version any more, or another case of the same problem is open.
	Commit(ctx context.Context, changes ...fleet.Change) error
}

// Source is where findings come from, in order for each device; one may come again.
type Source interface {
	// Next returns at least one finding, waiting as long as ctx lasts. commit marks them as done: what is not marked comes
	// again after a restart.
	Next(ctx context.Context) (findings []fleet.Finding, commit func(context.Context) error, err error)
}

// Deps is what cases is built on.
type Deps struct {
	Store      Store
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Cases applies findings and what agents do. It keeps no state of its own: any number of processes may work on the same
// store.
type Cases struct {
	cfg     Config
	store   Store
	log     *slog.Logger
	metrics *metrics
}

// New returns Cases that does nothing until it is called. The configuration must be valid.
func New(cfg Config, d Deps) *Cases {
	return &Cases{cfg: cfg, store: d.Store, log: d.Log, metrics: newMetrics(d.Registerer)}
}

const (
	maxTries = 20 // conflicts in a row; each means that somebody else made progress
	firstGap = 100 * time.Millisecond
	lastGap  = 5 * time.Second
)

// Run applies what the source gives until ctx ends, and then returns nil. While the store is away it tries again and marks
// nothing as done. A finding that can never be applied is logged, counted and left out. An error of the source is returned.
func (c *Cases) Run(ctx context.Context, src Source) error {
	for {
		err := c.batch(ctx, src)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // told to stop: whatever failed, failed of that
		case err != nil:
			return fmt.Errorf("apply findings to cases: %w", err)
		}
	}
}

func (c *Cases) batch(ctx context.Context, src Source) error {
	findings, commit, err := src.Next(ctx)
	if err != nil {
		return err
	}
	if err := c.applyAll(ctx, findings); err != nil {
		return err
	}
	return commit(ctx)
}

// applyAll returns an error only when ctx ended.
func (c *Cases) applyAll(ctx context.Context, findings []fleet.Finding) error {
	for _, f := range findings {
		for gap := firstGap; ; gap = min(2*gap, lastGap) {
			err := c.Apply(ctx, f, time.Now())
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if fleet.CodeOf(err) == fleet.CodeInvalid {
				c.log.Error("a finding is left out: it can never be applied", "finding", f.ID, "revision", f.Revision, "err", err)
				break
			}
			c.metrics.retries.Inc()
			c.log.Warn("finding not applied, trying again", "finding", f.ID, "after", gap, "err", err)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(gap):
			}
		}
	}
	return nil
}

// Apply brings one finding into its case. Applying the same one again does nothing. A finding without an id, a device or a
// problem is CodeInvalid; other errors are the store's and worth another try.
func (c *Cases) Apply(ctx context.Context, f fleet.Finding, now time.Time) error {
	if err := usable(f); err != nil {
		c.metrics.skipped.WithLabelValues("invalid").Inc()
		return err
	}
	return c.deciding(ctx, func() (fleet.Change, bool, error) {
		current, err := c.store.LatestCase(ctx, f.Device, f.Problem)
		if err != nil {
			return fleet.Change{}, false, fmt.Errorf("apply finding %q: %w", f.ID, err)
		}
		ch, reason, write := c.cfg.Decide(current, f, now)
		if !write {
			c.metrics.skipped.WithLabelValues("applied_before").Inc()
		}
		c.log.Debug("finding", "finding", f.ID, "revision", f.Revision, "device", f.Device.String(), "write", write, "reason", reason)
		return ch, write, nil
	})
}

func usable(f fleet.Finding) error {
	phase := f.Phase == fleet.Opened || f.Phase == fleet.Updated || f.Phase == fleet.Cleared
	year := max(f.At.Year(), f.OpenedAt.Year()) // what JSON can hold
	if f.ID == "" || year < 1 || year > 9999 || f.Device.Tenant == "" || f.Device.Serial == "" || f.Problem == "" || f.OpenedAt.IsZero() || !phase || f.Severity > fleet.Danger {
		return fleet.Errorf(fleet.CodeInvalid, "finding %q of device %q, problem %q, phase %q, severity %v, opened at %v: something is missing",
			f.ID, f.Device, f.Problem, f.Phase, f.Severity, f.OpenedAt)
	}
	return nil
}

// deciding decides and commits, and again as long as somebody else was first.
func (c *Cases) deciding(ctx context.Context, decide func() (ch fleet.Change, write bool, err error)) error {
	for try := 1; ; try++ {
		ch, write, err := decide()
		if err != nil || !write {
			return err
		}
		err = c.store.Commit(ctx, ch)
		if err == nil {
			for _, a := range ch.Audit {
				c.metrics.changes.WithLabelValues(a.Action).Inc()
			}
			return nil
		}
		if fleet.CodeOf(err) != fleet.CodeConflict || try == maxTries {
			return fmt.Errorf("commit case %q: %w", ch.Case.ID, err)
		}
		c.metrics.conflicts.Inc()
	}
}
