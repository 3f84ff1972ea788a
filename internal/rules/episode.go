package rules

import (
	"math"
	"time"

	"aftercare/internal/fleet"
)

// evaluate runs the conditions of a set of rules at the moment in s.env, causes before what they explain: a rule whose
// episode opens or ends adds those that depend on it to the set. It is called at readings only.
func (s *State) evaluate(d *device, bits ruleset) {
	bits.minus(d.outside())
	s.pass = bits
	for i := bits.next(0); i >= 0; i = bits.next(i + 1) {
		if at := d.find(i); at >= 0 && d.active[at].open {
			s.hold(d, i, at)
		} else {
			s.open(d, i, at)
		}
	}
	s.pass = nil
	s.attribute(d)
}

// timers does the same at a moment without a reading: episodes can open and become more severe, silence ends and eases nothing.
// A condition that rests on values older than the model's hold waits for the next reading.
func (s *State) timers(d *device, bits ruleset, now int64) {
	bits.minus(d.outside())
	s.pass = bits
	stale := now-d.newest[fleet.Telemetry] > d.p.hold
	for i := bits.next(0); i >= 0; i = bits.next(i + 1) {
		rule, at := &d.p.rules[i], d.find(i)
		if stale && !rule.lasting {
			continue
		}
		if at < 0 || !d.active[at].open {
			s.open(d, i, at)
		} else if rule.levels != nil {
			s.climb(d, i, at, false)
		}
	}
	s.pass = nil
	s.attribute(d)
}

// open evaluates a rule that has no open episode: it may begin to wait for its `for`, or open one. A rule with a clear condition
// of its own does not open while that holds: it would end at once.
func (s *State) open(d *device, i, at int) {
	s.counts.Evaluations++
	rule, now := &d.p.rules[i], s.env.now
	holds := rule.when(&s.env)
	switch {
	case rule.event && at >= 0 && holds == unknown: // its event came while it was barred, and stands until all is clear
		if rule.clear == nil || rule.clear(&s.env) == yes {
			d.drop(at)
			return
		}
	case holds == unknown: // neither fires nor ends the wait
		return
	case holds == no || rule.clear != nil && !rule.event && rule.clear(&s.env) == yes:
		if at >= 0 {
			d.drop(at)
		}
		return
	}
	if at < 0 {
		d.active = append(d.active, episode{rule: i, since: now, clearing: never, cause: -1})
		at = len(d.active) - 1
		if rule.levels != nil {
			d.active[at].ladder = newLadder(len(rule.levels))
		}
	}
	e := &d.active[at]
	if rule.levels != nil {
		top := e.ladder.look(rule, &s.env)
		if top < 0 {
			return
		}
		e.ladder.at = top
	} else if now-e.since < rule.forMs {
		return
	}
	if _, barred := d.barred(rule, rule.severity(e), now); barred {
		s.keep(d, rule, at)
		return
	}
	e.open, e.live, e.openedAt, e.lastTrue = true, !s.uploading(d), d.afterOpenings(i, now), now
	e.flapping = d.opens(i, e.openedAt)
	if e.evidence == nil {
		e.evidence = s.explain(rule.shown(e))
	}
	s.emit(d, e, fleet.Opened, now, e.evidence)
	s.changed(d, rule)
}

// keep lets an episode wait that must not open yet. An event is a moment: without a clear condition nothing would say whether
// it still counts when it may.
func (s *State) keep(d *device, rule *compiled, at int) {
	switch e := &d.active[at]; {
	case rule.event && rule.clear == nil:
		d.drop(at)
	case rule.event && s.env.hasCode:
		e.evidence = s.explain(rule.shown(e))
	}
}

// hold evaluates a rule whose episode is open. It is called at readings of the device only: silence clears nothing.
func (s *State) hold(d *device, i, at int) {
	s.counts.Evaluations++
	rule, now, e := &d.p.rules[i], s.env.now, &d.active[at]
	when := rule.when(&s.env)
	if rule.levels != nil {
		s.climb(d, i, at, true)
	}
	if when == yes {
		e.lastTrue = max(e.lastTrue, now)
		if rule.clear == nil || rule.event || rule.clearCode { // else the clear condition alone says when it is over
			e.clearing = never
			return
		}
	}
	quiet := rule.clearMs
	if e.flapping {
		quiet = max(quiet, rule.quietMs)
	}
	held := rule.minHoldMs == 0 || now-e.openedAt >= rule.minHoldMs
	if rule.event && rule.clear == nil { // it ends when its event has not come again for a while
		if held && now-e.lastTrue >= quiet {
			s.clear(d, rule, at)
		}
		return
	}
	done := negate(when)
	if rule.clear != nil {
		done = rule.clear(&s.env)
	}
	switch {
	case done == yes && e.clearing == never:
		e.clearing = now
	case done == no:
		e.clearing = never
	case done == unknown && !rule.clearCode: // an all-clear event stands until `when` holds again
		return
	}
	if held && e.clearing != never && now-e.clearing >= quiet {
		s.clear(d, rule, at)
	}
}

func (s *State) clear(d *device, rule *compiled, at int) {
	e := d.active[at]
	e.told++
	s.emit(d, &e, fleet.Cleared, s.env.now, s.explain(rule.shown(&e)))
	d.drop(at)
	s.changed(d, rule)
}

// update tells that something about an open episode has changed.
func (s *State) update(d *device, e *episode, now int64) {
	e.told++
	s.emit(d, e, fleet.Updated, now, e.evidence)
}

// emit appends a finding about an episode, of event time now. A reading that was under way while a timer opened the episode
// may be older than that: an episode never ends before it began.
func (s *State) emit(d *device, e *episode, phase fleet.Phase, now int64, ev []fleet.Evidence) {
	rule := d.p.rules[e.rule].Rule
	s.out = append(s.out, fleet.Finding{
		ID: d.findingID(rule.ID, e.openedAt), Revision: e.told, Phase: phase,
		Device: d.key, Model: d.p.model, Category: d.p.category,
		Rule: rule.ID, Version: rule.Version, Problem: rule.Problem, Kind: rule.Kind, Severity: d.p.rules[e.rule].severity(e),
		OpenedAt: moment(e.openedAt), At: moment(max(now, e.openedAt)), Received: s.received, Live: e.live, Evidence: ev,
		Cause: d.p.causeOf(e), Flapping: e.flapping,
	})
}

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// explain works out the values of evidence at the moment in s.env. What is not known is left out.
func (s *State) explain(list []evidence) []fleet.Evidence {
	out := make([]fleet.Evidence, 0, len(list))
	for i := range list {
		if e, ok := list[i].at(&s.env); ok {
			out = append(out, e)
		}
	}
	return out
}

func (ev *evidence) at(e *env) (fleet.Evidence, bool) {
	out := fleet.Evidence{Name: ev.name, Unit: ev.unit, At: moment(e.now)}
	if ev.slot >= 0 {
		if sl := &e.d.p.slots[ev.slot]; !math.IsNaN(e.d.num(sl.f)) {
			out.At = moment(e.d.time(sl.t))
		}
	}
	switch ev.value.kind {
	case number:
		out.Value = ev.value.num(e)
		if !finite(out.Value) {
			return out, false
		}
		if ev.value.within != nil {
			if low, high, ok := ev.value.within(e); ok && finite(low) && finite(high) {
				out.Low, out.High, out.HasRange = low, high, true
			}
		}
	case boolean:
		t := ev.value.cond(e)
		if t == unknown {
			return out, false
		}
		out.Text = map[tri]string{yes: "true", no: "false"}[t]
		if t == yes {
			out.Value = 1
		}
	default:
		word, ok := ev.value.str(e)
		if !ok {
			return out, false
		}
		out.Text = string([]byte(word)) // it may alias the batch
	}
	if ev.normal != nil {
		if v := ev.normal(e); finite(v) {
			out.Normal, out.HasNormal = v, true
		}
	}
	if ev.limit != nil {
		if v := ev.limit(e); finite(v) {
			out.Limit, out.HasLimit = v, true
		}
	}
	return out, true
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
