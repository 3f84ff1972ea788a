package push

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"
)

// b64 is base64url as the RFCs want it: without padding.
var b64 = base64.RawURLEncoding

// Key is the key with which an installation signs its push requests (VAPID, RFC 8292). Browsers tie a subscription to it: with
// another one all of them are lost, so it is made once and kept.
type Key struct {
	private *ecdsa.PrivateKey
	public  string
}

// NewKey makes a key.
func NewKey() (Key, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Key{}, fmt.Errorf("make the push key: %w", err)
	}
	return keyOf(k)
}

func keyOf(k *ecdsa.PrivateKey) (Key, error) {
	public, err := k.PublicKey.ECDH()
	if err != nil {
		return Key{}, fmt.Errorf("push key: %w", err)
	}
	return Key{private: k, public: b64.EncodeToString(public.Bytes())}, nil
}

// ParseKey reads what Encode wrote: PKCS #8 in PEM, of the curve P-256. The error does not tell the text.
func ParseKey(text []byte) (Key, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return Key{}, errors.New("the push key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Key{}, errors.New("the push key is not PKCS #8")
	}
	k, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || k.Curve != elliptic.P256() {
		return Key{}, errors.New("the push key is not of the curve P-256")
	}
	return keyOf(k)
}

// Encode writes the key as ParseKey reads it.
func (k Key) Encode() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("encode the push key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Public is what a page gives to pushManager.subscribe: the uncompressed point in base64url.
func (k Key) Public() string { return k.public }

// String hides the key.
func (k Key) String() string { return "push key " + k.public }

// GoString hides the key in %#v.
func (k Key) GoString() string { return k.String() }

// A token is good for at most 24 h (RFC 8292 section 2); half of that leaves room for clocks that differ, and it is renewed well
// before its end.
const (
	tokenLife  = 12 * time.Hour
	tokenSpare = 2 * time.Hour
	maxTokens  = 1000
)

// tokens signs and keeps one token for each push service. It is safe for concurrent use.
type tokens struct {
	key     Key
	contact string

	mu   sync.Mutex
	kept map[string]token
}

type token struct {
	text    string
	expires time.Time
}

// authorization is the header's value for a push service's origin ("https://fcm.googleapis.com").
func (ts *tokens) authorization(origin string, now time.Time) (string, error) {
	ts.mu.Lock()
	t, ok := ts.kept[origin]
	ts.mu.Unlock()
	if ok && t.expires.Sub(now) > tokenSpare && t.expires.Sub(now) <= tokenLife {
		return t.text, nil
	}
	expires := now.Add(tokenLife)
	jwt, err := ts.key.sign(claims{Aud: origin, Exp: expires.Unix(), Sub: ts.contact})
	if err != nil {
		return "", err
	}
	t = token{text: "vapid t=" + jwt + ", k=" + ts.key.public, expires: expires}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.kept == nil || len(ts.kept) >= maxTokens { // there are a handful of origins, unless somebody makes them up
		ts.kept = map[string]token{}
	}
	ts.kept[origin] = t
	return t.text, nil
}

type claims struct {
	Aud string `json:"aud"`
	Exp int64  `json:"exp"`
	Sub string `json:"sub,omitempty"`
}

// sign returns a JWT of the claims with ES256 (RFC 7515, RFC 7518 section 3.4).
func (k Key) sign(c claims) (string, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encode a token: %w", err)
	}
	text := b64.EncodeToString([]byte(`{"typ":"JWT","alg":"ES256"}`)) + "." + b64.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return text + "." + b64.EncodeToString(sig[:]), nil
}
