package cases

import (
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// Around is what is known of a finding's device beside its case.
type Around struct {
	Device *fleet.Device            // nil: not known
	Match  func(*fleet.Case) string // the open incident that a case belongs to, or empty; nil: there are no incidents
	Quiet  fleet.Snooze             // of the whole device, for a case that opens
}

// decision is one finding meeting one case.
type decision struct {
	edit
	f      fleet.Finding
	around Around
	isNew  bool
	ep     int // index in c.Episodes of the finding's episode
	action string
	detail string
}

// Decide says what a finding does to the latest case of its device and problem (nil: there is none). now is only when it is
// recorded and from when the message is due; everything else is decided by event time. It returns the change to commit, the
// reason in words, and false when there is nothing to write: a (ID, Revision) that was applied before, or an older one.
// current is not changed. now also counts for whether a message that was put off has become due meanwhile, and for the clocks
// of what is promised.
func (c Config) Decide(current *fleet.Case, f fleet.Finding, now time.Time, around Around) (fleet.Change, string, bool) {
	// Cases are stored to the millisecond; with anything finer a redelivered finding would look newer than itself.
	f.OpenedAt, f.At = f.OpenedAt.Truncate(time.Millisecond).UTC(), f.At.Truncate(time.Millisecond).UTC()
	d := decision{edit: edit{cfg: c, now: now.Truncate(time.Millisecond), actor: actorRules, received: f.Received, match: around.Match}, f: f, around: around}
	if around.Device != nil {
		d.owned = around.Device.OwnedSince
	}
	if current != nil {
		if reason := applied(current, f); reason != "" {
			return fleet.Change{}, reason, false
		}
		d.before = *current
	}
	if current == nil || c.isNewProblem(current, &f) {
		d.begin()
	} else {
		d.c = d.before
		d.c.Episodes = slices.Clone(d.before.Episodes)
	}
	d.applyEpisode()
	d.move()
	d.tell()
	if around.Device != nil {
		d.tellCover(around.Device.WarrantyUntil)
	}
	d.forget()
	d.audit(d.action, d.detail)
	return d.finish(f.At, f.ID, fmt.Sprint(f.Revision)), d.action + ": " + d.detail, true
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

// isNewProblem says whether a case was over so long ago that an unknown episode is not the same problem. An
// end whose beginning is not known is history and begins nothing. A case's id is made of its opening time: it has to differ.
func (c Config) isNewProblem(was *fleet.Case, f *fleet.Finding) bool {
	if was.State.Open() || f.Phase == fleet.Cleared || proving(was, f) {
		return false
	}
	if i := episodeOf(was, f.ID); i >= 0 { // somebody looked, found nothing and closed the case: that was then
		return forGood(was) && was.MergedInto == "" && f.Live && f.Severity > was.Episodes[i].Severity && f.At.After(was.ClosedAt)
	}
	if !f.OpenedAt.After(was.OpenedAt) {
		return false
	}
	switch {
	case was.State == fleet.CaseWatching:
		return false
	case forGood(was):
		return f.OpenedAt.After(was.ClosedAt)
	case was.Outcome == fleet.OutcomeCleared:
		return f.OpenedAt.Sub(was.ClosedAt) >= c.ReopenWithin
	default:
		return f.OpenedAt.Sub(was.ClosedAt) >= c.ReopenFixedWithin
	}
}

// forGood says whether somebody closed a case, or its fix was proven. One that the clock closed is decided like one that is
// resolved, by event time: what a device uploads late must not find another case than what it said at once.
func forGood(c *fleet.Case) bool { return c.State == fleet.CaseClosed && c.CloseAt.IsZero() }

// proving says whether a finding falls into the time in which a case's fix was, or is, to be proven.
func proving(was *fleet.Case, f *fleet.Finding) bool {
	p := &was.Proof
	return !p.Since.IsZero() && f.OpenedAt.After(p.Since) && f.OpenedAt.Before(p.Until)
}

// begin makes a new case. It remembers how far the earlier one had come, so that what is delivered again is not taken for
// something new, and takes over episodes that never ended: their next records are looked for here.
func (d *decision) begin() {
	f, opened := d.f, d.f.OpenedAt
	if episodeOf(&d.before, f.ID) >= 0 {
		opened = f.At // the earlier case has the episode's own time
	}
	d.c = fleet.Case{ID: fleet.ID("case", f.Device.Tenant, f.Device.Serial, f.Problem, fmt.Sprint(opened.UnixMilli())),
		Device: f.Device, Problem: f.Problem, State: fleet.CaseNew, OpenedAt: opened, SeenUntil: d.before.SeenUntil}
	d.c.SplitOff = d.before.SplitOff
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
	e.Revision, e.Rule, e.RuleHash, e.Kind, e.Severity, e.Cause = f.Revision, f.Rule, f.Version, f.Kind, f.Severity, f.Cause
	if f.Problem != d.c.Problem {
		e.Problem = f.Problem
	}
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
	over := !d.isNew && !d.before.State.Open()
	switch {
	case over && !d.comesBack():
		d.say(actNoted, "%s, %s; the case stays %s", d.f.Rule, d.f.Phase, said(d.before.State))
		return
	case over:
		d.speak()
		d.comeBack(verbReturn, d.f.At)
		d.settle()
		d.say(actReopened, "%s, %s", d.f.Rule, d.f.Severity)
	case d.f.Phase == fleet.Cleared:
		d.end()
	default:
		d.goOn()
	}
}

// settle asks the surroundings about a case that opens: what the device is, whether it is quiet, whether the fault is one of many.
func (d *decision) settle() {
	if x := d.around.Device; x != nil {
		d.c.Firmware, d.c.Batch, d.c.Region = x.Firmware, x.Batch, x.Region
	}
	if d.around.Quiet.By != "" {
		d.c.Snooze = d.around.Quiet
	}
	if d.match == nil {
		return
	}
	if id := d.match(&d.c); id != "" && id != d.c.IncidentID {
		d.c.IncidentID = id
		d.audit(string(verbAdopt), id)
	}
}

// comeBack opens a case again that was over. Who had it has it again, and the same partner; what was promised begins anew.
func (e *edit) comeBack(verb fleet.CaseVerb, at time.Time) {
	e.c.State, _ = Next(e.before.State, verb, e.actor)
	if !e.c.Proof.Since.IsZero() && e.c.Proof.Back.IsZero() {
		e.c.Proof.Back = at
	}
	e.c.Outcome, e.c.ClosedAt, e.c.CloseAt, e.c.CheckAt, e.c.WaitingFor = "", time.Time{}, time.Time{}, time.Time{}, ""
	if !e.c.Snooze.Device {
		e.c.Snooze = fleet.Snooze{}
	}
	if !e.now.Before(e.c.BackAt) { // it was due while all was well, so it was left out
		e.c.BackAt = time.Time{}
	}
	e.recall("the problem is back", fleet.EventCleared)
	e.unprove()
}

// end is a condition that ended in a case that is not over.
func (d *decision) end() {
	if d.isNew { // its beginning never arrived, or not before its end
		d.settle()
		d.audit(actOpened, fmt.Sprintf("%s, %s; over before it was heard of", d.f.Rule, d.f.Severity))
	}
	d.speak()
	if open(&d.c) > 0 {
		d.say(actUpdated, "%s is over, %s holds", d.f.Rule, d.c.Rule)
		return
	}
	d.c.State, _ = Next(d.c.State, verbClear, d.actor)
	if d.c.State.Open() {
		d.say(actCleared, "%s is over; the case stays with %s", d.f.Rule, holder(&d.c))
		return
	}
	d.c.Outcome, d.c.ClosedAt = fleet.OutcomeCleared, d.f.At
	d.c.CloseAt = later(d.now, d.f.At.Add(d.cfg.ReopenWithin))
	d.say(actCleared, "%s is over", d.f.Rule)
}

// holder is who has a case, in words.
func holder(c *fleet.Case) string {
	switch {
	case c.Assignee != "":
		return c.Assignee
	case c.State == fleet.CaseWaiting:
		return "the " + c.WaitingFor + " it waits for"
	default:
		return "who took it on"
	}
}

// goOn is a condition that began or changed in a case that is new or not resolved.
func (d *decision) goOn() {
	wasOpen := open(&d.before)
	d.speak()
	if d.isNew {
		d.settle()
	}
	if z := d.c.Snooze; z.By != "" && d.c.Severity > z.Severity && z.Worse {
		d.c.Snooze = fleet.Snooze{}
		d.audit(string(fleet.VerbUnsnooze), "it got worse than when it was snoozed")
	}
	switch {
	case d.isNew:
		d.say(actOpened, "%s, %s", d.f.Rule, d.f.Severity)
	case wasOpen == 0:
		d.recall("the problem is back", fleet.EventCleared)
		d.say(actReopened, "%s, %s", d.f.Rule, d.f.Severity)
	case d.c.Severity > d.before.Severity:
		d.say(actEscalated, "%s, from %s to %s", d.f.Rule, d.before.Severity, d.c.Severity)
	case d.f.Live && !d.before.Live:
		d.say(actUpdated, "%s, %s; the device has caught up", d.f.Rule, d.f.Severity)
	default:
		d.say(actUpdated, "%s, %s", d.f.Rule, d.f.Severity)
	}
}

// comesBack says whether the finding opens a case again that is over. What is older than the end does not: it was uploaded late
// and is history. An episode that was open when somebody resolved the case reopens it only when it is still there later, and if
// they had looked and found nothing, only when it is worse.
func (d *decision) comesBack() bool {
	f, was := d.f, &d.before
	if f.Phase == fleet.Cleared || f.Cause != "" && f.Severity < fleet.Danger || forGood(was) && !proving(was, &f) || was.MergedInto != "" {
		return false
	}
	if i := episodeOf(was, f.ID); i >= 0 {
		worse := f.Severity > was.Episodes[i].Severity
		return f.Live && f.At.After(was.ClosedAt) && (worse || f.Severity == was.Episodes[i].Severity && !dismissed(was.Outcome))
	}
	if was.Outcome != fleet.OutcomeCleared {
		return !f.At.Before(was.ClosedAt) || (f.Live && f.Severity > was.Severity)
	}
	// Of a problem that several rules watch, one rule's end says nothing about another's condition: late is what the same
	// rule has contradicted since.
	return !slices.ContainsFunc(was.Episodes, func(e fleet.Episode) bool {
		return e.Rule == f.Rule && e.ClearedAt.After(f.At)
	})
}

// dismissed says whether an outcome means that somebody looked and that the rule is what was wrong.
func dismissed(o fleet.Outcome) bool {
	return o == fleet.OutcomeFalseAlarm || o == fleet.OutcomeNoFault
}

// speak lets the most severe open episode, among those the newest, speak for the case; the finding's own when none is open.
func (d *decision) speak() { d.speakOr(d.ep) }

// speakOr is speak with the episode that speaks when none is open.
func (e *edit) speakOr(best int) {
	explained := open(&e.c) > 0
	if explained {
		best = -1
		for i, x := range e.c.Episodes {
			if !x.ClearedAt.IsZero() {
				continue
			}
			explained = explained && x.Cause != ""
			if best < 0 || x.Severity > e.c.Episodes[best].Severity ||
				(x.Severity == e.c.Episodes[best].Severity && !x.OpenedAt.Before(e.c.Episodes[best].OpenedAt)) {
				best = i
			}
		}
	}
	x := e.c.Episodes[best]
	e.c.Rule, e.c.Kind, e.c.Severity, e.c.CauseRule = x.Rule, x.Kind, x.Severity, ""
	if explained {
		e.c.CauseRule = x.Cause
	}
}

// forget drops the oldest ended episodes above the bound, then the oldest of all, and remembers until when it has seen them.
func (e *edit) forget() {
	for len(e.c.Episodes) > fleet.MaxEpisodes {
		i := slices.IndexFunc(e.c.Episodes, func(x fleet.Episode) bool { return !x.ClearedAt.IsZero() })
		i = max(i, 0)
		e.c.SeenUntil = later(e.c.SeenUntil, e.c.Episodes[i].OpenedAt)
		e.c.Episodes = slices.Delete(e.c.Episodes, i, i+1)
	}
}

func (d *decision) say(action, format string, args ...any) {
	d.action, d.detail = action, fmt.Sprintf(format, args...)
}
