package e2e

import (
	"context"
	"fmt"
	"html"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/mochi-mqtt/server/v2/packets"
)

// bad is one kind of bad input: what is sent, and how the server names it.
type bad struct {
	name   string
	reason string // machine code: the counters' label and what the API says
	words  string // what the page says
	times  int    // how many are sent; 0 is one
	send   func(t *testing.T)
}

// TestBadInputIsShownAndHurtsNobody: while a good device reports, others send what must not get in. Each is refused or put
// aside with a reason that the counters, the API and the page show; the good device's connection lives to the end and everything
// it reported is stored. (SEC-01, SEC-02, SEC-03, SEC-05, SEC-07, SEC-08, REL-12)
func TestBadInputIsShownAndHurtsNobody(t *testing.T) {
	dir := t.TempDir()
	h := settle(t, dir, "BI", 3)
	influx := freePort(t)
	p := start(t, dir, nil, "--history.embedded.listen", influx)
	good := report(t, p, "BI-001", h.secrets["BI-001"])
	sender := connect(t, p, "BI-002", h.secrets["BI-002"])

	t.Run("put aside", func(t *testing.T) {
		for _, b := range payloads(sender) {
			t.Run(b.name, func(t *testing.T) { p.aside(t, good, b) })
		}
	})
	t.Run("a wrong clock is corrected, with a mark", func(t *testing.T) {
		for i, ts := range []int64{1, time.Now().AddDate(100, 0, 0).UnixMilli()} {
			if !publish(sender, "BI-002", "telemetry", fmt.Sprintf(`{"ts":%d,"boot":%d,"seq":1,"cycles":1}`, ts, i+1)) {
				t.Errorf("a reading stamped %d is not acknowledged", ts)
			}
		}
		if n := p.metric(t, "aftercare_readings_clock_corrected_total", ""); n != 2 {
			t.Errorf("%v readings are marked, want 2", n)
		}
	})
	t.Run("refused", func(t *testing.T) {
		for _, b := range append(foreign(p, h, sender), hostile(t, p, h)...) {
			t.Run(b.name, func(t *testing.T) { p.refused(t, good, b) })
		}
	})
	t.Run("random bytes", func(t *testing.T) { randomBytes(t, p) })

	if !sender.IsConnectionOpen() {
		t.Error("the connection that only published bad payloads and foreign topics was cut: a device with a bug must be able to go on")
	}
	acked := good.end(t)
	if lost := p.metric(t, "aftercare_gateway_disconnects_total", ""); lost > 3 { // the oversize packet's, the MQTT 5 device's, the good one's own end
		t.Errorf("%v authenticated connections ended", lost)
	}
	p.conserved(t)
	ours := p.metric(t, "aftercare_readings_in_total", `"system"`) // who came and went
	if stored := p.metric(t, "aftercare_readings_stored_total", ""); stored != float64(len(acked)+2)+ours {
		t.Errorf("%v readings are stored, %v of our own, the good device reported %d, 2 were corrected: nothing else may be", stored, ours, len(acked))
	}
	sameAsInflux(t, dir, influx, acked, 3*50*20)
	if log := p.log.String(); strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
		t.Errorf("something panicked\n%s", log)
	}
	p.stop(t)
}

// payloads are reports of a device on its own topic that cannot be kept: they are acknowledged, because sending them again
// would change nothing, and put aside.
func payloads(c mqtt.Client) []bad {
	now := time.Now().UnixMilli()
	one := func(name, reason, words, payload string) bad {
		return bad{name: name, reason: reason, words: words, send: func(t *testing.T) {
			if !publish(c, "BI-002", "telemetry", payload) {
				t.Error("a payload that is put aside is not acknowledged: the device would send it for ever")
			}
		}}
	}
	return []bad{
		one("malformed JSON", "syntax", "Not valid JSON", `{"cycles":`),
		one("not a number", "syntax", "Not valid JSON", `{"cycles":NaN}`),
		one("not UTF-8", "utf8", "", "{\"cycles\":1,\"note\":\"\xff\xfe\"}"),
		one("nested too deeply", "depth", "Nested too deeply", `{"a":`+strings.Repeat(`{"a":`, 40)+`1`+strings.Repeat(`}`, 41)),
		one("a field twice", "duplicate_key", "A field is named twice", `{"cycles":1,"cycles":2}`),
		one("a number beyond all bounds", "number", "A number cannot be kept", `{"cycles":1,"power_w":1e999}`),
		one("a reading without any field", "no_field", "A reading without any value", fmt.Sprintf(`{"ts":%d,"seq":1}`, now)),
		one("an empty reading", "no_field", "A reading without any value", `{}`),
		one("a time beyond all calendars", "timestamp", "The time stamp cannot be true", fmt.Sprintf(`{"ts":%d,"cycles":1}`, int64(math.MaxInt64))),
		one("a required field is missing", "missing_field", "A required value is missing", `{"power_w":1}`),
		one("a wrong type", "wrong_type", "A value is not of the profile's type", `{"cycles":"many"}`),
		one("out of range", "range", "A value is outside what is possible", `{"cycles":1,"water_l":-5}`),
	}
}

// foreign is what an authenticated device says about others. The payload would be good: nothing of it may be stored.
func foreign(p *process, h household, c mqtt.Client) []bad {
	reading := func() string { return fmt.Sprintf(`{"ts":%d,"seq":1,"cycles":666}`, time.Now().UnixMilli()) }
	topic := func(name, topic string) bad {
		return bad{name: name, reason: "foreign_topic", words: "Not a topic of this device", send: func(t *testing.T) {
			if tok := c.Publish(topic, 1, false, reading()); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
				t.Errorf("MQTT 3.1.1 knows no other answer than an acknowledgement, but there was %v", tok.Error())
			}
		}}
	}
	five := func(name, topic string) bad {
		return bad{name: name, reason: "foreign_topic", words: "Not a topic of this device", send: func(t *testing.T) {
			d := p.dial(t, 5)
			if code := d.connect("BI-003", h.secrets["BI-003"], nil); code != 0 {
				t.Fatalf("refused with %#x", code)
			}
			if code := d.publish(topic, reading()); code != packets.ErrNotAuthorized.Code {
				t.Errorf("PUBACK says %#x, want not authorized", code)
			}
			d.write([]byte{packets.Disconnect << 4, 0})
			d.cutOff()
		}}
	}
	return []bad{
		topic("topic of another device", "devices/demo/washer-w7/BI-001/telemetry"),
		topic("topic of an unknown device", "devices/demo/washer-w7/NOBODY/telemetry"),
		topic("topic of another tenant", "devices/other/washer-w7/BI-002/telemetry"),
		topic("no device topic", "hello"),
		topic("wildcard topic +", "devices/demo/washer-w7/+/telemetry"),
		topic("wildcard topic #", "devices/#"),
		topic("$SYS topic", "$SYS/broker/version"),
		five("topic of another device, MQTT 5", "devices/demo/washer-w7/BI-001/telemetry"),
	}
}

// hostile is what ends the sender's own connection, or never becomes one.
func hostile(t *testing.T, p *process, h household) []bad {
	t.Helper()
	login := func(name, serial, secret string, change func(*packets.Packet)) bad {
		return bad{name: name, reason: "credentials", words: "Wrong credential", send: func(t *testing.T) {
			for version, want := range map[byte]byte{4: packets.Err3NotAuthorized.Code, 5: packets.ErrBadUsernameOrPassword.Code} {
				d := p.dial(t, version)
				if code := d.connect(serial, secret, change); code != want {
					t.Errorf("version %d: CONNACK %#x, want %#x", version, code, want)
				}
				d.cutOff()
			}
		}, times: 2}
	}
	noise := func(name string, b []byte) bad {
		return bad{name: name, reason: "malformed", words: "Not a valid MQTT packet", send: func(t *testing.T) {
			d := p.dial(t, 4)
			d.write(b)
			d.cutOff()
		}}
	}
	return []bad{
		login("wrong credential", "BI-003", "wrong", nil),
		login("anonymous", "BI-003", "", func(pk *packets.Packet) { pk.Connect.UsernameFlag, pk.Connect.PasswordFlag = false, false }),
		login("unknown device", "NOBODY", h.secrets["BI-003"], nil),
		{name: "client id of another device", reason: "client_id", words: "The client id is not the device's own", send: func(t *testing.T) {
			d := p.dial(t, 4)
			if code := d.connect("BI-003", h.secrets["BI-003"], func(pk *packets.Packet) { pk.Connect.ClientIdentifier = "BI-001" }); code == 0 {
				t.Error("accepted")
			}
			d.cutOff()
		}},
		{name: "a will on a foreign topic", reason: "will", words: "The last will is not allowed", times: 2, send: func(t *testing.T) {
			for _, version := range []byte{4, 5} {
				d := p.dial(t, version)
				code := d.connect("BI-003", h.secrets["BI-003"], func(pk *packets.Packet) {
					pk.Connect.WillFlag, pk.Connect.WillTopic = true, "devices/demo/washer-w7/BI-001/status"
					pk.Connect.WillPayload = []byte(`{"online":false}`)
				})
				if code == 0 {
					t.Errorf("version %d: accepted", version)
				}
				d.cutOff()
			}
		}},
		{name: "a packet larger than 64 KiB", reason: "oversize", words: "Larger than 64 KiB", send: func(t *testing.T) {
			d := p.dial(t, 4)
			if code := d.connect("BI-003", h.secrets["BI-003"], nil); code != 0 {
				t.Fatalf("refused with %#x", code)
			}
			d.write([]byte{packets.Publish<<4 | 2, 0x81, 0x80, 0x04}) // announces 65,537 bytes
			d.cutOff()
		}},
		{name: "256 MB announced before anybody is known", reason: "oversize", words: "Larger than 64 KiB", times: 100, send: func(t *testing.T) {
			for range 100 {
				d := p.dial(t, 4)
				d.write([]byte{packets.Connect << 4, 0xff, 0xff, 0xff, 0x7f})
				d.cutOff()
			}
		}},
		noise("a web browser at the wrong port", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")),
		noise("an encrypted connection at the wrong port", clientHello(t)),
		noise("a PUBLISH before the CONNECT", []byte{packets.Publish << 4, 3, 0, 1, 'x'}),
		noise("nothing but 0xff", []byte(strings.Repeat("\xff", 100))),
	}
}

// aside sends what is put aside and asks where it shows.
func (p *process) aside(t *testing.T, good *goodDevice, b bad) {
	t.Helper()
	before := p.metric(t, "aftercare_readings_quarantined_total", label("reason", b.reason))
	b.send(t)
	if n := p.metric(t, "aftercare_readings_quarantined_total", label("reason", b.reason)) - before; n != 1 {
		t.Errorf("the counter for %s rose by %v, want 1", b.reason, n)
	}
	var answer struct {
		Quarantined []struct{ Serial, Reason, Detail, Topic string }
	}
	p.api(t, "/quarantine", &answer)
	if len(answer.Quarantined) == 0 {
		t.Fatal("the API shows nothing put aside")
	}
	newest := answer.Quarantined[0]
	if newest.Serial != "BI-002" || newest.Reason != b.reason || newest.Detail == "" || newest.Topic != "devices/demo/washer-w7/BI-002/telemetry" {
		t.Errorf("the API's newest is %+v", newest)
	}
	p.shows(t, b.words, newest.Detail, newest.Topic)
	good.goesOn(t)
}

// refused sends what is refused and asks where it shows.
func (p *process) refused(t *testing.T, good *goodDevice, b bad) {
	t.Helper()
	want := float64(max(b.times, 1))
	of := func() float64 { return p.metric(t, "aftercare_readings_refused_total", label("reason", b.reason)) }
	before := of()
	b.send(t)
	eventually(t, 10*time.Second, func() error { // a connection that ends is counted when it has ended
		if n := of() - before; n != want {
			return fmt.Errorf("the counter for %s rose by %v, want %v", b.reason, n, want)
		}
		return nil
	})
	var answer struct {
		Refused  map[string]float64
		Refusals []struct{ Door, Source, Reason string }
	}
	p.api(t, "/quarantine", &answer)
	if len(answer.Refusals) == 0 || answer.Refusals[0].Reason != b.reason || answer.Refusals[0].Door != "gateway" || !strings.HasPrefix(answer.Refusals[0].Source, "127.0.0.1") {
		t.Errorf("the API's newest of the refusals is not this one: %+v", answer.Refusals[:min(1, len(answer.Refusals))])
	}
	if answer.Refused[b.reason] != of() {
		t.Errorf("the API counts %v, the metric %v", answer.Refused[b.reason], of())
	}
	p.shows(t, b.words)
	good.goesOn(t)
}

// shows asserts that the page of what did not get in says all of that.
func (p *process) shows(t *testing.T, texts ...string) {
	t.Helper()
	code, page := p.get(t, "/quarantine?lang=en")
	if code != http.StatusOK {
		t.Fatalf("the page answers %d", code)
	}
	page = html.UnescapeString(page)
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
}

func label(name, value string) string { return fmt.Sprintf("%s=%q", name, value) }

// randomBytes sends noise that may look like the beginning of a packet: each connection ends and is counted.
func randomBytes(t *testing.T, p *process) {
	const n = 200
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 2))
	ended := func() float64 {
		return p.metric(t, "aftercare_gateway_connects_total", "") - p.metric(t, "aftercare_gateway_connects_total", label("result", "accepted"))
	}
	before := ended()
	for range n {
		d := p.dial(t, 4)
		b := make([]byte, 1+dice.IntN(2000))
		for i := range b {
			b[i] = byte(dice.Uint32())
		}
		if _, err := d.c.Write(b); err == nil { // it may have been cut off meanwhile
			_ = d.c.(*net.TCPConn).CloseWrite()
		}
		d.cutOff()
	}
	eventually(t, 10*time.Second, func() error {
		if got := ended() - before; got != n {
			return fmt.Errorf("%v of %d connections are counted", got, n)
		}
		return nil
	})
}

// goodDevice publishes all the time on one connection.
type goodDevice struct {
	client mqtt.Client
	lost   atomic.Bool
	n      atomic.Int64 // readings acknowledged, all from 1 to n
	stop   context.CancelFunc
	done   chan struct{}
}

// report connects a device that publishes a reading every few milliseconds until end is called.
func report(t *testing.T, p *process, serial, secret string) *goodDevice {
	t.Helper()
	g := &goodDevice{done: make(chan struct{})}
	g.client = mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + p.mqtt).SetClientID(serial).SetUsername(tenant + "/" + serial).SetPassword(secret).
		SetAutoReconnect(false).SetConnectRetry(false).SetConnectionLostHandler(func(mqtt.Client, error) { g.lost.Store(true) }))
	if tok := g.client.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatalf("%s connects: %v", serial, tok.Error())
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	go func() {
		defer close(g.done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			seq := g.n.Load() + 1
			if !publish(g.client, serial, "telemetry", fmt.Sprintf(`{"ts":%d,"boot":1,"seq":%d,"cycles":1}`, time.Now().UnixMilli(), seq)) {
				return
			}
			g.n.Store(seq)
		}
	}()
	t.Cleanup(func() { cancel(); <-g.done; g.client.Disconnect(0) })
	return g
}

// goesOn asserts that the device is still connected and heard: something it sends from now on is acknowledged.
func (g *goodDevice) goesOn(t *testing.T) {
	t.Helper()
	from := g.n.Load()
	eventually(t, 10*time.Second, func() error {
		if g.lost.Load() || !g.client.IsConnectionOpen() {
			t.Fatal("the good device lost its connection")
		}
		if g.n.Load() < from+2 { // the first may have been on its way
			return errNotYet
		}
		return nil
	})
}

// end stops it and returns what was acknowledged.
func (g *goodDevice) end(t *testing.T) map[string]bool {
	t.Helper()
	g.goesOn(t)
	g.stop()
	<-g.done
	if g.lost.Load() || !g.client.IsConnectionOpen() {
		t.Error("the good device lost its connection")
	}
	g.client.Disconnect(100)
	acked := map[string]bool{}
	for seq := int64(1); seq <= g.n.Load(); seq++ {
		acked[fmt.Sprintf("BI-001 1 %d", seq)] = true
	}
	return acked
}
