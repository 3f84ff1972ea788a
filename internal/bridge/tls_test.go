package bridge

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates in a folder: name.pem and name.key.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue(name, true)
	return a
}

func (a *authority) issue(name string, ca bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	parent, signer := a.cert, a.key
	if ca {
		tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", private)
	return cert, key
}

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// TLS with a private authority and a client certificate; without the certificate, or with another authority, there is no connection
// and no way to get one.
func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t, "ca"), newAuthority(t, "ca")
	ours.issue("broker", false)
	ours.issue("bridge", false)
	theirs.issue("bridge", false)
	m := newBrokerWith(t, "require_certificate true\nuse_identity_as_username true\nallow_anonymous false\ncafile "+ours.file("ca.pem")+
		"\ncertfile "+ours.file("broker.pem")+"\nkeyfile "+ours.file("broker.key")+"\n")
	encrypted := func(change func(*Config)) func(*Config) {
		return func(c *Config) {
			c.URL, c.CA, c.Cert, c.Key = "ssl://"+m.addr, ours.file("ca.pem"), ours.file("bridge.pem"), ours.file("bridge.key")
			change(c)
		}
	}
	in := newInbox(false)
	good := start(t, m.addr, in, patient, encrypted(func(*Config) {}))
	eventually(t, "subscribed", good.subscribed)
	if !good.Publish("devices/demo/washer-w7/A1/telemetry", []byte("through TLS and back"), nil) {
		t.Error("not published")
	}
	in.until(t, "the message", func() bool { return len(in.payloads()) == 1 })
	for name, change := range map[string]func(*Config){
		"no certificate of ours":         func(c *Config) { c.Cert, c.Key = "", "" },
		"a certificate of somebody else": func(c *Config) { c.Cert, c.Key = theirs.file("bridge.pem"), theirs.file("bridge.key") },
		"another authority":              func(c *Config) { c.CA = theirs.file("ca.pem") },
		"the system's authorities":       func(c *Config) { c.CA = "" },
		"another name":                   func(c *Config) { _, port, _ := net.SplitHostPort(m.addr); c.URL = "ssl://localhost:" + port },
		"not encrypted":                  func(c *Config) { c.URL, c.CA, c.Cert, c.Key = "tcp://"+m.addr, "", "", "" },
	} {
		bad := start(t, m.addr, newInbox(false), encrypted(change), func(c *Config) { c.ClientID = name })
		eventually(t, name+" fails", func() bool { return bad.metric("connects_total", "failed") > 0 })
		if bad.metric("connects_total", "connected") != 0 {
			t.Errorf("%s: connected", name)
		}
		bad.stop()
	}
}

// Mosquitto's own answer to a wrong password, and to the right one.
func TestMosquittoPassword(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// "secret" as mosquitto_passwd writes it (PBKDF2 with SHA-512, 101 rounds)
	file := filepath.Join(dir, "passwords")
	if err := os.WriteFile(file, []byte("aftercare:"+mosquittoHash("secret")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newBrokerWith(t, "allow_anonymous false\npassword_file "+file+"\n")
	bad := start(t, m.addr, newInbox(false), func(c *Config) { c.Username, c.Password, c.ClientID = "aftercare", "wrong", "bad" })
	eventually(t, "refused", func() bool {
		return bad.metric("connects_total", "refused") > 0 && bad.log.has("refuses bridge.username") > 0
	})
	good := start(t, m.addr, newInbox(false), patient, func(c *Config) { c.Username, c.Password = "aftercare", "secret" })
	eventually(t, "subscribed", good.subscribed)
}

func mosquittoHash(password string) string {
	salt := []byte("twelve bytes")
	sum, err := pbkdf2.Key(sha512.New, password, salt, 101, sha512.Size)
	if err != nil {
		panic(err)
	}
	b := base64.StdEncoding
	return "$7$101$" + b.EncodeToString(salt) + "$" + b.EncodeToString(sum)
}
