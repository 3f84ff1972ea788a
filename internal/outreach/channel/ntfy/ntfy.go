// Package ntfy sends messages to phones through an ntfy server: one HTTP POST to the topic's URL.
//
// A topic's name is as good as a password, so it is in no error and no log. App imports it; it imports fleet, outreach and,
// through the client it is given, egress's rules.
package ntfy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

// Config says how much of a message leaves the house.
type Config struct {
	// Full sends all of a message to the ntfy server and onto the lock screen. Otherwise it is the first line alone, which holds
	// no personal data; only a safety message always carries what to do.
	Full bool `mapstructure:"full" help:"send the whole message through the ntfy server, not its first line alone; safety messages always are"`
}

// DefaultConfig sends first lines.
func DefaultConfig() Config { return Config{} }

// Validate finds nothing wrong.
func (Config) Validate() error { return nil }

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

// A server makes an attachment of a longer message and refuses a fourth button; a longer title is no title.
const (
	maxBody    = 3800 // bytes
	maxTitle   = 200  // characters
	maxLabel   = 40
	maxActions = 3
)

// note is what is posted.
type note struct {
	title, text, priority, tags, click, sequence string
	actions                                      []action
}

// action is a button that opens a page. It never answers by itself: ntfy's other kinds would let the server hold the answer.
type action struct {
	Action string `json:"action"` // "view"
	Label  string `json:"label"`
	URL    string `json:"url"`
	Clear  bool   `json:"clear"`
}

// Send posts the message. The endpoint's secret, if any, is an access token.
func (c *Channel) Send(ctx context.Context, m fleet.Message, to fleet.Endpoint) error {
	n := note{title: m.Title, text: more(m), priority: strconv.Itoa(priority(m)), click: m.URL, sequence: m.ID}
	if m.Body != "" && (c.config.Full || m.Kind == fleet.KindSafety || m.Subject == fleet.TopicSafety) {
		n.text = m.Body
	}
	// ntfy shows some tags as emoji ("warning", "watch"); with these prefixes none is.
	n.tags = "severity-" + m.Severity.String() + ",kind-" + string(m.Kind)
	if m.Collapse != "" {
		n.sequence = m.Collapse
	}
	for _, a := range m.Actions {
		if a.URL != "" && a.Label != "" && len(n.actions) < maxActions {
			n.actions = append(n.actions, action{"view", cut(a.Label, maxLabel), a.URL, true})
		}
	}
	return c.post(ctx, n, to)
}

// Operate posts what operators are told.
func (c *Channel) Operate(ctx context.Context, op fleet.Operation, to fleet.Endpoint) error {
	n := note{title: op.Summary, text: op.Detail, tags: "operation-" + op.Name, click: op.URL, sequence: outreach.OperationKey(op),
		priority: map[string]string{"critical": "5", "warning": "4"}[op.Severity]}
	if n.priority == "" || !op.Ends.IsZero() {
		n.priority = "2"
	}
	return c.post(ctx, n, to)
}

func (c *Channel) post(ctx context.Context, n note, to fleet.Endpoint) error {
	text := cutBytes(n.text, maxBody)
	if text == "" {
		text = "-" // ntfy would write "triggered" into an empty one
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.Address, strings.NewReader(text))
	if err != nil {
		return outreach.Never(errors.New("ntfy: the topic's address is not a URL"))
	}
	h := r.Header
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Title", header(cut(n.title, maxTitle)))
	h.Set("Priority", n.priority)
	h.Set("Tags", header(n.tags))
	if n.click != "" {
		h.Set("Click", header(n.click))
	}
	if len(n.actions) > 0 {
		text, err := json.Marshal(n.actions)
		if err != nil {
			return outreach.Never(fmt.Errorf("ntfy: encode the buttons: %w", err))
		}
		h.Set("Actions", ascii(text))
	}
	// From 2.16 a server replaces a notification by a later one of the same sequence: a second try shows once, and the all-clear
	// takes the place of the fault. An older server shows both.
	h.Set("X-Sequence-ID", header(n.sequence))
	if to.Secret != "" {
		h.Set("Authorization", "Bearer "+header(to.Secret))
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return outreach.Transport("ntfy", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	return outreach.Status(resp.StatusCode, resp.Header.Get("Retry-After"), c.now())
}

// header makes any text fit for a header, as RFC 2047 says and ntfy reads it; text that only looks encoded is made to not.
func header(s string) string {
	return mime.QEncoding.Encode("utf-8", strings.ReplaceAll(strings.ToValidUTF8(s, ""), "=?", "= ?"))
}

// ascii writes JSON so that it may stand in a header: other characters as \u....
func ascii(text []byte) string {
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// cut shortens to so many characters, on one line.
func cut(s string, limit int) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-1]) + "…"
}

// cutBytes shortens to so many bytes of whole characters.
func cutBytes(s string, limit int) string {
	s = strings.ToValidUTF8(s, "")
	if len(s) <= limit {
		return s
	}
	s = s[:limit-len("…")]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}

// more stands below the title when the rest of the message stays at home.
func more(m fleet.Message) string {
	cleared := m.Topic == fleet.EventCleared || m.Topic == fleet.EventIncidentFixed || m.Topic == fleet.EventConfirmedFixed
	german := strings.HasPrefix(m.Locale, "de")
	switch {
	case german && cleared:
		return "Es ist nichts mehr zu tun."
	case cleared:
		return "There is nothing left to do."
	case german:
		return "Warum, und was jetzt zu tun ist, steht in Ihrem Posteingang."
	default:
		return "Why, and what to do now, is in your inbox."
	}
}

// priority maps what a message is about to ntfy's 1 (no sound) to 5 (rings on).
func priority(m fleet.Message) int {
	switch {
	case m.Topic == fleet.EventCleared || m.Topic == fleet.EventIncidentFixed:
		return 2
	case m.Subject == fleet.TopicSafety || m.Severity >= fleet.Danger:
		return 5
	case m.Subject == fleet.TopicFault || m.Severity == fleet.Fault:
		return 4
	case m.Subject == fleet.TopicTip || m.Subject == fleet.TopicReview:
		return 2
	case m.Subject == fleet.TopicWarranty || m.Subject == fleet.TopicMaintenance || m.Severity == fleet.Due:
		return 3
	default:
		return 2
	}
}
