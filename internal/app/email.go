package app

import (
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channel/email"
)

var _ outreach.Operator = (*email.Channel)(nil)

// emailChannel is the channel of e-mails, none when no mail server is configured.
func (s *server) emailChannel() ([]outreach.Channel, error) {
	if s.cfg.Email.Host == "" {
		return nil, nil
	}
	ch, err := email.New(s.cfg.Email, email.Deps{Egress: s.cfg.Egress, Now: time.Now, Log: s.log, Say: func(op fleet.Operation) (title, body, html string) {
		c := s.words.ComposeOperation(op, "email", time.Now())
		return c.Title, c.Body, c.HTML
	}})
	if err != nil {
		return nil, err
	}
	return []outreach.Channel{ch}, nil
}
