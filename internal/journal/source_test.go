package journal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/wire"
)

// logged keeps what a journal logs.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// expectNoReattach fails when a source noticed a missing delivery, or anything else that made it begin anew.
func (l *logged) expectNoReattach(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, "attach") {
			t.Error(line)
		}
	}
}

func openLogged(t *testing.T, cfg Config) (*Journal, *logged) {
	t.Helper()
	l := &logged{}
	j, err := Open(t.Context(), cfg, slog.New(slog.NewTextHandler(l, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, j) })
	return j, l
}

// readAll reads n records of each partition, one goroutine per source, and looks at their order. Every other source has a name.
func readAll(t *testing.T, j *Journal, n int) *sync.WaitGroup {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	sources := make([]wire.Source, 0, j.Partitions())
	for p := range j.Partitions() {
		sources = append(sources, openSource(t, j, p, []string{"", "named"}[p%2], 0))
	}
	var wg sync.WaitGroup
	for p, s := range sources {
		wg.Go(func() {
			for next := 0; next < n; {
				records, err := s.Fetch(ctx, 64)
				if err != nil {
					t.Errorf("partition %d after %d records: %v", p, next, err)
					return
				}
				for _, r := range records {
					if !strings.HasPrefix(string(r.Body), fmt.Sprint(next, " ")) {
						t.Errorf("partition %d: got %.10q, want %d", p, r.Body, next)
						return
					}
					next++
				}
				if err := s.Commit(t.Context(), records[len(records)-1].Seq); err != nil {
					t.Error(err)
				}
			}
		})
	}
	return &wg
}

func numbered(partition, n, size int) wire.Record {
	return reading(partition, fmt.Sprint(n, " ", strings.Repeat("x", size)))
}

// The server stores what it has taken in before it hands deliveries on: while much is written, those of an open request can be
// late by seconds. They must still be taken.
func TestReadWhileWriting(t *testing.T) {
	cfg := testConfig(t)
	cfg.AckTimeout = time.Minute
	j, log := openLogged(t, cfg)
	const cycles, perCycle = 2, 900 // the client has at most 4000 unanswered at a time
	done := readAll(t, j, cycles*perCycle)
	var writers sync.WaitGroup
	for p := range j.Partitions() {
		writers.Go(func() {
			for c := range cycles {
				cycle := make([]wire.Record, 0, perCycle)
				for i := range perCycle {
					cycle = append(cycle, numbered(p, c*perCycle+i, 2000))
				}
				if err := j.Append(t.Context(), cycle); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	done.Wait()
	log.expectNoReattach(t)
}

// relay passes one connection on to a server, and holds the server's side back once for a while, in the middle of what it sends.
type relay struct {
	net.Listener
	holdAfter atomic.Int64 // bytes until it holds; 0: never
	hold      time.Duration
}

func newRelay(t *testing.T, to string, hold time.Duration) *relay {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, hold: hold}
	var wg sync.WaitGroup
	wg.Go(func() {
		client, err := l.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		srv, err := new(net.Dialer).DialContext(t.Context(), "tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		defer srv.Close()
		wg.Go(func() { _, _ = io.Copy(srv, client); _ = srv.Close() })
		_, _ = io.Copy(io.MultiWriter(r, client), srv)
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return r
}

// Write counts and holds.
func (r *relay) Write(p []byte) (int, error) {
	if left := r.holdAfter.Load(); left > 0 {
		if left -= int64(len(p)); left <= 0 {
			left = 0
			time.Sleep(r.hold)
		}
		r.holdAfter.Store(left)
	}
	return len(p), nil
}

// A pause between two deliveries of one request, here on the way, loses none of them.
func TestLateDeliveries(t *testing.T) {
	srv, _ := natsServer(t, t.TempDir(), -1)
	r := newRelay(t, srv.Addr().String(), 1500*time.Millisecond)
	cfg := DefaultConfig()
	cfg.URL = "nats://" + r.Addr().String()
	j, log := openLogged(t, cfg)
	const n = 50
	for i := range n {
		appendAll(t, j, numbered(0, i, 10_000), numbered(1, i, 10_000), numbered(2, i, 10_000), numbered(3, i, 10_000))
	}
	r.holdAfter.Store(500_000)
	readAll(t, j, n).Wait()
	log.expectNoReattach(t)
}
