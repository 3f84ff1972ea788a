package fcm

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"aftercare/internal/outreach"
)

// Account is a Google service account: who sends.
type Account struct {
	Project  string
	email    string
	keyID    string
	key      *rsa.PrivateKey
	tokenURL string
}

// String hides the key.
func (a Account) String() string { return "service account " + a.email }

// GoString hides the key in %#v.
func (a Account) GoString() string { return a.String() }

// LoadAccount reads the JSON file that Google's console makes. The error names the file, never what is in it.
func LoadAccount(file string) (Account, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Account{}, fmt.Errorf("read the service account: %w", err)
	}
	a, err := ParseAccount(text)
	if err != nil {
		return Account{}, fmt.Errorf("%q: %w", file, err)
	}
	return a, nil
}

// ParseAccount reads the file's text.
func ParseAccount(text []byte) (Account, error) {
	var f struct {
		Type     string `json:"type"`
		Project  string `json:"project_id"`
		Email    string `json:"client_email"`
		KeyID    string `json:"private_key_id"`
		Key      string `json:"private_key"`
		TokenURI string `json:"token_uri"`
	}
	if json.Unmarshal(text, &f) != nil || f.Type != "service_account" {
		return Account{}, errors.New("want the JSON of a service account")
	}
	if u, err := url.Parse(f.TokenURI); err != nil || u.Host == "" || f.Project == "" || f.Email == "" {
		return Account{}, errors.New("project_id, client_email or token_uri is missing")
	}
	block, _ := pem.Decode([]byte(f.Key))
	if block == nil {
		return Account{}, errors.New("private_key is not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return Account{}, errors.New("private_key is not an RSA key in PKCS #8")
	}
	return Account{Project: f.Project, email: f.Email, keyID: f.KeyID, key: key, tokenURL: f.TokenURI}, nil
}

// assertion is the signed request for a token (RFC 7523, RS256), good for an hour.
func (a Account) assertion(now time.Time) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": a.keyID})
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	body, err := json.Marshal(map[string]any{"iss": a.email, "scope": "https://www.googleapis.com/auth/firebase.messaging", "aud": a.tokenURL,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	if err != nil {
		return "", fmt.Errorf("encode: %w", err)
	}
	b64 := base64.RawURLEncoding
	text := b64.EncodeToString(header) + "." + b64.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return text + "." + b64.EncodeToString(sig), nil
}

// tokens keeps the access token; one caller at a time fetches a new one and the others wait for it, each within its deadline.
type tokens struct {
	account Account
	client  *http.Client
	now     func() time.Time
	turn    chan struct{} // holds one: who has it may touch what follows
	text    string
	expires time.Time
}

func newTokens(a Account, client *http.Client, now func() time.Time) *tokens {
	t := &tokens{account: a, client: client, now: now, turn: make(chan struct{}, 1)}
	t.turn <- struct{}{}
	return t
}

// spare is how long before its end a token is not used any more.
const spare = 2 * time.Minute

// get returns a token that is not refused. The error is classified.
func (t *tokens) get(ctx context.Context, refused string) (string, error) {
	select {
	case <-t.turn:
		defer func() { t.turn <- struct{}{} }()
	case <-ctx.Done():
		return "", outreach.Transport("fcm: token", ctx.Err())
	}
	now := t.now()
	if t.text != "" && t.text != refused && t.expires.Sub(now) > spare {
		return t.text, nil
	}
	text, life, err := t.fetch(ctx, now)
	if err != nil {
		return "", err
	}
	t.text, t.expires = text, now.Add(life)
	return text, nil
}

// fetch asks for a token. Whatever goes wrong may be put right within days: an account that was renewed, a clock that was set.
func (t *tokens) fetch(ctx context.Context, now time.Time) (string, time.Duration, error) {
	assertion, err := t.account.assertion(now)
	if err != nil {
		return "", 0, outreach.Never(fmt.Errorf("fcm: token: %w", err))
	}
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, t.account.tokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, outreach.Never(errors.New("fcm: the account's token_uri is not a URL"))
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := t.client.Do(r)
	if err != nil {
		return "", 0, outreach.Transport("fcm: token", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		_, after := outreach.ClassOf(outreach.Status(resp.StatusCode, resp.Header.Get("Retry-After"), now))
		return "", 0, outreach.Again(fmt.Errorf("fcm: no token: Google answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)), after)
	}
	var a struct {
		Token   string `json:"access_token"`
		Expires int    `json:"expires_in"` // seconds
	}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || a.Token == "" || strings.ContainsFunc(a.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", 0, outreach.Again(errors.New("fcm: no token: Google's answer has none"), 0)
	}
	return a.Token, time.Duration(min(max(a.Expires, 0), 86400)) * time.Second, nil
}
