package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/store"
)

// t0 is a Wednesday.
var t0 = time.Date(2026, 3, 4, 15, 0, 0, 0, time.UTC)

var washer = fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}

type world struct {
	t        *testing.T
	d        *Dispatch
	store    *store.Store
	partners []*fleet.Partner
	person   *fleet.Person
	told     []string // what the desk heard
	deskErr  error
}

func (w *world) Device(fleet.DeviceKey) (*fleet.Device, bool) {
	return &fleet.Device{Key: washer, Model: "washer-w7", OwnerID: "p-1"}, true
}
func (w *world) Person(string, string) (*fleet.Person, bool) { return w.person, true }
func (w *world) PartnersFor(*fleet.Device) []*fleet.Partner  { return w.partners }
func (w *world) Cover(*fleet.Device, time.Time, *fleet.Case) fleet.Cover {
	return fleet.Cover{Kind: "manufacturer", Pays: true, Days: 23}
}

func (w *world) hear(what string, o fleet.Order, why string) error {
	if w.deskErr != nil {
		return w.deskErr
	}
	w.told = append(w.told, what+" "+o.PartnerID+" "+why)
	return nil
}
func (w *world) Ordered(_ context.Context, o fleet.Order, why string, _ time.Time) error {
	return w.hear("ordered", o, why)
}
func (w *world) Unserved(_ context.Context, o fleet.Order, why string, _ time.Time) error {
	return w.hear("unserved", o, why)
}
func (w *world) Reported(_ context.Context, o fleet.Order, _ time.Time) error {
	return w.hear("reported", o, string(o.Outcome))
}

func begin(t *testing.T, partners ...string) *world {
	t.Helper()
	cfg := store.DefaultConfig()
	cfg.Path, cfg.NoSync = filepath.Join(t.TempDir(), "x.db"), true
	s, err := store.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	w := &world{t: t, store: s, person: &fleet.Person{ID: "p-1", Name: "Eve"}}
	for _, p := range partners {
		w.partners = append(w.partners, &fleet.Partner{ID: p, Tenant: "demo", Name: p, Zone: "Europe/Berlin"})
		must(t, s.SavePartner(t.Context(), *w.partners[len(w.partners)-1]))
	}
	w.d = New(DefaultConfig(), Deps{Store: s, Errands: s, Registry: w, Desk: w, Log: slog.New(slog.DiscardHandler)})
	w.kase("c-1", "drain", fleet.CaseAcked)
	return w
}

func (w *world) kase(id, problem string, state fleet.CaseState) {
	w.t.Helper()
	must(w.t, w.store.Commit(w.t.Context(), fleet.Change{Case: fleet.Case{ID: id, Device: washer, Model: "washer-w7", Problem: problem, State: state, OpenedAt: t0}}))
}

func (w *world) book(at time.Time) fleet.Order {
	w.t.Helper()
	o, err := w.d.Book(w.t.Context(), Wish{Tenant: "demo", CaseID: "c-1", By: "owner:p-1", At: at})
	must(w.t, err)
	return o
}

func (w *world) pass(at time.Time) {
	w.t.Helper()
	must(w.t, w.d.Pass(w.t.Context(), at))
}

// rows are the messages that are due, as "kind topic".
func (w *world) rows(at time.Time) string {
	w.t.Helper()
	var out []string
	for _, k := range []fleet.OutboxKind{fleet.OutboxOrder, fleet.OutboxMessage} {
		rows, err := w.store.LeaseOutbox(w.t.Context(), k, at, time.Second, 100)
		must(w.t, err)
		for _, r := range rows {
			out = append(out, string(r.Kind)+" "+r.Topic)
			must(w.t, w.store.FinishOutbox(w.t.Context(), r.ID, ""))
		}
	}
	return strings.Join(out, ", ")
}

func (w *world) heard(want ...string) {
	w.t.Helper()
	if got := strings.Join(w.told, "; "); got != strings.Join(want, "; ") {
		w.t.Errorf("the desk heard %q, want %q", got, strings.Join(want, "; "))
	}
	w.told = nil
}

func (w *world) state(o fleet.Order, want fleet.OrderState) fleet.Order {
	w.t.Helper()
	got, err := w.store.Order(w.t.Context(), "demo", o.ID)
	must(w.t, err)
	if got.State != want {
		w.t.Errorf("the order is %s, want %s", got.State, want)
	}
	return *got
}

func must(t interface {
	Helper()
	Fatal(...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code fleet.Code) {
	t.Helper()
	if fleet.CodeOf(err) != code {
		t.Errorf("%v, want %s", err, code)
	}
}

func TestAVisit(t *testing.T) {
	w := begin(t, "north", "south")
	o := w.book(t0)
	if o.PartnerID != "north" || !o.From.Equal(time.Date(2026, 3, 9, 7, 0, 0, 0, time.UTC)) || o.To.Sub(o.From) != 4*time.Hour || o.Cover.Days != 23 {
		t.Errorf("offered %+v: want Monday at eight in Berlin, for Friday afternoon is too soon and then comes the weekend", o)
	}
	if again := w.book(t0.Add(time.Minute)); again.ID != o.ID {
		t.Error("a second visit was booked for the same case")
	}
	if got := w.rows(t0); got != "order offered" {
		t.Errorf("rows %q", got)
	}
	w.pass(t0)
	w.heard("ordered north offered to north")

	from := t0.Add(72 * time.Hour)
	must(t, w.d.Accept(t.Context(), "demo", o.ID, "north", from, from.Add(2*time.Hour), t0.Add(time.Hour)))
	must(t, w.d.Accept(t.Context(), "demo", o.ID, "north", from, from.Add(2*time.Hour), t0.Add(2*time.Hour))) // the button twice
	if got := w.rows(t0.Add(3 * time.Hour)); got != "order accepted, message visit" {
		t.Errorf("rows %q", got)
	}
	w.pass(t0.Add(25 * time.Hour)) // the offer's end means nothing any more
	w.heard("ordered north the visit is agreed for 2026-03-07 15:00 UTC")
	w.state(o, fleet.OrderAccepted)

	wantCode(t, w.d.Report(t.Context(), "demo", o.ID, "north", Report{Outcome: fleet.OutcomePart}, from), fleet.CodeInvalid)
	wantCode(t, w.d.Report(t.Context(), "demo", o.ID, "north", Report{Outcome: fleet.OutcomeDuplicate}, from), fleet.CodeInvalid)
	must(t, w.d.Report(t.Context(), "demo", o.ID, "north", Report{Outcome: fleet.OutcomePart, Part: "pump"}, from))
	must(t, w.d.Report(t.Context(), "demo", o.ID, "north", Report{Outcome: fleet.OutcomePart, Part: "pump"}, from))
	w.pass(from)
	w.heard("reported north part_replaced")
	if o = w.state(o, fleet.OrderDone); o.FixPart != "pump" || o.Version != 3 {
		t.Errorf("%+v", o)
	}
	wantCode(t, w.d.Decline(t.Context(), "demo", o.ID, "north", "too late", from), fleet.CodeConflict)
}

func TestTheNextPartnerIsAskedThenTheAgents(t *testing.T) {
	w := begin(t, "north", "south")
	o := w.book(t0)
	must(t, w.d.Decline(t.Context(), "demo", o.ID, "north", "fully booked", t0.Add(time.Hour)))
	w.pass(t0.Add(time.Hour))
	w.heard("ordered south offered to south") // the case hears the newest only: the errand of the first offer found it declined
	all, err := w.store.Orders(t.Context(), fleet.OrderFilter{Tenant: "demo", CaseID: "c-1"})
	must(t, err)
	if len(all) != 2 || all[0].PartnerID != "south" || all[0].State != fleet.OrderOffered || all[1].Reason != "fully booked" {
		t.Fatalf("%+v", all)
	}
	w.rows(t0.Add(time.Hour))
	w.pass(t0.Add(26 * time.Hour)) // south does not answer
	w.pass(t0.Add(26 * time.Hour))
	w.state(all[0], fleet.OrderDeclined)
	w.heard(`unserved south no partner is left for case "c-1": 2 declined`)
	if got := w.rows(t0.Add(26 * time.Hour)); got != "order expired" {
		t.Errorf("rows %q", got)
	}
}

// Who expects somebody hears that nobody comes; an offer that was never agreed is no news to her.
func TestDeclinedAfterItWasAgreed(t *testing.T) {
	w := begin(t, "north", "south")
	o := w.book(t0)
	must(t, w.d.Accept(t.Context(), "demo", o.ID, "north", time.Time{}, time.Time{}, t0))
	w.rows(t0)
	must(t, w.d.Decline(t.Context(), "demo", o.ID, "north", "the van broke down", t0.Add(time.Hour)))
	if got := w.rows(t0.Add(time.Hour)); got != "message visit" {
		t.Errorf("rows %q", got)
	}
}

// Nobody comes for a case that is over; one that is open again keeps its visit.
func TestTheCaseIsOver(t *testing.T) {
	w := begin(t, "north")
	o := w.book(t0)
	w.pass(t0)
	w.rows(t0)
	over := fleet.OutboxRow{ID: "e1", Kind: fleet.OutboxErrand, Tenant: "demo", CaseID: "c-1", Topic: fleet.ErrandOver, Ref: o.ID, DueAt: t0}
	must(t, w.store.AddOutbox(t.Context(), []fleet.OutboxRow{over}))
	w.pass(t0)
	w.state(o, fleet.OrderOffered)
	k, err := w.store.Case(t.Context(), "demo", "c-1")
	must(t, err)
	k.State = fleet.CaseResolved
	over.ID = "e2"
	must(t, w.store.Commit(t.Context(), fleet.Change{Case: *k, Expected: k.Version, Outbox: []fleet.OutboxRow{over}}))
	w.told = nil
	w.pass(t0)
	if o = w.state(o, fleet.OrderCancelled); o.Reason != fleet.ReasonOver || w.rows(t0) != "order cancelled" {
		t.Errorf("%+v", o)
	}
	w.heard("unserved north the visit was called off: the problem is over")
}

func TestWhoMayWhat(t *testing.T) {
	w := begin(t, "north", "south")
	o := w.book(t0)
	wantCode(t, w.d.Accept(t.Context(), "demo", o.ID, "south", time.Time{}, time.Time{}, t0), fleet.CodeNotFound)
	wantCode(t, w.d.Accept(t.Context(), "other", o.ID, "north", time.Time{}, time.Time{}, t0), fleet.CodeNotFound)
	wantCode(t, w.d.Accept(t.Context(), "demo", o.ID, "north", t0.Add(-time.Hour), t0, t0), fleet.CodeInvalid)
	wantCode(t, w.d.Accept(t.Context(), "demo", o.ID, "north", t0.Add(time.Hour), t0.Add(30*time.Hour), t0), fleet.CodeInvalid)
	wantCode(t, w.d.Report(t.Context(), "demo", o.ID, "north", Report{Outcome: fleet.OutcomeRepaired}, t0), fleet.CodeConflict)
	_, err := w.d.Book(t.Context(), Wish{Tenant: "demo", CaseID: "none", At: t0})
	wantCode(t, err, fleet.CodeNotFound)
	w.kase("c-2", "leak", fleet.CaseResolved)
	_, err = w.d.Book(t.Context(), Wish{Tenant: "demo", CaseID: "c-2", At: t0})
	wantCode(t, err, fleet.CodeConflict)
	w.partners = nil
	w.kase("c-3", "noise", fleet.CaseNew)
	_, err = w.d.Book(t.Context(), Wish{Tenant: "demo", CaseID: "c-3", At: t0})
	wantCode(t, err, fleet.CodeNotFound)
}

func TestAnIncidentStopsVisits(t *testing.T) {
	w := begin(t, "north")
	o := w.book(t0)
	must(t, w.d.Accept(t.Context(), "demo", o.ID, "north", time.Time{}, time.Time{}, t0))
	w.rows(t0)
	must(t, w.d.CancelCase(t.Context(), "demo", "c-1", "known fault", t0.Add(time.Hour)))
	must(t, w.d.CancelCase(t.Context(), "demo", "c-1", "known fault", t0.Add(time.Hour)))
	if got := w.rows(t0.Add(time.Hour)); got != "order cancelled, message visit" {
		t.Errorf("rows %q: the partner and the owner who expects somebody are told", got)
	}
	w.pass(t0.Add(time.Hour))
	w.heard("unserved north the visit was called off: known fault")
	must(t, w.store.Commit(t.Context(), fleet.Change{Case: fleet.Case{ID: "c-9", Device: washer, Problem: "x", State: fleet.CaseNew, IncidentID: "i-1", OpenedAt: t0}}))
	_, err := w.d.Book(t.Context(), Wish{Tenant: "demo", CaseID: "c-9", At: t0})
	wantCode(t, err, fleet.CodeConflict)
}

// What the desk could not take is brought to it again, later and later.
func TestTheDeskIsAway(t *testing.T) {
	w := begin(t, "north")
	w.book(t0)
	w.deskErr = errors.New("away")
	if err := w.d.Pass(t.Context(), t0); err == nil {
		t.Fatal("the failure is not told")
	}
	w.deskErr = nil
	w.pass(t0.Add(time.Second))
	w.heard()
	w.pass(t0.Add(5 * time.Second))
	w.heard("ordered north offered to north")
}

func TestTwoBookAtOnce(t *testing.T) {
	w := begin(t, "north", "south")
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			o, err := w.d.Book(t.Context(), Wish{Tenant: "demo", CaseID: "c-1", By: fmt.Sprint("agent:", i), At: t0})
			if err != nil {
				t.Error(err)
			}
			ids[i] = o.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("two visits: %v", ids)
		}
	}
}

func TestWhoIsAsked(t *testing.T) {
	a, b := &fleet.Partner{ID: "a"}, &fleet.Partner{ID: "b"}
	for _, c := range []struct {
		name   string
		before string // who was there before
		past   []fleet.Order
		wished string
		want   string
	}{
		{"the best", "", nil, "", "a"},
		{"who was there before", "b", nil, "", "b"},
		{"not who declined", "a", []fleet.Order{{PartnerID: "a", State: fleet.OrderDeclined}}, "", "b"},
		{"who was asked for, also after a no", "", []fleet.Order{{PartnerID: "a", State: fleet.OrderDeclined}}, "a", "a"},
		{"nobody else than asked for", "", nil, "c", ""},
		{"nobody left", "", []fleet.Order{{PartnerID: "a", State: fleet.OrderDeclined}, {PartnerID: "b", State: fleet.OrderDeclined}}, "", ""},
	} {
		p, err := choose([]*fleet.Partner{a, b}, &fleet.Case{CaseCare: fleet.CaseCare{PartnerID: c.before}}, c.past, c.wished)
		if (p == nil) != (c.want == "") || (err != nil) != (p == nil) || p != nil && p.ID != c.want {
			t.Errorf("%s: %v, %v", c.name, p, err)
		}
	}
}

// The name and address of the owner go to a partner with her consent only.
func TestContactNeedsConsent(t *testing.T) {
	w := begin(t, "north")
	w.person.Endpoints = []fleet.Endpoint{{Channel: "push", Address: "https://x"}, {Channel: "email", Address: "eve@example.org"}}
	if o := w.book(t0); o.Contact != "" {
		t.Errorf("contact %q without consent", o.Contact)
	}
	w = begin(t, "north")
	w.person.Consents = []fleet.Consent{{Purpose: fleet.PurposePartner, GivenAt: t0}}
	w.person.Endpoints = []fleet.Endpoint{{Channel: "email", Address: "eve@example.org"}}
	if o := w.book(t0); o.Contact != "Eve <eve@example.org>" {
		t.Errorf("contact %q", o.Contact)
	}
}

// Whatever people do and in whatever order: versions count by one, what is over stays over, and every change tells the case.
func TestAnyOrderOfAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := DefaultConfig()
		o := c.offer(&fleet.Case{ID: "c", Device: washer}, &fleet.Device{Key: washer}, &fleet.Partner{ID: "p"}, Wish{At: t0}, 0, fleet.Cover{}, "")
		o = c.offered(o, t0).Order
		at := t0
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.IntRange(1, 48).Draw(t, "hours")) * time.Hour)
			var ch fleet.OrderChange
			var err error
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				ch, err = accept(o, at.Add(time.Hour), at.Add(2*time.Hour), at)
			case 1:
				ch, err = decline(o, rapid.String().Draw(t, "why"), at)
			case 2:
				ch, err = report(o, Report{Outcome: rapid.SampledFrom(PartnerOutcomes()).Draw(t, "outcome"), Part: "x"}, at)
			case 3:
				ch, err = cancel(o, "agent:eve", "", at)
			default:
				ch, err = expire(o, at)
			}
			if err != nil || ch.Order.ID == "" {
				continue
			}
			if !o.State.Open() || ch.Expected != o.Version || ch.Order.Version != o.Version+1 {
				t.Fatalf("%s became %s, version %d after %d", o.State, ch.Order.State, ch.Order.Version, o.Version)
			}
			told := 0
			for _, r := range ch.Outbox {
				if r.Kind == fleet.OutboxErrand && r.Topic == errandTell {
					told++
				}
			}
			if told != 1 {
				t.Fatalf("the case is told %d times of %s", told, ch.Order.State)
			}
			o = ch.Order
		}
	})
}

func TestConfig(t *testing.T) {
	must(t, DefaultConfig().Validate())
	if err := (Config{}).Validate(); err == nil || !strings.Contains(err.Error(), "dispatch.offer_for") {
		t.Error(err)
	}
}
