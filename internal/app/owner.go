package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/web/owner"
)

// buildOwner makes the owners' pages. They have a listener of their own: what is there may be reached from outside.
func (s *server) buildOwner(context.Context) (err error) {
	if s.outside == nil {
		return nil
	}
	d := owner.Deps{
		People: s.registry, Wishes: s.registry, Consents: s.registry, Homes: s.registry, Email: s.cfg.Email.Host != "", Claims: s.registry, Sessions: s.registry, Things: s.registry, Keeper: s.registry, Models: s.registry,
		Links: s.presence, Cases: s.store, Mail: s.store, Receipts: s.outreach, Answers: s.cases, Push: s.push, Tester: tester(s.channels),
		Tenant: s.cfg.Web.Tenant, Key: s.linkKey, Log: s.log, Registerer: s.metrics,
	}
	if s.history != nil {
		d.History = s.history
	}
	if d.Orders, err = s.partnerPages(); err != nil {
		return err
	}
	s.owners, err = owner.New(s.cfg.Owner, s.ownerURL(), d)
	return err
}

// ownerURL is how owners reach their pages.
func (s *server) ownerURL() string {
	address := ""
	if s.outside != nil {
		address = s.outside.Addr().String()
	}
	return s.cfg.Owner.Public(address)
}

// showOwner serves the owners' pages, and says so when push cannot work.
func (s *server) showOwner() {
	if s.owners == nil {
		return
	}
	s.addresses.Owner = s.ownerURL()
	if note := PushTrouble(s.cfg); note != "" {
		s.addresses.Notes = append(s.addresses.Notes, note)
		s.log.Info(note)
	}
	s.addresses.OwnerLink = owner.LoginLink(s.seal, s.addresses.Owner, demoTenant, demoOwner, time.Now().Add(24*time.Hour))
	ln := s.outside
	if s.ownerTLS != nil {
		ln = tls.NewListener(ln, s.ownerTLS)
	}
	s.serve("owners' pages", ln, s.owners, nil)
}

// PushTrouble says in one sentence why owners cannot be pushed to with a configuration; empty when they can.
func PushTrouble(cfg config.Config) string { return cfg.Owner.PushTrouble() }

// tester sends test messages by the channels themselves: there is nothing to decide about them.
type tester []outreach.Channel

func (t tester) Try(ctx context.Context, m fleet.Message, e fleet.Endpoint) error {
	for _, c := range t {
		if c.Name() == e.Channel {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			return c.Send(ctx, m, e)
		}
	}
	return fleet.Errorf(fleet.CodeInvalid, "the channel %q is not set up", e.Channel)
}

// openOutside opens the owners' address. Certificates are read before anything else happens: without them nobody gets in.
func (s *server) openOutside() (err error) {
	if s.outside, err = open(s.cfg.Owner.Listen, "owner.listen"); err != nil {
		return err
	}
	s.life.onClose("owners' address", func() error { return closed(s.outside) })
	if s.ownerTLS, err = s.cfg.Owner.TLSConfig(s.log, s.metrics, nil); err != nil {
		return fmt.Errorf("owners' pages: %w", err)
	}
	return nil
}
