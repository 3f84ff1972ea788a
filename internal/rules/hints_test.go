package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
)

var hinted = []fleet.Model{{ID: "w7", Category: "washing-machine", FaultCodes: []fleet.FaultCode{{Code: "E18"}, {Code: "OK"}},
	Components: []fleet.Component{{Name: "drain-pump", Counter: "cycles", Life: 3000}},
	Fields: []fleet.FieldSpec{{Name: "drain_s", Type: fleet.Float, Unit: "s"}, {Name: "vibration_mm_s", Type: fleet.Float, Unit: "mm/s"},
		{Name: "leak", Type: fleet.Boolean}, {Name: "cycles", Type: fleet.Integer}}}}

// TestHints: what people write who have not read the language is answered with what they can write instead.
func TestHints(t *testing.T) {
	for keys, want := range map[string]string{
		`when: average(drain_s, "24h") > 9`:                   `write avg(field, "24h")`,
		`when: median(drain_s, "24h") > 9`:                    `write quantile(field, 0.5, "24h")`,
		`when: now() > 9`:                                     `nothing in a rule reads a clock`,
		`when: vibration > 9`:                                 `did you mean "vibration_mm_s"?`,
		`when: used("pump") > 9`:                              `did you mean "drain-pump"?`,
		`when: silent > 3600`:                                 `write silent()`,
		`when: link == "lost"`:                                `one of link.online, link.cause`,
		`when: leak == yes`:                                   `write true`,
		`when: leak == 1`:                                     `write leak, or not leak`,
		`when: code == E18`:                                   `a code stands in quotes: "E18"`,
		`when: code == "E81"`:                                 `no model here has a code "E81" (one of E18, OK)`,
		`when: code in ["E18", "E71"]`:                        `no model here has a code "E71"`,
		`when: drain_s = 9`:                                   `unexpected "=" at column 9 (write == to compare)`,
		`when: drain_s => 9`:                                  `(write >=)`,
		`when: drain_s > 9 AND leak`:                          `and, or, not in small letters`,
		`when: drain_s > 90s`:                                 `a number stands without its unit`,
		`when: (drain_s > 9`:                                  `it ends too early (a bracket is not closed)`,
		`when: drain_s > 9)`:                                  `a bracket is closed that was not opened`,
		`when: eta(drain_s, 900) < "7d"`:                      `is in hours: 168`,
		`when: '"1h" < held(leak)'`:                           `held(leak) is in seconds: 3600`,
		`when: drain_s > limits.slow`:                         `(limits: {slow: {value: 90, unit: s}})`,
		"when: drain_s > limits.slow\n    limits: {slow: 90}": `{value: 90, unit: s}, in the unit`,
		"when: drain_s > limits.slow\n    limits: {slow: {value: 2, unit: h}}": `give limits.slow in s: unit: s`,
		"when: leak\n    cause: other":                                         `write [other]`,
		"when: leak\n    cause: [other]":                                       `takes the place of the shipped ones`,
		"when: leak\n    flapping: no":                                         `off, or {times: 4`,
		"when: avg(drain_s, \"1d\") > 9|'{{value \"avg(drain_s, 1d)\"}}'":      "write {{value `avg(drain_s, \"1d\")`}}",
		"when: drain_s > 9|'{{normal \"drain_s\"}}'":                           `does not say what is normal (normal: {drain_s: 'avg(field, "14d")'})`,
		"when: leak\n    evidence: [drain_s]|'{{limit \"drain_s\"}}'":          `the condition compares it with nothing`,
		"when: drain_s > 9|'{{ahead \"drain_s\"}}'":                            `ahead is for hours`,
		"when: leak|'{{cause}}'":                                               `it stays empty`,
		"when: leak|'{{leak}}'":                                                `write {{value "leak"}}`,
		"when: leak\n    normal: {drain_s: avg(drain_s, \"14d\")}":             `bad.yaml:8: not valid YAML: did not find expected ',' or '}' (within { } an expression with commas`,
		"when: leak\n\tfor: 1h":                                                `bad.yaml:8: not valid YAML: found a tab character that violates indentation (indent with blanks`,
		"when: leak|{{.Thing}} leaks":                                          `bad.yaml:10: not valid YAML: did not find expected key (a text that begins with a brace`,
		"when: leak|Close the tap: it leaks":                                   `bad.yaml:10: not valid YAML: mapping values are not allowed in this context (a text with ": " in it`,
		"when: \"leak\" == code":                                               `bad.yaml:7: not valid YAML`,
		"when: leak\n   for: 1h":                                               `bad.yaml:8: not valid YAML`,
		"when: leak|\"{{value \"drain_s\"}}\"":                                 `put the whole text in single quotes`,
	} {
		keys, what, _ := strings.Cut(keys, "|")
		if what == "" {
			what = "x"
		}
		pack := fmt.Sprintf("pack: bad\napplies: {category: washing-machine}\nrules:\n  - id: r\n    kind: fault\n    severity: due\n    %s\n    text:\n      en:\n"+
			"        what: %s\n        why: y\n        otherwise: o\n        do: d\n        clear: c\n      de: {what: w, why: y, otherwise: o, do: d, clear: c}\n", keys, what)
		_, problems := rules.Load(fstest.MapFS{"bad.yaml": {Data: []byte(pack)}}, hinted)
		all := make([]string, 0, len(problems))
		for _, p := range problems {
			all = append(all, p.String())
		}
		if got := strings.Join(all, "\n"); !strings.Contains(got, want) {
			t.Errorf("%s\n     got %s\n    want %s", keys+" "+what, got, want)
		}
	}
}
