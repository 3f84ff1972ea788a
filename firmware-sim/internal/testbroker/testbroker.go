// Package testbroker is a small MQTT broker for the simulator's tests: it checks credentials and hands every publish to
// the test before it is acknowledged.
//
// Only tests under firmware-sim import it.
package testbroker

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Publish is one message as the broker took it in.
type Publish struct {
	Username string
	Topic    string
	Payload  []byte
	Dup      bool
}

// Broker is a running broker.
type Broker struct {
	Addr   string // host:port
	server *mqtt.Server
	once   sync.Once
}

type hook struct {
	mqtt.HookBase
	secret string
	take   func(Publish)
}

func (h *hook) ID() string { return "test" }

func (h *hook) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck || b == mqtt.OnPublish
}

func (h *hook) OnConnectAuthenticate(_ *mqtt.Client, pk packets.Packet) bool {
	return string(pk.Connect.Password) == h.secret && pk.Connect.ClientIdentifier == string(pk.Connect.Username)
}

func (h *hook) OnACLCheck(*mqtt.Client, string, bool) bool { return true }

func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	h.take(Publish{Username: string(cl.Properties.Username), Topic: pk.TopicName, Payload: bytes.Clone(pk.Payload), Dup: pk.FixedHeader.Dup})
	return pk, nil
}

// Start runs a broker on addr ("127.0.0.1:0" for any port) until Stop or the end of the test. take is called from many
// goroutines, before the acknowledgement; every device's password is secret.
func Start(t testing.TB, addr, secret string, take func(Publish)) *Broker {
	t.Helper()
	s := mqtt.New(&mqtt.Options{InlineClient: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.AddHook(&hook{secret: secret, take: take}, nil); err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddListener(listeners.NewNet("test", l)); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	b := &Broker{Addr: l.Addr().String(), server: s}
	t.Cleanup(b.Stop)
	return b
}

// Stop ends the broker and all its connections.
func (b *Broker) Stop() {
	b.once.Do(func() { _ = b.server.Close() }) // a test that ends does not care how
}

// Send delivers a message with QoS 1 to whoever has subscribed to the topic.
func (b *Broker) Send(topic string, payload []byte) error {
	return b.server.Publish(topic, payload, false, 1)
}
