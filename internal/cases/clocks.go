package cases

import (
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// The clocks of a case are times in its CaseCare: until when it is to be taken on and resolved, since when the escalation counts,
// until when it is snoozed, when it is looked at again and when it is closed. A change of a case whose next such time is another
// one writes a timer for it; when that fires, tick does whatever is due then. A timer that is no longer true finds nothing to do.

// runClocks starts, hurries, stops and restarts the clocks after a change. They run while somebody has to do something: not for a
// symptom, not while the case is snoozed or waits for the owner, not before the device has caught up with the present.
func (e *edit) runClocks() {
	k, was := &e.c, &e.before
	if !k.State.Open() || !k.Live {
		k.PausedAt = time.Time{}
		return
	}
	now := e.now.Truncate(time.Millisecond) // as timers are stored
	promise, promised := e.cfg.promise(k.Severity)
	switch {
	case was.Version == 0 || !was.State.Open() || !was.Live:
		k.ClockFrom, k.AckedAt, k.AckBy, k.ResolveBy, k.PausedAt = now, time.Time{}, time.Time{}, time.Time{}, time.Time{}
		k.Escalated, k.ClockSeen, k.AckLate, k.FixLate = 0, time.Time{}, false, false
	case k.ClockFrom.IsZero(): // it was opened by a version that had no clocks
		k.ClockFrom = now
		if slices.Contains(taken, k.State) {
			e.taken()
		}
	case k.Severity > was.Severity && k.PausedAt.IsZero():
		k.ClockFrom, k.ClockSeen = now, time.Time{}
	default:
		promised = false
	}
	if promised {
		k.AckBy, k.ResolveBy = sooner(k.AckBy, now, promise.Acknowledge), sooner(k.ResolveBy, now, promise.Resolve)
	}
	switch stopped := stopped(k, e.now); {
	case stopped && k.PausedAt.IsZero():
		k.PausedAt = now
	case !stopped && !k.PausedAt.IsZero():
		for _, t := range []*time.Time{&k.ClockFrom, &k.ClockSeen, &k.AckBy, &k.ResolveBy} {
			if !t.IsZero() {
				*t = t.Add(now.Sub(k.PausedAt))
			}
		}
		k.PausedAt = time.Time{}
	}
}

func stopped(k *fleet.Case, now time.Time) bool {
	return k.State == fleet.CaseWaiting && k.WaitingFor == fleet.WaitOwner || k.CauseRule != "" || k.Snooze.Holds(now, k.Severity)
}

// sooner is the earlier of a time and d from now; zero stands for never.
func sooner(t, now time.Time, d time.Duration) time.Time {
	if at := now.Add(d); d > 0 && (t.IsZero() || at.Before(t)) {
		return at
	}
	return t
}

func (c Config) promise(s fleet.Severity) (Promise, bool) {
	for _, p := range c.SLA {
		if p.Severity == s {
			return p, true
		}
	}
	return Promise{}, false
}

// steps are those of the escalation that a case takes next, at the same time, and when; none: zero.
func (c Config) steps(k *fleet.Case) (next []Step, at time.Time) {
	for _, s := range c.Escalation {
		if k.Severity < s.Severity || !s.Resolved && !k.AckedAt.IsZero() {
			continue
		}
		t := k.ClockFrom.Add(s.After)
		if !t.After(k.ClockSeen) {
			if s.Repeat == 0 {
				continue
			}
			t = k.ClockSeen.Add(s.Repeat - k.ClockSeen.Sub(t)%s.Repeat)
		}
		switch {
		case at.IsZero() || t.Before(at):
			next, at = append(next[:0:0], s), t
		case t.Equal(at):
			next = append(next, s)
		}
	}
	return next, at
}

// wake is when a case's clocks have something to do next; zero: never.
func (c Config) wake(k *fleet.Case) (next time.Time) {
	at := func(t time.Time, counts bool) {
		if counts && !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if !k.State.Open() {
		at(k.CheckAt, open(k) > 0 && k.State != fleet.CaseClosed)
		at(k.CloseAt, open(k) == 0 && k.State == fleet.CaseResolved)
		return next.Truncate(time.Millisecond)
	}
	at(k.Snooze.Until, k.Snooze.By != "")
	if k.Live && k.PausedAt.IsZero() {
		at(k.AckBy, k.AckedAt.IsZero() && !k.AckLate)
		at(k.ResolveBy, !k.FixLate)
		_, t := c.steps(k)
		at(t, true)
	}
	return next.Truncate(time.Millisecond)
}

// tick does what is due for a case at e.now, and says whether that was anything. heard is when something last came from its device;
// zero: not known.
func (e *edit) tick(heard time.Time) bool {
	if e.c.State.Open() {
		return e.tickOpen()
	}
	k := &e.c
	switch {
	case open(k) > 0 && k.State != fleet.CaseClosed && due(k.CheckAt, e.now):
		e.look(heard)
	case open(k) == 0 && k.State == fleet.CaseResolved && due(k.CloseAt, e.now):
		k.State = fleet.CaseClosed // CloseAt stays: it says that it was the clock
		e.audit(actClosed, "it did not come back")
	}
	return len(e.audited) > 0 || !e.c.CheckAt.Equal(e.before.CheckAt)
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// look asks whether a condition that held when its case was resolved still does. Rules say when one ends, so it does as long as
// they have said nothing; but silence is not health, and no illness either: the device has to have been heard for a while.
func (e *edit) look(heard time.Time) {
	k := &e.c
	if !heard.IsZero() && heard.Sub(k.ClosedAt) < e.cfg.StillAfter {
		k.CheckAt = e.now.Add(max(e.cfg.StillAfter/4, e.now.Sub(k.ClosedAt)/2))
		if e.now.Sub(k.ClosedAt) > e.cfg.ReopenFixedWithin {
			k.CheckAt = time.Time{}
		}
		return
	}
	was := k.Outcome
	e.comeBack(fleet.VerbReopen, e.now)
	e.audit(actReopened, fmt.Sprintf("%s still holds %s after it was said to be %s", k.Rule, short(e.now.Sub(e.before.ClosedAt).Round(time.Hour)), said(was)))
	e.tellOpen(true, e.now, e.now, e.cause())
}

func (e *edit) tickOpen() bool {
	k := &e.c
	if k.Snooze.By != "" && due(k.Snooze.Until, e.now) {
		k.Snooze = fleet.Snooze{}
		detail := "its time is over"
		if why := e.tellOpen(k.Live, e.now, e.now, e.cause()); why != "" {
			detail += "; " + why
		}
		e.audit(string(fleet.VerbUnsnooze), detail)
		return true // the clocks run on from here; what they bring is due later
	}
	if !k.PausedAt.IsZero() || !k.Live {
		return false
	}
	if k.AckedAt.IsZero() && !k.AckLate && due(k.AckBy, e.now) {
		k.AckLate = true
		e.late("nobody has taken it on", k.AckBy)
	}
	if !k.FixLate && due(k.ResolveBy, e.now) {
		k.FixLate = true
		e.late("it is not resolved", k.ResolveBy)
	}
	e.escalate()
	return len(e.audited) > 0
}

func (e *edit) late(what string, by time.Time) {
	detail := fmt.Sprintf("%s; promised until %s", what, by.UTC().Format("2006-01-02 15:04 UTC"))
	e.audit(actLate, detail)
	e.tellAgents("case_late", grave(e.c.Severity), e.c.Assignee, e.headline(), detail)
}

// escalate takes the steps that are due. After a time in which nobody could, because the server was down, what would have been
// repeated is said once.
func (e *edit) escalate() {
	k := &e.c
	what := "nobody has taken it on"
	if !k.AckedAt.IsZero() {
		what = "it is not resolved"
	}
	said := map[string]bool{}
	for {
		steps, at := e.cfg.steps(k)
		if at.IsZero() || e.now.Before(at) {
			break
		}
		k.Escalated, k.ClockSeen = k.Escalated+1, at
		for _, s := range steps {
			if said[s.To] {
				continue
			}
			said[s.To] = true
			detail := fmt.Sprintf("to %s: %s for %s", s.To, what, short(e.now.Sub(k.ClockFrom).Round(time.Minute)))
			e.audit(actReminded, detail)
			e.tellAgents("case_escalated", grave(k.Severity), s.To, e.headline(), detail)
		}
	}
}

// headline is a case in one line for operators.
func (e *edit) headline() string {
	return fmt.Sprintf("%s: %s on %s %s", e.c.Severity, said(e.c.Problem), e.c.Model, e.c.Device.Serial)
}

func grave(s fleet.Severity) string {
	switch {
	case s >= fleet.Danger:
		return "critical"
	case s >= fleet.Due:
		return "warning"
	default:
		return "info"
	}
}
