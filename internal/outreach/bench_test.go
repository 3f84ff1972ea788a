package outreach_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/egress"
	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channel/webhook"
	"aftercare/internal/registry"
	"aftercare/internal/store"
	"aftercare/internal/words"
)

// atOnce is a channel whose receiver answers at once.
type atOnce struct{ sent atomic.Int64 }

func (*atOnce) Name() string { return "webhook" }

func (c *atOnce) Send(context.Context, fleet.Message, fleet.Endpoint) error {
	c.sent.Add(1)
	return nil
}

// BenchmarkOutbox is the way of due message rows through the outbox of a real file with a sync at every commit: each of another case, device and
// person, who has one endpoint. The time runs until what became of the last message is recorded; each row is a message in the inbox, a send, two
// deliveries and two records for the changes stream:
//
//	go test -run xxx -bench 'Outbox$' -benchtime 10000x ./internal/outreach
func BenchmarkOutbox(b *testing.B) {
	ch := &atOnce{}
	took := drain(b, b.N, ch, "https://example.org", nil)
	b.ReportMetric(float64(b.N)/took.Seconds(), "rows/s")
	if n := ch.sent.Load(); n != int64(b.N) {
		b.Errorf("%d sent, want %d", n, b.N)
	}
}

// BenchmarkOutbox100k is the same of 100,000 rows (or OUTBOX_ROWS), with webhooks that are signed and posted to a receiver on loopback which
// answers at once, while the relay moves the records. They are to take at most 60 s:
//
//	go test -run xxx -bench Outbox100k -benchtime 1x ./internal/outreach
func BenchmarkOutbox100k(b *testing.B) {
	rows := 100_000
	if n, err := strconv.Atoi(os.Getenv("OUTBOX_ROWS")); err == nil && n > 0 {
		rows = n
	}
	var posts atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		posts.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer receiver.Close()
	ec := egress.DefaultConfig()
	ec.Allow = []string{receiver.Listener.Addr().String()}
	client := egress.New(ec)
	defer client.CloseIdleConnections()
	for range b.N {
		posts.Store(0)
		relayed := &moved{}
		took := drain(b, rows, webhook.New(client, time.Now), receiver.URL, relayed)
		b.ReportMetric(took.Seconds(), "s")
		b.ReportMetric(float64(rows)/took.Seconds(), "rows/s")
		b.ReportMetric(float64(relayed.n.Load()), "relayed")
		b.ReportMetric(0, "ns/op")
		if n := posts.Load(); n != int64(rows) {
			b.Errorf("%d posts, want %d", n, rows)
		}
	}
}

// moved is a changes stream that counts.
type moved struct{ n atomic.Int64 }

func (m *moved) Append(_ context.Context, notices []fleet.Notice) error {
	m.n.Add(int64(len(notices)))
	return nil
}

// drain sends n due messages by a channel, and returns how long that took. changes may be nil: then no relay runs.
func drain(b *testing.B, n int, ch outreach.Channel, address string, changes *moved) time.Duration {
	b.Helper()
	b.StopTimer()
	cfg := store.DefaultConfig()
	cfg.Path = filepath.Join(b.TempDir(), "a.db")
	s, err := store.Open(b.Context(), cfg, obs.Discard())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	reg := dueRows(b, s, n, address)
	texts := fleet.Texts{"en": {What: "{{.Thing}} drains slowly.", Do: "Clean the filter.", Clear: "{{.Thing}} drains well again."}}
	left := &countdown{Store: s, ended: make(chan struct{})}
	left.n.Store(int64(2 * n))
	oc := outreach.DefaultConfig()
	oc.QuietFrom, oc.QuietUntil = 0, 0 // it may be night
	o := outreach.New(oc, outreach.Deps{Outbox: left, Company: s, Contacts: s, Cases: s, Registry: reg, Log: obs.Discard(), Registerer: prometheus.NewRegistry(),
		Words: words.New(models, func(string) fleet.Texts { return texts }), Channels: []outreach.Channel{ch}})
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	b.StartTimer()
	began := time.Now()
	wg.Go(func() { _ = o.Run(ctx) })
	if changes != nil {
		relay := outreach.NewRelay(s, changes, oc.Poll, obs.Discard())
		wg.Go(func() { _ = relay.Run(ctx) })
	}
	<-left.ended
	took := time.Since(began)
	b.StopTimer()
	cancel()
	wg.Wait()
	return took
}

// dueRows makes n devices with an owner each, a case of each, and a message about each that is due.
func dueRows(b *testing.B, s *store.Store, n int, address string) *registry.Registry {
	b.Helper()
	rc := registry.DefaultConfig()
	rc.KeyFile = filepath.Join(b.TempDir(), "key")
	reg, err := registry.New(b.Context(), rc, registry.Deps{Store: s, Models: models, Log: obs.Discard(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	people, devices := make([]fleet.Person, n), make([]fleet.Device, n)
	for i := range n {
		p := fmt.Sprint("p", i)
		people[i] = fleet.Person{ID: p, Tenant: "demo", Name: p, Locale: "en-GB", Zone: "Europe/London",
			Endpoints: []fleet.Endpoint{{Channel: "webhook", Address: address + "/" + p, Secret: secret}}}
		devices[i] = fleet.Device{Key: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprint("WM-", i)}, Model: "washer-w7", OwnerID: p}
	}
	if err := reg.SavePeople(b.Context(), people); err != nil {
		b.Fatal(err)
	}
	if _, err := reg.Import(b.Context(), devices); err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	const writers = 64
	for w := range writers {
		wg.Go(func() {
			for i := w; i < n; i += writers {
				now := time.Now()
				c := fleet.Case{ID: fmt.Sprint("case-", i), Device: devices[i].Key, Model: "washer-w7", Category: "washing-machine", Problem: "drain", Rule: "drain",
					Kind: fleet.KindMaintenance, Severity: fleet.Fault, State: fleet.CaseNew, OpenedAt: noon, UpdatedAt: now, Live: true, Count: 1}
				err := s.Commit(b.Context(), fleet.Change{Case: c, Outbox: []fleet.OutboxRow{{ID: fleet.ID("msg", c.ID), Kind: fleet.OutboxMessage, Tenant: "demo",
					CaseID: c.ID, Topic: "opened", DueAt: now, Cause: now}}})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return reg
}

// countdown is the store; it says when so many rows are recorded.
type countdown struct {
	*store.Store
	n     atomic.Int64
	ended chan struct{}
}

func (c *countdown) Deliver(ctx context.Context, id string, m *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) error {
	err := c.Store.Deliver(ctx, id, m, d, follow)
	if err == nil && c.n.Add(-1) == 0 {
		close(c.ended)
	}
	return err
}
