// Package push sends messages to browsers: Web Push (RFC 8030) with a payload that only the browser can read (RFC 8291) and
// requests signed with the installation's key (VAPID, RFC 8292).
//
// The address of a subscription comes from a browser, thus from anybody: only known push services are called. App imports it; it
// imports fleet, outreach and, through the client it is given, egress's rules.
package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

const name = "push"

// Config says how push services find us and which are known.
type Config struct {
	KeyFile string   `mapstructure:"key_file" help:"file of the key that push requests are signed with; empty: vapid.key in the data folder; made when missing. All subscriptions are lost with it"`
	Contact string   `mapstructure:"contact" help:"whom a push service may write to, \"mailto:...\" or \"https://...\"; empty: owner.url. Apple's refuses messages without it"`
	Hosts   []string `mapstructure:"hosts" help:"hosts of push services besides those of Chrome, Firefox, Safari and Edge: \"push.example.org\", \"*.example.org\", or with a port"`
}

// DefaultConfig knows the browsers' services and no contact.
func DefaultConfig() Config { return Config{} }

// Validate names the field and the value of what is wrong.
func (c Config) Validate() error {
	var errs []error
	if !contactPattern.MatchString(c.Contact) {
		errs = append(errs, fmt.Errorf("push.contact %q: want \"mailto:...\" or \"https://...\"", c.Contact))
	}
	for i, h := range c.Hosts {
		if !hostPattern.MatchString(h) {
			errs = append(errs, fmt.Errorf("push.hosts[%d] %q: want a host, \"*.\" and a domain, or host:port", i, h))
		}
	}
	return errors.Join(errs...)
}

var contactPattern = regexp.MustCompile(`^$|^https://[^\s]+$|^mailto:[^\s@]+@[^\s@]+$`)

var hostPattern = regexp.MustCompile(`^(\*\.)?[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)+(:[0-9]{1,5})?$|^[a-zA-Z0-9_-]+:[0-9]{1,5}$`)

// Deps are what the channel works with.
type Deps struct {
	Key        Key
	Client     *http.Client          // of egress.New
	Now        func() time.Time      // stamps tokens
	Registerer prometheus.Registerer // nil: nothing is counted
}

// Channel is the push channel. It is safe for concurrent use.
type Channel struct {
	config    Config
	deps      Deps
	tokens    tokens
	shortened *prometheus.CounterVec
}

// New returns the channel. The configuration must be valid.
func New(c Config, d Deps) *Channel {
	return &Channel{config: c, deps: d, tokens: tokens{key: d.Key, contact: c.Contact},
		shortened: promauto.With(d.Registerer).NewCounterVec(prometheus.CounterOpts{Name: "aftercare_push_too_long_total",
			Help: "Push messages of which something was left out to fit (shortened), or that the push service refused as too large all the same (refused)."}, []string{"what"})}
}

// Name returns "push".
func (*Channel) Name() string { return name }

// Key is what a page gives to pushManager.subscribe.
func (c *Channel) Key() string { return c.deps.Key.Public() }

// Accepts says whether a subscription's address is one of a push service that is known; the error is CodeInvalid.
func (c *Channel) Accepts(endpoint string) error {
	_, err := c.config.origin(endpoint)
	return err
}

// Send encrypts the message for the subscription and posts it. 404 and 410 mean that the subscription is over.
func (c *Channel) Send(ctx context.Context, m fleet.Message, to fleet.Endpoint) error {
	origin, err := c.config.origin(to.Address)
	if err != nil {
		return outreach.Never(fmt.Errorf("push: %w", err))
	}
	sub, err := parseSecret(to.Secret)
	if err != nil {
		return outreach.Never(fmt.Errorf("push: %w", err))
	}
	text, shortened := compose(m)
	if shortened {
		c.shortened.WithLabelValues("shortened").Inc()
	}
	body, err := encrypt(text, sub)
	if err != nil {
		return outreach.Never(fmt.Errorf("push: %w", err))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.Address, bytes.NewReader(body))
	if err != nil {
		return outreach.Never(errors.New("push: the subscription's address is not a URL"))
	}
	auth, err := c.tokens.authorization(origin, c.deps.Now())
	if err != nil {
		return outreach.Again(fmt.Errorf("push: %w", err), 0)
	}
	r.Header.Set("Authorization", auth)
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("Content-Encoding", "aes128gcm")
	r.Header.Set("TTL", strconv.Itoa(ttl(m)))
	r.Header.Set("Urgency", urgency(m))
	if topicPattern.MatchString(m.Collapse) {
		r.Header.Set("Topic", m.Collapse)
	}
	resp, err := c.deps.Client.Do(r)
	if err != nil {
		return outreach.Transport(name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	switch resp.StatusCode {
	case http.StatusNotFound:
		return outreach.Gone(errors.New("push: the subscription does not exist any more (404)"))
	case http.StatusRequestEntityTooLarge:
		c.shortened.WithLabelValues("refused").Inc()
	}
	return outreach.Status(resp.StatusCode, resp.Header.Get("Retry-After"), c.deps.Now())
}

// topicPattern is what RFC 8030 section 5.4 allows.
var topicPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// A message without a time of its own is kept for a day; push services keep nothing for longer than four weeks.
const (
	defaultTTL = 24 * time.Hour
	maxTTL     = 28 * 24 * time.Hour
)

// ttl is for how many seconds a push service keeps the message for a browser that is away (RFC 8030 section 5.2).
func ttl(m fleet.Message) int {
	d := m.TTL
	if d <= 0 {
		d = defaultTTL
	}
	return int(min(d, maxTTL) / time.Second)
}

// urgency says what a phone may be woken up for (RFC 8030 section 5.3).
func urgency(m fleet.Message) string {
	switch {
	case m.Topic == fleet.EventCleared:
		return "low"
	case m.Subject == fleet.TopicSafety || m.Severity >= fleet.Danger:
		return "high"
	case m.Subject == fleet.TopicTip || m.Subject == fleet.TopicReview:
		return "low"
	default:
		return "normal"
	}
}
