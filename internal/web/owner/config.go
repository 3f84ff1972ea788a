package owner

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config says where the owners' pages answer and how they are reached from outside.
type Config struct {
	Listen  string        `mapstructure:"listen" help:"host:port of the owners' pages; they are the only pages there"`
	URL     string        `mapstructure:"url" help:"public address of the owners' pages, such as https://care.example.org: links in messages begin with it; empty: http:// and owner.listen"`
	Name    string        `mapstructure:"name" help:"whose pages they are: the brand as owners know it"`
	Contact string        `mapstructure:"contact" help:"how owners reach a person: a telephone number or an e-mail address; empty: nothing is said of it"`
	TLS     TLS           `mapstructure:"tls"`
	Proxy   []string      `mapstructure:"proxy" help:"addresses or networks of the reverse proxy in front, whose X-Forwarded-For and X-Forwarded-Proto are believed"`
	Session time.Duration `mapstructure:"session" help:"how long an owner stays signed in on a browser"`
	Tries   int           `mapstructure:"tries" help:"wrong claim codes and links an hour from one address, or by one person, before they have to wait"`
}

// TLS is how the listener itself speaks https. Without any of it, it speaks http: for this machine, or behind a proxy.
type TLS struct {
	Cert string `mapstructure:"cert" help:"file with the certificate and its chain (PEM); read again when it changes"`
	Key  string `mapstructure:"key" help:"file with the certificate's key (PEM)"`
	ACME ACME   `mapstructure:"acme"`
}

// ACME gets certificates by itself (RFC 8555, TLS-ALPN-01): owner.listen has to be what port 443 of the names leads to.
type ACME struct {
	Domains   []string `mapstructure:"domains" help:"names to get certificates for from an ACME authority; empty: none"`
	Email     string   `mapstructure:"email" help:"where the authority writes when something is wrong; may be empty"`
	Directory string   `mapstructure:"directory" help:"the authority's directory URL; empty: Let's Encrypt"`
	Cache     string   `mapstructure:"cache" help:"folder of the certificates and the account's key; empty: acme in the data folder"`
}

// DefaultConfig answers on this machine only, 180 days a session, ten wrong codes an hour.
func DefaultConfig() Config {
	return Config{Listen: "127.0.0.1:8081", Name: "aftercare", Session: 180 * 24 * time.Hour, Tries: 10}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		bad("owner.listen %q: want address:port: %w", c.Listen, err)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		bad("owner.listen %q: the port is a number up to 65535: %w", c.Listen, err)
	}
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "") {
		bad("owner.url %q: want https://name, or https://name:port, and nothing behind it", c.URL)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		bad("owner.tls: want cert and key, or neither")
	}
	if c.TLS.Cert != "" && len(c.TLS.ACME.Domains) > 0 {
		bad("owner.tls: want files or acme, not both")
	}
	errs = append(errs, c.TLS.ACME.validate())
	if _, err := c.proxies(); err != nil {
		errs = append(errs, err)
	}
	if err == nil && !local(host) {
		if c.URL == "" {
			bad("owner.url: want the public address, as https://care.example.org, because owner.listen %q is open to others", c.Listen)
		}
		if !c.secure() && len(c.Proxy) == 0 {
			bad("owner.listen %q is open to others without encryption: set owner.tls, or name the proxy in front in owner.proxy", c.Listen)
		}
	}
	if strings.TrimSpace(c.Name) == "" || len(c.Name) > 40 {
		bad("owner.name %q: want the brand's name, at most 40 characters", c.Name)
	}
	if c.Session < time.Hour || c.Session > 2*366*24*time.Hour {
		bad("owner.session %v: want 1h to two years (17568h)", c.Session)
	}
	if c.Tries < 1 || c.Tries > 1000 {
		bad("owner.tries %d: want 1 to 1000", c.Tries)
	}
	return errors.Join(errs...)
}

func (a ACME) validate() error {
	var errs []error
	for _, d := range a.Domains {
		if d == "" || strings.ContainsAny(d, " /:*") || net.ParseIP(d) != nil {
			errs = append(errs, fmt.Errorf("owner.tls.acme.domains %q: want a name, as care.example.org", d))
		}
	}
	if _, err := mail.ParseAddress(a.Email); a.Email != "" && err != nil {
		errs = append(errs, fmt.Errorf("owner.tls.acme.email %q: %w", a.Email, err))
	}
	if u, err := url.Parse(a.Directory); a.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		errs = append(errs, fmt.Errorf("owner.tls.acme.directory %q: want an https address", a.Directory))
	}
	return errors.Join(errs...)
}

// secure reports whether the listener itself speaks https.
func (c Config) secure() bool { return c.TLS.Cert != "" || len(c.TLS.ACME.Domains) > 0 }

// Public is the address that owners use, without a slash at its end. address is what the listener got, for a port of 0; empty:
// what is configured.
func (c Config) Public(address string) string {
	if c.URL != "" {
		return strings.TrimRight(c.URL, "/")
	}
	if address == "" {
		address = c.Listen
	}
	if c.secure() {
		return "https://" + address
	}
	return "http://" + address
}

// PushTrouble says in one sentence why no phone can be pushed to; empty when all is well.
func (c Config) PushTrouble() string {
	u, err := url.Parse(c.Public(""))
	if err != nil || c.Validate() != nil {
		return "" // a mistake, which has been named
	}
	_, port, _ := net.SplitHostPort(c.Listen)
	domains := c.TLS.ACME.Domains
	switch {
	case u.Scheme == "http" && !localName(u.Hostname()):
		return fmt.Sprintf("owners cannot be pushed to: browsers allow it on https only, and owner.url is %q", c.URL)
	case u.Scheme == "https" && !c.secure() && len(c.Proxy) == 0:
		return fmt.Sprintf("owners cannot be pushed to: owner.url %q is https, but owner.listen speaks http and no proxy is named in owner.proxy", c.URL)
	case u.Scheme == "http" && c.secure():
		return fmt.Sprintf("owners cannot be pushed to: owner.listen speaks https, but owner.url is %q", c.URL)
	case len(domains) > 0 && !slices.Contains(domains, u.Hostname()):
		return fmt.Sprintf("owners cannot be pushed to: owner.url is %q, but certificates are for %s (owner.tls.acme.domains)", c.URL, strings.Join(domains, ", "))
	case u.Scheme == "http" && len(c.Proxy) == 0 && u.Port() != port && port != "0":
		return fmt.Sprintf("owners cannot be pushed to: owner.url %q leads to another port than owner.listen %q", c.URL, c.Listen)
	case u.Scheme == "http":
		return fmt.Sprintf("owners can be pushed to on this machine only: no phone reaches %s (owner.url)", c.Public(""))
	}
	return ""
}

// proxies are the networks that are believed.
func (c Config) proxies() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, p := range c.Proxy {
		if a, err := netip.ParseAddr(p); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		n, err := netip.ParsePrefix(p)
		if err != nil {
			return nil, fmt.Errorf("owner.proxy %q: want an address or a network, as 10.0.0.0/8", p)
		}
		out = append(out, n.Masked())
	}
	return out, nil
}

// localName reports whether a name is this machine to a browser, which then allows on http what else wants https.
func localName(host string) bool {
	return local(host) || strings.HasSuffix(strings.ToLower(host), ".localhost")
}

func local(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
