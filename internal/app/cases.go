package app

import (
	"context"

	"aftercare/internal/cases"
	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

func (s *server) buildCases(context.Context) error {
	s.cases = cases.New(s.cfg.Cases, cases.Deps{Store: waking{s.store, s}, Timers: s.store, Devices: s.registry, Links: s.presence,
		Maintenance: windows{s.registry}, Incidents: s.incidents, Usage: s.usage(), Parts: made{s.registry, s.rules}, Deliveries: s.store, Log: s.log, Registerer: s.metrics})
	return s.metrics.Register(cases.NewCollector(s.store, s.log))
}

// windows is the registry as cases see it.
type windows struct{ r *registry.Registry }

func (w windows) Maintain(ctx context.Context, key fleet.DeviceKey, span fleet.Span, actor string) error {
	return w.r.AddSpan(registry.WithActor(ctx, actor), key, registry.Maintenance, span)
}
