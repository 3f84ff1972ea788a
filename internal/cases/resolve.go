package cases

import (
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// resolve is somebody who says how a case ended.
func (e *edit) resolve(a Action, to fleet.CaseState) error {
	if !slices.Contains(fleet.Outcomes(), a.Outcome) || a.Outcome == fleet.OutcomeDuplicate {
		return fleet.Errorf(fleet.CodeInvalid, "outcome %.100q: want one of %s; a duplicate is merged into the other case", a.Outcome, outcomes())
	}
	cause, part := strings.TrimSpace(a.Cause), strings.TrimSpace(a.Part)
	switch {
	case a.Outcome == fleet.OutcomeRepaired && cause == "":
		cause = strings.TrimSpace(a.Note)
		if cause == "" {
			return fleet.Errorf(fleet.CodeInvalid, "repaired: say what it was, as the cause or in the note")
		}
	case (a.Outcome == fleet.OutcomePart || a.Outcome == fleet.OutcomeUpdated) && part == "":
		part = strings.TrimSpace(a.Note)
		if part == "" {
			return fleet.Errorf(fleet.CodeInvalid, "%s: say which, as the part or in the note", said(a.Outcome))
		}
	}
	e.c.FixCause, e.c.FixPart = cut(cause), cut(part)
	detail := string(a.Outcome)
	for _, s := range []string{cause, part, a.Note} {
		if s = strings.TrimSpace(s); s != "" && !strings.Contains(detail, s) {
			detail = withNote(detail, s)
		}
	}
	e.over(to, a.Outcome)
	e.audit(actResolved, detail)
	return nil
}

// over ends a case by somebody's word.
func (e *edit) over(to fleet.CaseState, o fleet.Outcome) {
	holds := open(&e.c) > 0
	if holds {
		e.recall("the case was resolved before the message left", fleet.EventOpened, fleet.EventEscalated, fleet.EventReminder, fleet.EventWarranty)
	} else {
		e.tellEnd(e.now, e.cause())
	}
	e.soundAllClear()
	k := &e.c
	k.State, k.Outcome, k.ClosedAt, k.WaitingFor = to, o, e.now, ""
	k.CloseAt = e.now.Add(e.cfg.ReopenFixedWithin)
	k.Told, k.ToldAny, k.AllClear, k.BackAt = fleet.Info, false, false, time.Time{}
	if holds && !dismissed(o) {
		k.CheckAt = e.now.Add(e.cfg.StillAfter)
	}
	e.count("outcome:" + string(o))
	e.prove()
}

// soundAllClear tells operators who heard of a case that it is over.
func (e *edit) soundAllClear() {
	if e.c.Escalated == 0 && !e.c.AckLate && !e.c.FixLate {
		return
	}
	e.tellAgents("case_over", "info", "", e.headline(), "the case is resolved")
}

// shut closes a case for good.
func (e *edit) shut(a Action, to fleet.CaseState) error {
	if open(&e.c) > 0 && !dismissed(e.c.Outcome) {
		return fleet.Errorf(fleet.CodeConflict, "its condition still holds: the case is closed when that has ended")
	}
	e.c.State, e.c.CloseAt, e.c.CheckAt = to, time.Time{}, time.Time{}
	e.audit(actClosed, a.Note)
	return nil
}

func outcomes() string {
	var out []string
	for _, o := range fleet.Outcomes() {
		if o != fleet.OutcomeDuplicate {
			out = append(out, string(o))
		}
	}
	return strings.Join(out, ", ")
}

// cut bounds what is kept of a text that came from a note.
func cut(s string) string {
	if len(s) <= maxWord {
		return s
	}
	return strings.ToValidUTF8(s[:maxWord], "")
}
