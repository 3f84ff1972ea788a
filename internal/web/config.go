package web

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Config says where and how the pages answer.
type Config struct {
	Listen  string       `mapstructure:"listen" help:"loopback host:port of pages, API and metrics"`
	Hosts   []string     `mapstructure:"hosts" help:"further names accepted in the Host header, as name (any port) or name:port"`
	Token   fleet.Secret `mapstructure:"token" help:"token of the link that the server prints, at least 26 random characters; empty: one is made and kept in the data folder"`
	Tenant  string       `mapstructure:"tenant" help:"whose fleet the pages show"`
	Zone    string       `mapstructure:"zone" help:"time zone of the desk, such as Europe/Berlin; empty: the machine's"`
	Locale  string       `mapstructure:"locale" help:"language of the pages: auto (what the browser asks for), en or de"`
	MaxLive int          `mapstructure:"max_live" help:"most open live connections of browsers; one more is asked to come again"`
}

// DefaultConfig answers on 127.0.0.1:8080 for the tenant demo, in the browser's language and the machine's time zone.
func DefaultConfig() Config {
	return Config{Listen: "127.0.0.1:8080", Tenant: "demo", Locale: "auto", MaxLive: 64}
}

// MinToken is the shortest token accepted, in characters: 128 bits in base 32.
const MinToken = 26

// Validate names the field and the value of what is wrong. Addresses that are not loopback are refused: there is no sign-in yet.
func (c Config) Validate() error {
	var errs []error
	if err := c.validateListen(); err != nil {
		errs = append(errs, err)
	}
	for _, h := range c.Hosts {
		if h == "" || strings.ContainsAny(h, " /*") {
			errs = append(errs, fmt.Errorf("web.hosts %q: want a name or name:port", h))
		}
	}
	if c.Token != "" && len(c.Token) < MinToken {
		errs = append(errs, fmt.Errorf("web.token: %d characters, want at least %d, random", len(c.Token), MinToken))
	}
	if _, err := c.location(); err != nil {
		errs = append(errs, fmt.Errorf("web.zone %q: %w", c.Zone, err))
	}
	switch c.Locale {
	case "auto", "en", "de":
	default:
		errs = append(errs, fmt.Errorf("web.locale %q: want auto, en or de", c.Locale))
	}
	if c.Tenant == "" {
		errs = append(errs, fmt.Errorf("web.tenant %q: want the tenant whose fleet is shown", c.Tenant))
	}
	if c.MaxLive < 1 {
		errs = append(errs, fmt.Errorf("web.max_live %d: want at least 1", c.MaxLive))
	}
	return errors.Join(errs...)
}

func (c Config) validateListen() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("web.listen %q: want address:port: %w", c.Listen, err)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("web.listen %q: the port is a number up to 65535: %w", c.Listen, err)
	}
	if !loopback(host) {
		return fmt.Errorf("web.listen %q: want a loopback address such as 127.0.0.1: the pages have no sign-in yet", c.Listen)
	}
	return nil
}

func (c Config) location() (*time.Location, error) {
	if c.Zone == "" {
		return time.Local, nil
	}
	return time.LoadLocation(c.Zone)
}

// loopback reports whether host is localhost or a loopback address, with or without brackets.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}
