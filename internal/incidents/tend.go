package incidents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// strays is how many cases are adopted at a time, many how many are looked through in one pass.
const (
	strays = 500
	many   = 5000
)

// tend does what is to be done for an incident at a time. All of it may be done again: a pass that was interrupted is finished by
// the next one.
func (n *Incidents) tend(ctx context.Context, i *fleet.Incident, now time.Time) error {
	switch i.State {
	case fleet.IncidentOpen:
		return errors.Join(n.adopt(ctx, i, now), n.updated(ctx, i, now), n.ask(ctx, i, now))
	case fleet.IncidentFixed:
		return errors.Join(n.toldLate(ctx, i, now), n.updated(ctx, i, now))
	default:
		return n.release(ctx, i, now)
	}
}

// adopt makes open cases of the group children: nobody is sent to repair them any more.
func (n *Incidents) adopt(ctx context.Context, i *fleet.Incident, now time.Time) error {
	worst, last := i.Severity, ""
	for {
		list, err := n.deps.Children.IncidentStrays(ctx, i, strays)
		if err != nil {
			return err
		}
		for k := range list {
			c := &list[k]
			if n.deps.Orders != nil {
				if err := n.deps.Orders.CancelCase(ctx, c.Device.Tenant, c.ID, fleet.ReasonIncident+": "+i.Title, now); err != nil {
					return fmt.Errorf("call off the visit for case %q: %w", c.ID, err)
				}
			}
			if err := n.deps.Cases.Adopt(ctx, c.Device.Tenant, c.ID, i.ID, actorIncidents, i.Title, now); err != nil && fleet.CodeOf(err) != fleet.CodeConflict {
				return fmt.Errorf("adopt case %q: %w", c.ID, err)
			}
			worst = max(worst, c.Severity)
		}
		if len(list) < strays || list[0].ID == last { // it may be that a case is not to be had
			break
		}
		last = list[0].ID
	}
	if worst <= i.Severity {
		return nil
	}
	ch := fleet.IncidentChange{Incident: *i, Expected: i.Version, Audit: []fleet.Audit{audit(i, now, actorRules, actWorse, fmt.Sprintf("from %s to %s", i.Severity, worst))}}
	ch.Incident.Severity = worst
	if err := n.commit(ctx, ch, now); err != nil && fleet.CodeOf(err) != fleet.CodeConflict {
		return err // in a conflict somebody else changed it; the next pass sees
	}
	return nil
}

// release lets the open children of an incident that is closed go their own way.
func (n *Incidents) release(ctx context.Context, i *fleet.Incident, now time.Time) error {
	list, err := n.deps.Children.IncidentOpenCases(ctx, i.Tenant, i.ID, many)
	if err != nil {
		return err
	}
	for k := range list {
		if err := n.deps.Cases.Release(ctx, i.Tenant, list[k].ID, actorIncidents, "the incident is closed: "+i.Title, now); err != nil {
			return fmt.Errorf("release case %q: %w", list[k].ID, err)
		}
	}
	return nil
}

// updated has devices watched that left the firmware of the incident.
func (n *Incidents) updated(ctx context.Context, i *fleet.Incident, now time.Time) error {
	list, err := n.deps.Children.IncidentOpenCases(ctx, i.Tenant, i.ID, many)
	if err != nil {
		return err
	}
	for k := range list {
		c := &list[k]
		d, ok := n.deps.Devices.Device(c.Device)
		if !ok || d.Firmware == "" || c.Firmware == "" || d.Firmware == c.Firmware || d.Firmware == i.Firmware || c.FixPart == d.Firmware {
			continue
		}
		if err := n.deps.Cases.Updated(ctx, i.Tenant, c.ID, d.Firmware, now); err != nil && fleet.CodeOf(err) != fleet.CodeConflict {
			return fmt.Errorf("watch case %q: %w", c.ID, err)
		}
	}
	return nil
}

// toldLate tells those that it is fixed whose message of the incident was on its way when it was.
func (n *Incidents) toldLate(ctx context.Context, i *fleet.Incident, now time.Time) error {
	const late = 24 * time.Hour
	if now.Sub(i.FixedAt) > late {
		return nil
	}
	told, err := n.deps.Children.IncidentTold(ctx, i.Tenant, i.ID, fleet.EventIncident)
	if err != nil {
		return err
	}
	heard, err := n.deps.Children.IncidentTold(ctx, i.Tenant, i.ID, fleet.EventIncidentFixed)
	if err != nil {
		return err
	}
	var rows []fleet.OutboxRow
	var added []func()
	for _, t := range told {
		row := messageRow(i, fleet.EventIncidentFixed, i.Version, t, i.FixedAt)
		first, done := n.once(i.ID, row.ID)
		if !first || slices.ContainsFunc(heard, func(h fleet.Told) bool { return h.PersonID == t.PersonID }) {
			continue
		}
		rows, added = append(rows, row), append(added, done)
	}
	if len(rows) == 0 {
		return nil
	}
	if err := n.deps.Children.AddOutbox(ctx, rows); err != nil {
		return err
	}
	for _, done := range added {
		done()
	}
	n.wake(rows)
	return nil
}

// ask asks agents whether an incident is fixed when no case has come for long, and tells them when owners wait for news. It ends
// nothing by itself: that no case comes may be because nobody uses the devices.
func (n *Incidents) ask(ctx context.Context, i *fleet.Incident, now time.Time) error {
	var errs []error
	if n.cfg.QuietAfter > 0 && now.Sub(i.OpenedAt) >= n.cfg.QuietAfter {
		last, err := n.deps.Children.IncidentCases(ctx, i.Tenant, i.ID, 1)
		if err != nil {
			return err
		}
		since := i.OpenedAt
		if len(last) > 0 && last[0].OpenedAt.After(since) {
			since = last[0].OpenedAt
		}
		if now.Sub(since) >= n.cfg.QuietAfter {
			errs = append(errs, n.askOnce(ctx, i, actQuiet, since, "Is it fixed? No case came since "+since.UTC().Format(time.DateTime), now))
		}
	}
	if !i.NextAt.IsZero() && !now.Before(i.NextAt) {
		errs = append(errs, n.askOnce(ctx, i, actOverdue, i.NextAt, "Owners were promised news by "+i.NextAt.UTC().Format(time.DateTime), now))
	}
	return errors.Join(errs...)
}

// askOnce tells agents once for each since: the incident's history says whether they were told.
func (n *Incidents) askOnce(ctx context.Context, i *fleet.Incident, action string, since time.Time, text string, now time.Time) error {
	first, done := n.once(i.ID, fmt.Sprintf("%s %d", action, since.UnixMilli()))
	if !first {
		return nil
	}
	lines, err := n.deps.Store.IncidentAudit(ctx, i.Tenant, i.ID)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(lines, func(a fleet.Audit) bool { return a.Action == action && a.Detail == text }) {
		current, err := n.deps.Store.Incident(ctx, i.Tenant, i.ID) // it may have become worse a moment ago
		if err != nil || current.State != fleet.IncidentOpen {
			return err
		}
		err = n.commit(ctx, fleet.IncidentChange{Incident: *current, Expected: current.Version, Audit: []fleet.Audit{audit(current, now, actorRules, action, text)},
			Outbox: []fleet.OutboxRow{notify(current, current.Version+1, action, current.Title+": "+text, "", now)}}, now)
		if fleet.CodeOf(err) == fleet.CodeConflict {
			return nil // somebody else changed it; the next pass sees
		}
		if err != nil {
			return err
		}
	}
	done()
	return nil
}
