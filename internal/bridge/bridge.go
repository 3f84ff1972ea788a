package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

const (
	firstReconnect  = 500 * time.Millisecond
	subscribeAgain  = 30 * time.Second // after the broker refused a subscription
	watchEvery      = time.Second
	mqttVersion311  = 4
	disconnectQuiet = 3000 // milliseconds paho may take to say goodbye
	pahoPatience    = 3 * time.Second
)

// ReasonRetained and ReasonQueue are the bridge's reasons of refusals.
const (
	ReasonRetained = "retained"
	ReasonQueue    = "queue_full" // QoS 0 only
)

// Ingest takes what is received.
type Ingest interface {
	// Submit hands over a message; it waits while ingest's queue is full. An error means that ctx ended or ingest is
	// closed; then nothing was taken and Done is not called.
	Submit(ctx context.Context, m wire.Inbound) error
}

// Deps are what the bridge uses. All but Ingest may be nil.
type Deps struct {
	Ingest  Ingest
	Refuse  func(fleet.Refusal) // counts and keeps what was refused; must not block
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Bridge reads from one broker. Make it with New, start it with Run; a Bridge runs once.
type Bridge struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	m    *metrics
	url  *url.URL
	w    *window

	out    atomic.Pointer[outbox] // nil while not connected
	outbox sync.WaitGroup

	connected atomic.Bool
	last      atomic.Int64 // unix nanoseconds of the last message or connection
}

// New checks the configuration; nothing is opened yet.
func New(cfg Config, deps Deps) (*Bridge, error) {
	cfg.Enabled = true
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("bridge.url: %w", err)
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Refuse == nil {
		deps.Refuse = func(fleet.Refusal) {}
	}
	return &Bridge{cfg: cfg, deps: deps, log: deps.Log.With("broker", u.Host), m: newMetrics(deps.Metrics), url: u,
		w: newWindow(cfg.Queue)}, nil
}

// Check is the bridge's health: an error while it is not connected.
func (b *Bridge) Check(context.Context) error {
	if !b.connected.Load() {
		return fmt.Errorf("not connected to the broker at %s", b.url.Host)
	}
	return nil
}

// Run connects, and again whenever the connection is lost, until ctx ends. Then it submits no more, acknowledges what ingest
// still answers within the drain timeout, disconnects and returns nil. Ingest must go on working until Run has returned.
func (b *Bridge) Run(ctx context.Context) error {
	running, stop := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { b.submit(ctx) })
	parts.Go(func() { b.acknowledge(running) })
	parts.Go(func() { b.watch(running) })
	b.stayConnected(ctx)
	b.outbox.Wait()
	stop()
	parts.Wait()
	return nil
}

// stayConnected connects until ctx ends, with growing pauses while it does not succeed.
func (b *Bridge) stayConnected(ctx context.Context) {
	wait := firstReconnect
	for {
		began := time.Now()
		err := b.connection(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > b.cfg.MaxReconnect {
			wait = firstReconnect
		}
		pause := min(wait, b.cfg.MaxReconnect)/2 + rand.N(min(wait, b.cfg.MaxReconnect)/2+1) // several bridges must not come back at once
		wait = min(2*wait, b.cfg.MaxReconnect)
		b.log.Warn("mqtt bridge is not connected", "error", err, "again_in", pause.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// connection is one connection from dialling to its loss; it returns why it ended.
func (b *Bridge) connection(ctx context.Context) error {
	lost := make(chan error, 1)
	var current atomic.Pointer[conn]
	dialling, stopDialling := context.WithCancel(ctx)
	defer stopDialling()
	client := mqtt.NewClient(b.options(lost, func(u *url.URL) (net.Conn, error) {
		c, err := dial(dialling, u, b.cfg)
		if err != nil {
			return nil, err
		}
		current.Store(c)
		if err := dialling.Err(); err != nil { // the end came before anybody could see c
			_ = c.Close()
			return nil, err
		}
		return c, nil
	}))
	token := client.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done(): // a broker that does not answer must not hold up the end
		if c := current.Load(); c != nil {
			_ = c.Close()
		}
		<-token.Done()
	}
	if err := token.Error(); err != nil {
		b.m.connects.WithLabelValues("failed").Inc()
		return fmt.Errorf("connect: %w", err)
	}
	b.m.connects.WithLabelValues("connected").Inc()
	b.connected.Store(true)
	b.last.Store(time.Now().UnixNano())
	b.m.connected.Set(1)
	b.log.Info("mqtt bridge connected", "client_id", b.cfg.ClientID)
	outbox := newOutbox(client, b.m)
	connection, end := context.WithCancel(ctx)
	b.outbox.Go(func() { outbox.run(connection) })
	b.out.Store(outbox)
	err := b.connectedUntil(ctx, client, current.Load(), lost)
	b.out.Store(nil)
	end()
	b.connected.Store(false)
	b.m.connected.Set(0)
	b.m.subscribed.Set(0)
	return err
}

// connectedUntil subscribes and waits for the connection to be lost or ctx to end.
func (b *Bridge) connectedUntil(ctx context.Context, client mqtt.Client, c *conn, lost <-chan error) error {
	again := time.NewTimer(0) // subscribe at once
	defer again.Stop()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-lost:
			b.m.connects.WithLabelValues("lost").Inc()
			return fmt.Errorf("connection lost: %w", err)
		case <-ctx.Done():
			b.drain()
			c.goodbye()
			client.Disconnect(disconnectQuiet)
			return ctx.Err()
		case <-again.C:
			if !b.subscribe(ctx, client) {
				again.Reset(subscribeAgain)
			}
		case <-tick.C:
			if b.w.redeliver() {
				b.log.Info("mqtt bridge connects again for messages it had no room for")
				c.abort()
			}
		}
	}
}

// subscribe asks for all filters and reports whether the broker granted them. paho takes a refusal for a success.
func (b *Bridge) subscribe(ctx context.Context, client mqtt.Client) bool {
	token := client.SubscribeMultiple(b.cfg.filters(), nil)
	select {
	case <-token.Done(): // also when the connection is lost
	case <-ctx.Done():
		return false
	case <-time.After(b.cfg.WriteTimeout):
		b.log.Error("mqtt bridge: the broker does not answer a subscription", "again_in", subscribeAgain)
		return false
	}
	if err := token.Error(); err != nil {
		b.log.Error("mqtt bridge cannot subscribe", "error", err, "again_in", subscribeAgain)
		return false
	}
	granted := true
	if st, ok := token.(*mqtt.SubscribeToken); ok {
		for filter, qos := range st.Result() {
			if qos > 1 {
				granted = false
				b.m.connects.WithLabelValues("subscription refused").Inc()
				b.log.Error("mqtt bridge: the broker refuses a subscription", "filter", filter, "again_in", subscribeAgain)
			} else if qos == 0 {
				b.log.Warn("mqtt bridge: the broker grants QoS 0 only: messages can be lost", "filter", filter)
			}
		}
	}
	if granted {
		b.m.subscribed.Set(1)
	}
	return granted
}

func (b *Bridge) options(lost chan<- error, open func(*url.URL) (net.Conn, error)) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions()
	o.AddBroker(b.cfg.URL)
	o.SetClientID(b.cfg.ClientID)
	o.SetUsername(b.cfg.Username)
	o.SetPassword(string(b.cfg.Password))
	o.SetProtocolVersion(mqttVersion311)
	o.SetCleanSession(false)
	o.SetAutoReconnect(false)
	o.SetConnectRetry(false)
	o.SetKeepAlive(b.cfg.KeepAlive)
	o.SetPingTimeout(min(b.cfg.KeepAlive, 10*time.Second))
	o.SetConnectTimeout(b.cfg.ConnectTimeout)
	// How long paho's Publish and Subscribe wait for its writer, which the end of a connection must not take long for. Writing
	// itself has conn's deadline.
	o.SetWriteTimeout(min(b.cfg.WriteTimeout, pahoPatience))
	o.SetStore(nothing{})
	o.SetAutoAckDisabled(true)
	o.SetOrderMatters(true)
	// Before Connect: the broker sends what it kept right behind CONNACK.
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { b.receive(m) })
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
	o.SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) { return open(u) })
	return o
}

// receive is called by paho's reader for each message: it must not wait.
func (b *Bridge) receive(m mqtt.Message) {
	b.last.Store(time.Now().UnixNano())
	b.m.messages[min(m.Qos(), 1)].Inc()
	if m.Retained() {
		b.refuse(m, ReasonRetained)
	}
	if b.w.push(m, m.Retained()) {
		return
	}
	switch {
	case m.Qos() > 0:
		b.m.postponed.Inc()
	case !m.Retained():
		b.refuse(m, ReasonQueue)
	}
}

func (b *Bridge) refuse(m mqtt.Message, reason string) {
	topic := m.Topic()
	b.deps.Refuse(fleet.Refusal{At: time.Now(), Door: "bridge", Source: b.url.Host,
		Topic: topic[:min(len(topic), wire.MaxTopic)], Reason: reason})
}

// submit hands the messages to ingest in order of receipt.
func (b *Bridge) submit(ctx context.Context) {
	for {
		m, ticket, err := b.w.pull(ctx)
		if err != nil {
			return
		}
		err = b.deps.Ingest.Submit(ctx, wire.Inbound{Door: "bridge", Trusted: true, Topic: m.Topic(), Payload: m.Payload(),
			Ack: b.w, Ticket: ticket})
		if err != nil {
			b.w.Done(ticket, wire.Failed)
			if !errors.Is(err, context.Canceled) {
				b.log.Warn("mqtt bridge: ingest takes no more messages", "error", err)
			}
			return
		}
	}
}

// acknowledge gives paho the acknowledgements. It is a goroutine of its own because paho makes it wait for the network.
func (b *Bridge) acknowledge(ctx context.Context) {
	var due []entry
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.w.ack:
		}
		due = b.w.due(due[:0])
		for i, e := range due {
			if !e.lost {
				e.msg.Ack()
				b.m.acks.Inc()
			}
			due[i] = entry{}
		}
		b.w.given()
	}
}

// drain waits until what was submitted is answered and acknowledged, or the drain timeout is over.
func (b *Bridge) drain() {
	late := time.After(b.cfg.DrainTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, submitted := b.w.state(); submitted == 0 {
			return
		}
		select {
		case <-late:
			b.log.Warn("mqtt bridge stops with messages unanswered: the broker will send them again")
			return
		case <-tick.C:
		}
	}
}

// watch keeps the gauges and warns of a connection on which nothing comes.
func (b *Bridge) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	warned := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			held, _ := b.w.state()
			b.m.queued.Set(float64(held))
			warned = b.silence(now, warned)
		}
	}
}

// silence sets the gauge and warns once per silence; it returns whether there is one.
func (b *Bridge) silence(now time.Time, warned bool) bool {
	quiet := now.Sub(time.Unix(0, b.last.Load()))
	silent := b.connected.Load() && quiet > b.cfg.SilentAfter
	if silent && !warned {
		b.log.Warn("mqtt bridge is connected, but no message has come: do the devices publish where it listens?",
			"silent_for", quiet.Round(time.Second), "topics", b.cfg.Topics)
	}
	if silent {
		b.m.silent.Set(1)
	} else {
		b.m.silent.Set(0)
	}
	return silent
}
