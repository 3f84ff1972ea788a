package gateway

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

// firstContactTime is how long a device has to fetch its credential.
const firstContactTime = 30 * time.Second

// firstContact is what is special about a session that came with its model's provisioning secret. Many know that secret, so
// the session must be worth nothing: it may listen to its own command topic, where it gets its credential, and publish to
// its reply topic. It has a name of its own, so that it takes over no session of the real device, and counts
// neither as present nor as one of its connections.
type firstContact struct {
	login fleet.Login
	once  sync.Once
	timer *time.Timer // ends the session; reader only
}

// firstContactID is the id of such a session: there is one at a time for an identity. No other begins this way,
// because no tenant has a space in its name.
func firstContactID(key fleet.DeviceKey) string { return "first contact " + key.String() }

// begin makes the credential and sends it, once. It returns at once: the registry may take as long as a transaction does.
func (f *firstContact) begin(s *session, topic string) {
	f.once.Do(func() { s.g.slow.Go(func() { f.hand(s, topic) }) })
}

func (f *firstContact) hand(s *session, topic string) {
	ctx, cancel := context.WithTimeout(s.ctx, firstContactTime)
	defer cancel()
	secret, err := s.g.deps.Auth.FirstContact(ctx, f.login)
	if err != nil {
		if s.ctx.Err() == nil {
			s.g.refuse(s.source(), topic, ReasonFirstContact)
			s.g.log.Warn("mqtt gateway: no credential at first contact", "device", s.key.String(), "error", err)
		}
		code := packets.ErrServerUnavailable
		switch fleet.CodeOf(err) {
		case fleet.CodeDenied, fleet.CodeNotFound, fleet.CodeInvalid:
			code = packets.ErrNotAuthorized
		}
		s.stop(code, "first contact refused")
		return
	}
	payload, err := json.Marshal(provision{ID: "provision", Name: "credential",
		Args: credential{Username: s.key.String(), Password: secret}})
	if err != nil || s.offer(topic, payload, f.done(s)) != "taken" {
		s.stop(packets.ErrPacketTooLarge, "first contact refused")
	}
}

// provision is the command that carries a credential.
type provision struct {
	ID   string     `json:"id"`
	Name string     `json:"name"`
	Args credential `json:"args"`
}

type credential struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// done ends the session when the device has its credential.
func (f *firstContact) done(s *session) func() {
	return func() { s.stop(packets.ErrAdministrativeAction, "first contact done") }
}
