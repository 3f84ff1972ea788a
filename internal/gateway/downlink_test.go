package gateway

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

const cmdTopic = "devices/demo/washer-w7/A1/command"

var a1 = fleet.DeviceKey{Tenant: "demo", Serial: "A1"}

// command reads one PUBLISH.
func (d *device) command() packets.Packet {
	d.t.Helper()
	pk := d.read()
	if pk.FixedHeader.Type != packets.Publish {
		d.t.Fatalf("packet type %d instead of PUBLISH", pk.FixedHeader.Type)
	}
	return pk
}

func (d *device) puback(id uint16, reason byte) {
	d.t.Helper()
	out := []byte{packets.Puback << 4, 2, byte(id >> 8), byte(id)}
	if reason != 0 {
		out = append(out, reason)
		out[1] = 3
	}
	if _, err := d.c.Write(out); err != nil {
		d.t.Fatal(err)
	}
}

// listener keeps what Subscribed was told.
type listener struct {
	mu  sync.Mutex
	got []string
}

func (l *listener) add(k fleet.DeviceKey, filter string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got = append(l.got, k.String()+" "+filter)
}

func (l *listener) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

func TestPublishReachesTheDevice(t *testing.T) {
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprint("version", version), func(t *testing.T) {
			var l listener
			r := start(t, newInbox(false), func(_ *Config, d *Deps) { d.Subscribed = l.add })
			if r.Publish(a1, cmdTopic, []byte("x"), nil) {
				t.Error("sent to nobody")
			}
			d := r.device(t, version, "A1")
			if r.Publish(a1, cmdTopic, []byte("x"), nil) {
				t.Error("sent to a device that does not listen")
			}
			d.subscribe(cmdTopic)
			d.ping()
			if got := l.all(); !slices.Equal(got, []string{"demo/A1 " + cmdTopic}) {
				t.Errorf("subscribed %q", got)
			}
			var acks atomic.Int32
			ids := map[uint16]bool{}
			for i := range 3 {
				want := strings.Repeat("y", 100*i)
				if !r.Publish(a1, cmdTopic, []byte(want), func() { acks.Add(1) }) {
					t.Fatal("not taken")
				}
				pk := d.command()
				if pk.TopicName != cmdTopic || string(pk.Payload) != want || pk.FixedHeader.Qos != 1 || pk.FixedHeader.Retain || ids[pk.PacketID] {
					t.Errorf("%+v", pk)
				}
				ids[pk.PacketID] = true
				// The device's own packet ids are another space: the same number is in use in both directions.
				d.send(publish(topic("A1"), 1, pk.PacketID))
				d.acked(pk.PacketID)
				if n := acks.Load(); n != int32(i) {
					t.Errorf("%d acknowledged", n)
				}
				d.puback(pk.PacketID, 0)
				d.puback(pk.PacketID, 0) // a second one means nothing
				d.ping()
				if n := acks.Load(); n != int32(i+1) {
					t.Errorf("%d acknowledged, want %d", n, i+1)
				}
			}
			r.Publish(a1, cmdTopic, nil, func() { t.Error("a refused message is not acknowledged") })
			if id := d.command().PacketID; version == 5 {
				d.puback(id, packets.ErrNotAuthorized.Code)
				d.ping()
			}
			if len(r.in.all()) != 3 {
				t.Errorf("ingest got %q", r.in.topics())
			}
		})
	}
}

// Unsubscribed is deaf, and so is a connection that is gone.
func TestPublishAfterUnsubscribe(t *testing.T) {
	r := start(t, newInbox(false))
	d := r.device(t, 4, "A1")
	d.subscribe(cmdTopic)
	d.ping()
	body := append([]byte{0, 7, 0, byte(len(cmdTopic))}, cmdTopic...)
	_, _ = d.c.Write(append([]byte{packets.Unsubscribe<<4 | 2, byte(len(body))}, body...))
	d.read()
	if r.Publish(a1, cmdTopic, nil, nil) {
		t.Error("sent after UNSUBSCRIBE")
	}
	d.subscribe(cmdTopic)
	d.ping()
	_ = d.c.Close()
	eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
	if r.Publish(a1, cmdTopic, nil, nil) {
		t.Error("sent to a closed connection")
	}
}

// SEC-02, queued and replayed delivery: a resumed session is asked again what it may listen to, and so is every message.
func TestSEC02ResumedSession(t *testing.T) {
	const childTopic = "devices/demo/drill-d2/T1/command"
	station := fleet.DeviceKey{Tenant: "demo", Serial: "B1"}
	var l listener
	r := start(t, newInbox(false), func(_ *Config, d *Deps) { d.Subscribed = l.add })
	keep := func(pk *packets.Packet) { pk.Connect.Clean = false }
	d := r.device(t, 4, "B1", keep)
	d.subscribe("devices/demo/hub/B1/command")
	d.subscribe(childTopic)
	d.ping()
	if !r.Publish(station, childTopic, nil, nil) {
		t.Error("not taken for a child")
	}
	d.command() // never acknowledged: not ours to send again
	r.auth.lose("T1")
	if r.Publish(station, childTopic, nil, nil) {
		t.Error("sent for a device that has moved on")
	}
	_ = d.c.Close()
	eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
	d = r.dial(t, 4)
	d.sendConnect("demo/B1", "pw-B1", "B1", keep)
	if !d.read().SessionPresent {
		t.Fatal("no session")
	}
	d.ping()
	if got := l.all(); len(got) != 3 || got[2] != "demo/B1 devices/demo/hub/B1/command" {
		t.Errorf("subscribed %q", got)
	}
	if !r.Publish(station, "devices/demo/hub/B1/command", []byte("again"), nil) {
		t.Error("a resumed session does not listen")
	}
	if pk := d.command(); string(pk.Payload) != "again" {
		t.Errorf("%+v", pk)
	}
}

// A client's Receive Maximum and Maximum Packet Size hold; the queue is bounded (SEC-06), and nobody waits.
func TestSEC06OutgoingQueue(t *testing.T) {
	r := start(t, newInbox(false), func(c *Config, _ *Deps) { c.MaxOutgoing = 5 })
	d := r.device(t, 5, "A1", func(pk *packets.Packet) {
		pk.Properties.ReceiveMaximum, pk.Properties.MaximumPacketSize = 2, 100
	})
	d.subscribe(cmdTopic)
	d.ping()
	if r.Publish(a1, cmdTopic, make([]byte, 100), nil) {
		t.Error("larger than the client takes")
	}
	taken := 0
	for range 8 {
		if r.Publish(a1, cmdTopic, nil, nil) {
			taken++
		}
	}
	if taken != 5 {
		t.Errorf("%d taken", taken)
	}
	first, second := d.command(), d.command()
	d.ping() // only two came
	d.puback(second.PacketID, 0)
	third := d.command()
	d.ping()
	d.puback(first.PacketID, 0)
	d.puback(third.PacketID, 0)
	d.command()
	d.command()
	if r.metric("downlink_total", "too large") != 1 || r.metric("downlink_total", "full") != 3 {
		t.Error("not counted")
	}
}

// A device that does not read holds up neither Publish nor another device.
func TestPublishToSlowReader(t *testing.T) {
	r := start(t, newInbox(false))
	slow, good := r.device(t, 4, "A2"), r.device(t, 4, "A1")
	slow.subscribe("devices/demo/washer-w7/A2/command")
	good.subscribe(cmdTopic)
	good.ping()
	slow.ping()
	big := make([]byte, 60<<10)
	full := false
	for range 1000 {
		if full = !r.Publish(fleet.DeviceKey{Tenant: "demo", Serial: "A2"}, "devices/demo/washer-w7/A2/command", big, nil); full {
			break
		}
	}
	if !full {
		t.Fatal("the queue has no end")
	}
	if !r.Publish(a1, cmdTopic, nil, nil) {
		t.Fatal("not taken")
	}
	good.command()
}

// What a client asked for is what it gets: QoS 0, and its subscription identifier.
func TestPublishQoS0AndIdentifier(t *testing.T) {
	r := start(t, newInbox(false))
	d := r.device(t, 5, "A1")
	d.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 3,
		Properties: packets.Properties{SubscriptionIdentifier: []int{300}}, Filters: packets.Subscriptions{{Filter: cmdTopic, Identifier: 300}}})
	d.read()
	d.ping()
	r.Publish(a1, cmdTopic, []byte("z"), nil)
	if pk := d.command(); pk.FixedHeader.Qos != 0 || string(pk.Payload) != "z" || !slices.Equal(pk.Properties.SubscriptionIdentifier, []int{300}) {
		t.Errorf("%+v", pk)
	}
}

func TestPacketIDsGoRound(t *testing.T) {
	d := downlink{sent: map[uint16]func(){65535: nil, 1: nil}, last: 65534}
	if id := d.nextID(); id != 2 {
		t.Errorf("id %d", id)
	}
	if p := appendLength(nil, 300); binary.LittleEndian.Uint16(p) != 0x02ac {
		t.Errorf("% x", p)
	}
}
