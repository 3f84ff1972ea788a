package outreach_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channel/ntfy"
	"aftercare/internal/outreach/channel/webhook"
	"aftercare/internal/registry"
	"aftercare/internal/store"
	"aftercare/internal/words"
)

var (
	noon  = time.Date(2025, 11, 21, 12, 0, 0, 0, time.UTC)
	night = time.Date(2025, 11, 21, 22, 0, 0, 0, time.UTC) // 23:00 in Berlin
	key   = fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}
)

var models = []fleet.Model{{ID: "washer-w7", Category: "washing-machine", Label: fleet.Words{"en": "washing machine", "de": "Waschmaschine"}}}

// bench is outreach on a real store and registry, with one owner who has the given endpoints.
type bench struct {
	store    *store.Store
	registry *registry.Registry
	deps     outreach.Deps
	o        *outreach.Outreach
}

func newBench(t *testing.T, rs map[string]*receiver) *bench {
	t.Helper()
	dir := t.TempDir()
	cfg := store.DefaultConfig()
	cfg.Path = filepath.Join(dir, "a.db")
	s, err := store.Open(t.Context(), cfg, obs.Discard())
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	rc := registry.DefaultConfig()
	rc.KeyFile = filepath.Join(dir, "key")
	reg, err := registry.New(t.Context(), rc, registry.Deps{Store: s, Models: models, Log: obs.Discard(), Registerer: prometheus.NewRegistry()})
	must(t, err)
	anna := fleet.Person{ID: "anna", Tenant: "demo", Name: "Anna", Locale: "de-DE", Zone: "Europe/Berlin"}
	var all []*receiver
	for _, ch := range []string{"ntfy", "webhook"} {
		if r := rs[ch]; r != nil {
			anna.Endpoints = append(anna.Endpoints, fleet.Endpoint{Channel: ch, Address: r.URL + "/x", Secret: secret})
			all = append(all, r)
		}
	}
	must(t, reg.SavePeople(t.Context(), []fleet.Person{anna}))
	_, err = reg.Register(t.Context(), fleet.Device{Key: key, Model: "washer-w7", Room: "Küche", OwnerID: "anna"})
	must(t, err)
	h := client(t, 10*time.Second, all...)
	texts := fleet.Texts{"de": {What: "{{.Thing}} pumpt langsam ab.", Do: "Reinigen Sie das Flusensieb.", Clear: "{{.Thing}} pumpt wieder normal ab."}}
	b := &bench{store: s, registry: reg}
	b.deps = outreach.Deps{Outbox: s, Company: s, Contacts: s, Receipts: s, Cases: s, Registry: reg, People: reg, Log: obs.Discard(), Registerer: prometheus.NewRegistry(),
		Words:    words.New(models, func(string) fleet.Texts { return texts }),
		Channels: []outreach.Channel{ntfy.New(ntfy.DefaultConfig(), h, time.Now), webhook.New(h, time.Now)}}
	b.o = outreach.New(outreach.DefaultConfig(), b.deps)
	return b
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// change commits the case in a state with a message row of a topic, as cases does.
func (b *bench) change(t *testing.T, state fleet.CaseState, topic string, now time.Time, edit ...func(*fleet.Case)) {
	t.Helper()
	c := fleet.Case{ID: "case-1", Version: 1, Device: key, Model: "washer-w7", Category: "washing-machine", Problem: "drain", Rule: "drain",
		Kind: fleet.KindMaintenance, Severity: fleet.Due, OpenedAt: noon, UpdatedAt: now, Live: true, Count: 1}
	expected := int64(0)
	if old, err := b.store.Case(t.Context(), "demo", "case-1"); err == nil {
		c, expected = *old, old.Version
		c.Version++
	}
	c.State = state
	for _, e := range edit {
		e(&c)
	}
	ch := fleet.Change{Case: c, Expected: expected}
	if topic != "" {
		ch.Outbox = []fleet.OutboxRow{{ID: fleet.ID("msg", c.ID, topic), Kind: fleet.OutboxMessage, Tenant: "demo", CaseID: c.ID, Topic: topic,
			DueAt: now, Cause: now.Add(-time.Second)}}
	}
	must(t, b.store.Commit(t.Context(), ch))
}

// fates returns what became of each row as "channel state", sorted, with the reason of what was not sent.
func (b *bench) fates(t *testing.T) []string {
	t.Helper()
	ds, err := b.store.CaseDeliveries(t.Context(), "demo", "case-1")
	must(t, err)
	out := make([]string, 0, len(ds))
	for _, d := range ds {
		s := d.Channel + " " + d.State
		if d.Reason != "" {
			s += ": " + d.Reason
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

func (b *bench) inbox(t *testing.T) []fleet.Message {
	t.Helper()
	ms, err := b.store.Inbox(t.Context(), "demo", "anna", 100)
	must(t, err)
	return ms
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestOpenedAndCleared: the message goes to the inbox and the first endpoint, the all-clear to exactly those.
func TestOpenedAndCleared(t *testing.T) {
	rs := map[string]*receiver{"ntfy": receive(t, status(200)), "webhook": receive(t, status(200))}
	b := newBench(t, rs)
	b.change(t, fleet.CaseNew, "opened", noon)
	must(t, b.o.Pass(t.Context(), noon))
	same(t, b.fates(t), []string{"inbox sent", "ntfy sent"})
	b.change(t, fleet.CaseResolved, "cleared", noon.Add(time.Hour))
	must(t, b.o.Pass(t.Context(), noon.Add(time.Hour)))
	must(t, b.o.Pass(t.Context(), noon.Add(time.Hour)))
	same(t, b.fates(t), []string{"inbox sent", "inbox sent", "ntfy sent", "ntfy sent", "webhook skipped: nobody was told of the problem here"})
	titles := make([]string, 0, 2)
	for _, m := range b.inbox(t) {
		titles = append(titles, m.Title)
	}
	same(t, titles, []string{"Die Waschmaschine in der Küche pumpt wieder normal ab.", "Die Waschmaschine in der Küche pumpt langsam ab."})
	same(t, []int{len(rs["ntfy"].received()), len(rs["webhook"].received())}, []int{2, 0})
}

// TestAllClearThatWaitedIsNotToldWhenTheProblemIsBack (REL-11): it was held over the night, and by then the same problem has a new case.
func TestAllClearThatWaitedIsNotToldWhenTheProblemIsBack(t *testing.T) {
	b := newBench(t, map[string]*receiver{"ntfy": receive(t, status(200))})
	b.change(t, fleet.CaseNew, "opened", noon)
	must(t, b.o.Pass(t.Context(), noon))
	b.change(t, fleet.CaseClosed, "cleared", night)
	must(t, b.o.Pass(t.Context(), night))
	c := fleet.Case{ID: "case-2", Device: key, Model: "washer-w7", Problem: "drain", Kind: fleet.KindMaintenance, Severity: fleet.Due, State: fleet.CaseNew,
		OpenedAt: night.Add(time.Hour), Live: true, Count: 1}
	must(t, b.store.Commit(t.Context(), fleet.Change{Case: c}))
	must(t, b.o.Pass(t.Context(), night.Add(9*time.Hour)))
	same(t, b.fates(t), []string{"inbox sent", "inbox sent", "ntfy sent", "ntfy skipped: the problem is back"})
}

// TestDangerGoesEverywhereAtOnce, at night too, over a budget that is used up; and its all-clear follows it.
func TestDangerGoesEverywhereAtOnce(t *testing.T) {
	rs := map[string]*receiver{"ntfy": receive(t, status(200)), "webhook": receive(t, status(200))}
	b := newBench(t, rs)
	for i := range 9 {
		_, err := b.store.TakeContact(t.Context(), "demo", "p:anna", string(rune('a'+i)), night, 0, 0)
		must(t, err)
	}
	b.change(t, fleet.CaseNew, "opened", night, func(c *fleet.Case) { c.Kind = fleet.KindSafety })
	must(t, b.o.Pass(t.Context(), night))
	same(t, b.fates(t), []string{"inbox sent", "ntfy sent", "webhook sent"})
	b.change(t, fleet.CaseResolved, "cleared", night.Add(time.Hour))
	must(t, b.o.Pass(t.Context(), night.Add(time.Hour)))
	same(t, b.fates(t), []string{"inbox sent", "inbox sent", "ntfy sent", "ntfy sent", "webhook sent", "webhook sent"})
}

func TestOverBeforeItLeft(t *testing.T) {
	b := newBench(t, map[string]*receiver{"ntfy": receive(t, status(200))})
	b.change(t, fleet.CaseNew, "opened", noon)
	b.change(t, fleet.CaseResolved, "cleared", noon)
	must(t, b.o.Pass(t.Context(), noon))
	same(t, b.fates(t), []string{"inbox skipped: nobody was told of the problem here", "inbox skipped: the case was resolved before the message left"})
	same(t, len(b.inbox(t)), 0)
}

func TestNightHoldsThePhoneButNotTheInbox(t *testing.T) {
	r := receive(t, status(200))
	b := newBench(t, map[string]*receiver{"ntfy": r})
	b.change(t, fleet.CaseNew, "opened", night)
	must(t, b.o.Pass(t.Context(), night))
	same(t, b.fates(t), []string{"inbox sent", "ntfy held: quiet hours until 07:00 in Europe/Berlin"})
	same(t, len(r.received()), 0)
	morning := time.Date(2025, 11, 22, 6, 0, 0, 0, time.UTC)
	must(t, b.o.Pass(t.Context(), morning.Add(-time.Second)))
	same(t, len(r.received()), 0)
	must(t, b.o.Pass(t.Context(), morning))
	same(t, b.fates(t), []string{"inbox sent", "ntfy sent"})
	same(t, len(r.received()), 1)
}

func TestHeldMessageIsCheckedAgainInTheMorning(t *testing.T) {
	r := receive(t, status(200))
	b := newBench(t, map[string]*receiver{"ntfy": r})
	b.change(t, fleet.CaseNew, "opened", night)
	must(t, b.o.Pass(t.Context(), night))
	b.change(t, fleet.CaseResolved, "cleared", night.Add(time.Hour))
	must(t, b.o.Pass(t.Context(), night.Add(10*time.Hour)))
	same(t, len(r.received()), 0)
	same(t, b.fates(t), []string{"inbox sent", "inbox sent",
		"ntfy skipped: nobody was told of the problem here", "ntfy skipped: the case was resolved before the message left"})
}

func TestSafetyRingsAtNight(t *testing.T) {
	r := receive(t, status(200))
	b := newBench(t, map[string]*receiver{"ntfy": r})
	b.change(t, fleet.CaseNew, "opened", night, func(c *fleet.Case) { c.Kind = fleet.KindSafety })
	must(t, b.o.Pass(t.Context(), night))
	same(t, b.fates(t), []string{"inbox sent", "ntfy sent"})
}

// TestFlakyReceiverGetsTheSameIDUntilItAnswers (REL-10, REL-11): the schedule with its waits, Retry-After, the same id on each try.
func TestFlakyReceiverGetsTheSameIDUntilItAnswers(t *testing.T) {
	r := receive(t, status(500), status(429, "Retry-After", "3600"), status(503), status(200))
	b := newBench(t, map[string]*receiver{"webhook": r})
	b.change(t, fleet.CaseNew, "opened", noon)
	now := noon
	for _, step := range []struct {
		wait  time.Duration
		calls int
	}{{0, 1}, {2 * time.Second, 1}, {5 * time.Second, 2}, {30 * time.Minute, 2}, {31 * time.Minute, 3}, {time.Hour, 4}, {100 * time.Hour, 4}} {
		now = now.Add(step.wait)
		must(t, b.o.Pass(t.Context(), now))
		if n := len(r.received()); n != step.calls {
			t.Fatalf("%v after the first try: %d calls, want %d", now.Sub(noon), n, step.calls)
		}
	}
	id := r.received()[0].header.Get("Webhook-Id")
	for _, c := range r.received() {
		same(t, c.header.Get("Webhook-Id"), id)
	}
	same(t, b.fates(t), []string{"inbox sent", "webhook sent"})
	same(t, len(b.inbox(t)), 1)
}

// TestExhaustedEndsInDeadLetters (REL-10): with the reason.
func TestExhaustedEndsInDeadLetters(t *testing.T) {
	r := receive(t, status(500))
	b := newBench(t, map[string]*receiver{"webhook": r})
	b.change(t, fleet.CaseNew, "opened", noon)
	for now := noon; now.Before(noon.Add(120 * time.Hour)); now = now.Add(time.Hour) {
		must(t, b.o.Pass(t.Context(), now))
	}
	same(t, len(r.received()), 10)
	dead, err := b.store.DeadLetters(t.Context(), "demo", 10)
	must(t, err)
	if len(dead) != 1 || !strings.HasPrefix(dead[0].LastErr, "given up after 10 tries in ") || !strings.Contains(dead[0].LastErr, "500") {
		t.Errorf("dead letters %+v", dead)
	}
}

// TestLeasesAreNoTries leases a channel's row again and again without a try, as when its queue is full of rows for a receiver
// that hangs: its first failure must wait the schedule's first step all the same, and it must get all its tries.
func TestLeasesAreNoTries(t *testing.T) {
	r := receive(t, status(500))
	b := newBench(t, map[string]*receiver{"webhook": r})
	b.change(t, fleet.CaseNew, "", noon)
	anna, _ := b.registry.Person("demo", "anna")
	body, err := json.Marshal(map[string]any{"address": anna.Endpoints[0].Address, "from": noon})
	must(t, err)
	must(t, b.store.AddOutbox(t.Context(), []fleet.OutboxRow{{ID: "dlv-1", Kind: fleet.OutboxMessage, Tenant: "demo", CaseID: "case-1",
		PersonID: "anna", Channel: "webhook", Topic: "opened", Body: body, DueAt: noon}}))
	now := noon
	for range 20 {
		rows, err := b.store.LeaseOutbox(t.Context(), fleet.OutboxMessage, now, time.Minute, 10)
		must(t, err)
		same(t, len(rows), 1)
		now = now.Add(time.Minute)
	}
	must(t, b.o.Pass(t.Context(), now))
	same(t, len(r.received()), 1)
	must(t, b.o.Pass(t.Context(), now.Add(3*time.Second)))
	same(t, len(r.received()), 1)
	must(t, b.o.Pass(t.Context(), now.Add(8*time.Second)))
	same(t, len(r.received()), 2)
	for end := now.Add(120 * time.Hour); now.Before(end); now = now.Add(time.Hour) {
		must(t, b.o.Pass(t.Context(), now.Add(time.Hour)))
	}
	same(t, len(r.received()), 10)
	ds, err := b.store.CaseDeliveries(t.Context(), "demo", "case-1")
	must(t, err)
	if len(ds) != 1 || ds[0].State != "dead" || ds[0].Attempts != 10 {
		t.Errorf("deliveries %+v, want one, dead after 10 tries", ds)
	}
}

// TestGoneTakesTheEndpointOut (REL-11): 410 takes the address off the list, and the next one is used.
func TestGoneTakesTheEndpointOut(t *testing.T) {
	gone, fine := receive(t, status(410)), receive(t, status(200))
	b := newBench(t, map[string]*receiver{"ntfy": gone, "webhook": fine})
	b.change(t, fleet.CaseNew, "opened", noon)
	must(t, b.o.Pass(t.Context(), noon))
	must(t, b.o.Pass(t.Context(), noon.Add(time.Second)))
	same(t, b.fates(t), []string{"inbox sent",
		"ntfy dead: the receiver answered 410 Gone; the address was taken off the person's list", "webhook sent"})
	anna, _ := b.registry.Person("demo", "anna")
	if len(anna.Endpoints) != 1 || anna.Endpoints[0].Channel != "webhook" {
		t.Errorf("endpoints %+v, want the webhook alone", anna.Endpoints)
	}
}

func TestNoOwner(t *testing.T) {
	b := newBench(t, nil)
	err := b.registry.SetOwner(t.Context(), key, "")
	must(t, err)
	b.change(t, fleet.CaseNew, "opened", noon)
	must(t, b.o.Pass(t.Context(), noon))
	same(t, b.fates(t), []string{"inbox skipped: no owner"})
}

// TestHangingEndpointDelaysNobodyElse runs the real loop: a webhook that never answers, more rows for it than it has workers,
// and an inbox and a phone that get theirs meanwhile.
func TestHangingEndpointDelaysNobodyElse(t *testing.T) {
	stuck, phone := receive(t, hang), receive(t, status(200))
	b := newBench(t, map[string]*receiver{"webhook": stuck, "ntfy": phone})
	c := outreach.DefaultConfig()
	c.Workers, c.Poll = 2, time.Hour // Wake alone drives it
	c.QuietFrom, c.QuietUntil = 0, 0
	b.deps.Registerer = prometheus.NewRegistry()
	o := outreach.New(c, b.deps)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := o.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	const n = 20
	for i := range n {
		id := fleet.ID("msg", "case-1", "opened", string(rune('a'+i)))
		if i == 0 {
			b.change(t, fleet.CaseNew, "", time.Now(), func(c *fleet.Case) { c.Kind = fleet.KindSafety }) // to all endpoints at once
		}
		must(t, b.store.AddOutbox(t.Context(), []fleet.OutboxRow{{ID: id, Kind: fleet.OutboxMessage, Tenant: "demo", CaseID: "case-1", Topic: "opened",
			DueAt: time.Now(), Cause: time.Now()}}))
		o.Wake()
	}
	for range n {
		<-phone.got
	}
	cancel()
	stuck.CloseClientConnections()
	wg.Wait()
	same(t, len(b.inbox(t)), n)
	// What was in flight or waiting is due at once for whoever starts next.
	rows, err := b.store.LeaseOutbox(t.Context(), fleet.OutboxMessage, time.Now().Add(time.Minute), time.Minute, 1000)
	must(t, err)
	same(t, len(rows), n)
	for _, r := range rows {
		same(t, r.Channel, "webhook")
	}
}
