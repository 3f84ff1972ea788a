package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"aftercare/internal/api"
	"aftercare/internal/fleet"
	"aftercare/internal/ingest"
	"aftercare/internal/journal"
	"aftercare/internal/obs"
	"aftercare/internal/registry"
	"aftercare/internal/store"
	"aftercare/internal/web"
	"aftercare/internal/wire"
)

// pages is everything that answers on the pages' address: the pages, the API, and what is open to this machine without the
// link (metrics and health).
type pages struct {
	web     *web.Web
	handler http.Handler
}

func newPages(s *server) (*pages, error) {
	sources := web.Deps{
		Cases: s.store, Stories: s.store, Devices: people{s.store, s.registry}, Models: s.registry, Mail: s.store, History: s.history,
		Doors: doors{s.ingest, s.journal}, Agent: desk{s.cases}, Feed: s.hub, Teller: s.words, Log: s.log, Registerer: s.metrics,
	}
	w, err := web.New(s.cfg.Web, sources)
	if err != nil {
		return nil, err
	}
	a := api.New(api.Config{Tenant: s.cfg.Web.Tenant, Version: s.version}, api.Deps{
		Cases: s.store, Stories: s.store, Devices: sources.Devices, Models: s.registry, Mail: s.store, History: s.history, Doors: sources.Doors, Agent: sources.Agent, Log: s.log})
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

// doors is what did not get in, and how much does.
type doors struct {
	in *ingest.Ingest
	j  *journal.Journal
}

func (d doors) Refusals() ([]fleet.Refusal, map[string]uint64) { return d.in.Refusals() }

func (d doors) Pulse() web.Pulse {
	perMinute, last := d.in.Pulse(time.Now())
	return web.Pulse{PerMinute: perMinute, LastReading: last}
}

// quarantineScan is how many of the newest records are looked at for those of one tenant.
const quarantineScan = 500

func (d doors) Quarantined(ctx context.Context, tenant string, limit int) ([]fleet.Quarantined, error) {
	records, err := d.j.Tail(ctx, wire.Quarantine, quarantineScan)
	if err != nil {
		return nil, err
	}
	var out []fleet.Quarantined
	var errs []error
	for _, r := range records {
		var q fleet.Quarantined
		if err := json.Unmarshal(r.Body, &q); err != nil {
			errs = append(errs, fmt.Errorf("quarantine record %d: %w", r.Seq, err))
			continue
		}
		if q.Seq = r.Seq; q.Device.Tenant == tenant && len(out) < limit {
			out = append(out, q)
		}
	}
	return out, errors.Join(errs...)
}
