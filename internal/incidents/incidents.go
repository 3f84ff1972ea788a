// Package incidents finds and keeps incidents: one fault of many devices, which is told once and repaired once. It counts, for each
// problem of a model, the devices that got it in the last week, and compares those of one firmware, one batch or both with what is
// normal. It also does what agents say of an incident, and what follows from it for cases, owners and operators.
//
// # The test
//
// Of the n devices of a group, k had the problem begin in the window. Counted are cases that were live, at least "watch", of kind
// safety, fault or maintenance, that are no symptom of another problem, were not taken back as a false alarm, no fault found or a
// duplicate and belong to no incident; devices count once, and only with the firmware and the batch they have still. The
// normal rate is the largest of
//
//   - the upper bound (Clopper and Pearson, 95 %) of the other devices' rate in the window: a season or a day that is bad for
//     everybody is normal;
//   - that of the model's rate, and of the group's own, in the windows before: twelve weeks, or since the first case there was;
//   - Config.Floor, so that a rule that was never seen before has a small rate, and not none.
//
// An outbreak is one with P(at least k of n at the normal rate), by the binomial distribution, of at most Config.Alpha divided by
// the number of groups that are tested at that moment (Bonferroni), at least Config.Ratio times the normal rate, and the minimum
// numbers of devices. Of several groups that pass, the one named is that with the greatest likelihood ratio (Kulldorff's scan
// statistic); a group that names more must be better by far. So a batch that has nothing but the bad firmware is not named.
//
// Maintenance that is due, with no fault among its cases, is compared at equal age: a batch that was sold in one month needs its filters
// in one month. The expected number is the sum over the group's devices of the rate that devices of the same age outside the group
// had; an age that no other device had counts as "always due", and so does an age that is not known. (That the tail at the mean
// rate is an upper bound of the one at unequal rates is Hoeffding's: Annals of Mathematical Statistics 27, 1956.) So the oldest
// batch of a model never makes an incident of maintenance by itself; an agent may declare one.
//
// All devices of a model have nobody to be compared with: they make an incident only by faults or dangers that were seen before, at
// Config.WholeRatio times what four or more windows of the past show, so that a hot week is none.
//
// It does not decide what a case is (cases) or who hears what (outreach). Only app may import it. It imports fleet.
package incidents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
)

// Store keeps incidents. Its methods, like those below, are safe for concurrent use, and what they wrote is durable when they return.
type Store interface {
	// Incident returns one, or CodeNotFound.
	Incident(ctx context.Context, tenant, id string) (*fleet.Incident, error)
	// OpenIncidents returns those that are open, or were fixed or closed after since, of all tenants.
	OpenIncidents(ctx context.Context, since time.Time) ([]fleet.Incident, error)
	IncidentAudit(ctx context.Context, tenant, id string) ([]fleet.Audit, error)
	// CommitIncident writes all of the change or nothing. CodeConflict when the incident is not at the expected version any
	// more, or another one of the same problem and group is open.
	CommitIncident(ctx context.Context, ch fleet.IncidentChange) error
}

// Evidence is what the cases say; see package store for what counts.
type Evidence interface {
	GroupCounts(ctx context.Context, tenant string, from, to time.Time, part time.Duration) ([]fleet.GroupCount, error)
	FirstCase(ctx context.Context, tenant string) (time.Time, error)
	Onsets(ctx context.Context, tenant, model, problem string, from, to time.Time) ([]fleet.Onset, error)
}

// Children are an incident's cases and those who were told.
type Children interface {
	// IncidentStrays returns open cases of the incident's group that belong to no incident yet.
	IncidentStrays(ctx context.Context, i *fleet.Incident, limit int) ([]fleet.Case, error)
	// IncidentCases returns its children, newest first; IncidentOpenCases those that are open, oldest first.
	IncidentCases(ctx context.Context, tenant, id string, limit int) ([]fleet.Case, error)
	IncidentOpenCases(ctx context.Context, tenant, id string, limit int) ([]fleet.Case, error)
	// IncidentTold returns who was sent a message of a topic about it.
	IncidentTold(ctx context.Context, tenant, id, topic string) ([]fleet.Told, error)
	// AddOutbox adds rows; those that exist already are left as they are.
	AddOutbox(ctx context.Context, rows []fleet.OutboxRow) error
}

// Devices is the registry, in memory; what it returns is not to be changed.
type Devices interface {
	Devices(yield func(*fleet.Device) bool)
	Device(key fleet.DeviceKey) (*fleet.Device, bool)
}

// Cases is what an incident does to cases. Doing it twice is doing it once; CodeConflict: the case is over.
type Cases interface {
	// Adopt makes a case a child of an incident.
	Adopt(ctx context.Context, tenant, caseID, incidentID, actor, why string, at time.Time) error
	// Release lets it go its own way.
	Release(ctx context.Context, tenant, caseID, actor, why string, at time.Time) error
	// Updated has the device watched: its firmware is another one since.
	Updated(ctx context.Context, tenant, caseID, firmware string, at time.Time) error
}

// Orders calls off what is under way to repair a case.
type Orders interface {
	CancelCase(ctx context.Context, tenant, caseID, reason string, at time.Time) error
}

// Deps is what New is given.
type Deps struct {
	Store      Store
	Evidence   Evidence
	Children   Children
	Devices    Devices
	Cases      Cases
	Orders     Orders // nil: there are no work orders
	Wake       func() // called after rows were put into the outbox; nil: nobody waits
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Incidents is made with New. Its methods may be called concurrently.
type Incidents struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	metrics *metrics

	known atomic.Pointer[[]fleet.Incident] // open, or ended lately; never changed

	mu     sync.Mutex // one pass at a time
	normal map[string]baseline
	said   map[string]map[string]bool // by incident: who was asked or told what, so that it is not looked up again and again
}

// New returns Incidents that knows of none until Refresh, Pass or Run. The configuration must be valid.
func New(c Config, d Deps) *Incidents {
	n := &Incidents{cfg: c, deps: d, log: d.Log, normal: map[string]baseline{}, said: map[string]map[string]bool{}}
	n.known.Store(&[]fleet.Incident{})
	n.metrics = newMetrics(d.Registerer, func() float64 { return float64(len(n.open())) })
	return n
}

// Run looks for incidents until ctx ends, and then returns nil. What fails is tried again with the next turn.
func (n *Incidents) Run(ctx context.Context) error {
	tick := time.NewTicker(n.cfg.Poll)
	defer tick.Stop()
	var passed time.Time
	failing := false
	for {
		now := time.Now()
		var err error
		if n.cfg.Every > 0 && now.Sub(passed) >= n.cfg.Every {
			passed, err = now, n.Pass(ctx, now)
		} else {
			err = n.Refresh(ctx, now)
		}
		if ctx.Err() != nil {
			return nil // told to stop: whatever failed, failed of that
		}
		if err != nil && !failing {
			n.log.Warn("incidents are not looked after, trying again", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// after is how long an incident that was fixed or closed is looked after: devices get their new firmware within weeks.
const after = 30 * 24 * time.Hour

// Refresh takes in what other processes did.
func (n *Incidents) Refresh(ctx context.Context, now time.Time) error {
	list, err := n.deps.Store.OpenIncidents(ctx, now.Add(-max(after, n.cfg.Window)))
	if err != nil {
		return err
	}
	n.known.Store(&list)
	return nil
}

// Match returns the open incident that a case belongs to, the most specific of them, or "". It answers from memory.
func (n *Incidents) Match(c *fleet.Case) string {
	best, most := "", -1
	for _, i := range n.open() {
		g := group{place: place{i.Firmware, i.Batch}}
		if i.Matches(c) && concerns(c) && g.specific() > most {
			best, most = i.ID, g.specific()
		}
	}
	return best
}

// concerns reports whether a case is one that incidents are about.
func concerns(c *fleet.Case) bool {
	return c.Severity >= fleet.Watch && (c.Kind == fleet.KindSafety || c.Kind == fleet.KindFault || c.Kind == fleet.KindMaintenance)
}

// open returns the open ones that are known. What they point to must not be changed.
func (n *Incidents) open() (out []*fleet.Incident) {
	list := *n.known.Load()
	for k := range list {
		if list[k].State == fleet.IncidentOpen {
			out = append(out, &list[k])
		}
	}
	return out
}

// Pass does once what Run does all the time: it looks for incidents and looks after those there are. It is for who replays
// the past and calls it, in the place of Run, every Config.Every of the time that goes by.
func (n *Incidents) Pass(ctx context.Context, now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	begun := time.Now()
	defer func() { n.metrics.seconds.Observe(time.Since(begun).Seconds()) }()
	if err := n.Refresh(ctx, now); err != nil {
		return fmt.Errorf("look for incidents: %w", err)
	}
	var errs []error
	for tenant, p := range n.population() {
		if err := n.look(ctx, tenant, p, now); err != nil {
			errs = append(errs, fmt.Errorf("look for incidents of %q: %w", tenant, err))
		}
	}
	list := *n.known.Load()
	maps.DeleteFunc(n.said, func(id string, _ map[string]bool) bool {
		return !slices.ContainsFunc(list, func(i fleet.Incident) bool { return i.ID == id })
	})
	for k := range list {
		if err := n.tend(ctx, &list[k], now); err != nil {
			errs = append(errs, fmt.Errorf("incident %q: %w", list[k].ID, err))
		}
	}
	return errors.Join(errs...)
}

// once reports whether this is the first time that key is asked for of an incident, since it was said so by done.
func (n *Incidents) once(id, key string) (first bool, done func()) {
	return !n.said[id][key], func() {
		if n.said[id] == nil {
			n.said[id] = map[string]bool{}
		}
		n.said[id][key] = true
	}
}

// commit writes a change and takes it in.
func (n *Incidents) commit(ctx context.Context, ch fleet.IncidentChange, now time.Time) error {
	if err := n.deps.Store.CommitIncident(ctx, ch); err != nil {
		return err
	}
	for _, a := range ch.Audit {
		n.metrics.changes.WithLabelValues(a.Action).Inc()
	}
	n.wake(ch.Outbox)
	return n.Refresh(ctx, now)
}

func (n *Incidents) wake(rows []fleet.OutboxRow) {
	if len(rows) > 0 && n.deps.Wake != nil {
		n.deps.Wake()
	}
}
