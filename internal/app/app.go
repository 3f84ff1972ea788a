// Package app puts the program together: it opens what is kept, builds the parts in the order of the data path, starts those of
// the chosen roles, doors last, and closes everything in reverse.
//
// Who may import it: cmd/aftercare and tests. It may import everything; nothing it imports knows it.
package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/cases"
	"aftercare/internal/commands"
	"aftercare/internal/config"
	"aftercare/internal/dispatch"
	"aftercare/internal/fleet"
	"aftercare/internal/gateway"
	"aftercare/internal/history"
	"aftercare/internal/history/embedded"
	"aftercare/internal/incidents"
	"aftercare/internal/ingest"
	"aftercare/internal/journal"
	"aftercare/internal/obs"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channel/push"
	"aftercare/internal/outreach/channel/webhook"
	"aftercare/internal/presence"
	"aftercare/internal/registry"
	"aftercare/internal/rules/engine"
	"aftercare/internal/seal"
	"aftercare/internal/store"
	"aftercare/internal/web"
	"aftercare/internal/web/owner"
	"aftercare/internal/words"
)

// Options is what Run is given.
type Options struct {
	Config  config.Config
	Files   *Files
	Log     io.Writer // where the process speaks of itself
	Version string
	Demo    bool                  // make the demo fleet known first
	Ready   func(Addresses) error // called once when everything answers; may be nil
	Reload  <-chan os.Signal      // each one has the rule packs read again; may be nil
}

// Addresses says where a running server is found.
type Addresses struct {
	Web       string   // "http://127.0.0.1:8080"
	Link      string   // the same with the token that opens the pages
	Owner     string   // the owners' pages, as they are reached: "http://127.0.0.1:8081"
	OwnerLink string   // demo only: signs a browser in as an owner, once
	Notes     []string // what does not work as it is configured, a sentence each
	MQTT      string   // "127.0.0.1:1883"; empty without the role, and when plain TCP is off
	Doors     []string // all that devices may use: "mqtt://127.0.0.1:1883", "mqtts://...", "ws://.../mqtt"
	Data      string
	FleetFile string // demo only: the devices' credentials for the simulator
	FirstRun  bool   // demo only: the fleet was made by this start
}

// Run builds the server, runs it until ctx ends or a part fails, and closes it. The configuration must be valid.
func Run(ctx context.Context, o Options) (err error) {
	s := &server{cfg: o.Config, files: o.Files, log: obs.Logger(o.Config.Log, o.Log), metrics: obs.Registry(), health: obs.NewHealth(), version: o.Version, reload: o.Reload}
	s.life = newLifecycle(s.log)
	defer func() { err = errors.Join(err, s.life.close()) }()
	if err := s.claim(); err != nil {
		return err
	}
	if err := s.build(ctx, o.Demo); err != nil {
		return err
	}
	if err := s.start(); err != nil {
		return err
	}
	if o.Ready != nil {
		if err := o.Ready(s.addresses); err != nil {
			return err
		}
	}
	return s.life.wait(ctx)
}

// claim takes what only one process can have, the addresses and the data folder, before anything in the folder is touched.
func (s *server) claim() error {
	if s.has("web") {
		if err := s.listen(); err != nil {
			return err
		}
	}
	if s.has("gateway") {
		for key, address := range s.cfg.Gateway.Addresses() {
			if err := free(address, key); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(s.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make the data folder %q (data): %w", s.cfg.Data, err)
	}
	unlock, err := lockFolder(s.cfg.Data)
	if err != nil {
		return err
	}
	s.life.onClose("data folder", unlock)
	s.addresses.Data = s.cfg.Data
	return nil
}

// server is the program put together. Its fields are in the order of the data path; what a role that does not run would need
// is built all the same where others ask it.
type server struct {
	cfg     config.Config
	files   *Files
	log     *slog.Logger
	metrics *prometheus.Registry
	health  *obs.Health
	life    *lifecycle
	version string
	reload  <-chan os.Signal

	store    *store.Store
	registry *registry.Registry
	journal  *journal.Journal
	outward  outward
	presence *presence.Tracker
	commands *commands.Commands
	ingest   *ingest.Ingest
	gateway  *gateway.Gateway
	history  *history.History
	rules    *ruleset
	engine   *engine.Engine
	cases    *cases.Cases
	words    *words.Renderer
	push     *push.Channel
	webhook  *webhook.Channel
	outreach *outreach.Outreach
	relay    *outreach.Relay
	hub      *web.Hub
	pages    *pages
	owners   *owner.Site
	seal     *seal.Seal
	linkKey  []byte
	web      net.Listener // opened first, served last
	admin    net.Listener
	outside  net.Listener // of the owners' pages
	ownerTLS *tls.Config  // nil: they speak http
	channels []outreach.Channel

	dispatch  *dispatch.Dispatch
	incidents *incidents.Incidents
	addresses Addresses
}

// build opens what is kept and makes the parts. Nothing runs yet but what others cannot be built without.
func (s *server) build(ctx context.Context, demo bool) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"links", s.openLinks},
		{"store", s.openStore},
		{"registry", s.openRegistry},
		{"demo fleet", func(ctx context.Context) error {
			if !demo {
				return nil
			}
			return s.prepareDemo(ctx)
		}},
		{"journal", s.openJournal},
		{"presence", s.buildPresence},
		{"commands", s.buildCommands},
		{"ingest", s.buildIngest},
		{"history", s.openHistory},
		{"rule packs", s.openRules},
		{"rules", s.buildEngine},
		{"work orders", s.buildDispatch},
		{"incidents", s.buildIncidents},
		{"cases", s.buildCases},
		{"outreach", s.buildOutreach},
		{"pages", s.buildPages},
		{"owners' pages", s.buildOwner},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (s *server) has(role string) bool { return slices.Contains(s.cfg.Roles, role) }

func (s *server) openStore(ctx context.Context) (err error) {
	if s.store, err = store.Open(ctx, s.cfg.Store, s.log); err != nil {
		return err
	}
	s.life.onClose("store", s.store.Close)
	s.health.Add("store", s.store.Ready)
	return nil
}

func (s *server) openJournal(ctx context.Context) (err error) {
	if s.journal, err = journal.Open(ctx, s.cfg.Journal, s.log, s.metrics); err != nil {
		return err
	}
	s.life.onClose("journal", s.journal.Close)
	s.health.Add("journal", s.journal.Check)
	return nil
}

// buildPresence comes before ingest, which tells it what it hears and stores what it says.
func (s *server) buildPresence(context.Context) error {
	s.presence = presence.New(s.cfg.Presence, presence.Deps{Devices: s.registry, Models: s.registry, Snapshots: snapshots{s.journal}, Log: s.log, Metrics: s.metrics,
		Record: func(ctx context.Context, rs []fleet.Reading) error { return s.ingest.Record(ctx, rs) }, Stalled: func() bool { return s.ingest.Stalled() }})
	s.outward.presence = s.presence
	s.registry.OnRevoke(func(key fleet.DeviceKey) { s.presence.Disconnected(key, fleet.CauseRevoked, time.Now()) })
	return nil
}

func (s *server) buildCommands(context.Context) error {
	s.commands = commands.New(s.cfg.Commands, commands.Deps{Store: s.store, Reads: s.store, Devices: s.registry, Sender: &s.outward, Wake: func() { s.relay.Wake() },
		Log: s.log, Registerer: s.metrics})
	return s.metrics.Register(commands.NewCollector(s.store, s.log))
}

func (s *server) buildIngest(context.Context) error {
	s.ingest = ingest.New(s.cfg.Ingest, ingest.Deps{Journal: s.journal, Devices: s.registry, Models: s.files.Models, Log: s.log, Metrics: s.metrics,
		Firmware: s.registry, Presence: signs{s.presence, s.commands}, Quality: s.store, Clocks: clocks{s.journal}, Outbound: &s.outward})
	return nil
}

// openHistory starts the database in the process when none is configured; the client speaks to both in the same way.
func (s *server) openHistory(ctx context.Context) error {
	c := s.cfg.History.Config
	if !s.has("history") && !s.has("web") && (!s.has("rules") || c.URL == "") {
		return nil // a door asks no database, and the one in this process would have nothing to tell the rules
	}
	if c.URL == "" {
		db, err := embedded.Start(ctx, s.cfg.History.Embedded, s.log)
		if err != nil {
			return err
		}
		s.life.onClose("influxdb", db.Close)
		c.URL, c.Token = db.URL(), fleet.Secret(db.Token())
	}
	h, err := history.New(c, history.Deps{Log: s.log, Metrics: s.metrics, Reject: s.rejectLine})
	if err != nil {
		return err
	}
	s.history = h
	s.life.onClose("history", func() error { h.Close(); return nil })
	s.health.Add("history", h.Check)
	return nil
}
