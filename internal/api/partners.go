package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"aftercare/internal/fleet"
)

// Partners reads and changes the service companies.
type Partners interface {
	Partners(tenant string) []*fleet.Partner
	SavePartner(ctx context.Context, p fleet.Partner) error
	PausePartner(ctx context.Context, tenant, id string, paused bool) error
}

// Partner is a service company. Its webhook's secret is not shown.
type Partner struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Locale     string   `json:"locale"`
	Zone       string   `json:"zone"`
	Email      string   `json:"email,omitempty"`
	Webhook    string   `json:"webhook,omitempty"`
	Regions    []string `json:"regions"`
	Categories []string `json:"categories"`
	Models     []string `json:"models"`
	Paused     bool     `json:"paused"`
}

// PartnerRef names a service company in a path.
type PartnerRef struct {
	ID string `path:"id" maxLength:"64"`
}

type partnersOut struct {
	Body struct {
		Partners []Partner `json:"partners"`
	}
}

type partnerIn struct {
	PartnerRef
	Body struct {
		Name       string   `json:"name" maxLength:"200"`
		Locale     string   `json:"locale" maxLength:"35"`
		Zone       string   `json:"zone" maxLength:"64"`
		Email      string   `json:"email,omitempty" maxLength:"200"`
		Webhook    string   `json:"webhook,omitempty" maxLength:"2048"`
		Secret     string   `json:"secret,omitempty" maxLength:"200" doc:"what the webhook is signed with: whsec_..."`
		Regions    []string `json:"regions,omitempty" maxItems:"500" doc:"absent: everywhere"`
		Categories []string `json:"categories,omitempty" maxItems:"100" doc:"absent: all"`
		Models     []string `json:"models,omitempty" maxItems:"500" doc:"only these"`
		Paused     bool     `json:"paused,omitempty"`
	}
}

type pauseIn struct {
	PartnerRef
	Body struct {
		Paused bool `json:"paused"`
	}
}

func (a *api) partners(h huma.API) {
	huma.Register(h, a.operation("list-partners", http.MethodGet, "/partners", "Service companies, by id"), a.listPartners)
	huma.Register(h, a.operation("put-partner", http.MethodPut, "/partners/{id}", "Register a service company, or replace what is known of it", 400), a.putPartner)
	huma.Register(h, a.operation("pause-partner", http.MethodPost, "/partners/{id}/pause", "Send a service company no new orders, or orders again", 404), a.pausePartner)
}

func (a *api) listPartners(_ context.Context, _ *struct{}) (*partnersOut, error) {
	list := a.deps.Partners.Partners(a.cfg.Tenant)
	out := &partnersOut{}
	out.Body.Partners = make([]Partner, 0, len(list))
	for _, p := range list {
		out.Body.Partners = append(out.Body.Partners, Partner{ID: p.ID, Name: p.Name, Locale: p.Locale, Zone: p.Zone, Email: p.Email, Webhook: p.Webhook,
			Regions: append([]string{}, p.Regions...), Categories: append([]string{}, p.Categories...), Models: append([]string{}, p.Models...), Paused: p.Paused})
	}
	return out, nil
}

func (a *api) putPartner(ctx context.Context, in *partnerIn) (*nothingOut, error) {
	b := &in.Body
	return a.done("put-partner", a.deps.Partners.SavePartner(ctx, fleet.Partner{ID: in.ID, Tenant: a.cfg.Tenant, Name: b.Name, Locale: b.Locale, Zone: b.Zone,
		Email: b.Email, Webhook: b.Webhook, Secret: fleet.Secret(b.Secret), Regions: b.Regions, Categories: b.Categories, Models: b.Models, Paused: b.Paused}))
}

func (a *api) pausePartner(ctx context.Context, in *pauseIn) (*nothingOut, error) {
	return a.done("pause-partner", a.deps.Partners.PausePartner(ctx, a.cfg.Tenant, in.ID, in.Body.Paused))
}
