// Package config reads the configuration with viper into each package's own Config: defaults < file < AFTERCARE_ environment <
// flags. It knows no setting of its own but where the data lies, and it is strict: a key that nobody reads is a mistake.
//
// Who may import it: app and cmd. It imports the packages whose Config it fills, for their types only.
package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"aftercare/internal/bridge"
	"aftercare/internal/cases"
	"aftercare/internal/commands"
	"aftercare/internal/dispatch"
	"aftercare/internal/egress"
	"aftercare/internal/gateway"
	"aftercare/internal/history"
	"aftercare/internal/history/embedded"
	"aftercare/internal/incidents"
	"aftercare/internal/ingest"
	"aftercare/internal/journal"
	"aftercare/internal/obs"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channel/email"
	"aftercare/internal/outreach/channel/fcm"
	"aftercare/internal/outreach/channel/ntfy"
	"aftercare/internal/outreach/channel/push"
	"aftercare/internal/presence"
	"aftercare/internal/registry"
	"aftercare/internal/rules"
	"aftercare/internal/rules/engine"
	"aftercare/internal/store"
	"aftercare/internal/web"
	"aftercare/internal/web/owner"
)

// Config is the whole configuration. The mapstructure tags are the keys a person writes; help is what --help says.
type Config struct {
	Data      string          `mapstructure:"data" help:"folder of everything that is kept: journal, databases, keys"`
	Roles     []string        `mapstructure:"roles" help:"parts to run in this process"`
	Models    string          `mapstructure:"models" help:"folder of model profiles; empty: the shipped ones"`
	Templates string          `mapstructure:"templates" help:"folder of message templates that take the place of the shipped ones, file by file"`
	Warranty  string          `mapstructure:"warranty" help:"folder of warranty terms by country; empty: the shipped ones, which are an example: have yours checked"`
	Log       obs.Config      `mapstructure:"log"`
	Store     store.Config    `mapstructure:"store"`
	Registry  registry.Config `mapstructure:"registry"`
	Journal   journal.Config  `mapstructure:"journal"`
	Ingest    ingest.Config   `mapstructure:"ingest"`
	Gateway   gateway.Config  `mapstructure:"gateway"`
	Bridge    bridge.Config   `mapstructure:"bridge"`
	Presence  presence.Config `mapstructure:"presence"`
	Commands  commands.Config `mapstructure:"commands"`
	History   History         `mapstructure:"history"`
	Rules     Rules           `mapstructure:"rules"`
	Cases     cases.Config    `mapstructure:"cases"`
	Outreach  outreach.Config `mapstructure:"outreach"`
	Email     email.Config    `mapstructure:"email"`
	Push      push.Config     `mapstructure:"push"`
	FCM       fcm.Config      `mapstructure:"fcm"`
	Ntfy      ntfy.Config     `mapstructure:"ntfy"`
	Egress    egress.Config   `mapstructure:"egress"`
	Web       web.Config      `mapstructure:"web"`
	Owner     owner.Config    `mapstructure:"owner"`

	Incidents incidents.Config `mapstructure:"incidents"`
	Dispatch  dispatch.Config  `mapstructure:"dispatch"`
}

// History is the database of readings, and the one in the process that is used when history.url is empty.
type History struct {
	history.Config `mapstructure:",squash"`
	Embedded       embedded.Config `mapstructure:"embedded"`
}

// Rules is the language, where the packs are, and the engine that runs them.
type Rules struct {
	rules.Config `mapstructure:",squash"`
	Dir          string        `mapstructure:"dir" help:"folder of rule packs; empty: the shipped ones"`
	Engine       engine.Config `mapstructure:"engine"`
}

// AllRoles are the parts that a process can run; all of them by default.
var AllRoles = []string{"gateway", "bridge", "history", "rules", "cases", "outreach", "web"}

// Default is every package's own default. Paths are empty: they follow from Data.
func Default() Config {
	c := Config{
		Data: "data", Roles: slices.Clone(AllRoles), Log: obs.DefaultConfig(), Store: store.DefaultConfig(), Registry: registry.DefaultConfig(),
		Journal: journal.DefaultConfig(), Ingest: ingest.DefaultConfig(), Gateway: gateway.DefaultConfig(), Bridge: bridge.DefaultConfig(),
		Presence: presence.DefaultConfig(), Commands: commands.DefaultConfig(),
		History: History{Config: history.DefaultConfig(), Embedded: embedded.DefaultConfig()},
		Rules:   Rules{Config: rules.DefaultConfig(), Engine: engine.DefaultConfig()},
		Cases:   cases.DefaultConfig(), Incidents: incidents.DefaultConfig(), Dispatch: dispatch.DefaultConfig(), Outreach: outreach.DefaultConfig(), Email: email.DefaultConfig(), Push: push.DefaultConfig(), FCM: fcm.DefaultConfig(), Ntfy: ntfy.DefaultConfig(),
		Egress: egress.DefaultConfig(), Web: web.DefaultConfig(), Owner: owner.DefaultConfig(),
	}
	c.Store.Path, c.Registry.KeyFile, c.Journal.Dir, c.History.Embedded.Dir = "", "", "", ""
	return c
}

// derive fills in the paths that nobody set.
func (c *Config) derive() {
	for _, p := range []struct {
		to   *string
		name string
	}{{&c.Store.Path, "aftercare.db"}, {&c.Registry.KeyFile, "registry.key"}, {&c.Journal.Dir, "journal"}, {&c.History.Embedded.Dir, "influxdb"},
		{&c.Push.KeyFile, "vapid.key"},
		{&c.Bridge.StateFile, "bridge.json"}, {&c.Owner.TLS.ACME.Cache, "acme"}} {
		if *p.to == "" {
			*p.to = filepath.Join(c.Data, p.name)
		}
	}
}

// Validate asks every package and joins what they say.
func (c *Config) Validate() error {
	var errs []error
	for _, r := range c.Roles {
		if !slices.Contains(AllRoles, r) {
			errs = append(errs, fmt.Errorf("roles %q: want some of %s", r, strings.Join(AllRoles, ", ")))
		}
	}
	if c.Data == "" {
		errs = append(errs, errors.New(`data "": want a folder`))
	}
	parts := []interface{ Validate() error }{c.Log, c.Store, c.Registry, c.Journal, c.Ingest, c.Gateway, c.Bridge, c.Presence, c.Commands,
		c.Rules.Config, c.Rules.Engine, c.Cases, c.Incidents, c.Dispatch, c.Outreach, c.Email, c.Push, c.FCM, c.Ntfy, c.Egress, c.Web, c.Owner}
	if c.History.URL == "" {
		parts = append(parts, c.History.Embedded)
		h := c.History.Config
		h.URL = "http://127.0.0.1:8086" // the embedded one's is known when it runs
		parts = append(parts, h)
	} else {
		parts = append(parts, c.History.Config)
	}
	for _, p := range parts {
		errs = append(errs, p.Validate())
	}
	return errors.Join(errs...)
}
