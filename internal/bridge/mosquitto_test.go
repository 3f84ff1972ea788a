package bridge

import (
	"fmt"
	"slices"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// publisher sends each payload until the broker has acknowledged it, connecting again when it must.
type publisher struct {
	t      *testing.T
	addr   string
	client mqtt.Client
}

func (p *publisher) connect() {
	p.t.Helper()
	eventually(p.t, "publisher connects", func() bool {
		o := mqtt.NewClientOptions().AddBroker("tcp://" + p.addr).SetClientID("publisher").SetAutoReconnect(false).
			SetProtocolVersion(4).SetWriteTimeout(time.Second)
		p.client = mqtt.NewClient(o)
		token := p.client.Connect()
		token.Wait()
		return token.Error() == nil
	})
}

func (p *publisher) publish(payload string) {
	p.t.Helper()
	for {
		if p.client != nil && p.client.IsConnected() {
			token := p.client.Publish("devices/demo/washer-w7/A1/telemetry", 1, false, payload)
			if token.WaitTimeout(2*time.Second) && token.Error() == nil {
				return
			}
			p.client.Disconnect(100)
		}
		p.connect()
	}
}

func (p *publisher) close() { p.client.Disconnect(500) }

// The broker is stopped in the middle, while messages are unanswered, and started again: everything arrives, in order, and
// what was not answered is delivered again.
func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	m := newRealBroker(t)
	in := newInbox(false)
	r := start(t, m.addr, in, patient)
	eventually(t, "subscribed", r.subscribed)
	p := &publisher{t: t, addr: m.addr}
	var want []string
	send := func(n int) {
		for range n {
			payload := fmt.Sprintf(`{"seq":%d}`, len(want)+1)
			p.publish(payload)
			want = append(want, payload)
		}
	}
	send(200)
	in.until(t, "the first 200", func() bool { return len(in.firsts()) == 200 })
	in.mu.Lock()
	in.hold = true
	in.mu.Unlock()
	send(100) // more than the broker has in flight: the rest waits there
	in.until(t, "a full window", func() bool { return len(in.firsts()) == 250 })

	m.stop()
	eventually(t, "bridge sees it", func() bool { return r.Check(t.Context()) != nil })
	in.release() // too late for their connection: they must come again
	m.start()
	send(200)
	in.until(t, "all 500", func() bool { return len(in.firsts()) == 500 })
	if got := in.firsts(); !slices.Equal(got, want) {
		t.Errorf("order of arrival differs: %v", got)
	}
	all := in.payloads()
	for _, held := range want[200:250] {
		if n := len(slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s != held })); n < 2 {
			t.Errorf("%s was unanswered when the broker stopped, but came %d time(s)", held, n)
		}
	}
	for _, m := range in.got {
		if !m.Trusted || m.Door != "bridge" || m.Topic != "devices/demo/washer-w7/A1/telemetry" || m.Speaker.Serial != "" {
			t.Fatalf("inbound %+v", m)
		}
	}
	eventually(t, "all acknowledged", func() bool { held, _ := r.w.state(); return held == 0 })

	// What the broker gets while we are away is kept for us, and nothing that was acknowledged comes again.
	r.stop()
	send(50)
	before := len(in.payloads())
	in2 := newInbox(false)
	r2 := start(t, m.addr, in2, patient)
	in2.until(t, "the last 50", func() bool { return len(in2.firsts()) >= 50 })
	if got := in2.payloads(); !slices.Equal(got, want[500:]) {
		t.Errorf("after the break: %v", got)
	}
	if after := len(in.payloads()); after != before {
		t.Errorf("%d messages after the end", after-before)
	}
	r2.stop()
	p.close()
}

func patient(c *Config) { c.WriteTimeout = patience }

func TestSharedSubscriptionAndRetained(t *testing.T) {
	t.Parallel()
	m := newRealBroker(t)
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + m.addr).SetAutoReconnect(false).SetProtocolVersion(4))
	token := c.Connect()
	token.Wait()
	c.Publish("devices/demo/washer-w7/A1/status", 1, true, `{"online":true}`).Wait()

	alone := newInbox(false)
	ra := start(t, m.addr, alone, func(c *Config) { c.ClientID = "alone" })
	eventually(t, "retained refused", func() bool { return slices.Equal(ra.reasons(), []string{ReasonRetained}) })

	one, two := newInbox(false), newInbox(false)
	r1 := start(t, m.addr, one, func(c *Config) { c.ClientID, c.Share = "one", "bridges" })
	r2 := start(t, m.addr, two, func(c *Config) { c.ClientID, c.Share = "two", "bridges" })
	eventually(t, "subscribed", func() bool { return r1.subscribed() && r2.subscribed() && ra.subscribed() })
	for i := range 40 {
		c.Publish("devices/demo/washer-w7/A1/telemetry", 1, false, fmt.Sprint(i)).Wait()
	}
	eventually(t, "all messages, once", func() bool { return len(one.payloads())+len(two.payloads()) == 40 })
	if len(one.payloads()) == 0 || len(two.payloads()) == 0 {
		t.Errorf("%d and %d: not shared", len(one.payloads()), len(two.payloads()))
	}
	c.Disconnect(500)
}
