package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

// trustEvery is how often the files are looked at: what is revoked ends within 5 s (SEC-04, SEC-09).
const trustEvery = time.Second

// trust holds what TLS goes by, read from files and exchanged as a whole.
type trust struct {
	now  atomic.Pointer[material]
	seen string // what the files looked like when they were last read; watchTrust only
}

// material is one reading of the files. It does not change.
type material struct {
	cfg    TLSConfig
	config [transports]*tls.Config // nil without TLS
	pair   tls.Certificate
	cas    []*x509.Certificate
	lists  *revocations // nil: none are configured
}

// clientCert is what is kept of the certificate a client showed.
type clientCert struct {
	key     fleet.DeviceKey
	until   time.Time
	peer    *tls.Conn
	checked atomic.Pointer[material] // it was good by this
}

func (g *Gateway) loadTrust() error {
	if !g.cfg.usesTLS() {
		return nil
	}
	seen := g.cfg.TLS.look()
	m, errs := g.cfg.TLS.read(nil)
	if len(errs) > 0 {
		return fmt.Errorf("gateway: %w", errors.Join(errs...))
	}
	if g.cfg.TLS.ClientCA != "" && len(g.cfg.TLS.CRL) == 0 {
		g.log.Warn("mqtt gateway: no revocation list is named (gateway.tls.crl): a device's certificate is good until it expires, unless the device is revoked in the registry")
	}
	g.trust = &trust{seen: seen}
	g.use(m)
	return nil
}

func (g *Gateway) use(m *material) {
	g.trust.now.Store(m)
	g.m.expires.WithLabelValues("certificate").Set(float64(m.pair.Leaf.NotAfter.Unix()))
	if m.lists != nil {
		g.m.expires.WithLabelValues("crl").Set(float64(m.lists.until.Unix()))
	}
}

// look describes the files so that a change of any shows; a file that cannot be seen is described too.
func (c TLSConfig) look() string {
	out := ""
	for _, f := range append([]string{c.Cert, c.Key, c.ClientCA}, c.CRL...) {
		if f == "" {
			continue
		}
		if st, err := os.Stat(f); err != nil {
			out += "none;"
		} else {
			out += fmt.Sprintf("%d %d;", st.Size(), st.ModTime().UnixNano())
		}
	}
	return out
}

// read reads all files. What cannot be used is taken from old, and the errors say why; without old they are fatal.
func (c TLSConfig) read(old *material) (*material, []error) {
	m := &material{cfg: c}
	if old != nil {
		m.pair, m.cas, m.lists = old.pair, old.cas, old.lists
	}
	var errs []error
	if pair, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
		errs = append(errs, fmt.Errorf("gateway.tls.cert %q with gateway.tls.key %q: %w", c.Cert, c.Key, err))
	} else {
		m.pair = pair
	}
	if c.ClientAuth != "off" {
		if cas, err := readCertificates(c.ClientCA); err != nil {
			errs = append(errs, fmt.Errorf("gateway.tls.client_ca %q: %w", c.ClientCA, err))
		} else {
			m.cas = cas
		}
		if len(c.CRL) > 0 {
			if lists, err := readLists(c.CRL, m.cas); err != nil {
				errs = append(errs, err)
			} else {
				m.lists = lists
			}
		}
	}
	m.configure()
	return m, errs
}

func (m *material) configure() {
	base := &tls.Config{
		MinVersion:   tls.VersionTLS12, // with Go's choice of ciphers and curves
		Certificates: []tls.Certificate{m.pair},
		// A resumed session would bring the verdict of its first handshake along. VerifyConnection runs then too; this is the
		// second lock.
		SessionTicketsDisabled: true,
	}
	if m.cfg.ClientAuth != "off" {
		base.ClientAuth = tls.VerifyClientCertIfGiven
		if m.cfg.ClientAuth == "required" {
			base.ClientAuth = tls.RequireAndVerifyClientCert
		}
		base.ClientCAs = m.pool()
		base.VerifyConnection = func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return nil
			}
			return m.check(cs.VerifiedChains, time.Now(), true)
		}
	}
	m.config[TLS] = base
	m.config[WSS] = base.Clone()
	m.config[WSS].NextProtos = []string{"http/1.1"}
}

func (m *material) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, ca := range m.cas {
		pool.AddCert(ca)
	}
	return pool
}

func readCertificates(file string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a %s; want certificates only", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if cert.BasicConstraintsValid && !cert.IsCA {
			return nil, fmt.Errorf("%q is not the certificate of a CA", cert.Subject)
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no certificate")
	}
	return out, nil
}

// watchTrust reads the files again when they change, and ends connections whose certificate is no longer good.
func (g *Gateway) watchTrust(ctx context.Context) {
	tick := time.NewTicker(trustEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			g.reloadTrust(now)
			g.sweepCertificates(now)
		}
	}
}

// reloadTrust reads the files if they look different. A file that is broken leaves what was read of it before in force.
func (g *Gateway) reloadTrust(now time.Time) {
	seen := g.cfg.TLS.look()
	if seen == g.trust.seen {
		return
	}
	g.trust.seen = seen
	old := g.trust.now.Load()
	m, errs := g.cfg.TLS.read(old)
	for _, err := range errs {
		g.m.reloads.WithLabelValues("failed").Inc()
		g.log.Error("mqtt gateway keeps what it read before", "error", err)
	}
	if len(errs) == 0 {
		g.m.reloads.WithLabelValues("ok").Inc()
		g.log.Info("mqtt gateway uses new certificates or revocation lists", "certificate_until", m.pair.Leaf.NotAfter)
	}
	if m.lists != nil && now.After(m.lists.until) {
		g.log.Warn("a revocation list is past its next update", "file", m.lists.first, "policy", g.cfg.TLS.CRLPolicy)
	}
	g.use(m)
	g.kicks.Add(1) // who is between handshake and registration is looked at once more
}

// sweepCertificates ends sessions whose certificate has expired, or is no longer good by files that were read since. A list
// that has merely grown old ends no session: it would end all of them.
func (g *Gateway) sweepCertificates(now time.Time) {
	m := g.trust.now.Load()
	var with []*session
	g.mu.Lock()
	for _, of := range g.devices {
		for _, s := range of {
			if c := s.conn.cert; c != nil && (c.checked.Load() != m || now.After(c.until)) {
				with = append(with, s)
			}
		}
	}
	g.mu.Unlock()
	for _, s := range with {
		err := m.recheck(s.conn.cert, now)
		if err == nil {
			s.conn.cert.checked.Store(m)
			continue
		}
		reason := tlsReason(err)
		g.refuse(s.source(), "", reason)
		g.log.Info("device disconnected: its certificate is no longer good", "device", s.key.String(), "reason", reason)
		s.silent.Store(true)
		s.stop(packets.ErrNotAuthorized, reason)
	}
}

// recheck judges the certificate of a connection that is up. The chain is built again only if the CAs are others.
func (m *material) recheck(c *clientCert, now time.Time) error {
	state := c.peer.ConnectionState()
	leaf := state.PeerCertificates[0]
	if now.After(leaf.NotAfter) {
		return &certError{ReasonCertDate, fmt.Errorf("it ended at %s", leaf.NotAfter)}
	}
	chains := state.VerifiedChains
	if !slices.EqualFunc(m.cas, c.checked.Load().cas, (*x509.Certificate).Equal) {
		between := x509.NewCertPool()
		for _, cert := range state.PeerCertificates[1:] {
			between.AddCert(cert)
		}
		var err error
		chains, err = leaf.Verify(x509.VerifyOptions{Roots: m.pool(), Intermediates: between, CurrentTime: now,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			return err
		}
	}
	return m.check(chains, now, false)
}
