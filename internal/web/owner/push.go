package owner

import (
	"crypto/ecdh"
	"encoding/base64"
	"net/http"
	"net/url"

	"aftercare/internal/fleet"
)

const maxEndpoint = 1024 // characters of a push service's address

// subscribe keeps a browser's push subscription as one of the person's endpoints. The service worker comes here too, when the push
// service gave it another one: then `old` names the one that is over.
func (s *Site) subscribe(v *visit) error {
	if v.person == nil {
		return &signError{http.StatusUnauthorized, "session"}
	}
	body, err := v.body()
	if err != nil {
		return err
	}
	e, err := s.subscription(body)
	if err != nil {
		return err
	}
	e.Label = browserName(v.r.UserAgent())
	ctx := v.r.Context()
	if err := s.deps.Wishes.AddEndpoint(ctx, v.person.Tenant, v.person.ID, e); err != nil {
		return err
	}
	if old := body["old"]; old != "" && old != e.Address {
		if err := s.deps.Wishes.RemoveEndpoint(ctx, v.person.Tenant, v.person.ID, pushChannel, old); err != nil {
			return err
		}
	}
	writeJSON(v.w, http.StatusOK, map[string]string{"title": v.T("push.on")})
	return nil
}

// subscription checks what a browser says of its subscription (the PushSubscription's JSON, flat): an address of a push service, a
// P-256 point and 16 bytes.
func (s *Site) subscription(body map[string]string) (fleet.Endpoint, error) {
	bad := func(format string, args ...any) (fleet.Endpoint, error) {
		return fleet.Endpoint{}, fleet.Errorf(fleet.CodeInvalid, format, args...)
	}
	address := body["endpoint"]
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.User != nil || len(address) > maxEndpoint {
		return bad("the subscription's address is not one of a push service")
	}
	if s.deps.Push.Key() == "" {
		return bad("push is off")
	}
	if err := s.deps.Push.Accepts(address); err != nil {
		return fleet.Endpoint{}, err
	}
	point, err := base64.RawURLEncoding.DecodeString(body["p256dh"])
	if err == nil {
		_, err = ecdh.P256().NewPublicKey(point)
	}
	if err != nil {
		return bad("the subscription's key is not a point of P-256: %w", err)
	}
	if auth, err := base64.RawURLEncoding.DecodeString(body["auth"]); err != nil || len(auth) != 16 {
		return bad("the subscription's secret is not 16 bytes")
	}
	return fleet.Endpoint{Channel: pushChannel, Address: address, Secret: body["p256dh"] + "." + body["auth"]}, nil
}
