package cases

import (
	"context"
	"fmt"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

const (
	maxNote = 4000 // bytes of what a person writes
	maxWord = 200  // bytes of a cause, a part or a name
)

// Action is what a person does to a case.
type Action = fleet.CaseAct

// Do does one thing to a case: once, however many do it at the same time. What the table of transitions refuses is CodeConflict,
// what is written wrongly CodeInvalid, both with a sentence. Doing again what is so already does nothing.
func (c *Cases) Do(ctx context.Context, a Action) error {
	if err := c.check(a); err != nil {
		return err
	}
	switch a.Do {
	case fleet.VerbMerge:
		return c.merge(ctx, a)
	case fleet.VerbSplit:
		return c.split(ctx, a)
	case fleet.VerbMaintain:
		return c.maintain(ctx, a)
	case fleet.VerbSnooze, fleet.VerbUnsnooze:
		if a.Device {
			return c.wholeDevice(ctx, a)
		}
	}
	return c.act(ctx, a, func(e *edit) error { return e.do(a) })
}

// Acknowledge takes a case on: its actor becomes the assignee, who may change.
func (c *Cases) Acknowledge(ctx context.Context, a Action) error {
	a.Do = fleet.VerbTake
	return c.Do(ctx, a)
}

// Resolve ends a case with an outcome. If its conditions are over, the owner who was told of the problem hears the all-clear. If
// one still holds, the owner does not; see the package's description for what opens it again.
func (c *Cases) Resolve(ctx context.Context, a Action, outcome fleet.Outcome) error {
	a.Do, a.Outcome = fleet.VerbResolve, outcome
	return c.Do(ctx, a)
}

// Comment adds a line to a case's history, also to one's that is over.
func (c *Cases) Comment(ctx context.Context, a Action) error {
	a.Do = fleet.VerbComment
	return c.Do(ctx, a)
}

func (c *Cases) check(a Action) error {
	if a.Actor == "" || len(a.Note) > maxNote || len(a.Cause) > maxWord || len(a.Part) > maxWord || len(a.To) > maxWord {
		return fleet.Errorf(fleet.CodeInvalid, "case %q: actor %q, a note of %d bytes: want an actor, at most %d bytes of note and %d of cause, part and name",
			a.CaseID, a.Actor, len(a.Note), maxNote, maxWord)
	}
	return nil
}

// act loads the case, lets do change it, and commits, again when somebody else was first. There is nothing to write when do says
// nothing for the history.
func (c *Cases) act(ctx context.Context, a Action, do func(*edit) error) error {
	return c.deciding(ctx, func() ([]fleet.Change, bool, error) {
		k, err := c.store.Case(ctx, a.Tenant, a.CaseID)
		if err != nil {
			return nil, false, err
		}
		e := c.edit(k, a.Actor, a.At)
		if err := do(e); err != nil || len(e.audited) == 0 {
			return nil, false, err
		}
		return []fleet.Change{e.close()}, true, nil
	})
}

// close is finish for what people do.
func (e *edit) close() fleet.Change {
	e.c.UpdatedAt = later(e.c.UpdatedAt, e.now)
	return e.finish(e.now, e.audited[len(e.audited)-1].Action, fmt.Sprint("version ", e.before.Version+1))
}

// do is one action on one case.
func (e *edit) do(a Action) error {
	to, err := Next(e.c.State, a.Do, a.Actor)
	if err != nil {
		return err
	}
	switch a.Do {
	case fleet.VerbAssign:
		return e.assign(a)
	case fleet.VerbTake:
		if e.c.Assignee == a.Actor && to == e.c.State {
			return nil
		}
		e.c.Assignee, e.c.State = a.Actor, to
		e.taken()
		e.audit(actAcked, a.Note)
	case fleet.VerbStart:
		if e.c.State == to {
			return nil
		}
		e.c.State, e.c.WaitingFor = to, ""
		if e.c.Assignee == "" && strings.HasPrefix(a.Actor, byAgent+":") {
			e.c.Assignee = a.Actor
		}
		e.taken()
		e.audit("started", a.Note)
	case fleet.VerbWait:
		return e.wait(a, to)
	case fleet.VerbResume:
		e.c.State, e.c.WaitingFor = to, ""
		e.audit("resumed", a.Note)
	case fleet.VerbComment:
		if strings.TrimSpace(a.Note) == "" {
			return fleet.Errorf(fleet.CodeInvalid, "a comment without words")
		}
		e.audit(actComment, a.Note)
	case fleet.VerbAttach:
		return e.attach(a)
	case fleet.VerbSnooze:
		return e.snooze(a)
	case fleet.VerbUnsnooze:
		e.unsnooze(a.Note)
	case fleet.VerbResolve:
		return e.resolve(a, to)
	case fleet.VerbClose:
		return e.shut(a, to)
	case fleet.VerbReopen:
		if e.c.MergedInto != "" {
			return fleet.Errorf(fleet.CodeConflict, "the case was merged into %q: split its rule off there", e.c.MergedInto)
		}
		e.comeBack(fleet.VerbReopen, a.At)
		e.audit(actReopened, a.Note)
	}
	return nil
}

// taken stops the clock of what is promised first.
func (e *edit) taken() {
	if e.c.AckedAt.IsZero() {
		e.c.AckedAt = e.now
	}
}

func (e *edit) assign(a Action) error {
	if a.To != "" && (!strings.HasPrefix(a.To, byAgent+":") || len(a.To) == len(byAgent)+1) {
		return fleet.Errorf(fleet.CodeInvalid, "%q cannot have a case: want \"agent:<name>\", or nothing for nobody", a.To)
	}
	if e.c.Assignee == a.To {
		return nil
	}
	e.c.Assignee = a.To
	to := a.To
	if to == "" {
		to = "nobody"
	}
	e.audit("assigned", withNote("to "+to, a.Note))
	return nil
}

func (e *edit) wait(a Action, to fleet.CaseState) error {
	switch a.WaitFor {
	case fleet.WaitOwner, fleet.WaitPartner, fleet.WaitPart:
	default:
		return fleet.Errorf(fleet.CodeInvalid, "a case cannot wait for %q: want owner, partner or part", a.WaitFor)
	}
	if e.c.State == to && e.c.WaitingFor == a.WaitFor {
		return nil
	}
	e.c.State, e.c.WaitingFor = to, a.WaitFor
	e.taken()
	e.audit("waiting", withNote("for the "+a.WaitFor, a.Note))
	return nil
}

func (e *edit) snooze(a Action) error {
	switch {
	case a.Until.IsZero() && !a.Worse:
		return fleet.Errorf(fleet.CodeInvalid, "a snooze without an end: say until when, or until the case gets worse")
	case !a.Until.IsZero() && !a.Until.After(a.At):
		return fleet.Errorf(fleet.CodeInvalid, "a snooze until %s would be over already", a.Until.Format(time.RFC3339))
	}
	until := "until it gets worse"
	if !a.Until.IsZero() {
		until = "until " + a.Until.UTC().Format("2006-01-02 15:04 UTC")
		if a.Worse {
			until += " or until it gets worse"
		}
	}
	if a.Device {
		until = "the whole device " + until
	}
	e.c.Snooze = fleet.Snooze{Until: a.Until.Truncate(time.Millisecond), Worse: a.Worse, Severity: e.c.Severity, By: a.Actor, Device: a.Device}
	e.audit("snoozed", withNote(until, a.Note))
	return nil
}

// unsnooze ends a snooze, and tells what was kept back if it still holds.
func (e *edit) unsnooze(note string) {
	if e.c.Snooze.By == "" {
		return
	}
	e.c.Snooze = fleet.Snooze{}
	e.tellOpen(e.c.Live, e.now, e.now, e.cause())
	e.audit(string(fleet.VerbUnsnooze), note)
}

func withNote(detail, note string) string {
	if note == "" {
		return detail
	}
	return detail + ": " + note
}

// wholeDevice snoozes every open case of the case's device, or ends that; what opens meanwhile is quiet too.
func (c *Cases) wholeDevice(ctx context.Context, a Action) error {
	k, err := c.store.Case(ctx, a.Tenant, a.CaseID)
	if err != nil {
		return err
	}
	if err := c.act(ctx, a, func(e *edit) error { return e.do(a) }); err != nil {
		return err
	}
	all, err := c.store.Cases(ctx, fleet.CaseFilter{Tenant: a.Tenant, Device: k.Device.Serial, ByTime: true})
	if err != nil {
		return err
	}
	for i := range all {
		other := a
		if other.CaseID = all[i].ID; other.CaseID == a.CaseID || a.Do == fleet.VerbSnooze && !all[i].State.Open() || a.Do == fleet.VerbUnsnooze && !all[i].Snooze.Device {
			continue
		}
		err := c.act(ctx, other, func(e *edit) error {
			switch {
			case !e.c.State.Open() && a.Do == fleet.VerbUnsnooze: // one that is over keeps the whole device quiet still
				e.c.Snooze = fleet.Snooze{}
				e.audit(string(fleet.VerbUnsnooze), a.Note)
				return nil
			case !e.c.State.Open():
				return nil
			}
			return e.do(other)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// maintain asks for a maintenance window of the case's device.
func (c *Cases) maintain(ctx context.Context, a Action) error {
	if c.deps.Maintenance == nil {
		return fleet.Errorf(fleet.CodeInvalid, "this server keeps no maintenance windows")
	}
	k, err := c.store.Case(ctx, a.Tenant, a.CaseID)
	if err != nil {
		return err
	}
	if _, err := Next(k.State, a.Do, a.Actor); err != nil {
		return err
	}
	s := fleet.Span{From: a.From, To: a.Until}
	if s.From.IsZero() {
		s.From = a.At
	}
	if !s.To.After(s.From) {
		return fleet.Errorf(fleet.CodeInvalid, "a maintenance window that ends before it begins")
	}
	if err := c.deps.Maintenance.Maintain(ctx, k.Device, s, a.Actor); err != nil {
		return err
	}
	return c.act(ctx, a, func(e *edit) error {
		e.audit(string(fleet.VerbMaintain), withNote(fmt.Sprintf("from %s until %s", s.From.UTC().Format("2006-01-02 15:04 UTC"),
			s.To.UTC().Format("2006-01-02 15:04 UTC")), a.Note))
		return nil
	})
}

// Result is what became of one case of several.
type Result struct {
	CaseID string
	Err    error
}

// MaxBulk is how many cases DoAll takes.
const MaxBulk = 500

// DoAll does the same to several cases, one after the other, and says for each how it went. One that fails stops no other.
func (c *Cases) DoAll(ctx context.Context, a Action, ids []string) ([]Result, error) {
	if len(ids) == 0 || len(ids) > MaxBulk {
		return nil, fleet.Errorf(fleet.CodeInvalid, "%d cases at once: want 1 to %d", len(ids), MaxBulk)
	}
	out := make([]Result, 0, len(ids))
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		a.CaseID = id
		out = append(out, Result{id, c.Do(ctx, a)})
	}
	return out, nil
}
