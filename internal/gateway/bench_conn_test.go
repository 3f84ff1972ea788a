package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// BenchmarkIdleConnection reports what one idle connection holds: authenticated, subscribed to its command topic, one message
// sent and acknowledged, then quiet. It is the growth of the live heap and of the goroutine stacks after garbage collection,
// divided by the number of connections. The kernel's socket is not counted. The client's half is a bare socket and a few
// bytes; with TLS the client keeps its own state in the same process, so that the figure is of both ends (and about twice the
// server's).
func BenchmarkIdleConnection(b *testing.B) {
	for _, tr := range []Transport{TCP, TLS} {
		b.Run(tr.String(), func(b *testing.B) {
			for range b.N {
				b.ReportMetric(idleBytes(b, tr, 2000), "B/conn")
			}
		})
	}
}

// benchGateway runs a gateway on TCP and TLS.
func benchGateway(b *testing.B, change func(*Config)) (*Gateway, *authority) {
	ca := newAuthority(b, "bench", nil)
	cfg := DefaultConfig()
	cfg.Listen, cfg.TLS.Listen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.TLS.Cert, cfg.TLS.Key = ca.serverFiles(b, b.TempDir())
	if change != nil {
		change(&cfg)
	}
	g, err := New(cfg, Deps{Ingest: newInbox(false), Auth: &keys{revoked: map[string]bool{}}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan error, 1)
	go func() { running <- g.Run(ctx) }()
	<-g.Ready()
	b.Cleanup(func() { cancel(); <-running })
	return g, ca
}

func idleBytes(b *testing.B, tr Transport, n int) float64 {
	g, ca := benchGateway(b, nil)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	conns := make([]net.Conn, n)
	before := held()
	for i := range conns {
		c, err := net.Dial("tcp", g.AddrOf(tr).String())
		if err != nil {
			b.Fatal(err)
		}
		if tr.encrypted() {
			c = tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "gateway.test"})
		}
		serial := fmt.Sprintf("D%05d", i)
		login(b, c, serial)
		conns[i] = c
	}
	after := held()
	for _, c := range conns {
		_ = c.Close()
	}
	return (after - before) / float64(n)
}

func held() float64 {
	time.Sleep(200 * time.Millisecond)
	for range 4 {
		runtime.GC() // several: a stack shrinks by half in each
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

// login connects, subscribes and publishes once.
func login(b testing.TB, c net.Conn, serial string) {
	exchange := func(pk packets.Packet, answer int) {
		if _, err := c.Write(encode(b, 4, pk)); err != nil {
			b.Error(err)
			return
		}
		buf := make([]byte, answer)
		if _, err := io.ReadFull(c, buf); err != nil || answer == 4 && buf[0] == 0x20 && buf[3] != 0 {
			b.Errorf("%s: %x, %v", serial, buf, err)
		}
	}
	exchange(seedConnect(serial), 4)
	exchange(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 9,
		Filters: packets.Subscriptions{{Filter: "devices/demo/washer-w7/" + serial + "/command", Qos: 1}}}, 5)
	exchange(publish(topic(serial), 1, 1), 4)
}

// BenchmarkHerd is REL-13: devices connect, subscribe and publish all at once while another goes on publishing. It reports how
// long until all are back. Both ends are in this process and share its cores; where the limit of open files cannot be
// raised, there are fewer devices.
func BenchmarkHerd(b *testing.B) {
	const devices, others = 20_000, 200
	n := min(devices, (int(moreFiles(2*devices+others))-others)/2)
	for range b.N {
		g, _ := benchGateway(b, nil)
		herd(b, g, n)
	}
}

func herd(b *testing.B, g *Gateway, n int) {
	live, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	login(b, live, "LIVE")
	over := make(chan struct{})
	var wg sync.WaitGroup
	acked, slowest := 0, time.Duration(0)
	wg.Go(func() {
		one, buf := encode(b, 4, publish(topic("LIVE"), 1, 1)), make([]byte, 4)
		for {
			select {
			case <-over:
				return
			default:
			}
			begin := time.Now()
			_, _ = live.Write(one)
			if _, err := io.ReadFull(live, buf); err != nil {
				b.Error(err)
				return
			}
			acked++
			slowest = max(slowest, time.Since(begin))
		}
	})
	conns := make([]net.Conn, n)
	begin := time.Now()
	var devices sync.WaitGroup
	for i := range conns {
		devices.Go(func() {
			c, err := net.Dial("tcp", g.Addr().String())
			if err != nil {
				b.Error(err)
				return
			}
			conns[i] = c
			login(b, c, fmt.Sprintf("D%05d", i))
		})
	}
	devices.Wait()
	all := time.Since(begin)
	close(over)
	wg.Wait()
	for _, c := range conns {
		if c != nil {
			_ = c.Close()
		}
	}
	_ = live.Close()
	b.ReportMetric(float64(n), "devices")
	b.ReportMetric(all.Seconds(), "s/herd")
	b.ReportMetric(float64(slowest.Milliseconds()), "ms/live-ack")
	b.ReportMetric(float64(acked)/all.Seconds(), "live-acks/s")
}
