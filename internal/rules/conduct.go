package rules

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// span reads an optional duration that a device's memory must bridge.
func (l *loader) span(o object, key string) time.Duration {
	d := o.duration(key)
	if d > l.cfg.MaxWindow {
		o.r.problem(o.keys[key], join(o.path, key), "at most "+formatDuration(l.cfg.MaxWindow), "%s is longer than anything is kept", key)
	}
	return d
}

// expressions are all conditions of a draft.
func (d *draft) expressions() []located {
	return append([]located{d.when, d.clear}, d.levels...)
}

// readSteps reads when and severity, or levels instead of both.
func (l *loader) readSteps(o object, d *draft) {
	if o.keys["levels"] == nil {
		d.when = expression(o, "when", true)
		readSeverity(o, &d.Severity)
		if n := o.keys["step_down"]; n != nil {
			o.r.problem(n, join(o.path, "step_down"), "levels: [{severity: watch, when: ...}, ...]", "step_down is for rules with levels")
		}
		return
	}
	for _, key := range []string{"when", "severity", "for"} {
		if n := o.keys[key]; n != nil {
			o.r.problem(n, join(o.path, key), "move it into the levels", "%s is said by each level", key)
		}
	}
	items := o.list("levels")
	if len(items) < 2 {
		o.r.problem(o.keys["levels"], join(o.path, "levels"), "with one level write severity and when", "want at least two levels")
	}
	for i, item := range items {
		path := fmt.Sprintf("%s[%d]", join(o.path, "levels"), i)
		lo, ok := o.r.object(item, path, "severity", "when", "for")
		if !ok {
			continue
		}
		var lv Level
		readSeverity(lo, &lv.Severity)
		lv.For = l.span(lo, "for")
		when := expression(lo, "when", true)
		lv.When = when.text
		if n := len(d.Levels); n > 0 && lv.Severity <= d.Levels[n-1].Severity {
			o.r.problem(item, path, "the mildest comes first", "level %s stands behind %s", lv.Severity, d.Levels[n-1].Severity)
		}
		d.Levels, d.levels = append(d.Levels, lv), append(d.levels, when)
	}
	if len(d.Levels) > 0 {
		d.Severity = d.Levels[0].Severity
	}
}

// readScopes reads which devices the rule is about, beside what its pack says.
func (d *draft) readScopes(o object) {
	if !d.to.scope.empty() {
		d.Scopes = append(d.Scopes, d.to.scope)
	}
	n := o.keys["applies"]
	if n == nil {
		return
	}
	a, ok := o.r.object(n, join(o.path, "applies"), scopeKeys...)
	if !ok {
		return
	}
	s := readScope(a)
	d.Scopes = append(d.Scopes, s)
	if both := append(append([]bound{}, s.bounds...), d.to.scope.bounds...); len(s.bounds) > 0 && len(both) > len(s.bounds) && impossible(both) {
		o.r.problem(a.keys["firmware"], join(a.path, "firmware"), "", "no version is in %q and in the pack's %q", s.Firmware, d.to.scope.Firmware)
	}
}

// readConduct reads how the rule's episodes behave.
func (d *draft) readConduct(o object) {
	r := o.r
	d.Flapping = readFlapping(o)
	if s, n := o.text("season", false); n != nil {
		v, err := parseSeason(s)
		if err != nil {
			r.problem(n, join(o.path, "season"), `write it like "04-01..10-31", month and day`, "%v", err)
		}
		d.Season, d.season = s, v
	}
	if s, n := o.text("in_storage", false); n != nil {
		v, err := strconv.ParseBool(s)
		if err != nil {
			r.problem(n, join(o.path, "in_storage"), "", "want true or false, found %q", clip(s))
		}
		d.InStorage = v
	}
	d.Component, _ = o.text("component", false)
	for i, item := range o.list("cause") {
		v := resolve(item)
		if v.Kind != yaml.ScalarNode || v.Value == d.ID {
			r.problem(item, fmt.Sprintf("%s[%d]", join(o.path, "cause"), i), "", "want the id of another rule, found %s", kindWord(v))
			continue
		}
		d.Cause, d.causeNodes = append(d.Cause, v.Value), append(d.causeNodes, item)
	}
}

func readFlapping(o object) Flapping {
	n := o.keys["flapping"]
	if n == nil {
		return defaultFlapping
	}
	if v := resolve(n); v.Kind == yaml.ScalarNode && v.Value == "off" {
		return Flapping{}
	} else if v.Kind == yaml.ScalarNode {
		o.r.problem(v, join(o.path, "flapping"), "off, or {times: 4, within: 24h, quiet: 6h}", "want keys and values, found %s", kindWord(v))
		return defaultFlapping
	}
	f, ok := o.r.object(n, join(o.path, "flapping"), "times", "within", "quiet")
	if !ok {
		return defaultFlapping
	}
	out := defaultFlapping
	if s, at := f.text("times", false); at != nil {
		v, err := strconv.Atoi(s)
		if err != nil || v < 2 || v > maxFlapping {
			o.r.problem(at, join(f.path, "times"), "", "want 2 to %d openings, found %q", maxFlapping, clip(s))
		}
		out.Times = v
	}
	if d := f.duration("within"); d > 0 {
		out.Within = d
	}
	if d := f.duration("quiet"); d > 0 {
		out.Quiet = d
	}
	return out
}

// conduct is how a compiled rule behaves, beside its conditions.
func (b *builder) conduct(res *result, d *draft) {
	c := &res.rule
	c.minHoldMs, c.stepMs, c.quietMs, c.season = d.MinHold.Milliseconds(), d.StepDown.Milliseconds(), d.Flapping.Quiet.Milliseconds(), d.season
	for _, id := range d.Cause {
		for k := range b.p.rules {
			if b.p.rules[k].ID == id {
				c.causes = append(c.causes, k)
			}
		}
	}
	if d.Component == "" {
		return
	}
	var names []string
	for _, p := range b.model.Components {
		if p.Name == d.Component {
			return
		}
		names = append(names, p.Name)
	}
	n := d.o.keys["component"]
	res.missing = append(res.missing, d.Component)
	res.mistakes = append(res.mistakes, mistake{at: located{node: resolve(n), path: join(d.path, "component")}, err: exprError{
		message: fmt.Sprintf("model %s has no component %q", b.model.ID, clip(d.Component)), hint: didYouMean(d.Component, names)}})
}

// ladder compiles the levels of a rule into one condition, that any of them holds, and the steps.
func (b *builder) ladder(res *result, d *draft) (boolFn, usage) {
	var all usage
	for i, at := range d.levels {
		when, use := b.condition(res, at)
		all.join(use)
		res.rule.levels = append(res.rule.levels, level{severity: d.Levels[i].Severity, when: when, forMs: d.Levels[i].For.Milliseconds()})
		if use.code {
			res.mistake(at, "make it a rule of its own", "a level cannot look at code: an event is a moment")
		}
	}
	levels := res.rule.levels
	return func(e *env) tri {
		out := no
		for i := range levels {
			switch levels[i].when(e) {
			case yes:
				return yes
			case unknown:
				out = unknown
			}
		}
		return out
	}, all
}

// join adds what another expression of the rule needs.
func (u *usage) join(o usage) {
	for _, s := range o.slots {
		u.slots = addNew(u.slots, s)
	}
	for _, r := range o.rules {
		u.rules = addNew(u.rules, r)
	}
	u.sliding, u.code, u.onEvent, u.age = u.sliding || o.sliding, u.code || o.code, u.onEvent || o.onEvent, u.age || o.age
	u.silent, u.finding, u.limits, u.fleet = u.silent || o.silent, u.finding || o.finding, u.limits || o.limits, u.fleet || o.fleet
	u.cross = append(u.cross, o.cross...)
}

func addNew(list []int, v int) []int {
	for _, x := range list {
		if x == v {
			return list
		}
	}
	return append(list, v)
}
