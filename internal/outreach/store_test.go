package outreach_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
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

// TestNightAfterAKillKeepsTheID kills the process between a send and its record in the last minute of the day: whatever was
// not counted, the message of the morning must have the id of the one that may have left.
func TestNightAfterAKillKeepsTheID(t *testing.T) {
	r := receive(t, status(200))
	b := newBench(t, map[string]*receiver{"ntfy": r})
	k := &sendThenDie{killed: &killed{Store: b.store}}
	b.deps.Outbox, b.deps.Registerer = k, prometheus.NewRegistry()
	o := outreach.New(outreach.DefaultConfig(), b.deps)
	evening := time.Date(2025, 11, 21, 19, 59, 50, 0, time.UTC)
	b.change(t, fleet.CaseNew, "opened", evening)
	if err := o.Pass(t.Context(), evening); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	same(t, len(r.received()), 1)
	k.alive = true
	must(t, o.Pass(t.Context(), evening.Add(time.Hour)))
	same(t, len(r.received()), 1)
	must(t, o.Pass(t.Context(), evening.Add(12*time.Hour)))
	calls := r.received()
	same(t, len(calls), 2)
	same(t, calls[1].header.Get("X-Sequence-Id"), calls[0].header.Get("X-Sequence-Id"))
}

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

// killed is the real store in a process that dies at chosen moments: before or after its commit, the caller hears nothing.
type killed struct {
	*store.Store
	before, after bool
}

var errKilled = errors.New("killed")

func (k *killed) Deliver(ctx context.Context, id string, m *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) error {
	if k.before {
		return errKilled
	}
	err := k.Store.Deliver(ctx, id, m, d, follow)
	if k.after {
		return errKilled
	}
	return err
}

func TestKillBetweenSendingAndRecording(t *testing.T) {
	r := receive(t, status(200))
	b := newBench(t, map[string]*receiver{"webhook": r})
	k := &killed{Store: b.store}
	b.deps.Outbox, b.deps.Registerer = k, prometheus.NewRegistry()
	o := outreach.New(outreach.DefaultConfig(), b.deps)
	pass := func(now time.Time, wantErr bool) {
		t.Helper()
		if err := o.Pass(t.Context(), now); errors.Is(err, errKilled) != wantErr {
			t.Fatalf("pass: %v", err)
		}
	}
	b.change(t, fleet.CaseNew, "opened", noon)
	lease := outreach.DefaultConfig().Lease

	k.before = true // while the inbox message is being saved
	pass(noon, true)
	same(t, len(b.inbox(t)), 0)
	k.before, k.after = false, true // it is saved, and the endpoint's row with it, but nobody hears of it; the same for the webhook
	pass(noon.Add(lease), true)
	same(t, len(b.inbox(t)), 1)
	same(t, len(r.received()), 1)
	pass(noon.Add(2*lease), false)
	same(t, len(r.received()), 1)

	b.change(t, fleet.CaseNew, "escalated", noon.Add(time.Hour))
	k.before, k.after = false, false
	k.before = true
	pass(noon.Add(time.Hour), true)
	k.before = false
	pass(noon.Add(time.Hour+lease/2), false) // still leased: nothing
	same(t, len(b.inbox(t)), 1)
	must(t, b.store.RetryOutbox(t.Context(), fleet.ID("msg", "case-1", "escalated"), noon.Add(time.Hour), ""))
	k2 := &sendThenDie{killed: k}
	b.deps.Outbox, b.deps.Registerer = k2, prometheus.NewRegistry()
	o = outreach.New(outreach.DefaultConfig(), b.deps)
	pass(noon.Add(time.Hour), true) // inbox recorded; the webhook was sent, then killed before that was recorded
	same(t, len(r.received()), 2)
	k2.alive = true
	pass(noon.Add(time.Hour+lease), false)
	calls := r.received()
	same(t, len(calls), 3)
	same(t, calls[2].header.Get("Webhook-Id"), calls[1].header.Get("Webhook-Id"))
	if calls[0].header.Get("Webhook-Id") == calls[1].header.Get("Webhook-Id") {
		t.Error("two messages have one id")
	}
	same(t, len(b.inbox(t)), 2)
	same(t, b.fates(t), []string{"inbox sent", "inbox sent", "webhook sent", "webhook sent"})
}

// sendThenDie dies before it can record what a channel sent.
type sendThenDie struct {
	*killed
	alive bool
}

func (k *sendThenDie) Deliver(ctx context.Context, id string, m *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) error {
	if m == nil && !k.alive {
		return errKilled
	}
	return k.killed.Deliver(ctx, id, m, d, follow)
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

// TestSecretsStayInTheRegistry looks for the signing secret and the addresses' paths wherever else they could end up.
func TestSecretsStayInTheRegistry(t *testing.T) {
	hook, phone := receive(t, status(500), status(400)), receive(t, status(301))
	b := newBench(t, map[string]*receiver{"webhook": hook, "ntfy": phone})
	var log strings.Builder
	b.deps.Log, b.deps.Registerer = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), prometheus.NewRegistry()
	o := outreach.New(outreach.DefaultConfig(), b.deps)
	b.change(t, fleet.CaseNew, "opened", noon)
	must(t, o.Pass(t.Context(), noon))
	must(t, o.Pass(t.Context(), noon.Add(time.Second)))
	rows, err := b.store.LeaseOutbox(t.Context(), fleet.OutboxMessage, noon.Add(time.Minute), time.Second, 10)
	must(t, err)
	must(t, o.Pass(t.Context(), noon.Add(time.Hour)))
	records, err := b.store.LeaseOutbox(t.Context(), fleet.OutboxRecord, noon.Add(2*time.Hour), time.Second, 10)
	must(t, err)
	dead, err := b.store.DeadLetters(t.Context(), "demo", 10)
	must(t, err)
	same(t, []int{len(rows), len(records), len(dead)}, []int{1, 3, 2})
	all := log.String() + strings.Join(b.fates(t), "\n")
	for _, r := range slices.Concat(rows, records, dead) {
		all += r.LastErr
		if r.Kind == fleet.OutboxRecord {
			all += string(r.Body)
		} else if strings.Contains(string(r.Body), secret) {
			t.Errorf("row %s holds the signing secret", r.ID)
		}
	}
	for _, canary := range []string{secret, "/x"} {
		if strings.Contains(all, canary) {
			t.Errorf("%q got out: %s", canary, all)
		}
	}
}

func TestMetrics(t *testing.T) {
	b := newBench(t, map[string]*receiver{"webhook": receive(t, status(500), status(200))})
	reg := prometheus.NewRegistry()
	b.deps.Registerer = reg
	o := outreach.New(outreach.DefaultConfig(), b.deps)
	b.change(t, fleet.CaseNew, "opened", noon)
	must(t, o.Pass(t.Context(), noon))
	must(t, o.Pass(t.Context(), noon.Add(time.Minute)))
	families, err := reg.Gather()
	must(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue()
			if h := m.GetHistogram(); h != nil {
				got[name] = float64(h.GetSampleCount())
				if m.GetLabel()[0].GetValue() == "inbox" && (h.GetSampleSum() < 1 || h.GetSampleSum() > 3) {
					t.Errorf("the inbox message took %v s, want a little more than 1", h.GetSampleSum())
				}
			}
		}
	}
	same(t, got, map[string]float64{"aftercare_outreach_messages_total inbox sent maintenance": 1, "aftercare_outreach_messages_total webhook retried maintenance": 1,
		"aftercare_outreach_messages_total webhook sent maintenance": 1, "aftercare_telemetry_to_message_seconds inbox": 1, "aftercare_telemetry_to_message_seconds webhook": 1,
		"aftercare_outreach_errors_total": 0, "aftercare_outreach_budget_holds_total": 0, "aftercare_outreach_circuits_open": 0, "aftercare_message_fallbacks_total": 3})
}

// stream is a changes stream that fails when told to.
type stream struct {
	fail bool
	got  []fleet.Notice
}

func (s *stream) Append(_ context.Context, ns []fleet.Notice) error {
	if s.fail {
		return errors.New("journal is full")
	}
	s.got = append(s.got, ns...)
	return nil
}

func TestRelay(t *testing.T) {
	b := newBench(t, nil)
	b.change(t, fleet.CaseNew, "opened", noon)
	must(t, b.o.Pass(t.Context(), noon))
	must(t, b.store.AddOutbox(t.Context(), []fleet.OutboxRow{{ID: "rec-bad", Kind: fleet.OutboxRecord, Tenant: "demo", CaseID: "case-1", Body: []byte("{"), DueAt: noon}}))
	s := &stream{fail: true}
	r := outreach.NewRelay(b.store, s, time.Second, obs.Discard())
	if err := r.Pass(t.Context(), noon); err == nil {
		t.Fatal("want the journal's error")
	}
	s.fail = false
	must(t, r.Pass(t.Context(), noon.Add(time.Minute)))
	must(t, r.Pass(t.Context(), noon.Add(time.Hour)))
	if len(s.got) != 1 {
		t.Fatalf("%d notices, want 1", len(s.got))
	}
	n := s.got[0]
	same(t, []string{n.Type, n.Action, n.Channel, n.PersonID, n.CaseID, n.Device.Serial, n.Detail}, []string{"message", "sent", "inbox", "anna", "case-1", "WM-1", "opened"})
	dead, err := b.store.DeadLetters(t.Context(), "demo", 10)
	must(t, err)
	if len(dead) != 1 || dead[0].ID != "rec-bad" {
		t.Errorf("dead letters %+v", dead)
	}
}
