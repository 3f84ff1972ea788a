package cases

import (
	"strings"
	"testing"

	"aftercare/internal/fleet"
)

// TestACaseOfBeforeThereWereClocks: one that was opened by a version without clocks begins to count with its next change, and not at
// the beginning of time.
func TestACaseOfBeforeThereWereClocks(t *testing.T) {
	old := func(state fleet.CaseState) *desk {
		d := newDesk(t, "e#0 opened danger @0", nil).until(0)
		k := d.m.cases[d.id]
		k.CaseCare, k.State = fleet.CaseCare{}, state
		d.m.cases[d.id], d.m.rows, d.m.order = k, map[string]*memoryRow{}, nil
		return d
	}
	d := old(fleet.CaseNew)
	d.see("e:0#1 updated danger @10000")
	if next := d.m.next(); next.Before(at(10000)) {
		t.Errorf("its clock is due at %v", next)
	}
	d.until(10001)
	if ops := d.m.notified(); len(ops) != 0 {
		t.Errorf("operators hear %v", ops)
	}
	for _, k := range []struct {
		state fleet.CaseState
		verb  fleet.CaseVerb
	}{{fleet.CaseAcked, fleet.VerbComment}, {fleet.CaseNew, fleet.VerbTake}} {
		d = old(k.state)
		d.must(10000, k.verb, func(a *Action) { a.Note = "seen" })
		if d.now().AckedAt.IsZero() {
			t.Errorf("%s, %s: nobody has taken it on", k.state, k.verb)
		}
	}
}

// only is the incident that is open, if any.
type only struct{ id string }

func (o *only) Match(*fleet.Case) string { return o.id }

// TestAChildOfAnIncidentThatIsOver: that an incident is fixed does not silence what its children say from then on.
func TestAChildOfAnIncidentThatIsOver(t *testing.T) {
	o := &only{"i1"}
	with := func(d *Deps) { d.Incidents = o }
	d := newDesk(t, "e#0 opened due @0", with).until(1).heard("incident")
	o.id = ""
	d.see("e:0#1 updated fault @100").until(101).heard("incident opened")
	// It was over, and is back.
	o.id = "i1"
	d = newDesk(t, "e#0 opened fault @0", with).until(1).see("e:0#1 cleared fault @50").until(51)
	o.id = ""
	d.see("f#0 opened fault @500").until(10 * 24 * hours)
	if got := strings.Join(d.m.said(d.id), " "); !strings.HasSuffix(got, "opened") {
		t.Errorf("the owner heard %q", got)
	}
}

// TestAnAnswerAfterAMerge: what is said of a message reaches the case that took its case in.
func TestAnAnswerAfterAMerge(t *testing.T) {
	b := &booker{}
	d := newDesk(t, "e#0 opened fault @0", func(d *Deps) { d.Booker = b }).until(1).see("heat! h#0 opened fault @5").until(6)
	var other string
	for id := range d.m.cases {
		if id != d.id {
			other = id
		}
	}
	d.must(10, fleet.VerbMerge, func(a *Action) { a.Into = other })
	a := answerOf(d, fleet.VerdictNotNow, 12)
	must(t, d.c.Answer(t.Context(), a))
	if k := d.m.cases[other]; k.Snooze.By == "" {
		t.Errorf("the answer is lost: %+v", k.CaseCare)
	}
}

// TestTheNextOwnerHears: who gets a device with a fault that goes on hears of it.
func TestTheNextOwnerHears(t *testing.T) {
	x := &shelf{OwnerID: "anna"}
	d := newDesk(t, "e#0 opened fault @0", func(d *Deps) { d.Devices = x }).until(1).heard("opened")
	d.see("e:0#1 updated fault @60").until(61).heard("opened")
	x.OwnerID, x.OwnedSince = "bob", at(100)
	d.see("e:0#2 updated fault @200").until(201).heard("opened opened") //nolint:dupword // twice
	d.see("e:0#3 updated fault @300").until(301).heard("opened opened") //nolint:dupword // twice
}

// TestAClosedFalseAlarmThatGetsDangerous: a case that was closed while its condition held is no grave for what becomes of that.
func TestAClosedFalseAlarmThatGetsDangerous(t *testing.T) {
	d := newDesk(t, "e#0 opened due @0", nil).until(1)
	d.must(10, fleet.VerbResolve, func(a *Action) { a.Outcome = fleet.OutcomeFalseAlarm })
	d.must(11, fleet.VerbClose, nil)
	d.see("e:0#1 updated danger @500").until(600)
	said := 0
	for id := range d.m.cases {
		said += len(d.m.said(id))
	}
	if said < 2 {
		t.Error("nobody hears of the danger")
	}
}

// TestAVisitThatDoesNotHelp: what an owner asks for is not refused because nobody is sent now; agents see it.
func TestAVisitThatDoesNotHelp(t *testing.T) {
	b := &booker{err: fleet.Errorf(fleet.CodeConflict, "it belongs to an incident")}
	d := newDesk(t, "e#0 opened fault @0", func(d *Deps) { d.Booker = b }).until(1)
	must(t, d.c.Answer(t.Context(), answerOf(d, fleet.VerdictBook, 10)))
	if k := d.now(); k.WaitingFor != fleet.WaitPartner || !strings.Contains(strings.Join(d.m.notified(), " "), "visit_wanted") {
		t.Errorf("%+v, %v", k.CaseCare, d.m.notified())
	}
}
