package rules

import (
	"time"

	"aftercare/internal/fleet"
)

// Level is one step of a rule's ladder.
type Level struct {
	Severity fleet.Severity
	When     string
	For      time.Duration
}

// level is a step compiled for one model.
type level struct {
	severity fleet.Severity
	when     boolFn
	forMs    int64
	evidence []evidence
	trace    traced
}

// ladder is where an episode of a rule with levels stands.
type ladder struct {
	held []int64 // by level: since when its condition holds; never: it does not
	at   int     // the level it is at, once it is open
	low  int64   // since when that level's condition does not hold; never: it does
}

func newLadder(levels int) *ladder {
	l := &ladder{held: make([]int64, levels), low: never}
	for i := range l.held {
		l.held[i] = never
	}
	return l
}

// severity is what an episode is at; before it opens, what it would open at if that were now.
func (r *compiled) severity(e *episode) fleet.Severity {
	if r.levels == nil || e.ladder == nil {
		return r.Severity
	}
	return r.levels[e.ladder.at].severity
}

// shown is the evidence that counts for an episode.
func (r *compiled) shown(e *episode) []evidence {
	if r.levels == nil || e.ladder == nil {
		return r.evidence
	}
	return r.levels[e.ladder.at].evidence
}

// look notes which levels hold now, and returns the highest that has held for as long as it must, or -1.
func (l *ladder) look(r *compiled, e *env) int {
	top := -1
	for k := range r.levels {
		switch r.levels[k].when(e) {
		case yes:
			if l.held[k] == never {
				l.held[k] = e.now
			}
		case no:
			l.held[k] = never
		}
		if l.held[k] != never && e.now-l.held[k] >= r.levels[k].forMs {
			top = k
		}
	}
	return top
}

// climb brings the severity of an open episode up to date: up as soon as a higher level has held for its time, down once the
// level it is at has not held for step_down and a lower one holds. A timer (down is false) only leads up, as silence is no
// improvement.
func (s *State) climb(d *device, i, at int, down bool) {
	rule, e := &d.p.rules[i], &d.active[at]
	l, now := e.ladder, s.env.now
	top := l.look(rule, &s.env)
	switch {
	case top > l.at:
		l.at, l.low = top, never
	case l.held[l.at] != never:
		l.low = never
		return
	case !down:
		return
	default:
		if l.low == never {
			l.low = now
		}
		lower := l.at - 1
		for lower >= 0 && l.held[lower] == never {
			lower--
		}
		if lower < 0 || now-l.low < rule.stepMs {
			return
		}
		l.at, l.low = lower, never
	}
	e.evidence = s.explain(rule.shown(e))
	s.update(d, e, now)
}

// dueLevel is the next moment after the clock at which a level of the episode has held for its time.
func (l *ladder) due(r *compiled, open bool, clock int64) int64 {
	due := int64(later)
	for k, since := range l.held {
		if since == never || open && k <= l.at {
			continue
		}
		if at := since + r.levels[k].forMs; at > clock {
			due = min(due, at)
		}
	}
	return due
}
