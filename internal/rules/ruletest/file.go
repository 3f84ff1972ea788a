package ruletest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
)

// text is a scalar with its place in the file.
type text struct {
	s    string
	line int
}

// UnmarshalYAML takes a scalar as it is written.
func (t *text) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: want a single value", n.Line)
	}
	t.s, t.line = n.Value, n.Line
	return nil
}

// fileYAML is a test file as people write it; see the package's comment.
type fileYAML struct {
	Tests []testYAML `yaml:"tests"`
}

type testYAML struct {
	Name     text            `yaml:"name"`
	Model    text            `yaml:"model"`
	Every    text            `yaml:"every"`
	Series   map[string]text `yaml:"series"`
	Events   []eventYAML     `yaml:"events"`
	Facts    []factYAML      `yaml:"facts"`
	Presence []presenceYAML  `yaml:"presence"`
	Offline  []spanYAML      `yaml:"offline"`
	Twice    text            `yaml:"twice"`
	Stopped  []spanYAML      `yaml:"stopped"`
	Until    text            `yaml:"until"`
	Want     wantsYAML       `yaml:"want"`
}

type eventYAML struct {
	At   text `yaml:"at"`
	Code text `yaml:"code"`
}

type spanYAML struct {
	From text `yaml:"from"`
	To   text `yaml:"to"`
}

type wantYAML struct {
	At       text `yaml:"at"`
	Rule     text `yaml:"rule"`
	Phase    text `yaml:"phase"`
	Severity text `yaml:"severity"`
	Cause    text `yaml:"cause"`
	Flapping text `yaml:"flapping"`
}

var wantKeys = []string{"at", "rule", "phase", "severity", "cause", "flapping"}

// wantsYAML is a list, or the word none: a test that expects nothing has to say so.
type wantsYAML struct {
	given bool
	list  []wantYAML
}

// UnmarshalYAML reads either form.
func (w *wantsYAML) UnmarshalYAML(n *yaml.Node) error {
	w.given = true
	if n.Kind == yaml.ScalarNode && n.Value == "none" {
		return nil
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		return fmt.Errorf("line %d: want a list of findings, or none", n.Line)
	}
	for _, item := range n.Content {
		for i := 0; item.Kind == yaml.MappingNode && i < len(item.Content); i += 2 {
			if k := item.Content[i]; !slices.Contains(wantKeys, k.Value) {
				return fmt.Errorf("line %d: %q is none of %s", k.Line, k.Value, strings.Join(wantKeys, ", "))
			}
		}
	}
	return n.Decode(&w.list)
}

// test is one test, checked.
type test struct {
	name    string
	line    int
	model   *fleet.Model
	every   time.Duration
	fields  []string // sorted
	series  map[string][]point
	events  []event
	facts   []fact
	links   []link
	offline []span
	twice   bool
	stopped []span
	until   time.Duration
	want    []want
}

type event struct {
	at   time.Duration
	code string
}

type span struct{ from, to time.Duration }

// want is one finding that is expected between two times, both included.
type want struct {
	line     int
	rule     string
	phase    fleet.Phase
	severity fleet.Severity
	any      bool // of a rule with levels: whatever severity
	cause    *string
	flapping *bool
	from, to time.Duration
}

func (w want) String() string {
	at := spell(w.from)
	if w.to != w.from {
		at += ".." + spell(w.to)
	}
	severity := w.severity.String()
	if w.any {
		severity = "any severity"
	}
	return fmt.Sprintf("%s %s (%s) at %s", w.rule, w.phase, severity, at)
}

// checker collects the mistakes of one file.
type checker struct {
	file     string
	models   []fleet.Model
	known    func(rule string) (*rules.Rule, bool)
	ids      []string // of all rules
	problems []fleet.Problem
}

func (c *checker) problem(line int, path, format string, args ...any) {
	c.problems = append(c.problems, fleet.Problem{File: c.file, Line: line, Path: path, Message: fmt.Sprintf(format, args...)})
}

func (c *checker) hinted(line int, path, hint, format string, args ...any) {
	c.problem(line, path, format, args...)
	c.problems[len(c.problems)-1].Hint = hint
}

// stranger notes a rule that is not there.
func (c *checker) stranger(line int, path, rule string) {
	hint := rules.Suggest(rule, c.ids)
	if !strings.HasPrefix(hint, "did") {
		hint = "is its pack in the folder --rules.dir?"
	}
	c.hinted(line, path, hint, "unknown rule %q", rule)
}

// parse reads a test file. Tests with a mistake are not in what it returns.
func (c *checker) parse(body []byte) []test {
	dec := yaml.NewDecoder(bytes.NewReader(body))
	dec.KnownFields(true)
	var f fileYAML
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		c.unread(err)
		return nil
	}
	if len(f.Tests) == 0 {
		c.problem(1, "tests", "there is no test in it")
	}
	var out []test
	for i := range f.Tests {
		before := len(c.problems)
		if t := c.test(&f.Tests[i], fmt.Sprintf("tests[%d]", i)); len(c.problems) == before {
			out = append(out, t)
		}
	}
	return out
}

func (c *checker) test(y *testYAML, path string) test {
	t := test{name: y.Name.s, line: y.Name.line, series: map[string][]point{}}
	if t.name == "" {
		c.problem(max(y.Model.line, y.Name.line), path, "name is missing")
	}
	i := slices.IndexFunc(c.models, func(m fleet.Model) bool { return m.ID == y.Model.s })
	if i < 0 {
		c.problem(max(y.Model.line, y.Name.line), path+".model", "unknown model %q", y.Model.s)
		return t
	}
	t.model = &c.models[i]
	if t.every = t.model.Interval; y.Every.s != "" {
		t.every = c.time(y.Every, path+".every")
	}
	if t.every < time.Second {
		c.problem(max(y.Every.line, t.line), path+".every", "want at least 1s between two readings")
		return t
	}
	for _, name := range slices.Sorted(maps.Keys(y.Series)) {
		c.series(&t, name, y.Series[name], path+".series."+name)
	}
	for _, e := range y.Events {
		if e.Code.s == "" {
			c.problem(e.At.line, path+".events", "code is missing")
		}
		t.events = append(t.events, event{c.time(e.At, path+".events"), e.Code.s})
		t.until = max(t.until, t.events[len(t.events)-1].at)
	}
	c.facts(&t, y.Facts, path+".facts")
	c.presence(&t, y.Presence, path+".presence")
	c.offline(&t, y.Offline, path+".offline")
	if y.Twice.s != "" {
		t.twice = c.truth(y.Twice, path+".twice")
	}
	for _, s := range y.Stopped {
		t.stopped = append(t.stopped, span{c.time(s.From, path+".stopped"), c.time(s.To, path+".stopped")})
		last := t.stopped[len(t.stopped)-1]
		if n := len(t.stopped); last.from >= last.to || n > 1 && last.from <= t.stopped[n-2].to {
			c.problem(s.From.line, path+".stopped", "want from before to, and one after the other")
		}
		t.until = max(t.until, last.to)
	}
	if y.Until.s != "" {
		t.until = max(t.until, c.time(y.Until, path+".until"))
	}
	if !y.Want.given {
		c.problem(t.line, path+".want", "want is missing: a list of findings, or none")
	}
	for _, w := range y.Want.list {
		t.want = append(t.want, c.want(&w, path+".want"))
	}
	return t
}

func (c *checker) series(t *test, name string, y text, path string) {
	i := slices.IndexFunc(t.model.Fields, func(f fleet.FieldSpec) bool { return f.Name == name })
	if i < 0 {
		fields := make([]string, len(t.model.Fields))
		for k := range fields {
			fields[k] = t.model.Fields[k].Name
		}
		c.hinted(y.line, path, rules.Suggest(name, fields), "model %s has no field %q", t.model.ID, name)
		return
	}
	spec := &t.model.Fields[i]
	points, err := parseSeries(y.s, spec.Type)
	if err != nil {
		c.problem(y.line, path, "%v", err)
		return
	}
	for _, p := range points {
		v := p.value.Float
		if p.value.Type == fleet.Integer {
			v = float64(p.value.Int)
		}
		if !p.gap && (spec.HasMin && v < spec.Min || spec.HasMax && v > spec.Max) && spec.Type != fleet.String && spec.Type != fleet.Boolean {
			c.problem(y.line, path, "%g is outside %g to %g: such a reading is put into quarantine", v, spec.Min, spec.Max)
			return
		}
	}
	t.fields = append(t.fields, name)
	t.series[name] = points
	if last := time.Duration(len(points)-1) * t.every; last > maxSpan {
		c.problem(y.line, path, "the series lasts longer than %d days", maxSpan/(24*time.Hour))
	} else {
		t.until = max(t.until, last)
	}
}

func (c *checker) want(y *wantYAML, path string) want {
	w := want{line: max(y.Rule.line, y.At.line), rule: y.Rule.s, phase: fleet.Phase(y.Phase.s)}
	rule, known := c.known(w.rule)
	if !known {
		c.stranger(w.line, path, w.rule)
		return w
	}
	if err := w.check(y); err != nil {
		c.problem(y.Flapping.line, path, "%v", err)
	}
	if y.Cause.s != "" {
		w.cause = &y.Cause.s
	}
	if w.phase == "" {
		w.phase = fleet.Opened
	}
	if !slices.Contains([]fleet.Phase{fleet.Opened, fleet.Updated, fleet.Cleared}, w.phase) {
		c.problem(w.line, path, "phase %q: want opened, updated or cleared", y.Phase.s)
	}
	w.severity, w.any = rule.Severity, len(rule.Levels) > 0
	if y.Severity.s != "" {
		w.any = false
		if err := w.severity.UnmarshalText([]byte(y.Severity.s)); err != nil {
			c.problem(y.Severity.line, path, "%v", err)
		}
	}
	from, to, ok := strings.Cut(y.At.s, "..")
	if !ok {
		to = from
	}
	w.from = c.time(text{from, y.At.line}, path+".at")
	if w.to = c.time(text{to, y.At.line}, path+".at"); w.to < w.from {
		c.problem(w.line, path, "at %q: the end is before the begin", y.At.s)
	}
	return w
}

func (c *checker) time(t text, path string) time.Duration {
	d, err := parseTime(t.s)
	if err != nil {
		c.problem(t.line, path, "%v", err)
	}
	return d
}
