//go:build !slim

package history

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/wire"
)

// TestAStuckDatabase: one that accepts connections and does not answer is noticed by whoever asks next, the lag grows while the first
// write still waits, and neither the health check nor a question waits for the writers. When it answers again all is as before. (REL-04)
func TestAStuckDatabase(t *testing.T) {
	addr, stuck := inFront(t, shared.URL())
	h := open(t, func(c *Config, _ *Deps) { c.URL = "http://" + addr })
	_, _ = h.LastSeen(t.Context(), "t", []string{"m"}) // the first password costs the server a second under the race detector
	stuck.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	f := &feed{recs: []wire.Record{{Kind: wire.KindReadings, Seq: 1, Received: time.Now().Add(-time.Hour), Body: lineOf(reading(washer, t0, 1, number("drain_s", 1)))}}, drained: cancel}
	go func() { ended <- h.RunReadings(ctx, f) }() // looks for the database first, and hangs there
	waitFor(t, func() bool { return testutil.CollectAndCount(h.m.lag) == 1 })
	if behind := testutil.ToFloat64(h.m.lag); behind < 3600 {
		t.Errorf("%v s behind while a record of an hour ago is being written", behind)
	}

	short, done := context.WithTimeout(t.Context(), 50*time.Millisecond)
	if err := h.Check(short); err == nil {
		t.Error("healthy")
	}
	if _, err := h.LastSeen(short, "t", []string{"m"}); err == nil {
		t.Error("a question was answered")
	}
	done()
	began := time.Now()
	if _, err := h.Latest(t.Context(), washer, "washer-w7"); err == nil {
		t.Error("a question was answered")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the next question took %v", took)
	}

	stuck.Store(false)
	_, _ = h.Latest(t.Context(), washer, "washer-w7") // that there is no such database is an answer, too
	if h.patience() != h.cfg.QueryTimeout {
		t.Errorf("questions may take %v although the last one was answered", h.patience())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestWhoDoesNotWaitTellsNothing: a viewer who leaves does not make the others impatient.
func TestWhoDoesNotWaitTellsNothing(t *testing.T) {
	addr, stuck := inFront(t, shared.URL())
	h := open(t, func(c *Config, _ *Deps) { c.URL = "http://" + addr })
	stuck.Store(true)
	ctx, leave := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, leave)
	if _, err := h.LastSeen(ctx, "t", []string{"m"}); err == nil {
		t.Error("a question was answered")
	}
	if h.patience() != h.cfg.QueryTimeout {
		t.Errorf("questions may take %v", h.patience())
	}
}

// inFront is a proxy that gives no answer while stuck is set.
func inFront(t *testing.T, to string) (addr string, stuck *atomic.Bool) {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stuck = &atomic.Bool{}
	pass := httputil.NewSingleHostReverseProxy(target)
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stuck.Load() {
			<-r.Context().Done() // until the asker has enough
			return
		}
		pass.ServeHTTP(w, r)
	})}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String(), stuck
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 5 s")
		}
	}
}
