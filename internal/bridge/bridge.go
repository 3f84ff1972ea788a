package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
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
	mem    memory // only the loop that connects uses it

	connected atomic.Bool
	granted   atomic.Bool  // all subscriptions, with QoS 1
	received  atomic.Int64 // messages since the start
	strays    atomic.Int64 // of them on topics we did not ask for
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
	if _, err := cfg.tls(); err != nil {
		return nil, err
	}
	mem, err := loadMemory(cfg.StateFile)
	if err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Refuse == nil {
		deps.Refuse = func(fleet.Refusal) {}
	}
	return &Bridge{cfg: cfg, deps: deps, log: deps.Log.With("broker", u.Host), m: newMetrics(deps.Metrics), url: u,
		w: newWindow(cfg.Queue), mem: mem}, nil
}

// Check is the bridge's health: an error while it is not connected, or does not get what it subscribes to.
func (b *Bridge) Check(context.Context) error {
	if !b.connected.Load() {
		return fmt.Errorf("not connected to the broker at %s", b.url.Host)
	}
	if !b.granted.Load() {
		return fmt.Errorf("the broker at %s has not granted all subscriptions with QoS 1", b.url.Host)
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
		if errors.Is(err, errRefused) {
			wait = b.cfg.MaxReconnect
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

// receive is called by paho's reader for each message: it must not wait.
func (b *Bridge) receive(c *conn, m mqtt.Message) {
	b.received.Add(1)
	b.m.messages[min(m.Qos(), 1)].Inc()
	if m.Duplicate() {
		b.m.redelivered.Inc()
	}
	if !b.cfg.wants(m.Topic()) {
		b.stray(m)
	}
	if m.Retained() {
		b.refuse(m, ReasonRetained)
	}
	if b.w.push(c, m, m.Retained()) {
		return
	}
	switch {
	case m.Qos() > 0:
		b.m.postponed.Inc()
	case !m.Retained():
		b.refuse(m, ReasonQueue)
	}
}

// stray notes a message on a topic that no filter of ours names: the session holds a subscription we do not know of. The message is
// taken like any other.
func (b *Bridge) stray(m mqtt.Message) {
	b.m.strays.Inc()
	if b.strays.Add(1) == 1 {
		topic := m.Topic()
		b.log.Warn("mqtt bridge gets messages it has not asked for: the session holds an older subscription; end the session at the broker "+
			"once, or use another bridge.client_id", "topic", topic[:min(len(topic), wire.MaxTopic)])
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

// acknowledge sends the acknowledgements whose turn it is, all that are due on a connection in one write.
func (b *Bridge) acknowledge(ctx context.Context) {
	var due []entry
	var out []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.w.ack:
		}
		due = b.w.due(due[:0])
		for rest := due; len(rest) > 0; {
			out, rest = b.pubacks(rest, out[:0])
		}
		clear(due)
		b.w.given()
	}
}

// pubacks acknowledges the first entries of due, those of one connection, and returns the others. out is its buffer. It writes the
// packets itself: paho would take each through two goroutines and lose it silently when the connection is gone.
func (b *Bridge) pubacks(due []entry, out []byte) ([]byte, []entry) {
	c := due[0].conn
	n, acks := 0, 0
	for n < len(due) && due[n].conn == c {
		switch e := due[n]; {
		case e.lost:
			b.m.answers[answerFailed].Inc()
		case e.msg.Qos() == 0:
			b.m.answers[answerNone].Inc()
		case e.msg.Qos() == 1:
			id := e.msg.MessageID()
			out = append(out, packets.Puback<<4, 2, byte(id>>8), byte(id))
			acks++
		default: // a subscription of somebody else in our session; paho ends the longer handshake
			e.msg.Ack()
			b.m.answers[answerAcked].Inc()
		}
		n++
	}
	if len(out) > 0 {
		result := answerAcked
		if _, err := c.Write(out); err != nil {
			result = answerLate
		}
		b.m.answers[result].Add(float64(acks))
	}
	return out, due[n:]
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
