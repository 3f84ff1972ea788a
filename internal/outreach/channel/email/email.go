// Package email sends messages by SMTP: text and HTML in one mail, with the chart as a picture inside, one-click unsubscribing
// (RFC 8058) and files such as a calendar's entry. It hands them to one mail server, which the configuration names and which
// signs (DKIM) and delivers.
//
// Each message makes one connection and is tried once; retrying is outreach's. App imports it; it imports fleet, outreach and
// egress, through which it connects.
package email

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/mail"
	"net/textproto"
	"strings"
	"sync"
	"time"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	"aftercare/internal/egress"
	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

// How the connection to the mail server is encrypted.
const (
	StartTLS = "starttls" // after the greeting, on port 587; a server without it is refused
	Implicit = "implicit" // from the first byte, on port 465
	Plain    = "none"     // not at all: for a server on this host
)

// Config names the mail server. Without a host there is no such channel.
type Config struct {
	Host     string       `mapstructure:"host" help:"mail server that takes the e-mails; empty: none are sent"`
	Port     int          `mapstructure:"port" help:"its port: 587 with starttls, 465 with implicit"`
	TLS      string       `mapstructure:"tls" help:"starttls, implicit, or none for a server on this host"`
	User     string       `mapstructure:"user" help:"name to log in with; empty: no log-in"`
	Password fleet.Secret `mapstructure:"password" help:"its password; better AFTERCARE_EMAIL_PASSWORD than a file"`
	From     string       `mapstructure:"from" help:"sender: Aftercare <care@example.org>"`
	ReplyTo  string       `mapstructure:"reply_to" help:"where answers go; empty: to the sender"`
	Hello    string       `mapstructure:"hello" help:"name this host greets with; empty: the sender's domain"`
}

// DefaultConfig has no server.
func DefaultConfig() Config { return Config{Port: 587, TLS: StartTLS} }

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	if c.Host == "" {
		return nil
	}
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("email."+format, args...))
		}
	}
	local := c.Host == "localhost" || net.ParseIP(c.Host).IsLoopback()
	bad(strings.ContainsAny(c.Host, " /:@") && net.ParseIP(c.Host) == nil, "host %q: want a host name alone", c.Host)
	bad(c.Port < 1 || c.Port > 65535, "port %d: want 1 to 65535", c.Port)
	bad(c.TLS != StartTLS && c.TLS != Implicit && c.TLS != Plain, "tls %q: want starttls, implicit or none", c.TLS)
	bad(c.TLS == Plain && !local, "tls %q: only for a server on this host, not for %q", c.TLS, c.Host)
	bad((c.User == "") != (c.Password == ""), "user %q: want user and password, or neither", c.User)
	_, err := address(c.From)
	bad(err != nil, "from %q: want an address: Aftercare <care@example.org>", c.From)
	if c.ReplyTo != "" {
		_, err = address(c.ReplyTo)
		bad(err != nil, "reply_to %q: want an address", c.ReplyTo)
	}
	bad(strings.ContainsFunc(c.Hello, func(r rune) bool { return r <= ' ' || r > '~' }), "hello %q: want a host name", c.Hello)
	return errors.Join(errs...)
}

// Deps are what the channel works with.
type Deps struct {
	Egress egress.Config // which addresses may be called: with egress.allow a server in one's own network
	Now    func() time.Time
	Log    *slog.Logger                                        // nil: silent
	Say    func(op fleet.Operation) (title, body, html string) // puts into words what operators are told; nil: its summary and detail
}

// Channel is the e-mail channel. It is safe for concurrent use.
type Channel struct {
	config Config
	say    func(op fleet.Operation) (title, body, html string)
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	roots  *x509.CertPool
	now    func() time.Time
	log    *slog.Logger

	mu      sync.Mutex
	refused bool // the server refused the log-in the last time: said once
}

// New returns the channel. The configuration must be valid and name a host. The error is about the authorities' file that egress
// names.
func New(c Config, d Deps) (*Channel, error) {
	roots, err := d.Egress.Roots()
	if err != nil {
		return nil, fmt.Errorf("email: %w", err)
	}
	if d.Say == nil {
		d.Say = func(op fleet.Operation) (title, body, html string) { return op.Summary, op.Detail, "" }
	}
	return &Channel{config: c, say: d.Say, dial: egress.Dial(d.Egress, 25, 465, 587, 2525), roots: roots, now: d.Now, log: d.Log}, nil
}

// Name returns "email".
func (*Channel) Name() string { return "email" }

// Send hands the message to the mail server. That it was taken is all that is known: what does not arrive comes back to the
// sender's address.
func (c *Channel) Send(ctx context.Context, m fleet.Message, to fleet.Endpoint) error {
	rcpt, err := address(to.Address)
	if err != nil {
		return outreach.Never(errors.New("email: the person's address is not one"))
	}
	msg, err := c.build(m, rcpt)
	if err != nil {
		return outreach.Never(fmt.Errorf("email: the message cannot be written: %w", err))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := gomail.NewClient(c.config.Host, c.options(ctx)...)
	if err != nil {
		return outreach.Never(fmt.Errorf("email: the mail server is set up wrong: %w", err))
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return c.connecting(ctx, err)
	}
	c.loggedIn()
	err = client.SendWithSMTPClient(session, msg)
	if msg.IsDelivered() { // whatever went wrong after that
		_ = session.UpdateDeadline(time.Second)
		_ = session.Quit()
		_ = session.Close()
		return nil
	}
	_ = session.Close()
	return sending(ctx, err)
}

// Operate sends what operators are told.
func (c *Channel) Operate(ctx context.Context, op fleet.Operation, to fleet.Endpoint) error {
	m := fleet.Message{ID: outreach.OperationKey(op), URL: op.URL, At: op.At}
	m.Title, m.Body, m.HTML = c.say(op)
	return c.Send(ctx, m, to)
}

// sessionTime bounds a whole session where the context does not.
const sessionTime = time.Minute

func (c *Channel) options(ctx context.Context) []gomail.Option {
	t := &tls.Config{ServerName: c.config.Host, RootCAs: c.roots, MinVersion: tls.VersionTLS12}
	hello := c.config.Hello
	if hello == "" {
		hello = c.domain()
	}
	o := []gomail.Option{gomail.WithPort(c.config.Port), gomail.WithHELO(hello), gomail.WithTimeout(sessionTime), gomail.WithTLSConfig(t),
		gomail.WithoutNoop(), gomail.WithoutRset(), gomail.WithTLSPolicy(gomail.NoTLS)}
	if c.config.TLS == StartTLS {
		o = append(o, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if c.config.User != "" {
		o = append(o, gomail.WithUsername(c.config.User), gomail.WithPassword(string(c.config.Password)),
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthPlain, gomail.SMTPAuthLogin))
	}
	return append(o, gomail.WithDialContextFunc(func(dialing context.Context, network, address string) (net.Conn, error) {
		raw, err := c.dial(dialing, network, address)
		if err != nil {
			return nil, err
		}
		guarded := guard(ctx, raw)
		if c.config.TLS != Implicit {
			return guarded, nil
		}
		conn := tls.Client(guarded, t)
		if err := conn.HandshakeContext(dialing); err != nil {
			_ = raw.Close()
			return nil, err
		}
		return conn, nil
	}))
}

// connecting classifies what failed before the message was spoken of. All of it can be put right on one side or the other: a
// password, a certificate, a server that is down.
func (c *Channel) connecting(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return outreach.Transport("email", ctx.Err())
	}
	var answer *textproto.Error
	if !errors.As(err, &answer) {
		return outreach.Transport("email", err)
	}
	switch answer.Code {
	case 530, 534, 535, 538, 432, 454:
		c.mu.Lock()
		first := !c.refused
		c.refused = true
		c.mu.Unlock()
		if first && c.log != nil {
			c.log.Error("the mail server refuses the log-in: no e-mail leaves until email.user and email.password are right", "host", c.config.Host, "code", answer.Code)
		}
		return outreach.Again(fmt.Errorf("email: the mail server refuses the log-in (%d)", answer.Code), 0)
	}
	return outreach.Again(fmt.Errorf("email: the mail server answered %d before it took a message", answer.Code), 0)
}

func (c *Channel) loggedIn() {
	c.mu.Lock()
	again := c.refused
	c.refused = false
	c.mu.Unlock()
	if again && c.log != nil {
		c.log.Info("the mail server takes e-mails again", "host", c.config.Host)
	}
}

// sending classifies what the server said to the message: 4xx may pass (greylisting, a full box), a recipient that does not exist
// is gone, any other 5xx is about this message and stays so. The server's own words are not repeated: they often quote the address.
func sending(ctx context.Context, err error) error {
	var said *gomail.SendError
	if !errors.As(err, &said) || said.ErrorCode() == 0 {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return outreach.Transport("email", err)
	}
	code, enhanced := said.ErrorCode(), said.EnhancedStatusCode()
	out := fmt.Errorf("email: the mail server answered %d%s to %s", code, spaced(enhanced), step(said.Reason))
	switch {
	case code < 500, enhanced == "5.2.2": // a box that is full is emptied some day
		return outreach.Again(out, 0)
	case said.Reason != gomail.ErrSMTPRcptTo:
		return outreach.Never(out)
	case code == 552: // RFC 5321, 4.5.3.1.10: to be taken as temporary
		return outreach.Again(out, 0)
	case (code == 550 || code == 551 || code == 553) && (enhanced == "" || strings.HasPrefix(enhanced, "5.1.")):
		return outreach.Gone(out)
	default: // policy: the address may be right
		return outreach.Never(out)
	}
}

func spaced(s string) string {
	if s == "" {
		return ""
	}
	return " " + s
}

func step(r gomail.SendErrReason) string {
	switch r {
	case gomail.ErrSMTPMailFrom:
		return "the sender"
	case gomail.ErrSMTPRcptTo:
		return "the recipient"
	default:
		return "the message"
	}
}

// maxAddress is the longest address there may be (RFC 5321).
const maxAddress = 254

// address reads an address, alone or with a name before it.
func address(s string) (*mail.Address, error) {
	if strings.ContainsFunc(s, unicode.IsControl) || len(s) > 2*maxAddress {
		return nil, errors.New("it is not an address")
	}
	a, err := mail.ParseAddress(s)
	if err != nil {
		return nil, err
	}
	at := strings.LastIndexByte(a.Address, '@')
	if at < 1 || len(a.Address) > maxAddress || strings.ContainsAny(a.Address, " \t<>\"\\()") {
		return nil, errors.New("it is not an address")
	}
	return a, nil
}
