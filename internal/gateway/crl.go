package gateway

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// revocations are the lists of all CAs. It does not change.
type revocations struct {
	of    map[string]*revoked // by the issuer's name, DER
	until time.Time           // the earliest next update
	first string              // the file it is in
}

// revoked is what one CA's lists say.
type revoked struct {
	serials map[string]struct{}
	until   time.Time // the latest next update: a new list beside the old one will do
}

// readLists reads revocation lists and checks each against the CA that issued it, which must be among cas.
func readLists(files []string, cas []*x509.Certificate) (*revocations, error) {
	out := &revocations{of: map[string]*revoked{}}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("gateway.tls.crl %q: %w", file, err)
		}
		for n, der := range blocks(text) {
			list, err := x509.ParseRevocationList(der)
			if err == nil {
				err = whole(list)
			}
			if err == nil {
				err = signed(list, cas)
			}
			if err != nil {
				return nil, fmt.Errorf("gateway.tls.crl %q: list %d: %w", file, n+1, err)
			}
			out.add(list, file)
		}
	}
	return out, nil
}

// blocks returns the lists of a file, which is PEM or DER.
func blocks(text []byte) (out [][]byte) {
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "X509 CRL" {
			out = append(out, block.Bytes)
		}
	}
	if out == nil {
		out = append(out, text)
	}
	return out
}

func signed(list *x509.RevocationList, cas []*x509.Certificate) error {
	err := fmt.Errorf("its CA %q is not in gateway.tls.client_ca", list.Issuer)
	for _, ca := range cas {
		if string(ca.RawSubject) == string(list.RawIssuer) {
			if err = list.CheckSignatureFrom(ca); err == nil {
				return nil
			}
		}
	}
	return err
}

// indirect reports whether an issuing distribution point (RFC 5280, 5.2.5) says that the list names other CAs' certificates.
func indirect(der []byte) bool {
	var point asn1.RawValue
	if _, err := asn1.Unmarshal(der, &point); err != nil {
		return true
	}
	for rest := point.Bytes; len(rest) > 0; {
		var field asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &field); err != nil {
			return true
		}
		if field.Class == asn1.ClassContextSpecific && field.Tag == 4 && len(field.Bytes) == 1 && field.Bytes[0] != 0 {
			return true
		}
	}
	return false
}

// whole refuses lists that say less or more than which certificates of their issuer are revoked.
func whole(list *x509.RevocationList) error {
	if list.NextUpdate.IsZero() {
		return errors.New("it has no next update")
	}
	for _, ext := range list.Extensions {
		switch {
		case ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 27}):
			return errors.New("it is a delta list; want complete ones")
		case ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 28}): // one of several lists of a CA
			if indirect(ext.Value) {
				return errors.New("it is an indirect list; want one of the CA itself")
			}
		case ext.Critical:
			return fmt.Errorf("it has a critical extension %s that is not known", ext.Id)
		}
	}
	return nil
}

func (r *revocations) add(list *x509.RevocationList, file string) {
	of := r.of[string(list.RawIssuer)]
	if of == nil {
		of = &revoked{serials: map[string]struct{}{}}
		r.of[string(list.RawIssuer)] = of
	}
	for _, e := range list.RevokedCertificateEntries {
		of.serials[e.SerialNumber.String()] = struct{}{}
	}
	if list.NextUpdate.After(of.until) {
		of.until = list.NextUpdate
	}
	if r.first == "" || list.NextUpdate.Before(r.until) {
		r.until, r.first = list.NextUpdate, file
	}
}

// check looks for each certificate of a chain in the list of its issuer. strict: the issuer of the first must have one, and it
// must be in force. The others' issuers are often kept offline and list nothing.
func (r *revocations) check(chain []*x509.Certificate, now time.Time, strict bool) error {
	if r == nil {
		return nil
	}
	for i, cert := range chain {
		of := r.of[string(cert.RawIssuer)]
		if of != nil {
			if _, is := of.serials[cert.SerialNumber.String()]; is {
				return &certError{ReasonCertRevoked, fmt.Errorf("serial number %x of %q", cert.SerialNumber, cert.Issuer)}
			}
		}
		if i == 0 && strict && (of == nil || now.After(of.until)) {
			return &certError{ReasonCertList, fmt.Errorf("no revocation list of %q is in force", cert.Issuer)}
		}
	}
	return nil
}
