package cases

import (
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// outcomeCleared is the outcome of a case that ended because its conditions did.
const outcomeCleared = "cleared"

// actorRules is who acts when no person does.
const actorRules = "rules"

// What happens to a case; the words of audit lines and notices.
const (
	actOpened    = "opened"
	actEscalated = "escalated"
	actCleared   = "cleared"
	actReopened  = "reopened"
	actUpdated   = "updated" // goes on, in a way that changes neither state nor severity
	actNoted     = "noted"   // history only: the case is resolved and stays so
	actAcked     = "acknowledged"
	actResolved  = "resolved"
	actComment   = "comment"
)

// decision is one finding meeting one case.
type decision struct {
	cfg     Config
	f       fleet.Finding
	now     time.Time
	before  fleet.Case // zero when the case is new
	isNew   bool
	c       fleet.Case // as it becomes
	ep      int        // index in c.Episodes of the finding's episode
	action  string
	detail  string
	outbox  []fleet.OutboxRow
	audited []fleet.Audit
}

// Decide says what a finding does to the latest case of its device and problem (nil: there is none). now is only when it is
// recorded and from when the message is due; everything else is decided by event time. It returns the change to commit, the
// reason in words, and false when there is nothing to write: a (ID, Revision) that was applied before, or an older one.
// current is not changed. now also counts for one thing: whether a message that was put off has become due meanwhile.
func (c Config) Decide(current *fleet.Case, f fleet.Finding, now time.Time) (fleet.Change, string, bool) {
	// Cases are stored to the millisecond; with anything finer a redelivered finding would look newer than itself.
	f.OpenedAt, f.At = f.OpenedAt.Truncate(time.Millisecond).UTC(), f.At.Truncate(time.Millisecond).UTC()
	d := decision{cfg: c, f: f, now: now}
	if current != nil {
		if reason := applied(current, f); reason != "" {
			return fleet.Change{}, reason, false
		}
		d.before = *current
	}
	if current == nil || d.isNewProblem() {
		d.begin()
	} else {
		d.c = d.before
		d.c.Episodes = slices.Clone(d.before.Episodes)
	}
	d.applyEpisode()
	d.move()
	d.tell()
	d.forget()
	return d.change(), d.action + ": " + d.detail, true
}

// applied returns why a finding has nothing to add to a case, or "".
func applied(c *fleet.Case, f fleet.Finding) string {
	i := episodeOf(c, f.ID)
	switch {
	case i < 0 && !f.OpenedAt.After(c.SeenUntil):
		return "its episode was part of the case's or an earlier case's past"
	case i < 0:
		return ""
	case !c.Episodes[i].ClearedAt.IsZero():
		return "its episode is over"
	case f.Revision <= c.Episodes[i].Revision:
		return fmt.Sprintf("revision %d of the episode was applied before", c.Episodes[i].Revision)
	}
	return ""
}

func episodeOf(c *fleet.Case, findingID string) int {
	return slices.IndexFunc(c.Episodes, func(e fleet.Episode) bool { return e.FindingID == findingID })
}

// isNewProblem says whether the latest case was resolved so long ago that an unknown episode is not the same problem. An
// end whose beginning is not known is history and begins nothing. A case's id is made of its opening time: it has to differ.
func (d *decision) isNewProblem() bool {
	if d.before.State != fleet.CaseResolved || episodeOf(&d.before, d.f.ID) >= 0 || d.f.Phase == fleet.Cleared ||
		!d.f.OpenedAt.After(d.before.OpenedAt) {
		return false
	}
	within := d.cfg.ReopenFixedWithin
	if d.before.Outcome == outcomeCleared {
		within = d.cfg.ReopenWithin
	}
	return d.f.OpenedAt.Sub(d.before.ClosedAt) >= within
}

// begin makes a new case. It remembers how far the earlier one had come, so that what is delivered again is not taken for
// something new, and takes over episodes that never ended: their next records are looked for here.
func (d *decision) begin() {
	f := d.f
	d.c = fleet.Case{ID: fleet.ID("case", f.Device.Tenant, f.Device.Serial, f.Problem, fmt.Sprint(f.OpenedAt.UnixMilli())),
		Device: f.Device, Problem: f.Problem, State: fleet.CaseNew, OpenedAt: f.OpenedAt, SeenUntil: d.before.SeenUntil}
	for _, e := range d.before.Episodes {
		if e.ClearedAt.IsZero() {
			d.c.Episodes = append(d.c.Episodes, e)
		} else {
			d.c.SeenUntil = later(d.c.SeenUntil, e.OpenedAt)
		}
	}
	d.before, d.isNew = fleet.Case{}, true
}

// applyEpisode brings the finding's episode up to date.
func (d *decision) applyEpisode() {
	f := d.f
	d.ep = episodeOf(&d.c, f.ID)
	if d.ep < 0 {
		d.c.Count++
		d.ep = len(d.c.Episodes)
		d.c.Episodes = append(d.c.Episodes, fleet.Episode{FindingID: f.ID, OpenedAt: f.OpenedAt, Evidence: f.Evidence})
	}
	e := &d.c.Episodes[d.ep]
	e.Revision, e.Rule, e.RuleHash, e.Kind, e.Severity = f.Revision, f.Rule, f.Version, f.Kind, f.Severity
	if f.Phase == fleet.Cleared {
		e.ClearedAt = f.At // the evidence stays: it says why the case was opened
	} else if len(f.Evidence) > 0 {
		e.Evidence = f.Evidence
	}
	d.c.Model, d.c.Category = f.Model, f.Category
	d.c.UpdatedAt = later(d.c.UpdatedAt, f.At)
	d.c.Live = d.c.Live || (f.Live && f.Phase != fleet.Cleared)
}

// move decides the state, and names what happens.
func (d *decision) move() {
	switch {
	case d.before.State == fleet.CaseResolved && !d.comesBack():
		d.say(actNoted, "%s, %s; the case stays resolved", d.f.Rule, d.f.Phase)
		return
	case d.before.State == fleet.CaseResolved:
		d.c.State, d.c.Outcome, d.c.ClosedAt = fleet.CaseNew, "", time.Time{}
		if !d.now.Before(d.c.BackAt) { // it was due while all was well, so it was left out
			d.c.BackAt = time.Time{}
		}
		d.speak()
		d.say(actReopened, "%s, %s", d.f.Rule, d.f.Severity)
	case d.f.Phase == fleet.Cleared:
		d.end()
	default:
		d.goOn()
	}
}

// end is a condition that ended in a case that is not resolved.
func (d *decision) end() {
	if d.isNew { // its beginning never arrived, or not before its end
		d.audit(actOpened, fmt.Sprintf("%s, %s; over before it was heard of", d.f.Rule, d.f.Severity))
	}
	d.speak()
	switch {
	case open(&d.c) > 0:
		d.say(actUpdated, "%s is over, %s holds", d.f.Rule, d.c.Rule)
	case d.c.State == fleet.CaseAcked:
		d.say(actCleared, "%s is over; the case stays with %s", d.f.Rule, d.c.Assignee)
	default:
		d.c.State, d.c.Outcome, d.c.ClosedAt = fleet.CaseResolved, outcomeCleared, d.f.At
		d.say(actCleared, "%s is over", d.f.Rule)
	}
}

// goOn is a condition that began or changed in a case that is new or not resolved.
func (d *decision) goOn() {
	wasOpen := open(&d.before)
	d.speak()
	switch {
	case d.isNew:
		d.say(actOpened, "%s, %s", d.f.Rule, d.f.Severity)
	case wasOpen == 0:
		d.say(actReopened, "%s, %s", d.f.Rule, d.f.Severity)
	case d.c.Severity > d.before.Severity:
		d.say(actEscalated, "%s, from %s to %s", d.f.Rule, d.before.Severity, d.c.Severity)
	case d.f.Live && !d.before.Live:
		d.say(actUpdated, "%s, %s; the device has caught up", d.f.Rule, d.f.Severity)
	default:
		d.say(actUpdated, "%s, %s", d.f.Rule, d.f.Severity)
	}
}

// comesBack says whether the finding opens a resolved case again. What is older than the end does not: it was uploaded late
// and is history. An episode that was open when an agent resolved the case reopens it only when it is still there later.
func (d *decision) comesBack() bool {
	f, was := d.f, &d.before
	if f.Phase == fleet.Cleared || d.explained() {
		return false
	}
	if i := episodeOf(was, f.ID); i >= 0 {
		return f.Live && f.At.After(was.ClosedAt) && f.Severity >= was.Episodes[i].Severity
	}
	if was.Outcome != outcomeCleared {
		return !f.At.Before(was.ClosedAt) || (f.Live && f.Severity > was.Severity)
	}
	// Of a problem that several rules watch, one rule's end says nothing about another's condition: late is what the same
	// rule has contradicted since.
	return !slices.ContainsFunc(was.Episodes, func(e fleet.Episode) bool {
		return e.Rule == f.Rule && e.ClearedAt.After(f.At)
	})
}

// speak lets the most severe open episode, among those the newest, speak for the case; the finding's own when none is open.
func (d *decision) speak() {
	best := d.ep
	if open(&d.c) > 0 {
		best = -1
		for i, e := range d.c.Episodes {
			if !e.ClearedAt.IsZero() {
				continue
			}
			if best < 0 || e.Severity > d.c.Episodes[best].Severity ||
				(e.Severity == d.c.Episodes[best].Severity && !e.OpenedAt.Before(d.c.Episodes[best].OpenedAt)) {
				best = i
			}
		}
	}
	e := d.c.Episodes[best]
	d.c.Rule, d.c.Kind, d.c.Severity = e.Rule, e.Kind, e.Severity
}

// forget drops the oldest ended episodes above the bound, then the oldest of all, and remembers until when it has seen them.
func (d *decision) forget() {
	for len(d.c.Episodes) > fleet.MaxEpisodes {
		i := slices.IndexFunc(d.c.Episodes, func(e fleet.Episode) bool { return !e.ClearedAt.IsZero() })
		i = max(i, 0)
		d.c.SeenUntil = later(d.c.SeenUntil, d.c.Episodes[i].OpenedAt)
		d.c.Episodes = slices.Delete(d.c.Episodes, i, i+1)
	}
}

func (d *decision) say(action, format string, args ...any) {
	d.action, d.detail = action, fmt.Sprintf(format, args...)
}

func (d *decision) audit(action, detail string) {
	d.audited = append(d.audited, fleet.Audit{CaseID: d.c.ID, At: d.now, Actor: actorRules, Action: action, Detail: detail})
}

func open(c *fleet.Case) int {
	n := 0
	for _, e := range c.Episodes {
		if e.ClearedAt.IsZero() {
			n++
		}
	}
	return n
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
