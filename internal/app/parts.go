package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"aftercare/internal/bridge"
	"aftercare/internal/gateway"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

// part is a row of the role table: what runs when a process has the role. Rows without a role run always, rows with nothing to run
// never.
type part struct {
	name string
	role string
	run  func(ctx context.Context) error
}

// parts lists what runs in the order of the data path. Starting goes from the bottom to the top, so that the doors open last,
// when everything behind them works; stopping goes from the top to the bottom.
func (s *server) parts() ([]part, error) {
	gateway, err := s.buildGateway()
	if err != nil {
		return nil, err
	}
	bridge, err := s.buildBridge()
	if err != nil {
		return nil, err
	}
	return []part{
		{"gateway", "gateway", gateway},
		{"bridge", "bridge", bridge},
		{"presence", "", s.atDoor(s.presence.Run)},
		{"commands", "", s.atDoor(s.commands.Run)},
		{"answers to commands", "", s.atDoor(s.over(wire.Changes, "commands", func(ctx context.Context, src wire.Source) error {
			return s.commands.RunReplies(ctx, answers{src, s.log})
		}))},
		{"ingest", "", s.ingest.Run},
		{"registry", "", s.registry.Run},
		{"journal", "", s.journal.Run},
		{"rules in force", "", s.behindStart(func(ctx context.Context) error { return s.rules.run(ctx, s.reload) })},
		{"facts of devices", "rules", s.behindStart(s.runFacts)},
		{"history of readings", "history", s.over(wire.Readings, "history", s.history.RunReadings)},
		{"history of findings", "history", s.over(wire.Findings, "history", s.history.RunFindings)},
		{"history of changes", "history", s.over(wire.Changes, "history", s.history.RunChanges)},
		{"rules", "rules", s.engine.Run},
		{"cases", "cases", s.over(wire.Findings, "cases", func(ctx context.Context, src wire.Source) error { return s.cases.Run(ctx, found{src, s.log}) })},
		{"clocks of cases", "cases", s.cases.RunTimers},
		{"incidents", "cases", s.incidents.Run},
		{"work orders", "cases", s.dispatch.Run},
		{"outreach", "outreach", s.outreach.Run},
		{"relay", "outreach", s.relay.Run},
		{"old rows", "outreach", s.purge},
		{"live feed", "web", s.feed},
	}, nil
}

// atDoor is run where a door is, nothing elsewhere: who hears no device would take all of them for silent, and who can reach none
// would put off what is to be sent.
func (s *server) atDoor(run func(context.Context) error) func(context.Context) error {
	if s.has("gateway") || s.has("bridge") && s.cfg.Bridge.Enabled {
		return run
	}
	return nil
}

// over runs f on a consumer of a stream that keeps its position under name.
func (s *server) over(stream wire.Stream, name string, f func(context.Context, wire.Source) error) func(context.Context) error {
	return func(ctx context.Context) error {
		src, err := s.journal.Open(ctx, stream, -1, name, 0)
		if err != nil {
			return err
		}
		return errors.Join(f(ctx, src), src.Close())
	}
}

func (s *server) start() error {
	if s.has("web") {
		s.show()
	}
	table, err := s.parts()
	if err != nil {
		return err
	}
	for i := len(table) - 1; i >= 0; i-- {
		p := table[i]
		if p.run == nil || p.role != "" && !s.has(p.role) {
			continue
		}
		s.life.run(p.name, p.run)
	}
	return s.await()
}

// await waits until the gateway listens.
func (s *server) await() error {
	if s.gateway == nil {
		return nil
	}
	select {
	case <-s.gateway.Ready():
		if a := s.gateway.Addr(); a != nil { // there may be TLS only
			s.addresses.MQTT = a.String()
		}
		path := s.cfg.Gateway.WS.Path
		for _, d := range []struct {
			transport    gateway.Transport
			scheme, path string
		}{{gateway.TCP, "mqtt://", ""}, {gateway.TLS, "mqtts://", ""}, {gateway.WS, "ws://", path}, {gateway.WSS, "wss://", path}} {
			if a := s.gateway.AddrOf(d.transport); a != nil {
				s.addresses.Doors = append(s.addresses.Doors, d.scheme+a.String()+d.path)
			}
		}
		return nil
	case err := <-s.life.ended:
		return err
	case <-time.After(10 * time.Second):
		return errors.New("the gateway does not listen after 10 s")
	}
}

func (s *server) buildGateway() (func(context.Context) error, error) {
	if !s.has("gateway") {
		return nil, nil
	}
	g, err := gateway.New(s.cfg.Gateway, gateway.Deps{Ingest: s.ingest, Auth: s.registry, Refuse: s.ingest.Refuse, Presence: s.presence, Subscribed: s.subscribed,
		Log: s.log, Metrics: s.metrics})
	if err != nil {
		return nil, err
	}
	s.gateway, s.outward.gateway = g, g
	s.registry.OnRevoke(g.Disconnect)
	return g.Run, nil
}

func (s *server) buildBridge() (func(context.Context) error, error) {
	if !s.has("bridge") || !s.cfg.Bridge.Enabled {
		return nil, nil
	}
	b, err := bridge.New(s.cfg.Bridge, bridge.Deps{Ingest: s.ingest, Refuse: s.ingest.Refuse, Log: s.log, Metrics: s.metrics})
	if err != nil {
		return nil, err
	}
	s.outward.bridge = b
	s.health.Add("bridge", b.Check)
	return b.Run, nil
}

// feed hands new notices of the changes stream to the pages that are open.
func (s *server) feed(ctx context.Context) error {
	var from uint64
	if last, err := s.journal.Tail(ctx, wire.Changes, 1); err != nil {
		return err
	} else if len(last) > 0 {
		from = last[0].Seq + 1
	}
	src, err := s.journal.Open(ctx, wire.Changes, -1, "", from)
	if err != nil {
		return err
	}
	defer src.Close()
	for {
		records, err := src.Fetch(ctx, 64)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		for _, r := range records {
			if r.Kind != wire.KindChange {
				continue
			}
			n, err := wire.DecodeChange(r)
			if err != nil {
				s.log.Error("a record of the changes stream cannot be read; it is passed over", "seq", r.Seq, "err", err)
				continue
			}
			s.hub.Publish(n)
		}
	}
}

// listen opens the pages' address, and pprof's where one is configured. Nothing is served yet.
func (s *server) listen() (err error) {
	if s.web, err = open(s.cfg.Web.Listen, "web.listen"); err != nil {
		return err
	}
	s.life.onClose("pages' address", func() error { return closed(s.web) })
	if err := s.openOutside(); err != nil {
		return err
	}
	if s.cfg.Log.Admin != "" {
		if s.admin, err = open(s.cfg.Log.Admin, "log.admin"); err != nil {
			return err
		}
		s.life.onClose("admin address", func() error { return closed(s.admin) })
	}
	return nil
}

func open(address, key string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use by another program, perhaps another aftercare: stop it, or choose another address with --%s", address, key)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s (%s): %w", address, key, err)
	}
	return ln, nil
}

// closed closes a listener that its server may have closed before.
func closed(ln net.Listener) error {
	if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// free tells early that an address cannot be had; who listens on it later opens it itself.
func free(address, key string) error {
	ln, err := open(address, key)
	if err != nil {
		return err
	}
	return ln.Close()
}

// show serves the pages, and pprof where it is wanted.
func (s *server) show() {
	s.addresses.Web = "http://" + s.web.Addr().String()
	s.addresses.Link = s.addresses.Web + "/?token=" + string(s.cfg.Web.Token)
	s.serve("pages", s.web, s.pages.handler, s.pages.web.Close)
	s.showOwner()
	if s.admin != nil {
		s.serve("admin", s.admin, obs.Pprof(), nil)
	}
}

// serve runs an HTTP server as a part of its own. before ends what would keep connections open.
func (s *server) serve(name string, ln net.Listener, h http.Handler, before func()) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
	s.life.run(name, func(ctx context.Context) error {
		failed := make(chan error, 1)
		go func() { failed <- srv.Serve(ln) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		if before != nil {
			before()
		}
		stop, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := srv.Shutdown(stop); err != nil {
			_ = srv.Close() // whoever still reads is cut off
		}
		if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
}
