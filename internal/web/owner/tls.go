package owner

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// TLSConfig is how the listener speaks https; nil when it speaks http. now is the clock by which files are looked at again; nil:
// time.Now. reg may be nil. Errors: files that cannot be read, or do not belong together; metrics that are registered already.
func (c Config) TLSConfig(log *slog.Logger, reg prometheus.Registerer, now func() time.Time) (*tls.Config, error) {
	if now == nil {
		now = time.Now
	}
	switch {
	case c.TLS.Cert != "":
		f := &files{cert: c.TLS.Cert, key: c.TLS.Key, log: log, now: now, failed: prometheus.NewCounter(prometheus.CounterOpts{Name: "aftercare_owner_certificate_errors_total",
			Help: "Times the owners' pages could not read their certificate's files, which had changed, and went on with the one before."})}
		if reg != nil {
			if err := reg.Register(f.failed); err != nil {
				return nil, fmt.Errorf("register metrics of owner: %w", err)
			}
		}
		if err := f.load(); err != nil {
			return nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: f.get}, nil
	case len(c.TLS.ACME.Domains) > 0:
		a := c.TLS.ACME
		m := &autocert.Manager{Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(a.Cache), HostPolicy: autocert.HostWhitelist(a.Domains...), Email: a.Email}
		if a.Directory != "" {
			m.Client = &acme.Client{DirectoryURL: a.Directory}
		}
		t := m.TLSConfig() // answers TLS-ALPN-01 besides
		t.MinVersion = tls.VersionTLS12
		return t, nil
	}
	return nil, nil
}

const lookEvery = 10 * time.Second

// files is a certificate that is read again when its files have changed. One that cannot be read leaves the old one in use: a
// half-written file must not close the door.
type files struct {
	cert, key string
	log       *slog.Logger
	now       func() time.Time
	failed    prometheus.Counter
	mu        sync.Mutex
	looked    time.Time
	changed   [2]time.Time
	wrong     [2]time.Time // of files that could not be read: said once
	have      *tls.Certificate
}

func (f *files) load() error {
	changed, err := f.times()
	if err != nil {
		return err
	}
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("owner.tls: %w", err)
	}
	f.have, f.changed, f.looked = &c, changed, f.now()
	return nil
}

func (f *files) times() (out [2]time.Time, err error) {
	for i, name := range []string{f.cert, f.key} {
		st, err := os.Stat(name)
		if err != nil {
			return out, fmt.Errorf("owner.tls: %w", err)
		}
		out[i] = st.ModTime()
	}
	return out, nil
}

func (f *files) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); now.Sub(f.looked) >= lookEvery {
		f.looked = now
		f.again()
	}
	return f.have, nil
}

// again reads files that changed.
func (f *files) again() {
	changed, err := f.times()
	if err == nil && changed == f.changed {
		return
	}
	if err == nil {
		err = f.load()
	}
	if err == nil {
		f.log.Info("the owners' pages have a new certificate", "file", f.cert, "until", f.have.Leaf.NotAfter)
		return
	}
	f.failed.Inc()
	if f.wrong != changed {
		f.wrong = changed
		f.log.Error("the certificate's files have changed and cannot be read: the owners' pages go on with the one before", "err", err)
	}
}
