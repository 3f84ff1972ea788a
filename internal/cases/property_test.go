package cases

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"aftercare/internal/fleet"
)

// world folds changes as a store would, for any number of problems.
type world struct {
	cases  map[string]fleet.Case
	latest map[string]string // problem -> case id
	audit  map[string]int
	outbox map[string]string // id -> kind and topic
}

func newWorld() *world {
	return &world{cases: map[string]fleet.Case{}, latest: map[string]string{}, audit: map[string]int{}, outbox: map[string]string{}}
}

func (w *world) apply(t *rapid.T, f fleet.Finding, now time.Time) bool {
	var current *fleet.Case
	if id, ok := w.latest[f.Problem]; ok {
		c := w.cases[id]
		current = &c
	}
	ch, _, write := DefaultConfig().Decide(current, f, now, Around{})
	if !write {
		return false
	}
	if w.cases[ch.Case.ID].Version != ch.Expected {
		t.Fatalf("case %s at version %d, the change expects %d", ch.Case.ID, w.cases[ch.Case.ID].Version, ch.Expected)
	}
	for _, o := range ch.Outbox {
		if _, ok := w.outbox[o.ID]; ok {
			t.Fatalf("outbox row %s %s is asked for by two changes", o.ID, o.Topic)
		}
		w.outbox[o.ID] = string(o.Kind) + " " + o.Topic
	}
	w.cases[ch.Case.ID] = ch.Case
	w.latest[f.Problem] = ch.Case.ID
	w.audit[ch.Case.ID] += len(ch.Audit)
	return true
}

// lives draws what an engine would emit for a device: every rule opens, changes and clears its episodes in order of time.
func lives(t *rapid.T) []fleet.Finding {
	type rule struct {
		f    fleet.Finding
		open bool
	}
	rules := make([]rule, 3)
	problems := []string{"drain", "drain", "heat"}
	out := make([]fleet.Finding, 0, 60)
	now := t0
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 7, 200, 3000}).Draw(t, "minutes")) * time.Minute)
		i := rapid.IntRange(0, 2).Draw(t, "rule")
		r := &rules[i]
		switch {
		case !r.open:
			if !now.After(r.f.OpenedAt) { // one rule cannot open twice in one millisecond: the ids would be the same
				continue
			}
			r.open = true
			r.f = fleet.Finding{Phase: fleet.Opened, Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, Rule: fmt.Sprint("r", i),
				Problem: problems[i], Kind: fleet.KindFault, OpenedAt: now, Live: rapid.Bool().Draw(t, "live"),
				Severity: fleet.Severity(rapid.IntRange(0, 4).Draw(t, "severity"))}
			r.f.ID = fleet.ID("find", r.f.Rule, fmt.Sprint(now.UnixMilli()))
		case rapid.Bool().Draw(t, "clears"):
			r.f.Phase, r.open = fleet.Cleared, false
			r.f.Revision++
		default:
			r.f.Phase, r.f.Live = fleet.Updated, true
			r.f.Severity = fleet.Severity(rapid.IntRange(0, 4).Draw(t, "severity"))
			r.f.Revision++
		}
		r.f.At, r.f.Received = now, now.Add(time.Second)
		out = append(out, r.f)
	}
	return out
}

// TestRedeliveryChangesNothing: however often and in whatever order findings come again, cases, history and outbox are what
// they are when each comes once.
func TestRedeliveryChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		findings := lives(t)
		once, often := newWorld(), newWorld()
		for i, f := range findings {
			once.apply(t, f, f.Received)
			often.apply(t, f, f.Received)
			for range rapid.IntRange(0, 4).Draw(t, "again") {
				old := findings[rapid.IntRange(0, i).Draw(t, "which")]
				if often.apply(t, old, f.Received.Add(time.Minute)) {
					t.Fatalf("finding %s#%d %s took effect twice", old.Rule, old.Revision, old.Phase)
				}
			}
		}
		if !maps.Equal(once.outbox, often.outbox) || !maps.Equal(once.audit, often.audit) || !maps.Equal(once.latest, often.latest) {
			t.Fatalf("once:  %v\noften: %v", once, often)
		}
	})
}

// TestWhatHoldsForEveryCase checks what must be true after any sequence of findings, lost ones among them.
func TestWhatHoldsForEveryCase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, lossy := newWorld(), rapid.Bool().Draw(t, "lossy")
		open := map[string]map[string]bool{"drain": {}, "heat": {}}
		for _, f := range lives(t) {
			if lossy && rapid.IntRange(0, 9).Draw(t, "lost") == 0 {
				continue
			}
			w.apply(t, f, f.Received)
			if f.Phase == fleet.Cleared {
				delete(open[f.Problem], f.ID)
			} else {
				open[f.Problem][f.ID] = true
			}
			c := w.cases[w.latest[f.Problem]]
			if !lossy && (len(open[f.Problem]) > 0) != c.State.Open() {
				t.Fatalf("%d conditions hold, the case is %s after %s %s", len(open[f.Problem]), c.State, f.Rule, f.Phase)
			}
			checkCase(t, &c)
		}
		resolvedButLatest(t, w)
		balance(t, w)
	})
}

func checkCase(t *rapid.T, c *fleet.Case) {
	if len(c.Episodes) > fleet.MaxEpisodes || c.Count < 1 || c.ToldAny && !c.Live || c.AllClear && !c.ToldAny {
		t.Fatalf("%+v", c)
	}
	if c.State.Open() != c.ClosedAt.IsZero() {
		t.Fatalf("%s and closed at %v", c.State, c.ClosedAt)
	}
	highest := fleet.Info
	for _, e := range c.Episodes {
		if e.ClearedAt.IsZero() {
			highest = max(highest, e.Severity)
		}
	}
	if open(c) > 0 && c.Severity != highest {
		t.Fatalf("severity %s, the highest open is %s", c.Severity, highest)
	}
}

func resolvedButLatest(t *rapid.T, w *world) {
	latest := slices.Collect(maps.Values(w.latest))
	for id, c := range w.cases {
		if c.State.Open() && !slices.Contains(latest, id) {
			t.Fatalf("an earlier case is still open: %+v", c)
		}
	}
}

// balance: there is never an all-clear without a message before it.
func balance(t *rapid.T, w *world) {
	told, over := 0, 0
	for _, topic := range w.outbox {
		switch topic {
		case "message opened", "message escalated":
			told++
		case "message cleared":
			over++
		}
	}
	if over > told {
		t.Fatalf("%d all-clears, %d messages before", over, told)
	}
}
