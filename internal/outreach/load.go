package outreach

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// load gathers what the stages look at.
func (o *Outreach) load(ctx context.Context, row fleet.OutboxRow, now time.Time) (*plan, error) {
	p := &plan{row: row, now: now, config: &o.config, known: o.names, links: o.linked()}
	if len(row.Body) > 0 {
		if err := json.Unmarshal(row.Body, &p.target); err != nil {
			o.deps.Log.Warn("message row with a body that is none", "row", row.ID, "error", err) // of a channel: it has no address, and is skipped
		}
	}
	err := o.loadSubject(ctx, p)
	if err == nil && p.needsBefore() {
		p.before, err = o.loadBefore(ctx, p)
	}
	if err != nil {
		return nil, fmt.Errorf("message %q: %w", row.ID, err)
	}
	o.loadPeople(p)
	return p, nil
}

// linked says whether messages have links, and so receipts.
func (o *Outreach) linked() bool { return o.config.URL != "" && o.deps.Seal != nil }

// loadSubject loads what the row is about. What does not exist stays nil.
func (o *Outreach) loadSubject(ctx context.Context, p *plan) (err error) {
	tenant := p.row.Tenant
	if p.row.CaseID != "" {
		if p.kase, err = found(o.deps.Cases.Case(ctx, tenant, p.row.CaseID)); err != nil {
			return fmt.Errorf("load case %q: %w", p.row.CaseID, err)
		}
		if err := o.loadBack(ctx, p); err != nil {
			return err
		}
	}
	about, ref := "", p.row.Ref
	switch {
	case p.row.Topic == fleet.EventVisit:
		if o.deps.Orders != nil && ref != "" {
			if p.order, err = found(o.deps.Orders.Order(ctx, tenant, ref)); err != nil {
				return fmt.Errorf("load order %q: %w", ref, err)
			}
			if p.order != nil {
				p.partner, err = found(o.deps.Orders.Partner(ctx, tenant, p.order.PartnerID))
			}
		}
		return err
	case p.aboutIncident():
		about = ref
	case p.kase != nil:
		about = p.kase.IncidentID
	}
	if about == "" || o.deps.Incidents == nil {
		return nil
	}
	if p.incident, err = found(o.deps.Incidents.Incident(ctx, tenant, about)); err != nil {
		return fmt.Errorf("load incident %q: %w", about, err)
	}
	return nil
}

// loadBack finds out, for news of an end, whether the problem is back in a newer case: it may have been held for days.
func (o *Outreach) loadBack(ctx context.Context, p *plan) error {
	if p.kase == nil || !ends(p.row.Topic) || p.kase.State.Open() {
		return nil
	}
	latest, err := o.deps.Cases.LatestCase(ctx, p.kase.Device, p.kase.Problem)
	if err != nil {
		return fmt.Errorf("load the latest case like %q: %w", p.kase.ID, err)
	}
	p.back = latest != nil && latest.ID != p.kase.ID && latest.State.Open()
	return nil
}

// found turns "there is none" into nil.
func found[T any](x *T, err error) (*T, error) {
	if fleet.CodeOf(err) == fleet.CodeNotFound {
		return nil, nil //nolint:nilnil // none is an answer here
	}
	return x, err
}

// aboutIncident says whether the row tells of an incident, which Ref names.
func (p *plan) aboutIncident() bool {
	return p.row.Topic == fleet.EventIncident || p.row.Topic == fleet.EventIncidentNews || p.row.Topic == fleet.EventIncidentFixed
}

// needsBefore says whether a stage asks what became of earlier messages.
func (p *plan) needsBefore() bool {
	again := p.row.Topic == fleet.EventOpened && p.row.Ref == fleet.RefBack
	return ends(p.row.Topic) || again || p.row.Topic == fleet.EventIncident || len(p.target.Before) > 0 || p.target.Instead > 0
}

func (o *Outreach) loadBefore(ctx context.Context, p *plan) ([]fleet.Delivery, error) {
	if p.aboutIncident() && p.row.Ref != "" {
		return o.deps.Cases.RefDeliveries(ctx, p.row.Tenant, p.row.Ref)
	}
	return o.deps.Cases.CaseDeliveries(ctx, p.row.Tenant, p.row.CaseID)
}

// loadPeople loads whom the row is for: the person it names, else the device's owner; of an end the first who was told.
func (o *Outreach) loadPeople(p *plan) {
	tenant, id := p.row.Tenant, p.row.PersonID
	if p.kase != nil {
		if p.device, _ = o.deps.Registry.Device(p.kase.Device); p.device != nil {
			if owner, ok := o.deps.Registry.Person(tenant, p.device.OwnerID); ok {
				p.household = o.householdOf(owner)
			}
			if id == "" {
				id = p.firstTold(p.device.OwnerID)
			}
		}
	}
	if id != "" {
		p.person, _ = o.deps.Registry.Person(tenant, id)
	}
	if p.person == nil {
		return
	}
	p.zone, p.zoneHers = o.zones.of(p.person.Zone, o.config.Zone)
	if o.deps.Entitlements != nil && p.device != nil {
		p.cover = o.deps.Entitlements.Cover(p.device, p.now, p.kase)
	}
}

func (o *Outreach) householdOf(p *fleet.Person) []fleet.Person {
	if o.deps.Households != nil && p.Household != "" {
		if h, ok := o.deps.Households.Household(p.Tenant, p.Household); ok {
			return h.Members
		}
	}
	return []fleet.Person{*p}
}

// firstTold is the owner, or who was told in her place when she was not.
func (p *plan) firstTold(owner string) string {
	if p.row.Topic != fleet.EventCleared && p.row.Topic != fleet.EventConfirmedFixed {
		return owner
	}
	first := ""
	for _, d := range p.before {
		if !p.told(d) {
			continue
		}
		if d.PersonID == owner {
			return owner
		}
		if first == "" {
			first = d.PersonID
		}
	}
	if first == "" {
		return owner
	}
	return first
}

// loadWhen loads what the stages look at that decide when a row for an endpoint goes out: how often the household was written to,
// and what else waits for the person.
func (o *Outreach) loadWhen(ctx context.Context, p *plan) (err error) {
	if !p.outside() || p.person == nil || p.kase == nil && p.incident == nil {
		return nil
	}
	if ends(p.row.Topic) && p.row.CaseID != "" && !slices.ContainsFunc(p.before, p.told) {
		if p.sending, err = o.deps.Company.UnderWay(ctx, p.row.Tenant, p.row.CaseID, p.person.ID, p.row.Channel, p.now); err != nil {
			return err
		}
	}
	if p.subject() == fleet.TopicSafety {
		return nil
	}
	if p.contacts, err = o.deps.Contacts.Contacts(ctx, p.row.Tenant, p.account(), p.now.Add(-week)); err != nil {
		return err
	}
	free, leased, err := o.deps.Company.Waiting(ctx, p.row.Tenant, p.person.ID, p.row.Channel, p.now)
	if err != nil {
		return err
	}
	p.free, p.leased = p.waiting(free), p.waiting(leased)
	return o.bind(ctx, p)
}

// waiting are the rows to the same address but this one that may go along with it: they were not sent before, or with this one.
func (p *plan) waiting(rows []fleet.OutboxRow) (out []*plan) {
	for _, r := range rows {
		q := &plan{row: r}
		if json.Unmarshal(r.Body, &q.target) == nil && q.target.Address == p.target.Address && r.ID != p.row.ID && (!q.tried() || q.wasWith(p)) {
			out = append(out, q)
		}
	}
	return out
}

// account is whose budget a message to the person uses: the household's, or hers when she lives alone.
func (p *plan) account() string {
	if p.person.Household != "" {
		return "h:" + p.person.Household
	}
	return "p:" + p.person.ID
}
