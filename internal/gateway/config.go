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

	MaxClients       int           `mapstructure:"max_clients" help:"most open connections at a time, logged in or not"`
	MaxPerDevice     int           `mapstructure:"max_per_device" help:"most connections at a time of one device"`
	MaxPacket        int           `mapstructure:"max_packet" help:"bytes of a packet other than CONNECT; a larger one ends the connection; raise it for devices that send large batches"`
	MaxConnect       int           `mapstructure:"max_connect" help:"bytes of a CONNECT packet, the only thing read from somebody unknown"`
	MaxInflight      int           `mapstructure:"max_inflight" help:"messages of one connection that wait for their acknowledgement; then it is read no further until some are answered"`
	MaxSubscriptions int           `mapstructure:"max_subscriptions" help:"topic filters of one connection"`
	MaxOutgoing      int           `mapstructure:"max_outgoing" help:"messages to one connection that the device has not acknowledged; then commands wait"`
	ConnectTimeout   time.Duration `mapstructure:"connect_timeout" help:"time from accept to a complete CONNECT, TLS handshake included"`
	ConnectRate      float64       `mapstructure:"connect_rate" help:"new connections a second from one address; 0: any number, right where devices share an address"`
	MaxSessionExpiry time.Duration `mapstructure:"max_session_expiry" help:"longest time that a session outlives its connection, whatever the device asks for"`
	MaxPause         time.Duration `mapstructure:"max_pause" help:"a device that cannot be read for so long (busy or full server) is disconnected; at most half its keep-alive"`
	WriteTimeout     time.Duration `mapstructure:"write_timeout" help:"a device that does not read its acknowledgements for so long is disconnected"`
	DrainTimeout     time.Duration `mapstructure:"drain_timeout" help:"when the server stops: how long to wait for acknowledgements that are still due"`
	ReadBuffer       int           `mapstructure:"read_buffer" help:"bytes read at once from a connection; memory of each busy connection"`

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
