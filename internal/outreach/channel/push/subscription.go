package push

import (
	"crypto/ecdh"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"aftercare/internal/fleet"
)

// maxEndpoint bounds the address of a subscription, in bytes; real ones have some 200.
const maxEndpoint = 2048

// ParseSubscription reads a browser's PushSubscription as JSON.stringify writes it and checks its keys. The error is CodeInvalid and
// tells neither the address nor the keys. Whether the address is one of a push service is Channel.Accepts' to say.
func ParseSubscription(text []byte) (fleet.Endpoint, error) {
	var s struct {
		Endpoint string `json:"endpoint"`
		Keys     struct {
			P256dh string `json:"p256dh"`
			Auth   string `json:"auth"`
		} `json:"keys"`
	}
	if len(text) > 2*maxEndpoint || json.Unmarshal(text, &s) != nil {
		return fleet.Endpoint{}, fleet.Errorf(fleet.CodeInvalid, "the subscription is not the JSON of a PushSubscription")
	}
	if s.Endpoint == "" || len(s.Endpoint) > maxEndpoint {
		return fleet.Endpoint{}, fleet.Errorf(fleet.CodeInvalid, "the subscription has no address, or one that is too long")
	}
	e := fleet.Endpoint{Channel: name, Address: s.Endpoint, Secret: unpadded(s.Keys.P256dh) + "." + unpadded(s.Keys.Auth)}
	if _, err := parseSecret(e.Secret); err != nil {
		return fleet.Endpoint{}, err
	}
	return e, nil
}

// unpadded brings the forms of base 64 that browsers have used into one.
func unpadded(s string) string {
	return strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(s)
}

// parseSecret reads an endpoint's secret, "<p256dh>.<auth>" in base64url.
func parseSecret(secret string) (subscription, error) {
	k, a, _ := strings.Cut(secret, ".")
	point, err := base64.RawURLEncoding.Strict().DecodeString(k)
	if err != nil {
		return subscription{}, fleet.Errorf(fleet.CodeInvalid, "the subscription's key is not base64url")
	}
	key, err := ecdh.P256().NewPublicKey(point) // checks that it is on the curve
	if err != nil || len(point) != 65 {
		return subscription{}, fleet.Errorf(fleet.CodeInvalid, "the subscription's key is not a point of P-256")
	}
	auth, err := base64.RawURLEncoding.Strict().DecodeString(a)
	if err != nil || len(auth) != 16 {
		return subscription{}, fleet.Errorf(fleet.CodeInvalid, "the subscription's secret is not 16 bytes in base64url")
	}
	return subscription{key: key, auth: auth}, nil
}

// services are the push services of the browsers there are: Chrome and its kin, Firefox, Safari, Edge.
var services = []string{"fcm.googleapis.com", "updates.push.services.mozilla.com", "*.push.services.mozilla.com", "*.push.apple.com", "*.notify.windows.com"}

// origin returns the origin of a subscription's address, which is what a token is for, or CodeInvalid when it is at none of the
// push services: everybody may hand in a subscription, and we call it.
func (c Config) origin(address string) (string, error) {
	bad := func(what string) (string, error) {
		return "", fleet.Errorf(fleet.CodeInvalid, "the subscription's address %s", what)
	}
	u, err := url.Parse(address)
	if err != nil || len(address) > maxEndpoint || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return bad("is not a URL")
	}
	host := strings.ToLower(u.Hostname())
	if slices.ContainsFunc(c.Hosts, func(p string) bool { return strings.EqualFold(p, u.Host) }) {
		return u.Scheme + "://" + strings.ToLower(u.Host), nil // with its port: also over http, if egress lets it
	}
	if u.Scheme != "https" || u.Port() != "" && u.Port() != "443" {
		return bad("is not https, or has a port of its own")
	}
	matches := func(pattern string) bool {
		if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
			return len(host) > len(suffix) && strings.HasSuffix(host, strings.ToLower(suffix))
		}
		return strings.EqualFold(host, pattern)
	}
	if !slices.ContainsFunc(services, matches) && !slices.ContainsFunc(c.Hosts, matches) {
		return bad("is not at a push service that is known (push.hosts)")
	}
	return "https://" + host, nil
}
