package gateway

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"aftercare/internal/fleet"
)

// TLSConfig is about MQTT over TLS, and about WebSocket over TLS, which uses the same certificate and the same rules. All files
// are read again when they change.
type TLSConfig struct {
	Listen string `mapstructure:"listen" help:"host:port of MQTT over TLS; empty: off"`
	Cert   string `mapstructure:"cert" help:"PEM file with the server's certificate, then those between it and its CA; read again when it changes"`
	Key    string `mapstructure:"key" help:"PEM file with the private key of gateway.tls.cert"`

	ClientCA   string   `mapstructure:"client_ca" help:"PEM file with the CA certificates that sign devices' certificates; each of them is trusted"`
	ClientAuth string   `mapstructure:"client_auth" help:"certificates of devices: off, optional (certificate or password) or required (no password)"`
	Identity   string   `mapstructure:"identity" help:"where a certificate says which device it is: cn, san_dns, san_uri or san_email; the value is tenant/serial, or serial with gateway.tls.tenant"`
	Tenant     string   `mapstructure:"tenant" help:"tenant of certificates that name a serial only; empty: they must name tenant/serial"`
	AnyPurpose bool     `mapstructure:"any_purpose" help:"also take certificates of devices without the extended key usage clientAuth"`
	CRL        []string `mapstructure:"crl" help:"files of revocation lists, PEM or DER, of the CAs in gateway.tls.client_ca; read again when they change; empty: revocation is not looked up"`
	CRLPolicy  string   `mapstructure:"crl_policy" help:"certificates of a CA that has no revocation list in force: refuse new connections, or warn and take them"`
}

// WSConfig is about MQTT over WebSocket.
type WSConfig struct {
	Listen    string   `mapstructure:"listen" help:"host:port of MQTT over WebSocket; empty: off"`
	TLSListen string   `mapstructure:"tls_listen" help:"host:port of MQTT over WebSocket over TLS; empty: off"`
	Path      string   `mapstructure:"path" help:"path of the WebSocket"`
	Origins   []string `mapstructure:"origins" help:"web origins whose pages may connect, such as https://app.example.com; empty: no web page at all"`
}

func (c Config) validateTransports() (errs []error) {
	for t := range transports {
		address := c.address(t)
		if _, _, err := net.SplitHostPort(address); err != nil && address != "" {
			errs = append(errs, fmt.Errorf("%s %q: want host:port, or nothing: %w", t.key(), address, err))
		}
	}
	if c.usesTLS() {
		for key, v := range map[string]string{"cert": c.TLS.Cert, "key": c.TLS.Key} {
			if v == "" {
				errs = append(errs, fmt.Errorf("gateway.tls.%s %q: want a file, because a TLS address is set", key, v))
			}
		}
	}
	if !strings.HasPrefix(c.WS.Path, "/") {
		errs = append(errs, fmt.Errorf("gateway.ws.path %q: want a path that begins with /", c.WS.Path))
	}
	for _, o := range c.WS.Origins {
		if u, err := url.Parse(o); err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			errs = append(errs, fmt.Errorf("gateway.ws.origins %q: want scheme://host[:port]", o))
		}
	}
	return append(errs, c.TLS.validateClients()...)
}

func (c Config) usesTLS() bool { return c.TLS.Listen != "" || c.WS.TLSListen != "" }

func (c TLSConfig) validateClients() (errs []error) {
	for _, f := range []struct {
		key, v string
		want   []string
	}{
		{"client_auth", c.ClientAuth, []string{"off", "optional", "required"}},
		{"identity", c.Identity, []string{"cn", "san_dns", "san_uri", "san_email"}},
		{"crl_policy", c.CRLPolicy, []string{"refuse", "warn"}},
	} {
		if !slices.Contains(f.want, f.v) {
			errs = append(errs, fmt.Errorf("gateway.tls.%s %q: want one of %s", f.key, f.v, strings.Join(f.want, ", ")))
		}
	}
	if c.ClientAuth != "off" && c.ClientCA == "" {
		errs = append(errs, fmt.Errorf("gateway.tls.client_ca %q: want a file, because gateway.tls.client_auth is %s", c.ClientCA, c.ClientAuth))
	}
	if len(c.CRL) > 0 && c.ClientAuth == "off" {
		errs = append(errs, fmt.Errorf("gateway.tls.crl %q: is of no use while gateway.tls.client_auth is off", c.CRL))
	}
	if c.Tenant != "" && !fleet.ValidName(c.Tenant) {
		errs = append(errs, fmt.Errorf("gateway.tls.tenant %q: is not a name", c.Tenant))
	}
	return errs
}
