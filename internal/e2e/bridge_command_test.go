package e2e

import (
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"aftercare/internal/fleet"
)

// TestCommandThroughBridge: a device behind Mosquitto gets a command and answers it; when its connection breaks, the last will that
// Mosquitto publishes tells that it is gone. (REL-12)
func TestCommandThroughBridge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	settle(t, dir, "BC", 1)
	m := newMosquitto(t)
	p := start(t, dir, nil, append([]string{"--bridge.enabled", "true", "--bridge.url", "tcp://" + m.addr}, inHaste...)...)
	p.bridged(t)

	topic := "devices/demo/washer-w7/BC-001/"
	wire, err := new(net.Dialer).DialContext(t.Context(), "tcp", m.addr)
	if err != nil {
		t.Fatal(err)
	}
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://"+m.addr).SetClientID("BC-001").SetAutoReconnect(false).SetConnectRetry(false).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return wire, nil }).
		SetWill(topic+"status", `{"online":false,"reason":"will"}`, 1, false))
	if tok := c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	device := hears(t, c, topic)
	if tok := c.Publish(topic+"telemetry", 1, false, `{"boot":1,"seq":1,"cycles":1}`); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	eventually(t, 10*time.Second, func() error { return p.linkIs(t, "BC-001", true, "heard") })

	id := p.sent(t, "BC-001", "identify")
	if o := device.next(20 * time.Second); o.ID != id || o.Name != "identify" {
		t.Errorf("%+v came, want %s", o, id)
	}
	device.answer(id, `"status":"done"`)
	p.comesTo(t, id, "done")

	_ = wire.Close()
	eventually(t, 10*time.Second, func() error { return p.linkIs(t, "BC-001", false, "will") })
	p.conserved(t)
}

// TestCommandThroughStation: a tool that has no connection of its own is asked through its base station, and answers through it.
func TestCommandThroughStation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := func(serial, model, parent string) fleet.Device {
		return fleet.Device{Key: fleet.DeviceKey{Tenant: tenant, Serial: serial}, Model: model, Parent: parent, OwnerID: ownerID}
	}
	h := settleFleet(t, dir, []fleet.Device{one("CS-BASE", "base-b4", ""), one("CS-TOOL", "drill-d18", "CS-BASE")})
	p := start(t, dir, nil, inHaste...)
	station := connect(t, p, "CS-BASE", h.secrets["CS-BASE"])
	tool := hears(t, station, fmt.Sprintf("devices/%s/drill-d18/CS-TOOL/", tenant))
	id := p.sent(t, "CS-TOOL", "identify")
	if o := tool.next(20 * time.Second); o.ID != id {
		t.Errorf("%+v came, want %s", o, id)
	}
	tool.answer(id, `"status":"done","result":{"blinked":3}`)
	if c := p.comesTo(t, id, "done"); string(c.Result) != `{"blinked":3}` {
		t.Errorf("result %s", c.Result)
	}
	p.conserved(t)
}
