package cases

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// desk is a case of a device, with what people and clocks do to it.
type desk struct {
	t  *testing.T
	m  *memory
	c  *Cases
	id string
}

func newDesk(t *testing.T, first string, more func(*Deps)) *desk {
	t.Helper()
	m := newMemory(t.Fatalf)
	cfg := DefaultConfig()
	cfg.Proof.MaxWait = 0 // the proof of a fix has tests of its own
	d := &desk{t: t, m: m, c: m.use(cfg, more)}
	d.see(first)
	for id := range m.cases {
		d.id = id
	}
	return d
}

func (d *desk) see(texts ...string) *desk {
	d.t.Helper()
	for _, text := range texts {
		problem := "drain"
		if head, rest, ok := strings.Cut(text, "! "); ok {
			problem, text = head, rest
		}
		f := finding(d.t, text)
		f.Problem = problem
		must(d.t, d.c.Apply(d.t.Context(), f, f.Received))
	}
	return d
}

func (d *desk) act(minute int, verb fleet.CaseVerb, set func(*Action)) error {
	a := Action{Tenant: "demo", CaseID: d.id, Do: verb, Actor: "agent:eve", At: at(minute)}
	if set != nil {
		set(&a)
	}
	return d.c.Do(context.Background(), a)
}

func (d *desk) must(minute int, verb fleet.CaseVerb, set func(*Action)) *desk {
	d.t.Helper()
	must(d.t, d.act(minute, verb, set))
	return d
}

func (d *desk) refused(code fleet.Code, minute int, verb fleet.CaseVerb, set func(*Action)) *desk {
	d.t.Helper()
	if err := d.act(minute, verb, set); fleet.CodeOf(err) != code {
		d.t.Errorf("%s: %v, want %s", verb, err, code)
	}
	return d
}

// until lets time go on: timers fire and messages leave, each when it is due.
func (d *desk) until(minute int) *desk {
	d.t.Helper()
	for {
		next := d.m.next()
		for _, r := range d.m.rows {
			if !r.done && r.Kind == fleet.OutboxMessage && (next.IsZero() || r.DueAt.Before(next)) {
				next = r.DueAt
			}
		}
		if next.IsZero() || next.After(at(minute).Add(2*time.Second)) {
			return d
		}
		must(d.t, d.c.TimersPass(context.Background(), next))
		d.m.send(next)
	}
}

// now is the case as it is.
func (d *desk) now() fleet.Case { return d.m.cases[d.id] }

func (d *desk) is(state fleet.CaseState, history string) *desk {
	d.t.Helper()
	actions := make([]string, 0, 12)
	for _, a := range d.m.audit[d.id] {
		actions = append(actions, a.Action)
	}
	if got := strings.Join(actions, " "); d.now().State != state || got != history {
		d.t.Errorf("%s with %q, want %s with %q", d.now().State, got, state, history)
	}
	return d
}

func (d *desk) heard(want string) *desk {
	d.t.Helper()
	if got := strings.Join(d.m.said(d.id), " "); got != want {
		d.t.Errorf("the owner heard %q, want %q", got, want)
	}
	return d
}

func TestTheTableOfTransitions(t *testing.T) {
	all := append(fleet.OpenStates(), fleet.ClosedStates()...)
	reached := map[fleet.CaseState]bool{fleet.CaseNew: true}
	verbs := map[fleet.CaseVerb]bool{}
	for _, row := range table {
		verbs[row.verb] = true
		for _, from := range all {
			for _, who := range []string{"agent:eve", "owner:anna", "partner:p", byRules, byClock, byIncidents} {
				to, err := Next(from, row.verb, who)
				if err != nil {
					if fleet.CodeOf(err) != fleet.CodeConflict || !strings.Contains(err.Error(), "case") || to != from {
						t.Errorf("%s %s by %s: %s, %v", from, row.verb, who, to, err)
					}
					continue
				}
				reached[to] = true
				if from == fleet.CaseClosed && to != from && who != byRules {
					t.Errorf("a closed case becomes %s by %s of %s", to, row.verb, who)
				}
			}
		}
	}
	delete(reached, fleet.CaseWatching) // where the proof of a fix leads
	if len(reached) != len(all)-1 {
		t.Errorf("reached are %v", reached)
	}
	for _, v := range []fleet.CaseVerb{fleet.VerbAssign, fleet.VerbTake, fleet.VerbStart, fleet.VerbWait, fleet.VerbResume, fleet.VerbComment, fleet.VerbAttach, fleet.VerbSnooze,
		fleet.VerbUnsnooze, fleet.VerbResolve, fleet.VerbClose, fleet.VerbReopen, fleet.VerbMerge, fleet.VerbSplit, fleet.VerbMaintain} {
		if !verbs[v] {
			t.Errorf("%s is not in the table", v)
		}
	}
	if _, err := Next(fleet.CaseNew, "dance", "agent:eve"); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Error(err)
	}
}

func TestACaseGoesThroughItsStates(t *testing.T) {
	d := newDesk(t, "slow#0 opened due @0", nil).until(0)
	d.refused(fleet.CodeConflict, 1, fleet.VerbResume, nil).refused(fleet.CodeConflict, 1, fleet.VerbClose, nil).refused(fleet.CodeConflict, 1, fleet.VerbReopen, nil)
	d.must(1, fleet.VerbAssign, func(a *Action) { a.To = "agent:bob" }).is(fleet.CaseNew, "opened assigned")
	d.must(2, fleet.VerbTake, nil).must(2, fleet.VerbTake, nil).is(fleet.CaseAcked, "opened assigned acknowledged")
	d.must(3, fleet.VerbStart, nil).must(4, fleet.VerbWait, func(a *Action) { a.WaitFor = fleet.WaitPart }).is(fleet.CaseWaiting, "opened assigned acknowledged started waiting")
	d.must(5, fleet.VerbResume, nil).see("slow:0#1 cleared due @6").is(fleet.CaseInProgress, "opened assigned acknowledged started waiting resumed cleared")
	d.must(7, fleet.VerbResolve, func(a *Action) { a.Outcome, a.Part = fleet.OutcomePart, "pump 12" }).until(7).heard("opened cleared")
	if k := d.now(); k.FixPart != "pump 12" || k.Assignee != "agent:eve" || d.m.record["slow outcome:part_replaced"] != 1 {
		t.Errorf("%+v, %v", k, d.m.record)
	}
	d.refused(fleet.CodeConflict, 8, fleet.VerbResolve, func(a *Action) { a.Outcome = fleet.OutcomeNoFault })
	d.must(9, fleet.VerbReopen, func(a *Action) { a.Note = "it drips" }).must(10, fleet.VerbResolve, func(a *Action) { a.Outcome = fleet.OutcomeNoFault })
	d.must(11, fleet.VerbClose, nil).must(12, fleet.VerbComment, func(a *Action) { a.Note = "thanks" })
	d.is(fleet.CaseClosed, "opened assigned acknowledged started waiting resumed cleared resolved reopened resolved closed comment")
	for _, bad := range []func(*Action){func(a *Action) { a.Outcome = "fixed" }, func(a *Action) { a.Outcome = fleet.OutcomeRepaired }, func(a *Action) { a.Outcome = fleet.OutcomePart },
		func(a *Action) { a.Outcome = fleet.OutcomeDuplicate }, func(a *Action) { a.Outcome = fleet.OutcomeCleared }} {
		newDesk(t, "slow#0 opened due @0", nil).refused(fleet.CodeInvalid, 1, fleet.VerbResolve, bad)
	}
}

func TestWhatIsOverIsClosedInTheEnd(t *testing.T) {
	d := newDesk(t, "slow#0 opened due @0", nil).until(0).see("slow:0#1 cleared due @10").until(10+24*60-1).is(fleet.CaseResolved, "opened cleared")
	d.until(10+24*60).is(fleet.CaseClosed, "opened cleared closed")
	d.see("slow#0 opened due @9000")
	if len(d.m.cases) != 2 {
		t.Error("an episode after the end is no new case")
	}
	d.see("code#0 opened due @5 late") // older than the end, and uploaded now
	if k := d.now(); k.State != fleet.CaseClosed || len(d.m.cases) != 2 {
		t.Errorf("late data: %s, %d cases", k.State, len(d.m.cases))
	}
}

// TestTheClockClosesNothingForLateData: what a device uploads late is decided by event time, whether the clock has closed the case
// meanwhile or not. (REL-09)
func TestTheClockClosesNothingForLateData(t *testing.T) {
	at := newDesk(t, "e#0 opened due @0", nil).see("e:0#1 cleared due @10").see("e#0 opened due @60")
	late := newDesk(t, "e#0 opened due @0", nil).see("e:0#1 cleared due @10").until(10+24*60).is(fleet.CaseClosed, "opened cleared closed").see("e#0 opened due @60")
	late.is(fleet.CaseReopened, "opened cleared closed reopened")
	if a, b := at.now(), late.now(); a.ID != b.ID || a.State != b.State || a.Count != b.Count {
		t.Errorf("in time %s %s x%d, late %s %s x%d", a.ID, a.State, a.Count, b.ID, b.State, b.Count)
	}
}

const hours = 60

func TestPromisesAndEscalation(t *testing.T) {
	d := newDesk(t, "e#0 opened fault @0", nil).until(24*hours-1).is(fleet.CaseNew, "opened").until(24*hours+1).is(fleet.CaseNew, "opened late reminded")
	if got := d.m.notified(); !slices.Equal(got, []string{"case_late", "case_escalated"}) {
		t.Error(got)
	}
	d.until(24*7*hours-1).is(fleet.CaseNew, "opened late reminded").until(24*7*hours+1).is(fleet.CaseNew, "opened late reminded late")
	d.must(24*8*hours, fleet.VerbResolve, func(a *Action) { a.Outcome = fleet.OutcomeFalseAlarm })
	if got := d.m.notified(); !slices.Equal(got, []string{"case_late", "case_escalated", "case_late", "case_over"}) {
		t.Error(got)
	}

	// Taken on in time: nobody hears of it but when it is not resolved in time. The clock stands still while the owner is waited for.
	d = newDesk(t, "e#0 opened fault @0", nil).must(60, fleet.VerbTake, nil).must(120, fleet.VerbWait, func(a *Action) { a.WaitFor = fleet.WaitOwner })
	d.until(24*30*hours).must(24*30*hours, fleet.VerbResume, nil).until(24*37*hours-3*hours).is(fleet.CaseInProgress, "opened acknowledged waiting resumed")
	d.until(24*37*hours).is(fleet.CaseInProgress, "opened acknowledged waiting resumed late")

	// A danger is urgent, again and again; what becomes one is urgent from then on.
	d = newDesk(t, "e#0 opened fault @0", nil).see("e:0#1 updated danger @600").until(600+30+4*hours+1).is(fleet.CaseNew, "opened escalated reminded late reminded")
	// After three days in which nobody was there to look it is said once.
	must(t, d.c.TimersPass(t.Context(), at(3*24*hours)))
	if got := strings.Count(strings.Join(d.m.notified(), " "), "case_escalated"); got != 3 { // however many steps tell the same people
		t.Errorf("escalated %d times", got)
	}
	// While the device uploads its past, for a symptom, and below the severities nothing runs.
	for _, text := range []string{"e#0 opened fault @0 late", "e#0 opened fault @0 explained", "e#0 opened due @0"} {
		newDesk(t, text, nil).until(24*30*hours).is(fleet.CaseNew, "opened")
	}
}

func TestStepsAndPromisesAreRead(t *testing.T) {
	for text, good := range map[string]bool{"danger after 30m to operators repeat 4h": true, "info after 0s to agent:lead until resolved": true, "fault after 1h": false,
		"fault after 1h to": false, "fault after 1 to operators": false, "broken after 1h to operators": false, "fault after 1h to agent:": false, "": false,
		"fault after 1h to operators until noon": false, "fault when 1h to operators": false} {
		var s Step
		err := s.UnmarshalText([]byte(text))
		if (err == nil) != good || good && s.String() != text {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
	for text, good := range map[string]bool{"danger acknowledge 1h resolve 24h": true, "due resolve 36h": true, "due resolve": false, "due close 1h": false} {
		var p Promise
		err := p.UnmarshalText([]byte(text))
		if (err == nil) != good || good && p.String() != text {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
}

// TestTimersSurviveFailures: work that failed, or was done by a process that died before it said so, is done once.
func TestTimersSurviveFailures(t *testing.T) {
	d := newDesk(t, "e#0 opened fault @0", nil)
	d.m.broken = 1
	if err := d.c.TimersPass(t.Context(), at(24*hours+1)); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Error(err)
	}
	d.is(fleet.CaseNew, "opened").until(24*hours+3).is(fleet.CaseNew, "opened late reminded")
	for _, r := range d.m.rows {
		if r.Kind == fleet.OutboxTimer && !r.DueAt.After(at(24*hours+3)) {
			r.done = false
		}
	}
	must(t, d.c.TimersPass(t.Context(), at(24*hours+4)))
	d.is(fleet.CaseNew, "opened late reminded")
	d.m.rows["x"] = &memoryRow{OutboxRow: fleet.OutboxRow{ID: "x", Kind: fleet.OutboxTimer, Tenant: "demo", CaseID: "gone", Topic: TimerClock}}
	d.m.rows["y"] = &memoryRow{OutboxRow: fleet.OutboxRow{ID: "y", Kind: fleet.OutboxTimer, Tenant: "demo", Topic: "no such"}}
	d.m.order = append(d.m.order, "x", "y")
	must(t, d.c.TimersPass(t.Context(), at(24*hours+5)))
	if !d.m.rows["x"].done || !strings.Contains(d.m.rows["y"].why, "no such") {
		t.Error("timers of nothing stay")
	}
}

func TestSnoozedCasesAreQuiet(t *testing.T) {
	hour := func(a *Action) { a.Until = at(100) }
	// What gets worse meanwhile is told when the time is over; what does not is not told again.
	newDesk(t, "e#0 opened watch @0", nil).until(0).must(1, fleet.VerbSnooze, hour).see("e:0#1 updated fault @50").until(99).heard("opened").until(101).heard("opened escalated")
	newDesk(t, "e#0 opened due @0", nil).until(0).must(1, fleet.VerbSnooze, hour).until(101).heard("opened").is(fleet.CaseNew, "opened snoozed unsnooze")
	// Danger is told, and what is over.
	newDesk(t, "e#0 opened due @0", nil).until(0).must(1, fleet.VerbSnooze, hour).see("e:0#1 updated danger @50").until(51).heard("opened escalated").
		see("e:0#2 cleared danger @60").until(61).heard("opened escalated cleared")
	// Until it gets worse.
	worse := func(a *Action) { a.Worse = true }
	newDesk(t, "e#0 opened due @0", nil).until(0).must(1, fleet.VerbSnooze, worse).see("e:0#1 updated fault @50").until(60).heard("opened escalated").
		is(fleet.CaseNew, "opened snoozed unsnooze escalated")
	// The whole device: also what opens meanwhile, and until it is taken back.
	device := func(a *Action) { a.Until, a.Device = at(9000), true }
	d := newDesk(t, "e#0 opened due @0", nil).until(0).must(1, fleet.VerbSnooze, device).see("heat! h#0 opened fault @50").until(60)
	var other string
	for id := range d.m.cases {
		if id != d.id {
			other = id
		}
	}
	if got := d.m.said(other); len(got) != 0 {
		t.Errorf("a case of a quiet device: %v", got)
	}
	d.must(70, fleet.VerbUnsnooze, func(a *Action) { a.Device = true }).until(70)
	if got := d.m.said(other); !slices.Equal(got, []string{"opened"}) {
		t.Errorf("after it: %v", got)
	}
	d.refused(fleet.CodeInvalid, 71, fleet.VerbSnooze, nil).refused(fleet.CodeInvalid, 200, fleet.VerbSnooze, hour)
}

// TestResolvedWhileItHolds: the condition has to end, or somebody has to have looked.
func TestResolvedWhileItHolds(t *testing.T) {
	repaired := func(a *Action) { a.Outcome, a.Cause = fleet.OutcomeRepaired, "hose" }
	withLinks := func(d *Deps) { d.Links = d.Store.(*memory) }
	d := newDesk(t, "e#0 opened fault @0", withLinks).until(0).must(10, fleet.VerbResolve, repaired).until(14 * 24 * hours)
	if d.now().State != fleet.CaseResolved {
		t.Errorf("a device that nobody heard: %s", d.now().State)
	}
	d.m.links[d.now().Device] = fleet.Link{Heard: at(14 * 24 * hours)}
	d.until(25 * 24 * hours)
	if k := d.now(); k.State != fleet.CaseReopened || k.Severity != fleet.Fault {
		t.Errorf("heard for two weeks, and it holds: %s", k.State)
	}
	d.heard("opened " + fleet.EventOpened)
	// No word of links, as in a replay: the time alone counts.
	newDesk(t, "e#0 opened due @0", nil).must(10, fleet.VerbResolve, repaired).until(10+72*hours).is(fleet.CaseReopened, "opened resolved reopened")
	// It ended in time.
	newDesk(t, "e#0 opened due @0", nil).must(10, fleet.VerbResolve, repaired).see("e:0#1 cleared due @99").until(31*24*hours).is(fleet.CaseClosed, "opened resolved noted closed")
	// Somebody looked: only worse opens it again.
	alarm := func(a *Action) { a.Outcome = fleet.OutcomeFalseAlarm }
	d = newDesk(t, "e#0 opened due @0", nil).must(10, fleet.VerbResolve, alarm).see("e:0#1 updated due @99").until(20*24*hours).is(fleet.CaseResolved, "opened resolved noted")
	d.see("e:0#2 updated fault @30000").is(fleet.CaseReopened, "opened resolved noted reopened")
	newDesk(t, "e#0 opened due @0", nil).must(10, fleet.VerbResolve, repaired).refused(fleet.CodeConflict, 11, fleet.VerbClose, nil)
}

// TestLossOfLinkResolvesNothing: that a device cannot be reached is a problem of its own; it ends no other one's condition, nor is
// it taken for one that holds.
func TestLossOfLinkResolvesNothing(t *testing.T) {
	d := newDesk(t, "e#0 opened due @0", nil).until(0)
	d.see("offline! lost#0 opened watch @10", "offline! lost:10#1 cleared watch @500").until(30*24*hours).is(fleet.CaseNew, "opened").heard("opened")
}

func TestMergeAndSplit(t *testing.T) {
	d := newDesk(t, "e#0 opened due @0", nil).see("heat! h#0 opened due @5").until(5)
	var heat string
	for id, c := range d.m.cases {
		if c.Problem == "heat" {
			heat = id
		}
	}
	into := d.id
	d.id = heat
	d.refused(fleet.CodeInvalid, 6, fleet.VerbMerge, func(a *Action) { a.Into = heat }).refused(fleet.CodeNotFound, 6, fleet.VerbMerge, func(a *Action) { a.Into = "none" })
	d.must(6, fleet.VerbMerge, func(a *Action) { a.Into = into }).is(fleet.CaseClosed, "opened merged")
	d.must(7, fleet.VerbMerge, func(a *Action) { a.Into = into })
	d.id = into
	// What comes of the merged problem goes to the other case: it is over when both are.
	d.see("e:0#1 cleared due @10").is(fleet.CaseNew, "opened took_in updated").see("heat! h:5#1 cleared due @11").until(12).is(fleet.CaseResolved, "opened took_in updated cleared")
	d.heard("opened cleared").see("heat! h#0 opened fault @100").until(200)
	if k := d.now(); k.State != fleet.CaseReopened || k.Count != 3 || k.Severity != fleet.Fault || len(d.m.cases) != 2 {
		t.Errorf("%+v", k)
	}
	// Taken apart again: the next record of the episode finds its own case.
	d.see("e#0 opened due @210").refused(fleet.CodeInvalid, 211, fleet.VerbSplit, func(a *Action) { a.Rule = "none" })
	d.must(211, fleet.VerbSplit, func(a *Action) { a.Rule = "h" }).see("heat! h:100#1 cleared fault @220")
	for id, c := range d.m.cases {
		if id != heat && id != into && (c.Problem != "heat" || c.State != fleet.CaseResolved || c.Count != 2) {
			t.Errorf("%+v", c)
		}
	}
	if k := d.now(); !k.State.Open() || k.Rule != "e" || k.Severity != fleet.Due {
		t.Errorf("%+v", k)
	}
}

// TestSplitOfOneProblem: two rules watch it; one of them is taken out.
func TestSplitOfOneProblem(t *testing.T) {
	d := newDesk(t, "a#0 opened due @0", nil).see("b#0 opened fault @5").must(6, fleet.VerbSplit, func(a *Action) { a.Rule = "b" })
	d.see("b:5#1 updated danger @7", "a:0#1 cleared due @8")
	if k := d.now(); k.State != fleet.CaseResolved || k.Severity != fleet.Due {
		t.Errorf("%+v", k)
	}
	for id, c := range d.m.cases {
		if id != d.id && (c.Problem != "b" || c.Severity != fleet.Danger || !c.State.Open()) {
			t.Errorf("%+v", c)
		}
	}
	d.see("b:5#2 cleared danger @9", "b#0 opened due @90000") // long after: it is the problem's again
	if k, _ := d.m.LatestCase(t.Context(), d.now().Device, "drain"); k.Rule != "b" || k.ID == d.id {
		t.Errorf("%+v", k)
	}
}

type booker struct {
	order fleet.Order
	err   error
}

func (b *booker) Book(context.Context, *fleet.Case, fleet.Answer) (fleet.Order, error) {
	return b.order, b.err
}

func (b *booker) Stop(context.Context, fleet.Answer) error {
	if fleet.CodeOf(b.err) == fleet.CodeInternal {
		return b.err
	}
	return nil
}

func answerOf(d *desk, v fleet.Verdict, minute int) fleet.Answer {
	return fleet.Answer{Tenant: "demo", MessageID: "m1", CaseID: d.id, PersonID: "anna", Verdict: v, Note: "well", At: at(minute)}
}

func TestAnswers(t *testing.T) {
	for v, want := range map[fleet.Verdict]string{fleet.VerdictFixed: "resolved", fleet.VerdictNotTrue: "new", fleet.VerdictBook: "waiting partner", fleet.VerdictOrder: "waiting part",
		fleet.VerdictNotNow: "new", fleet.VerdictStop: "new"} {
		d := newDesk(t, "e#0 opened due @0", nil).until(0)
		for range 3 { // a tap too many is none
			must(t, d.c.Answer(t.Context(), answerOf(d, v, 10)))
		}
		k := d.now()
		if got := strings.TrimSpace(string(k.State) + " " + k.WaitingFor); got != want || d.m.record["e "+string(v)] != 1 {
			t.Errorf("%s: %s, %v", v, got, d.m.record)
		}
		d.is(k.State, "opened answered")
	}
	d := newDesk(t, "e#0 opened due @0", nil).until(0)
	must(t, d.c.Answer(t.Context(), answerOf(d, fleet.VerdictNotNow, 10)))
	d.until(10 + 72*hours - 1).heard("opened").until(10 + 72*hours).heard("opened reminder")
	d = newDesk(t, "e#0 opened due @0", nil).until(0) // over before the reminder
	must(t, d.c.Answer(t.Context(), answerOf(d, fleet.VerdictNotNow, 10)))
	d.see("e:0#1 cleared due @60").until(10 + 72*hours).heard("opened cleared")
	must(t, d.c.Answer(t.Context(), answerOf(d, fleet.VerdictFixed, 9000)))
	d.is(fleet.CaseClosed, "opened answered cleared closed answered")

	a := answerOf(d, "sung", 1)
	if err := d.c.Answer(t.Context(), a); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Error(err)
	}
	if a = answerOf(d, fleet.VerdictFixed, 1); fleet.CodeOf(d.c.Answer(t.Context(), fleet.Answer{Tenant: "demo", MessageID: "m", PersonID: "p", CaseID: "x", Verdict: a.Verdict})) != fleet.CodeNotFound {
		t.Error("a case that is not there")
	}
}

func TestBookingAsksForSomebody(t *testing.T) {
	for name, c := range map[string]struct {
		b      booker
		order  string
		notify int
		fails  bool
	}{"sent": {b: booker{order: fleet.Order{ID: "o1", PartnerID: "p1"}}, order: "o1"}, "nobody": {b: booker{err: fleet.Errorf(fleet.CodeNotFound, "nobody")}, notify: 1},
		"away": {b: booker{err: errors.New("away")}, fails: true}} {
		d := newDesk(t, "e#0 opened due @0", func(d *Deps) { d.Booker, d.Wishes = &c.b, &c.b }).until(0)
		err := d.c.Answer(t.Context(), answerOf(d, fleet.VerdictBook, 10))
		if k := d.now(); (err != nil) != c.fails || k.OrderID != c.order || len(d.m.notified()) != c.notify || c.fails && k.Version != 1 {
			t.Errorf("%s: %v, %+v, %v", name, err, k, d.m.notified())
		}
		if !c.fails {
			must(t, d.c.Answer(t.Context(), answerOf(d, fleet.VerdictStop, 10+1)))
		} else if d.c.Answer(t.Context(), answerOf(d, fleet.VerdictStop, 11)) == nil || d.now().Version != 1 {
			t.Error("a wish that was not kept is said to be")
		}
	}
}

type known string

func (k known) Match(*fleet.Case) string { return string(k) }

func TestCasesOfAnIncident(t *testing.T) {
	d := newDesk(t, "e#0 opened fault @0", nil)
	must(t, d.c.Adopt(t.Context(), "demo", d.id, "i1", actorIncidents, "pump of batch 7", at(1)))
	must(t, d.c.Adopt(t.Context(), "demo", d.id, "i1", actorIncidents, "pump of batch 7", at(1)))
	d.until(2).heard("incident").is(fleet.CaseNew, "opened adopt") // the first message had not left
	must(t, d.c.Release(t.Context(), "demo", d.id, actorIncidents, "it was none", at(3)))
	must(t, d.c.Release(t.Context(), "demo", d.id, actorIncidents, "it was none", at(3)))
	d.until(4).heard("incident opened").is(fleet.CaseNew, "opened adopt release")
	// Who has heard of it before does not hear it again when it is released.
	d = newDesk(t, "e#0 opened fault @0", nil).until(0)
	must(t, d.c.Adopt(t.Context(), "demo", d.id, "i1", actorIncidents, "", at(1)))
	d.until(2)
	must(t, d.c.Release(t.Context(), "demo", d.id, actorIncidents, "", at(3)))
	d.until(4).heard("opened incident")
	// A case that opens while the incident is known; a danger is told all the same.
	with := func(d *Deps) { d.Incidents = known("i1") }
	newDesk(t, "e#0 opened fault @0", with).until(1).heard("incident").is(fleet.CaseNew, "adopt opened")
	newDesk(t, "e#0 opened danger @0", with).until(1).heard("opened")
	d = newDesk(t, "e#0 opened due @0", nil).see("e:0#1 cleared due @1")
	if err := d.c.Adopt(t.Context(), "demo", d.id, "i1", actorIncidents, "", at(2)); fleet.CodeOf(err) != fleet.CodeConflict {
		t.Error(err)
	}
}

func TestAttachmentsAreWhatTheySay(t *testing.T) {
	png := "\x89PNG\r\n\x1a\n" + strings.Repeat("x", 40)
	for _, c := range []struct{ name, body, want string }{{"pump.exe", png, "pump.png"}, {"../../etc/passwd", "root", "passwd.txt"}, {`C:\x\leak photo.JPG`, "\xff\xd8\xff\xe0", "leak_photo.jpg"},
		{"\u202egnp.exe\r\n", png, "gnp.png"}, {"", "%PDF-1.7", "file.pdf"}, {strings.Repeat("ä", 300), "text", strings.Repeat("ä", 80) + ".txt"},
		{"x.png", "<html><script>alert(1)</script>", ""}, {"x.svg", `<?xml version="1.0"?><svg/>`, ""}, {"x.zip", "PK\x03\x04", ""}, {"x", "", ""},
		{"big.txt", strings.Repeat("x", MaxFile+1), ""}} {
		e := &edit{now: t0}
		err := e.attach(Action{Actor: "agent:eve", File: fleet.Attachment{Name: c.name, Body: []byte(c.body)}})
		switch {
		case c.want == "" && fleet.CodeOf(err) != fleet.CodeInvalid:
			t.Errorf("%q is taken in: %v", c.name, err)
		case c.want != "" && (err != nil || e.files[0].Name != c.want || e.files[0].Size != len(c.body) || len(e.audited) != 1):
			t.Errorf("%q: %+v, %v", c.name, e.files, err)
		}
	}
}

type shelf fleet.Device

func (s *shelf) Device(fleet.DeviceKey) (*fleet.Device, bool) { return (*fleet.Device)(s), true }

func TestTheCoverEndsSoon(t *testing.T) {
	for days, want := range map[int]string{40: "opened warranty", 20: "opened", -5: "opened", 0: "opened"} {
		x := &shelf{Firmware: "1.2", Batch: "B7", Region: "DE"}
		if days != 0 {
			x.WarrantyUntil = t0.AddDate(0, 0, days)
		}
		d := newDesk(t, "e#0 opened watch @0", func(d *Deps) { d.Devices = x }).until(45 * 24 * hours).heard(want)
		if k := d.now(); k.Firmware != "1.2" || k.Batch != "B7" || k.Region != "DE" {
			t.Errorf("%+v", k)
		}
	}
	// What is over by then is not told.
	newDesk(t, "e#0 opened due @0", func(d *Deps) { d.Devices = &shelf{WarrantyUntil: t0.AddDate(0, 0, 40)} }).until(0).
		see("e:0#1 cleared due @60").until(45 * 24 * hours).heard("opened cleared")
}

func TestManyAtOnce(t *testing.T) {
	d := newDesk(t, "e#0 opened due @0", nil).see("heat! h#0 opened due @5", "heat! h:5#1 cleared due @6")
	ids := []string{d.id, "none"}
	for id := range d.m.cases {
		if id != d.id {
			ids = append(ids, id)
		}
	}
	out, err := d.c.DoAll(t.Context(), Action{Tenant: "demo", Do: fleet.VerbTake, Actor: "agent:eve", At: at(7)}, ids)
	must(t, err)
	if len(out) != 3 || out[0].Err != nil || fleet.CodeOf(out[1].Err) != fleet.CodeNotFound || fleet.CodeOf(out[2].Err) != fleet.CodeConflict {
		t.Errorf("%+v", out)
	}
	if _, err := d.c.DoAll(t.Context(), Action{}, nil); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Error(err)
	}
}

type windows map[fleet.DeviceKey]fleet.Span

func (w windows) Maintain(_ context.Context, key fleet.DeviceKey, s fleet.Span, _ string) error {
	w[key] = s
	return nil
}

func TestMaintenanceWindow(t *testing.T) {
	w := windows{}
	d := newDesk(t, "e#0 opened due @0", func(d *Deps) { d.Maintenance = w })
	d.must(5, fleet.VerbMaintain, func(a *Action) { a.Until = at(65) }).is(fleet.CaseNew, "opened maintenance").refused(fleet.CodeInvalid, 5, fleet.VerbMaintain, nil)
	if s := w[d.now().Device]; !s.From.Equal(at(5)) || !s.To.Equal(at(65)) {
		t.Errorf("%+v", s)
	}
	newDesk(t, "e#0 opened due @0", nil).refused(fleet.CodeInvalid, 5, fleet.VerbMaintain, func(a *Action) { a.Until = at(65) })
}

// TestASymptomIsToldWhenItsCauseEnds, also when it was one from the start.
func TestASymptomIsToldWhenItsCauseEnds(t *testing.T) {
	d := newDesk(t, "e#0 opened fault @0 explained", nil).until(10).heard("")
	if k := d.now(); k.CauseRule != "power" {
		t.Errorf("%+v", k)
	}
	d.see("e:0#1 updated fault @20").until(21).heard("opened")
	if k := d.now(); k.CauseRule != "" {
		t.Errorf("%+v", k)
	}
}
