package gateway

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestConnectionsPerDevice(t *testing.T) {
	r := start(t, newInbox(false), func(c *Config, _ *Deps) { c.MaxPerDevice = 2 })
	for i, ok := range []bool{true, true, false} {
		if code := r.dial(t, 5).connect("demo/A1", "pw-A1", fmt.Sprintf("A1-%d", i)); (code == 0) != ok {
			t.Errorf("%d: code %#x", i, code)
		}
	}
	if code := r.dial(t, 5).connect("demo/A1", "pw-A1", "A1-1"); code != 0 {
		t.Errorf("take over: code %#x", code)
	}
}

func TestMaxClients(t *testing.T) {
	r := start(t, newInbox(false), func(c *Config, _ *Deps) { c.MaxClients = 1 })
	d := r.device(t, 4, "A1")
	r.dial(t, 4).closed()
	d.ping()
	if r.metric("connects_total", "full") != 1 {
		t.Error("not counted")
	}
}

// SEC-05: limits before authentication. 1,000 connections that announce 256 MiB cost next to nothing.
func TestSEC05LimitsBeforeAuthentication(t *testing.T) {
	r := start(t, newInbox(false), func(c *Config, _ *Deps) { c.ConnectTimeout = 200 * time.Millisecond })
	good := r.device(t, 4, "A1")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 1000 {
		d := r.dial(t, 4)
		_, _ = d.c.Write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4, 'M', 'Q', 'T', 'T'})
		d.closed()
		_ = d.c.Close()
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 50<<20 {
		t.Errorf("heap grew by %d MiB", grown>>20)
	}
	eventually(t, "all counted", func() bool { return r.metric("connects_total", ReasonSize) == 1000 })
	for name, head := range map[string][]byte{"nothing": nil, "half": {0x10, 0x20, 0, 4, 'M'}, "half a length": {0x10, 0x80}} {
		d := r.dial(t, 4)
		_, _ = d.c.Write(head)
		begin := time.Now()
		d.closed()
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s: closed after %v", name, took)
		}
	}
	for name, bad := range map[string][]byte{"publish first": {0x30, 3, 0, 1, 'a'}, "too long": {0x10, 0x81, 0x20}, "endless length": {0x10, 0x80, 0x80, 0x80, 0x80, 0x80}} {
		d := r.dial(t, 4)
		_, _ = d.c.Write(bad)
		t.Log(name)
		d.closed()
	}
	eventually(t, "timeouts counted", func() bool { return r.metric("connects_total", "timeout") == 3 })
	good.ping()
}

func TestOversizePacketEndsTheConnection(t *testing.T) {
	r := start(t, newInbox(false))
	d, good := r.device(t, 4, "A1"), r.device(t, 4, "A2")
	pk := publish(topic("A1"), 1, 1)
	pk.Payload = make([]byte, 64<<10)
	_, _ = d.c.Write(encode(t, 4, pk)) // the gateway may close while we write
	eventually(t, "refusal", func() bool { return slices.Equal(r.reasons(), []string{ReasonSize}) })
	good.ping()
	pk.Payload = make([]byte, 60<<10)
	good.send(func() packets.Packet { pk.TopicName = topic("A2"); return pk }())
	good.acked(1)
}

func TestConnectRate(t *testing.T) {
	r := start(t, newInbox(false), func(c *Config, _ *Deps) { c.ConnectRate = 3 })
	refused := 0
	for range 10 {
		d := r.dial(t, 4)
		d.sendConnect("demo/A1", "pw-A1", "A1-"+fmt.Sprint(refused))
		if _, err := d.next(); err != nil {
			refused++
		}
	}
	if refused < 5 {
		t.Errorf("%d of 10 refused", refused)
	}
}

func TestBackoffIsBoundedAndForgets(t *testing.T) {
	b := newBackoff()
	now := time.Unix(1_700_000_000, 0)
	for i := range 3 * maxPairs {
		b.failed(fmt.Sprint(i), now)
	}
	if len(b.m) > maxPairs {
		t.Errorf("%d pairs", len(b.m))
	}
	for range 40 {
		b.failed("x", now)
	}
	if b.allow("x", now.Add(longestDelay-1)) || !b.allow("x", now.Add(longestDelay)) {
		t.Error("delay")
	}
	b.failed("x", now.Add(forgetFailure+1))
	if !b.allow("x", now.Add(forgetFailure+1)) {
		t.Error("not forgotten")
	}
}

// SEC-18 in small: whatever is logged, a password and a payload are not in it.
func TestLogHoldsNoSecrets(t *testing.T) {
	var buf lockedBuffer
	r := start(t, newInbox(false), func(_ *Config, d *Deps) {
		d.Log = slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	d := r.device(t, 5, "A1")
	d.sendConnect("demo/A1", "pw-A1", "A1") // a second CONNECT
	d.closed()
	d = r.device(t, 5, "A1")
	pk := publish(topic("A1"), 2, 1)
	pk.Payload = []byte("canary")
	d.send(pk)
	d.closed()
	r.dial(t, 4).connect("demo/A1", "pw-wrong", "A1")
	r.stop()
	log := buf.String()
	if !strings.Contains(log, "second connect") || strings.Contains(log, "pw-") || strings.Contains(log, "canary") ||
		strings.Contains(log, "112 119 45") /* the bytes of "pw-" as slog prints them */ {
		t.Errorf("log:\n%s", log)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestSessionsExpire(t *testing.T) {
	r := start(t, newInbox(false))
	keep := func(pk *packets.Packet) { pk.Connect.Clean = false }
	d := r.device(t, 4, "A1", keep)
	d.subscribe("devices/demo/washer-w7/A1/command")
	_ = d.c.Close()
	eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
	r.expireSessions(time.Now())
	d = r.dial(t, 4)
	d.sendConnect("demo/A1", "pw-A1", "A1", keep)
	if !d.read().SessionPresent {
		t.Error("session is gone")
	}
	_ = d.c.Close()
	eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
	r.expireSessions(time.Now().Add(2 * time.Hour))
	if len(r.kept) != 0 {
		t.Error("session is kept")
	}
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		`gateway.listen "1883"`:     func(c *Config) { c.Listen = "1883" },
		"gateway.max_inflight 0":    func(c *Config) { c.MaxInflight = 0 },
		"gateway.write_timeout -1s": func(c *Config) { c.WriteTimeout = -time.Second },
		"gateway.connect_rate -1":   func(c *Config) { c.ConnectRate = -1 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s", err, want)
		}
	}
}
