// Package fleet holds the nouns that cross package borders: devices, models, readings, findings, cases, messages, and
// the error type with its codes. It holds no technology and does no input or output.
//
// Anyone may import it. It imports the standard library only.
package fleet

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// DeviceKey identifies a device. A serial is unique within its tenant; the model is an attribute, not part of the identity.
type DeviceKey struct {
	Tenant string `json:"tenant"`
	Serial string `json:"serial"`
}

// String returns "tenant/serial", the form used in logs, ids and URLs.
func (k DeviceKey) String() string { return k.Tenant + "/" + k.Serial }

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// ID derives a deterministic identifier from its parts: the same parts always give the same id, so whatever is delivered
// twice is recognised the second time. The result is prefix, a hyphen and 26 characters of Crockford's base 32 (128 bits
// of SHA-256 over the parts, each ended by a zero byte).
func ID(prefix string, parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	var b strings.Builder
	b.WriteString(prefix)
	b.WriteByte('-')
	b.WriteString(idEncoding.EncodeToString(h.Sum(nil)[:16]))
	return b.String()
}

// ValidName reports whether s can be a tenant, a model or a serial: 1 to 64 characters of letters, digits, '.', '_' and
// '-', the first a letter or digit. Such a name needs no escaping in a topic, a URL, line protocol or InfluxQL.
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return true
}
