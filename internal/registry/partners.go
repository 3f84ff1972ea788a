package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"aftercare/internal/fleet"
)

// Partners is what the registry needs of SQL for service companies.
type Partners interface {
	SavePartner(ctx context.Context, p fleet.Partner, events ...fleet.SecurityEvent) error
	// LoadPartners hands over those written after revision since, and returns the revision to ask with the next time.
	LoadPartners(ctx context.Context, since int64, each func(fleet.Partner)) (int64, error)
}

// partners are all, by tenant and id, replaced as a whole: there are some hundred.
type partners struct {
	all      atomic.Pointer[map[fleet.DeviceKey]*fleet.Partner]
	revision int64 // under Registry.mu
}

// refreshPartners takes in what was written since the last time; the caller holds r.mu.
func (r *Registry) refreshPartners(ctx context.Context) error {
	var fresh []fleet.Partner
	revision, err := r.store.LoadPartners(ctx, r.partners.revision, func(p fleet.Partner) { fresh = append(fresh, p) })
	if err != nil || len(fresh) == 0 {
		return err
	}
	next := map[fleet.DeviceKey]*fleet.Partner{}
	if old := r.partners.all.Load(); old != nil {
		maps.Copy(next, *old)
	}
	for i := range fresh {
		next[fleet.DeviceKey{Tenant: fresh[i].Tenant, Serial: fresh[i].ID}] = &fresh[i]
	}
	r.partners.all.Store(&next)
	r.partners.revision = revision
	return nil
}

// Partner returns a service company, paused ones too.
func (r *Registry) Partner(tenant, id string) (*fleet.Partner, bool) {
	all := r.partners.all.Load()
	if all == nil {
		return nil, false
	}
	p, ok := (*all)[fleet.DeviceKey{Tenant: tenant, Serial: id}]
	return p, ok
}

// Partners returns the service companies of a tenant, paused ones too, ordered by id.
func (r *Registry) Partners(tenant string) (out []*fleet.Partner) {
	if all := r.partners.all.Load(); all != nil {
		for k, p := range *all {
			if k.Tenant == tenant {
				out = append(out, p)
			}
		}
	}
	slices.SortFunc(out, func(a, b *fleet.Partner) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// PartnersFor returns the service companies that take a device, the best first: those who name its model before those who name its
// category before those who take everything, and of equals those whose region is nearest: its own, its country, everywhere.
func (r *Registry) PartnersFor(d *fleet.Device) []*fleet.Partner {
	type candidate struct {
		p           *fleet.Partner
		skill, near int
	}
	var found []candidate
	for _, p := range r.Partners(d.Key.Tenant) {
		skill, near := skillOf(p, d), nearOf(p, d.Region)
		if !p.Paused && skill > 0 && near > 0 {
			found = append(found, candidate{p, skill, near})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { // they come ordered by id
		if a.skill != b.skill {
			return b.skill - a.skill
		}
		return b.near - a.near
	})
	out := make([]*fleet.Partner, len(found))
	for i, c := range found {
		out[i] = c.p
	}
	return out
}

func skillOf(p *fleet.Partner, d *fleet.Device) int {
	switch {
	case slices.Contains(p.Models, d.Model):
		return 3
	case len(p.Models) > 0:
		return 0 // only these
	case slices.Contains(p.Categories, d.Category):
		return 2
	case len(p.Categories) == 0:
		return 1
	default:
		return 0
	}
}

func nearOf(p *fleet.Partner, region string) int {
	country, _, _ := strings.Cut(region, "-")
	switch {
	case len(p.Regions) == 0:
		return 1
	case region == "":
		return 0
	case slices.Contains(p.Regions, region):
		return 3
	case slices.Contains(p.Regions, country):
		return 2
	default:
		return 0
	}
}

// SavePartner makes or replaces a service company. The models and categories it names have to exist.
func (r *Registry) SavePartner(ctx context.Context, p fleet.Partner) error {
	if err := r.checkPartner(&p); err != nil {
		return fleet.Errorf(fleet.CodeInvalid, "partner %q: %w", p.Tenant+"/"+p.ID, err)
	}
	detail := p.Name
	if p.Paused {
		detail += ", paused"
	}
	if err := r.store.SavePartner(ctx, p, r.event(actor(ctx), fleet.ActionPartner, fleet.DeviceKey{Tenant: p.Tenant, Serial: p.ID}, detail)); err != nil {
		return err
	}
	r.takeIn(ctx)
	return nil
}

// PausePartner says whether a partner gets no new orders for now. CodeNotFound if there is no such.
func (r *Registry) PausePartner(ctx context.Context, tenant, id string, paused bool) error {
	if err := r.Refresh(ctx); err != nil {
		return err
	}
	p, ok := r.Partner(tenant, id)
	if !ok {
		return fleet.Errorf(fleet.CodeNotFound, "there is no partner %q", id)
	}
	if p.Paused == paused {
		return nil
	}
	next := *p
	next.Paused = paused
	return r.SavePartner(ctx, next)
}

func (r *Registry) checkPartner(p *fleet.Partner) error {
	if !fleet.ValidName(p.Tenant) || !fleet.ValidName(p.ID) {
		return errors.New("tenant and id want 1 to 64 letters, digits, '.', '_', '-', beginning with a letter or digit")
	}
	if p.Name == "" {
		return errors.New("the name is missing")
	}
	if err := checkProfile(&fleet.Person{Name: p.Name, Locale: p.Locale, Zone: p.Zone}); err != nil {
		return err
	}
	if p.Email == "" && p.Webhook == "" {
		return errors.New("want an e-mail address or a webhook: work orders have to reach it")
	}
	if p.Email != "" {
		if a, err := mail.ParseAddress(p.Email); err != nil || a.Address != p.Email || len(p.Email) > maxName {
			return fmt.Errorf("email %.80q: want an address such as service@example.org", p.Email)
		}
	}
	if p.Webhook != "" {
		u, err := url.Parse(p.Webhook)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(p.Webhook) > maxAddress {
			return fmt.Errorf("webhook %.80q: want an address such as https://example.org/orders", p.Webhook)
		}
		if !strings.HasPrefix(string(p.Secret), "whsec_") {
			return errors.New(`a webhook wants the secret its messages are signed with: "whsec_..."`)
		}
	}
	for _, region := range p.Regions {
		if !regionPattern.MatchString(region) {
			return fmt.Errorf("region %.20q: want a country or a part of it, such as DE or DE-BY", region)
		}
	}
	return r.checkSkills(p)
}

func (r *Registry) checkSkills(p *fleet.Partner) error {
	for _, m := range p.Models {
		if _, ok := r.models[m]; !ok {
			return fmt.Errorf("there is no profile of model %q", m)
		}
	}
	known := map[string]bool{}
	for _, m := range r.models {
		known[m.Category] = true
	}
	for _, c := range p.Categories {
		if !known[c] {
			return fmt.Errorf("there is no model of category %q", c)
		}
	}
	return nil
}
