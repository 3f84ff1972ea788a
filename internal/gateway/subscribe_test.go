package gateway

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

// unsubscribe sends an UNSUBSCRIBE and returns UNSUBACK as it came.
func (d *device) unsubscribe(id byte, filters ...string) []byte {
	d.t.Helper()
	body := []byte{0, id}
	if d.v == 5 {
		body = append(body, 0)
	}
	for _, f := range filters {
		body = appendText(body, f)
	}
	d.raw(append([]byte{0xa2, byte(len(body))}, body...)...)
	head, _ := d.r.ReadByte()
	n, _ := d.r.ReadByte()
	out := append(make([]byte, 0, 2+n), head, n)
	for range n {
		b, err := d.r.ReadByte()
		if err != nil {
			d.t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// MQTT-3.8.4, MQTT-3.9.3, MQTT-3.11.3: a code for every filter, in their order, under the packet's id.
func TestSubackAndUnsuback(t *testing.T) {
	filters := []string{cmdTopic, "devices/demo/washer-w7/A2/command", "a/#/b", "$share/g/" + cmdTopic, "devices/demo/x/A1/command", "devices/demo/y/A1/command", cmdTopic}
	for version, want := range map[byte][]byte{4: {1, 0x80, 0x80, 0x80, 0, 0x80, 1}, 5: {1, 0x87, 0x8f, 0x9e, 0, 0x97, 1}} {
		r := start(t, newInbox(false), func(c *Config, _ *Deps) { c.MaxSubscriptions = 2 })
		d := r.device(t, version, "A1")
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 0x1234}
		for i, f := range filters {
			pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: [...]byte{2, 1, 1, 1, 0, 0, 1}[i]})
		}
		d.send(pk)
		ack := d.read()
		if ack.PacketID != 0x1234 || !bytes.Equal(ack.ReasonCodes, want) {
			t.Errorf("version %d: %d, codes % x; want % x", version, ack.PacketID, ack.ReasonCodes, want)
		}
		got, want := d.unsubscribe(7, cmdTopic, "devices/demo/nothing/A1/command"), []byte{0xb0, 2, 0, 7}
		if version == 5 {
			want = []byte{0xb0, 5, 0, 7, 0, 0, 0x11}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("version %d: % x", version, got)
		}
		if r.Publish(a1, cmdTopic, nil, nil) || !r.Publish(a1, "devices/demo/x/A1/command", nil, nil) {
			t.Error("not what is left")
		}
	}
}

// MQTT-3.8.4-3: a filter that is asked for again replaces the one before.
func TestSubscribeAgain(t *testing.T) {
	r := start(t, newInbox(false))
	d := r.device(t, 5, "A1")
	d.subscribe(cmdTopic)
	d.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 9,
		Filters: packets.Subscriptions{{Filter: cmdTopic, Qos: 0}}})
	d.read()
	d.ping()
	r.Publish(a1, cmdTopic, nil, nil)
	if pk := d.command(); pk.FixedHeader.Qos != 0 {
		t.Errorf("QoS %d", pk.FixedHeader.Qos)
	}
	d.ping() // and it came once
}

// MQTT-3.1.2-24: no packet that is larger than the client takes.
func TestClientsMaximumPacketSize(t *testing.T) {
	r := start(t, newInbox(false))
	d := r.device(t, 5, "A1", func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 40 })
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 9}
	for i := range 50 {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: fmt.Sprint("a/", i)})
	}
	d.send(pk)
	d.ping() // without the SUBACK before it
}

// A client that kept a QoS 2 message from another server gets rid of it.
func TestPubrelIsAnswered(t *testing.T) {
	r := start(t, newInbox(false))
	for version, want := range map[byte][]byte{4: {0x70, 2, 0, 9}, 5: {0x70, 3, 0, 9, 0x92}} {
		d := r.device(t, version, "A1")
		d.raw(0x62, 2, 0, 9)
		got := make([]byte, len(want))
		for i := range got {
			got[i], _ = d.r.ReadByte()
		}
		if !bytes.Equal(got, want) {
			t.Errorf("version %d: % x", version, got)
		}
		d.ping()
	}
}

// MQTT-3.14.4-3: only a DISCONNECT of reason 0 takes the will back.
func TestWillAfterDisconnect(t *testing.T) {
	for _, c := range []struct {
		packet []byte
		sent   bool
	}{{[]byte{0xe0, 0}, false}, {[]byte{0xe0, 1, 0}, false}, {[]byte{0xe0, 2, 0, 0}, false}, {[]byte{0xe0, 1, 4}, true}, {[]byte{0xe0, 1, 0x80}, true}} {
		in := newInbox(false)
		r := start(t, in)
		d := r.device(t, 5, "A1", withWill("devices/demo/washer-w7/A1/status", 0, false))
		d.raw(c.packet...)
		d.closed()
		eventually(t, "counted", func() bool { return r.metric("disconnects_total", "client") == 1 })
		eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
		if got := len(in.all()); (got == 1) != c.sent {
			t.Errorf("% x: %d wills", c.packet, got)
		}
	}
}

// MQTT-3.1.2-4 to -6, MQTT-3.2.2-2 and -3, MQTT 5, 3.1.2.11.2: which connection finds the session of which.
func TestSessionPresent(t *testing.T) {
	old := func(clean bool) func(*packets.Packet) { return func(pk *packets.Packet) { pk.Connect.Clean = clean } }
	v5 := func(clean bool, expiry uint32) func(*packets.Packet) {
		return func(pk *packets.Packet) {
			pk.Connect.Clean, pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = clean, expiry, true
		}
	}
	over := []byte{} // the connection is lost
	takeOver := []byte(nil)
	for _, c := range []struct {
		name          string
		version       byte
		first, second func(*packets.Packet)
		bye           []byte
		present       bool
	}{
		{"3.1.1 keeps", 4, old(false), old(false), over, true},
		{"3.1.1 keeps after DISCONNECT", 4, old(false), old(false), []byte{0xe0, 0}, true},
		{"3.1.1 clean leaves nothing", 4, old(true), old(false), over, false},
		{"3.1.1 clean wants nothing", 4, old(false), old(true), over, false},
		{"3.1.1 take-over", 4, old(false), old(false), takeOver, true},
		{"3.1.1 take-over of a clean one", 4, old(true), old(false), takeOver, false},
		{"5 keeps", 5, v5(true, 60), v5(false, 0), over, true},
		{"5 without an expiry", 5, v5(false, 0), v5(false, 60), over, false},
		{"5 clean start", 5, v5(true, 60), v5(true, 60), over, false},
		{"5 take-over", 5, v5(true, 60), v5(false, 60), takeOver, true},
		{"5 take-over without an expiry", 5, v5(true, 0), v5(false, 60), takeOver, false},
		{"5 for ever is as long as there is", 5, v5(true, 1<<32-1), v5(false, 0), over, true},
		{"5 gives it up when it goes", 5, v5(true, 60), v5(false, 60), []byte{0xe0, 7, 0, 5, 17, 0, 0, 0, 0}, false},
		{"5 wants less when it goes", 5, v5(true, 60), v5(false, 60), []byte{0xe0, 7, 0, 5, 17, 0, 0, 0, 9}, true},
	} {
		r := start(t, newInbox(false))
		d := r.device(t, c.version, "A1", c.first)
		d.subscribe(cmdTopic)
		d.ping() // what was granted is noted after SUBACK
		if c.bye != nil {
			d.raw(c.bye...)
			_ = d.c.Close()
			eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
		}
		again := r.dial(t, c.version)
		again.sendConnect("demo/A1", "pw-A1", "A1", c.second)
		if pk := again.read(); pk.ReasonCode != 0 || pk.SessionPresent != c.present {
			t.Errorf("%s: code %#x, present %v", c.name, pk.ReasonCode, pk.SessionPresent)
		}
		again.ping()
		if r.Publish(a1, cmdTopic, nil, nil) != c.present {
			t.Errorf("%s: the subscription is there: %v", c.name, !c.present)
		}
		r.stop()
	}
}

// What is kept of one device is bounded, whatever client ids it makes up, and ends in time.
func TestKeptSessionsAreBounded(t *testing.T) {
	g, connect := metered(t, Limits{Burst: time.Second})
	g.cfg.MaxPerDevice = 3
	now := time.Now()
	for i := range 10 {
		s := connect("A1")
		s.id = fmt.Sprint("demo/A1|A1-", i)
		s.keep.Store(int64(time.Duration(i+1) * time.Minute))
		g.keepSession(s, nil, now)
	}
	ids := make([]string, 0, 3)
	for _, k := range g.kept[a1] {
		ids = append(ids, k.id)
	}
	if !slices.Equal(ids, []string{"demo/A1|A1-7", "demo/A1|A1-8", "demo/A1|A1-9"}) {
		t.Errorf("kept %q", ids)
	}
	s := &session{key: fleet.DeviceKey{Tenant: "demo", Serial: "A1"}, id: "demo/A1|A1-8"}
	if in := g.inherit(s, nil, now.Add(9*time.Minute+1)); in.present {
		t.Error("its time was over")
	}
	g.expireSessions(now.Add(8*time.Minute + 1))
	if len(g.kept[a1]) != 1 {
		t.Errorf("%d left", len(g.kept[a1]))
	}
	g.expireSessions(now.Add(10*time.Minute + 1))
	if len(g.kept) != 0 {
		t.Error("kept for ever")
	}
}
