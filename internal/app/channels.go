package app

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"aftercare/internal/egress"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channel/alertmanager"
	"aftercare/internal/outreach/channel/fcm"
	"aftercare/internal/outreach/channel/ntfy"
	"aftercare/internal/outreach/channel/push"
	"aftercare/internal/outreach/channel/webhook"
)

// Channels that tell operators too.
var (
	_ outreach.Operator = (*alertmanager.Channel)(nil)
	_ outreach.Operator = (*ntfy.Channel)(nil)
	_ outreach.Operator = (*webhook.Channel)(nil)
)

// openChannels makes every way out, all of them with the one client that does not call our own network.
func (s *server) openChannels() ([]outreach.Channel, error) {
	c := s.cfg
	client := egress.New(c.Egress)
	s.life.onClose("channels", func() error { client.CloseIdleConnections(); return nil })
	key, err := pushKey(c.Push.KeyFile)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(c.Owner.URL, "https://") && c.Push.Contact == "" {
		c.Push.Contact = c.Owner.URL // a push service that wants to write finds us there
	}
	s.push = push.New(c.Push, push.Deps{Key: key, Client: client, Now: time.Now, Registerer: s.metrics})
	s.webhook = webhook.New(client, time.Now)
	out, err := s.emailChannel()
	if err != nil {
		return nil, err
	}
	out = append(out, s.push, s.webhook, ntfy.New(c.Ntfy, client, time.Now), alertmanager.New(client, time.Now))
	if c.FCM.Account != "" {
		account, err := fcm.LoadAccount(c.FCM.Account)
		if err != nil {
			return nil, fmt.Errorf("fcm.account: %w", err)
		}
		out = append(out, fcm.New(c.FCM, account, client, time.Now))
	}
	return out, nil
}

// pushKey reads the key of push requests, which is made at the first start. One that cannot be read is never replaced: every
// subscription there is would be lost with it.
func pushKey(file string) (push.Key, error) {
	text, err := os.ReadFile(file)
	if err == nil {
		key, err := push.ParseKey(text)
		if err != nil {
			return push.Key{}, fmt.Errorf("push.key_file %q: %w", file, err)
		}
		return key, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return push.Key{}, fmt.Errorf("push.key_file: %w", err)
	}
	key, err := push.NewKey()
	if err != nil {
		return push.Key{}, err
	}
	if text, err = key.Encode(); err != nil {
		return push.Key{}, err
	}
	if err := writeSecret(file, text); err != nil {
		return push.Key{}, fmt.Errorf("push.key_file: %w", err)
	}
	return key, nil
}
