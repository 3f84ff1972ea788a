package incidents

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// baselineFor is how long what was normal before the window is remembered: it changes slowly, and asking costs a walk through months
// of cases.
const baselineFor = time.Hour

// baseline is what a tenant's cases of before the window say.
type baseline struct {
	at     time.Time
	first  time.Time // when the first case there is was opened
	from   time.Time // since when cases are counted
	to     time.Time
	counts []fleet.GroupCount
}

// crowd is the devices of one model.
type crowd struct {
	places    map[place]int
	installed []time.Time // of each device; zero: not known
}

// population counts the devices that are not revoked, by tenant and model.
func (n *Incidents) population() map[string]map[string]*crowd {
	out := map[string]map[string]*crowd{}
	for d := range n.deps.Devices.Devices {
		if d.Revoked {
			continue
		}
		models := out[d.Key.Tenant]
		if models == nil {
			models = map[string]*crowd{}
			out[d.Key.Tenant] = models
		}
		c := models[d.Model]
		if c == nil {
			c = &crowd{places: map[place]int{}}
			models[d.Model] = c
		}
		c.places[place{d.Firmware, d.Batch}]++
		c.installed = append(c.installed, d.InstalledAt)
	}
	return out
}

// past is how many device-windows of the model were observed in from <= time < to: a device counts from its installation on.
func (c *crowd) past(from, to time.Time, window time.Duration) (windows float64) {
	for _, at := range c.installed {
		since := from
		if at.After(from) {
			since = at
		}
		if since.Before(to) {
			windows += to.Sub(since).Hours() / window.Hours()
		}
	}
	return windows
}

// problemOf names what a sample is about.
type problemOf struct{ model, problem string }

// look finds new incidents of a tenant and opens them.
func (n *Incidents) look(ctx context.Context, tenant string, models map[string]*crowd, now time.Time) error {
	from := now.Add(-n.cfg.Window)
	counts, err := n.deps.Evidence.GroupCounts(ctx, tenant, from, now.Add(time.Millisecond), n.cfg.Window+time.Millisecond)
	if err != nil || !n.worthIt(counts) {
		return err
	}
	b, err := n.before(ctx, tenant, from, now)
	if err != nil {
		return err
	}
	samples := n.samples(tenant, models, counts, b, now)
	tests := 0
	for _, s := range samples {
		tests += len(n.cfg.groups(s))
	}
	n.metrics.tests.Add(float64(tests))
	for _, p := range slices.SortedFunc(maps.Keys(samples), func(a, b problemOf) int {
		return slices.Compare([]string{a.model, a.problem}, []string{b.model, b.problem})
	}) {
		s := samples[p]
		s.tests = tests
		var failed error
		usual := func(g group) float64 {
			rate, err := n.atTheirAge(ctx, tenant, p, g.place, b, now)
			if err != nil {
				failed = err
				return -1
			}
			return rate
		}
		for _, o := range n.cfg.find(*s, usual) {
			if err := n.found(ctx, tenant, p, s, o, now); err != nil && fleet.CodeOf(err) != fleet.CodeConflict {
				return err
			}
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// worthIt reports whether a problem of a model has enough devices at all: most passes end here.
func (n *Incidents) worthIt(counts []fleet.GroupCount) bool {
	sum := map[problemOf]int{}
	for _, c := range counts {
		p := problemOf{c.Model, c.Problem}
		if sum[p] += c.Present; sum[p] >= n.cfg.MinAffected {
			return true
		}
	}
	return false
}

// before returns what was normal before the window.
func (n *Incidents) before(ctx context.Context, tenant string, to, now time.Time) (baseline, error) {
	if b, ok := n.normal[tenant]; ok && now.Sub(b.at) < baselineFor && !now.Before(b.at) {
		return b, nil
	}
	first, err := n.deps.Evidence.FirstCase(ctx, tenant)
	if err != nil {
		return baseline{}, err
	}
	b := baseline{at: now, first: first, from: to.Add(-n.cfg.History), to: to}
	if first.IsZero() || first.After(b.from) {
		b.from = first
	}
	if !b.from.Before(to) || b.from.IsZero() {
		b.from = to // there is no past
	} else if b.counts, err = n.deps.Evidence.GroupCounts(ctx, tenant, b.from, to, n.cfg.Window); err != nil {
		return baseline{}, err
	}
	n.normal[tenant] = b
	return b, nil
}

// samples puts together what is known of each problem: the devices there are, without those that are settled.
func (n *Incidents) samples(tenant string, models map[string]*crowd, counts []fleet.GroupCount, b baseline, now time.Time) map[problemOf]*sample {
	out := map[problemOf]*sample{}
	cells := map[problemOf]map[place]*cell{}
	of := func(c fleet.GroupCount) (*sample, map[place]*cell) {
		p := problemOf{c.Model, c.Problem}
		if s := out[p]; s != nil {
			return s, cells[p]
		}
		crowd := models[c.Model]
		if crowd == nil {
			return nil, nil
		}
		s, m := &sample{past: crowd.past(b.from, b.to, n.cfg.Window)}, map[place]*cell{}
		for at, devices := range crowd.places {
			m[at] = &cell{place: at, devices: devices}
		}
		out[p], cells[p] = s, m
		return s, m
	}
	for _, c := range b.counts {
		s, m := of(c)
		if s == nil {
			continue
		}
		if x := m[place{c.Firmware, c.Batch}]; x != nil {
			x.before += c.Affected
		} else {
			s.moved += c.Affected
		}
	}
	for _, c := range counts {
		s, m := of(c)
		if s == nil {
			continue
		}
		if x := m[place{c.Firmware, c.Batch}]; x != nil {
			x.affected, x.hard = x.affected+min(c.Present, x.devices), x.hard+min(c.Hard, x.devices)
			s.severity = max(s.severity, c.Severity)
		}
	}
	for p, s := range out {
		all, settled := 0, 0
		for _, x := range cells[p] {
			all += x.devices
			if n.settled(tenant, p, x.place, now) {
				settled += x.devices
				continue
			}
			s.cells = append(s.cells, *x)
		}
		s.past *= float64(all-settled) / float64(max(all, 1))
		slices.SortFunc(s.cells, func(a, b cell) int {
			return slices.Compare([]string{a.firmware, a.batch}, []string{b.firmware, b.batch})
		})
	}
	return out
}

// settled reports whether the problem of these devices is that of an open incident, or of one that an agent closed lately: its
// cases would make it again.
func (n *Incidents) settled(tenant string, p problemOf, at place, now time.Time) bool {
	c := fleet.Case{Device: fleet.DeviceKey{Tenant: tenant}, Model: p.model, Problem: p.problem, Firmware: at.firmware, Batch: at.batch}
	list := *n.known.Load()
	for k := range list {
		i := &list[k]
		lately := i.State == fleet.IncidentClosed && now.Sub(i.ClosedAt) < n.cfg.Window
		if i.Matches(&c) && (i.State == fleet.IncidentOpen || lately) {
			return true
		}
	}
	return false
}

// found opens an incident.
func (n *Incidents) found(ctx context.Context, tenant string, p problemOf, s *sample, o outbreak, now time.Time) error {
	i := fleet.Incident{Tenant: tenant, State: fleet.IncidentOpen, Problem: p.problem, Model: p.model, Firmware: o.firmware, Batch: o.batch,
		OpenedAt: now, By: actorRules, Severity: s.severity, Devices: o.devices, Affected: o.affected, Window: n.cfg.Window,
		Expected: o.normal * float64(o.devices), Chance: o.chance}
	if o.specific() == 0 { // all there are: if they have one firmware, the next one need not have the fault
		if one := s.cells[0].firmware; !slices.ContainsFunc(s.cells, func(x cell) bool { return x.firmware != one }) {
			i.Firmware = one
		}
	}
	i.Title = title(&i)
	i.ID = incidentID(&i)
	detail := fmt.Sprintf("%d of %d devices within %v; normal are at most %.1f; so many by chance: %.1g", i.Affected, i.Devices, i.Window, i.Expected, i.Chance)
	return n.commit(ctx, fleet.IncidentChange{Incident: i, Audit: []fleet.Audit{audit(&i, now, actorRules, actOpened, detail)},
		Outbox: []fleet.OutboxRow{notify(&i, 1, actOpened, "Incident: "+i.Title, detail, now)}}, now)
}

func incidentID(i *fleet.Incident) string {
	return fleet.ID("inc", i.Tenant, i.Problem, i.Model, i.Firmware, i.Batch, fmt.Sprint(i.OpenedAt.UnixMilli()))
}

// title is what an incident is called until an agent says it better.
func title(i *fleet.Incident) string {
	s := i.Problem + " of " + i.Model
	if i.Firmware != "" {
		s += ", firmware " + i.Firmware
	}
	if i.Batch != "" {
		s += ", batch " + i.Batch
	}
	return s
}
