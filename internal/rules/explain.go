package rules

import (
	"math"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"aftercare/internal/fleet"
)

// Explanation says why a rule has, or has not, an episode on a device at a moment.
type Explanation struct {
	Rule    string          `json:"rule"`
	Version string          `json:"version"`
	Device  fleet.DeviceKey `json:"device"`
	Model   string          `json:"model"`
	At      time.Time       `json:"at"`             // the moment, the device's time
	Last    time.Time       `json:"last,omitzero"`  // its newest telemetry
	State   string          `json:"state"`          // "open", "waiting" (the condition holds, something bars it or `for` runs), "quiet"
	Since   time.Time       `json:"since,omitzero"` // of that state, except quiet
	Open    *OpenEpisode    `json:"open,omitempty"` // only while it is open
	When    *Part           `json:"when,omitempty"` // nil with levels
	Levels  []LevelParts    `json:"levels,omitempty"`
	Clear   *Part           `json:"clear,omitempty"` // nil: the episode ends when `when` is false
	Gates   []Gate          `json:"gates"`           // what has to be passed for an episode to open, in order
	Limits  []OwnLimit      `json:"limits,omitempty"`
}

// OpenEpisode is what keeps an episode open.
type OpenEpisode struct {
	Severity string    `json:"severity"`
	Cause    string    `json:"cause,omitempty"`
	Flapping bool      `json:"flapping,omitempty"`
	Clearing time.Time `json:"clearing,omitzero"` // since when it would be over; zero: it is not
	Quiet    string    `json:"quiet,omitempty"`   // how long that must last
}

// LevelParts is one level's condition.
type LevelParts struct {
	Severity string    `json:"severity"`
	When     Part      `json:"when"`
	Held     time.Time `json:"held,omitzero"` // since when it holds
	For      string    `json:"for,omitempty"`
}

// Part is a condition, or a part of one, with what it is at that moment.
type Part struct {
	Text  string    `json:"text"`
	Truth string    `json:"truth,omitempty"` // of a condition: true, false, unknown
	Value *float64  `json:"value,omitempty"` // of a number that is known
	Word  string    `json:"word,omitempty"`  // of a text that is known
	Unit  string    `json:"unit,omitempty"`
	At    time.Time `json:"at,omitzero"`   // of a field: when it came
	Why   string    `json:"why,omitempty"` // why it is not known
	Parts []Part    `json:"parts,omitempty"`
}

// Gate is one thing that an episode has to pass to open.
type Gate struct {
	Name   string    `json:"name"`
	Passed bool      `json:"passed"`
	Detail string    `json:"detail,omitempty"`
	Until  time.Time `json:"until,omitzero"` // when it will be passed, if nothing changes
}

// OwnLimit is a limit of the rule and the value that counts.
type OwnLimit struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit,omitempty"`
	Own   bool    `json:"own"` // the device's own value
}

// traced is a condition as written, with what every part of it was compiled to.
type traced struct {
	root  ast.Node
	parts map[ast.Node]value
}

// Explain says how a rule stands on a device now, after the records that were stepped. CodeNotFound when nothing is known of the
// device or the rule does not run for its model.
func (s *State) Explain(key fleet.DeviceKey, rule string) (Explanation, error) {
	d := s.devices.get(key)
	if d == nil {
		return Explanation{}, fleet.Errorf(fleet.CodeNotFound, "nothing came from device %q in that time, and no facts of it are known", key)
	}
	s.touch(d)
	i := -1
	var ids []string
	for k := range d.p.rules {
		if ids = append(ids, d.p.rules[k].ID); d.p.rules[k].ID == rule {
			i = k
		}
	}
	if i < 0 {
		return Explanation{}, fleet.Errorf(fleet.CodeNotFound, "no rule %q runs for model %s: %s", rule, d.p.model, didYouMean(rule, ids))
	}
	r, now := &d.p.rules[i], s.present(d)
	if d.clock == never {
		now = s.clock // nothing was ever heard of it
	}
	s.env = s.look(d, now)
	x := Explanation{Rule: r.ID, Version: r.Version, Device: key, Model: d.p.model, At: moment(now), State: "quiet"}
	if t := d.newest[fleet.Telemetry]; t != never {
		x.Last = moment(t)
	}
	var e *episode
	if at := d.find(i); at >= 0 {
		e = &d.active[at]
	}
	s.explainConditions(&x, r, e)
	s.explainEpisode(&x, d, r, e)
	s.explainGates(&x, d, i, e)
	for _, name := range (&draft{Rule: r.Rule}).limitNames() {
		l := r.Limits[name]
		own := OwnLimit{Name: name, Value: l.Value, Unit: l.Unit}
		if k, ok := d.p.limits[r.ID+"."+name]; ok {
			own.Value = d.limit(k, l.Value)
			own.Own = own.Value != l.Value
		}
		x.Limits = append(x.Limits, own)
	}
	return x, nil
}

func (s *State) explainConditions(x *Explanation, r *compiled, e *episode) {
	if r.levels == nil {
		x.When = s.part(r.whenTrace)
	}
	for k := range r.levels {
		l := LevelParts{Severity: r.levels[k].severity.String()}
		if p := s.part(r.levels[k].trace); p != nil {
			l.When = *p
		}
		if f := r.levels[k].forMs; f > 0 {
			l.For = lasting(f)
		}
		if e != nil && e.ladder != nil && e.ladder.held[k] != never {
			l.Held = moment(e.ladder.held[k])
		}
		x.Levels = append(x.Levels, l)
	}
	if r.clear != nil {
		x.Clear = s.part(r.clearTrace)
	}
}

func (s *State) explainEpisode(x *Explanation, d *device, r *compiled, e *episode) {
	switch {
	case e == nil:
		return
	case !e.open:
		x.State, x.Since = "waiting", moment(e.since)
		return
	}
	x.State, x.Since = "open", moment(e.openedAt)
	quiet := r.clearMs
	if e.flapping {
		quiet = max(quiet, r.quietMs)
	}
	o := &OpenEpisode{Severity: r.severity(e).String(), Cause: d.p.causeOf(e), Flapping: e.flapping}
	if quiet > 0 {
		o.Quiet = lasting(quiet)
	}
	if e.clearing != never {
		o.Clearing = moment(e.clearing)
	}
	x.Open = o
}

// explainGates asks in the order in which open does.
func (s *State) explainGates(x *Explanation, d *device, i int, e *episode) {
	r, now := &d.p.rules[i], s.env.now
	gate := func(name string, passed bool, detail string, until int64) {
		g := Gate{Name: name, Passed: passed, Detail: detail}
		if !passed && until < later {
			g.Until = moment(until)
		}
		x.Gates = append(x.Gates, g)
	}
	out := d.outside()
	switch inside := out == nil || !out.has(i); {
	case inside:
		gate("applies to the device", true, "", 0)
	case d.facts == nil:
		gate("applies to the device", false, "the rule is for some devices only, and no facts of this one are known", later)
	case d.facts.revoked:
		gate("applies to the device", false, "the device is revoked", later)
	default:
		k := d.facts.kind
		gate("applies to the device", false, "firmware "+quoted(k.firmware)+", hardware "+quoted(k.hardware)+", batch "+quoted(k.batch)+", region "+quoted(k.region), later)
	}
	holds := r.when(&s.env)
	gate("condition holds", holds == yes, truthWord(holds), later)
	if r.clear != nil && !r.event {
		gate("clear condition is false", r.clear(&s.env) != yes, "", later)
	}
	if r.forMs > 0 && r.levels == nil {
		d := lasting(r.forMs)
		switch {
		case e != nil && now-e.since >= r.forMs:
			gate("held for "+d, true, "since "+stampText(e.since), 0)
		case e != nil:
			gate("held for "+d, false, "since "+stampText(e.since), e.since+r.forMs)
		default:
			gate("held for "+d, false, "", later)
		}
	}
	if last := d.newest[fleet.Telemetry]; !r.lasting && last != never {
		gate("values are fresh", now-last <= d.p.hold, "the last came "+stampText(last)+"; without newer ones nothing opens after "+lasting(d.p.hold), later)
	}
	s.explainBars(gate, d, r, e)
}

// explainBars names each thing that keeps an episode from opening although its condition holds; see barred.
func (s *State) explainBars(gate func(name string, passed bool, detail string, until int64), d *device, r *compiled, e *episode) {
	now := s.env.now
	for _, k := range r.causes {
		gate("not explained by "+d.p.rules[k].ID, !d.isOpen(k), "", later)
	}
	if r.season.set {
		at, outside := r.season.begins(now)
		gate("season "+r.Season, !outside, "", at)
	}
	sev := r.Severity
	if e != nil {
		sev = r.severity(e)
	}
	if d.facts == nil || d.facts.more == nil || r.Kind == fleet.KindSafety || sev == fleet.Danger {
		return
	}
	within := func(list []interval) (int64, bool) {
		for _, i := range list {
			if now >= i.from && now < i.to {
				return i.to, true
			}
		}
		return later, false
	}
	until, in := within(d.facts.more.maintenance)
	gate("not in maintenance", !in, "", until)
	if r.absence && !r.InStorage {
		until, in = within(d.facts.more.stored)
		gate("not put away", !in, "", until)
	}
}

func quoted(s string) string {
	if s == "" {
		return "not known"
	}
	return `"` + s + `"`
}

// lasting writes milliseconds as people write durations in rule files: 2h, 90s as 1m30s.
func lasting(ms int64) string {
	s := (time.Duration(ms) * time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func truthWord(t tri) string { return [...]string{no: "false", yes: "true", unknown: "unknown"}[t] }

func stampText(ms int64) string { return moment(ms).Format(time.RFC3339) }

func (s *State) part(t traced) *Part {
	if t.root == nil {
		return nil
	}
	p := s.partOf(t, t.root)
	return &p
}

// partOf evaluates a part of a condition and those below it. A number that is written down has nothing to say beside the text.
func (s *State) partOf(t traced, n ast.Node) Part {
	p := Part{Text: n.String()}
	v, ok := t.parts[n]
	if !ok {
		return p
	}
	s.say(&p, v)
	below := func(nodes ...ast.Node) {
		for _, c := range nodes {
			if cv, ok := t.parts[c]; ok && !cv.isLit && (!cv.isConst || !written(c)) {
				p.Parts = append(p.Parts, s.partOf(t, c))
			}
		}
	}
	leaf := false
	switch n := n.(type) {
	case *ast.UnaryNode:
		below(n.Node)
	case *ast.BinaryNode:
		below(n.Left, n.Right)
	case *ast.ConditionalNode:
		below(n.Cond, n.Exp1, n.Exp2)
	default:
		leaf = true
	}
	if leaf && p.Value == nil && p.Word == "" && (p.Truth == "" || p.Truth == "unknown") {
		p.Why = s.why(n)
	}
	return p
}

// written reports whether a number stands in the text as it is.
func written(n ast.Node) bool {
	if u, ok := n.(*ast.UnaryNode); ok {
		n = u.Node
	}
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		return true
	}
	return false
}

// say fills in what a value is now.
func (s *State) say(p *Part, v value) {
	e := &s.env
	switch v.kind {
	case boolean:
		p.Truth = truthWord(v.cond(e))
	case number:
		if x := v.num(e); finite(x) {
			p.Value, p.Unit = &x, v.unit
		}
	case text:
		if w, ok := v.str(e); ok {
			p.Word = string([]byte(w))
		}
	}
	if v.plain && v.slot >= 0 {
		if sl := &e.d.p.slots[v.slot]; !math.IsNaN(e.d.num(sl.f)) {
			p.At = moment(e.d.time(sl.t))
		}
	}
}

// why says why a field or a call has no value.
func (s *State) why(n ast.Node) string {
	d := s.env.d
	never := func(name string) bool {
		k, ok := d.p.byName[name]
		return ok && math.IsNaN(d.num(d.p.slots[k].f))
	}
	if name, ok := fieldName(n); ok {
		if name == codeName {
			return "known at the moment of an event only"
		}
		return "never sent in the time looked at"
	}
	if call, ok := n.(*ast.CallNode); ok {
		for _, a := range call.Arguments {
			if name, ok := fieldName(a); ok && never(name) {
				return name + " was never sent in the time looked at"
			}
		}
		return "too few values in its window, or none"
	}
	return ""
}
