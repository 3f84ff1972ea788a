package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

const certReasons = "certificate_" // what the reasons about certificates begin with

// certError is why a client's certificate is not taken; reason is one of the ReasonCert constants.
type certError struct {
	reason string
	err    error
}

func (e *certError) Error() string { return e.reason + ": " + e.err.Error() }

func (e *certError) Unwrap() error { return e.err }

// tlsReason names why a TLS handshake failed, for counters.
func tlsReason(err error) string {
	var own *certError
	var invalid x509.CertificateInvalidError
	var chain *tls.CertificateVerificationError
	switch {
	case errors.As(err, &own):
		return own.reason
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return ReasonCertDate
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return ReasonCertPurpose
	case errors.As(err, &chain), errors.As(err, new(x509.UnknownAuthorityError)), errors.As(err, &invalid):
		return ReasonCertUntrusted
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF):
		return "lost"
	case strings.Contains(err.Error(), "didn't provide a certificate"): // the library has no value for it
		return reasonNoCert
	}
	return reasonHandshake
}

// check judges what the chains' signatures and dates do not say: purpose, strength, revocation and whether the name is clear.
// fresh: a CA without a list that is in force counts, if the policy says so. One good chain is enough.
func (m *material) check(chains [][]*x509.Certificate, now time.Time, fresh bool) error {
	if len(chains) == 0 {
		return &certError{ReasonCertUntrusted, errors.New("no chain")}
	}
	leaf := chains[0][0]
	if err := m.cfg.purpose(leaf); err != nil {
		return err
	}
	if _, err := m.cfg.identify(leaf); err != nil {
		return err
	}
	var err error
	for _, chain := range chains {
		if err = strong(chain); err == nil {
			err = m.lists.check(chain, now, fresh && m.cfg.CRLPolicy == "refuse")
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// purpose wants a certificate that says it is for clients. Go takes one without any extended key usage for all purposes, as
// RFC 5280 allows; but such a certificate was not made for this.
func (c TLSConfig) purpose(leaf *x509.Certificate) error {
	switch {
	case leaf.IsCA:
		return &certError{ReasonCertPurpose, errors.New("it is the certificate of a CA")}
	case slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return nil
	case c.AnyPurpose && len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0:
		return nil
	}
	return &certError{ReasonCertPurpose, errors.New("its extended key usage does not name clientAuth")}
}

// strong refuses keys that NIST SP 800-57 allows no longer; Go itself refuses signatures with MD5 and SHA-1.
func strong(chain []*x509.Certificate) error {
	for _, cert := range chain {
		bits, least := 0, 0
		switch key := cert.PublicKey.(type) {
		case *rsa.PublicKey:
			bits, least = key.N.BitLen(), 2048
		case *ecdsa.PublicKey:
			bits, least = key.Params().BitSize, 256
		}
		if bits < least {
			return &certError{ReasonCertWeak, fmt.Errorf("key of %d bits in %q; want %d", bits, cert.Subject, least)}
		}
	}
	return nil
}

// identify returns whom a certificate names. It takes the parsed value and nothing that only looks like one: a name that is
// there twice, or not in its place, names nobody (GHSA-3f24-pcvm-5jqc).
func (c TLSConfig) identify(leaf *x509.Certificate) (fleet.DeviceKey, error) {
	name, err := c.name(leaf)
	if err == nil {
		if !strings.Contains(name, "/") && c.Tenant != "" {
			name = c.Tenant + "/" + name
		}
		if key, ok := parseUsername(name); ok {
			return key, nil
		}
		err = fmt.Errorf("%.140q is not tenant/serial", name)
	}
	return fleet.DeviceKey{}, &certError{ReasonCertName, err}
}

func (c TLSConfig) name(leaf *x509.Certificate) (string, error) {
	var names []string
	switch c.Identity {
	case "cn":
		return commonName(leaf.RawSubject)
	case "san_dns":
		names = leaf.DNSNames
	case "san_email":
		for _, address := range leaf.EmailAddresses {
			local, _, _ := strings.Cut(address, "@")
			names = append(names, local)
		}
	case "san_uri":
		for _, u := range leaf.URIs {
			// spiffe://domain/tenant/serial, urn:x:tenant/serial
			name := strings.TrimPrefix(u.Path, "/")
			if u.Opaque != "" {
				name = u.Opaque[strings.LastIndexByte(u.Opaque, ':')+1:]
			}
			names = append(names, name)
		}
	}
	if len(names) != 1 {
		return "", fmt.Errorf("it has %d names of kind %s; want one", len(names), c.Identity)
	}
	return names[0], nil
}

var (
	oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}
	// oidsAbove are what contains a device: country, locality, state, organisation and its unit, domain component.
	oidsAbove = []asn1.ObjectIdentifier{{2, 5, 4, 6}, {2, 5, 4, 7}, {2, 5, 4, 8}, {2, 5, 4, 10}, {2, 5, 4, 11}, {0, 9, 2342, 19200300, 100, 1, 25}}
)

// commonName returns the one common name of a subject. It must stand alone in its part of the name, and after what contains it:
// a name the other way round is one that readers disagree about.
func commonName(raw []byte) (string, error) {
	var subject pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &subject); err != nil || len(rest) > 0 {
		return "", errors.New("its subject cannot be read")
	}
	name, found := "", false
	for _, part := range subject {
		if len(part) != 1 {
			return "", errors.New("a part of its subject has several values")
		}
		switch {
		case part[0].Type.Equal(oidCommonName):
			if found {
				return "", errors.New("it has two common names")
			}
			name, found = fmt.Sprint(part[0].Value), true
		case found && slices.ContainsFunc(oidsAbove, part[0].Type.Equal):
			return "", errors.New("its common name is not at the end of its subject")
		}
	}
	if name == "" {
		return "", errors.New("it has no common name")
	}
	return name, nil
}

// claims returns who a CONNECT says it is from. A certificate says it by itself; a user name beside it must agree.
func (g *Gateway) claims(c *conn, hello *greeting) (key fleet.DeviceKey, username string, no refusal) {
	username = hello.username
	if c.cert != nil {
		if username != "" && username != c.cert.key.String() {
			return key, username, refusal{packets.ErrBadUsernameOrPassword, ReasonCertName}
		}
		return c.cert.key, c.cert.key.String(), refusal{}
	}
	key, ok := parseUsername(username)
	if !ok {
		return key, username, refusal{packets.ErrBadUsernameOrPassword, ReasonCredentials}
	}
	return key, username, refusal{}
}

// admit asks whether the device a certificate names is registered and not revoked. Wrong passwords for its name delay nobody
// who has the certificate.
func (g *Gateway) admit(c *conn) (fleet.DeviceKey, refusal) {
	key := c.cert.key
	if m := g.trust.now.Load(); m != c.cert.checked.Load() {
		if err := m.recheck(c.cert, time.Now()); err != nil {
			return key, refusal{packets.ErrNotAuthorized, tlsReason(err)}
		}
	}
	ctx, cancel := context.WithTimeout(g.ctx, g.cfg.ConnectTimeout)
	defer cancel()
	err := g.deps.Auth.Admit(ctx, key)
	switch fleet.CodeOf(err) {
	case "":
		return key, refusal{}
	case fleet.CodeDenied, fleet.CodeNotFound, fleet.CodeInvalid:
		return key, refusal{packets.ErrNotAuthorized, ReasonCredentials}
	default:
		g.log.Warn("mqtt gateway cannot admit a device", "device", key.String(), "error", err)
		return key, refusal{packets.ErrServerUnavailable, "unavailable"}
	}
}
