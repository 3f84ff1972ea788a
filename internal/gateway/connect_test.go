package gateway

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

func withWill(topic string, qos byte, retain bool) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		c := &pk.Connect
		c.WillFlag, c.WillTopic, c.WillPayload, c.WillQos, c.WillRetain = true, topic, []byte(`{"online":false}`), qos, retain
	}
}

// SEC-02: wills.
func TestSEC02WillMatrix(t *testing.T) {
	const own = "devices/demo/washer-w7/A1/status"
	for _, version := range []byte{4, 5} {
		r := start(t, newInbox(false))
		for _, c := range []struct {
			topic  string
			qos    byte
			retain bool
			ok     bool
		}{
			{own, 0, false, true},
			{own, 1, false, true},
			{own, 1, true, version == 4},
			{own, 2, false, false},
			{"devices/demo/washer-w7/A1/telemetry", 0, false, false},
			{"devices/demo/washer-w7/A2/status", 0, false, false},
			{"devices/other/washer-w7/A1/status", 0, false, false},
			{"devices/demo/+/A1/status", 0, false, false},
			{"devices/demo/washer-w7/A1/#", 0, false, false},
			{"$SYS/broker/version", 0, false, false},
			{"$share/g/" + own, 0, false, false},
		} {
			before := len(r.reasons())
			d := r.dial(t, version)
			code := d.connect("demo/A1", "pw-A1", "A1", withWill(c.topic, c.qos, c.retain))
			if (code == 0) != c.ok {
				t.Errorf("version %d, %+v: code %#x", version, c, code)
			}
			if !c.ok {
				d.closed()
				eventually(t, "refusal counted", func() bool { return len(r.reasons()) == before+1 })
				if got := r.reasons()[before]; got != ReasonWill {
					t.Errorf("version %d, %+v: reason %q", version, c, got)
				}
			}
		}
	}
}

func TestWillIsSentWhenTheDeviceIsLost(t *testing.T) {
	const own = "devices/demo/washer-w7/A1/status"
	for _, c := range []struct {
		name    string
		version byte
		end     func(*device)
		sent    bool
	}{
		{"lost", 4, func(d *device) { _ = d.c.Close() }, true},
		{"malformed", 4, func(d *device) { _, _ = d.c.Write([]byte{0xf1, 0}) }, true},
		{"disconnect", 4, func(d *device) { d.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}}) }, false},
		{"disconnect 5", 5, func(d *device) { d.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}}) }, false},
		{"disconnect with will", 5, func(d *device) {
			d.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: 4})
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := newInbox(false)
			r := start(t, in)
			d := r.device(t, c.version, "A1", withWill(own, 1, false))
			c.end(d)
			eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
			got := in.all()
			if (len(got) == 1) != c.sent {
				t.Fatalf("%d messages", len(got))
			}
			if c.sent && (got[0].Topic != own || got[0].Speaker.Serial != "A1" || got[0].Ack != nil || string(got[0].Payload) != `{"online":false}`) {
				t.Errorf("will %+v", got[0])
			}
		})
	}
}

// The same client id connecting again takes over: the device is there, so its will stays unsaid.
func TestTakeOverSendsNoWillAndKeepsTheNewConnection(t *testing.T) {
	in := newInbox(false)
	r := start(t, in)
	for range 5 {
		old := r.device(t, 5, "A1", withWill("devices/demo/washer-w7/A1/status", 0, false))
		d := r.device(t, 5, "A1")
		if code := old.closed(); code != packets.ErrSessionTakenOver.Code {
			t.Errorf("code %#x", code)
		}
		eventually(t, "old connection over", func() bool { return r.metric("connections", "") == 1 })
		d.send(publish(topic("A1"), 1, 1))
		d.acked(1)
		r.Gateway.mu.Lock()
		if r.sessions["demo/A1|A1"] == nil || len(r.devices[a1]) != 1 {
			t.Error("the new connection is forgotten")
		}
		r.Gateway.mu.Unlock()
		_ = d.c.Close()
		eventually(t, "new connection over", func() bool { return r.metric("connections", "") == 0 })
	}
	if got := in.topics(); slices.Contains(got, "devices/demo/washer-w7/A1/status") {
		t.Error("will was sent")
	}
}

func TestDelayedWill(t *testing.T) {
	in := newInbox(false)
	r := start(t, in)
	delayed := func(pk *packets.Packet) {
		withWill("devices/demo/washer-w7/A1/status", 0, false)(pk)
		pk.Connect.WillProperties.WillDelayInterval = 1
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 60, true
	}
	d := r.device(t, 5, "A1", delayed)
	_ = d.c.Close()
	eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
	d = r.device(t, 5, "A1", delayed) // back in time
	r.Gateway.mu.Lock()
	waiting := len(r.delayed)
	r.Gateway.mu.Unlock()
	if waiting != 0 || len(in.all()) != 0 {
		t.Errorf("%d waiting, %d sent", waiting, len(in.all()))
	}
	_ = d.c.Close()
	in.wait(t, 1)
}

// SEC-02: subscriptions.
func TestSEC02SubscribeMatrix(t *testing.T) {
	filters := map[string]bool{
		"devices/demo/washer-w7/A1/command":           true,
		"devices/demo/washer-w7/A2/command":           false,
		"devices/other/washer-w7/A1/command":          false,
		"devices/demo/+/A1/command":                   false,
		"devices/demo/washer-w7/A1/#":                 false,
		"devices/demo/washer-w7/A1/+":                 false,
		"devices/demo/washer-w7/A1/telemetry":         false,
		"devices/demo/washer-w7/A1/telemetry/command": false,
		"+/+/+/+/+":  false,
		"#":          false,
		"$SYS/#":     false,
		"$share/x/#": false,
		"$share/x/devices/demo/washer-w7/A1/command": false,
		"devices/demo/drill-d1/T1/command":           false,
	}
	for _, version := range []byte{4, 5} {
		r := start(t, newInbox(false))
		d := r.device(t, version, "A1")
		for f, ok := range filters {
			code := d.subscribe(f)
			if (code < 0x80) != ok {
				t.Errorf("version %d, %s: code %#x", version, f, code)
			}
		}
		if r.Publish(a1, "devices/demo/washer-w7/A1/telemetry", nil, nil) {
			t.Error("somebody would get telemetry")
		}
		if got := r.reasons(); len(got) != len(filters)-1 || got[0] != ReasonSubscription {
			t.Errorf("version %d: refused %q", version, got)
		}
		b := r.device(t, version, "B1")
		if code := b.subscribe("devices/demo/drill-d1/T1/command"); code >= 0x80 {
			t.Errorf("base station: code %#x", code)
		}
	}
}

func (d *device) subscribe(filter string) byte {
	d.t.Helper()
	d.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 9,
		Filters: packets.Subscriptions{{Filter: filter, Qos: 1}}})
	pk := d.read()
	if pk.FixedHeader.Type != packets.Suback || len(pk.ReasonCodes) != 1 {
		d.t.Fatalf("packet type %d instead of SUBACK", pk.FixedHeader.Type)
	}
	return pk.ReasonCodes[0]
}

func TestSubscriptionLimit(t *testing.T) {
	d := start(t, newInbox(false), func(c *Config, _ *Deps) { c.MaxSubscriptions = 2 }).device(t, 4, "A1")
	for i, ok := range []bool{true, true, false} {
		if code := d.subscribe(fmt.Sprintf("devices/demo/m%d/A1/command", i)); (code < 0x80) != ok {
			t.Errorf("%d: code %#x", i, code)
		}
	}
	if code := d.subscribe("devices/demo/m0/A1/command"); code >= 0x80 {
		t.Errorf("again: code %#x", code)
	}
}

// SEC-03: a client id is the device's own, and no other device's session can be taken over.
func TestSEC03ClientID(t *testing.T) {
	r := start(t, newInbox(false))
	for id, ok := range map[string]bool{"A1": true, "demo/A1": true, "A1-x": true, "A1:2": true, "A1/2": true, "demo/A1-1": true,
		"": false, "A2": false, "A12": false, "A1x": false, "demo/A12": false, "other/A1": false, "xA1": false} {
		for version, no := range map[byte]byte{4: 2, 5: packets.ErrClientIdentifierNotValid.Code} {
			code := r.dial(t, version).connect("demo/A1", "pw-A1", id)
			if ok && code != 0 || !ok && code != no {
				t.Errorf("version %d, client id %q: code %#x", version, id, code)
			}
		}
	}
}

func TestSEC03NoTakeOverAcrossDevices(t *testing.T) {
	r := start(t, newInbox(false))
	victim := r.dial(t, 4)
	if code := victim.connect("demo/A-1", "pw-A-1", "A-1"); code != 0 {
		t.Fatal(code)
	}
	if code := r.dial(t, 4).connect("demo/A", "pw-A", "A-1"); code != 0 {
		t.Fatal(code)
	}
	if code := r.dial(t, 4).connect("other/A-1", "pw-A-1", "A-1"); code != 0 {
		t.Fatal(code)
	}
	victim.ping()
}

func TestSEC10WrongCredentials(t *testing.T) {
	r := start(t, newInbox(false))
	good := r.device(t, 4, "A1")
	try := func(version byte, user, password string) byte {
		d := r.dial(t, version)
		code := d.connect(user, password, "A2")
		if code != 0 {
			d.closed()
		}
		return code
	}
	for _, c := range [][2]string{{"demo/A2", "guess"}, {"A2", "pw-A2"}, {"", ""}, {"demo/A2/x", "pw-A2"}, {"demo/#", "pw-#"}} {
		if code := try(4, c[0], c[1]); code != 5 {
			t.Errorf("%q: code %#x", c, code)
		}
	}
	if code := try(5, "demo/A2", "guess"); code != packets.ErrBadUsernameOrPassword.Code {
		t.Errorf("code %#x", code)
	}
	try(5, "demo/A2", "guess")
	asked := r.auth.asked
	if code := try(5, "demo/A2", "pw-A2"); code != packets.ErrServerUnavailable.Code || r.auth.asked != asked {
		t.Errorf("no back-off: code %#x", code)
	}
	if code := try(4, "demo/A3", "guess"); code != 5 { // another device behind the same address is not delayed
		t.Errorf("code %#x", code)
	}
	good.ping()
	for reason, want := range map[string]int{ReasonCredentials: 8, ReasonBackoff: 1, ReasonPacket: 0} {
		eventually(t, fmt.Sprint(want, " times ", reason), func() bool {
			return len(slices.DeleteFunc(r.reasons(), func(s string) bool { return s != reason })) == want
		})
	}
	r.auth.err = errors.New("registry is loading")
	if code := try(4, "demo/A4", "pw-A4"); code != 3 {
		t.Errorf("registry away: code %#x", code)
	}
}

// SEC-09: revoking ends live connections.
func TestSEC09DisconnectOnRevoke(t *testing.T) {
	in := newInbox(false)
	r := start(t, in)
	d := r.device(t, 5, "A1", withWill("devices/demo/washer-w7/A1/status", 0, false))
	other := r.device(t, 5, "A2")
	r.auth.mu.Lock()
	r.auth.revoked["demo/A1"] = true
	r.auth.mu.Unlock()
	r.Disconnect(fleet.DeviceKey{Tenant: "demo", Serial: "A1"})
	if code := d.closed(); code != packets.ErrAdministrativeAction.Code {
		t.Errorf("code %#x", code)
	}
	if code := r.dial(t, 5).connect("demo/A1", "pw-A1", "A1"); code != packets.ErrBadUsernameOrPassword.Code {
		t.Errorf("code %#x", code)
	}
	other.ping()
	eventually(t, "connection over", func() bool { return r.metric("disconnects_total", "revoked") == 1 })
	if len(in.all()) != 0 {
		t.Error("will of a revoked device was sent")
	}
}

func TestConnackSaysWhatIsAvailable(t *testing.T) {
	d := start(t, newInbox(false)).dial(t, 5)
	d.sendConnect("demo/A1", "pw-A1", "A1", func(pk *packets.Packet) {
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 1<<31, true
	})
	p := d.read().Properties
	if p.ReceiveMaximum != 256 || p.MaximumPacketSize != 64<<10 || !p.MaximumQosFlag || p.MaximumQos != 1 ||
		!p.RetainAvailableFlag || p.RetainAvailable != 0 || p.WildcardSubAvailableFlag || p.SubIDAvailableFlag ||
		!p.SharedSubAvailableFlag || p.SharedSubAvailable != 0 || p.TopicAliasMaximum != 0 || p.SessionExpiryInterval != 3600 {
		t.Errorf("%+v", p)
	}
}
