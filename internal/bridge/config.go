package bridge

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Config says which broker to read from.
type Config struct {
	Enabled        bool          `mapstructure:"enabled"`
	URL            string        `mapstructure:"url"`       // tcp://host:1883 or ssl://host:8883
	ClientID       string        `mapstructure:"client_id"` // stable; several bridges need one each
	Username       string        `mapstructure:"username"`
	Password       fleet.Secret  `mapstructure:"password"`
	Topics         []string      `mapstructure:"topics"`
	Share          string        `mapstructure:"share"` // group of bridges that share the subscription ($share); empty: alone
	KeepAlive      time.Duration `mapstructure:"keep_alive"`
	ConnectTimeout time.Duration `mapstructure:"connect_timeout"`
	WriteTimeout   time.Duration `mapstructure:"write_timeout"`
	MaxReconnect   time.Duration `mapstructure:"max_reconnect"` // longest wait between tries
	SilentAfter    time.Duration `mapstructure:"silent_after"`  // connected without a message for so long: warn
	DrainTimeout   time.Duration `mapstructure:"drain_timeout"` // at the end: for acknowledgements still due
	Queue          int           `mapstructure:"queue"`         // messages received and not yet answered
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
		if t == "" || strings.HasPrefix(t, "$") {
			errs = append(errs, fmt.Errorf("bridge.topics %q: want a plain filter (share names the group)", t))
		}
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

// filters are the topic filters as subscribed, all with QoS 1.
func (c Config) filters() map[string]byte {
	out := make(map[string]byte, len(c.Topics))
	for _, t := range c.Topics {
		if c.Share != "" {
			t = "$share/" + c.Share + "/" + t
		}
		out[t] = 1
	}
	return out
}
