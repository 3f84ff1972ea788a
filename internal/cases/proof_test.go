package cases_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/cases"
	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/store"
)

const day = 24 * time.Hour

// workshop is one washing machine with a real database, whose use is written by hand.
type workshop struct {
	t      *testing.T
	s      *store.Store
	c      *cases.Cases
	device fleet.Device
	part   string // the component that the rule is about
	now    time.Time
	cycles float64
	sends  bool      // its readings have the counter
	heard  time.Time // its newest reading
	broken error     // what asking for its use answers
}

func newWorkshop(t *testing.T, do func(*cases.ProofConfig)) *workshop {
	t.Helper()
	stored := store.DefaultConfig()
	stored.Path, stored.NoSync = filepath.Join(t.TempDir(), "x.db"), true
	s, err := store.Open(t.Context(), stored, obs.Discard())
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	w := &workshop{t: t, s: s, device: fleet.Device{Key: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, Model: "washer-w7", Firmware: "2.1"}, part: "drain-pump",
		now: t0, cycles: 500, sends: true, heard: t0}
	cfg := cases.DefaultConfig()
	if do != nil {
		do(&cfg.Proof)
	}
	must(t, cfg.Validate())
	w.c = cases.New(cfg, cases.Deps{Store: w.s, Timers: w.s, Devices: w, Usage: w, Parts: w, Deliveries: w.s, Log: obs.Discard(), Registerer: prometheus.NewRegistry()})
	must(t, w.c.Apply(t.Context(), finding("WM-1", "slow", 0, fleet.Opened, fleet.Fault, t0, t0), t0))
	w.deliver("anna")
	return w
}

func (w *workshop) Device(fleet.DeviceKey) (*fleet.Device, bool) { return &w.device, true }

func (w *workshop) Model(id string) (*fleet.Model, bool) {
	return &fleet.Model{ID: id, Fields: []fleet.FieldSpec{{Name: "cycles", Unit: "1"}, {Name: "motor_h", Unit: "h"}, {Name: "km", Unit: "km"}},
		Components: []fleet.Component{{Name: "drain-pump", Counter: "cycles"}, {Name: "motor", Counter: "hours(running)", Life: 4000}, {Name: "lamp"},
			{Name: "gear", Counter: "motor_h"}, {Name: "seal", Counter: "cycles", Life: 150_000}, {Name: "belt", Counter: "km", Life: 180_000}, {Name: "odd", Counter: "km"}}}, true
}

func (w *workshop) Component(string) string { return w.part }

func (w *workshop) Use(_ context.Context, _ fleet.DeviceKey, _, counter string) (float64, time.Time, bool, error) {
	switch {
	case w.broken != nil:
		return 0, time.Time{}, false, w.broken
	case counter == "":
		return 0, w.heard, !w.heard.IsZero(), nil
	default:
		return w.cycles, w.heard, w.sends, nil
	}
}

// deliver has the first message arrive at a person.
func (w *workshop) deliver(person string) {
	w.t.Helper()
	rows, err := w.s.LeaseOutbox(w.t.Context(), fleet.OutboxMessage, w.now, time.Second, 10)
	must(w.t, err)
	for _, r := range rows {
		must(w.t, w.s.Deliver(w.t.Context(), r.ID, nil, fleet.Delivery{PersonID: person, CaseID: r.CaseID, Topic: r.Topic, State: "sent", Channel: "push", At: w.now}, nil))
	}
}

func (w *workshop) clears(at time.Time) {
	w.t.Helper()
	must(w.t, w.c.Apply(w.t.Context(), finding("WM-1", "slow", 1, fleet.Cleared, fleet.Fault, t0, at), at))
}

func (w *workshop) resolve(o fleet.Outcome, what string) {
	w.t.Helper()
	must(w.t, w.c.Do(w.t.Context(), fleet.CaseAct{Tenant: "demo", CaseID: w.k().ID, Do: fleet.VerbResolve, Actor: "agent:mia", Outcome: o, Part: what, Cause: what, At: w.now}))
}

func (w *workshop) k() *fleet.Case {
	w.t.Helper()
	return theCase(w.t, w.s, "WM-1")
}

// live lets time go by with cycles a day; silent: nothing is heard of the device.
func (w *workshop) live(days int, perDay float64, silent bool) {
	w.t.Helper()
	for range days * 4 {
		w.now = w.now.Add(6 * time.Hour)
		w.cycles += perDay / 4
		if !silent {
			w.heard = w.now
		}
		if err := w.c.TimersPass(w.t.Context(), w.now); err != nil && w.broken == nil {
			w.t.Fatal(err)
		}
	}
}

// messages are those not sent yet, as "event person".
func (w *workshop) messages() string {
	w.t.Helper()
	rows, err := w.s.LeaseOutbox(w.t.Context(), fleet.OutboxMessage, w.now.AddDate(1, 0, 0), time.Millisecond, 100)
	must(w.t, err)
	out := make([]string, 0, len(rows))
	for _, r := range rows {
		out = append(out, strings.TrimSpace(r.Topic+" "+r.PersonID))
	}
	return strings.Join(out, ", ")
}

func (w *workshop) history() string {
	w.t.Helper()
	lines, err := w.s.CaseAudit(w.t.Context(), "demo", w.k().ID)
	must(w.t, err)
	out := make([]string, 0, len(lines))
	for _, l := range lines {
		out = append(out, l.Action)
	}
	return strings.Join(out, " ")
}

// TestARepairThatHolds: watched for ten washes and two days, then closed for good, told, and only then a review.
func TestARepairThatHolds(t *testing.T) {
	w := newWorkshop(t, nil)
	w.now = t0.Add(2 * time.Hour)
	must(t, w.c.Acknowledge(t.Context(), fleet.CaseAct{Tenant: "demo", CaseID: w.k().ID, Actor: "agent:mia", At: w.now}))
	w.clears(w.now)
	w.resolve(fleet.OutcomePart, "drain pump")
	if k := w.k(); k.State != fleet.CaseWatching || k.Proof.Since.IsZero() || k.Proof.Clean {
		t.Fatalf("after the repair %+v", k)
	}
	w.deliver("anna") // the all-clear
	w.live(5, 1, false)
	if k := w.k(); k.State != fleet.CaseWatching || k.Proof.Need != 10 || k.Proof.Unit != "cycles" || k.Proof.Counter != "cycles" || k.Proof.Seen < 4 || k.Proof.Seen > 5 {
		t.Fatalf("after five washes %+v", k.Proof)
	}
	if got := w.messages(); got != "" {
		t.Errorf("messages %q while it is watched", got)
	}
	w.live(6, 1, false)
	k := w.k()
	if k.State != fleet.CaseClosed || !k.Proof.Clean || k.Outcome != fleet.OutcomePart || k.Assignee != "agent:mia" {
		t.Fatalf("after eleven washes %+v", k)
	}
	if got := w.messages(); got != "confirmed_fixed anna, review anna" {
		t.Errorf("messages %q", got)
	}
	if got := w.history(); got != "opened acknowledged cleared resolved proven" {
		t.Errorf("history %q", got)
	}
	before := w.k().Version
	w.live(20, 1, false)
	if w.k().Version != before {
		t.Error("a timer goes on after the proof")
	}
}

// TestARepairThatDoesNotHold: the same case, with the same agent and the same partner; and nothing of the proof is said.
func TestARepairThatDoesNotHold(t *testing.T) {
	for name, after := range map[string]int{"while it is watched": 4, "after it was proven": 20} {
		t.Run(name, func(t *testing.T) {
			w := newWorkshop(t, nil)
			w.now = t0.Add(time.Hour)
			must(t, w.c.Acknowledge(t.Context(), fleet.CaseAct{Tenant: "demo", CaseID: w.k().ID, Actor: "agent:mia", At: w.now}))
			k := w.k()
			k.PartnerID = "p-1"
			must(t, w.s.Commit(t.Context(), fleet.Change{Case: *k, Expected: k.Version}))
			w.clears(w.now)
			w.resolve(fleet.OutcomeRepaired, "hose")
			w.deliver("anna")
			w.live(after, 1, false)
			w.now = w.now.Add(time.Hour)
			must(t, w.c.Apply(t.Context(), finding("WM-1", "slow", 0, fleet.Opened, fleet.Fault, w.now, w.now), w.now))
			back := w.k()
			if back.ID != k.ID || back.State != fleet.CaseReopened || back.PartnerID != "p-1" || back.Assignee != "agent:mia" || !back.Proof.Back.Equal(w.now) {
				t.Fatalf("%+v", back)
			}
			if got := w.messages(); strings.Contains(got, "confirmed_fixed") || strings.Contains(got, "review") {
				t.Errorf("messages %q", got)
			}
			w.live(20, 1, false) // the timers of the old proof find nothing to prove
			if w.k().State != fleet.CaseReopened {
				t.Errorf("it became %s by itself", w.k().State)
			}
			w.clears(w.now) // of the first episode: late, and nothing
			w.resolve(fleet.OutcomeRepaired, "the other hose")
			if p := w.k().Proof; w.k().State != fleet.CaseWatching || !p.Back.IsZero() || p.Clean || p.Seen != 0 {
				t.Errorf("watched again: %+v", p)
			}
		})
	}
}

// TestADeviceThatIsNotUsedProvesNothing: agents are told once in two months, and it goes on.
func TestADeviceThatIsNotUsedProvesNothing(t *testing.T) {
	w := newWorkshop(t, nil)
	w.clears(t0)
	w.resolveAfter(t, fleet.OutcomeRepaired)
	w.live(61, 0, false)
	if k := w.k(); k.State != fleet.CaseWatching || k.Proof.Seen != 0 {
		t.Fatalf("%+v", k)
	}
	rows, err := w.s.LeaseOutbox(t.Context(), fleet.OutboxNotify, w.now, time.Millisecond, 10)
	must(t, err)
	if len(rows) != 1 || !strings.Contains(string(rows[0].Body), "not used at all") {
		t.Errorf("agents were told %+v", rows)
	}
	w.live(12, 1, false)
	if k := w.k(); k.State != fleet.CaseClosed || !k.Proof.Clean {
		t.Errorf("%+v", k)
	}
}

// resolveAfter opens the case again by hand and says that it is repaired.
func (w *workshop) resolveAfter(t *testing.T, o fleet.Outcome) {
	t.Helper()
	if !w.k().State.Open() {
		must(t, w.c.Do(t.Context(), fleet.CaseAct{Tenant: "demo", CaseID: w.k().ID, Do: fleet.VerbReopen, Actor: "agent:mia", Note: "was repaired", At: w.now}))
	}
	w.resolve(o, "x")
}

func TestWithoutACounterDaysCountOnWhichItWasHeard(t *testing.T) {
	for name, do := range map[string]func(*workshop){"no component": func(w *workshop) { w.part = "" }, "no counter": func(w *workshop) { w.part = "lamp" },
		"a counter that is not sent": func(w *workshop) { w.sends = false }} {
		t.Run(name, func(t *testing.T) {
			w := newWorkshop(t, nil)
			do(w)
			w.clears(t0)
			w.resolveAfter(t, fleet.OutcomeOwnerFixed)
			w.live(10, 1, false)
			w.live(30, 1, true) // pulled out of the wall
			if k := w.k(); k.State != fleet.CaseWatching || k.Proof.Unit != "days" || k.Proof.Need != 14 || k.Proof.Seen > 10.1 {
				t.Fatalf("%+v", k)
			}
			w.live(1, 1, false)
			if k := w.k(); k.State != fleet.CaseClosed {
				t.Errorf("%+v", k.Proof)
			}
		})
	}
}

func TestAConditionThatHoldsProvesNothing(t *testing.T) {
	w := newWorkshop(t, nil)
	w.resolve(fleet.OutcomeRepaired, "x") // it holds still
	w.live(40, 5, false)
	if k := w.k(); k.State == fleet.CaseClosed || k.Proof.Clean {
		t.Errorf("%+v", k)
	}
}

// TestACounterThatWasReset: a new part counts from nothing; what was seen before stays seen.
func TestACounterThatWasReset(t *testing.T) {
	w := newWorkshop(t, nil)
	w.clears(t0)
	w.resolveAfter(t, fleet.OutcomePart)
	w.live(4, 1, false)
	w.cycles = 0
	w.live(4, 1, false)
	if k := w.k(); k.State != fleet.CaseWatching || k.Proof.Seen < 7 || k.Proof.Seen > 8 {
		t.Fatalf("%+v", k.Proof)
	}
	w.live(4, 1, false)
	if k := w.k(); k.State != fleet.CaseClosed {
		t.Errorf("%+v", k.Proof)
	}
}

func TestAnUpdateIsWatchedFromTheNewFirmwareOn(t *testing.T) {
	w := newWorkshop(t, nil)
	w.clears(t0)
	w.resolveAfter(t, fleet.OutcomeUpdated)
	w.live(20, 2, false) // it has the old one still
	if k := w.k(); k.State != fleet.CaseWatching || k.Proof.Seen > 1 {
		t.Fatalf("%+v", k.Proof)
	}
	w.device.Firmware = "2.2"
	w.live(4, 2, false)
	if k := w.k(); k.State != fleet.CaseWatching || k.Proof.Seen < 7 || k.Proof.Seen > 9 {
		t.Fatalf("%+v", k.Proof)
	}
	w.live(2, 2, false)
	if k := w.k(); k.State != fleet.CaseClosed {
		t.Errorf("%+v", k.Proof)
	}
}

func TestAnUpdateOfADeviceOfAnIncident(t *testing.T) {
	w := newWorkshop(t, nil)
	w.device.Firmware = "2.2"
	id := w.k().ID
	for range 2 {
		must(t, w.c.Updated(t.Context(), "demo", id, "2.2", t0.Add(time.Hour)))
	}
	if k := w.k(); k.State != fleet.CaseWatching || k.FixPart != "2.2" || k.Outcome != fleet.OutcomeUpdated || w.history() != "opened updated" {
		t.Errorf("%+v, history %s", k, w.history())
	}
}

func TestWhatNeedsNoProof(t *testing.T) {
	for _, o := range []fleet.Outcome{fleet.OutcomeNoFault, fleet.OutcomeFalseAlarm} {
		w := newWorkshop(t, nil)
		w.resolve(o, "")
		if k := w.k(); k.State != fleet.CaseResolved || !k.Proof.Since.IsZero() {
			t.Errorf("%s: %+v", o, k)
		}
	}
	w := newWorkshop(t, func(c *cases.ProofConfig) { c.MaxWait = 0 })
	w.resolve(fleet.OutcomeRepaired, "x")
	if k := w.k(); k.State != fleet.CaseResolved {
		t.Errorf("without proofs: %+v", k)
	}
}

func TestHistoryThatIsAwayPutsAProofOff(t *testing.T) {
	w := newWorkshop(t, nil)
	w.clears(t0)
	w.resolveAfter(t, fleet.OutcomeRepaired)
	w.broken = errors.New("InfluxDB is away")
	w.live(2, 5, false)
	w.broken = nil
	w.live(1, 0, false) // looked at for the first time
	w.live(3, 5, false)
	if k := w.k(); k.State != fleet.CaseClosed || !k.Proof.Clean {
		t.Errorf("%+v", k)
	}
}

// TestATimerTwiceIsATimerOnce: killed between the commit and the end of the timer's row.
func TestATimerTwiceIsATimerOnce(t *testing.T) {
	w := newWorkshop(t, nil)
	w.clears(t0)
	w.resolveAfter(t, fleet.OutcomeRepaired)
	other := cases.New(cases.DefaultConfig(), cases.Deps{Store: w.s, Timers: lostEnds{w.s}, Usage: w, Parts: w, Deliveries: w.s, Log: obs.Discard(), Registerer: prometheus.NewRegistry()})
	for range 3 {
		if err := other.TimersPass(t.Context(), w.now); err == nil {
			t.Fatal("no timer was due")
		}
		w.now = w.now.Add(2 * time.Minute) // the lease ends
	}
	w.live(1, 1, false)
	rows, err := w.s.LeaseOutbox(t.Context(), fleet.OutboxTimer, w.now.AddDate(1, 0, 0), time.Millisecond, 100)
	must(t, err)
	proofs := 0
	for _, r := range rows {
		if r.Topic == cases.TimerProof {
			proofs++
		}
	}
	if proofs != 1 {
		t.Errorf("%d timers of one proof", proofs)
	}
}

// lostEnds forgets that timers are done.
type lostEnds struct{ *store.Store }

func (lostEnds) FinishOutbox(context.Context, string, string) error { return errors.New("killed") }

func TestHowMuchUseProvesAFix(t *testing.T) {
	for _, c := range []struct {
		part, unit string
		need       float64
	}{{"motor", "h", 20}, {"gear", "h", 20}, {"drain-pump", "cycles", 10}, {"seal", "cycles", 750}, {"belt", "km", 900}, {"odd", "days", 14}, {"lamp", "days", 14}, {"unheard-of", "days", 14}} {
		w := newWorkshop(t, nil)
		w.part = c.part
		w.clears(t0)
		w.resolveAfter(t, fleet.OutcomeRepaired)
		w.live(1, 0, false)
		if p := w.k().Proof; p.Unit != c.unit || p.Need != c.need {
			t.Errorf("%s: %v %s, want %v %s", c.part, p.Need, p.Unit, c.need, c.unit)
		}
	}
	w := newWorkshop(t, func(c *cases.ProofConfig) { c.Parts = []cases.PartUse{{Component: "drain-pump", Need: 33}} })
	w.clears(t0)
	w.resolveAfter(t, fleet.OutcomeRepaired)
	w.live(1, 0, false)
	if p := w.k().Proof; p.Need != 33 {
		t.Errorf("%+v", p)
	}
}

// TestAProofIsNoMoreThanItsUse: whatever the counter does, a fix is proven only after as much use as is wanted, and never in less than
// the shortest time.
func TestAProofIsNoMoreThanItsUse(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorkshop(t, nil)
		w.clears(t0)
		w.resolveAfter(t, fleet.OutcomeRepaired)
		must(t, w.c.TimersPass(t.Context(), w.now))
		from, used := w.now, 0.0
		for range 1 + r.IntN(20) {
			n := float64(r.IntN(7))
			if r.IntN(5) == 0 {
				w.cycles = 0
			}
			w.live(1, n, false)
			used += n
			if k := w.k(); k.State == fleet.CaseClosed {
				if used < 10 || w.now.Sub(from) < 2*day {
					t.Fatalf("seed %d: proven after %v washes in %v", seed, used, w.now.Sub(from))
				}
				break
			}
		}
		if got := w.k().Proof.Seen; got > used {
			t.Fatalf("seed %d: %v washes counted of %v", seed, got, used)
		}
	}
}

func TestMistakesInTheProof(t *testing.T) {
	for field, do := range map[string]func(*cases.ProofConfig){
		"hours": func(c *cases.ProofConfig) { c.Hours = 0 }, "cycles": func(c *cases.ProofConfig) { c.Cycles = -1 }, "share": func(c *cases.ProofConfig) { c.Share = 2 },
		"time": func(c *cases.ProofConfig) { c.Time = 0 }, "at_least": func(c *cases.ProofConfig) { c.AtLeast = -1 }, "max_wait": func(c *cases.ProofConfig) { c.MaxWait = day },
		"check": func(c *cases.ProofConfig) { c.Check = 0 }, "review_after": func(c *cases.ProofConfig) { c.ReviewAfter = -1 },
	} {
		cfg := cases.DefaultConfig()
		do(&cfg.Proof)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "cases.proof."+field+" ") {
			t.Errorf("%s: %v", field, err)
		}
	}
	var p cases.PartUse
	must(t, p.UnmarshalText([]byte("drain-pump 30")))
	if fmt.Sprint(p) != "drain-pump 30" {
		t.Errorf("%v", p)
	}
	for _, text := range []string{"", "drain-pump", "drain-pump x", "drain-pump -1", "drain-pump inf", "a b 3"} {
		if err := p.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
