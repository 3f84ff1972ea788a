package bridge

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// inbox is the ingest of the tests: it answers at once unless hold is set.
type inbox struct {
	mu   sync.Mutex
	hold bool
	got  []wire.Inbound
	more chan struct{}
}

func newInbox(hold bool) *inbox { return &inbox{hold: hold, more: make(chan struct{}, 1)} }

func (i *inbox) Submit(ctx context.Context, m wire.Inbound) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	i.mu.Lock()
	i.got = append(i.got, m)
	hold := i.hold
	i.mu.Unlock()
	wake(i.more)
	if !hold {
		m.Ack.Done(m.Ticket, wire.Stored)
	}
	return nil
}

// release answers all that was held, and from now on at once.
func (i *inbox) release() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hold = false
	for _, m := range i.got {
		m.Ack.Done(m.Ticket, wire.Stored)
	}
}

func (i *inbox) payloads() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := make([]string, len(i.got))
	for n, m := range i.got {
		out[n] = string(m.Payload)
	}
	return out
}

// firsts are the payloads in order of their first arrival.
func (i *inbox) firsts() []string {
	var out []string
	seen := map[string]bool{}
	for _, p := range i.payloads() {
		if !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

func (i *inbox) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(patience)
	for !ok() {
		select {
		case <-i.more:
		case <-late:
			t.Fatalf("never happened: %s; ingest got %d messages", what, len(i.payloads()))
		}
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never happened: %s", what)
		}
	}
}

type rig struct {
	*Bridge
	t    *testing.T
	reg  *prometheus.Registry
	stop func()

	log *logged

	mu      sync.Mutex
	refused []string
}

// logged is what the bridge logs.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) has(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// conserved asserts that every message received is accounted for (REL-12).
func (r *rig) conserved() {
	r.t.Helper()
	received := r.metric("messages_total", "0") + r.metric("messages_total", "1")
	out := r.metric("postponed_total", "")
	for _, name := range answerNames {
		out += r.metric("answers_total", name)
	}
	for _, reason := range r.reasons() {
		if reason == ReasonQueue {
			out++
		}
	}
	held, _ := r.w.state()
	if received != out+float64(held) {
		r.t.Errorf("%v received, %v accounted for, %d held", received, out, held)
	}
}

func start(t *testing.T, addr string, in *inbox, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, reg: prometheus.NewRegistry(), log: &logged{}}
	cfg := DefaultConfig()
	cfg.URL = "tcp://" + addr
	cfg.MaxReconnect = 50 * time.Millisecond
	cfg.WriteTimeout = 200 * time.Millisecond // scripted brokers do not close when we say goodbye
	for _, c := range change {
		c(&cfg)
	}
	b, err := New(cfg, Deps{Ingest: in, Metrics: r.reg, Log: slog.New(slog.NewTextHandler(r.log, nil)), Refuse: func(f fleet.Refusal) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.refused = append(r.refused, f.Reason)
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.Bridge = b
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { r.stop(); r.conserved() })
	return r
}

func (r *rig) reasons() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.refused)
}

func (r *rig) metric(name, label string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "aftercare_bridge_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() == label {
				return value(m)
			}
		}
	}
	return 0
}

func value(m *dto.Metric) float64 {
	if m.GetCounter() != nil {
		return m.GetCounter().GetValue()
	}
	return m.GetGauge().GetValue()
}

func (r *rig) subscribed() bool { return r.metric("subscribed", "") == 1 }

// realBroker is a process with persistence, which can be stopped and started again.
type realBroker struct {
	t    testing.TB
	path string
	addr string
	conf string
	cmd  *exec.Cmd
}

func newRealBroker(t testing.TB) *realBroker {
	t.Helper()
	return newBrokerWith(t, "allow_anonymous true\npersistence true\nmax_queued_messages 0\nmax_inflight_messages 50\n")
}

// newBrokerWith starts a broker with these lines of configuration besides listener and folder; {dir} stands for the folder.
func newBrokerWith(t testing.TB, lines string) *realBroker {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/mosquitto")
	}
	if err != nil {
		t.Skip("SKIPPED: no mosquitto in PATH or /usr/sbin: the bridge is not tested against a real broker")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	dir := t.TempDir()
	_, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\npersistence_location %s/\nlog_type error\nlog_type warning\n", port, dir) +
		strings.ReplaceAll(lines, "{dir}", dir)
	if os.Getuid() == 0 {
		text += "user root\n" // else it gives up root and cannot write its store
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &realBroker{t: t, path: path, addr: addr, conf: conf}
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *realBroker) start() {
	m.t.Helper()
	m.cmd = exec.Command(m.path, "-c", m.conf)
	m.cmd.Stdout, m.cmd.Stderr = os.Stderr, os.Stderr
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	eventually(m.t, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", m.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// stop ends the broker in an orderly way: it saves its sessions.
func (m *realBroker) stop() {
	if m.cmd != nil {
		_ = m.cmd.Process.Signal(syscall.SIGTERM)
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}
