package app

import (
	"cmp"
	"context"
	"slices"

	"aftercare/internal/cases"
	"aftercare/internal/fleet"
	"aftercare/internal/registry"
	"aftercare/internal/store"
)

func (s *server) buildCases(context.Context) error {
	s.cases = cases.New(s.cfg.Cases, cases.Deps{Store: waking{s.store, s}, Timers: s.store, Devices: s.registry, Links: s.presence,
		Maintenance: windows{s.registry}, Wishes: wishes{s.registry, s.store}, Incidents: s.incidents, Booker: booker{s.dispatch}, Usage: s.usage(), Parts: made{s.registry, s.rules},
		Deliveries: s.store, Log: s.log, Registerer: s.metrics})
	return s.metrics.Register(cases.NewCollector(s.store, s.log))
}

// windows is the registry as cases see it.
type windows struct{ r *registry.Registry }

func (w windows) Maintain(ctx context.Context, key fleet.DeviceKey, span fleet.Span, actor string) error {
	return w.r.AddSpan(registry.WithActor(ctx, actor), key, registry.Maintenance, span)
}

// wishes is the registry as cases see it when an owner says "stop these" below a message.
type wishes struct {
	r *registry.Registry
	s *store.Store
}

// Stop keeps the wish for the channel on which the message came; for all of them when that is not known.
func (w wishes) Stop(ctx context.Context, a fleet.Answer) error {
	sent, err := w.s.CaseDeliveries(ctx, a.Tenant, a.CaseID)
	if err != nil {
		return err
	}
	wish := fleet.Preference{Topic: a.Topic, Want: fleet.WantNever}
	if i := slices.IndexFunc(sent, func(d fleet.Delivery) bool { return d.OutboxID == a.MessageID }); i >= 0 {
		wish.Channel = sent[i].Channel
		wish.Topic = cmp.Or(wish.Topic, sent[i].Subject)
	}
	if wish.Topic == "" {
		k, err := w.s.Case(ctx, a.Tenant, a.CaseID)
		if err != nil {
			return err
		}
		wish.Topic = fleet.TopicOf(k.Kind, k.Severity)
	}
	return w.r.SetPreferences(registry.WithActor(ctx, "owner:"+a.PersonID), a.Tenant, a.PersonID, wish)
}

// Compile-time proofs.
var (
	_ cases.Store       = waking{}
	_ cases.Timers      = (*store.Store)(nil)
	_ cases.Devices     = (*registry.Registry)(nil)
	_ cases.Wishes      = wishes{}
	_ cases.Maintenance = windows{}
)
