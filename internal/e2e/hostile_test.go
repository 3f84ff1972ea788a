package e2e

import (
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

// subscribe asks for a filter and returns the code of the SUBACK.
func (d *rawDevice) subscribe(filter string) byte {
	d.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, ProtocolVersion: d.v, PacketID: 9,
		Filters: packets.Subscriptions{{Filter: filter, Qos: 1}}}
	var b bytes.Buffer
	if err := pk.SubscribeEncode(&b); err != nil {
		d.t.Fatal(err)
	}
	d.write(b.Bytes())
	fixed := make([]byte, 2)
	if _, err := io.ReadFull(d.r, fixed); err != nil {
		d.t.Fatalf("no answer to the filter %q: %v", filter, err)
	}
	body := make([]byte, fixed[1])
	if _, err := io.ReadFull(d.r, body); err != nil || fixed[0] != packets.Suback<<4 {
		d.t.Fatalf("the answer to the filter %q is %#x %x, %v", filter, fixed[0], body, err)
	}
	return body[len(body)-1]
}

// TestNobodySpeaksOrListensForOthers: a device with a good credential asks for what is others', in both versions of MQTT: their commands,
// everything, the broker's own, another tenant's; it speaks for others, for their children and for its station, in both topic
// families. All is refused, each command goes to its device alone, and nothing of it is stored. (SEC-02, SEC-03)
func TestNobodySpeaksOrListensForOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	device := func(serial, model, parent string) fleet.Device {
		return fleet.Device{Key: fleet.DeviceKey{Tenant: tenant, Serial: serial}, Model: model, Parent: parent, OwnerID: ownerID}
	}
	h := settleFleet(t, dir, []fleet.Device{device("HO-1", "washer-w7", ""), device("HO-10", "washer-w7", ""), device("HO-SPY", "washer-w7", ""),
		device("HO-BASE", "base-b4", ""), device("HO-TOOL", "drill-d18", "HO-BASE"), device("HO-OWN", "drill-d18", "HO-SPY")})
	addr := freePort(t)
	p := start(t, dir, nil, append([]string{"--history.embedded.listen", addr}, inHaste...)...)
	victim := listen(t, p, "washer-w7", "HO-1", h.secrets["HO-1"])
	neighbour := listen(t, p, "washer-w7", "HO-10", h.secrets["HO-10"])
	for _, version := range []byte{4, 5} {
		spy := p.dial(t, version)
		if code := spy.connect("HO-SPY", h.secrets["HO-SPY"], nil); code != 0 {
			t.Fatalf("version %d: refused with %#x", version, code)
		}
		for _, filter := range []string{"devices/demo/washer-w7/HO-1/command", "devices/demo/washer-w7/+/command", "devices/demo/+/HO-1/command", "devices/demo/drill-d18/HO-TOOL/command",
			"devices/demo/washer-w7/HO-1/telemetry", "devices/demo/washer-w7/HO-1/#", "devices/+/+/+/command", "devices/#", "+/#", "#", "devices/other/washer-w7/HO-SPY/command",
			"$SYS/#", "$share/g/devices/demo/washer-w7/HO-1/command", "$share/g/#", "spBv1.0/#", "spBv1.0/demo/NCMD/HO-BASE", "spBv1.0/demo/NCMD/+", "spBv1.0/demo/DCMD/HO-BASE/HO-TOOL"} {
			if code := spy.subscribe(filter); code < 0x80 {
				t.Errorf("version %d: the filter %q is granted with %#x", version, filter, code)
			}
		}
		if code := spy.subscribe("devices/demo/washer-w7/HO-SPY/command"); code >= 0x80 {
			t.Errorf("version %d: its own commands are refused with %#x", version, code)
		}
		p.speaksForOthers(t, spy)
		spy.write([]byte{packets.Disconnect << 4, 0})
		spy.cutOff()
	}
	p.takesOver(t, h)

	id := p.sent(t, "HO-1", "identify")
	if o := victim.next(10 * time.Second); o.ID != id {
		t.Errorf("the device was asked %+v", o)
	}
	neighbour.answer(id, `"status":"done"`) // not its command, though a command's id
	eventually(t, 10*time.Second, func() error {
		if n := p.metric(t, "aftercare_command_replies_total", label("outcome", "foreign")); n != 1 {
			return fmt.Errorf("%v foreign answers are counted", n)
		}
		return nil
	})
	if c := p.command(t, id); c.Final {
		t.Errorf("another device's answer made the command %s", c.State)
	}
	victim.answer(id, `"status":"done"`)
	p.comesTo(t, id, "done")
	if len(neighbour.orders) > 0 {
		t.Errorf("the neighbour got %+v", <-neighbour.orders)
	}
	if !publish(victim.c, "HO-1", "telemetry", `{"boot":1,"seq":1,"cycles":1}`) {
		t.Error("the victim's connection is gone")
	}
	db := database(t, dir, addr)
	eventually(t, 15*time.Second, func() error { return hasValues(db.of("washer-w7", "HO-1"), "cycles", "1") })
	for _, m := range []string{"washer-w7", "base-b4", "drill-d18", "event", "status"} {
		if rows := db.ask(fmt.Sprintf("SELECT * FROM %q", m)); len(rows) != map[string]int{"washer-w7": 1}[m] {
			t.Errorf("%s holds %v", m, rows)
		}
	}
	p.conserved(t)
}

// speaksForOthers publishes what would be stored if it were the others'.
func (p *process) speaksForOthers(t *testing.T, spy *rawDevice) {
	t.Helper()
	for topic, payload := range map[string]string{
		"devices/demo/washer-w7/HO-1/telemetry":    `{"seq":1,"cycles":666}`,
		"devices/demo/washer-w7/HO-1/reply":        `{"id":"x","status":"done"}`,
		"devices/demo/washer-w7/HO-1/status":       `{"online":false}`,
		"devices/demo/washer-w7/HO-1/event":        `{"code":"E18"}`,
		"devices/demo/washer-w7/HO-1/command":      `{"id":"x","name":"restart"}`,
		"devices/demo/washer-w7/HO-SPY/command":    `{"id":"x","name":"restart"}`,
		"devices/demo/drill-d18/HO-TOOL/telemetry": `{"charge_pct":66,"pack_c":6}`,
		"devices/demo/base-b4/HO-BASE/telemetry":   `{"temp_c":66}`,
		"devices/demo/fridge-f3/HO-SPY/telemetry":  `{"fridge_c":6,"freezer_c":6}`, // not its model
		"devices/other/washer-w7/HO-SPY/telemetry": `{"cycles":666}`,
		"spBv1.0/demo/NDEATH/HO-BASE":              "",
		"spBv1.0/demo/NBIRTH/HO-BASE":              "",
		"spBv1.0/demo/DDATA/HO-SPY/HO-TOOL":        "",
		"spBv1.0/demo/NCMD/HO-BASE":                "",
		"spBv1.0/other/NDATA/HO-SPY":               "",
		"$share/g/devices/demo/washer-w7/HO-1/x":   "x",
	} {
		before := p.metric(t, "aftercare_readings_refused_total", "") + p.metric(t, "aftercare_readings_quarantined_total", "")
		code := spy.send(topic, []byte(payload), "")
		if spy.v == 5 && code < 0x80 && topic != "devices/demo/fridge-f3/HO-SPY/telemetry" {
			t.Errorf("%s is acknowledged with %#x", topic, code)
		}
		eventually(t, 5*time.Second, func() error {
			if n := p.metric(t, "aftercare_readings_refused_total", "") + p.metric(t, "aftercare_readings_quarantined_total", "") - before; n != 1 {
				return fmt.Errorf("%s: %v are counted as refused or put aside", topic, n)
			}
			return nil
		})
	}
}

// takesOver tries to push others out of their sessions, and to log in as one of those that have no credential.
func (p *process) takesOver(t *testing.T, h household) {
	t.Helper()
	for _, x := range []struct {
		name, reason string
		change       func(*packets.Packet)
	}{
		{"the client id of another", "client_id", func(pk *packets.Packet) { pk.Connect.ClientIdentifier = "HO-10" }},
		{"another with the tenant in front", "client_id", func(pk *packets.Packet) { pk.Connect.ClientIdentifier = "demo/HO-10" }},
		{"no client id", "client_id", func(pk *packets.Packet) { pk.Connect.ClientIdentifier = "" }},
		{"a will for another", "will", func(pk *packets.Packet) { will(pk, "devices/demo/washer-w7/HO-10/status") }},
		{"a will as another's death", "will", func(pk *packets.Packet) { will(pk, "spBv1.0/demo/NDEATH/HO-BASE") }},
		{"a will as a command", "will", func(pk *packets.Packet) { will(pk, "devices/demo/washer-w7/HO-10/command") }},
		{"another's name with its own secret", "credentials", func(pk *packets.Packet) { pk.Connect.Username = []byte("demo/HO-10") }},
		{"another tenant", "credentials", func(pk *packets.Packet) { pk.Connect.Username = []byte("other/HO-1") }},
		{"a name with more than tenant and serial", "credentials", func(pk *packets.Packet) { pk.Connect.Username = []byte("demo/HO-1/HO-10") }},
		{"a tool that its station speaks for", "credentials", func(pk *packets.Packet) {
			pk.Connect.Username, pk.Connect.ClientIdentifier = []byte("demo/HO-TOOL"), "HO-TOOL"
		}},
		{"a provisioning secret made up", "credentials", func(pk *packets.Packet) { pk.Connect.Password = []byte("prov.ABCDEFGHIJKLMNOPQRSTUVWXYZ") }},
		{"a provisioning secret of nothing", "credentials", func(pk *packets.Packet) {
			pk.Connect.Username, pk.Connect.Password = []byte("demo/HO-BASE"), []byte("prov.")
		}},
	} {
		of := func() float64 { return p.metric(t, "aftercare_readings_refused_total", label("reason", x.reason)) }
		before := of()
		for _, version := range []byte{4, 5} {
			d := p.dial(t, version)
			if code := d.connect("HO-1", h.secrets["HO-1"], x.change); code == 0 {
				t.Errorf("version %d: %s is accepted", version, x.name)
			}
			d.cutOff()
		}
		eventually(t, 5*time.Second, func() error {
			if n := of() - before; n != 2 {
				return fmt.Errorf("%s: %v of 2 are refused as %s", x.name, n, x.reason)
			}
			return nil
		})
	}
}

func will(pk *packets.Packet, topic string) {
	pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload, pk.Connect.WillQos = true, topic, []byte(`{"online":false}`), 1
}
