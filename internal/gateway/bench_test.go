package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"aftercare/internal/wire"
)

// groups is an ingest that answers whatever has come together, from one goroutine, as a group commit does.
type groups struct {
	mu   sync.Mutex
	wake chan struct{}
	list []wire.Inbound
}

func (q *groups) Submit(_ context.Context, m wire.Inbound) error {
	q.mu.Lock()
	q.list = append(q.list, m)
	first := len(q.list) == 1
	q.mu.Unlock()
	if first {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// run commits at once what is there; each commit takes as long as an fsync would.
func (q *groups) run(ctx context.Context, commit time.Duration) {
	var taken []wire.Inbound
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		q.mu.Lock()
		taken, q.list = q.list, taken[:0]
		q.mu.Unlock()
		if commit > 0 {
			time.Sleep(commit)
		}
		for i := range taken {
			if taken[i].Ack != nil {
				taken[i].Ack.Done(taken[i].Ticket, wire.Stored)
			}
			taken[i] = wire.Inbound{}
		}
	}
}

// BenchmarkGatewayPublish: QoS 1 messages of 127 bytes of payload, load generator included; acks/write is how many PUBACKs
// share a system call.
func BenchmarkGatewayPublish(b *testing.B) {
	for _, c := range []struct {
		conns, inflight int
		commit          time.Duration
	}{{50, 20, 0}, {50, 20, time.Millisecond}, {1000, 1, time.Millisecond}} {
		b.Run(fmt.Sprintf("conns=%d/inflight=%d/commit=%v", c.conns, c.inflight, c.commit), func(b *testing.B) {
			benchmarkPublish(b, c.conns, c.inflight, c.commit)
		})
	}
}

func benchmarkPublish(b *testing.B, conns, inflight int, commit time.Duration) {
	q := &groups{wake: make(chan struct{}, 1)}
	cfg := DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	for _, rate := range []*float64{&cfg.Limits.DeviceMessages, &cfg.Limits.DeviceBytes, &cfg.Limits.TenantMessages, &cfg.Limits.TenantBytes} {
		*rate = 1e12 // on, and never reached: what they cost is measured
	}
	g, err := New(cfg, Deps{Ingest: q, Auth: &keys{revoked: map[string]bool{}}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { q.run(ctx, commit) })
	running := make(chan error, 1)
	go func() { running <- g.Run(ctx) }()
	<-g.Ready()
	clients := make([]net.Conn, conns)
	for i := range clients {
		clients[i] = loadClient(b, g.Addr().String(), fmt.Sprintf("D%d", i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	var load sync.WaitGroup
	for i, c := range clients {
		n := b.N / conns
		if i < b.N%conns {
			n++
		}
		load.Go(func() { publishAll(b, c, fmt.Sprintf("D%d", i), n, inflight) })
	}
	load.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(count(b, g.m.acks)/max(1, count(b, g.m.ackWrites)), "acks/write")
	for _, c := range clients {
		_ = c.Close()
	}
	cancel()
	<-running
	wg.Wait()
}

func loadClient(b *testing.B, addr, serial string) net.Conn {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	pk := seedConnect(serial)
	if _, err := c.Write(encode(b, 4, pk)); err != nil {
		b.Fatal(err)
	}
	var connack [4]byte
	if _, err := io.ReadFull(c, connack[:]); err != nil || connack[3] != 0 {
		b.Fatalf("connack %x, %v", connack, err)
	}
	return c
}

// publishAll sends n messages with at most inflight unanswered; as many as there is room for go out in one write.
func publishAll(b *testing.B, c net.Conn, serial string, n, inflight int) {
	pk := publish(topic(serial), 1, 1)
	pk.Payload = make([]byte, 127)
	one := encode(b, 4, pk)
	idAt := 2 + 2 + len(pk.TopicName)
	if one[1]&0x80 != 0 {
		idAt++
	}
	out := make([]byte, 0, inflight*len(one))
	in := make([]byte, 4*inflight)
	sent, acked, half := 0, 0, 0
	for acked < n {
		out = out[:0]
		for sent < n && sent-acked < inflight {
			at := len(out)
			out = append(out, one...)
			id := sent%65535 + 1
			out[at+idAt], out[at+idAt+1] = byte(id>>8), byte(id)
			sent++
		}
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				b.Error(err)
				return
			}
		}
		k, err := c.Read(in)
		if err != nil {
			b.Error(err)
			return
		}
		half += k
		acked += half / 4
		half %= 4
	}
}
