// Package cases turns findings into cases: one case per problem of a device, all its episodes in it, with a history of who did
// what, and with the messages, timers and records that follow from a change. Four kinds of things change a case, each by a pure
// decision over the case as it is (an edit), which the store commits in one transaction or answers conflict, and then it is
// decided again: a finding (Decide), what people do (Do, Answer), a clock that runs out (RunTimers) and an incident (Adopt).
// Who may take a case from which state to which stands in one table (Next). It sends nothing and reads no telemetry.
//
// Some things that are decided here on purpose:
//   - A case is over when rules say that its conditions ended, or when somebody says so. Loss of link ends none, late data
//     neither opens one again nor makes another.
//   - Whoever takes a case on says when it is over; till then the end of its conditions is history.
//   - A case that is resolved while a condition holds opens again with the next record of that condition, and when the device was
//     heard for a while (cases.still_after) and the condition has not ended. If somebody looked and said false alarm or no fault
//     found, only when it gets worse.
//   - A symptom under a cause opens a case that says so (CauseRule) and tells nobody; when the cause ends and it still holds, it
//     is told.
//   - What is over before its message left is told to nobody, and has no all-clear. Whether an all-clear ever left is not kept
//     here: that a problem is back is asked for (fleet.RefBack), and who has to hear is decided when it is due.
//
// Only app may import it. It imports fleet and obs.
package cases

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
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
	// Cases returns those that a filter selects, at most its limit.
	Cases(ctx context.Context, f fleet.CaseFilter) ([]fleet.Case, error)
	// Answered reports whether a person gave this verdict on this message before.
	Answered(ctx context.Context, a fleet.Answer) (bool, error)
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

// Devices answers from memory; what it returns is not changed by anybody.
type Devices interface {
	Device(key fleet.DeviceKey) (*fleet.Device, bool)
}

// Links answers from memory when a device was heard last; false when it never was.
type Links interface {
	State(key fleet.DeviceKey) (fleet.Link, bool)
}

// Incidents answers from memory which open incident a case belongs to; empty: none.
type Incidents interface {
	Match(c *fleet.Case) string
}

// Booker sends somebody: it finds the partner and makes the work order. CodeNotFound: there is nobody to send; CodeConflict:
// a visit does not help, as in an incident.
type Booker interface {
	Book(ctx context.Context, c *fleet.Case, a fleet.Answer) (fleet.Order, error)
}

// Wishes keeps what people want to hear: after Stop nothing more of the answer's topic on the channel of its message.
type Wishes interface {
	Stop(ctx context.Context, a fleet.Answer) error
}

// Maintenance notes when a device is being worked on: rules find nothing meanwhile.
type Maintenance interface {
	Maintain(ctx context.Context, key fleet.DeviceKey, s fleet.Span, actor string) error
}

// Deps is what cases is built on. Store, Log and Registerer are needed; without one of the others, what it is for is left out.
type Deps struct {
	Store       Store
	Timers      Timers
	Devices     Devices
	Links       Links
	Incidents   Incidents
	Booker      Booker
	Wishes      Wishes
	Maintenance Maintenance
	Usage       Usage
	Parts       Parts
	Deliveries  Deliveries
	Log         *slog.Logger
	Registerer  prometheus.Registerer
}

// Cases applies findings, what people do and what is due. It keeps no state of its own: any number of processes may work on the
// same store.
type Cases struct {
	cfg     Config
	deps    Deps
	store   Store
	timers  Timers
	links   Links
	alarms  map[string]Alarm
	log     *slog.Logger
	metrics *metrics
}

// New returns Cases that does nothing until it is called. The configuration must be valid.
func New(cfg Config, d Deps) *Cases {
	c := &Cases{cfg: cfg, deps: d, store: d.Store, timers: d.Timers, links: d.Links, alarms: map[string]Alarm{}, log: d.Log,
		metrics: newMetrics(d.Registerer)}
	c.On(TimerClock, c.clock)
	c.On(TimerProof, c.proof)
	return c
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

// Apply brings one finding into its case. Applying the same one again does nothing. A finding without an id, a device or a
// problem is CodeInvalid; other errors are the store's and worth another try.
func (c *Cases) Apply(ctx context.Context, f fleet.Finding, now time.Time) error {
	if err := usable(f); err != nil {
		c.metrics.skipped.WithLabelValues("invalid").Inc()
		return err
	}
	return c.deciding(ctx, func() ([]fleet.Change, bool, error) {
		current, err := c.caseOf(ctx, f)
		if err != nil {
			return nil, false, fmt.Errorf("apply finding %q: %w", f.ID, err)
		}
		around, err := c.around(ctx, current, f, now)
		if err != nil {
			return nil, false, fmt.Errorf("apply finding %q: %w", f.ID, err)
		}
		ch, reason, write := c.cfg.Decide(current, f, now, around)
		if !write {
			c.metrics.skipped.WithLabelValues("applied_before").Inc()
		}
		c.log.Debug("finding", "finding", f.ID, "revision", f.Revision, "device", f.Device.String(), "write", write, "reason", reason)
		return []fleet.Change{ch}, write, nil
	})
}

// caseOf returns the case that a finding goes to: the latest of its problem, the one that took that in, or the one that the rule's
// episodes were split off to.
func (c *Cases) caseOf(ctx context.Context, f fleet.Finding) (*fleet.Case, error) {
	k, err := c.store.LatestCase(ctx, f.Device, f.Problem)
	for range maxHops {
		if err != nil || k == nil {
			return k, err
		}
		next := k.SplitOff[f.Rule]
		if next == "" {
			next = k.MergedInto
		}
		if next == "" {
			return k, nil
		}
		to, err := c.store.Case(ctx, f.Device.Tenant, next)
		if err != nil {
			return nil, err
		}
		if to.MergedInto == "" && c.cfg.isNewProblem(to, &f) {
			return k, nil // that one is over for good: the problem is where it was again
		}
		k = to
	}
	return k, nil
}

const maxHops = 10 // of cases that were merged or split

func (c *Cases) around(ctx context.Context, k *fleet.Case, f fleet.Finding, now time.Time) (a Around, err error) {
	if c.deps.Devices != nil {
		a.Device, _ = c.deps.Devices.Device(f.Device)
	}
	if c.deps.Incidents != nil {
		a.Match = c.deps.Incidents.Match
	}
	if k == nil || !k.State.Open() {
		a.Quiet, err = c.quiet(ctx, f.Device, now)
	}
	return a, err
}

// quiet returns the snooze of a whole device that holds now, from whichever of its cases it was set on.
func (c *Cases) quiet(ctx context.Context, key fleet.DeviceKey, now time.Time) (fleet.Snooze, error) {
	all, err := c.store.Cases(ctx, fleet.CaseFilter{Tenant: key.Tenant, Device: key.Serial, ByTime: true})
	if err != nil {
		return fleet.Snooze{}, err
	}
	for i := range all {
		if z := all[i].Snooze; z.Device && z.Holds(now, fleet.Info) {
			return z, nil
		}
	}
	return fleet.Snooze{}, nil
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
func (c *Cases) deciding(ctx context.Context, decide func() (changes []fleet.Change, write bool, err error)) error {
	for try := 1; ; try++ {
		changes, write, err := decide()
		if err != nil || !write {
			return err
		}
		err = c.store.Commit(ctx, changes...)
		if err == nil {
			for i := range changes {
				for _, a := range changes[i].Audit {
					c.metrics.changes.WithLabelValues(a.Action).Inc()
				}
			}
			return nil
		}
		if fleet.CodeOf(err) != fleet.CodeConflict || try == maxTries {
			return fmt.Errorf("commit case %q: %w", changes[0].Case.ID, err)
		}
		c.metrics.conflicts.Inc()
	}
}

// edit begins one of a case that there is.
func (c *Cases) edit(k *fleet.Case, actor string, at time.Time) *edit {
	e := &edit{cfg: c.cfg, now: at.Truncate(time.Millisecond), actor: actor, before: *k, c: *k}
	e.c.Episodes = slices.Clone(k.Episodes)
	e.c.SplitOff = maps.Clone(k.SplitOff)
	if c.deps.Incidents != nil {
		e.match = c.deps.Incidents.Match
	}
	if c.deps.Devices != nil {
		if d, ok := c.deps.Devices.Device(k.Device); ok {
			e.owned = d.OwnedSince
		}
	}
	return e
}
