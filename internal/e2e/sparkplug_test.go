package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// breakable is a device whose connection can break like one that lost its network.
type breakable struct {
	mqtt.Client
	conn net.Conn
}

// breakableWith connects a device; change sets its last will or what else is wanted, and may be nil.
func breakableWith(t testing.TB, p *process, serial, secret string, change func(*mqtt.ClientOptions)) *breakable {
	t.Helper()
	b := &breakable{}
	o := mqtt.NewClientOptions().AddBroker("tcp://" + p.mqtt).SetClientID(serial).SetUsername(tenant + "/" + serial).SetPassword(secret).SetAutoReconnect(false).SetConnectRetry(false)
	o.SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", u.Host)
		b.conn = c
		return c, err
	})
	if change != nil {
		change(o)
	}
	b.Client = mqtt.NewClient(o)
	if tok := b.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatalf("%s connects: %v", serial, tok.Error())
	}
	t.Cleanup(func() { b.Disconnect(0) })
	return b
}

// snap breaks the connection without a word.
func (b *breakable) snap() { b.conn.Close() }

// node is an edge node as Sparkplug B describes it, without the care for its sequence that a good one takes.
type node struct {
	t      testing.TB
	serial string
	conn   *breakable
	bdSeq  int64
	asked  chan string // names of metrics in requests to it
}

const toolSerial, nodeSerial = "SP-TOOL", "SP-EDGE"

func metric(name string, alias uint64, typ wire.SparkplugType, v fleet.Value) wire.SparkplugMetric {
	return wire.SparkplugMetric{Name: name, Alias: alias, HasAlias: alias > 0, Type: typ, Value: v}
}

func whole(n int64) fleet.Value { return fleet.Value{Type: fleet.Integer, Int: n} }
func real64(x float64) fleet.Value {
	return fleet.Value{Type: fleet.Float, Float: x}
}

// begin connects the node with its death as the last will and listens for requests.
func (n *node) begin(p *process, secret string) {
	n.t.Helper()
	will := wire.AppendSparkplug(nil, &wire.SparkplugPayload{Time: time.Now(), Metrics: []wire.SparkplugMetric{metric("bdSeq", 0, wire.SpInt64, whole(n.bdSeq))}})
	n.conn = breakableWith(n.t, p, n.serial, secret, func(o *mqtt.ClientOptions) {
		o.SetBinaryWill("spBv1.0/"+tenant+"/NDEATH/"+n.serial, will, 1, false)
	})
	n.asked = make(chan string, 10)
	tok := n.conn.Subscribe("spBv1.0/"+tenant+"/NCMD/"+n.serial, 1, func(_ mqtt.Client, m mqtt.Message) {
		var d wire.SparkplugDecoder
		var pl wire.SparkplugPayload
		if err := d.Decode(m.Payload(), &pl); err != nil || len(pl.Metrics) != 1 {
			n.asked <- fmt.Sprintf("%d metrics, %v", len(pl.Metrics), err)
			return
		}
		n.asked <- fmt.Sprintf("%s=%d", pl.Metrics[0].Name, pl.Metrics[0].Value.Int)
	})
	if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		n.t.Fatalf("the node subscribes: %v", tok.Error())
	}
}

// say publishes a message with a number; QoS 0, as the specification has it. device is empty for the node itself.
func (n *node) say(kind, device string, seq uint64, at time.Time, ms ...wire.SparkplugMetric) {
	n.t.Helper()
	topic := wire.SparkplugTopic{Tenant: tenant, Kind: kind, Edge: n.serial, Device: device}.String()
	tok := n.conn.Publish(topic, 0, false, wire.AppendSparkplug(nil, &wire.SparkplugPayload{Time: at, Seq: seq, HasSeq: true, Metrics: ms}))
	if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		n.t.Fatalf("publish to %s: %v", topic, tok.Error())
	}
}

// births announces the node and its tool with all their metrics.
func (n *node) births(at time.Time) {
	n.t.Helper()
	n.say(wire.NBirth, "", 0, at, metric("bdSeq", 0, wire.SpInt64, whole(n.bdSeq)), metric("Node Control/Rebirth", 0, wire.SpBoolean, fleet.Value{Type: fleet.Boolean}),
		metric("temp_c", 1, wire.SpFloat, real64(30.5)), metric("tools", 2, wire.SpUInt8, whole(1)))
	n.say(wire.DBirth, toolSerial, 1, at, metric("charge_pct", 11, wire.SpDouble, real64(80)), metric("pack_c", 12, wire.SpFloat, real64(25.5)),
		metric("pack_cycles", 13, wire.SpInt32, whole(100)), metric("charging", 14, wire.SpBoolean, fleet.Value{Type: fleet.Boolean, Int: 1}))
}

// TestSparkplug: a node is born with its tool, reports by alias, misses a number, is asked to be born again and is; then its connection
// breaks and its will says so. All values are in the database under the tool's and the node's own models, with the profiles' types.
// (SEC-07, SEC-08, REL-12)
func TestSparkplug(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := settleFleet(t, dir, []fleet.Device{
		{Key: fleet.DeviceKey{Tenant: tenant, Serial: nodeSerial}, Model: "base-b4", OwnerID: ownerID},
		{Key: fleet.DeviceKey{Tenant: tenant, Serial: toolSerial}, Model: "drill-d18", Parent: nodeSerial, OwnerID: ownerID},
		{Key: fleet.DeviceKey{Tenant: tenant, Serial: "SP-OTHER"}, Model: "drill-d18", OwnerID: ownerID},
	})
	addr := freePort(t)
	p := start(t, dir, nil, "--history.embedded.listen", addr, "--presence.every", "50ms")
	db := database(t, dir, addr)
	at := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	after := func(s int) time.Time { return at.Add(time.Duration(s) * time.Second) }
	n := &node{t: t, serial: nodeSerial, bdSeq: 4}
	n.begin(p, h.secrets[nodeSerial])
	n.births(at)
	n.say(wire.NData, "", 2, after(1), metric("", 1, 0, real64(31)))
	n.say(wire.DData, toolSerial, 3, after(1), metric("", 13, 0, whole(101)), metric("", 11, 0, real64(79.25)), metric("", 12, 0, real64(26)))
	n.say(wire.DData, "SP-OTHER", 4, after(1), metric("charge_pct", 0, wire.SpDouble, real64(1)), metric("pack_c", 0, wire.SpDouble, real64(1))) // not its own
	n.say(wire.NData, "", 5, after(2), metric("tools", 0, 0, whole(1)), metric("temp_c", 0, 0, real64(32)))
	n.say(wire.DData, toolSerial, 9, after(3), metric("", 11, 0, real64(78))) // 6 to 8 are missing
	select {
	case got := <-n.asked:
		if got != "Node Control/Rebirth=1" {
			t.Errorf("the node is asked %s", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the node is not asked to be born again")
	}
	n.births(after(4))
	n.say(wire.DData, toolSerial, 2, after(5), metric("", 11, 0, real64(77)))

	eventually(t, 20*time.Second, func() error {
		return errors.Join(
			hasValues(db.of("base-b4", nodeSerial), "temp_c", "30.5 31 32 30.5"),
			hasValues(db.of("base-b4", nodeSerial), "tools", "1 1 1"),
			hasValues(db.of("drill-d18", toolSerial), "charge_pct", "80 79.25 80 77"),
			hasValues(db.of("drill-d18", toolSerial), "pack_c", "25.5 26 25.5"),
			hasValues(db.of("drill-d18", toolSerial), "pack_cycles", "100 101 100"),
			hasValues(db.of("drill-d18", toolSerial), "charging", strings.Join([]string{"true", "true"}, " ")))
	})
	for field, want := range map[string]string{"charge_pct": "float", "pack_c": "float", "pack_cycles": "integer", "charging": "boolean"} {
		if got := db.types("drill-d18")[field]; got != want {
			t.Errorf("%s is stored as %q, want %q", field, got, want)
		}
	}
	if got := db.types("base-b4")["tools"]; got != "integer" {
		t.Errorf("tools is stored as %q", got)
	}
	if rows := db.of("drill-d18", "SP-OTHER"); len(rows) > 0 {
		t.Errorf("the node spoke for another's tool: %v", rows)
	}
	var aside struct {
		Quarantined []struct{ Serial, Reason string }
	}
	if p.api(t, "/quarantine", &aside); fmt.Sprint(aside.Quarantined) != "[{"+toolSerial+" sparkplug_gap}]" {
		t.Errorf("put aside: %v", aside.Quarantined)
	}

	n.conn.snap()
	eventually(t, 10*time.Second, func() error {
		return errors.Join(p.linkIs(t, nodeSerial, false, "will"), p.linkIs(t, toolSerial, false, "station_lost"))
	})
	n.bdSeq++
	n.begin(p, h.secrets[nodeSerial])
	n.births(after(10))
	eventually(t, 10*time.Second, func() error {
		return errors.Join(p.linkIs(t, nodeSerial, true, "connected", "heard"), p.linkIs(t, toolSerial, true, "heard"))
	})
	n.say(wire.DDeath, toolSerial, 2, after(11))
	eventually(t, 10*time.Second, func() error {
		return errors.Join(p.linkIs(t, nodeSerial, true, "connected", "heard"), p.linkIs(t, toolSerial, false, "disconnected"))
	})
	p.conserved(t)
}

// hasValues says whether a field had these values, in order; rows without it do not count.
func hasValues(rows []map[string]any, field, want string) error {
	var got []byte
	for _, r := range rows {
		if v, ok := r[field]; ok {
			got = fmt.Appendf(got, " %v", v)
		}
	}
	if string(got) != " "+want {
		return fmt.Errorf("%s:%s, want %s", field, got, want)
	}
	return nil
}

// linkIs says whether the API has a device online or not, for one of the causes.
func (p *process) linkIs(t testing.TB, serial string, online bool, causes ...string) error {
	t.Helper()
	var d struct {
		Link *struct {
			Online bool
			Cause  string
		}
	}
	p.api(t, "/devices/"+tenant+"/"+serial, &d)
	if d.Link == nil || d.Link.Online != online || !slices.Contains(causes, d.Link.Cause) {
		return fmt.Errorf("the link of %s is %+v, want online %t, cause %v", serial, d.Link, online, causes)
	}
	return nil
}
