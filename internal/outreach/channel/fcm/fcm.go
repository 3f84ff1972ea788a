// Package fcm sends messages to an app of your own through Firebase Cloud Messaging's HTTP v1 interface, signed in with a service
// account.
//
// App imports it; it imports fleet, outreach and, through the client it is given, egress's rules. Google's own libraries would be
// a hundred packages for two requests.
package fcm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

// Config says which project sends.
type Config struct {
	Account string `mapstructure:"account" help:"JSON file of the Google service account that may send; empty: FCM is off"`
	URL     string `mapstructure:"url" help:"where FCM answers; for tests and proxies"`
	// Full shows all of a message on the lock screen. Otherwise it is the first line alone, and the app has the rest in its data.
	Full bool `mapstructure:"full" help:"show the whole message on the lock screen, not its first line alone; safety messages always are"`
}

// DefaultConfig is off.
func DefaultConfig() Config { return Config{URL: "https://fcm.googleapis.com"} }

// Validate names the field and the value of what is wrong.
func (c Config) Validate() error {
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("fcm.url %q: want a URL", c.URL)
	}
	if c.Account != "" {
		if _, err := LoadAccount(c.Account); err != nil {
			return fmt.Errorf("fcm.account: %w", err)
		}
	}
	return nil
}

// Channel is the FCM channel. It is safe for concurrent use.
type Channel struct {
	config Config
	client *http.Client
	now    func() time.Time
	url    string
	tokens *tokens
}

// New returns the channel of an account; client comes from egress.New, now is the clock of tokens and Retry-After.
func New(c Config, a Account, client *http.Client, now func() time.Time) *Channel {
	return &Channel{config: c, client: client, now: now, tokens: newTokens(a, client, now),
		url: strings.TrimSuffix(c.URL, "/") + "/v1/projects/" + url.PathEscape(a.Project) + "/messages:send"}
}

// Name returns "fcm".
func (*Channel) Name() string { return "fcm" }

// The request's form is Google's: projects.messages.send.
type (
	request struct {
		Message message `json:"message"`
	}
	message struct {
		Token        string            `json:"token"`
		Notification notification      `json:"notification"`
		Data         map[string]string `json:"data"`
		Android      android           `json:"android"`
		APNS         apns              `json:"apns"`
	}
	notification struct {
		Title string `json:"title"`
		Body  string `json:"body,omitempty"`
	}
	android struct {
		Priority     string              `json:"priority"` // "HIGH", "NORMAL"
		TTL          string              `json:"ttl"`      // "3600s"
		CollapseKey  string              `json:"collapse_key,omitempty"`
		Notification androidNotification `json:"notification"`
	}
	androidNotification struct {
		Tag string `json:"tag"` // takes the place of one with the same: a second try shows once
	}
	apns struct {
		Headers map[string]string `json:"headers"`
	}
)

// Bounds: FCM takes 4,096 bytes of notification and data.
const (
	maxTitle   = 150  // characters
	maxBody    = 1200 // bytes of JSON
	maxData    = 1400 // bytes of buttons
	maxTTL     = 28 * 24 * time.Hour
	defaultTTL = 24 * time.Hour
)

// Send posts the message to the app whose registration token is the endpoint's address.
func (c *Channel) Send(ctx context.Context, m fleet.Message, to fleet.Endpoint) error {
	if !registration.MatchString(to.Address) {
		return outreach.Never(errors.New("fcm: the endpoint's address is not a registration token"))
	}
	body, err := json.Marshal(request{c.message(m, to.Address)})
	if err != nil {
		return outreach.Never(fmt.Errorf("fcm: encode message %q: %w", m.ID, err))
	}
	token, err := c.tokens.get(ctx, "")
	if err != nil {
		return err
	}
	code, err := c.post(ctx, body, token)
	if code != http.StatusUnauthorized {
		return err
	}
	// Once: the token may have been taken back before its time.
	if token, err = c.tokens.get(ctx, token); err != nil {
		return err
	}
	_, err = c.post(ctx, body, token)
	return err
}

// registration is what tokens look like; Google says no more than that they are opaque.
var registration = regexp.MustCompile(`^[A-Za-z0-9:_.=%/+-]{10,1000}$`)

func (c *Channel) message(m fleet.Message, token string) message {
	id, text := m.ID, ""
	if c.config.Full || m.Subject == fleet.TopicSafety || m.Kind == fleet.KindSafety {
		text = cut(m.Body, maxBody)
	}
	tag := m.Collapse
	if tag == "" {
		tag = id
	}
	life := min(m.TTL, maxTTL)
	if life <= 0 {
		life = defaultTTL
	}
	out := message{Token: token, Notification: notification{Title: title(m.Title), Body: text},
		Data: map[string]string{"id": id, "url": m.URL, "lang": m.Locale, "subject": string(m.Subject), "receipt": m.Receipt, "actions": buttons(m.Actions)},
		Android: android{Priority: "NORMAL", TTL: strconv.Itoa(int(life/time.Second)) + "s", CollapseKey: m.Collapse,
			Notification: androidNotification{Tag: tag}},
		APNS: apns{Headers: map[string]string{"apns-collapse-id": tag, "apns-priority": "5", "apns-expiration": strconv.FormatInt(c.now().Add(life).Unix(), 10)}}}
	if m.Subject == fleet.TopicSafety || m.Severity >= fleet.Fault {
		out.Android.Priority, out.APNS.Headers["apns-priority"] = "HIGH", "10"
	}
	return out
}

// buttons are the answers as JSON, as many as there is room for: FCM's data has strings only.
func buttons(actions []fleet.Action) string {
	type button struct {
		Action fleet.Verdict `json:"action"`
		Title  string        `json:"title"`
		Token  string        `json:"token"`
	}
	out := "[]"
	var list []button
	for _, a := range actions {
		if a.Token == "" || a.Label == "" {
			continue
		}
		list = append(list, button{a.Verdict, title(a.Label), a.Token})
		text, err := json.Marshal(list)
		if err != nil || len(text) > maxData {
			break
		}
		out = string(text)
	}
	return out
}

// post sends once and returns the answer's code with the error it means; a code of 0: there was none.
func (c *Channel) post(ctx context.Context, body []byte, token string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return 0, outreach.Never(errors.New("fcm: the address of FCM is not a URL"))
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(r)
	if err != nil {
		return 0, outreach.Transport("fcm", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, _ := io.ReadAll(resp.Body) // what cannot be read is no reason; the code decides
	return resp.StatusCode, classify(resp.StatusCode, resp.Header.Get("Retry-After"), answer, c.now())
}

// quotaWait is what Google asks for after 429 without Retry-After.
const quotaWait = time.Minute

// classify says what an answer means. Only UNREGISTERED says that an app is gone: any other 404 is a wrong project or proxy, and
// must not cost everybody their phones.
func classify(code int, retryAfter string, answer []byte, now time.Time) error {
	reason := reasonOf(answer)
	if code >= 400 && reason != "" {
		err := fmt.Errorf("fcm: the receiver answered %d %s", code, reason)
		switch reason {
		case "UNREGISTERED":
			return outreach.Gone(err)
		case "SENDER_ID_MISMATCH", "INVALID_ARGUMENT": // the token is of another project, or none
			return outreach.Never(err)
		}
	}
	err := outreach.Status(code, retryAfter, now)
	if code == http.StatusTooManyRequests {
		if _, after := outreach.ClassOf(err); after == 0 {
			return outreach.Again(err, quotaWait)
		}
	}
	if code == http.StatusGone {
		return outreach.Again(errors.New("fcm: FCM answered 410, which it does not know"), 0)
	}
	return err
}

var reasonPattern = regexp.MustCompile(`^[A-Z_]{3,40}$`)

// reasonOf is Google's code for an error: that of FCM if there is one, else the general one; "" when the answer is none of Google's.
func reasonOf(answer []byte) string {
	var a struct {
		Error struct {
			Status  string `json:"status"`
			Details []struct {
				Type string `json:"@type"`
				Code string `json:"errorCode"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(answer, &a) != nil {
		return ""
	}
	reason := a.Error.Status
	for _, d := range a.Error.Details {
		if strings.HasSuffix(d.Type, "FcmError") && d.Code != "" {
			reason = d.Code
		}
	}
	if !reasonPattern.MatchString(reason) {
		return ""
	}
	return reason
}

func title(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if utf8.RuneCountInString(s) > maxTitle {
		s = string([]rune(s)[:maxTitle-1]) + "…"
	}
	return s
}

// cut shortens a text so that its JSON has at most so many bytes.
func cut(s string, limit int) string {
	used := 0
	s = strings.ToValidUTF8(s, "")
	for i, r := range s {
		n, _ := json.Marshal(string(r))
		if used += len(n) - 2; used > limit {
			return s[:i] + "…"
		}
	}
	return s
}
