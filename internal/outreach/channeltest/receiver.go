package channeltest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// HTTP is a scripted HTTP server on loopback.
type HTTP struct {
	server *httptest.Server
	// Before answers requests that are not messages, such as for a token, and says whether it did; nil: none are.
	Before func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	act   Answer
	calls []Call
	conns int
	stop  chan struct{}
}

// StartHTTP starts a receiver, over TLS if cert is not nil. It ends with the test.
func StartHTTP(t *testing.T, cert *tls.Certificate) *HTTP {
	t.Helper()
	h := &HTTP{stop: make(chan struct{})}
	h.server = httptest.NewUnstartedServer(h)
	h.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			h.mu.Lock()
			h.conns++
			h.mu.Unlock()
		}
	}
	if cert != nil {
		h.server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
		h.server.StartTLS()
	} else {
		h.server.Start()
	}
	t.Cleanup(func() { close(h.stop); h.server.Close() })
	return h
}

// URL is "http://127.0.0.1:4711", https with TLS.
func (h *HTTP) URL() string { return h.server.URL }

// Host is host:port.
func (h *HTTP) Host() string { return h.server.Listener.Addr().String() }

// Act says what happens to the messages that follow.
func (h *HTTP) Act(a Answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.act = a
}

// Calls are the messages so far.
func (h *HTTP) Calls() []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Call(nil), h.calls...)
}

// Conns counts connections.
func (h *HTTP) Conns() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.conns
}

// Close ends the server; messages are refused from then on.
func (h *HTTP) Close() { h.server.Close() }

// ServeHTTP does as Act said.
func (h *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.Before != nil && h.Before(w, r) {
		return
	}
	h.mu.Lock()
	a := h.act
	h.mu.Unlock()
	if a.How == Cut {
		_, _ = io.CopyN(io.Discard, r.Body, 5)
		h.hijack(w, nil)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h.mu.Lock()
	h.calls = append(h.calls, Call{Path: r.URL.Path, Header: r.Header.Clone(), Body: body})
	h.mu.Unlock()
	switch a.How {
	case Hang:
		select {
		case <-r.Context().Done():
		case <-h.stop:
		}
	case Garbage:
		h.hijack(w, fmt.Appendf(nil, "220 %s %q %q hello\r\n\r\n", r.RequestURI, r.Header, body))
	case Lie:
		h.hijack(w, []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{\"id\":"))
	default:
		reply(w, a)
	}
}

// reply answers by the protocol.
func reply(w http.ResponseWriter, a Answer) {
	for k, v := range a.Header {
		w.Header().Set(k, v)
	}
	if a.RetryAfter != "" {
		w.Header().Set("Retry-After", a.RetryAfter)
	}
	if a.Code != 0 {
		w.WriteHeader(a.Code)
	}
	switch a.How {
	case Slow:
		for range 10 {
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(2 * time.Millisecond)
		}
	case Flood:
		piece := bytes.Repeat([]byte("x"), 64<<10)
		for range 160 {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}
	_, _ = io.WriteString(w, a.Body)
}

// hijack writes bytes as they are and closes the connection.
func (h *HTTP) hijack(w http.ResponseWriter, raw []byte) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = c.Write(raw)
	_ = c.Close()
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-24 * time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, file: filepath.Join(t.TempDir(), "ca.pem")}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue returns a certificate for a name or an IP address, valid until then.
func (a *authority) issue(t testing.TB, host string, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if ip := net.ParseIP(host); ip != nil {
		tmpl.IPAddresses = []net.IP{ip}
	} else {
		tmpl.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Certificate returns a good certificate for a host and the file of the authority that issued it.
func Certificate(t testing.TB, host string) (cert tls.Certificate, caFile string) {
	t.Helper()
	a := newAuthority(t)
	return a.issue(t, host, time.Now().Add(time.Hour)), a.file
}
