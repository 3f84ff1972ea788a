package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

// Gateway is the broker for devices. Make it with New, start it with Run; a Gateway runs once.
type Gateway struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	m    *metrics

	backoff *backoff
	rates   *rates
	ready   chan struct{}
	addrs   atomic.Pointer[[transports]net.Addr]
	trust   *trust // nil without TLS
	closing atomic.Bool
	clock   atomic.Int64  // unix nanoseconds, set by watch: cheap to read for every message
	kicks   atomic.Uint64 // counts calls of Disconnect
	open    atomic.Int64  // QoS 1 messages taken and not yet answered
	conns   atomic.Int64

	flushers []*flusher
	slow     sync.WaitGroup // what must not hold up the flushers and the watch
	readers  sync.WaitGroup

	wsBuffers sync.Pool
	buffers   sync.Pool // of *[]byte, what is being read from devices

	ctx    context.Context //nolint:containedctx // the life of all sessions: it ends when they must, after Run's own
	cancel context.CancelFunc

	mu       sync.Mutex
	sessions map[string]*session                // live ones by their id
	devices  map[fleet.DeviceKey][]*session     // live ones by identity
	all      map[*conn]struct{}                 // every connection, authenticated or not
	delayed  map[string]delayedWill             // by session id
	kept     map[fleet.DeviceKey][]*keptSession // whose connection is gone, the oldest first
	tenants  map[string]*account
	owing    map[fleet.DeviceKey]*account // of devices that are gone and had spent something

	attendance attendance
}

// New checks the configuration and builds the gateway; nothing is opened yet.
func New(cfg Config, deps Deps) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Refuse == nil {
		deps.Refuse = func(fleet.Refusal) {}
	}
	g := &Gateway{
		cfg: cfg, deps: deps, log: deps.Log, m: newMetrics(deps.Metrics),
		backoff: newBackoff(), rates: newRates(cfg.ConnectRate), ready: make(chan struct{}),
		sessions: map[string]*session{}, devices: map[fleet.DeviceKey][]*session{},
		all: map[*conn]struct{}{}, delayed: map[string]delayedWill{},
		kept: map[fleet.DeviceKey][]*keptSession{}, tenants: map[string]*account{}, owing: map[fleet.DeviceKey]*account{},
		attendance: attendance{to: deps.Presence, n: map[fleet.DeviceKey]int{}},
	}
	if err := g.loadTrust(); err != nil {
		return nil, err
	}
	g.buffers.New = func() any { b := make([]byte, cfg.ReadBuffer); return &b }
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.clock.Store(time.Now().UnixNano())
	for range max(1, runtime.GOMAXPROCS(0)/4) {
		g.flushers = append(g.flushers, newFlusher(g))
	}
	return g, nil
}

// Ready is closed when the gateway listens.
func (g *Gateway) Ready() <-chan struct{} { return g.ready }

// Run listens and serves until ctx ends. Then it takes no more messages, writes the acknowledgements that ingest still
// gives within the drain timeout, disconnects everybody and returns nil. Ingest must go on working until Run has returned.
func (g *Gateway) Run(ctx context.Context) error {
	defer g.cancel()
	lns, err := g.listen(ctx)
	if err != nil {
		return err
	}
	g.limitClients()
	close(g.ready)

	var parts sync.WaitGroup
	for t, ln := range lns {
		if ln != nil {
			parts.Go(func() { g.accept(ctx, Transport(t), ln) })
		}
	}
	if g.trust != nil {
		parts.Go(func() { g.watchTrust(g.ctx) })
	}
	parts.Go(func() { g.watch(g.ctx) })
	for _, f := range g.flushers {
		parts.Go(func() { f.run(g.ctx) })
	}
	<-ctx.Done()
	closeAll(lns)
	g.shutdown()
	parts.Wait()
	g.slow.Wait() // after the parts, which start such writers
	return nil
}

// attach reads the connection. A panic there (a packet nobody thought of) ends the connection, not the process.
func (g *Gateway) attach(c *conn) (err error) {
	defer func() {
		if p := recover(); p != nil {
			stack := make([]byte, 4<<10)
			stack = stack[:runtime.Stack(stack, false)]
			g.log.Error("mqtt gateway: panic in a connection", "remote", c.host, "panic", fmt.Sprint(p), "stack", string(stack))
			err = errPanic
		}
	}()
	return g.converse(c)
}

// Disconnect closes all connections of an identity, because its credential was revoked: call it after Authenticate has
// begun to refuse the device. A connection that is being set up meanwhile is checked once more. No will is sent.
func (g *Gateway) Disconnect(identity fleet.DeviceKey) {
	g.kicks.Add(1)
	g.mu.Lock()
	live := append([]*session(nil), g.devices[identity]...)
	g.mu.Unlock()
	for _, s := range live {
		s.silent.Store(true)
		s.stop(packets.ErrAdministrativeAction, reasonRevoked)
	}
}

// shutdown is Run's end: answer what is open, then disconnect everybody and wait for all goroutines.
func (g *Gateway) shutdown() {
	g.mu.Lock()
	g.closing.Store(true)
	g.mu.Unlock()
	deadline := time.Now().Add(g.cfg.DrainTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	for g.open.Load() > 0 && time.Now().Before(deadline) {
		<-tick.C
	}
	tick.Stop()
	if n := g.open.Load(); n > 0 {
		g.log.Warn("mqtt gateway stops with messages unanswered: devices will send them again", "messages", n)
	}
	g.mu.Lock()
	live := make([]*session, 0, len(g.sessions))
	for _, of := range g.devices {
		live = append(live, of...)
	}
	rest := make([]*conn, 0, len(g.all))
	for c := range g.all {
		rest = append(rest, c)
	}
	g.mu.Unlock()
	for _, s := range live {
		s.silent.Store(true)
		s.stop(packets.ErrServerShuttingDown, "shutdown")
	}
	for _, c := range rest {
		_ = c.sock.Close() // its reader may be at a handshake and about to put a layer on it
	}
	g.cancel()
	g.readers.Wait()
}
