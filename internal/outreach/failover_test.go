package outreach_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

func operators(c *outreach.Config) {
	c.Operations = []outreach.Operations{{Channel: "email", Address: "desk@ops.example"}}
}

func both(edits ...func(*outreach.Config)) func(*outreach.Config) {
	return func(c *outreach.Config) {
		for _, e := range edits {
			e(c)
		}
	}
}

// TestWithoutLinksAChannelsWordCounts: nobody hears whether a message was opened, so what a channel took has arrived, and only what none took
// goes on: to the next endpoint, the next person, the operators.
func TestWithoutLinksAChannelsWordCounts(t *testing.T) {
	w := atNoon(t, operators)
	w.put("a", fleet.EventOpened, nil)
	w.after(6 * time.Hour)
	same(t, w.rang(), []string{"Mon 12:00 anna ntfy opened"})

	w = atNoon(t, operators)
	w.answer = func(c string, m fleet.Message) error {
		if m.PersonID != "" {
			return outreach.Again(errors.New("no"), time.Hour)
		}
		return nil
	}
	w.put("a", fleet.EventOpened, nil)
	w.after(5 * time.Hour)
	first := map[string]string{}
	for _, r := range w.rings {
		if k := r.m.PersonID + " " + r.to.Channel; first[k] == "" {
			first[k] = r.at.Sub(mondayNoon).String()
		}
	}
	same(t, first, map[string]string{"anna ntfy": "0s", "anna email": "30m0s", "ben ntfy": "2h0m0s", "ben email": "2h30m0s", " email": "4h0m0s"})
}

// TestDangerThatFailsGoesOn: a danger whose only endpoint does not answer reaches the next person in time, though it is tried here for days.
func TestDangerThatFailsGoesOn(t *testing.T) {
	w := atNoon(t, linked)
	w.answer = func(_ string, m fleet.Message) error {
		if m.PersonID == "anna" {
			return outreach.Again(errors.New("no"), 0)
		}
		return nil
	}
	w.put("a", fleet.EventOpened, kind(fleet.KindSafety, fleet.Danger))
	w.after(2*time.Hour + time.Minute)
	told := map[string]bool{}
	for _, r := range w.rings {
		told[r.m.PersonID] = true
	}
	same(t, told, map[string]bool{"anna": true, "ben": true})
}

// TestOperatorsHearOfDeadLettersOnceAnHour, and not of each.
func TestOperatorsHearOfDeadLettersOnceAnHour(t *testing.T) {
	w := atNoon(t, both(operators, func(c *outreach.Config) { c.BudgetDay, c.BudgetWeek, c.Escalate = 0, 0, 0 }))
	w.answer = func(c string, m fleet.Message) error {
		if m.PersonID == "" {
			return nil
		}
		return outreach.Never(errors.New("wrong password"))
	}
	for hour := range 2 {
		for i := range 3 {
			w.put(fmt.Sprint("c", hour, i), fleet.EventOpened, nil)
		}
		w.after(time.Hour)
	}
	said := map[string]int{}
	for _, r := range w.rings {
		if r.m.PersonID == "" {
			said[r.m.Title+": "+r.m.Body]++
		}
	}
	const detail = "The first of this hour: wrong password. All are among the dead letters."
	if len(said) != 2 || said["Messages to ntfy are given up: "+detail] != 2 || said["Messages to email are given up: "+detail] != 2 {
		t.Errorf("operators heard %v", said)
	}
}

// TestDeathWhileTellingOperators: sent, not recorded, sent again under the same id.
func TestDeathWhileTellingOperators(t *testing.T) {
	w := atNoon(t, operators)
	w.ok(w.store.AddOutbox(t.Context(), []fleet.OutboxRow{{ID: "n", Kind: fleet.OutboxNotify, Tenant: "demo", Body: []byte(`{"Name":"incident"}`), DueAt: w.now}}))
	w.dying = true
	w.after(time.Hour)
	if len(w.rings) != 2 || w.rings[0].m.ID != w.rings[1].m.ID {
		t.Errorf("rings %+v", w.rings)
	}
}

// TestCircuit: a receiver that fails five times in a row is left alone; what is for it waits, danger is tried all the same, a fault goes to
// the next endpoint in time; when it answers again all goes on.
func TestCircuit(t *testing.T) {
	w := atNoon(t, func(c *outreach.Config) { c.BudgetDay, c.BudgetWeek, c.Escalate = 0, 0, 0 })
	broken := true
	w.answer = func(c string, _ fleet.Message) error {
		if c == "ntfy" && broken {
			return outreach.Again(errors.New("no"), 0)
		}
		return nil
	}
	for i := range 5 {
		w.put(fmt.Sprint("c", i), fleet.EventOpened, kind(fleet.KindMaintenance, fleet.Due))
	}
	w.pass()
	same(t, len(w.rings), 5)
	w.put("fault", fleet.EventOpened, nil)
	w.put("danger", fleet.EventOpened, kind(fleet.KindSafety, fleet.Danger))
	w.pass()
	for _, r := range w.rings[5:] {
		same(t, r.m.CaseID, "danger")
	}
	same(t, len(w.rings), 7)
	broken = false
	w.after(31 * time.Minute)
	last := w.fates("fault")
	same(t, last, []string{"anna email opened skipped: ntfy took it", "anna inbox opened sent", "anna ntfy opened sent"})
	for i := range 5 {
		same(t, w.fates(fmt.Sprint("c", i))[1], "anna ntfy opened sent")
	}
}

// TestLastPlaceHasOneTaker: of many at once as many get a place as there are.
func TestLastPlaceHasOneTaker(t *testing.T) {
	w := wash(t, nil)
	var got atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			ok, err := w.store.TakeContact(context.Background(), "demo", "h:home", fmt.Sprint("m", i), w.now, 2, 5)
			if err != nil {
				t.Error(err)
			}
			if ok {
				got.Add(1)
			}
		})
	}
	wg.Wait()
	same(t, got.Load(), int64(2))
	for i := range 16 { // given back, they are free
		w.ok(w.store.ReleaseContact(t.Context(), "demo", fmt.Sprint("m", i), []string{"dlv"}))
	}
	ok, err := w.store.TakeContact(t.Context(), "demo", "h:home", "late", w.now, 1, 1)
	must(t, err)
	same(t, ok, true)
}
