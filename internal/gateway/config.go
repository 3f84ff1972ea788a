package gateway

import (
	"errors"
	"fmt"
	"time"
)

// Config says where the gateway listens and what a connection may use. Durations are wall clock.
type Config struct {
	Listen string    `mapstructure:"listen" help:"host:port of MQTT over plain TCP; empty: off"` // port 0 takes a free one
	TLS    TLSConfig `mapstructure:"tls"`
	WS     WSConfig  `mapstructure:"ws"`

	MaxClients       int           `mapstructure:"max_clients"`        // open connections, authenticated or not
	MaxPerDevice     int           `mapstructure:"max_per_device"`     // connections with one identity
	MaxPacket        int           `mapstructure:"max_packet"`         // bytes of any packet but CONNECT
	MaxConnect       int           `mapstructure:"max_connect"`        // bytes of a CONNECT packet
	MaxInflight      int           `mapstructure:"max_inflight"`       // unacknowledged QoS 1 messages a connection
	MaxSubscriptions int           `mapstructure:"max_subscriptions"`  // filters a connection
	MaxOutgoing      int           `mapstructure:"max_outgoing"`       // messages to a device that it has not acknowledged, a connection
	ConnectTimeout   time.Duration `mapstructure:"connect_timeout"`    // from accept to a complete CONNECT
	ConnectRate      float64       `mapstructure:"connect_rate"`       // connections a second from one address; 0: any number
	MaxSessionExpiry time.Duration `mapstructure:"max_session_expiry"` // how long a session outlives its connection
	MaxPause         time.Duration `mapstructure:"max_pause"`          // longest pause of a reader; half the keep-alive if that is shorter
	WriteTimeout     time.Duration `mapstructure:"write_timeout"`      // for a client that does not read
	DrainTimeout     time.Duration `mapstructure:"drain_timeout"`      // at the end: for acknowledgements still due
	ReadBuffer       int           `mapstructure:"read_buffer"`        // bytes a connection

	Limits Limits `mapstructure:"limits"`
}

// DefaultConfig listens on loopback and has every limit set.
func DefaultConfig() Config {
	return Config{
		Listen:           "127.0.0.1:1883",
		TLS:              TLSConfig{ClientAuth: "off", Identity: "cn", CRLPolicy: "refuse"},
		WS:               WSConfig{Path: "/mqtt"},
		MaxClients:       100_000,
		MaxPerDevice:     16,
		MaxPacket:        64 << 10,
		MaxConnect:       4 << 10,
		MaxInflight:      256,
		MaxSubscriptions: 8,
		MaxOutgoing:      64,
		ConnectTimeout:   5 * time.Second,
		MaxSessionExpiry: time.Hour,
		MaxPause:         time.Minute,
		WriteTimeout:     10 * time.Second,
		DrainTimeout:     2 * time.Second,
		ReadBuffer:       4 << 10,
		// Far above what a device reports, and enough for one that uploads what it has stored.
		Limits: Limits{DeviceMessages: 5_000, DeviceBytes: 8 << 20, TenantMessages: 100_000, TenantBytes: 64 << 20, Burst: 2 * time.Second},
	}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	errs = append(errs, c.validateTransports()...)
	for _, f := range []struct {
		name         string
		v, low, high int
	}{
		{"max_clients", c.MaxClients, 1, 10_000_000},
		{"max_per_device", c.MaxPerDevice, 1, 100_000},
		{"max_packet", c.MaxPacket, 128, 1 << 20},
		{"max_connect", c.MaxConnect, 128, 256 << 10},
		{"max_inflight", c.MaxInflight, 1, 65_535},
		{"max_subscriptions", c.MaxSubscriptions, 0, 1000},
		{"max_outgoing", c.MaxOutgoing, 1, 10_000},
		{"read_buffer", c.ReadBuffer, 256, 1 << 20},
	} {
		if f.v < f.low || f.v > f.high {
			errs = append(errs, fmt.Errorf("gateway.%s %d: want %d to %d", f.name, f.v, f.low, f.high))
		}
	}
	for _, f := range []struct {
		name string
		v    time.Duration
	}{
		{"connect_timeout", c.ConnectTimeout},
		{"max_session_expiry", c.MaxSessionExpiry},
		{"max_pause", c.MaxPause},
		{"write_timeout", c.WriteTimeout},
		{"drain_timeout", c.DrainTimeout},
	} {
		if f.v <= 0 || f.v > 30*24*time.Hour {
			errs = append(errs, fmt.Errorf("gateway.%s %s: want more than 0 and at most 720h", f.name, f.v))
		}
	}
	if c.ConnectRate < 0 {
		errs = append(errs, fmt.Errorf("gateway.connect_rate %v: want 0 (any number) or more", c.ConnectRate))
	}
	return errors.Join(append(errs, c.Limits.validate(c.MaxPacket))...)
}
