// Package egress is the one way out: the only HTTP client, and the only dialer of SMTP, that may call an address somebody
// typed in or a browser handed over (webhooks, ntfy, push services, Alertmanager, mail servers). It keeps such an address
// from reaching our own network: HTTPS only, few ports, no redirects, and the resolved IP address is checked at the moment of
// connecting, so that a name that resolves differently the second time gains nothing.
//
// It is not for calls to servers the operator configured (brokers, databases): those go where the configuration says.
// App, channels, api and web may import it. It imports the standard library only.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Config bounds what may be called and how long it may take.
type Config struct {
	// Allow lists "host:port" entries that may also be called over plain http and on loopback or private addresses: a
	// receiver under development, or an ntfy server in the same network. Link-local addresses, where clouds keep their
	// metadata, stay closed even then.
	Allow       []string      `mapstructure:"allow" help:"host:port entries that channels may also reach over plain http and on loopback or private addresses"`
	Ports       []int         `mapstructure:"ports" help:"ports that may be called, besides those in egress.allow"`
	Timeout     time.Duration `mapstructure:"timeout" help:"longest time of one call"`
	MaxResponse int64         `mapstructure:"max_response" help:"bytes of an answer that are read"`
	CAFile      string        `mapstructure:"ca_file" help:"PEM file of authorities that are trusted besides the system's: for receivers with certificates of your own"`
}

// DefaultConfig allows ports 443 and 8443, 20 s a call and 64 KiB of answer; nothing on our own network.
func DefaultConfig() Config {
	return Config{Ports: []int{443, 8443}, Timeout: 20 * time.Second, MaxResponse: 64 << 10}
}

// Validate names the field and the value of what is wrong.
func (c Config) Validate() error {
	var errs []error
	for i, a := range c.Allow {
		host, port, err := net.SplitHostPort(a)
		if err != nil || host == "" || port == "" {
			errs = append(errs, fmt.Errorf("egress.allow[%d] %q: want host:port", i, a))
		}
	}
	for i, p := range c.Ports {
		if p < 1 || p > 65535 {
			errs = append(errs, fmt.Errorf("egress.ports[%d] %d: want 1 to 65535", i, p))
		}
	}
	if c.Timeout <= 0 || c.Timeout > time.Minute {
		errs = append(errs, fmt.Errorf("egress.timeout %v: want more than 0 and at most 1m", c.Timeout))
	}
	if c.MaxResponse < 1 {
		errs = append(errs, fmt.Errorf("egress.max_response %d: want at least 1", c.MaxResponse))
	}
	if _, err := c.Roots(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Roots are the authorities that certificates of receivers are checked against; nil: the system's alone. The error names the
// setting and the file.
func (c Config) Roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("egress.ca_file %q: %w", c.CAFile, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without any
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("egress.ca_file %q: want certificates in PEM", c.CAFile)
	}
	return pool, nil
}

// Refused is the error for an address that may not be called. Trying again does not help.
type Refused struct {
	Address string // host, or IP address and port; never the whole URL, whose path may be a secret
	Reason  string
}

func (r *Refused) Error() string {
	return fmt.Sprintf("refused to call %q: %s", r.Address, r.Reason)
}

// perHost bounds the connections to one host: a receiver that hangs must not take all there are.
const perHost = 16

// New returns a client for addresses typed in by people. It is safe for concurrent use and keeps idle connections; call
// CloseIdleConnections at the end. A call that the rules forbid fails with a *Refused (errors.As); a redirect is returned
// as the answer it is; an answer longer than MaxResponse ends early with io.ErrUnexpectedEOF.
func New(c Config) *http.Client { return newClient(c, nil) }

func newClient(c Config, resolver *net.Resolver) *http.Client {
	d := dialer{config: c, resolver: resolver}
	roots, err := c.Roots()
	if err != nil {
		roots = x509.NewCertPool() // Validate says so at the start; a file that broke since must not widen trust
	}
	t := &http.Transport{
		Proxy:                  nil, // a proxy would resolve the name for us, unchecked
		DialContext:            d.dial,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost:    perHost / 2,
		MaxConnsPerHost:        perHost,
		IdleConnTimeout:        time.Minute,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  c.Timeout,
		MaxResponseHeaderBytes: 32 << 10,
		DisableCompression:     true, // so that MaxResponse bounds the work, not only the bytes on the wire
	}
	return &http.Client{
		Timeout:       c.Timeout,
		Transport:     &guard{config: c, next: t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// guard checks each request's URL and bounds its answer.
type guard struct {
	config Config
	next   *http.Transport
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.config.check(r.URL); err != nil {
		return nil, err
	}
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &bounded{ReadCloser: resp.Body, left: g.config.MaxResponse}
	return resp, nil
}

// CloseIdleConnections is what http.Client.CloseIdleConnections looks for.
func (g *guard) CloseIdleConnections() { g.next.CloseIdleConnections() }

type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}

// Check reports whether a URL may be called, as far as that can be said without resolving its name: what a form that takes
// an address asks before it saves it. The error is a *Refused.
func (c Config) Check(raw string) error {
	if len(raw) > 2048 {
		return &Refused{Reason: "the URL is longer than 2048 characters"}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return &Refused{Reason: "it is not a URL"} // url.Error quotes the URL, which may hold a secret
	}
	return c.check(u)
}

func (c Config) check(u *url.URL) error {
	host := u.Hostname()
	refuse := func(reason string) error { return &Refused{Address: host, Reason: reason} }
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return refuse("the URL must begin with https://")
	case u.User != nil:
		return refuse("the URL must not hold a user name or password")
	case host == "":
		return refuse("the URL has no host")
	case c.allowed(host, port):
		return nil
	case u.Scheme != "https":
		return refuse("only https is allowed")
	case !c.portAllowed(port):
		return refuse("port " + port + " is not allowed")
	}
	if reason := badHost(host); reason != "" {
		return refuse(reason)
	}
	return nil
}

func (c Config) allowed(host, port string) bool {
	return slices.ContainsFunc(c.Allow, func(a string) bool { return strings.EqualFold(a, net.JoinHostPort(host, port)) })
}

func (c Config) portAllowed(port string) bool {
	return slices.ContainsFunc(c.Ports, func(p int) bool { return fmt.Sprint(p) == port })
}

// Dial returns a function that connects as New's client does, for protocols other than HTTP (SMTP): the host must resolve to a
// public address, the port must be one of ports, and entries of Config.Allow lift both. The error is a *Refused (errors.As) or
// the network's. Encrypting is the caller's.
func Dial(c Config, ports ...int) func(ctx context.Context, network, address string) (net.Conn, error) {
	c.Ports = ports
	d := dialer{config: c}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, &Refused{Reason: "want host:port"}
		}
		if !c.allowed(host, port) {
			if reason := badHost(host); reason != "" {
				return nil, &Refused{Address: host, Reason: reason}
			}
		}
		return d.dial(ctx, network, address)
	}
}

// dialer connects after checking what the name resolved to.
type dialer struct {
	config   Config
	resolver *net.Resolver
}

func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ours := d.config.allowed(host, port)
	nd := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, Resolver: d.resolver}
	nd.Control = func(_, resolved string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(resolved)
		if err != nil {
			return &Refused{Address: resolved, Reason: "not an IP address"}
		}
		reason := Blocked(ap.Addr())
		if ours && (reason == loopback || reason == private) {
			reason = ""
		}
		if reason == "" && !ours && !d.config.portAllowed(fmt.Sprint(ap.Port())) {
			reason = fmt.Sprintf("port %d is not allowed", ap.Port())
		}
		if reason != "" {
			return &Refused{Address: resolved, Reason: reason}
		}
		return nil
	}
	return nd.DialContext(ctx, network, address)
}

// Permanent tells callers that do not import this package that trying again is of no use.
func (r *Refused) Permanent() bool { return true }
