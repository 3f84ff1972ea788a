package ruletest

import (
	"testing"
	"testing/fstest"

	"aftercare/internal/rules"
)

const aroundPack = `pack: around
applies: {category: washing-machine}
rules:
  - {id: slow, kind: fault, severity: due, when: drain_s > limits.top, limits: {top: {value: 70}}, cause: [off], applies: {firmware: "<2"}, text: &t {en: &l {what: w, why: y, otherwise: o, do: d, clear: c}, de: *l}}
  - {id: off, kind: fault, severity: watch, when: not link.online, for: 1h, text: *t}
  - {id: hot, kind: fault, levels: [{severity: watch, when: cycles > 5}, {severity: fault, when: cycles > 9}], text: *t}
`

// around is a test's body below its name and model, with rules that look at what is around a device.
func around(t *testing.T, body string, failed int) {
	t.Helper()
	set, problems := rules.Load(fstest.MapFS{"p.yaml": {Data: []byte(aroundPack)}}, models())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	r, problems := Run(set, models(), "p_test.yaml", []byte("tests:\n  - name: n\n    model: w\n"+body))
	if len(problems) > 0 || r.Tests != 1 || len(r.Failures) != failed {
		t.Errorf("%s%v %v", body, problems, r.Failures)
	}
}

func TestFactsOfATest(t *testing.T) {
	around(t, "    series: {drain_s: 80x9}\n    want: none\n", 0)
	around(t, "    series: {drain_s: 80x9}\n    facts: [{firmware: 1.9}]\n    want: [{at: 0s, rule: slow}]\n", 0)
	around(t, "    series: {drain_s: 80x9}\n    facts: [{firmware: 1.9, limits: {slow.top: 90}}, {at: 35m, limits: {}}, {at: 65m, firmware: 2.0}]\n"+
		"    want: [{at: 40m, rule: slow}, {at: 60m..65m1s, rule: slow, phase: cleared}]\n", 0)
	around(t, "    series: {drain_s: 80x9}\n    facts: [{firmware: 1.9, maintenance: {from: 0s, to: 30m}}]\n    want: [{at: 30m, rule: slow}]\n", 0)
	around(t, "    series: {drain_s: 80x9}\n    facts: [{firmware: 1.9}, {at: 35m, revoked: true}]\n    want: [{at: 0s, rule: slow}, {at: 30m..36m, rule: slow, phase: cleared}]\n", 0)
}

func TestPresenceOfATest(t *testing.T) {
	around(t, "    presence: [{at: 1h, online: false}, {at: 3h, online: true}]\n    want: [{at: 2h, rule: off}, {at: 3h, rule: off, phase: cleared}]\n", 0)
	around(t, "    presence: [{at: 1h, online: false}]\n    facts: [{stored: [{from: 1h, to: 5h}]}]\n    until: 8h\n    want: [{at: 5h, rule: off}]\n", 0)
	around(t, "    series: {drain_s: 55x3 80x20}\n    facts: [{firmware: 1}]\n    presence: [{at: 1h, online: false, cause: station_lost}]\n"+
		"    want: [{at: 30m, rule: slow}, {at: 2h, rule: off}, {at: 2h, rule: slow, phase: updated, cause: off}]\n", 0)
}

func TestDeliveryOfATest(t *testing.T) {
	around(t, "    series: {cycles: 1x6 10x6 1}\n    offline: [{from: 50m, to: 70m}]\n    twice: true\n"+
		"    want: [{at: 1h, rule: hot, severity: fault}, {at: 2h, rule: hot, phase: cleared}]\n", 0)
	around(t, "    series: {cycles: 1x6 6x3 10x6 1}\n    want: [{at: 1h, rule: hot}, {at: 90m, rule: hot, phase: updated, severity: fault, flapping: false}, {at: 150m, rule: hot, phase: cleared, cause: off}]\n", 2)
}
