package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aftercare/internal/config"
)

// TestGatewayPage: the shell lines of configs/gateway/README.md make certificates and a revocation list that are what the page says, and
// its settings are valid (SEC-02).
func TestGatewayPage(t *testing.T) {
	text, err := os.ReadFile("../../configs/gateway/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("SKIPPED: openssl is not installed; the lines of configs/gateway/README.md are not tried")
	}
	dir := t.TempDir()
	for i, block := range strings.Split(string(text), "```") {
		kind, body, _ := strings.Cut(block, "\n")
		switch {
		case i%2 == 1 && kind == "sh":
			runShell(t, dir, body)
		case i%2 == 1 && kind == "yaml":
			if err := os.WriteFile(filepath.Join(dir, "aftercare.yaml"), []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	cfg, problems := config.Load(filepath.Join(dir, "aftercare.yaml"), nil, nil)
	if len(problems) > 0 || cfg.Gateway.TLS.ClientAuth != "optional" {
		t.Errorf("the settings: %v, %+v", problems, cfg.Gateway.TLS)
	}
	roots := x509.NewCertPool()
	ca := certificate(t, dir, "ca.pem")
	roots.AddCert(ca)
	for name, o := range map[string]x509.VerifyOptions{
		"server.pem": {Roots: roots, DNSName: "mqtt.example.com"},
		"MY-001.pem": {Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
	} {
		if _, err := certificate(t, dir, name).Verify(o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	device := certificate(t, dir, "MY-001.pem")
	if device.Subject.CommonName != "demo/MY-001" {
		t.Errorf("the device is %q", device.Subject.CommonName)
	}
	list, err := x509.ParseRevocationList(block(t, dir, "crl.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(ca); err != nil || len(list.RevokedCertificateEntries) != 1 ||
		list.RevokedCertificateEntries[0].SerialNumber.Cmp(device.SerialNumber) != 0 {
		t.Errorf("the list: %v, %+v", err, list.RevokedCertificateEntries)
	}
}

func runShell(t *testing.T, dir, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
}

func block(t *testing.T, dir, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	b, _ := pem.Decode(text)
	if b == nil {
		t.Fatalf("%s is no PEM file", name)
	}
	return b.Bytes
}

func certificate(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(block(t, dir, name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return cert
}
