package cases

import (
	"context"
	"slices"

	"aftercare/internal/fleet"
)

// Answer is what an owner says of a message, by one of its buttons: it goes to the case and to the record of the rule that spoke,
// once for each message, person and verdict. A case that is over only notes it. CodeInvalid: it is no answer; CodeNotFound: there
// is no such case. To ask again after an error is safe.
func (c *Cases) Answer(ctx context.Context, a fleet.Answer) error {
	if !slices.Contains(fleet.Verdicts(), a.Verdict) || a.MessageID == "" || a.PersonID == "" || len(a.Note) > maxNote {
		return fleet.Errorf(fleet.CodeInvalid, "verdict %.40q of person %q on message %q, a note of %d bytes: want one of %v and at most %d bytes",
			a.Verdict, a.PersonID, a.MessageID, len(a.Note), fleet.Verdicts(), maxNote)
	}
	k, err := c.standsFor(ctx, a.Tenant, a.CaseID)
	if err != nil {
		return err
	}
	if before, err := c.store.Answered(ctx, a); err != nil || before {
		return err
	}
	order, err := c.beyond(ctx, k, a)
	if err != nil {
		return err
	}
	a.CaseID = k.ID
	return c.deciding(ctx, func() ([]fleet.Change, bool, error) {
		k, err := c.store.Case(ctx, a.Tenant, a.CaseID)
		if err != nil {
			return nil, false, err
		}
		if before, err := c.store.Answered(ctx, a); err != nil || before {
			return nil, false, err
		}
		e := c.edit(k, byOwner+":"+a.PersonID, a.At)
		if a.Rule == "" {
			a.Rule, a.RuleHash = k.Rule, hashOf(k)
		}
		e.answers = []fleet.Answer{a}
		if a.Rule != "" {
			e.record = []fleet.RuleRecord{{Tenant: a.Tenant, Rule: a.Rule, RuleHash: a.RuleHash, What: string(a.Verdict), N: 1}}
		}
		if err := e.answer(a, order); err != nil {
			return nil, false, err
		}
		return []fleet.Change{e.close()}, true, nil
	})
}

// standsFor is the case, or the one that took it in.
func (c *Cases) standsFor(ctx context.Context, tenant, id string) (k *fleet.Case, err error) {
	for range maxHops {
		if k, err = c.store.Case(ctx, tenant, id); err != nil || k.MergedInto == "" {
			return k, err
		}
		id = k.MergedInto
	}
	return k, nil
}

// beyond does what an answer asks of others. They bear being asked twice for the same message.
func (c *Cases) beyond(ctx context.Context, k *fleet.Case, a fleet.Answer) (*fleet.Order, error) {
	switch {
	case a.Verdict == fleet.VerdictStop && c.deps.Wishes != nil:
		return nil, c.deps.Wishes.Stop(ctx, a)
	case a.Verdict == fleet.VerdictBook && c.deps.Booker != nil && k.State.Open():
		o, err := c.deps.Booker.Book(ctx, k, a)
		switch fleet.CodeOf(err) {
		case fleet.CodeNotFound, fleet.CodeConflict: // nobody to send, or a visit does not help now: agents see to the wish
			return nil, nil //nolint:nilnil // "none" is an answer here
		}
		return &o, err
	}
	return nil, nil //nolint:nilnil // most answers ask nothing of others
}

// answer is what an owner's verdict does to the case.
func (e *edit) answer(a fleet.Answer, order *fleet.Order) error {
	k := &e.c
	if !k.State.Open() {
		e.audit(actAnswered, withNote(said(a.Verdict)+"; the case is "+said(k.State), a.Note))
		return nil
	}
	switch a.Verdict {
	case fleet.VerdictFixed:
		to, err := Next(k.State, fleet.VerbResolve, e.actor)
		if err != nil {
			return err
		}
		k.FixCause = cut(a.Note)
		e.over(to, fleet.OutcomeOwnerFixed)
	case fleet.VerdictNotTrue: // quiet for the owner; agents see it, and the rule's record too
		k.Snooze = fleet.Snooze{Worse: true, Severity: k.Severity, By: e.actor}
		e.tellAgents("not_true", "info", k.Assignee, e.headline(), withNote("the owner says that it is not true", a.Note))
	case fleet.VerdictBook:
		e.book(order, a.Note)
	case fleet.VerdictOrder:
		k.State, k.WaitingFor = fleet.CaseWaiting, fleet.WaitPart
		e.tellAgents("part_wanted", "warning", k.Assignee, e.headline(), withNote("the owner wants the part", a.Note))
	case fleet.VerdictNotNow:
		until := e.now.Add(e.cfg.NotNow)
		k.Snooze = fleet.Snooze{Until: until, Worse: true, Severity: k.Severity, By: e.actor}
		e.message(fleet.EventReminder, "message "+a.MessageID, until, e.now).PersonID = a.PersonID
	}
	e.audit(actAnswered, withNote(said(a.Verdict), a.Note))
	return nil
}

func (e *edit) book(order *fleet.Order, note string) {
	if order == nil {
		e.c.State, e.c.WaitingFor = fleet.CaseWaiting, fleet.WaitPartner
		e.tellAgents("visit_wanted", "warning", e.c.Assignee, e.headline(), withNote("the owner wants a visit", note))
		return
	}
	if e.heardOf(order) {
		return
	}
	e.ordered(order)
	e.audit("ordered", order.ID)
}
