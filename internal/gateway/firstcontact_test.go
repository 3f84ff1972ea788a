package gateway

import (
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

// SEC-01: a device gets its own credential over a session that can do nothing else.
func TestFirstContact(t *testing.T) {
	var p diary
	var l listener
	in := newInbox(false)
	r := start(t, in, func(_ *Config, d *Deps) { d.Presence, d.Subscribed = &p, l.add })
	device := r.device(t, 5, "A1") // the device itself is here: who only knows the model's secret cannot push it out
	device.subscribe(cmdTopic)
	d := r.dial(t, 5)
	if code := d.connect("demo/A1", "model-secret", "A1"); code != 0 {
		t.Fatalf("code %#x", code)
	}
	device.ping()
	for i, tp := range []string{topic("A1"), "devices/demo/other/A1/reply", "devices/demo/washer-w7/A2/reply", "spBv1.0/demo/NDATA/A1"} {
		d.send(publish(tp, 1, uint16(i+1)))
		if code := d.acked(uint16(i + 1)); code != packets.ErrNotAuthorized.Code {
			t.Errorf("%s: code %#x", tp, code)
		}
	}
	for _, f := range []string{"devices/demo/other/A1/command", "devices/demo/washer-w7/A2/command", "spBv1.0/demo/NCMD/A1"} {
		if code := d.subscribe(f); code != packets.ErrNotAuthorized.Code {
			t.Errorf("%s: code %#x", f, code)
		}
	}
	d.send(publish("devices/demo/washer-w7/A1/reply", 1, 9))
	d.acked(9)
	if got := in.topics(); !slices.Equal(got, []string{"devices/demo/washer-w7/A1/reply"}) {
		t.Errorf("ingest got %q", got)
	}
	if code := d.subscribe(cmdTopic); code != 1 {
		t.Fatalf("code %#x", code)
	}
	pk := d.command()
	if string(pk.Payload) != `{"id":"provision","name":"credential","args":{"username":"demo/A1","password":"pw-A1"}}` || pk.TopicName != cmdTopic {
		t.Errorf("%s %s", pk.TopicName, pk.Payload)
	}
	d.puback(pk.PacketID, 0)
	d.closed()
	eventually(t, "end counted", func() bool { return r.metric("disconnects_total", "first contact done") == 1 })
	if r.metric("connects_total", ReasonFirstContact) != 1 || r.metric("connects_total", "accepted") != 1 {
		t.Error("connects not counted")
	}
	device.ping() // it was never disturbed and heard nothing of the credential
	if got := p.take(); !slices.Equal(got, []string{"demo/A1 connected"}) {
		t.Errorf("presence %q", got)
	}
	if got := l.all(); len(got) != 1 {
		t.Errorf("subscribed %q", got)
	}
}

func TestFirstContactRefused(t *testing.T) {
	r := start(t, newInbox(false))
	d := r.dial(t, 5)
	if code := d.connect("demo/A9", "model-secret", "A9", withWill("devices/demo/washer-w7/A9/status", 0, false)); code != packets.ErrNotAuthorized.Code {
		t.Errorf("a will: code %#x", code)
	}
	d = r.dial(t, 5)
	d.connect("demo/A9", "model-secret", "A9")
	if r.Publish(fleet.DeviceKey{Tenant: "demo", Serial: "A9"}, "devices/demo/washer-w7/A9/command", nil, nil) {
		t.Error("a command for a session that has no credential")
	}
	d.subscribe("devices/demo/washer-w7/A9/command")
	if code := d.closed(); code != packets.ErrNotAuthorized.Code {
		t.Errorf("code %#x", code)
	}
	eventually(t, "refusal", func() bool { return slices.Contains(r.reasons(), ReasonFirstContact) })
}
