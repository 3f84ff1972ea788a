package app

import (
	"context"
	"strings"
	"time"

	"aftercare/internal/outreach"
	"aftercare/internal/words"
)

func (s *server) buildOutreach(context.Context) error {
	s.words = words.New(s.files.Models, s.rules.Texts).With(s.files.Templates)
	channels, err := s.openChannels()
	if err != nil {
		return err
	}
	s.channels = channels
	var picture outreach.Picture
	if s.history != nil {
		picture = (&charts{history: s.history, models: s.files.Models, now: time.Now, log: s.log}).Picture
	}
	cfg := s.cfg.Outreach
	cfg.URL = strings.TrimRight(s.cfg.Owner.URL, "/") // without one, links lead nowhere
	s.outreach = outreach.New(cfg, outreach.Deps{
		Outbox: s.store, Company: s.store, Contacts: s.store, Cases: s.store, Registry: s.registry, Receipts: s.store, Words: s.words,
		Households: s.registry, Entitlements: s.registry, People: s.registry, Incidents: s.store, Orders: partnerWork{s.store, s.registry}, Calendar: s.calendar(),
		Channels: channels, Seal: s.seal, Picture: picture, Log: s.log, Registerer: s.metrics,
	})
	s.relay = outreach.NewRelay(s.store, notices{s.journal}, s.cfg.Outreach.Poll, s.log)
	return nil
}
