package ruletest

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"aftercare/configs"
	"aftercare/internal/fleet"
	"aftercare/internal/registry"
	"aftercare/internal/rules"
)

const pack = `pack: test
applies: {category: washing-machine}
rules:
  - {id: slow, kind: fault, severity: due, when: drain_s > 70, for: 30m, clear: drain_s < 60, text: &t {en: &l {what: w, why: y, otherwise: o, do: d, clear: c}, de: *l}}
  - {id: silent, kind: fault, severity: watch, when: age(drain_s) > 7200, text: *t}
  - {id: e18, kind: fault, severity: fault, when: code == "E18", clear: code == "OK", text: *t}
`

func models() []fleet.Model {
	return []fleet.Model{{ID: "w", Category: "washing-machine", Interval: 10 * time.Minute, Fields: []fleet.FieldSpec{
		{Name: "drain_s", Type: fleet.Float, HasMin: true, HasMax: true, Max: 900}, {Name: "cycles", Type: fleet.Integer},
	}}}
}

func run(t *testing.T, tests string) (Result, []fleet.Problem) {
	t.Helper()
	set, problems := rules.Load(fstest.MapFS{"p.yaml": {Data: []byte(pack)}, "p_test.yaml": {Data: []byte("no pack")}}, models())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return Run(set, models(), "p_test.yaml", []byte(tests))
}

// passes and fails are one case each: a test's body below its name and model.
func passes(t *testing.T, body string) {
	t.Helper()
	r, problems := run(t, "tests:\n  - name: n\n    model: w\n"+body)
	if len(problems) > 0 || r.Tests != 1 || r.Failed != 0 {
		t.Errorf("%s%v %v", body, problems, r.Failures)
	}
}

func fails(t *testing.T, body string, line int, want ...string) {
	t.Helper()
	r, problems := run(t, "tests:\n  - name: n\n    model: w\n"+body)
	if len(problems) > 0 || r.Failed != 1 || len(r.Failures) != 1 {
		t.Errorf("%s%v %v", body, problems, r.Failures)
		return
	}
	f := r.Failures[0]
	if f.File != "p_test.yaml" || f.Line != line || f.Path != "n" {
		t.Errorf("%sat %s:%d %s, want line %d", body, f.File, f.Line, f.Path, line)
	}
	for _, w := range want {
		if !strings.Contains(f.Message, w) {
			t.Errorf("%sthe failure says %q, not %q", body, f.Message, w)
		}
	}
}

// TestPasses: `for` fires at its exact moment, whatever the readings' interval; silence is seen by ticks alone; what arrives
// after a stop of ours is of its own time, and the stop counts for no absence.
func TestPasses(t *testing.T) {
	passes(t, "    series: {drain_s: 55x3 80x6 50}\n    want: [{at: 1h, rule: slow}, {at: 90m, rule: slow, phase: cleared}]\n")
	passes(t, "    series: {drain_s: 55}\n    until: 5h\n    want: [{at: 2h..2h1m, rule: silent}]\n")
	passes(t, "    series: {drain_s: 55}\n    until: 4h\n    stopped: [{from: 1h, to: 3h}]\n    want: none\n")
	passes(t, "    series: {drain_s: 55}\n    until: 5h\n    stopped: [{from: 1h, to: 3h}]\n    want: [{at: 2h..2h1m, rule: silent}]\n")
	passes(t, "    series: {drain_s: 55}\n    stopped: [{from: 1h, to: 6h}]\n    want: none\n")
	passes(t, "    series: {drain_s: 55x10}\n    events: [{at: 65m, code: OK}, {at: 45m, code: E18}]\n    want: [{at: 65m, rule: e18, phase: cleared}, {at: 45m, rule: e18, severity: fault}]\n")
	passes(t, "    every: 1m\n    series: {drain_s: 80x10 _x5 55, cycles: 1x16}\n    want: none\n")
	passes(t, "    series: {cycles: 1}\n    events: [{at: 1m, code: E18}, {at: 2m, code: OK}, {at: 3m, code: E18}]\n    want: [{at: 0s..5m, rule: e18}, {at: 2m, rule: e18, phase: cleared}, {at: 0s..5m, rule: e18}]\n")
}

func TestFailsWithLineAndValues(t *testing.T) {
	fails(t, "    series: {drain_s: 55x3 80x6}\n    want: none\n", 2, "got slow opened (due) at 1h", "not wanted", "because of drain_s 80", "values at 1h: drain_s 80")
	fails(t, "    series: {drain_s: 55x3 _x2}\n    want:\n      - {at: 30m, rule: slow}\n", 6, "want slow opened (due) at 30m", "got nothing of this rule", "values at 30m: drain_s 55")
	fails(t, "    series: {drain_s: 55x3}\n    events: [{at: 1m, code: E18}]\n    want:\n      - {at: 1m, rule: e18}\n      - {at: 1m, rule: e18}\n", 8, "want e18", "code E18")
	r, _ := run(t, "tests: [{name: n, model: w, series: {drain_s: 55x3 80x6}, want: [{at: 50m, rule: slow}]}]")
	if len(r.Failures) != 2 || !strings.Contains(r.Failures[0].Message, "got slow opened (due) at 1h;") {
		t.Errorf("a finding at another time: %v", r.Failures)
	}
}

// TestMistakes: what a test file has wrong is told with its line, and such a test is not run.
func TestMistakes(t *testing.T) {
	for body, want := range map[string]string{
		"series: {drain: 5}\n    want: none":                                    `no field "drain" (did you mean "drain_s"?)`,
		"series: {drain_s: 5x}\n    want: none":                                 `"5x" is not a number`,
		"series: {drain_s: 901}\n    want: none":                                "quarantine",
		"series: {drain_s: 5}":                                                  "want is missing",
		"series: {drain_s: 5}\n    want: []":                                    "want a list of findings, or none",
		"series: {drain_s: 5}\n    want: [{at: 1h, rule: fast}]":                `unknown rule "fast" (is its pack`,
		"series: {drain_s: 5}\n    want: [{at: 1h, rule: slwo}]":                `did you mean "slow"?`,
		"series: {drain_s: 5}\n    want: [{at: 1h, rule: slow, phase: ended}]":  `phase "ended"`,
		"series: {drain_s: 5}\n    want: [{at: 2h..1h, rule: slow}]":            "end is before the begin",
		"series: {drain_s: 5}\n    want: [{at: 1h, rule: slow, severity: bad}]": `severity "bad"`,
		"series: {drain_s: 5}\n    want: [{at: 1h, rul: slow}]":                 `"rul" is none of`,
		"serie: {drain_s: 5}\n    want: none":                                   `unknown key "serie" (did you mean "series"?)`,
		"every: 0s\n    series: {drain_s: 5}\n    want: none":                   "at least 1s",
		"events: [{at: 1h}]\n    want: none":                                    "code is missing",
		"stopped: [{from: 2h, to: 1h}]\n    want: none":                         "want from before to",
		"facts: [{at: 1h}, {at: 30m}]\n    want: none":                          "in order of time",
		"facts: [{services: [pump]}]\n    want: none":                           `no component "pump"`,
		"facts: [{limits: {slow: 5}}]\n    want: none":                          "want rule-id.name",
		"facts: [{limits: {fast.x: 5}}]\n    want: none":                        `unknown rule "fast"`,
		"facts: [{limits: {slow.x: y}}]\n    want: none":                        `"y" is not a number`,
		"facts: [{stored: [{from: 2h, to: 1h}]}]\n    want: none":               "want from before to",
		"facts: [{revoked: maybe}]\n    want: none":                             "want true or false",
		"presence: [{at: 1h, cause: lost}]\n    want: none":                     "want true or false",
		"presence: [{at: 1h, online: true, cause: back}]\n    want: none":       `cause "back"`,
		"offline: [{from: 2h, to: 1h}]\n    want: none":                         "want from before to",
		"series: {drain_s: 5}\n    want: [{at: 1h, rule: slow, flapping: so}]":  "want true or false",
		"every: 100d\n    series: {drain_s: 5x9}\n    want: none":               "longer than",
	} {
		r, problems := run(t, "tests:\n  - name: n\n    model: w\n    "+body+"\n")
		if len(problems) == 0 || r.Tests != 0 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%s: %v, %d run; want %q", body, problems, r.Tests, want)
		} else if p := problems[0]; p.Line == 0 && !strings.Contains(p.Message, "line ") {
			t.Errorf("%s: %v names no line", body, p)
		}
	}
	for body, want := range map[string]string{"": "no test", "tests: [": "not valid YAML", "pack: x": "this is a rule pack", "tests: [{name: n, model: q, want: none}]": `unknown model "q"`, "tests: [{model: w, want: none}]": "name is missing"} {
		if _, problems := run(t, body); len(problems) == 0 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%q: %v, want %q", body, problems, want)
		}
	}
}

// FuzzFile: no test file makes the runner panic or run without an end.
func FuzzFile(f *testing.F) {
	f.Add("tests: [{name: n, model: w, series: {drain_s: 55x3 80x6}, events: [{at: 1h, code: E18}], stopped: [{from: 1h, to: 2h}], until: 3h, want: none}]")
	f.Add("tests: [{name: n, model: w, every: 1s, until: 1d, want: [{at: 1h..2h, rule: slow, phase: cleared, severity: due}]}]")
	set, problems := rules.Load(fstest.MapFS{"p.yaml": {Data: []byte(pack)}}, models())
	if len(problems) > 0 {
		f.Fatal(problems)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > 2000 {
			return
		}
		r, problems := Run(set, models(), "f", []byte(body))
		if r.Failed > 0 != (len(r.Failures) > 0) || r.Tests == 0 && len(problems) == 0 {
			t.Fatalf("%+v %v", r, problems)
		}
	})
}

// shipped loads the packs and profiles that come with the product.
func shipped(t *testing.T) (fs.FS, []fleet.Model, *rules.Set) {
	t.Helper()
	sub := func(name string) fs.FS {
		f, err := fs.Sub(configs.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	models, problems := registry.LoadModels(sub("models"))
	set, more := rules.Load(sub("rules"), models)
	if problems = append(problems, more...); len(problems) > 0 {
		t.Fatal(problems)
	}
	return sub("rules"), models, set
}

// TestShippedRules runs the tests beside the shipped packs (STYLE 22). Every rule must open in one of them, and every model
// that has rules must have a healthy life in which nothing is found.
func TestShippedRules(t *testing.T) {
	fsys, models, set := shipped(t)
	names, err := fs.Glob(fsys, "*_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var opened, healthy []string
	for _, name := range names {
		body, err := fs.ReadFile(fsys, name)
		if err != nil {
			t.Fatal(err)
		}
		r, problems := Run(set, models, name, body)
		for _, p := range append(problems, r.Failures...) {
			t.Error(p)
		}
		opened, healthy = append(opened, r.Opened...), append(healthy, r.Healthy...)
	}
	for _, r := range set.Rules() {
		if !slices.Contains(opened, r.ID) {
			t.Errorf("%s:%d: no test in which %s fires", r.File, r.Line, r.ID)
		}
		for _, m := range r.Models {
			if !slices.Contains(healthy, m) {
				t.Errorf("%s: no test in which nothing is found for %s", r.File, m)
			}
		}
	}
}

// TestEveryCodeHasARule: a fault code that a profile documents, other than the all-clear, opens an episode of some rule, and
// OK ends it: a device that says what it suffers from is heard.
func TestEveryCodeHasARule(t *testing.T) {
	_, models, set := shipped(t)
	codes := 0
	for i := range models {
		for _, c := range models[i].FaultCodes {
			code := c.Code
			if code == "OK" {
				continue
			}
			codes++
			life := test{model: &models[i], every: time.Minute, events: []event{{time.Minute, code}, {time.Hour, "OK"}}, until: 2 * time.Hour}
			got := life.run(set)
			phases := make([]fleet.Phase, 0, len(got))
			for _, f := range got {
				phases = append(phases, f.Phase)
			}
			if !slices.Equal(phases, []fleet.Phase{fleet.Opened, fleet.Cleared}) {
				t.Errorf("%s: code %s gives %v, want one episode that OK ends", models[i].ID, code, phases)
			}
		}
	}
	if codes < 20 {
		t.Errorf("only %d codes: the test does not see the profiles", codes)
	}
}
