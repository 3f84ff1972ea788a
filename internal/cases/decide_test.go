package cases

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// at is an event time, in minutes after t0.
func at(minutes int) time.Time { return t0.Add(time.Duration(minutes) * time.Minute) }

// story is one problem's life: findings go in, what was decided is looked at. It stands for a store that has one case slot.
type story struct {
	t       *testing.T
	cfg     Config
	c       *fleet.Case
	closed  []fleet.Case // earlier cases
	audit   []string
	out     []string // messages: event/severity, "back" for one that a problem is, "+1h0m0s" when due later
	reason  string
	changes int
	around  Around
}

func begin(t *testing.T) *story { t.Helper(); return &story{t: t, cfg: DefaultConfig()} }

// finding makes one: "slow#0 opened due @10" with "late" (not live) behind it if so. The episode is told by the rule and the
// minute it opened in, which is where @ stands for an opened one; others say it as slow:10#1.
func finding(t *testing.T, text string) fleet.Finding {
	t.Helper()
	words := strings.Fields(text)
	f := fleet.Finding{Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, Model: "washer-w7", Category: "washing-machine",
		Problem: "drain", Kind: fleet.KindFault, Live: true, Version: "h1",
		Evidence: []fleet.Evidence{{Name: "drain_s", Value: 55, At: t0}}}
	var opened, when int
	name, rev, _ := strings.Cut(words[0], "#")
	var minute string
	f.Rule, minute, _ = strings.Cut(name, ":")
	must(t, sscan(rev, &f.Revision))
	f.Phase = fleet.Phase(words[1])
	must(t, f.Severity.UnmarshalText([]byte(words[2])))
	must(t, sscan(strings.TrimPrefix(words[3], "@"), &when))
	opened = when
	if minute != "" {
		must(t, sscan(minute, &opened))
	}
	for _, w := range words[4:] {
		switch w {
		case "late":
			f.Live = false
		case "explained":
			f.Cause = "power"
		default:
			f.Kind = fleet.Kind(w)
		}
	}
	f.OpenedAt, f.At, f.Received = at(opened), at(when), at(when).Add(time.Second)
	f.ID = fleet.ID("find", "demo", "WM-1", f.Rule, fmt.Sprint(f.OpenedAt.UnixMilli()))
	return f
}

func sscan(s string, v *int) error { _, err := fmt.Sscan(s, v); return err }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// see applies findings; each is recorded a second after it happened.
func (s *story) see(texts ...string) *story {
	s.t.Helper()
	for _, text := range texts {
		f := finding(s.t, text)
		s.apply(f, f.Received)
	}
	return s
}

func (s *story) apply(f fleet.Finding, now time.Time) {
	s.t.Helper()
	before := clone(s.t, s.c)
	ch, reason, write := s.cfg.Decide(s.c, f, now, s.around)
	if after := clone(s.t, s.c); before != after {
		s.t.Fatalf("Decide changed the case it was given:\n%s\n%s", before, after)
	}
	s.reason = reason
	if !write {
		return
	}
	s.changes++
	if s.c != nil && ch.Case.ID != s.c.ID {
		s.closed = append(s.closed, *s.c)
	}
	s.c = &ch.Case
	for _, a := range ch.Audit {
		s.audit = append(s.audit, a.Action)
	}
	records := 0
	for _, o := range ch.Outbox {
		if o.Kind == fleet.OutboxRecord {
			records++
		}
		if o.Kind != fleet.OutboxMessage {
			continue
		}
		m := o.Topic + "/" + ch.Case.Severity.String()
		if o.Ref == fleet.RefBack {
			m = "back/" + ch.Case.Severity.String()
		}
		if wait := o.DueAt.Sub(now); wait > 0 {
			m += "+" + wait.String()
		}
		s.out = append(s.out, m)
	}
	if records != 1 || len(ch.Case.Episodes) > fleet.MaxEpisodes {
		s.t.Fatalf("%d records, %d episodes", records, len(ch.Case.Episodes))
	}
}

func clone(t *testing.T, c *fleet.Case) string {
	t.Helper()
	b, err := json.Marshal(c)
	must(t, err)
	return string(b)
}

// want compares "state outcome severity xCount", the audit and the messages.
func (s *story) want(state, audit, messages string) *story {
	s.t.Helper()
	got := fmt.Sprintf("%s %s x%d", s.c.State, s.c.Severity, s.c.Count)
	if s.c.Outcome != "" {
		got = fmt.Sprintf("%s (%s) %s x%d", s.c.State, s.c.Outcome, s.c.Severity, s.c.Count)
	}
	if got != state {
		s.t.Errorf("case is %q, want %q", got, state)
	}
	if got := strings.Join(s.audit, ", "); got != audit {
		s.t.Errorf("history %q, want %q", got, audit)
	}
	if got := strings.Join(s.out, ", "); got != messages {
		s.t.Errorf("messages %q, want %q (%s)", got, messages, s.reason)
	}
	return s
}

// agent does what Resolve or Acknowledge would.
func (s *story) agent(state fleet.CaseState, when time.Time) *story {
	s.c.State, s.c.Assignee = state, "agent:eve"
	if state == fleet.CaseResolved {
		s.c.Outcome, s.c.ClosedAt = fleet.OutcomeRepaired, when
		s.c.Told, s.c.ToldAny, s.c.AllClear = fleet.Info, false, false
	}
	return s
}

func TestAnEpisodeOpensAndClears(t *testing.T) {
	s := begin(t).see("slow#0 opened due @0").want("new due x1", "opened", "opened/due")
	if s.c.ID != fleet.ID("case", "demo", "WM-1", "drain", fmt.Sprint(t0.UnixMilli())) || s.c.Version != 1 || !s.c.OpenedAt.Equal(t0) {
		t.Errorf("%+v", s.c)
	}
	s.see("slow:0#1 cleared due @30").want("resolved (cleared) due x1", "opened, cleared", "opened/due, cleared/due")
	if !s.c.ClosedAt.Equal(at(30)) || s.c.Episodes[0].Evidence == nil || s.c.Version != 2 {
		t.Errorf("%+v", s.c)
	}
}

func TestTheLadder(t *testing.T) {
	begin(t).see("slow#0 opened watch @0", "slow:0#1 updated due @5", "slow:0#2 updated watch @6", "slow:0#3 updated due @7").
		want("new due x1", "opened, escalated, updated, escalated", "opened/watch, escalated/due")
	begin(t).see("slow#0 opened due @0", "code#0 opened fault @5", "code:5#1 cleared fault @9").
		want("new due x2", "opened, escalated, updated", "opened/due, escalated/fault").
		see("slow:0#1 cleared due @12").want("resolved (cleared) due x2", "opened, escalated, updated, cleared", "opened/due, escalated/fault, cleared/due")
	begin(t).see("code#0 opened fault @0", "slow#0 opened due @5").want("new fault x2", "opened, updated", "opened/fault")
}

func TestTheMostSevereThenNewestSpeaks(t *testing.T) {
	s := begin(t).see("a#0 opened due @0", "b#0 opened due @5 maintenance")
	if s.c.Rule != "b" || s.c.Kind != fleet.KindMaintenance {
		t.Errorf("%s %s", s.c.Rule, s.c.Kind)
	}
	s.see("c#0 opened fault @6 safety", "d#0 opened due @7")
	if s.c.Rule != "c" || s.c.Kind != fleet.KindSafety {
		t.Errorf("%s %s", s.c.Rule, s.c.Kind)
	}
	s.see("c:6#1 cleared fault @8 safety")
	if s.c.Rule != "d" || s.c.Kind != fleet.KindFault || s.c.Severity != fleet.Due {
		t.Errorf("%s %s %s", s.c.Rule, s.c.Kind, s.c.Severity)
	}
}

func TestWhoIsToldOfWhat(t *testing.T) {
	begin(t).see("x#0 opened info @0").want("new info x1", "opened", "")
	begin(t).see("x#0 opened info @0", "x:0#1 updated watch @1", "x:0#2 cleared watch @2").
		want("resolved (cleared) watch x1", "opened, escalated, cleared", "opened/watch, cleared/watch")
	for kind, want := range map[string]string{"fault": "opened/due", "maintenance": "opened/due", "safety": "opened/due", "usage": "opened/due", "experience": ""} {
		begin(t).see("x#0 opened due @0 "+kind).want("new due x1", "opened", want)
	}
	begin(t).see("x#0 opened info @0", "x:0#1 cleared info @1").want("resolved (cleared) info x1", "opened, cleared", "")
}

func TestTheUploadedPastIsHistory(t *testing.T) {
	begin(t).see("slow#0 opened due @0 late", "slow:0#1 cleared due @9 late").want("resolved (cleared) due x1", "opened, cleared", "")
	s := begin(t).see("slow#0 opened due @0 late").want("new due x1", "opened", "")
	if s.c.Live || s.c.ToldAny {
		t.Errorf("%+v", s.c)
	}
	s.see("slow:0#1 updated due @20").want("new due x1", "opened, updated", "opened/due")
	if !s.c.Live {
		t.Error("the device has caught up")
	}
	// Days of the past with the same problem again and again are one case while the gaps are short, several when they are long.
	s = begin(t)
	for day := range 5 {
		m := day * 24 * 60
		s.see(fmt.Sprintf("slow#0 opened due @%d late", m), fmt.Sprintf("slow:%d#1 cleared due @%d late", m, m+60))
	}
	s.want("resolved (cleared) due x5", "opened, cleared, reopened, cleared, reopened, cleared, reopened, cleared, reopened, cleared", "")
}

func TestAnAllClearFromAnUploadWaits(t *testing.T) {
	s := begin(t).see("slow#0 opened due @0")
	f := finding(t, "slow:0#1 cleared due @30")
	f.Received = at(300)
	s.apply(f, f.Received)
	s.want("resolved (cleared) due x1", "opened, cleared", "opened/due, cleared/due+2m0s")
}

func TestAConditionThatFlapsIsOneCaseAndOneMessage(t *testing.T) {
	s := begin(t).see("slow#0 opened due @0", "slow:0#1 cleared due @1")
	for m := 10; m < 500; m += 10 {
		s.see(fmt.Sprintf("slow#0 opened due @%d", m), fmt.Sprintf("slow:%d#1 cleared due @%d", m, m+1))
	}
	// What is asked for now and then has nothing new for who heard the first: outreach leaves it out.
	if got := strings.Join(s.out, ", "); !strings.HasPrefix(got, "opened/due, cleared/due, back/due+51m0s, cleared/due, back/due+51m0s") ||
		strings.Count(got, "opened") != 1 || len(s.out) > 20 || s.c.Count != 50 || len(s.closed) != 0 {
		t.Errorf("%d episodes, messages %s", s.c.Count, got)
	}
	n := len(s.out)
	s.see("code#0 opened fault @600")
	if got := strings.Join(s.out[n:], ", "); got != "opened/fault" {
		t.Errorf("worse than before after an all-clear: %s", got)
	}
}

func TestAFaultThatIsBackAfterItsAllClear(t *testing.T) {
	// It was away for an hour: told at once, and so is its end.
	begin(t).see("e#0 opened fault @0", "e:0#1 cleared fault @10", "e#0 opened fault @80", "e:80#1 cleared fault @90").
		want("resolved (cleared) fault x2", "opened, cleared, reopened, cleared", "opened/fault, cleared/fault, back/fault, cleared/fault")
	// It was away for 5 minutes: the message waits for the rest of the hour. It flaps meanwhile: nothing more.
	s := begin(t).see("e#0 opened fault @0", "e:0#1 cleared fault @10", "e#0 opened fault @15", "e:15#1 cleared fault @20", "e#0 opened fault @25")
	s.want("reopened fault x3", "opened, cleared, reopened, cleared, reopened", "opened/fault, cleared/fault, back/fault+55m0s")
	// It stays until the message has left: its end is told again.
	s.see("e:25#1 cleared fault @100")
	s.want("resolved (cleared) fault x3", "opened, cleared, reopened, cleared, reopened, cleared",
		"opened/fault, cleared/fault, back/fault+55m0s, cleared/fault")
	// It is over before the message is due: it is left out then, and the next return asks for another.
	s = begin(t).see("e#0 opened fault @0", "e:0#1 cleared fault @10", "e#0 opened fault @15", "e:15#1 cleared fault @20", "e#0 opened fault @75")
	s.want("reopened fault x3", "opened, cleared, reopened, cleared, reopened", "opened/fault, cleared/fault, back/fault+55m0s, back/fault+5m0s")
}

func TestAProblemThatComesBackLaterIsANewCase(t *testing.T) {
	s := begin(t).see("slow#0 opened due @0", "slow:0#1 cleared due @10")
	s.see(fmt.Sprintf("slow#0 opened due @%d", 10+24*60))
	s.want("new due x1", "opened, cleared, opened", "opened/due, cleared/due, opened/due")
	if len(s.closed) != 1 || s.c.Version != 1 || !s.c.SeenUntil.Equal(t0) {
		t.Fatalf("%+v", s.c)
	}
	before := s.changes
	s.see("slow#0 opened due @0", "slow:0#1 cleared due @10") // the first case's findings are delivered again
	if s.changes != before {
		t.Errorf("old findings changed the new case: %s", s.reason)
	}
}

func TestAgentsAndRules(t *testing.T) {
	// Taken on: the end of the condition does not close it.
	s := begin(t).see("slow#0 opened due @0").agent(fleet.CaseAcked, at(5)).see("slow:0#1 cleared due @10")
	s.want("acknowledged due x1", "opened, cleared", "opened/due")
	s.see("slow#0 opened due @20").want("acknowledged due x2", "opened, cleared, reopened", "opened/due")
	// Resolved, and the symptom comes again: the same case, and the owner is told anew.
	s = begin(t).see("slow#0 opened due @0", "slow:0#1 cleared due @1")
	s = s.agent(fleet.CaseResolved, at(100)).see("slow#0 opened due @20000")
	s.want("reopened due x2", "opened, cleared, reopened", "opened/due, cleared/due, opened/due")
	// ... a month later it is a new one.
	s = begin(t).see("slow#0 opened due @0", "slow:0#1 cleared due @1").agent(fleet.CaseResolved, at(100))
	s.see(fmt.Sprintf("slow#0 opened due @%d", 100+30*24*60)).want("new due x1", "opened, cleared, opened", "opened/due, cleared/due, opened/due")
}

func TestResolvedWhileTheConditionHolds(t *testing.T) {
	s := begin(t).see("slow#0 opened due @0").agent(fleet.CaseResolved, at(100))
	s.see("slow:0#1 cleared due @200").want("resolved (repaired) due x1", "opened, noted", "opened/due")
	s = begin(t).see("slow#0 opened due @0").agent(fleet.CaseResolved, at(100))
	s.see("slow:0#1 updated fault @200").want("reopened fault x1", "opened, reopened", "opened/due, opened/fault")
	s = begin(t).see("slow#0 opened due @0").agent(fleet.CaseResolved, at(100))
	s.see("slow:0#1 updated due @200").want("reopened due x1", "opened, reopened", "opened/due, opened/due")
	// An episode that outlives the month in which the case could have been opened again goes on in the next case.
	s = begin(t).see("slow#0 opened due @0").agent(fleet.CaseResolved, at(100)).see("code#0 opened due @50000", "slow:0#1 updated danger @50010")
	s.want("new danger x1", strings.Repeat("opened, ", 2)+"escalated", strings.Repeat("opened/due, ", 2)+"escalated/danger")
}

// TestASymptomIsNotToldWhileItsCauseIs: its case goes on, and says so.
func TestASymptomIsNotToldWhileItsCauseIs(t *testing.T) {
	s := begin(t).see("slow#0 opened due @0", "slow:0#1 updated fault @5 explained").want("new fault x1", "opened, escalated", "opened/due")
	if !strings.Contains(s.reason, "power explains it") {
		t.Error(s.reason)
	}
	s.see("slow:0#2 updated fault @9").want("new fault x1", "opened, escalated, updated", "opened/due, escalated/fault")
	begin(t).see("slow#0 opened due @0", "slow:0#1 updated danger @5 explained").want("new danger x1", "opened, escalated", "opened/due, escalated/danger")
	s = begin(t).see("slow#0 opened due @0").agent(fleet.CaseResolved, at(100))
	s.see("slow:0#1 updated due @200 explained").want("resolved (repaired) due x1", "opened, noted", "opened/due")
}

func TestLateDataNeitherReopensNorDoubles(t *testing.T) {
	// The same rule has since said that it is over.
	s := begin(t).see("slow#0 opened due @0", "slow:0#1 cleared due @30", "slow#0 opened due @20")
	s.want("resolved (cleared) due x2", "opened, cleared, noted", "opened/due, cleared/due")
	s.see("slow:20#1 cleared due @31").want("resolved (cleared) due x2", "opened, cleared, noted, noted", "opened/due, cleared/due")
	// Another rule has not: its condition holds.
	begin(t).see("slow#0 opened due @0", "slow:0#1 cleared due @30", "code#0 opened fault @29").
		want("reopened fault x2", "opened, cleared, reopened", "opened/due, cleared/due, opened/fault")
	// What was before the repair is history, unless it is worse or still there afterwards.
	base := func() *story { return begin(t).see("slow#0 opened due @0").agent(fleet.CaseResolved, at(100)) }
	base().see("code#0 opened due @90 late").want("resolved (repaired) due x2", "opened, noted", "opened/due")
	base().see("code#0 opened danger @90 late").want("resolved (repaired) due x2", "opened, noted", "opened/due")
	base().see("code#0 opened danger @99").want("reopened danger x2", "opened, reopened", "opened/due, opened/danger")
	base().see("code#0 opened due @90 late", "code:90#1 updated due @120").
		want("reopened due x2", "opened, noted, reopened", "opened/due, opened/due")
}

func TestWhatArrivesOutOfOrder(t *testing.T) {
	// An end without a beginning: history. The beginning then adds nothing.
	s := begin(t).see("slow:0#1 cleared due @30").want("resolved (cleared) due x1", "opened, cleared", "")
	s.see("slow#0 opened due @0").want("resolved (cleared) due x1", "opened, cleared", "")
	if !strings.Contains(s.reason, "is over") {
		t.Errorf("reason %q", s.reason)
	}
	// A lower revision after a higher one.
	begin(t).see("slow#0 opened due @0", "slow:0#2 updated fault @9", "slow:0#1 updated watch @5").
		want("new fault x1", "opened, escalated", "opened/due, escalated/fault")
	// An update whose beginning was lost opens.
	begin(t).see("slow:0#1 updated due @5").want("new due x1", "opened", "opened/due")
	// An end without a beginning in a case that is open, or was long ago.
	begin(t).see("slow#0 opened due @0", "code:1#1 cleared fault @2").want("new due x2", "opened, updated", "opened/due")
	begin(t).see("slow#0 opened due @0", "slow:0#1 cleared due @1", "code:90000#1 cleared fault @90001").
		want("resolved (cleared) due x2", "opened, cleared, noted", "opened/due, cleared/due")
}

func TestManyEpisodesAreCountedAndNotKept(t *testing.T) {
	s := begin(t).see("long#0 opened due @0")
	for m := 1; m <= 50; m++ {
		s.see(fmt.Sprintf("slow#0 opened due @%d", m*10), fmt.Sprintf("slow:%d#1 cleared due @%d", m*10, m*10+5))
	}
	if s.c.Count != 51 || len(s.c.Episodes) != fleet.MaxEpisodes || s.c.Episodes[0].Rule != "long" {
		t.Fatalf("count %d, %d episodes, the first of %s", s.c.Count, len(s.c.Episodes), s.c.Episodes[0].Rule)
	}
	before := s.changes
	for m := 1; m <= 50; m++ {
		s.see(fmt.Sprintf("slow#0 opened due @%d", m*10), fmt.Sprintf("slow:%d#1 cleared due @%d", m*10, m*10+5))
	}
	if s.changes != before {
		t.Errorf("%d of the forgotten episodes were counted again", s.changes-before)
	}
}

func TestTheRecordOfAChange(t *testing.T) {
	f := finding(t, "slow#0 opened due @0")
	ch, _, _ := DefaultConfig().Decide(nil, f, at(1), Around{})
	again, _, _ := DefaultConfig().Decide(nil, f, at(2), Around{})
	for i := range ch.Outbox {
		if ch.Outbox[i].ID != again.Outbox[i].ID {
			t.Errorf("row %d has another id the second time", i)
		}
	}
	rec := ch.Outbox[len(ch.Outbox)-1]
	var n fleet.Notice
	must(t, json.Unmarshal(rec.Body, &n))
	if n.ID == "" || n.Type != "case" || n.Action != "opened" || n.Severity != fleet.Due || !n.At.Equal(t0) || n.Actor != "rules" || n.CaseID != ch.Case.ID {
		t.Errorf("%+v", n)
	}
	msg := ch.Outbox[0]
	if !msg.Cause.Equal(f.Received) || !msg.DueAt.Equal(at(1)) || msg.PersonID != "" || msg.Channel != "" {
		t.Errorf("%+v", msg)
	}
}

func TestConfig(t *testing.T) {
	must(t, DefaultConfig().Validate())
	c := DefaultConfig()
	c.RetellAfter, c.SettleFor = -1, -1
	c.SLA = append(c.SLA, Promise{Severity: fleet.Danger, Resolve: time.Hour}, Promise{})
	c.Escalation = []Step{{After: -1, To: "operators"}}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "retell_after -1ns") || !strings.Contains(err.Error(), "settle_for") ||
		strings.Count(err.Error(), "cases.sla") != 2 || !strings.Contains(err.Error(), "cases.escalation \"info after -1ns") {
		t.Error(err)
	}
}
