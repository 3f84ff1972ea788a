// Package score compares what the rules found with what was true in a simulation: which conditions their owner was warned of before
// they failed, how long before, and what was told although nothing was the matter. It is not the replay that makes findings of
// readings (package app), and it knows no kind of fault by itself: the map says which rules speak of which.
//
// Definitions. A *telling* is a record of a finding that is live and not the end of its episode, and is the first such of
// the episode or has a higher severity than all before it. It *reaches the owner* if cases tells owners of that kind at that
// severity (fleet.TellsOwner). It is *true* if its rule speaks of a condition that its device has then: between the condition's
// onset and its end, by the device's time; of the first telling of an episode it is enough that the condition held at some moment
// since the episode opened, because a device that was away tells of its past when it is back. All others that reach the owner are
// *false*, whatever else is the matter with the device. Ten minutes either way are allowed for devices' clocks.
//
// A condition is *warned of* if a true telling of it was received from its onset on and before its failure; *late* if only between
// failure and end; else *missed*. What speaks of faults, maintenance and safety has to reach the owner for that. An episode that had
// been opened before the onset warns of nothing: it was false then. Conditions that did not fail, because they were mended before or the
// simulation ended, are left out. *Abrupt* ones give no sign, or one of minutes: they are counted apart, and in the total. *Habits* never fail: what
// counts is whether they were noticed before they ended.
//
// Who may import it: cmd. It imports fleet.
package score

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Condition is something that is the matter with a device; or, if its kind begins with "healthy/", an oddity that is nothing to
// be told of; or, if its kind has no slash, a note of something that was done, such as a service.
type Condition struct {
	Device    string    `json:"device"` // serial
	Model     string    `json:"model"`
	Kind      string    `json:"kind"`
	Component string    `json:"component,omitempty"`
	Onset     time.Time `json:"onset"`            // from when a warning is true
	Failure   time.Time `json:"failure,omitzero"` // when it has failed or does harm; zero: it never does
	End       time.Time `json:"end,omitzero"`     // repaired, reset, over; zero: it lasts
	Abrupt    bool      `json:"abrupt,omitempty"` // it gives no sign, or hardly one
}

const oddity = "healthy/"

// Healthy reports whether it is an oddity that must not alarm.
func (c *Condition) Healthy() bool { return strings.HasPrefix(c.Kind, oddity) }

// note reports whether it is no condition at all.
func (c *Condition) note() bool { return !strings.Contains(c.Kind, "/") }

// slack is what a device's clock may be wrong without being told so.
const slack = 10 * time.Minute

// Span is what was replayed: devices, and from when to when.
type Span struct {
	Devices int       `json:"devices"`
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
}

// daysPerMonth is the mean of the Gregorian calendar.
const daysPerMonth = 30.4369

// Months returns how many device-months were replayed.
func (s Span) Months() float64 {
	return float64(s.Devices) * s.To.Sub(s.From).Hours() / 24 / daysPerMonth
}

// Input is what is compared.
type Input struct {
	Span     Span
	Truth    []Condition
	Findings []fleet.Finding // in the order they were made
	Messages []Message       // nil: not known
	Map      Map
	Rules    []string // ids of the rules that run; nil: not known
}

// telling is a finding's record that somebody may hear of.
type telling struct {
	f       *fleet.Finding
	first   bool
	reaches bool
	of      []*Condition // what it is true of
}

// false reports whether an owner hears of what is not so.
func (t *telling) isFalse() bool { return t.reaches && len(t.of) == 0 }

// judge knows the truth by device.
type judge struct {
	in       Input
	end      time.Time // of conditions that last
	byDevice map[string][]*Condition
	speaks   map[string]map[string]bool // rule, kind
	tellings []*telling
	opened   map[string][]span // by device and rule: when it had an episode open
}

type span struct{ from, to time.Time }

// Judge compares findings with the truth.
func Judge(in Input) Result {
	j := &judge{in: in, end: in.Span.To.Add(time.Hour), byDevice: map[string][]*Condition{}, speaks: in.Map.rules(), opened: map[string][]span{}}
	for i := range in.Truth {
		c := &in.Truth[i]
		j.byDevice[c.Device] = append(j.byDevice[c.Device], c)
	}
	j.hear()
	r := Result{Span: in.Span, Months: in.Span.Months()}
	j.conditions(&r)
	j.rules(&r)
	j.oddities(&r)
	j.messages(&r)
	r.UnknownRules, r.RulesWithoutKind, r.KindsWithoutRule = j.gaps()
	return r
}

// hear picks the tellings out of the findings and says what each is true of.
func (j *judge) hear() {
	type episode struct {
		told bool
		most fleet.Severity
		open int // index in opened
	}
	episodes := map[string]*episode{}
	for i := range j.in.Findings {
		f := &j.in.Findings[i]
		key := f.Device.Serial + " " + f.Rule
		e := episodes[f.ID]
		if e == nil {
			e = &episode{open: len(j.opened[key])}
			episodes[f.ID] = e
			j.opened[key] = append(j.opened[key], span{from: f.OpenedAt})
		}
		if f.Phase == fleet.Cleared {
			j.opened[key][e.open].to = f.At
			continue
		}
		if !f.Live || e.told && f.Severity <= e.most {
			continue
		}
		t := &telling{f: f, first: !e.told, reaches: fleet.TellsOwner(f.Kind, f.Severity)}
		e.told, e.most = true, f.Severity
		t.of = j.trueOf(t)
		j.tellings = append(j.tellings, t)
	}
}

// trueOf returns the conditions that a telling speaks of and that hold.
func (j *judge) trueOf(t *telling) (of []*Condition) {
	from := t.f.At
	if t.first {
		from = t.f.OpenedAt
	}
	for _, c := range j.byDevice[t.f.Device.Serial] {
		if j.speaks[t.f.Rule][c.Kind] && !t.f.At.Before(c.Onset.Add(-slack)) && !from.After(j.until(c).Add(slack)) {
			of = append(of, c)
		}
	}
	return of
}

// until is the end of a condition.
func (j *judge) until(c *Condition) time.Time {
	if c.End.IsZero() {
		return j.end
	}
	return c.End
}

// wasOpen reports whether an episode of one of the rules that speak of a condition was open at its onset.
func (j *judge) wasOpen(c *Condition) bool {
	for _, rule := range j.in.Map.of(c.Kind) {
		for _, s := range j.opened[c.Device+" "+rule] {
			if s.from.Before(c.Onset.Add(-slack)) && (s.to.IsZero() || s.to.After(c.Onset)) {
				return true
			}
		}
	}
	return false
}

// around names what else was the matter with a device at a time.
func (j *judge) around(device string, at time.Time) string {
	var kinds []string
	for _, c := range j.byDevice[device] {
		if !at.Before(c.Onset) && !at.After(j.until(c)) {
			kinds = append(kinds, c.Kind)
		}
	}
	if len(kinds) > 0 {
		slices.Sort(kinds)
		return "during " + strings.Join(slices.Compact(kinds), ", ")
	}
	// Nothing then: perhaps something just before or soon after, which says why.
	var near []string
	for _, c := range j.byDevice[device] {
		const soon = 14 * 24 * time.Hour
		switch {
		case c.Onset.After(at) && c.Onset.Sub(at) < soon:
			near = append(near, spell(c.Onset.Sub(at))+" before "+c.Kind)
		case at.After(j.until(c)) && at.Sub(j.until(c)) < soon:
			near = append(near, spell(at.Sub(j.until(c)))+" after "+c.Kind)
		}
	}
	slices.SortFunc(near, func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	return strings.Join(near, ", ")
}
