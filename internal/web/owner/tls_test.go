package owner

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/obs"
)

// certificate makes one for a name, with its key, as PEM.
func certificate(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
}

// shown is the name on the certificate that a listener of the configuration shows for a host.
func shownTo(t *testing.T, c *tls.Config, host string, protocols ...string) (string, error) {
	t.Helper()
	got, err := c.GetCertificate(&tls.ClientHelloInfo{ServerName: host, SupportedProtos: protocols, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256}})
	if err != nil {
		return "", err
	}
	leaf, err := x509.ParseCertificate(got.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.DNSNames[0], nil
}

func TestACertificateIsReadAgainAndABadOneClosesNoDoor(t *testing.T) {
	dir := t.TempDir()
	cfg := DefaultConfig()
	cfg.TLS.Cert, cfg.TLS.Key = filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	clock := time.Now()
	write := func(cert, key []byte) {
		t.Helper()
		clock = clock.Add(time.Minute)
		for name, text := range map[string][]byte{cfg.TLS.Cert: cert, cfg.TLS.Key: key} {
			if text == nil {
				_ = os.Remove(name)
				continue
			}
			if err := os.WriteFile(name, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(name, clock, clock); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := cfg.TLSConfig(obs.Discard(), nil, nil); err == nil || !strings.Contains(err.Error(), "owner.tls") {
		t.Errorf("files that do not exist: %v", err)
	}
	one, oneKey := certificate(t, "one.example")
	two, twoKey := certificate(t, "two.example")
	write(one, oneKey)
	var told bytes.Buffer
	reg := prometheus.NewRegistry()
	c, err := cfg.TLSConfig(slog.New(slog.NewTextHandler(&told, nil)), reg, func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	want := func(when, name string, failures float64) {
		t.Helper()
		clock = clock.Add(lookEvery)
		if got, err := shownTo(t, c, name); got != name || err != nil {
			t.Errorf("%s: %q is shown, want %q, %v", when, got, name, err)
		}
		if got, err := testutil.GatherAndCount(reg, "aftercare_owner_certificate_errors_total"); got != 1 || err != nil {
			t.Fatalf("%d counters, %v", got, err)
		}
		if err := testutil.GatherAndCompare(reg, strings.NewReader("# HELP aftercare_owner_certificate_errors_total Times the owners' pages could not read their certificate's files, which had changed, and went on with the one before.\n"+
			"# TYPE aftercare_owner_certificate_errors_total counter\naftercare_owner_certificate_errors_total "+itoa(int(failures))+"\n")); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	want("at first", "one.example", 0)
	write(two, oneKey) // the key is still to come
	want("half written", "one.example", 1)
	want("still", "one.example", 2)
	if n := strings.Count(told.String(), "level=ERROR"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, &told)
	}
	write(nil, nil)
	want("gone", "one.example", 3)
	write([]byte("nonsense"), twoKey)
	want("nonsense", "one.example", 4)
	write(two, twoKey)
	want("mended", "two.example", 4)
	if !strings.Contains(told.String(), "new certificate") {
		t.Errorf("nobody is told of the new one:\n%s", &told)
	}
	write(one, oneKey)
	clock = clock.Add(-time.Minute) // looked at a moment ago
	if got, _ := shownTo(t, c, "two.example"); got != "two.example" {
		t.Errorf("files are looked at for every connection: %q", got)
	}
}

// TestACMEAnswersFromItsCache: what the authority asks (TLS-ALPN-01) and what browsers get are both found in the folder, so that a
// restart asks for nothing anew, and names that are not ours get nothing.
func TestACMEAnswersFromItsCache(t *testing.T) {
	asked := 0
	authority := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++; w.WriteHeader(http.StatusTeapot) }))
	defer authority.Close()
	cfg := DefaultConfig()
	cfg.TLS.ACME = ACME{Domains: []string{"care.example.org"}, Cache: t.TempDir(), Directory: authority.URL}
	for file, name := range map[string]string{"care.example.org": "care.example.org", "care.example.org+token": "care.example.org", "evil.example": "evil.example"} {
		cert, key := certificate(t, name)
		if err := os.WriteFile(filepath.Join(cfg.TLS.ACME.Cache, file), append(key, cert...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := cfg.TLSConfig(obs.Discard(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.MinVersion < tls.VersionTLS12 {
		t.Error("old TLS is spoken")
	}
	for _, protocols := range [][]string{{"h2", "http/1.1"}, {"acme-tls/1"}} {
		if got, err := shownTo(t, c, "care.example.org", protocols...); got != "care.example.org" || err != nil {
			t.Errorf("%v: %q, %v", protocols, got, err)
		}
	}
	if got, err := shownTo(t, c, "evil.example"); err == nil {
		t.Errorf("a name that is not ours is shown %q", got)
	}
	if asked > 0 {
		t.Errorf("the authority was asked %d times", asked)
	}
}
