package incidents_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/cases"
	"aftercare/internal/fleet"
	"aftercare/internal/incidents"
	"aftercare/internal/obs"
	"aftercare/internal/store"
)

const (
	model   = "washer-w7"
	problem = "washer-drain"
	week    = 7 * 24 * time.Hour
)

var t0 = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a fleet with a real database and real cases.
type world struct {
	*cases.Cases
	t         *testing.T
	s         *store.Store
	n         *incidents.Incidents
	devices   map[string]*fleet.Device
	cancelled []string
	woken     int
	broken    error // what adopting a case answers
}

func newWorld(t *testing.T, do func(*incidents.Config)) *world {
	t.Helper()
	cfg := store.DefaultConfig()
	cfg.Path, cfg.NoSync = filepath.Join(t.TempDir(), "test.db"), true
	s, err := store.Open(t.Context(), cfg, obs.Discard())
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	w := &world{t: t, s: s, devices: map[string]*fleet.Device{}}
	w.Cases = cases.New(cases.DefaultConfig(), cases.Deps{Store: s, Timers: s, Devices: w, Log: obs.Discard(), Registerer: prometheus.NewRegistry()})
	c := incidents.DefaultConfig()
	if do != nil {
		do(&c)
	}
	must(t, c.Validate())
	w.n = w.process(c)
	return w
}

func (w *world) process(c incidents.Config) *incidents.Incidents {
	return incidents.New(c, incidents.Deps{Store: w.s, Evidence: w.s, Children: w.s, Devices: w, Cases: w, Orders: w, Wake: func() { w.woken++ }, Log: obs.Discard(),
		Registerer: prometheus.NewRegistry()})
}

// Devices and Device are the registry.
func (w *world) Devices(yield func(*fleet.Device) bool) {
	for _, serial := range slices.Sorted(maps.Keys(w.devices)) {
		if !yield(w.devices[serial]) {
			return
		}
	}
}

func (w *world) Device(key fleet.DeviceKey) (*fleet.Device, bool) {
	d, ok := w.devices[key.Serial]
	return d, ok
}

// Adopt is that of the cases, unless it is broken.
func (w *world) Adopt(ctx context.Context, tenant, caseID, incidentID, actor, why string, at time.Time) error {
	if w.broken != nil {
		return w.broken
	}
	return w.Cases.Adopt(ctx, tenant, caseID, incidentID, actor, why, at)
}

// CancelCase is the work orders.
func (w *world) CancelCase(_ context.Context, _, caseID, _ string, _ time.Time) error {
	w.cancelled = append(w.cancelled, caseID)
	return nil
}

func (w *world) edit(ctx context.Context, tenant, id string, do func(*fleet.Case)) *fleet.Case {
	w.t.Helper()
	c, err := w.s.Case(ctx, tenant, id)
	must(w.t, err)
	do(c)
	must(w.t, w.s.Commit(ctx, fleet.Change{Case: *c, Expected: c.Version}))
	return c
}

// add registers devices of a firmware and a batch.
func (w *world) add(prefix string, n int, firmware, batch string, installed time.Time) {
	w.t.Helper()
	for i := range n {
		d := &fleet.Device{Key: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("%s-%03d", prefix, i)}, Model: model, Category: "washing-machine",
			Firmware: firmware, Batch: batch, OwnerID: fmt.Sprintf("owner-%s-%03d", prefix, i), InstalledAt: installed}
		w.devices[d.Key.Serial] = d
		must(w.t, w.s.SaveRegistry(w.t.Context(), []fleet.Device{*d}, nil, nil))
	}
}

// breaks opens cases of the first n devices.
func (w *world) breaks(prefix string, n int, kind fleet.Kind, sev fleet.Severity, at time.Time) {
	w.t.Helper()
	for i := range n {
		serial := fmt.Sprintf("%s-%03d", prefix, i)
		d := w.devices[serial]
		c := fleet.Case{ID: fmt.Sprint("case-", serial, "-", at.UnixMilli()), Device: d.Key, Model: model, Category: d.Category, Problem: problem, Rule: problem, Kind: kind,
			Severity: sev, State: fleet.CaseNew, OpenedAt: at.Add(time.Duration(i) * time.Second), UpdatedAt: at, Count: 1, Live: true, Firmware: d.Firmware, Batch: d.Batch,
			Episodes: []fleet.Episode{{FindingID: "f-" + serial, Rule: problem, Kind: kind, Severity: sev, OpenedAt: at}}}
		c.IncidentID = w.n.Match(&c)
		must(w.t, w.s.Commit(w.t.Context(), fleet.Change{Case: c}))
	}
}

func (w *world) over(prefix string, n int, at time.Time) {
	w.t.Helper()
	for i := range n {
		w.edit(w.t.Context(), "demo", fmt.Sprintf("case-%s-%03d-%d", prefix, i, at.UnixMilli()), func(c *fleet.Case) { c.State, c.Outcome = fleet.CaseClosed, fleet.OutcomeCleared })
	}
}

func (w *world) pass(at time.Time) {
	w.t.Helper()
	must(w.t, w.n.Pass(w.t.Context(), at))
}

func (w *world) list(states ...fleet.IncidentState) []fleet.Incident {
	w.t.Helper()
	list, err := w.s.Incidents(w.t.Context(), fleet.IncidentFilter{Tenant: "demo", States: states})
	must(w.t, err)
	return list
}

func (w *world) one() fleet.Incident {
	w.t.Helper()
	list := w.list()
	if len(list) != 1 {
		w.t.Fatalf("%d incidents, want one: %+v", len(list), list)
	}
	return list[0]
}

// send delivers what is due and returns it as "topic person" lines; every EventIncident message goes to the device's owner.
func (w *world) send(at time.Time) (out []string) {
	w.t.Helper()
	rows, err := w.s.LeaseOutbox(w.t.Context(), fleet.OutboxMessage, at, time.Minute, 1000)
	must(w.t, err)
	for _, r := range rows {
		if r.PersonID == "" {
			c, err := w.s.Case(w.t.Context(), r.Tenant, r.CaseID)
			must(w.t, err)
			r.PersonID = w.devices[c.Device.Serial].OwnerID
		}
		must(w.t, w.s.Deliver(w.t.Context(), r.ID, nil, fleet.Delivery{PersonID: r.PersonID, CaseID: r.CaseID, Ref: r.Ref, Topic: r.Topic, State: "sent", Channel: "push", At: at}, nil))
		out = append(out, r.Topic+" "+r.PersonID)
	}
	slices.Sort(out)
	return out
}

// notices returns what operators were told.
func (w *world) notices(at time.Time) (out []string) {
	w.t.Helper()
	rows, err := w.s.LeaseOutbox(w.t.Context(), fleet.OutboxNotify, at, time.Minute, 1000)
	must(w.t, err)
	for _, r := range rows {
		var op fleet.Operation
		must(w.t, json.Unmarshal(r.Body, &op))
		if op.Labels["incident"] != r.Ref || op.Name != "incident" {
			w.t.Errorf("operation %+v", op)
		}
		out = append(out, op.Severity+": "+op.Summary)
		must(w.t, w.s.FinishOutbox(w.t.Context(), r.ID, ""))
	}
	return out
}

func (w *world) history(id string) (out []string) {
	w.t.Helper()
	lines, err := w.s.IncidentAudit(w.t.Context(), "demo", id)
	must(w.t, err)
	for _, a := range lines {
		out = append(out, a.Actor+" "+a.Action)
	}
	return out
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("-want +got\n%s", d)
	}
}

func agent(i fleet.Incident, why string, at time.Time) incidents.Action {
	return incidents.Action{Tenant: i.Tenant, ID: i.ID, Actor: "agent:mia", Why: why, At: at}
}

// TestTheLifeOfAnIncident: found, its cases adopted, visits called off, told once; news; fixed and everybody told; clean.
func TestTheLifeOfAnIncident(t *testing.T) {
	w := newWorld(t, nil)
	w.add("old", 60, "2.0", "A", time.Time{})
	w.add("new", 60, "2.1", "B", time.Time{})
	w.add("mix", 60, "2.1", "C", time.Time{})
	w.breaks("old", 1, fleet.KindFault, fleet.Fault, t0.Add(-5*week)) // something is always broken
	w.over("old", 1, t0.Add(-5*week))
	w.breaks("new", 4, fleet.KindFault, fleet.Fault, t0)
	w.pass(t0.Add(time.Hour))
	if list := w.list(); len(list) != 0 {
		t.Fatalf("an incident of four devices: %+v", list)
	}
	w.breaks("mix", 12, fleet.KindFault, fleet.Fault, t0.Add(2*time.Hour))
	at := t0.Add(3 * time.Hour)
	w.pass(at)
	i := w.one()
	if i.Firmware != "2.1" || i.Batch != "" || i.Devices != 120 || i.Affected != 16 || i.State != fleet.IncidentOpen || i.By != "rules" || i.Chance > 1e-5 || i.Expected > 6 {
		t.Fatalf("incident %+v", i)
	}
	same(t, len(w.cancelled), 16)
	same(t, w.notices(at), []string{"critical: Incident: washer-drain of washer-w7, firmware 2.1"})
	same(t, len(w.send(at)), 16)

	// A second pass, and another process, find nothing new; a new case joins when it opens.
	w.pass(at.Add(time.Minute))
	other := w.process(incidents.DefaultConfig())
	must(t, other.Pass(t.Context(), at.Add(2*time.Minute)))
	same(t, len(w.cancelled), 16)
	late := fleet.Case{Device: fleet.DeviceKey{Tenant: "demo", Serial: "new-050"}, Model: model, Problem: problem, Kind: fleet.KindFault, Severity: fleet.Fault, Firmware: "2.1", Batch: "B"}
	same(t, w.n.Match(&late), i.ID)
	same(t, other.Match(&late), i.ID)
	late.Firmware = "2.0"
	same(t, w.n.Match(&late), "")
	w.one()

	// An agent says more: those who were told hear it, once.
	i = w.one()
	edit := agent(i, "the supplier answered", at.Add(time.Hour))
	edit.Version = i.Version
	next := at.Add(24 * time.Hour)
	must(t, w.n.Edit(t.Context(), edit, fleet.IncidentEdit{News: fleet.Words{"en": "An update comes on Friday.", "de": "Am Freitag kommt ein Update."}, NextAt: &next}))
	if err := w.n.Edit(t.Context(), edit, fleet.IncidentEdit{}); fleet.CodeOf(err) != fleet.CodeConflict {
		t.Fatalf("an edit of an old version: %v", err)
	}
	told := w.send(at.Add(time.Hour))
	same(t, len(told), 16)
	if !strings.HasPrefix(told[0], fleet.EventIncidentNews) {
		t.Fatalf("told %v", told)
	}
	w.pass(next.Add(time.Minute)) // the promised time goes by
	w.pass(next.Add(2 * time.Minute))
	same(t, w.notices(next.Add(time.Hour)), []string{"critical: Incident edited: " + i.Title, "critical: " + i.Title + ": Owners were promised news by 2026-03-03 11:00:00"})

	// Devices get the new firmware: their cases are watched. Fixed is told to exactly those who were told, once.
	w.devices["mix-000"].Firmware = "2.2"
	fixed := next.Add(2 * time.Hour)
	must(t, w.n.Fix(t.Context(), agent(i, "2.2 is out", fixed)))
	if err := w.n.Fix(t.Context(), agent(i, "again", fixed)); fleet.CodeOf(err) != fleet.CodeConflict {
		t.Fatalf("fixed twice: %v", err)
	}
	told = w.send(fixed)
	same(t, len(told), 16)
	same(t, told[0], fleet.EventIncidentFixed+" owner-mix-000")
	w.pass(fixed.Add(time.Minute))
	c, err := w.s.Case(t.Context(), "demo", fmt.Sprint("case-mix-000-", t0.Add(2*time.Hour).UnixMilli()))
	must(t, err)
	if c.State != fleet.CaseWatching || c.FixPart != "2.2" {
		t.Errorf("case of the updated device %+v", c)
	}
	if rows := w.send(fixed.Add(time.Hour)); len(rows) != 0 {
		t.Errorf("told again: %v", rows)
	}
	must(t, w.n.Close(t.Context(), agent(i, "done", fixed.Add(2*time.Hour))))
	same(t, w.history(i.ID), []string{"rules opened", "agent:mia edited", "rules overdue", "agent:mia fixed", "agent:mia closed"})
	if w.woken == 0 {
		t.Error("nobody was woken for what was put into the outbox")
	}
	w.pass(fixed.Add(3 * time.Hour))
	w.one() // the same cases make no second one
}

// TestWhoIsToldWhileItIsFixedHearsThatToo: the message of the incident left in the moment of the fix.
func TestWhoIsToldWhileItIsFixedHearsThatToo(t *testing.T) {
	w := newWorld(t, nil)
	w.add("new", 40, "2.1", "B", time.Time{})
	w.add("old", 40, "2.0", "B", time.Time{})
	w.breaks("new", 20, fleet.KindFault, fleet.Fault, t0)
	w.pass(t0.Add(time.Hour))
	i := w.one()
	must(t, w.n.Fix(t.Context(), agent(i, "server side", t0.Add(2*time.Hour))))
	same(t, len(w.send(t0.Add(2*time.Hour))), 20) // leased before the fix, sent after it
	for m := range 5 {
		w.pass(t0.Add(2*time.Hour + time.Duration(m)*time.Minute))
	}
	told := w.send(t0.Add(3 * time.Hour))
	same(t, len(told), 20)
	same(t, told[0], fleet.EventIncidentFixed+" owner-new-000")
	must(t, w.process(incidents.DefaultConfig()).Pass(t.Context(), t0.Add(3*time.Hour))) // after a restart
	if again := w.send(t0.Add(4 * time.Hour)); len(again) != 0 {
		t.Errorf("told twice: %v", again)
	}
}

// TestAnIncidentThatIsNone: an agent closes it, its cases go their way, and the numbers do not open it again for a week.
func TestAnIncidentThatIsNone(t *testing.T) {
	w := newWorld(t, nil)
	w.add("new", 40, "2.1", "B", time.Time{})
	w.add("old", 40, "2.0", "B", time.Time{})
	w.breaks("old", 1, fleet.KindFault, fleet.Fault, t0.Add(-12*week))
	w.over("old", 1, t0.Add(-12*week))
	w.breaks("new", 20, fleet.KindFault, fleet.Fault, t0)
	w.pass(t0.Add(time.Hour))
	i := w.one()
	if err := w.n.Close(t.Context(), incidents.Action{Tenant: "demo", ID: i.ID, Actor: "agent:mia", At: t0}); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Fatalf("closed without a reason: %v", err)
	}
	must(t, w.n.Close(t.Context(), agent(i, "a test fleet", t0.Add(2*time.Hour))))
	open, err := w.s.IncidentOpenCases(t.Context(), "demo", i.ID, 100)
	must(t, err)
	same(t, len(open), 0)
	for h := range 48 {
		w.pass(t0.Add(time.Duration(3+h) * time.Hour))
	}
	w.one()
	w.over("new", 20, t0)
	w.breaks("new", 22, fleet.KindFault, fleet.Fault, t0.Add(week)) // new cases of devices that had one: it goes on
	w.pass(t0.Add(week + 3*time.Hour))
	if list := w.list(); len(list) != 2 {
		t.Errorf("after a week of quiet: %+v", list)
	}
}

// TestACrashBetweenOpeningAndAdoptingIsMended
func TestACrashBetweenOpeningAndAdoptingIsMended(t *testing.T) {
	w := newWorld(t, nil)
	w.add("new", 40, "2.1", "B", time.Time{})
	w.add("old", 40, "2.0", "B", time.Time{})
	w.breaks("new", 20, fleet.KindFault, fleet.Fault, t0)
	w.broken = errors.New("killed")
	if err := w.n.Pass(t.Context(), t0.Add(time.Hour)); err == nil {
		t.Fatal("no error")
	}
	w.broken = nil
	must(t, w.process(incidents.DefaultConfig()).Pass(t.Context(), t0.Add(2*time.Hour)))
	children, err := w.s.IncidentOpenCases(t.Context(), "demo", w.one().ID, 100)
	must(t, err)
	same(t, len(children), 20)
}

func TestAgentsDeclareIncidents(t *testing.T) {
	w := newWorld(t, nil)
	w.add("new", 3, "2.1", "B", time.Time{})
	w.breaks("new", 2, fleet.KindMaintenance, fleet.Due, t0)
	a := incidents.Action{Tenant: "demo", Actor: "agent:mia", Why: "the supplier called", At: t0.Add(time.Hour)}
	i, err := w.n.Declare(t.Context(), a, incidents.Draft{Problem: problem, Model: model, Batch: "B", News: fleet.Words{"en": "A known fault."}})
	must(t, err)
	if i.By != "agent:mia" || i.Severity != fleet.Due || i.Devices != 3 || i.Title != "washer-drain of washer-w7, batch B" {
		t.Errorf("declared %+v", i)
	}
	children, err := w.s.IncidentOpenCases(t.Context(), "demo", i.ID, 100)
	must(t, err)
	same(t, len(children), 2)
	if _, err := w.n.Declare(t.Context(), a, incidents.Draft{Problem: problem, Model: model, Batch: "B"}); fleet.CodeOf(err) != fleet.CodeConflict {
		t.Errorf("declared twice: %v", err)
	}
	for name, d := range map[string]incidents.Draft{"no problem": {Model: model}, "no model": {Problem: problem}, "not a model": {Problem: problem, Model: "a b"},
		"news without English": {Problem: "x", Model: model, News: fleet.Words{"de": "nein"}}, "empty news": {Problem: "x", Model: model, News: fleet.Words{"en": " "}},
		"a long title": {Problem: "x", Model: model, Title: strings.Repeat("x", 300)}, "a model without devices": {Problem: problem, Model: "no-such-model"}} {
		if _, err := w.n.Declare(t.Context(), a, d); fleet.CodeOf(err) != fleet.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.n.Fix(t.Context(), incidents.Action{Tenant: "rival", ID: i.ID, Actor: "agent:eve", Why: "mine", At: t0}); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("another tenant's incident: %v", err)
	}
}

// TestABatchThatIsDueIsNoIncident: filters of devices of one age, of which others of that age need theirs as well; and the same
// numbers when others of that age do not.
func TestABatchThatIsDueIsNoIncident(t *testing.T) {
	for _, c := range []struct {
		others int
		want   int
	}{{20, 0}, {0, 1}} {
		w := newWorld(t, nil)
		w.add("spring", 60, "1.0", "A", t0.Add(-30*week))
		w.add("april", 60, "1.0", "B", t0.Add(-31*week)) // as old
		w.add("autumn", 240, "1.0", "C", t0.Add(-4*week))
		w.breaks("autumn", 1, fleet.KindMaintenance, fleet.Due, t0.Add(-3*week))
		w.breaks("april", c.others, fleet.KindMaintenance, fleet.Due, t0.Add(-8*24*time.Hour)) // the week before
		w.breaks("spring", 30, fleet.KindMaintenance, fleet.Due, t0)
		w.pass(t0.Add(time.Hour))
		if list := w.list(); len(list) != c.want {
			t.Errorf("%d of the others that are as old had it: %+v", c.others, list)
		}
	}
}

func TestAgentsAreAskedWhetherItIsFixed(t *testing.T) {
	w := newWorld(t, nil)
	w.add("new", 3, "2.1", "B", time.Time{})
	w.breaks("new", 2, fleet.KindFault, fleet.Fault, t0)
	a := incidents.Action{Tenant: "demo", Actor: "agent:mia", Why: "seen at three", At: t0.Add(time.Hour)}
	i, err := w.n.Declare(t.Context(), a, incidents.Draft{Problem: problem, Model: model})
	must(t, err)
	w.notices(t0.Add(time.Hour))
	for d := range 30 {
		w.pass(t0.Add(time.Duration(d) * 24 * time.Hour))
	}
	must(t, w.process(incidents.DefaultConfig()).Pass(t.Context(), t0.Add(31*24*time.Hour))) // a restart asks nobody again
	same(t, w.notices(t0.Add(40*24*time.Hour)), []string{"critical: " + i.Title + ": Is it fixed? No case came since 2026-03-02 09:00:00"})
	if got := w.one(); got.State != fleet.IncidentOpen {
		t.Errorf("it ended by itself: %+v", got)
	}
}

func TestRunSeesWhatOthersDo(t *testing.T) {
	w := newWorld(t, nil)
	w.add("new", 3, "2.1", "B", time.Time{})
	synctest.Test(t, func(t *testing.T) {
		c := incidents.DefaultConfig()
		c.Every = 0
		mine := incidents.New(c, incidents.Deps{Store: fixedStore{{ID: "i1", Tenant: "demo", State: fleet.IncidentOpen, Problem: problem, Model: model}}, Devices: w, Log: obs.Discard(),
			Registerer: prometheus.NewRegistry()})
		x := fleet.Case{Device: fleet.DeviceKey{Tenant: "demo", Serial: "new-000"}, Model: model, Problem: problem, Kind: fleet.KindFault, Severity: fleet.Fault}
		same(t, mine.Match(&x), "")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- mine.Run(ctx) }()
		time.Sleep(c.Poll)
		synctest.Wait()
		same(t, mine.Match(&x), "i1")
		x.Kind = fleet.KindUsage
		same(t, mine.Match(&x), "")
		cancel()
		must(t, <-done)
	})
}

// fixedStore knows incidents and nothing else.
type fixedStore []fleet.Incident

func (f fixedStore) Incident(context.Context, string, string) (*fleet.Incident, error) {
	return &f[0], nil
}
func (f fixedStore) OpenIncidents(context.Context, time.Time) ([]fleet.Incident, error) {
	return f, nil
}
func (f fixedStore) IncidentAudit(context.Context, string, string) ([]fleet.Audit, error) {
	return nil, nil
}
func (f fixedStore) CommitIncident(context.Context, fleet.IncidentChange) error { return nil }

func TestMistakesInTheConfiguration(t *testing.T) {
	must(t, incidents.DefaultConfig().Validate())
	for field, do := range map[string]func(*incidents.Config){
		"every": func(c *incidents.Config) { c.Every = -1 }, "poll": func(c *incidents.Config) { c.Poll = 0 }, "window": func(c *incidents.Config) { c.Window = 0 },
		"history": func(c *incidents.Config) { c.History = -1 }, "min_devices": func(c *incidents.Config) { c.MinDevices = 1 },
		"min_affected": func(c *incidents.Config) { c.MinAffected = 0 }, "alpha": func(c *incidents.Config) { c.Alpha = 0 }, "ratio": func(c *incidents.Config) { c.Ratio = 0.5 },
		"whole_ratio": func(c *incidents.Config) { c.WholeRatio = 2 }, "floor": func(c *incidents.Config) { c.Floor = 1 }, "quiet_after": func(c *incidents.Config) { c.QuietAfter = -1 },
	} {
		c := incidents.DefaultConfig()
		do(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "incidents."+field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
