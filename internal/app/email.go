package app

import (
	"time"

	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channel/email"
)

// emailChannel is the channel of e-mails, none when no mail server is configured.
func (s *server) emailChannel() ([]outreach.Channel, error) {
	if s.cfg.Email.Host == "" {
		return nil, nil
	}
	ch, err := email.New(s.cfg.Email, s.cfg.Egress, time.Now, s.log)
	if err != nil {
		return nil, err
	}
	return []outreach.Channel{ch}, nil
}
