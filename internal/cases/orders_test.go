package cases

import (
	"strings"
	"testing"

	"aftercare/internal/fleet"
)

// work is an order of a desk's case in a state, each time in its next version.
type work struct {
	*desk
	o fleet.Order
}

func (w *work) is(state fleet.OrderState) fleet.Order {
	w.o.State, w.o.Version = state, w.o.Version+1
	return w.o
}

func TestAWorkOrderOfACase(t *testing.T) {
	d := newDesk(t, "e#0 opened due @0", nil).until(0)
	w := &work{d, fleet.Order{ID: "o1", Tenant: "demo", CaseID: d.id, PartnerID: "p1", By: "owner:anna"}}
	twice := func(do func() error) { t.Helper(); must(t, do()); must(t, do()) } // errands come again
	o := w.is(fleet.OrderOffered)
	twice(func() error { return d.c.Ordered(t.Context(), o, "offered to p1", at(1)) })
	o = w.is(fleet.OrderAccepted)
	twice(func() error { return d.c.Ordered(t.Context(), o, "agreed", at(2)) })
	d.is(fleet.CaseWaiting, "opened"+strings.Repeat(" ordered", 2))
	if k := d.now(); k.WaitingFor != fleet.WaitPartner || k.OrderID != "o1" || k.PartnerID != "p1" {
		t.Errorf("%+v", k.CaseCare)
	}
	w.o.By = "system"
	o = w.is(fleet.OrderCancelled)
	twice(func() error { return d.c.Unserved(t.Context(), o, "no partner is left", at(3)) })
	d.is(fleet.CaseInProgress, "opened"+strings.Repeat(" ordered", 2)+" unserved")
	if n := d.m.notified(); len(n) != 1 {
		t.Errorf("agents were told %v", n)
	}
	w.o = fleet.Order{ID: "o2", Tenant: "demo", CaseID: d.id, PartnerID: "p2", By: "agent:eve"}
	o = w.is(fleet.OrderOffered)
	must(t, d.c.Ordered(t.Context(), o, "offered to p2", at(4)))
	d.see("e:0#1 cleared due @5")
	w.o.Outcome, w.o.FixPart = fleet.OutcomePart, "pump"
	o = w.is(fleet.OrderDone)
	twice(func() error { return d.c.Reported(t.Context(), o, at(6)) })
	if k := d.now(); k.State != fleet.CaseResolved || k.Outcome != fleet.OutcomePart || k.PartnerID != "p2" || k.FixPart != "pump" {
		t.Errorf("%+v", k)
	}
	d.see("e#0 opened due @500")
	if k := d.now(); k.State != fleet.CaseReopened || k.PartnerID != "p2" {
		t.Errorf("back: %+v", k)
	}
}

// An agent who called the visit off, or an incident that makes it useless, is no news to agents.
func TestAgentsHearOfNoVisitOnce(t *testing.T) {
	d := newDesk(t, "e#0 opened due @0", nil).until(0)
	o := fleet.Order{ID: "o1", Tenant: "demo", CaseID: d.id, PartnerID: "p1", By: "agent:eve", State: fleet.OrderCancelled, Version: 2}
	must(t, d.c.Unserved(t.Context(), o, "called off", at(1)))
	must(t, d.c.Adopt(t.Context(), "demo", d.id, "i1", actorIncidents, "", at(2)))
	o.By, o.Version = "system", 3
	must(t, d.c.Unserved(t.Context(), o, "known fault", at(3)))
	if n := d.m.notified(); len(n) != 0 {
		t.Errorf("agents were told %v", n)
	}
}

// Who ends a case calls off the visit: nobody comes for nothing. A case that was over before only notes what comes late.
func TestACaseThatIsOverCallsItsVisitOff(t *testing.T) {
	d := newDesk(t, "e#0 opened due @0", nil).until(0)
	o := fleet.Order{ID: "o1", Tenant: "demo", CaseID: d.id, PartnerID: "p1", By: "owner:anna", State: fleet.OrderOffered, Version: 1}
	must(t, d.c.Ordered(t.Context(), o, "offered", at(1)))
	errands := func() (out []fleet.OutboxRow) {
		for _, r := range d.m.rows {
			if r.Kind == fleet.OutboxErrand {
				out = append(out, r.OutboxRow)
			}
		}
		return out
	}
	if len(errands()) != 0 {
		t.Fatal("called off too early")
	}
	must(t, d.c.Answer(t.Context(), answerOf(d, fleet.VerdictFixed, 2)))
	if got := errands(); len(got) != 1 || got[0].Topic != fleet.ErrandOver || got[0].Ref != "o1" {
		t.Errorf("errands %+v", got)
	}
	o.State, o.Version, o.Outcome = fleet.OrderDone, 2, fleet.OutcomeNoFault
	must(t, d.c.Reported(t.Context(), o, at(3)))
	if k := d.now(); k.State.Open() || k.Outcome != fleet.OutcomeOwnerFixed || len(errands()) != 1 {
		t.Errorf("%+v", k)
	}
}
