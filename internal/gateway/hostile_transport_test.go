package gateway

import (
	"bytes"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// SEC-05 on every transport: 1,000 connections that announce 256 MiB cost less than 50 MB of the process.
func TestSEC05EveryTransport(t *testing.T) {
	r := startDoors(t, newInbox(false), func(_ *doors, c *Config) { c.ConnectTimeout = 2 * time.Second })
	for tr := range transports {
		before := residentMB(t)
		for range 1000 {
			c, err := r.via(t, tr, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4, 'M', 'Q', 'T', 'T'})
			_ = c.SetReadDeadline(time.Now().Add(patience))
			if n, err := c.Read(make([]byte, 64)); err == nil {
				t.Fatalf("%s: %d bytes instead of the end", tr, n)
			}
			_ = c.Close()
		}
		if grown := residentMB(t) - before; grown > 50 {
			t.Errorf("%s: grew by %d MB", tr, grown)
		}
		eventually(t, "all counted", func() bool { return r.metric("connects_total", ReasonSize) == 1000*float64(tr+1) })
	}
}

func residentMB(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc here to read the resident memory from")
	}
	_, after, _ := strings.Cut(string(text), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb >> 10
}

// SEC-05: the deadline of CONNECT includes all handshakes before it.
func TestSEC05SlowHandshakesAreCut(t *testing.T) {
	r := startDoors(t, newInbox(false), func(_ *doors, c *Config) { c.ConnectTimeout = 300 * time.Millisecond })
	n := 0.0
	for tr := range transports {
		for _, head := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01", "GET /mqtt HTTP/1.1\r\nHost: x\r\n", "\x10\x20\x00\x04M"} {
			c, err := net.Dial("tcp", r.AddrOf(tr).String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte(head))
			_ = c.SetReadDeadline(time.Now().Add(patience))
			begin := time.Now()
			for err == nil {
				_, err = c.Read(make([]byte, 512))
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("%s %q: closed after %v", tr, head, took)
			}
			_ = c.Close()
		}
		c, err := r.via(t, tr, nil) // the handshakes done, and then nothing
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: an answer to nothing", tr)
		}
		n++
	}
	eventually(t, "timeouts counted", func() bool { return r.metric("connects_total", "timeout") >= 2*n })
	eventually(t, "all over", func() bool { return r.metric("connections", "") == 0 })
}

// SEC-07 on every transport: mutated packets, and bytes that are no handshake.
func TestSEC07EveryTransport(t *testing.T) {
	r := startDoors(t, newInbox(false), func(_ *doors, c *Config) { c.ConnectTimeout = time.Second })
	good := r.dialVia(t, WSS, 4)
	good.connect("demo/A2", "pw-A2", "A2")
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		tr, all := Transport(i%int(transports)), seeds(t, byte(4+i%2))
		data := bytes.Clone(all[0])
		for range 1 + rnd.IntN(4) {
			bad := bytes.Clone(all[rnd.IntN(len(all))])
			for range rnd.IntN(3) {
				bad[rnd.IntN(len(bad))] ^= byte(1 << rnd.IntN(8))
			}
			data = append(data, bad[:len(bad)-rnd.IntN(2)]...)
		}
		c, err := r.via(t, tr, nil)
		if i%8 >= 4 {
			c, err = net.Dial("tcp", r.AddrOf(tr).String())
		}
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(data)
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		for err == nil {
			_, err = c.Read(make([]byte, 512))
		}
		_ = c.Close()
	}
	_ = good.c.SetDeadline(time.Now().Add(patience))
	good.send(publish(topic("A2"), 1, 1))
	good.acked(1)
	eventually(t, "hostile connections over", func() bool { return r.metric("connections", "") == 1 })
	if n := r.metric("disconnects_total", "panic") + r.metric("connects_total", "panic"); n > 0 {
		t.Errorf("%v panics", n)
	}
}

// FuzzTransports sends any bytes to a transport: raw, or behind a good WebSocket upgrade. Nothing may panic, and the connection
// must end when the client is gone.
func FuzzTransports(f *testing.F) {
	const upgrade = "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	f.Add(byte(TLS), false, []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"))
	f.Add(byte(WS), false, []byte(upgrade))
	for _, s := range seeds(f, 4) {
		f.Add(byte(WS), true, append([]byte{0x82, 0x80 | byte(min(len(s), 125)), 0, 0, 0, 0}, s...))
	}
	f.Add(byte(WS), true, []byte{0x89, 0x80, 1, 2, 3, 4, 0x88, 0x82, 1, 2, 3, 4, 3, 0xe8})
	dir := f.TempDir()
	cfg := DefaultConfig()
	cfg.TLS.Listen = "127.0.0.1:0"
	cfg.TLS.Cert, cfg.TLS.Key = newAuthority(f, "fuzz", nil).serverFiles(f, dir)
	in := newInbox(false)
	f.Fuzz(func(t *testing.T, which byte, upgraded bool, data []byte) {
		g, err := New(cfg, Deps{Ingest: in, Auth: &keys{revoked: map[string]bool{}}})
		if err != nil {
			t.Fatal(err)
		}
		tr := Transport(which) % transports
		ours, theirs := net.Pipe()
		g.start(theirs, tr)
		read := make(chan struct{})
		go func() {
			defer close(read)
			buf := make([]byte, 1024)
			for {
				if _, err := ours.Read(buf); err != nil {
					return
				}
			}
		}()
		_ = ours.SetDeadline(time.Now().Add(patience))
		if upgraded && tr == WS {
			_, _ = ours.Write([]byte(upgrade))
			time.Sleep(time.Millisecond) // what comes before the answer is refused
		}
		_, _ = ours.Write(data)
		_ = ours.Close()
		<-read
		g.shutdown()
		g.slow.Wait()
		if n := count(t, g.m.disconnects.WithLabelValues("panic")) + count(t, g.m.connects.WithLabelValues("panic")); n > 0 {
			t.Fatalf("panic over %q", data)
		}
	})
}

// A client that pings and never reads the pongs is cut before it costs memory.
func TestPongsNobodyReads(t *testing.T) {
	r := startDoors(t, newInbox(false))
	d := r.dialVia(t, WS, 4)
	d.connect("demo/A1", "pw-A1", "A1")
	_ = d.c.SetDeadline(time.Now().Add(patience))
	ws := d.c.(*wsConn).ws
	var err error
	for err == nil {
		err = ws.WriteControl(websocket.PingMessage, make([]byte, 125), time.Now().Add(patience))
	}
	eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
}

func TestConfigOfTransports(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`gateway.tls.cert ""`:                func(c *Config) { c.TLS.Listen = ":8883" },
		`gateway.tls.key ""`:                 func(c *Config) { c.WS.TLSListen = ":8884" },
		`gateway.tls.listen "8883"`:          func(c *Config) { c.TLS.Listen = "8883" },
		`gateway.ws.listen "x"`:              func(c *Config) { c.WS.Listen = "x" },
		`gateway.ws.path "mqtt"`:             func(c *Config) { c.WS.Path = "mqtt" },
		`gateway.ws.origins "acme.test"`:     func(c *Config) { c.WS.Origins = []string{"acme.test"} },
		`gateway.tls.client_auth "yes"`:      func(c *Config) { c.TLS.ClientAuth = "yes" },
		`gateway.tls.client_ca ""`:           func(c *Config) { c.TLS.ClientAuth = "required" },
		`gateway.tls.identity "dn"`:          func(c *Config) { c.TLS.Identity = "dn" },
		`gateway.tls.crl_policy ""`:          func(c *Config) { c.TLS.CRLPolicy = "" },
		`gateway.tls.crl ["x"] is of no use`: func(c *Config) { c.TLS.CRL = []string{"x"} },
		`gateway.tls.tenant "a/b"`:           func(c *Config) { c.TLS.Tenant = "a/b" },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(want, "] is", "]: is")) {
			t.Errorf("%v: want %s", err, want)
		}
	}
	c := DefaultConfig()
	c.TLS.Listen, c.TLS.Cert, c.TLS.Key = "127.0.0.1:0", "/nowhere", "/nowhere"
	if _, err := New(c, Deps{}); err == nil || !strings.Contains(err.Error(), "gateway.tls.cert") {
		t.Errorf("a missing file: %v", err)
	}
	for _, x := range []struct {
		files         uint64
		clients, want int
	}{{0, 5, 5}, {20_000, 19_800, 19_800}, {20_000, 100_000, 19_800}, {1024, 100_000, 824}, {100, 1000, 1}} {
		if got := roomFor(x.files, x.clients); got != x.want {
			t.Errorf("%d of %d clients fit below %d files, want %d", got, x.clients, x.files, x.want)
		}
	}
}
