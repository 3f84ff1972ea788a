package cases

import (
	"context"
	"fmt"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// What becomes of a work order comes to its case by errands of dispatch, which may come again and late: a version of the order that
// the case has heard of, or left behind, changes nothing.

// Ordered notes an order that was offered, agreed or moved: the case waits for its partner, whom it remembers. CodeNotFound: there is
// no such case.
func (c *Cases) Ordered(ctx context.Context, o fleet.Order, why string, at time.Time) error {
	return c.visit(ctx, o, at, func(e *edit) error {
		if e.c.State.Open() {
			e.ordered(&o)
		}
		e.audit("ordered", withNote(o.ID, why))
		return nil
	})
}

// Unserved gives a case back to its agents: nobody comes. They are told, unless one of them called the visit off or it is known why no
// visit helps.
func (c *Cases) Unserved(ctx context.Context, o fleet.Order, why string, at time.Time) error {
	return c.visit(ctx, o, at, func(e *edit) error {
		k := &e.c
		e.audit("unserved", withNote(o.ID, why))
		if !k.State.Open() {
			return nil
		}
		if k.State == fleet.CaseWaiting && k.WaitingFor == fleet.WaitPartner {
			k.State, k.WaitingFor = fleet.CaseInProgress, ""
		}
		byThem := o.State == fleet.OrderCancelled && strings.HasPrefix(o.By, byAgent+":")
		if !byThem && k.IncidentID == "" {
			e.tellAgents("visit_unserved", "warning", k.Assignee, e.headline(), why)
		}
		return nil
	})
}

// Reported resolves a case with what its partner did, which begins the proof of the fix. A case that is over already notes it.
func (c *Cases) Reported(ctx context.Context, o fleet.Order, at time.Time) error {
	return c.visit(ctx, o, at, func(e *edit) error {
		if !e.c.State.Open() {
			e.audit("reported", withNote(o.ID+" "+said(o.Outcome), withNote(o.FixPart, o.FixCause)))
			return nil
		}
		return e.do(Action{Do: fleet.VerbResolve, Actor: e.actor, Outcome: o.Outcome, Cause: o.FixCause, Part: o.FixPart, Note: o.Note, At: at})
	})
}

// visit changes the case of an order, if it has not heard of this version yet.
func (c *Cases) visit(ctx context.Context, o fleet.Order, at time.Time, do func(*edit) error) error {
	return c.act(ctx, Action{Tenant: o.Tenant, CaseID: o.CaseID, Actor: visitor(&o), At: at}, func(e *edit) error {
		if e.heardOf(&o) {
			return nil
		}
		e.c.OrderID, e.c.PartnerID, e.c.OrderSeen = o.ID, o.PartnerID, o.Version
		return do(e)
	})
}

// heardOf says whether the case has heard of the order as it is.
func (e *edit) heardOf(o *fleet.Order) bool { return e.c.OrderID == o.ID && e.c.OrderSeen >= o.Version }

// visitor is who brought the order to where it is.
func visitor(o *fleet.Order) string {
	if o.State == fleet.OrderOffered || o.State == fleet.OrderCancelled {
		return o.By
	}
	return byPartner + ":" + o.PartnerID
}

func (e *edit) ordered(o *fleet.Order) {
	e.c.State, e.c.WaitingFor = fleet.CaseWaiting, fleet.WaitPartner
	e.c.OrderID, e.c.PartnerID, e.c.OrderSeen = o.ID, o.PartnerID, o.Version
	e.taken()
}

// callOff asks for an end of the order of a case that is over: nobody is to come for nothing. One that is done is left alone.
func (e *edit) callOff() {
	if e.c.OrderID == "" || !e.before.State.Open() || e.c.State.Open() {
		return
	}
	e.outbox = append(e.outbox, fleet.OutboxRow{ID: fleet.ID("ern", e.c.OrderID, fleet.ErrandOver, fmt.Sprint(e.c.Version)), Kind: fleet.OutboxErrand,
		Tenant: e.c.Device.Tenant, CaseID: e.c.ID, Topic: fleet.ErrandOver, Ref: e.c.OrderID, DueAt: e.now})
}
