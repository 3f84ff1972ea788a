package rules_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
)

// TestOneMistakeHidesNoOther: a wrong condition keeps nobody from hearing of the mistakes in the rule's texts.
func TestOneMistakeHidesNoOther(t *testing.T) {
	pack := `pack: x
applies: {models: [w7]}
rules:
  - id: a-b
    kind: fault
    severity: due
    when: drian_s > 5
    text:
      en: {what: "{{.Nothing}}", why: "a", otherwise: "b", do: "c", clear: "d"}
      de: {what: "{{.Thing}}", why: "a", otherwise: "b", do: "c", clear: "d"}
`
	models := []fleet.Model{{ID: "w7", Category: "washing-machine", Fields: []fleet.FieldSpec{{Name: "drain_s"}}}}
	_, problems := rules.Load(fstest.MapFS{"x.yaml": {Data: []byte(pack), Mode: os.ModePerm}}, models)
	all := make([]string, 0, len(problems))
	for _, p := range problems {
		all = append(all, p.String())
	}
	got := strings.Join(all, "\n")
	if len(problems) != 2 || !strings.Contains(got, "x.yaml:7") || !strings.Contains(got, "{{.Nothing}}") {
		t.Errorf("problems:\n%s", got)
	}
}
