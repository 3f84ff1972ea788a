package cases

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"aftercare/internal/fleet"
)

// TestWhatHoldsWhateverPeopleDo: findings of a device, what agents and its owner do, clocks that run out and messages that leave,
// in any order. The store that is used fails the test when a change has no history, a version is not the next one, a closed case
// opens again, or two cases of one problem are open.
func TestWhatHoldsWhateverPeopleDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMemory(t.Fatalf)
		cfg := DefaultConfig()
		cfg.Escalation = []Step{{Severity: fleet.Due, After: time.Hour, To: "operators"}, {Severity: fleet.Danger, To: "agent:lead", Resolved: true}}
		c := m.use(cfg, nil)
		ctx := context.Background()
		last := t0
		for i, f := range lives(t) {
			last = f.Received
			must1(t, c.Apply(ctx, f, f.Received))
			for range rapid.IntRange(0, 2).Draw(t, "acts") {
				someAct(ctx, t, c, m, f.Received, i)
			}
			if rapid.Bool().Draw(t, "time goes on") {
				must1(t, c.TimersPass(ctx, f.Received))
			}
			if rapid.Bool().Draw(t, "messages leave") {
				m.send(f.Received)
			}
			heardInOrder(t, m)
		}
		// In the end nobody does anything any more: every clock runs out, none goes on for ever.
		for n := 0; !m.next().IsZero() && m.next().Before(last.AddDate(1, 0, 0)); n++ {
			if n > 2000 {
				t.Fatalf("the clocks do not come to an end: the next is at %v", m.next())
			}
			at := later(last, m.next())
			must1(t, c.TimersPass(ctx, at))
			m.send(at)
		}
		heardInOrder(t, m)
	})
}

func must1(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// someAct does something to a case; it may be refused, but never break.
func someAct(ctx context.Context, t *rapid.T, c *Cases, m *memory, at time.Time, i int) {
	ids := make([]string, 0, len(m.cases))
	for id := range m.cases {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	id := rapid.SampledFrom(ids).Draw(t, "case")
	before := m.cases[id].Version
	var err error
	switch rapid.IntRange(0, 9).Draw(t, "who") {
	case 0:
		err = c.Answer(ctx, fleet.Answer{Tenant: "demo", MessageID: fleet.ID("m", id, string(rune('a'+i))), CaseID: id, PersonID: "anna",
			Verdict: rapid.SampledFrom(fleet.Verdicts()).Draw(t, "verdict"), At: at})
	case 1:
		err = c.Adopt(ctx, "demo", id, "inc-1", actorIncidents, "many", at)
	case 2:
		err = c.Release(ctx, "demo", id, actorIncidents, "it was none", at)
	default:
		a := Action{Tenant: "demo", CaseID: id, Actor: rapid.SampledFrom([]string{"agent:eve", "owner:anna", "partner:p"}).Draw(t, "actor"), Note: "because", At: at,
			Do: rapid.SampledFrom([]fleet.CaseVerb{fleet.VerbAssign, fleet.VerbTake, fleet.VerbStart, fleet.VerbWait, fleet.VerbResume, fleet.VerbComment, fleet.VerbSnooze,
				fleet.VerbUnsnooze, fleet.VerbResolve, fleet.VerbClose, fleet.VerbReopen, fleet.VerbMerge, fleet.VerbSplit, "dance"}).Draw(t, "verb"),
			To: "agent:bob", WaitFor: rapid.SampledFrom([]string{fleet.WaitOwner, fleet.WaitPart}).Draw(t, "for"), Until: at.Add(time.Hour),
			Worse: rapid.Bool().Draw(t, "worse"), Device: rapid.Bool().Draw(t, "device"), Outcome: rapid.SampledFrom(fleet.Outcomes()).Draw(t, "outcome"),
			Into: rapid.SampledFrom(ids).Draw(t, "into"), Rule: rapid.SampledFrom([]string{"r0", "r1", "r2"}).Draw(t, "rule")}
		err = c.Do(ctx, a)
	}
	switch code := fleet.CodeOf(err); {
	case code != "" && code != fleet.CodeConflict && code != fleet.CodeInvalid:
		t.Fatal(err)
	case code != "" && m.cases[id].Version != before:
		t.Fatalf("refused (%v), and written all the same", err)
	}
	checkStates(t, m)
}

func checkStates(t *rapid.T, m *memory) {
	for _, c := range m.cases {
		switch {
		case c.State.Open() != c.ClosedAt.IsZero(), c.State.Open() && c.Outcome != "", !c.State.Open() && c.Outcome == "":
			t.Fatalf("%s, outcome %q, closed at %v", c.State, c.Outcome, c.ClosedAt)
		case (c.State == fleet.CaseWaiting) != (c.WaitingFor != ""):
			t.Fatalf("%s for %q", c.State, c.WaitingFor)
		case c.MergedInto != "" && c.State != fleet.CaseClosed:
			t.Fatalf("merged and %s", c.State)
		case len(c.Episodes) > fleet.MaxEpisodes || len(c.Episodes) == 0:
			t.Fatalf("%d episodes", len(c.Episodes))
		}
	}
}

// heardInOrder: nobody hears an all-clear who did not hear of the problem since the last one, nor anything after an all-clear but
// that it is back. Escalated reads like opened to who heard neither, as when the first one was taken back for an incident.
func heardInOrder(t *rapid.T, m *memory) {
	for id := range m.heard {
		known, cleared := false, false
		if slices.ContainsFunc(m.audit[id], func(a fleet.Audit) bool { return a.Action == string(verbAdopt) }) {
			continue // of a child of an incident its own messages are not all there is
		}
		for _, event := range m.said(id) {
			switch event {
			case fleet.EventCleared:
				if !known {
					t.Fatalf("an all-clear of nothing: %v", m.said(id))
				}
				known, cleared = false, true
			case fleet.EventOpened:
				known, cleared = true, false
			case fleet.EventReminder: // the owner's own "not now", which may answer an old message
				known, cleared = true, false
			default:
				if cleared {
					t.Fatalf("%s after an all-clear: %v", event, m.said(id))
				}
				known = true
			}
		}
	}
}
