package cases

import (
	"context"
	"fmt"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

const maxNote = 4000 // bytes of what a person writes

// Action is what a person does to a case.
type Action struct {
	Tenant string
	CaseID string
	Actor  string // "agent:<name>"
	Note   string // what the person wrote; may be empty but for a comment
	At     time.Time
}

// Acknowledge takes a case on: its actor becomes the assignee, who may change. A resolved case is CodeConflict. It does
// nothing when the actor has the case already.
func (c *Cases) Acknowledge(ctx context.Context, a Action) error {
	return c.act(ctx, a, func(k *fleet.Case) (action, detail string, more []fleet.OutboxRow, err error) {
		if k.State == fleet.CaseResolved {
			return "", "", nil, fleet.Errorf(fleet.CodeConflict, "case %q is resolved already", k.ID)
		}
		if k.State == fleet.CaseAcked && k.Assignee == a.Actor {
			return "", "", nil, nil
		}
		k.State, k.Assignee = fleet.CaseAcked, a.Actor
		return actAcked, a.Note, nil, nil
	})
}

// Resolve ends a case with an outcome ("fixed", "no fault found", ...). If its conditions are over, the owner who was told of
// the problem hears the all-clear. If one still holds, the owner does not; should it show again later, or a new
// episode begin, the same case opens again and the owner is told anew. A resolved case is CodeConflict.
func (c *Cases) Resolve(ctx context.Context, a Action, outcome string) error {
	outcome = strings.TrimSpace(outcome)
	if outcome == "" || outcome == outcomeCleared || len(outcome) > 100 {
		return fleet.Errorf(fleet.CodeInvalid, "outcome %.100q: say in at most 100 characters why the case is closed; %q is for those that end by themselves",
			outcome, outcomeCleared)
	}
	return c.act(ctx, a, func(k *fleet.Case) (action, detail string, more []fleet.OutboxRow, err error) {
		if k.State == fleet.CaseResolved {
			return "", "", nil, fleet.Errorf(fleet.CodeConflict, "case %q is resolved already", k.ID)
		}
		if open(k) == 0 && k.ToldAny && !k.AllClear {
			more = append(more, messageRow(k, topicCleared, fmt.Sprint("version ", k.Version), a.At, a.At))
		}
		k.State, k.Outcome, k.ClosedAt = fleet.CaseResolved, fleet.Outcome(outcome), a.At
		k.Told, k.ToldAny, k.AllClear, k.BackAt = fleet.Info, false, false, time.Time{}
		detail = outcome
		if a.Note != "" {
			detail += ": " + a.Note
		}
		return actResolved, detail, more, nil
	})
}

// Comment adds a line to a case's history, also to a resolved one's.
func (c *Cases) Comment(ctx context.Context, a Action) error {
	if strings.TrimSpace(a.Note) == "" {
		return fleet.Errorf(fleet.CodeInvalid, "a comment without words")
	}
	return c.act(ctx, a, func(*fleet.Case) (action, detail string, more []fleet.OutboxRow, err error) {
		return actComment, a.Note, nil, nil
	})
}

// act loads the case, lets do change it, and commits, again when somebody else was first. do returns no action when there
// is nothing to write.
func (c *Cases) act(ctx context.Context, a Action,
	do func(*fleet.Case) (action, detail string, more []fleet.OutboxRow, err error)) error {
	if a.Actor == "" || len(a.Note) > maxNote {
		return fleet.Errorf(fleet.CodeInvalid, "case %q: actor %q, a note of %d bytes: want an actor and at most %d bytes", a.CaseID, a.Actor, len(a.Note), maxNote)
	}
	return c.deciding(ctx, func() (fleet.Change, bool, error) {
		k, err := c.store.Case(ctx, a.Tenant, a.CaseID)
		if err != nil {
			return fleet.Change{}, false, err
		}
		expected := k.Version
		action, detail, more, err := do(k)
		if err != nil || action == "" {
			return fleet.Change{}, false, err
		}
		k.Version, k.UpdatedAt = expected+1, later(k.UpdatedAt, a.At)
		n := notice(k, action, a.Actor, detail, a.At)
		n.ID = fleet.ID("ntc", k.ID, action, fmt.Sprint("version ", k.Version))
		return fleet.Change{Case: *k, Expected: expected,
			Audit:  []fleet.Audit{{CaseID: k.ID, At: a.At, Actor: a.Actor, Action: action, Detail: detail}},
			Outbox: append(more, recordRow(n, a.At, a.At))}, true, nil
	})
}
