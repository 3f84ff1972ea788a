package bridge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Config says which broker to read from.
type Config struct {
	Enabled        bool          `mapstructure:"enabled" help:"read from a broker that is already there; configs/bridge/README.md says what to set there"`
	URL            string        `mapstructure:"url" help:"that broker: tcp://host:1883, or ssl://host:8883 for TLS"`
	ClientID       string        `mapstructure:"client_id" help:"name of our session there; keep it, and give each bridge its own"`
	Username       string        `mapstructure:"username" help:"our user name there"`
	Password       fleet.Secret  `mapstructure:"password" help:"our password there; better AFTERCARE_BRIDGE_PASSWORD than a flag"`
	CA             string        `mapstructure:"ca" help:"PEM file of the CAs that may sign the broker's certificate; empty: those the system knows"`
	Cert           string        `mapstructure:"cert" help:"PEM file of our certificate, if the broker asks for one"`
	Key            string        `mapstructure:"key" help:"PEM file of the private key of bridge.cert"`
	Topics         []string      `mapstructure:"topics" help:"topic filters to read; add spBv1.0/+/+/# for Sparkplug B; never those commands go out on"`
	Share          string        `mapstructure:"share" help:"group of bridges that share the messages ($share); empty: this one gets all"`
	KeepAlive      time.Duration `mapstructure:"keep_alive" help:"longest silence on the connection before the broker is asked whether it is there"`
	ConnectTimeout time.Duration `mapstructure:"connect_timeout" help:"longest time of one try to connect"`
	WriteTimeout   time.Duration `mapstructure:"write_timeout" help:"longest time of one write to the broker"`
	MaxReconnect   time.Duration `mapstructure:"max_reconnect" help:"longest pause between tries to connect"`
	SilentAfter    time.Duration `mapstructure:"silent_after" help:"connected without a message for so long: a warning and a metric"`
	DrainTimeout   time.Duration `mapstructure:"drain_timeout" help:"when the server stops: how long to wait for acknowledgements that are still due"`
	Queue          int           `mapstructure:"queue" help:"messages received and not yet answered"`
	StateFile      string        `mapstructure:"state_file" help:"file that remembers what was subscribed; empty: bridge.json in the data folder"`
}

// DefaultConfig is disabled and reads all topics that devices publish to. For Sparkplug B add "spBv1.0/+/+/#".
func DefaultConfig() Config {
	return Config{
		ClientID: "aftercare-bridge",
		Topics: []string{ // no "+" for the last part: commands go out below the same prefix and would come back
			"devices/+/+/+/telemetry", "devices/+/+/+/event", "devices/+/+/+/status", "devices/+/+/+/reply"},
		KeepAlive:      30 * time.Second,
		ConnectTimeout: 10 * time.Second,
		WriteTimeout:   10 * time.Second,
		MaxReconnect:   15 * time.Second,
		SilentAfter:    10 * time.Minute,
		DrainTimeout:   2 * time.Second,
		Queue:          100_000, // QoS 1 alone cannot have more than 65,535 in flight
	}
}

// Validate names the field and the value of everything that is wrong. A disabled bridge needs nothing.
func (c Config) Validate() error {
	if !c.Enabled {
		return nil
	}
	var errs []error
	if err := c.validateURL(); err != nil {
		errs = append(errs, err)
	}
	if c.ClientID == "" {
		errs = append(errs, fmt.Errorf("bridge.client_id %q: a persistent session needs one", c.ClientID))
	}
	if c.Password != "" && c.Username == "" {
		errs = append(errs, fmt.Errorf("bridge.username %q: MQTT 3.1.1 sends no password without one", c.Username))
	}
	if len(c.Topics) == 0 {
		errs = append(errs, fmt.Errorf("bridge.topics %q: want at least one", c.Topics))
	}
	for _, t := range c.Topics {
		if !validFilter(t) {
			errs = append(errs, fmt.Errorf("bridge.topics %q: want a topic filter without $ (share names the group)", t))
		}
	}
	if (c.Cert == "") != (c.Key == "") {
		errs = append(errs, fmt.Errorf("bridge.cert %q, bridge.key %q: want both or none", c.Cert, c.Key))
	}
	if u, err := url.Parse(c.URL); err == nil && !schemes[u.Scheme] && (c.CA != "" || c.Cert != "") {
		errs = append(errs, fmt.Errorf("bridge.url %q: certificates want ssl://", c.URL))
	}
	if strings.ContainsAny(c.Share, "/+#") {
		errs = append(errs, fmt.Errorf("bridge.share %q: must not contain '/', '+' or '#'", c.Share))
	}
	for _, f := range []struct {
		name   string
		v, low time.Duration
	}{
		{"keep_alive", c.KeepAlive, time.Second},
		{"connect_timeout", c.ConnectTimeout, time.Millisecond},
		{"write_timeout", c.WriteTimeout, time.Millisecond},
		{"max_reconnect", c.MaxReconnect, time.Millisecond},
		{"silent_after", c.SilentAfter, time.Second},
		{"drain_timeout", c.DrainTimeout, time.Millisecond},
	} {
		if f.v < f.low || f.v > 24*time.Hour {
			errs = append(errs, fmt.Errorf("bridge.%s %s: want %s to 24h", f.name, f.v, f.low))
		}
	}
	if c.Queue < 1 || c.Queue > 10_000_000 {
		errs = append(errs, fmt.Errorf("bridge.queue %d: want 1 to 10000000", c.Queue))
	}
	return errors.Join(errs...)
}

func (c Config) validateURL() error {
	u, err := url.Parse(c.URL)
	if err != nil {
		return fmt.Errorf("bridge.url: %w", err)
	}
	if u.User != nil {
		return fmt.Errorf("bridge.url %q: put user name and password into bridge.username and bridge.password", u.Redacted())
	}
	if _, known := schemes[u.Scheme]; !known || u.Hostname() == "" || u.Port() == "" {
		return fmt.Errorf("bridge.url %q: want tcp://host:port or ssl://host:port", c.URL)
	}
	return nil
}

// schemes says which URLs are encrypted.
var schemes = map[string]bool{"tcp": false, "mqtt": false, "ssl": true, "tls": true, "mqtts": true}

// tls reads the certificates. There is no way to leave out the check of the broker's.
func (c Config) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("bridge.ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("bridge.ca %q: no certificate in it", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("bridge.cert %q, bridge.key %q: %w", c.Cert, c.Key, err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// filters are the topic filters as subscribed, all with QoS 1.
func (c Config) filters() map[string]byte {
	out := make(map[string]byte, len(c.Topics))
	for _, f := range c.shared(c.Topics) {
		out[f] = 1
	}
	return out
}

// shared are filters as subscribed by the group of bridges, if there is one.
func (c Config) shared(filters []string) []string {
	out := slices.Clone(filters)
	if c.Share != "" {
		for i := range out {
			out[i] = "$share/" + c.Share + "/" + out[i]
		}
	}
	return out
}

// wants reports whether a topic is one we asked for.
func (c Config) wants(topic string) bool {
	for _, f := range c.Topics {
		if matches(f, topic) {
			return true
		}
	}
	return false
}
