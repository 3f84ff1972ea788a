package rules

import (
	"math"
	"time"

	"aftercare/internal/fleet"
)

// evaluate runs the conditions of a set of rules at the moment in s.env.
func (s *State) evaluate(d *device, bits ruleset) {
	for i := bits.next(0); i >= 0; i = bits.next(i + 1) {
		if at := d.find(i); at >= 0 && d.active[at].open {
			s.hold(d, i, at)
		} else {
			s.open(d, i)
		}
	}
}

// open evaluates a rule that has no open episode: it may begin to wait for its `for`, or open one.
func (s *State) open(d *device, i int) {
	s.counts.Evaluations++
	rule, now := &d.p.rules[i], s.env.now
	holds := rule.when(&s.env)
	at := d.find(i)
	switch {
	case holds == unknown: // neither fires nor ends the wait
		return
	case holds == no:
		if at >= 0 {
			d.drop(at)
		}
		return
	case at < 0 && rule.forMs > 0:
		d.active = append(d.active, episode{rule: i, since: now, clearing: never})
		return
	case at >= 0 && now-d.active[at].since < rule.forMs:
		return
	case at < 0:
		d.active = append(d.active, episode{rule: i, since: now, clearing: never})
		at = len(d.active) - 1
	}
	e := &d.active[at]
	e.open, e.live, e.openedAt, e.lastTrue = true, !s.uploading(d), now, now
	e.evidence = s.explain(rule)
	s.emit(d, e, fleet.Opened, now, e.evidence)
}

// hold evaluates a rule whose episode is open. It is called at readings of the device only: silence clears nothing.
func (s *State) hold(d *device, i, at int) {
	s.counts.Evaluations++
	rule, now, e := &d.p.rules[i], s.env.now, &d.active[at]
	when := rule.when(&s.env)
	if when == yes {
		e.lastTrue, e.clearing = max(e.lastTrue, now), never
		return
	}
	if rule.event && rule.clear == nil { // it ends when its event has not come again for a while
		if now-e.lastTrue >= rule.clearMs {
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
	if e.clearing != never && now-e.clearing >= rule.clearMs {
		s.clear(d, rule, at)
	}
}

func (s *State) clear(d *device, rule *compiled, at int) {
	e := d.active[at]
	e.told++
	s.emit(d, &e, fleet.Cleared, s.env.now, s.explain(rule))
	d.drop(at)
}

// emit appends a finding about an episode, of event time now. A reading that was under way while a timer opened the episode
// may be older than that: an episode never ends before it began.
func (s *State) emit(d *device, e *episode, phase fleet.Phase, now int64, ev []fleet.Evidence) {
	rule := d.p.rules[e.rule].Rule
	s.out = append(s.out, fleet.Finding{
		ID: d.findingID(rule.ID, e.openedAt), Revision: e.told, Phase: phase,
		Device: d.key, Model: d.p.model, Category: d.p.category,
		Rule: rule.ID, Version: rule.Version, Problem: rule.Problem, Kind: rule.Kind, Severity: rule.Severity,
		OpenedAt: moment(e.openedAt), At: moment(max(now, e.openedAt)), Received: s.rec.Received.UTC(), Live: e.live, Evidence: ev,
	})
}

func moment(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// explain evaluates a rule's evidence at the moment in s.env. What is not known is left out.
func (s *State) explain(rule *compiled) []fleet.Evidence {
	out := make([]fleet.Evidence, 0, len(rule.evidence))
	for i := range rule.evidence {
		if e, ok := rule.evidence[i].at(&s.env); ok {
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
