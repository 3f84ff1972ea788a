package outreach_test

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	_ "modernc.org/sqlite" // the driver by its name

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/outreach"
	"aftercare/internal/seal"
	"aftercare/internal/store"
	"aftercare/internal/words"
)

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// ring is one call of a channel, as it happened.
type ring struct {
	at  time.Time
	m   fleet.Message
	to  fleet.Endpoint
	err error
}

// world is outreach on a real store, with people, devices and channels as the test makes them up, and the test's own clock.
type world struct {
	t       tester
	dir     string
	store   *store.Store
	raw     *sql.DB
	config  outreach.Config
	now     time.Time
	o       *outreach.Outreach
	people  map[string]fleet.Person
	devices map[fleet.DeviceKey]fleet.Device
	cover   fleet.Cover
	rings   []ring
	answer  func(channel string, m fleet.Message) error // what a channel's receiver says; nil: it takes everything
	watch   func(ring)                                  // looks at each ring as it happens
	links   bool
	dying   bool           // the process dies before it records the next thing that was sent
	died    map[string]int // how often, by the row that was being sent
	n       int
}

var empty struct {
	sync.Once
	file []byte
	err  error
}

// newWorld has Anna and Ben, who live together in Berlin, and Anna's washer WM-1. Both have a phone (ntfy) and an address (email).
func newWorld(t tester, dir string, edit func(*outreach.Config)) *world {
	t.Helper()
	w := &world{t: t, dir: dir, config: outreach.DefaultConfig(), now: noon, people: map[string]fleet.Person{}, devices: map[fleet.DeviceKey]fleet.Device{}, died: map[string]int{}}
	if edit != nil {
		edit(&w.config)
	}
	w.links = w.config.URL != ""
	for i, id := range []string{"anna", "ben"} {
		w.people[id] = fleet.Person{ID: id, Tenant: "demo", Name: id, Locale: "en-GB", Zone: "Europe/Berlin", Household: "home", Rank: i,
			Endpoints: []fleet.Endpoint{{Channel: "ntfy", Address: "https://ntfy.example/" + id}, {Channel: "email", Address: id + "@mail.example"}}}
	}
	w.devices[key] = fleet.Device{Key: key, Model: "washer-w7", OwnerID: "anna"}
	cfg := store.DefaultConfig()
	cfg.Path, cfg.NoSync = filepath.Join(dir, "a.db"), true
	empty.Do(func() { // the tables are made once, and copied
		first := cfg
		first.Path = filepath.Join(dir, "empty.db")
		s, err := store.Open(context.Background(), first, obs.Discard())
		if err == nil {
			err = s.Close()
		}
		if err == nil {
			empty.file, err = os.ReadFile(first.Path)
		}
		empty.err = err
	})
	w.ok(empty.err)
	w.ok(os.WriteFile(cfg.Path, empty.file, 0o600))
	s, err := store.Open(context.Background(), cfg, obs.Discard())
	w.ok(err)
	w.store = s
	w.raw, err = sql.Open("sqlite", cfg.Path+"?_pragma=busy_timeout(10000)")
	w.ok(err)
	w.start()
	return w
}

func (w *world) close() {
	w.ok(errors.Join(w.raw.Close(), w.store.Close()))
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v", err)
	}
}

// start is the start of the process.
func (w *world) start() { w.o = outreach.New(w.config, w.deps()) }

func (w *world) deps() outreach.Deps {
	texts := fleet.Texts{"en": {What: "{{.Thing}} drains slowly.", Do: "Clean the filter.", Clear: "{{.Thing}} drains well again."}}
	d := outreach.Deps{Outbox: mortal{w.store, w}, Company: mortal{w.store, w}, Contacts: w.store, Receipts: w.store, Cases: w.store, Incidents: w.store, Registry: w, Households: w, Entitlements: w,
		Log: obs.Discard(), Registerer: prometheus.NewRegistry(), Words: words.New(models, func(string) fleet.Texts { return texts }), Now: func() time.Time { return w.now },
		Channels: []outreach.Channel{bell{"ntfy", w}, bell{"email", w}}}
	if w.links {
		d.Seal = seal.New(bytes.Repeat([]byte{7}, 32))
	}
	return d
}

func (w *world) Device(k fleet.DeviceKey) (*fleet.Device, bool) {
	d, ok := w.devices[k]
	return &d, ok
}

func (w *world) Person(_, id string) (*fleet.Person, bool) {
	p, ok := w.people[id]
	return &p, ok
}

func (w *world) Household(_, id string) (h fleet.Household, ok bool) {
	h = fleet.Household{Tenant: "demo", ID: id}
	for _, who := range []string{"anna", "ben", "carl"} {
		if p, has := w.people[who]; has && p.Household == id {
			h.Members, ok = append(h.Members, p), true
		}
	}
	return h, ok
}

func (w *world) Cover(*fleet.Device, time.Time, *fleet.Case) fleet.Cover { return w.cover }

// bell is a channel that writes down what it was asked to send.
type bell struct {
	name string
	w    *world
}

func (b bell) Name() string { return b.name }

func (b bell) Send(_ context.Context, m fleet.Message, to fleet.Endpoint) error {
	r := ring{at: b.w.now, m: m, to: to}
	if b.w.answer != nil {
		r.err = b.w.answer(b.name, m)
	}
	b.w.rings = append(b.w.rings, r)
	if b.w.watch != nil {
		b.w.watch(r)
	}
	return r.err
}

// mortal is the store in a process that dies between sending and recording when it is told to.
type mortal struct {
	*store.Store
	w *world
}

// dies says whether the process dies now that a message left and was not yet recorded.
func (k mortal) dies(d fleet.Delivery) bool {
	if !k.w.dying || d.State != "sent" || d.Channel == "inbox" || d.Channel == "operations" { // nothing leaves with those
		return false
	}
	k.w.dying = false
	k.w.died[d.OutboxID]++
	return true
}

func (k mortal) Deliver(ctx context.Context, id string, m *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) error {
	if k.dies(d) {
		return errKilled
	}
	return k.Store.Deliver(ctx, id, m, d, follow)
}

func (k mortal) DeliverWith(ctx context.Context, id string, d fleet.Delivery, along []fleet.Delivery, follow []fleet.OutboxRow) error {
	if k.dies(d) {
		for _, a := range along {
			k.w.died[a.OutboxID]++
		}
		return errKilled
	}
	return k.Store.DeliverWith(ctx, id, d, along, follow)
}

// pass lets outreach do what is due; a process that died starts again.
func (w *world) pass() {
	w.t.Helper()
	if err := w.o.Pass(context.Background(), w.now); errors.Is(err, errKilled) {
		w.start()
	} else {
		w.ok(err)
	}
}

// live are the states of rows that are not ended.
const live = "FROM outbox WHERE kind IN ('message', 'notify') AND state IN ('pending', 'leased')"

// until moves the clock, and stops whenever something is due.
func (w *world) until(end time.Time) {
	w.t.Helper()
	for range 5000 {
		w.pass()
		var next sql.NullInt64
		w.ok(w.raw.QueryRow("SELECT MIN(MAX(due_at, lease_until)) " + live).Scan(&next))
		if at := time.UnixMilli(next.Int64).UTC(); !next.Valid || at.After(end) {
			w.now = end
			return
		} else if at.After(w.now) {
			w.now = at
		} else {
			w.t.Fatalf("a row that is due at %v is still there at %v", at, w.now)
		}
	}
	w.t.Fatalf("5000 passes until %v: something is due again and again", w.now)
}

func (w *world) after(d time.Duration) { w.until(w.now.Add(d)) }

// put changes a case, or makes it, and asks for a message about it, as cases does; without a topic for none.
func (w *world) put(id, topic string, edit func(*fleet.Case), rows ...func(*fleet.OutboxRow)) string {
	w.t.Helper()
	c := fleet.Case{ID: id, Device: key, Model: "washer-w7", Category: "washing-machine", Problem: id, Rule: "drain", Kind: fleet.KindFault, Severity: fleet.Fault,
		State: fleet.CaseNew, OpenedAt: w.now, Live: true, Count: 1}
	expected := int64(0)
	if old, err := w.store.Case(context.Background(), "demo", id); err == nil {
		c, expected = *old, old.Version
	}
	c.Version, c.UpdatedAt = expected+1, w.now
	if edit != nil {
		edit(&c)
	}
	ch := fleet.Change{Case: c, Expected: expected}
	row := fleet.OutboxRow{Kind: fleet.OutboxMessage, Tenant: "demo", CaseID: id, Topic: topic, About: w.now, DueAt: w.now, Cause: w.now}
	if topic != "" {
		w.n++
		row.ID = fleet.ID("msg", id, topic, string(rune('a'+w.n%26)), string(rune('a'+w.n/26)))
		for _, r := range rows {
			r(&row)
		}
		ch.Outbox = []fleet.OutboxRow{row}
	}
	w.ok(w.store.Commit(context.Background(), ch))
	return row.ID
}

// fates is what became of each row of a case as "person channel event state: reason", sorted.
func (w *world) fates(id string) (out []string) {
	w.t.Helper()
	ds, err := w.store.CaseDeliveries(context.Background(), "demo", id)
	w.ok(err)
	for _, d := range ds {
		s := d.PersonID + " " + d.Channel + " " + d.Topic + " " + d.State
		if d.Reason != "" {
			s += ": " + d.Reason
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// rang is who was rung where about what, with the hour in Berlin: in the order of time, of one moment sorted.
func (w *world) rang() (out []string) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	w.ok(err)
	rings := slices.Clone(w.rings)
	slices.SortStableFunc(rings, func(a, b ring) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.m.PersonID, b.m.PersonID), cmp.Compare(a.to.Channel, b.to.Channel))
	})
	for _, r := range rings {
		s := r.at.In(berlin).Format("Mon 15:04") + " " + r.m.PersonID + " " + r.to.Channel + " " + r.m.Topic
		if r.err != nil {
			s += " failed"
		}
		out = append(out, s)
	}
	return out
}

func wash(t *testing.T, edit func(*outreach.Config)) *world {
	t.Helper()
	w := newWorld(t, t.TempDir(), edit)
	t.Cleanup(w.close)
	return w
}

// linked gives messages links, and so receipts.
func linked(c *outreach.Config) { c.URL = "https://care.example" }
