package outreach_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/outreach"
)

// kind makes a case of a kind and a severity.
func kind(k fleet.Kind, s fleet.Severity) func(*fleet.Case) {
	return func(c *fleet.Case) { c.Kind, c.Severity = k, s }
}

func (w *world) person(id string, edit func(*fleet.Person)) {
	p := w.people[id]
	edit(&p)
	w.people[id] = p
}

// mondayNoon is noon in Berlin.
var mondayNoon = time.Date(2026, 1, 12, 11, 0, 0, 0, time.UTC)

func atNoon(t *testing.T, edit func(*outreach.Config)) *world {
	w := wash(t, edit)
	w.now = mondayNoon
	return w
}

func TestStageIncident(t *testing.T) {
	w := atNoon(t, nil)
	w.ok(w.store.CommitIncident(t.Context(), fleet.IncidentChange{Incident: fleet.Incident{ID: "inc", Tenant: "demo", State: fleet.IncidentOpen, Problem: "a", Model: "washer-w7", OpenedAt: w.now, Severity: fleet.Fault}}))
	of := func(c *fleet.Case) { c.IncidentID = "inc" }
	ref := func(r *fleet.OutboxRow) { r.Ref = "inc" }
	w.put("a", fleet.EventOpened, of)
	w.put("b", fleet.EventOpened, func(c *fleet.Case) { of(c); c.Severity = fleet.Danger })
	w.put("c", fleet.EventIncident, of, ref)
	w.pass()
	w.put("d", fleet.EventIncident, of, ref)
	w.pass()
	same(t, w.fates("a"), []string{"anna inbox opened skipped: covered by incident inc"})
	same(t, w.fates("d"), []string{"anna inbox incident skipped: told of the incident before"})
	same(t, w.rang(), []string{"Mon 12:00 anna email opened", "Mon 12:00 anna ntfy opened", "Mon 12:00 anna ntfy incident"})
	w.ok(w.store.CommitIncident(t.Context(), fleet.IncidentChange{Incident: fleet.Incident{ID: "inc", Tenant: "demo", Version: 1, State: fleet.IncidentFixed, Problem: "a", Model: "washer-w7", OpenedAt: w.now, FixedAt: w.now}, Expected: 1}))
	w.put("e", fleet.EventIncident, of, ref)
	w.pass()
	same(t, w.fates("e"), []string{"anna inbox incident skipped: the incident is over"})
}

func TestStageWhom(t *testing.T) {
	w := atNoon(t, nil)
	w.put("a", fleet.EventOpened, nil)
	w.pass()
	w.devices[key] = fleet.Device{Key: key, Model: "washer-w7", OwnerID: "ben", OwnedSince: w.now.Add(time.Minute)}
	w.put("a", fleet.EventEscalated, nil) // of the time before
	w.people["ben"] = fleet.Person{ID: "ben", Tenant: "demo", Name: "ben", Zone: "Europe/Berlin"}
	w.pass()
	w.now = w.now.Add(time.Hour)
	w.put("a", fleet.EventCleared, func(c *fleet.Case) { c.State = fleet.CaseResolved })
	w.pass()
	same(t, w.fates("a"), []string{"anna inbox cleared skipped: the person does not own the device any more", "anna inbox opened sent", "anna ntfy opened sent",
		"ben inbox escalated skipped: it is about the time before the device was hers"})
}

func TestStageEntitlement(t *testing.T) {
	for _, c := range []struct {
		cover fleet.Cover
		want  string
	}{
		{fleet.Cover{Kind: "manufacturer", Name: "Acme", Days: 12, Pays: true}, "anna inbox warranty sent"},
		{fleet.Cover{Kind: "manufacturer", Name: "Acme", Days: 300, Pays: true}, "anna inbox warranty skipped: Acme pays, 300 days left: not a cover that ends soon"},
		{fleet.Cover{Kind: "manufacturer", Name: "Acme", Days: 12}, "anna inbox warranty skipped: manufacturer cover of 12 more days does not pay for this: not a cover that ends soon"},
		{fleet.Cover{Kind: "none", Days: -3}, "anna inbox warranty skipped: no cover any more: not a cover that ends soon"},
		{fleet.Cover{}, "anna inbox warranty skipped: who pays is not known: not a cover that ends soon"},
	} {
		w := atNoon(t, nil)
		w.cover = c.cover
		w.put("a", fleet.EventWarranty, nil)
		w.pass()
		same(t, w.fates("a")[0], c.want)
	}
}

func TestStageConsent(t *testing.T) {
	w := atNoon(t, func(c *outreach.Config) { c.DigestTopics = nil })
	tell := func(id string) []string {
		w.put(id, fleet.EventOpened, kind(fleet.KindUsage, fleet.Watch))
		w.pass()
		return w.fates(id)
	}
	no := []string{"anna inbox opened skipped: no consent to tips"}
	same(t, tell("a"), no)
	w.person("anna", func(p *fleet.Person) {
		p.Consents = []fleet.Consent{{Purpose: fleet.PurposeReview, GivenAt: w.now}, {Purpose: fleet.PurposeTips, GivenAt: w.now.Add(time.Hour)}}
	})
	same(t, tell("b"), no) // another purpose, and not yet
	w.now = w.now.Add(time.Hour)
	same(t, tell("c"), []string{"anna inbox opened sent", "anna ntfy opened sent"})
	w.person("anna", func(p *fleet.Person) { p.Consents[1].WithdrawnAt = w.now })
	same(t, tell("d"), no)
	w.put("e", fleet.EventReview, func(c *fleet.Case) { c.State, c.Proof = fleet.CaseClosed, fleet.Proof{Since: w.now, Clean: true} })
	w.pass()
	same(t, w.fates("e")[0], "anna inbox review sent")
	w.person("anna", func(p *fleet.Person) { p.Consents = nil })
	w.put("f", fleet.EventReview, func(c *fleet.Case) { c.State, c.Proof = fleet.CaseClosed, fleet.Proof{Since: w.now, Clean: true} })
	w.pass()
	same(t, w.fates("f"), []string{"anna inbox review skipped: no consent to review"})
}

// TestStagePreference: "never" keeps a topic out of the inbox too, but for danger; who wants to hear of it nowhere is not passed over either.
func TestStagePreference(t *testing.T) {
	w := atNoon(t, linked)
	w.person("anna", func(p *fleet.Person) {
		p.Preferences = []fleet.Preference{{Topic: fleet.TopicFault, Want: fleet.WantNever}, {Topic: fleet.TopicSafety, Want: fleet.WantNever}}
	})
	w.put("a", fleet.EventOpened, nil)
	w.put("b", fleet.EventOpened, kind(fleet.KindSafety, fleet.Danger))
	w.after(time.Minute)
	same(t, w.fates("a"), []string{"anna inbox opened skipped: does not want to hear of fault here"})
	same(t, w.fates("b"), []string{"anna inbox opened sent"})
	w.after(24 * time.Hour)
	same(t, w.rang(), []string{"Mon 14:00 ben email opened", "Mon 14:00 ben ntfy opened"}) // of the danger
	ms, err := w.store.Inbox(t.Context(), "demo", "anna", 10)
	must(t, err)
	same(t, len(ms), 1)
}

func TestStagePreferenceOfOneChannel(t *testing.T) {
	w := atNoon(t, nil)
	w.person("anna", func(p *fleet.Person) {
		p.Preferences = []fleet.Preference{{Topic: fleet.TopicFault, Channel: "ntfy", Want: fleet.WantNever}, {Topic: fleet.TopicFault, Channel: "inbox", Want: fleet.WantNever}}
	})
	w.put("a", fleet.EventOpened, nil)
	w.pass()
	same(t, w.fates("a"), []string{"anna email opened sent", "anna inbox opened skipped: does not want to hear of fault here"})
}

// TestFaultAtNightIsInTheInboxAtOnce and rings in the morning; only danger rings before.
func TestFaultAtNightIsInTheInboxAtOnce(t *testing.T) {
	w := wash(t, linked)
	w.now = night
	w.put("a", fleet.EventOpened, nil)
	w.pass()
	same(t, w.fates("a"), []string{"anna inbox opened sent", "anna ntfy opened held: quiet hours until 07:00 in Europe/Berlin"})
	w.put("b", fleet.EventOpened, kind(fleet.KindSafety, fleet.Danger))
	w.after(8*time.Hour + 10*time.Second)
	same(t, w.rang(), []string{"Fri 23:00 anna email opened", "Fri 23:00 anna ntfy opened", "Sat 01:00 ben email opened", "Sat 01:00 ben ntfy opened", "Sat 07:00 anna ntfy opened"})
}

// TestDigestFromEndToEnd: what is for the digest waits for its day and leaves on the minute, as one message that names all that is true still.
func TestDigestFromEndToEnd(t *testing.T) {
	w := atNoon(t, nil)
	w.person("anna", func(p *fleet.Person) {
		p.Consents = []fleet.Consent{{Purpose: fleet.PurposeTips, GivenAt: w.now.Add(-time.Hour)}}
		p.DigestDay, p.DigestHour = time.Thursday, 18
	})
	for _, id := range []string{"a", "b", "c"} {
		w.put(id, fleet.EventOpened, kind(fleet.KindUsage, fleet.Watch))
		w.after(time.Hour)
	}
	same(t, w.fates("a"), []string{"anna inbox opened sent", "anna ntfy opened held: digest on Thu 15 Jan 18:00"})
	w.put("b", "", func(c *fleet.Case) { c.State = fleet.CaseResolved })
	w.after(7 * 24 * time.Hour)
	same(t, w.rang(), []string{"Thu 18:00 anna ntfy opened"})
	if r := w.rings[0]; len(r.m.Merged) != 1 || r.at.Second() != 0 {
		t.Errorf("at %v, merged %v: want on the minute, with one other", r.at, r.m.Merged)
	}
	all := strings.Join(append(append(w.fates("a"), w.fates("b")...), w.fates("c")...), "\n")
	for _, want := range []string{"anna ntfy opened sent", "anna ntfy opened merged: with dlv-", "anna ntfy opened skipped: the case was resolved before the message left"} {
		if strings.Count(all, want) != 1 {
			t.Errorf("want %q once in\n%s", want, all)
		}
	}
}

// TestBudgetPlaceOfWhatDies: what was given up on every endpoint has used nothing.
func TestBudgetPlaceOfWhatDies(t *testing.T) {
	w := atNoon(t, func(c *outreach.Config) { c.BudgetDay, c.BudgetReserve = 1, 0 })
	w.answer = func(string, fleet.Message) error { return outreach.Never(errors.New("no")) }
	w.put("a", fleet.EventOpened, nil)
	w.pass()
	w.answer = nil
	w.put("b", fleet.EventOpened, nil)
	w.put("c", fleet.EventOpened, nil)
	w.after(time.Hour)
	same(t, w.rang(), []string{"Mon 12:00 anna email opened failed", "Mon 12:00 anna ntfy opened failed", "Mon 12:00 anna ntfy opened"})
}

// TestWhatMayHaveBeenSentGoesAlone: a message that failed, but may have arrived, keeps its own id; others do not take it along.
func TestWhatMayHaveBeenSentGoesAlone(t *testing.T) {
	w := atNoon(t, nil)
	w.now = mondayNoon.Add(9*time.Hour - time.Minute) // 20:59
	w.answer = func(string, fleet.Message) error { return outreach.Again(errors.New("no answer"), 0) }
	w.person("anna", func(p *fleet.Person) { p.Endpoints = p.Endpoints[:1] })
	w.put("a", fleet.EventOpened, kind(fleet.KindMaintenance, fleet.Due))
	w.after(2 * time.Minute)
	w.answer = nil
	w.put("b", fleet.EventOpened, nil)
	w.put("c", fleet.EventOpened, nil)
	w.after(24 * time.Hour)
	tries := 0
	for _, r := range w.rings {
		if r.m.CaseID != "a" {
			continue
		}
		if tries++; r.m.ID != w.rings[0].m.ID || len(r.m.Merged) > 0 {
			t.Errorf("it went as %s with %v, before as %s", r.m.ID, r.m.Merged, w.rings[0].m.ID)
		}
	}
	last := w.rings[len(w.rings)-1]
	if tries != 3 || len(w.rings) != 4 || last.err != nil {
		t.Errorf("rings %v: want three of the first and one of the others", w.rang())
	}
}

// TestDeathWhileSendingTogether: the process dies after it sent one message that took another along. The next try has the same id and takes
// it along again.
func TestDeathWhileSendingTogether(t *testing.T) {
	w := wash(t, nil)
	w.now = night
	w.put("a", fleet.EventOpened, nil)
	w.put("b", fleet.EventOpened, kind(fleet.KindMaintenance, fleet.Due))
	w.pass()
	w.dying = true
	w.after(24 * time.Hour)
	same(t, w.rang(), []string{"Sat 07:00 anna ntfy opened", "Sat 07:00 anna ntfy opened"})
	if a, b := w.rings[0].m, w.rings[1].m; a.ID != b.ID || len(a.Merged) != 1 || len(b.Merged) != 1 {
		t.Errorf("%s with %v, then %s with %v", a.ID, a.Merged, b.ID, b.Merged)
	}
}

// TestAllClearWaitsForWhatIsUnderWay: a message of the problem is being sent when the all-clear is due there; it waits for how that ends.
func TestAllClearWaitsForWhatIsUnderWay(t *testing.T) {
	w := atNoon(t, nil)
	w.put("a", fleet.EventOpened, nil)
	w.watch = func(r ring) {
		if r.m.Topic != fleet.EventOpened {
			return
		}
		w.put("a", fleet.EventCleared, func(c *fleet.Case) { c.State = fleet.CaseResolved })
		other := outreach.New(w.config, w.deps())
		must(t, other.Pass(context.Background(), w.now))
		same(t, w.fates("a"), []string{"anna email cleared skipped: nobody was told of the problem here", "anna inbox cleared sent", "anna inbox opened sent",
			"anna ntfy cleared held: a message of the problem is under way"})
	}
	w.after(time.Hour)
	same(t, w.rang(), []string{"Mon 12:00 anna ntfy opened", "Mon 12:00 anna ntfy cleared"})
}
