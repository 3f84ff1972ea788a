//go:build !slim

package history

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/history/embedded"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

// shared is one database server for all tests; each test has a database of its own on it.
var (
	shared    *embedded.Server
	databases atomic.Int64
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "history")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		c := embedded.DefaultConfig()
		c.Dir = dir
		if shared, err = embedded.Start(context.Background(), c, obs.Discard()); err != nil {
			panic(err)
		}
		defer func() { _ = shared.Close() }()
		return m.Run()
	}())
}

// setup is a History on the shared server with what it rejected.
type setup struct {
	*History
	mu       sync.Mutex
	rejected []string
}

func open(t testing.TB, change ...func(*Config, *Deps)) *setup {
	t.Helper()
	s := &setup{}
	c := DefaultConfig()
	c.URL, c.Token = shared.URL(), fleet.Secret(shared.Token())
	c.Database = fmt.Sprintf("%s %d", strings.ReplaceAll(t.Name(), "/", " "), databases.Add(1)) // a slash would name a retention policy
	c.RetryMin = time.Millisecond
	d := Deps{Log: obs.Discard(), Metrics: prometheus.NewRegistry(), Reject: func(_ context.Context, line []byte, _ string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.rejected = append(s.rejected, string(line))
		return nil
	}}
	for _, f := range change {
		f(&c, &d)
	}
	h, err := New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	s.History = h
	return s
}

// feed is a Source over a slice. When all of it is committed it calls drained.
type feed struct {
	recs      []wire.Record
	next      int
	committed uint64
	before    func(next int) // called before a Fetch
	drained   func()
}

func (f *feed) Fetch(ctx context.Context, n int) ([]wire.Record, error) {
	if f.before != nil {
		f.before(f.next)
	}
	if f.next == len(f.recs) {
		f.drained()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	out := f.recs[f.next:min(f.next+n, len(f.recs))]
	f.next += len(out)
	return out, nil
}

func (f *feed) Commit(_ context.Context, seq uint64) error {
	if seq <= f.committed {
		return fmt.Errorf("commit of %d after %d", seq, f.committed)
	}
	f.committed = seq
	return nil
}

func (f *feed) Close() error { return nil }

// runAll passes recs through one of the Run methods and wants all of them committed.
func runAll(t testing.TB, run func(context.Context, wire.Source) error, f *feed) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.drained = cancel
	if err := run(ctx, f); err != nil {
		t.Fatal(err)
	}
	if last := f.recs[len(f.recs)-1].Seq; f.committed != last {
		t.Fatalf("committed %d, want %d", f.committed, last)
	}
}

// records makes one journal record of each body.
func records(stream wire.Stream, kind wire.Kind, bodies ...[]byte) []wire.Record {
	out := make([]wire.Record, 0, len(bodies))
	for i, b := range bodies {
		out = append(out, wire.Record{Stream: stream, Seq: uint64(i + 1), Kind: kind, Received: time.Now(), Body: b})
	}
	return out
}

func (s *setup) store(t testing.TB, bodies ...[]byte) {
	t.Helper()
	runAll(t, s.RunReadings, &feed{recs: records(wire.Readings, wire.KindReadings, bodies...)})
}

var (
	t0     = time.UnixMilli(1_700_000_000_123).UTC()
	washer = fleet.DeviceKey{Tenant: "demo", Serial: "WM-0001"}
)

const model = "washer-w7"

func number(name string, v float64) fleet.Field {
	return fleet.Field{Name: name, Value: fleet.Value{Type: fleet.Float, Float: v}}
}

func reading(key fleet.DeviceKey, at time.Time, seq int64, fields ...fleet.Field) *fleet.Reading {
	return &fleet.Reading{Device: key, Model: model, Time: at, Boot: 3, Seq: seq, HasSeq: true, Fields: fields}
}

func lineOf(r *fleet.Reading) []byte { return wire.AppendReading(nil, r) }

func (s *setup) wantCount(t testing.TB, want int64) {
	t.Helper()
	got, err := s.Count(t.Context(), "demo", []string{model})
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("%d readings stored, want %d", got, want)
	}
}

func (s *setup) wantRejected(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	got := map[string]bool{}
	for _, l := range s.rejected {
		got[l] = true
	}
	for _, l := range want {
		if !got[l] {
			t.Errorf("not rejected: %.200q", l)
		}
		delete(got, l)
	}
	for l := range got {
		t.Errorf("rejected: %.200q", l)
	}
}

// watchLog calls f with every message logged.
type watchLog struct {
	slog.Handler
	f func(string)
}

func (w watchLog) Handle(_ context.Context, r slog.Record) error {
	w.f(r.Message)
	return nil
}

func watching(f func(string)) *slog.Logger {
	return slog.New(watchLog{slog.NewTextHandler(os.Stderr, nil), f})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// ownServer starts a server that the test may stop.
func ownServer(t *testing.T) (c embedded.Config, s *embedded.Server) {
	t.Helper()
	c = embedded.DefaultConfig()
	c.Dir = filepath.Join(t.TempDir(), "db")
	c.Listen = freePort(t)
	s, err := embedded.Start(t.Context(), c, obs.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return c, s
}
