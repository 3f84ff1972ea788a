package app

import (
	"context"
	"strings"
	"time"

	"aftercare/internal/api"
	"aftercare/internal/cases"
	"aftercare/internal/fleet"
	"aftercare/internal/history"
	"aftercare/internal/incidents"
	"aftercare/internal/registry"
	"aftercare/internal/store"
	"aftercare/internal/wire"
)

var (
	_ incidents.Store    = (*store.Store)(nil)
	_ incidents.Evidence = (*store.Store)(nil)
	_ incidents.Children = (*store.Store)(nil)
	_ incidents.Devices  = (*registry.Registry)(nil)
	_ incidents.Cases    = (*cases.Cases)(nil)
	_ cases.Incidents    = (*incidents.Incidents)(nil)
	_ api.Incidents      = incidentDesk{}
)

// buildIncidents comes before cases, which ask it; what it does to cases waits until there are any.
func (s *server) buildIncidents(context.Context) error {
	s.incidents = incidents.New(s.cfg.Incidents, incidents.Deps{Store: s.store, Evidence: s.store, Children: s.store, Devices: s.registry, Cases: lateCases{s}, Orders: s.dispatch,
		Wake: func() { s.outreach.Wake(); s.relay.Wake() }, Log: s.log, Registerer: s.metrics})
	return nil
}

// lateCases is the cases that are built later.
type lateCases struct{ s *server }

func (l lateCases) Adopt(ctx context.Context, tenant, caseID, incidentID, actor, why string, at time.Time) error {
	return l.s.cases.Adopt(ctx, tenant, caseID, incidentID, actor, why, at)
}

func (l lateCases) Release(ctx context.Context, tenant, caseID, actor, why string, at time.Time) error {
	return l.s.cases.Release(ctx, tenant, caseID, actor, why, at)
}

func (l lateCases) Updated(ctx context.Context, tenant, caseID, firmware string, at time.Time) error {
	return l.s.cases.Updated(ctx, tenant, caseID, firmware, at)
}

// incidentDesk is what agents do with incidents, as the API sees it.
type incidentDesk struct {
	*store.Store
	n *incidents.Incidents
}

func (d incidentDesk) DeclareIncident(ctx context.Context, i fleet.Incident, actor, why string) (*fleet.Incident, error) {
	return d.n.Declare(ctx, incidents.Action{Tenant: i.Tenant, Actor: actor, Why: why, At: time.Now()}, incidents.Draft{Problem: i.Problem, Model: i.Model,
		Firmware: i.Firmware, Batch: i.Batch, Title: i.Title, News: i.News, NextAt: i.NextAt})
}

func (d incidentDesk) EditIncident(ctx context.Context, tenant, id string, version int64, e fleet.IncidentEdit, actor, why string) error {
	return d.n.Edit(ctx, incidents.Action{Tenant: tenant, ID: id, Version: version, Actor: actor, Why: why, At: time.Now()}, e)
}

func (d incidentDesk) FixIncident(ctx context.Context, tenant, id string, version int64, actor, why string) error {
	return d.n.Fix(ctx, incidents.Action{Tenant: tenant, ID: id, Version: version, Actor: actor, Why: why, At: time.Now()})
}

func (d incidentDesk) CloseIncident(ctx context.Context, tenant, id string, version int64, actor, why string) error {
	return d.n.Close(ctx, incidents.Action{Tenant: tenant, ID: id, Version: version, Actor: actor, Why: why, At: time.Now()})
}

// usage returns how much devices were used, from history; nil where this process has none.
func (s *server) usage() cases.Usage {
	if s.history == nil {
		return nil
	}
	return used{s.history}
}

// used is history as the proof of a fix sees it.
type used struct{ h *history.History }

// Use returns the newest value of a field, or of what the rules count, which goes to history once a day.
func (u used) Use(ctx context.Context, key fleet.DeviceKey, model, counter string) (value float64, at time.Time, ok bool, err error) {
	switch {
	case counter == "":
		r, err := u.h.Latest(ctx, key, model)
		if fleet.CodeOf(err) == fleet.CodeNotFound {
			return 0, at, false, nil
		}
		return 0, r.Time, err == nil, err
	case strings.Contains(counter, "("):
		at, values, err := u.h.Counters(ctx, key, time.Now().Add(24*time.Hour))
		value, ok = values[wire.CounterField(counter)]
		return value, at, ok && err == nil, err
	default:
		p, ok, err := u.h.Last(ctx, key, model, counter)
		return p.Value, p.At, ok, err
	}
}

// made is what models are made of and rules are about.
type made struct {
	*registry.Registry
	rules *ruleset
}

func (m made) Component(rule string) string {
	if r, ok := m.rules.Set().Rule(rule); ok {
		return r.Component
	}
	return ""
}
