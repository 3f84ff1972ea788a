package bridge

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

var defaults = slices.Sorted(slices.Values(DefaultConfig().Topics))

// A broker that has forgotten us: subscribed again, and said, because what came while we were away is gone.
func TestSessionLost(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	r := start(t, s.addr(), newInbox(false))
	s.accept(1)
	eventually(t, "subscribed", r.subscribed)
	_ = s.c.Close()
	s.connack(1, 0) // it still knows us
	s.suback(1)
	eventually(t, "subscribed", r.subscribed)
	_ = s.c.Close()
	s.connack(0, 0)
	if got := s.suback(1); !slices.Equal(got, defaults) {
		t.Errorf("subscribed to %q", got)
	}
	eventually(t, "subscribed", r.subscribed)
	for _, name := range []string{"new", "resumed", "lost"} {
		if n := r.metric("sessions_total", name); n != 1 {
			t.Errorf("%v sessions counted as %s", n, name)
		}
	}
	if n := r.log.has("may have been lost"); n != 1 {
		t.Errorf("%d warnings", n)
	}
}

// Filters of an older configuration live on in the broker's session: they are unsubscribed, also after a crash in between.
func TestChangedTopics(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	dir := t.TempDir()
	state := func(topics ...string) func(*Config) {
		return func(c *Config) { c.StateFile, c.Topics = filepath.Join(dir, "bridge.json"), topics }
	}
	first := start(t, s.addr(), newInbox(false), state("a/+", "b/#"))
	s.connack(0, 0)
	s.suback(1)
	eventually(t, "subscribed", first.subscribed)
	first.stop()

	second := start(t, s.addr(), newInbox(false), state("b/#", "c"))
	s.connack(1, 0)
	if pk := s.read(packets.Unsubscribe); !slices.Equal(filtersOf(pk), []string{"a/+"}) {
		t.Errorf("unsubscribed %q", filtersOf(pk))
	}
	_ = s.c.Close() // before the answer
	s.connack(1, 0)
	if got := s.unsuback(); !slices.Equal(got, []string{"a/+"}) {
		t.Errorf("unsubscribed %q", got)
	}
	if got := s.suback(1); !slices.Equal(got, []string{"b/#", "c"}) {
		t.Errorf("subscribed to %q", got)
	}
	eventually(t, "subscribed", second.subscribed)
	second.stop()

	third := start(t, s.addr(), newInbox(false), state("b/#", "c"))
	s.connack(1, 0)
	s.suback(1) // nothing to unsubscribe any more
	eventually(t, "subscribed", third.subscribed)
}

// Another client id leaves a session behind that goes on collecting: said once.
func TestChangedClientID(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	file := filepath.Join(t.TempDir(), "bridge.json")
	if err := (memory{Broker: s.addr(), ClientID: "before", Filters: []string{"a"}}).save(file); err != nil {
		t.Fatal(err)
	}
	r := start(t, s.addr(), newInbox(false), func(c *Config) { c.StateFile = file })
	s.accept(1)
	eventually(t, "subscribed", r.subscribed)
	_ = s.c.Close()
	s.connack(1, 0)
	s.suback(1)
	eventually(t, "subscribed", r.subscribed)
	if n := r.log.has("old_client_id=before"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// A session without a list, made by an earlier version: its default filter goes. What else comes unasked is counted and said once,
// and taken.
func TestStrays(t *testing.T) {
	s := newScripted(t)
	in := newInbox(false)
	r := start(t, s.addr(), in)
	s.connack(1, 0)
	if got := s.unsuback(); !slices.Equal(got, earlierDefaults) {
		t.Errorf("unsubscribed %q", got)
	}
	s.suback(1)
	for id := range uint16(3) {
		s.send(id+1, "old/topic", "x", 1, false)
	}
	s.publish(9, "y", 1)
	s.acked(1, 2, 3, 9)
	if n := r.metric("strays_total", ""); n != 3 {
		t.Errorf("%v strays", n)
	}
	if n := r.log.has("has not asked for"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	if len(in.payloads()) != 4 {
		t.Errorf("ingest got %q", in.payloads())
	}
}

// QoS 0 granted is no subscription we can live with: error, health and gauge say so.
func TestDowngradedSubscription(t *testing.T) {
	s := newScripted(t)
	r := start(t, s.addr(), newInbox(false))
	s.accept(0)
	eventually(t, "counted", func() bool { return r.metric("connects_total", "QoS 0 granted") == 4 })
	eventually(t, "said", func() bool { return r.log.has("level=ERROR") == 1 && r.log.has("QoS 0 only") > 0 })
	if r.subscribed() || r.Check(t.Context()) == nil {
		t.Error("called healthy")
	}
}

// A broker that answers one filter with failure: said, and the others are listened to.
func TestPartlyRefusedSubscription(t *testing.T) {
	s := newScripted(t)
	in := newInbox(false)
	r := start(t, s.addr(), in)
	s.connack(0, 0)
	sub := s.read(packets.Subscribe)
	s.write([]byte{0x90, 6, byte(sub.PacketID >> 8), byte(sub.PacketID), 1, 0x80, 1, 1})
	eventually(t, "counted", func() bool { return r.metric("connects_total", "subscription refused") == 1 })
	if r.subscribed() || r.Check(t.Context()) == nil {
		t.Error("called healthy")
	}
	s.publish(1, "a", 1)
	s.acked(1)
}

// A broker that closes when it does not like a subscription: tried again with growing pauses, and the log says where to look.
func TestBrokerClosesOnSubscribe(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	r := start(t, s.addr(), newInbox(false))
	for range 3 {
		s.connack(0, 0)
		s.read(packets.Subscribe)
		_ = s.c.Close()
	}
	eventually(t, "said", func() bool { return r.log.has("before the broker granted our subscriptions") == 3 })
	s.accept(1)
	eventually(t, "subscribed", r.subscribed)
}

// Wrong password: the log says what is wrong without saying the password, and the pause is the longest at once.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]byte{"bad user name or password": 4, "not authorised": 5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScripted(t)
			r := start(t, s.addr(), newInbox(false), func(c *Config) {
				c.Username, c.Password, c.MaxReconnect = "aftercare", "canary", 2*time.Second
			})
			began := time.Now()
			s.connack(0, code)
			connect := s.connack(0, code)
			if took := time.Since(began); took < time.Second {
				t.Errorf("again after %s", took)
			}
			if string(connect.Connect.Password) != "canary" {
				t.Error("no password")
			}
			eventually(t, "said", func() bool { return r.log.has("refuses bridge.username") == 2 })
			if r.log.has("canary") > 0 || r.metric("connects_total", "refused") != 2 {
				t.Error("password in the log, or not counted")
			}
		})
	}
}

// A broker that repeats everything after each connection, marked or not: each comes through to ingest, which knows duplicates, and
// each is acknowledged on the connection that brought it (REL-08).
func TestBrokerRepeatsEverything(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	in := newInbox(false)
	r := start(t, s.addr(), in)
	s.accept(1)
	for round := range 3 {
		for id := range uint16(5) {
			s.send(id+1, "devices/demo/washer-w7/A1/telemetry", fmt.Sprint(id), 1, round == 1)
		}
		s.acked(1, 2, 3, 4, 5)
		if round == 2 {
			break
		}
		_ = s.c.Close()
		s.connack(1, 0)
		s.suback(1)
	}
	if got := r.metric("redelivered_total", ""); got != 5 {
		t.Errorf("%v redelivered", got)
	}
	if n := len(in.payloads()); n != 15 {
		t.Errorf("ingest got %d", n)
	}
}

// A broker that says nothing any more, not even to a ping, is left within one and a half keep-alives and the ping's own time.
func TestKeepAliveOfASilentBroker(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	r := start(t, s.addr(), newInbox(false), func(c *Config) { c.KeepAlive = time.Second })
	connect := s.accept(1)
	if connect.Connect.Keepalive != 1 {
		t.Errorf("keep-alive %d", connect.Connect.Keepalive)
	}
	began := time.Now()
	s.read(packets.Pingreq)
	if _, err := s.next(); err == nil {
		t.Error("the bridge goes on talking")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("left after %s", took)
	}
	s.accept(1)
	eventually(t, "subscribed", r.subscribed)
	if r.metric("connects_total", "lost") != 1 {
		t.Error("loss not counted")
	}
}

// What cannot be right is said before a socket opens.
func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"bridge.ca":   func(c *Config) { c.CA = "/nowhere/ca.pem" },
		"bridge.cert": func(c *Config) { c.Cert, c.Key = "/nowhere/cert.pem", "/nowhere/key.pem" },
		"bridge.key":  func(c *Config) { c.Cert = "cert.pem" },
		"bridge.url":  func(c *Config) { c.URL, c.CA = "tcp://h:1", "ca.pem" },
	} {
		cfg := DefaultConfig()
		cfg.URL = "ssl://" + net.JoinHostPort("h", "1")
		change(&cfg)
		if _, err := New(cfg, Deps{Ingest: newInbox(false)}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
