// Package seal makes and reads the signed texts in links that act without a sign-in: the page behind a message, an answer, an
// unsubscription, a partner's reply to a work order, the way into the owner pages. Who holds such a link may do what it says and
// nothing else. A seal hides nothing: what it says can be read.
//
// Outreach, web, dispatch and app import it. It imports nothing of ours.
package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// The purposes. A text sealed for one is worth nothing for another.
const (
	Message = "message" // Subject: the message's id. Its page
	Answer  = "answer"  // Subject: "<message id> <verdict>". Giving that answer, once or again
	Stop    = "stop"    // Subject: "<topic> <channel>". Not hearing of the topic there any more
	Login   = "login"   // Subject: a random id, used up by the first use. A session
	Order   = "order"   // Subject: the work order's id; Person: the partner's. Accepting, declining, reporting
	Address = "address" // Subject: an e-mail address. Hearing from us there
	Invite  = "invite"  // Subject: "<household> <random id>", used up by the first use; Person: who invites. Living there
	Receipt = "receipt" // Subject: the message's id. Saying that it arrived or was opened
)

// Claim is what a sealed text says.
type Claim struct {
	Purpose string
	Tenant  string
	Subject string
	Person  string
	Expires time.Time // second precision; zero: never
}

// Seal signs and checks with one key. It is safe for concurrent use.
type Seal struct{ key []byte }

// New returns a Seal. The key has at least 32 random bytes; who has it can make any link.
func New(key []byte) *Seal { return &Seal{key: key} }

const (
	macSize = 16 // bytes of HMAC-SHA-256: 128 bits, short enough for a text message
	maxText = 1024
)

// ErrBad is the error of a text that was not sealed here, or for another purpose; ErrExpired of one whose time is over.
var (
	ErrBad     = errors.New("the link is not valid")
	ErrExpired = errors.New("the link has expired")
)

// Sign returns the claim as text of letters, digits, '-', '_' and one '.'. No part may hold a line break.
func (s *Seal) Sign(c Claim) string {
	expires := int64(0)
	if !c.Expires.IsZero() {
		expires = c.Expires.Unix()
	}
	body := base64.RawURLEncoding.EncodeToString([]byte(strings.Join([]string{c.Tenant, c.Subject, c.Person, strconv.FormatInt(expires, 36)}, "\n")))
	return body + "." + base64.RawURLEncoding.EncodeToString(s.mac(c.Purpose, body))
}

// Open reads a text that was sealed for the purpose. An expired one is returned with ErrExpired, so that its page can say what it
// was; any other error is ErrBad and the claim is empty.
func (s *Seal) Open(purpose, text string, now time.Time) (Claim, error) {
	body, sum, ok := strings.Cut(text, ".")
	if !ok || len(text) > maxText {
		return Claim{}, ErrBad
	}
	mac, err := base64.RawURLEncoding.Strict().DecodeString(sum)
	if err != nil || !hmac.Equal(mac, s.mac(purpose, body)) {
		return Claim{}, ErrBad
	}
	plain, err := base64.RawURLEncoding.DecodeString(body)
	parts := strings.Split(string(plain), "\n")
	if err != nil || len(parts) != 4 {
		return Claim{}, ErrBad
	}
	expires, err := strconv.ParseInt(parts[3], 36, 64)
	if err != nil {
		return Claim{}, ErrBad
	}
	c := Claim{Purpose: purpose, Tenant: parts[0], Subject: parts[1], Person: parts[2]}
	if expires != 0 {
		if c.Expires = time.Unix(expires, 0).UTC(); now.After(c.Expires) {
			return c, ErrExpired
		}
	}
	return c, nil
}

func (s *Seal) mac(purpose, body string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte("aftercare link v1\n" + purpose + "\n" + body))
	return h.Sum(nil)[:macSize]
}
