package gateway

import (
	"bufio"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// startMutual is a gateway that wants certificates of r.ca.
func startMutual(t *testing.T, change ...func(*doors, *Config)) *doors {
	t.Helper()
	return startDoors(t, newInbox(false), append([]func(*doors, *Config){func(d *doors, c *Config) {
		c.TLS.ClientAuth, c.TLS.ClientCA, c.TLS.Tenant = "required", filepath.Join(d.dir, "ca.pem"), "demo"
		put(t, c.TLS.ClientCA, pemOf("CERTIFICATE", d.ca.cert.Raw))
	}}, change...)...)
}

// enter connects with a certificate and no user name; code is CONNACK's, 0xff without one.
func (d *doors) enter(t *testing.T, tr Transport, cert *tls.Certificate, id string, change ...func(*packets.Packet)) (*device, byte) {
	t.Helper()
	c, err := d.via(t, tr, cert)
	if err != nil {
		return nil, 0xff
	}
	dev := &device{t: t, c: c, r: bufio.NewReader(c), v: 5}
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Connect: packets.ConnectParams{
		ProtocolName: []byte("MQTT"), Clean: true, Keepalive: 60, ClientIdentifier: id}}
	for _, f := range change {
		f(&pk)
	}
	_, _ = c.Write(encode(t, 5, pk)) // with TLS 1.3 the refusal of a certificate comes after the client's handshake
	answer, err := dev.next()
	if err != nil || answer.FixedHeader.Type != packets.Connack {
		return dev, 0xff
	}
	return dev, answer.ReasonCode
}

func user(name string) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Connect.UsernameFlag, pk.Connect.Username = true, []byte(name) }
}

func withPassword(password string) func(*packets.Packet) {
	return func(pk *packets.Packet) { pk.Connect.PasswordFlag, pk.Connect.Password = true, []byte(password) }
}

// subject gives a certificate a subject of these parts; a part is attribute, value, attribute, value ...
func subject(parts ...[]string) func(*x509.Certificate) {
	oids := map[string]asn1.ObjectIdentifier{"CN": {2, 5, 4, 3}, "O": {2, 5, 4, 10}, "C": {2, 5, 4, 6}, "SN": {2, 5, 4, 5}}
	return func(c *x509.Certificate) {
		name := make(pkix.RDNSequence, 0, len(parts))
		for _, part := range parts {
			var set pkix.RelativeDistinguishedNameSET
			for pair := range slices.Chunk(part, 2) {
				set = append(set, pkix.AttributeTypeAndValue{Type: oids[pair[0]], Value: pair[1]})
			}
			name = append(name, set)
		}
		raw, err := asn1.Marshal(name)
		if err != nil {
			panic(err)
		}
		c.RawSubject = raw
	}
}

// SEC-04: the certificate zoo. Each one alone is wrong in one way.
func TestSEC04CertificateZoo(t *testing.T) {
	other := newAuthority(t, "Other devices", nil)
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	r := startMutual(t)
	mid := newAuthority(t, "Acme plant 1", r.ca)
	dates := func(from, to time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to) }
	}
	usage := func(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = u }
	}
	sha1 := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }
	chain := r.ca.with(t, mid)
	dev := r.ca.leaf(t, "A2")
	device := &authority{cert: dev.Leaf, key: dev.PrivateKey.(crypto.Signer)}
	for _, z := range []struct {
		name string
		cert *tls.Certificate
		want string // "" is good
	}{
		{"good", r.ca.leaf(t, "A1"), ""},
		{"good, with tenant", r.ca.leaf(t, "demo/A1"), ""},
		{"good, RSA", r.ca.leafOf(t, long, "A1"), ""},
		{"none", nil, reasonNoCert},
		{"expired", r.ca.leaf(t, "A1", dates(-2*time.Hour, -time.Hour)), ReasonCertDate},
		{"not yet valid", r.ca.leaf(t, "A1", dates(time.Hour, 2*time.Hour)), ReasonCertDate},
		{"wrong CA", other.leaf(t, "A1"), ReasonCertUntrusted},
		{"CA of the same name", newAuthority(t, "Acme devices", nil).leaf(t, "A1"), ReasonCertUntrusted},
		{"self-signed", selfSigned(t, "A1"), ReasonCertUntrusted},
		{"wrong usage", r.ca.leaf(t, "A1", usage(x509.ExtKeyUsageServerAuth)), ReasonCertPurpose},
		{"no usage", r.ca.leaf(t, "A1", usage()), ReasonCertPurpose},
		{"any usage", r.ca.leaf(t, "A1", usage(x509.ExtKeyUsageAny)), ReasonCertPurpose},
		{"both usages", r.ca.leaf(t, "A1", usage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)), ""},
		{"a CA's own", &tls.Certificate{Certificate: [][]byte{mid.cert.Raw}, PrivateKey: mid.key}, ReasonCertPurpose},
		{"intermediate missing", mid.leaf(t, "A1"), ReasonCertUntrusted},
		{"intermediate present", chain(mid.leaf(t, "A1")), ""},
		{"signed by a device", r.ca.with(t, device)(device.leaf(t, "A1")), ReasonCertUntrusted},
		{"odd order", r.ca.leaf(t, "", subject([]string{"CN", "A1"}, []string{"O", "Acme"})), ReasonCertName},
		{"usual order", r.ca.leaf(t, "", subject([]string{"C", "DE"}, []string{"O", "Acme"}, []string{"CN", "A1"}, []string{"SN", "7"})), ""},
		{"two common names", r.ca.leaf(t, "", subject([]string{"CN", "A2"}, []string{"CN", "A1"})), ReasonCertName},
		{"the same twice", r.ca.leaf(t, "", subject([]string{"CN", "A1"}, []string{"CN", "A1"})), ReasonCertName},
		{"two values in a part", r.ca.leaf(t, "", subject([]string{"O", "Acme", "CN", "A1"})), ReasonCertName},
		{"two names in a part", r.ca.leaf(t, "", subject([]string{"CN", "A1", "CN", "A2"})), ReasonCertName},
		{"name in another part", r.ca.leaf(t, "", subject([]string{"O", "CN=A1"})), ReasonCertName},
		{"name like a subject", r.ca.leaf(t, "x,CN=A1"), ReasonCertName},
		{"empty name", r.ca.leaf(t, ""), ReasonCertName},
		{"wildcard", r.ca.leaf(t, "+"), ReasonCertName},
		{"NUL", r.ca.leaf(t, "A1\x00.evil"), ReasonCertName},
		{"serial of another tenant", r.ca.leaf(t, "other/A1"), ReasonCredentials},
		{"short key", r.ca.leafOf(t, short, "A1"), ReasonCertWeak},
		{"SHA-1", r.ca.leaf(t, "A1", sha1), ReasonCertUntrusted},
	} {
		before := r.metric("connects_total", z.want)
		if z.want == ReasonCredentials {
			r.auth.revoked["other/A1"] = true // not registered there
		}
		for _, tr := range []Transport{TLS, WSS} {
			_, code := r.enter(t, tr, z.cert, "A1")
			if (code == 0) != (z.want == "") {
				t.Errorf("%s over %s: code %#x", z.name, tr, code)
			}
		}
		if z.want != "" {
			eventually(t, z.name+" is counted as "+z.want, func() bool { return r.metric("connects_total", z.want) == before+2 })
			if z.want != reasonNoCert && r.reasons()[len(r.reasons())-1] != z.want {
				t.Errorf("%s: reasons %v", z.name, r.reasons())
			}
		}
	}
}

func selfSigned(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	self := &authority{cert: &x509.Certificate{Subject: pkix.Name{Organization: []string{"Acme"}, CommonName: name}}, key: key}
	return self.leafOf(t, key, name)
}

// with sends the certificate of an intermediate CA along.
func (*authority) with(_ *testing.T, mid *authority) func(*tls.Certificate) *tls.Certificate {
	return func(c *tls.Certificate) *tls.Certificate {
		out := *c
		out.Certificate = append(slices.Clone(c.Certificate), mid.cert.Raw)
		return &out
	}
}

// SEC-03, SEC-04: the certificate decides who it is, and the user name and the client id must agree.
func TestSEC04NamesBesideTheCertificate(t *testing.T) {
	r := startMutual(t)
	cert := r.ca.leaf(t, "A1")
	for _, c := range []struct {
		user, id string
		ok       bool
	}{
		{"", "A1", true}, {"demo/A1", "A1-x", true}, {"", "demo/A1", true},
		{"A1", "A1", false}, {"demo/A2", "A1", false}, {"demo/A2", "A2", false}, {"other/A1", "A1", false}, {"", "A2", false}, {"", "A12", false},
	} {
		change := []func(*packets.Packet){withPassword("pw-A2")}
		if c.user != "" {
			change = append(change, user(c.user))
		}
		d, code := r.enter(t, TLS, cert, c.id, change...)
		if (code == 0) != c.ok {
			t.Errorf("%+v: code %#x", c, code)
		}
		if code == 0 {
			d.send(publish(topic("A1"), 1, 1))
			if why := d.acked(1); why != 0 {
				t.Errorf("%+v: own topic: %#x", c, why)
			}
			d.send(publish(topic("A2"), 1, 2))
			if why := d.acked(2); why != packets.ErrNotAuthorized.Code {
				t.Errorf("%+v: foreign topic: %#x", c, why)
			}
		}
	}
	// The password was never asked for; the plain listener still wants it.
	if code := r.dial(t, 5).connect("demo/A1", "", "A1"); code == 0 {
		t.Error("no password needed")
	}
}

func TestOptionalCertificates(t *testing.T) {
	r := startMutual(t, func(_ *doors, c *Config) { c.TLS.ClientAuth = "optional" })
	if code := r.dialVia(t, TLS, 5).connect("demo/A1", "pw-A1", "A1"); code != 0 {
		t.Errorf("password: %#x", code)
	}
	if _, code := r.enter(t, TLS, nil, "A1"); code == 0 {
		t.Error("nothing was shown at all")
	}
	if _, code := r.enter(t, TLS, r.ca.leaf(t, "A1"), "A1"); code != 0 {
		t.Errorf("certificate: %#x", code)
	}
	if _, code := r.enter(t, TLS, newAuthority(t, "x", nil).leaf(t, "A1"), "A1", user("demo/A1"), withPassword("pw-A1")); code == 0 {
		t.Error("a bad certificate with a good password")
	}
}

func TestIdentityInTheAlternativeName(t *testing.T) {
	link := func(s string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
	dns := func(s ...string) func(*x509.Certificate) { return func(c *x509.Certificate) { c.DNSNames = s } }
	mail := func(s ...string) func(*x509.Certificate) { return func(c *x509.Certificate) { c.EmailAddresses = s } }
	a := newAuthority(t, "Acme", nil)
	for _, c := range []struct {
		identity, tenant string
		change           []func(*x509.Certificate)
		want             string
	}{
		{"san_uri", "", []func(*x509.Certificate){link("spiffe://acme.test/demo/A1")}, "demo/A1"},
		{"san_uri", "demo", []func(*x509.Certificate){link("urn:device:A1")}, "demo/A1"},
		{"san_uri", "", []func(*x509.Certificate){link("urn:device:A1")}, ""},
		{"san_uri", "demo", []func(*x509.Certificate){link("spiffe://acme.test/x/demo/A1")}, ""},
		{"san_uri", "demo", []func(*x509.Certificate){link("spiffe://acme.test/A1"), link("spiffe://acme.test/A2")}, ""},
		{"san_uri", "demo", nil, ""},
		{"san_dns", "demo", []func(*x509.Certificate){dns("A1")}, "demo/A1"},
		{"san_dns", "demo", []func(*x509.Certificate){dns("A1", "A2")}, ""},
		{"san_dns", "demo", []func(*x509.Certificate){mail("A1@x")}, ""},
		{"san_email", "demo", []func(*x509.Certificate){mail("A1@acme.test")}, "demo/A1"},
		{"san_email", "", []func(*x509.Certificate){mail("demo/A1@acme.test")}, "demo/A1"},
	} {
		cert := a.leaf(t, "B9", c.change...)
		key, err := TLSConfig{Identity: c.identity, Tenant: c.tenant}.identify(cert.Leaf)
		if (err == nil) != (c.want != "") || err == nil && key.String() != c.want {
			t.Errorf("%s %q: %v, %v; want %q", c.identity, c.tenant, key, err, c.want)
		}
	}
}

// SEC-04: revocation lists; both forms, several CAs.
func TestSEC04RevocationLists(t *testing.T) {
	second := newAuthority(t, "Second", nil)
	bad, worse := second.leaf(t, "A3"), second.leaf(t, "A4")
	var revoked *tls.Certificate
	r := startMutual(t, func(d *doors, c *Config) {
		put(t, c.TLS.ClientCA, pemOf("CERTIFICATE", d.ca.cert.Raw, second.cert.Raw))
		revoked = d.ca.leaf(t, "A1")
		c.TLS.CRL = []string{filepath.Join(d.dir, "a.crl"), filepath.Join(d.dir, "b.crl")}
		put(t, c.TLS.CRL[0], pemOf("X509 CRL", d.ca.list(t, []*x509.Certificate{revoked.Leaf}), second.list(t, []*x509.Certificate{worse.Leaf})))
		put(t, c.TLS.CRL[1], second.list(t, []*x509.Certificate{bad.Leaf}))
	})
	for _, c := range []struct {
		cert *tls.Certificate
		id   string
		ok   bool
	}{
		{revoked, "A1", false}, {bad, "A3", false}, {worse, "A4", false}, {r.ca.leaf(t, "A1"), "A1", true}, {second.leaf(t, "A3"), "A3", true},
	} {
		if _, code := r.enter(t, TLS, c.cert, c.id); (code == 0) != c.ok {
			t.Errorf("%s of %s: %#x", c.id, c.cert.Leaf.Issuer, code)
		}
	}
	eventually(t, "counted", func() bool { return r.metric("connects_total", ReasonCertRevoked) == 3 })
}

func TestRevocationOfAnIntermediate(t *testing.T) {
	var mid *authority
	r := startMutual(t, func(d *doors, c *Config) {
		mid = newAuthority(t, "Plant", d.ca)
		c.TLS.CRL, c.TLS.CRLPolicy = []string{filepath.Join(d.dir, "a.crl")}, "warn"
		put(t, c.TLS.CRL[0], d.ca.list(t, []*x509.Certificate{mid.cert}))
	})
	if _, code := r.enter(t, TLS, r.ca.with(t, mid)(mid.leaf(t, "A1")), "A1"); code == 0 {
		t.Error("taken")
	}
}

func TestRevocationListPastItsUpdate(t *testing.T) {
	old := func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(-time.Minute) }
	for policy, ok := range map[string]bool{"refuse": false, "warn": true} {
		var revoked *tls.Certificate
		r := startMutual(t, func(d *doors, c *Config) {
			revoked = d.ca.leaf(t, "A2")
			c.TLS.CRL, c.TLS.CRLPolicy = []string{filepath.Join(d.dir, "a.crl")}, policy
			put(t, c.TLS.CRL[0], d.ca.list(t, []*x509.Certificate{revoked.Leaf}, old))
		})
		if _, code := r.enter(t, TLS, r.ca.leaf(t, "A1"), "A1"); (code == 0) != ok {
			t.Errorf("%s: %#x", policy, code)
		}
		if _, code := r.enter(t, TLS, revoked, "A2"); code == 0 {
			t.Errorf("%s: revoked is taken", policy)
		}
		want := 1.0
		if ok {
			want = 0
		}
		eventually(t, policy+": counted", func() bool { return r.metric("connects_total", ReasonCertList) == want })
	}
}

// A list is only as good as its signature.
func TestListsThatAreNotTaken(t *testing.T) {
	dir := t.TempDir()
	a, b := newAuthority(t, "A", nil), newAuthority(t, "B", nil)
	forger := &authority{cert: a.cert, key: b.key} // A's name, not A's key
	noSign := newAuthority(t, "C", nil)
	ext := func(id int, critical bool, value ...byte) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, id}, Critical: critical, Value: value}}
		}
	}
	good := a.list(t, nil)
	broken := slices.Clone(good)
	broken[len(broken)-1] ^= 1
	for name, c := range map[string]struct {
		der  []byte
		want string
	}{
		"good":            {good, ""},
		"one of several":  {a.list(t, nil, ext(28, true, 0x30, 3, 0x81, 1, 0xff)), ""},
		"unknown CA":      {b.list(t, nil), "not in gateway.tls.client_ca"},
		"forged":          {forgedList(t, forger), "verif"},
		"changed":         {broken, "verif"},
		"not a list":      {[]byte("x"), "x509"},
		"empty":           {nil, "x509"},
		"delta":           {a.list(t, nil, ext(27, true, 2, 1, 1)), "delta"},
		"indirect":        {a.list(t, nil, ext(28, true, 0x30, 3, 0x84, 1, 0xff)), "indirect"},
		"unknown meaning": {a.list(t, nil, ext(99, true, 5, 0)), "critical"},
	} {
		file := filepath.Join(dir, "list")
		put(t, file, c.der)
		_, err := readLists([]string{file}, []*x509.Certificate{a.cert, noSign.cert})
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "gateway.tls.crl")) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// forgedList is signed with another key than the CA's.
func forgedList(t *testing.T, a *authority) []byte {
	t.Helper()
	twin := *a.cert
	twin.PublicKey = a.key.Public()
	return (&authority{cert: &twin, key: a.key}).list(t, nil)
}

// SEC-04, SEC-09: what is revoked while it is connected ends within 5 s, by list, by registry, and when its CA goes.
func TestSEC04LiveSessionsEnd(t *testing.T) {
	var ca, crl string
	r := startMutual(t, func(d *doors, c *Config) {
		c.TLS.CRL = []string{filepath.Join(d.dir, "a.crl")}
		ca, crl = c.TLS.ClientCA, c.TLS.CRL[0]
		put(t, crl, d.ca.list(t, nil))
	})
	second := newAuthority(t, "Second", nil)
	must := func(d *device, code byte) *device {
		t.Helper()
		if code != 0 {
			t.Fatalf("refused with %#x", code)
		}
		return d
	}
	first, other := r.ca.leaf(t, "A1"), r.ca.leaf(t, "A2")
	d1, d2 := must(r.enter(t, TLS, first, "A1")), must(r.enter(t, WSS, other, "A2"))

	put(t, crl, []byte("broken"))
	eventually(t, "failure counted", func() bool { return r.metric("tls_reloads_total", "failed") > 0 })
	d1.ping()
	begin := time.Now()
	put(t, crl, r.ca.list(t, []*x509.Certificate{first.Leaf}))
	if code := d1.closed(); code != packets.ErrNotAuthorized.Code {
		t.Errorf("code %#x", code)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if _, code := r.enter(t, TLS, first, "A1"); code == 0 {
		t.Error("comes in again")
	}
	d2.ping()
	eventually(t, "counted", func() bool {
		return r.metric("disconnects_total", ReasonCertRevoked) == 1 && slices.Contains(r.reasons(), ReasonCertRevoked)
	})

	put(t, crl, slices.Concat(pemOf("X509 CRL", r.ca.list(t, nil)), pemOf("X509 CRL", second.list(t, nil))))
	put(t, ca, pemOf("CERTIFICATE", r.ca.cert.Raw, second.cert.Raw))
	eventually(t, "second CA", func() bool { d, code := r.enter(t, TLS, second.leaf(t, "A3"), "A3"); _ = d; return code == 0 })
	d2.ping()
	put(t, crl, second.list(t, nil))
	put(t, ca, pemOf("CERTIFICATE", second.cert.Raw))
	if code := d2.closed(); code != packets.ErrNotAuthorized.Code {
		t.Errorf("code %#x when the CA is gone", code)
	}

	d3 := must(r.enter(t, TLS, second.leaf(t, "A3"), "A3"))
	r.auth.mu.Lock()
	r.auth.revoked["demo/A3"] = true
	r.auth.mu.Unlock()
	r.Disconnect(keyOf("demo/A3"))
	d3.closed()
	if _, code := r.enter(t, TLS, second.leaf(t, "A3"), "A3"); code == 0 {
		t.Error("revoked in the registry, and comes in")
	}
}

func TestExpiredWhileConnected(t *testing.T) {
	r := startMutual(t)
	d, code := r.enter(t, TLS, r.ca.leaf(t, "A1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(2 * time.Second) }), "A1")
	if code != 0 {
		t.Fatalf("code %#x", code)
	}
	d.closed()
	eventually(t, "counted", func() bool { return r.metric("disconnects_total", ReasonCertDate) == 1 })
}

// A session that is resumed would skip the certificate: there are none.
func TestTLSSessionsAreNotResumed(t *testing.T) {
	r := startMutual(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := r.tlsConfig(r.ca.leaf(t, "A1"))
		cfg.MaxVersion, cfg.ClientSessionCache = version, tls.NewLRUClientSessionCache(4)
		for range 3 {
			c, err := tls.Dial("tcp", r.AddrOf(TLS).String(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			d := &device{t: t, c: c, r: bufio.NewReader(c), v: 4}
			if code := d.connect("demo/A1", "ignored", "A1"); code != 0 {
				t.Errorf("code %#x", code)
			}
			if c.ConnectionState().DidResume {
				t.Error("resumed")
			}
			_ = c.Close()
		}
	}
}
