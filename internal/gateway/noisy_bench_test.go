package gateway

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkGatewayNoisyDevice: the 99th percentile of the time to PUBACK of ten quiet devices, alone and beside one device that
// sends as fast as it can (SEC-06: at most 20 % more).
func BenchmarkGatewayNoisyDevice(b *testing.B) {
	for _, noisy := range []bool{false, true} {
		b.Run(fmt.Sprintf("noisy=%v", noisy), func(b *testing.B) { benchmarkNoisy(b, noisy) })
	}
}

func benchmarkNoisy(b *testing.B, noisy bool) {
	q := &groups{wake: make(chan struct{}, 1)}
	cfg := DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	g, err := New(cfg, Deps{Ingest: q, Auth: &keys{revoked: map[string]bool{}}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { q.run(ctx, time.Millisecond) })
	running := make(chan error, 1)
	go func() { running <- g.Run(ctx) }()
	<-g.Ready()
	var loud net.Conn
	if noisy {
		loud = loadClient(b, g.Addr().String(), "N1")
		wg.Go(func() { flood(b, loud) })
		time.Sleep(4 * time.Second) // its burst is over
	}
	var mu sync.Mutex
	var took []time.Duration
	var quiet sync.WaitGroup
	b.ResetTimer()
	for i := range 10 {
		c := loadClient(b, g.Addr().String(), fmt.Sprintf("D%d", i))
		defer func() { _ = c.Close() }()
		quiet.Go(func() {
			for range b.N/10 + 1 {
				begin := time.Now()
				publishAll(b, c, fmt.Sprintf("D%d", i), 1, 1)
				mu.Lock()
				took = append(took, time.Since(begin))
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	quiet.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	if loud != nil {
		_ = loud.Close()
	}
	cancel()
	<-running
	wg.Wait()
}

// flood sends without waiting for anything until the connection is closed.
func flood(b *testing.B, c net.Conn) {
	one := encode(b, 4, publish(topic("N1"), 0, 0))
	out := make([]byte, 0, 256*len(one))
	for range 256 {
		out = append(out, one...)
	}
	for {
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}
