// Package ntfy sends messages to phones through an ntfy server: one HTTP POST to the topic's URL.
//
// A topic's name is as good as a password, so it is in no error and no log. App imports it; it imports fleet, outreach and,
// through the client it is given, egress's rules.
package ntfy

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

// Config says how much of a message leaves the house.
type Config struct {
	// Full sends all of a message to the ntfy server and onto the lock screen. Otherwise it is the first line alone, which holds
	// no personal data; only a safety message always carries what to do.
	Full bool `mapstructure:"full"`
	// Link is the address behind the notification; {message}, {case} and {serial} in it are replaced. Empty: no link.
	Link string `mapstructure:"link"`
}

// DefaultConfig sends first lines without a link.
func DefaultConfig() Config { return Config{} }

// Validate names the field and the value of what is wrong.
func (c Config) Validate() error {
	if c.Link == "" {
		return nil
	}
	if u, err := url.Parse(c.Link); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("ntfy.link %q: want a URL", c.Link)
	}
	return nil
}

// Channel is the ntfy channel. It is safe for concurrent use.
type Channel struct {
	config Config
	client *http.Client
	now    func() time.Time
}

// New returns the channel; client comes from egress.New. now is the clock that Retry-After dates are read against.
func New(c Config, client *http.Client, now func() time.Time) *Channel {
	return &Channel{config: c, client: client, now: now}
}

// Name returns "ntfy".
func (*Channel) Name() string { return "ntfy" }

// Send posts the message. The endpoint's secret, if any, is an access token.
func (c *Channel) Send(ctx context.Context, m fleet.Message, to fleet.Endpoint) error {
	text := more(m)
	if m.Body != "" && (c.config.Full || m.Kind == fleet.KindSafety) {
		text = m.Body
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.Address, strings.NewReader(text))
	if err != nil {
		return outreach.Never(fmt.Errorf("ntfy: the topic's address is not a URL"))
	}
	h := r.Header
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Title", mime.QEncoding.Encode("utf-8", m.Title))
	h.Set("Priority", strconv.Itoa(priority(m)))
	// ntfy shows some tags as emoji ("warning", "watch"); with these prefixes none is.
	h.Set("Tags", "severity-"+m.Severity.String()+",kind-"+string(m.Kind))
	if c.config.Link != "" {
		h.Set("Click", link(c.config.Link, m))
	}
	// From 2.16 a server replaces a notification by a later one of the same sequence: a second try shows once.
	h.Set("X-Sequence-ID", m.ID)
	h.Set("Idempotency-Key", m.ID)
	if to.Secret != "" {
		h.Set("Authorization", "Bearer "+to.Secret)
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return outreach.Transport("ntfy", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	return outreach.Status(resp.StatusCode, resp.Header.Get("Retry-After"), c.now())
}

// more stands below the title when the rest of the message stays at home; ntfy would write "triggered" into an empty one.
func more(m fleet.Message) string {
	switch {
	case m.Locale == "de" && m.Topic == "cleared":
		return "Es ist nichts mehr zu tun."
	case m.Topic == "cleared":
		return "There is nothing left to do."
	case m.Locale == "de":
		return "Warum, und was jetzt zu tun ist, steht in Ihrem Posteingang."
	default:
		return "Why, and what to do now, is in your inbox."
	}
}

// priority maps severities to ntfy's 1 (no sound) to 5 (rings on).
func priority(m fleet.Message) int {
	switch {
	case m.Topic == "cleared":
		return 2
	case m.Severity >= fleet.Danger:
		return 5
	case m.Severity == fleet.Fault:
		return 4
	case m.Severity == fleet.Due:
		return 3
	default:
		return 2
	}
}

func link(pattern string, m fleet.Message) string {
	return strings.NewReplacer("{message}", url.PathEscape(m.ID), "{case}", url.PathEscape(m.CaseID),
		"{serial}", url.PathEscape(m.Device.Serial)).Replace(pattern)
}
