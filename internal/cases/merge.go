package cases

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// merge ends a case as a duplicate of another one of the same device, which takes its episodes and what comes of its problem from
// then on, as long as it is not closed. Both are written or none.
func (c *Cases) merge(ctx context.Context, a Action) error {
	return c.deciding(ctx, func() ([]fleet.Change, bool, error) {
		from, err := c.store.Case(ctx, a.Tenant, a.CaseID)
		if err != nil {
			return nil, false, err
		}
		into, err := c.store.Case(ctx, a.Tenant, a.Into)
		if err != nil {
			return nil, false, err
		}
		if from.MergedInto == into.ID {
			return nil, false, nil
		}
		to, err := Next(from.State, fleet.VerbMerge, a.Actor)
		switch {
		case err != nil:
			return nil, false, err
		case from.ID == into.ID || from.Device != into.Device:
			return nil, false, fleet.Errorf(fleet.CodeInvalid, "case %q cannot be merged into %q: want another case of the same device", from.ID, into.ID)
		case !into.State.Open():
			return nil, false, fleet.Errorf(fleet.CodeConflict, "case %q is %s: want one that is open", into.ID, said(into.State))
		}
		gone, stays := c.edit(from, a.Actor, a.At), c.edit(into, a.Actor, a.At)
		stays.takeIn(from, a.Note)
		gone.c.State, gone.c.Outcome, gone.c.MergedInto, gone.c.ClosedAt = to, fleet.OutcomeDuplicate, into.ID, a.At
		gone.c.WaitingFor, gone.c.CloseAt, gone.c.CheckAt = "", time.Time{}, time.Time{}
		gone.recall("the case was merged into another one", fleet.EventOpened, fleet.EventEscalated, fleet.EventReminder, fleet.EventWarranty, fleet.EventCleared)
		gone.count("outcome:" + string(fleet.OutcomeDuplicate))
		gone.audit("merged", withNote("into "+into.ID, a.Note))
		return []fleet.Change{gone.close(), stays.close()}, true, nil
	})
}

// takeIn adds the episodes of another case. If what it tells its owner is worse by them, or the first thing at all, that is told.
func (e *edit) takeIn(from *fleet.Case, note string) {
	for _, x := range from.Episodes {
		if episodeOf(&e.c, x.FindingID) >= 0 {
			continue
		}
		if x.Problem == "" && from.Problem != e.c.Problem {
			x.Problem = from.Problem
		}
		e.c.Episodes = append(e.c.Episodes, x)
	}
	slices.SortStableFunc(e.c.Episodes, func(a, b fleet.Episode) int { return a.OpenedAt.Compare(b.OpenedAt) })
	e.c.Count += from.Count
	e.c.Live = e.c.Live || from.Live
	e.c.SeenUntil = later(e.c.SeenUntil, from.SeenUntil)
	maps.DeleteFunc(e.c.SplitOff, func(_, id string) bool { return id == from.ID })
	e.speakOr(len(e.c.Episodes) - 1)
	e.forget()
	e.tellOpen(e.c.Live, e.now, e.now, e.cause())
	e.audit("took_in", withNote(from.ID+", "+said(from.Problem), note))
}

// split takes the episodes of one rule out into a case of their own. What that rule finds later goes there, as long as it is not
// closed.
func (c *Cases) split(ctx context.Context, a Action) error {
	return c.deciding(ctx, func() ([]fleet.Change, bool, error) {
		k, err := c.store.Case(ctx, a.Tenant, a.CaseID)
		if err != nil {
			return nil, false, err
		}
		if _, err := Next(k.State, fleet.VerbSplit, a.Actor); err != nil {
			return nil, false, err
		}
		e := c.edit(k, a.Actor, a.At)
		part, err := e.splitOff(a)
		if err != nil {
			return nil, false, err
		}
		return []fleet.Change{part.close(), e.close()}, true, nil
	})
}

// splitOff returns the new case.
func (e *edit) splitOff(a Action) (*edit, error) {
	k := &e.c
	var theirs, ours []fleet.Episode
	for _, x := range k.Episodes {
		if x.Rule == a.Rule {
			theirs = append(theirs, x)
		} else {
			ours = append(ours, x)
		}
	}
	if len(theirs) == 0 || len(ours) == 0 {
		return nil, fleet.Errorf(fleet.CodeInvalid, "rule %q cannot be split off: it has %d of the %d episodes that are kept", a.Rule, len(theirs), len(k.Episodes))
	}
	problem := theirs[0].Problem // it was merged: that is undone
	if problem == "" || problem == k.Problem {
		problem = a.Rule
	}
	if problem == k.Problem {
		problem += "-2"
	}
	p := &edit{cfg: e.cfg, now: e.now, actor: e.actor, c: *k}
	n := &p.c
	n.ID = fleet.ID("case", k.Device.Tenant, k.Device.Serial, problem, "split", k.ID, fmt.Sprint(k.Version))
	n.Problem, n.Episodes, n.Count, n.OpenedAt, n.SplitOff = problem, theirs, len(theirs), theirs[0].OpenedAt, nil
	for i := range n.Episodes {
		if n.Episodes[i].Problem = originOf(&n.Episodes[i], k.Problem); n.Episodes[i].Problem == problem {
			n.Episodes[i].Problem = ""
		}
	}
	n.CaseCare = fleet.CaseCare{Snooze: k.Snooze}
	n.State = fleet.CaseNew
	if k.Assignee != "" {
		n.State = fleet.CaseAcked
	}
	p.audit(actOpened, withNote("split off from "+k.ID, a.Note))
	p.speakOr(len(theirs) - 1)
	p.emptied()

	k.Episodes, k.Count = ours, max(k.Count-len(theirs), len(ours))
	if k.SplitOff == nil {
		k.SplitOff = map[string]string{}
	}
	k.SplitOff[a.Rule] = n.ID
	e.speakOr(len(ours) - 1)
	e.emptied()
	e.audit("split", withNote(a.Rule+" into "+n.ID, a.Note))
	return p, nil
}

func originOf(x *fleet.Episode, problem string) string {
	if x.Problem != "" {
		return x.Problem
	}
	return problem
}

// emptied resolves a case that nobody has and of which no condition holds after a split: no record will come that says so.
func (e *edit) emptied() {
	if open(&e.c) > 0 {
		return
	}
	state, err := Next(e.c.State, verbClear, actorRules)
	if err != nil || state.Open() {
		return
	}
	e.c.State, e.c.Outcome, e.c.ClosedAt = state, fleet.OutcomeCleared, e.now
	e.c.CloseAt = e.now.Add(e.cfg.ReopenWithin)
	e.tellEnd(e.now, e.cause())
}
