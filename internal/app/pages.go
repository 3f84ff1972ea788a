package app

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"aftercare/internal/api"
	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/registry"
	"aftercare/internal/store"
	"aftercare/internal/web"
)

// pages is everything that answers on the pages' address: the pages, the API, and what is open to this machine without the
// link (metrics and health).
type pages struct {
	web     *web.Web
	handler http.Handler
}

func newPages(s *server) (*pages, error) {
	door := doors{s.ingest, s.journal, s.store}
	sources := web.Deps{
		Cases: s.store, Stories: s.store, Devices: people{s.store, s.registry}, Models: s.registry, Mail: s.store, History: s.history,
		Doors: door, Mender: door, Commander: orders{s.commands}, Links: s.presence, Care: care{s.registry, s.rules}, Homes: s.registry, Agent: desk{s.cases}, Dispatcher: visits{s.dispatch, s.store},
		Incidents: incidentDesk{s.store, s.incidents}, Composer: s.words, Dead: dead{s.store, s}, Feed: s.hub, Teller: s.words, Log: s.log, Registerer: s.metrics,
	}
	w, err := web.New(s.cfg.Web, sources)
	if err != nil {
		return nil, err
	}
	a := api.New(api.Config{Tenant: s.cfg.Web.Tenant, Version: s.version}, api.Deps{
		Cases: s.store, Stories: s.store, Devices: sources.Devices, Models: s.registry, Mail: s.store, History: s.history, Doors: door, Mender: door,
		Commander: orders{s.commands}, Provisioner: registrar{s.registry}, Claims: registrar{s.registry}, Rules: ruleDesk{s.rules}, Past: bygone{s.history, s.registry, s.rules}, Links: s.presence, Agent: desk{s.cases},
		Incidents: incidentDesk{s.store, s.incidents}, People: s.registry, Wishes: registrar{s.registry}, Belongings: registrar{s.registry}, Partners: registrar{s.registry}, Orders: orderDesk{s.store, s}, Dead: dead{s.store, s}, Log: s.log})
	mux := http.NewServeMux()
	mux.Handle("/api/", w.Guard().API(a))
	mux.Handle("GET /metrics", w.Guard().Host(promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{})))
	mux.Handle("GET /healthz", w.Guard().Host(http.HandlerFunc(obs.Live)))
	mux.Handle("GET /readyz", w.Guard().Host(http.HandlerFunc(s.health.Ready)))
	mux.Handle("/", w)
	return &pages{web: w, handler: mux}, nil
}

// people is the registry as the pages see it.
type people struct {
	*store.Store
	r *registry.Registry
}

func (p people) Person(_ context.Context, tenant, id string) (*fleet.Person, error) {
	if x, ok := p.r.Person(tenant, id); ok {
		return x, nil
	}
	return nil, fleet.Errorf(fleet.CodeNotFound, "there is no person %q", id)
}

// care is what rules know of devices, as the pages see it.
type care struct {
	*registry.Registry
	rules *ruleset
}

// Limit returns the value and the unit of a limit that a rule in force names.
func (c care) Limit(rule, name string) (usual float64, unit string, ok bool) {
	for _, r := range c.rules.Set().Rules() {
		if l, found := r.Limits[name]; found && r.ID == rule {
			return l.Value, l.Unit, true
		}
	}
	return 0, "", false
}
