package registry

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"aftercare/internal/fleet"
)

const goodModel = `# a comment
model: washer-w7
category: washing-machine
label: {en: washing machine, de: Waschmaschine}
interval: 10m
unknown_fields: drop
chart: [drain_s]
fields:
  drain_s: {type: float, unit: s, min: 0, max: 900, label: {en: draining time, de: Abpumpzeit}}
  door.open: {type: boolean, required: true}
  cycles: {type: integer, unit: "1"}
  program: {type: string}
fault_codes:
  E18:
    meaning: {en: the water does not drain}
    part: drain pump
  12: {meaning: {en: twelve, no: tolv}}
format: cbor
components:
  drain-pump: {label: {en: drain pump}, counter: cycles, life: 2500, part: DP-7}
  door-seal: {label: {en: door seal}}
commands:
  identify: {label: {en: show itself, de: sich zeigen}}
  restart: {label: {en: restart}, disruptive: true}
`

func files(kv ...string) fstest.MapFS {
	out := fstest.MapFS{}
	for i := 0; i < len(kv); i += 2 {
		out[kv[i]] = &fstest.MapFile{Data: []byte(kv[i+1])}
	}
	return out
}

func TestLoadModels(t *testing.T) {
	models, problems := LoadModels(files("washer-w7.yaml", goodModel, "README.md", "not a model"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := []fleet.Model{{ID: "washer-w7", Category: "washing-machine", Interval: 10 * time.Minute, Unknown: fleet.DropUnknown,
		Label: fleet.Words{"en": "washing machine", "de": "Waschmaschine"}, Chart: []string{"drain_s"},
		Fields: []fleet.FieldSpec{
			{Name: "drain_s", Unit: "s", Max: 900, HasMin: true, HasMax: true, Label: fleet.Words{"en": "draining time", "de": "Abpumpzeit"}},
			{Name: "door.open", Type: fleet.Boolean, Required: true},
			{Name: "cycles", Type: fleet.Integer, Unit: "1"},
			{Name: "program", Type: fleet.String}},
		FaultCodes: []fleet.FaultCode{{Code: "E18", Meaning: fleet.Words{"en": "the water does not drain"}, Part: "drain pump"},
			{Code: "12", Meaning: fleet.Words{"en": "twelve", "no": "tolv"}}},
		Format: fleet.FormatCBOR,
		Components: []fleet.Component{{Name: "drain-pump", Label: fleet.Words{"en": "drain pump"}, Counter: "cycles", Life: 2500, Part: "DP-7"},
			{Name: "door-seal", Label: fleet.Words{"en": "door seal"}}},
		Commands: []fleet.CommandSpec{{Name: "identify", Label: fleet.Words{"en": "show itself", "de": "sich zeigen"}},
			{Name: "restart", Label: fleet.Words{"en": "restart"}, Disruptive: true}}}}
	if d := cmp.Diff(want, models); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestShippedModelsHaveNoProblem(t *testing.T) {
	models, problems := LoadModels(os.DirFS("../../configs/models"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	categories := map[string]bool{}
	for _, m := range models {
		categories[m.Category] = true
		if len(m.Components) == 0 || m.Command("identify") == nil || m.Command("restart") == nil || !m.Command("restart").Disruptive {
			t.Errorf("%s: components %v, commands %v", m.ID, m.Components, m.Commands)
		}
		words := []fleet.Words{m.Label}
		for _, c := range m.Components {
			words = append(words, c.Label)
		}
		for _, c := range m.Commands {
			words = append(words, c.Label)
		}
		for _, w := range words {
			if w["en"] == "" || w["de"] == "" {
				t.Errorf("%s: not in both languages: %v", m.ID, w)
			}
		}
	}
	for _, want := range []string{"washing-machine", "refrigerator", "cordless-drill", "base-station", "robot-mower", "office-printer", "laptop", "ev-charger", "car"} {
		if !categories[want] {
			t.Errorf("no profile of category %q", want)
		}
	}
}

// wantProblem checks that the good model with one thing replaced has exactly one problem, on the given line.
func wantProblem(t *testing.T, from, to, want string) {
	t.Helper()
	text := strings.Replace(goodModel, from, to, 1)
	if text == goodModel {
		t.Fatalf("%q is not in the good model", from)
	}
	_, problems := LoadModels(files("washer-w7.yaml", text))
	if len(problems) != 1 || !strings.HasPrefix(problems[0].String(), "washer-w7.yaml:"+want) {
		t.Errorf("%q:\n got  %v\n want washer-w7.yaml:%s", to, problems, want)
	}
}

func TestModelProblemsSayWhere(t *testing.T) {
	wantProblem(t, "interval: 10m", "interval: 600", `5: interval: want a duration, not "600"`)
	wantProblem(t, "interval: 10m", "", `2: interval: the key is missing`)
	wantProblem(t, "category: washing-machine", "category: Washing Machine", `3: category: "Washing Machine": want`)
	wantProblem(t, "unknown_fields: drop", "unknown_field: drop", `6: unknown_field: unknown key (known are category, chart`)
	wantProblem(t, "unknown_fields: drop", "unknown_fields: never", `6: unknown_fields: "never" is none of the words (want keep, drop, refuse)`)
	wantProblem(t, "chart: [drain_s]", "chart: [drain]", `7: chart[0]: there is no field "drain"`)
	wantProblem(t, "chart: [drain_s]", "chart: [program]", `7: chart[0]: field "program" is a string`)
	wantProblem(t, "chart: [drain_s]", "chart: drain_s", `7: chart: want a list`)
	wantProblem(t, "program:", "boot:", `12: fields.boot: "boot" is reserved`)
	wantProblem(t, "program:", "2nd:", `12: fields.2nd: "2nd": want`)
	wantProblem(t, "program:", "cycles:", `12: fields.cycles: the key is there twice`)
	wantProblem(t, `integer, unit: "1"`, `integer`, `11: fields.cycles.unit: a number wants a unit`)
	wantProblem(t, `integer, unit`, `int, unit`, `11: fields.cycles.type: "int" is none of the words`)
	wantProblem(t, `{type: string}`, `{}`, `12: fields.program.type: the key is missing`)
	wantProblem(t, `{type: string}`, `string`, `12: fields.program: want keys and values, not "string"`)
	wantProblem(t, `{type: string}`, `{type: string, min: 1}`, `12: fields.program: min and max are for numbers`)
	wantProblem(t, "max: 900", "max: -1", `9: fields.drain_s: min 0 is above max -1`)
	wantProblem(t, "max: 900", "max: lots", `9: fields.drain_s.max: want a number, not "lots"`)
	wantProblem(t, "max: 900", "max: .nan", `9: fields.drain_s.max: want a number`)
	wantProblem(t, "required: true", `required: "yes"`, `10: fields.door.open.required: want true or false, not "yes"`)
	wantProblem(t, "{en: draining time, de", "{de", `9: fields.drain_s.label: the English text is missing`)
	wantProblem(t, "{en: draining time, de", "{en: draining time, german", `9: fields.drain_s.label.german: not a language`)
	wantProblem(t, "meaning: {en: the water does not drain}", "remedy: {en: x}", `14: fault_codes.E18.meaning: the key is missing`)
	wantProblem(t, "part: drain pump", "part: [a, b]", `16: fault_codes.E18.part: want a text, not a list`)
	wantProblem(t, "model: washer-w7", "model: washer-w8", `2: model: the file is not named like its model`)
	wantProblem(t, "# a comment\nmodel: washer-w7", "model: washer-w7\nmodel: x", `2: model: the key is there twice`)
	wantProblem(t, "chart: [drain_s]", "chart: [drain_s", `6: not YAML`)
	wantProblem(t, "format: cbor", "format: xml", `18: format: "xml" is none of the words (want json, senml-json`)
	wantProblem(t, "counter: cycles", "counter: washes", `20: components.drain-pump.counter: there is no field "washes"`)
	wantProblem(t, "counter: cycles", "counter: program", `20: components.drain-pump.counter: field "program" is a string`)
	wantProblem(t, "counter: cycles", "counter: total(program)", `20: components.drain-pump.counter: total adds up`)
	wantProblem(t, "counter: cycles", "counter: hours(cycles)", `20: components.drain-pump.counter: field "cycles" is of type integer: hours wants`)
	wantProblem(t, "counter: cycles", "counter: starts(washes)", `20: components.drain-pump.counter: there is no field "washes"`)
	wantProblem(t, "counter: cycles, ", "", `20: components.drain-pump.life: a life without a counter`)
	wantProblem(t, "life: 2500", "life: 0", `20: components.drain-pump.life: want more than 0`)
	wantProblem(t, "drain-pump: {label: {en: drain pump}", "Drain pump: {label: {en: drain pump}", `20: components.Drain pump: "Drain pump": want`)
	wantProblem(t, "door-seal: {label: {en: door seal}}", "door-seal: {part: x}", `21: components.door-seal.label: the key is missing`)
	wantProblem(t, "restart: {label: {en: restart}, ", "restart: {", `24: commands.restart.label: the key is missing`)
	wantProblem(t, "disruptive: true", "disruptive: often", `24: commands.restart.disruptive: want true or false`)
	wantProblem(t, "  restart:", "  re-start:", `24: commands.re-start: "re-start": want`)
}

func TestEveryProblemIsReported(t *testing.T) {
	_, problems := LoadModels(files("tick.yaml", "model: tick\ncategory: c\nlabel: {en: x}\ninterval: 1s\nfields:\n  ts: {type: float}\n",
		"empty.yaml", "", "comment.yaml", "# nothing\n", "list.yaml", "- a\n", "two.yaml", "a: 1\n---\nb: 1\n"))
	got := make([]string, 0, len(problems))
	for _, p := range problems {
		got = append(got, strings.SplitN(p.String(), " (", 2)[0])
	}
	want := []string{
		"comment.yaml:1: not YAML: the file is empty",
		"empty.yaml:1: not YAML: the file is empty",
		`list.yaml:1: want keys and values, not a list`,
		`tick.yaml:1: model: "tick" is reserved: it names something else in the database`,
		`tick.yaml:6: fields.ts: "ts" is reserved`,
		`tick.yaml:6: fields.ts.unit: a number wants a unit`,
		"two.yaml:2: a second document begins here",
		"two.yaml:1: a: unknown key",
	}
	if len(got) < len(want) || cmp.Diff(want, got[:len(want)]) != "" {
		t.Errorf("-want +got\n%s", cmp.Diff(want, got))
	}
	if _, problems := LoadModels(files()); len(problems) != 1 {
		t.Errorf("an empty folder: %v", problems)
	}
}

func TestOneUnitForAFieldOfACategory(t *testing.T) {
	other := strings.NewReplacer("washer-w7", "washer-w9", "unit: s", "unit: min").Replace(goodModel)
	_, problems := LoadModels(files("washer-w7.yaml", goodModel, "washer-w9.yaml", other))
	if len(problems) != 1 || problems[0].Line != 9 || !strings.Contains(problems[0].String(), `"min" here and "s" in washer-w7.yaml`) {
		t.Errorf("%v", problems)
	}
	other = strings.Replace(other, "category: washing-machine", "category: dryer", 1)
	if _, problems := LoadModels(files("washer-w7.yaml", goodModel, "washer-w9.yaml", other)); len(problems) > 0 {
		t.Errorf("other category: %v", problems)
	}
}

func FuzzLoadModels(f *testing.F) {
	f.Add(goodModel)
	f.Add("model: &a x\nfields: {a: *a}\n")
	f.Add("# only\n")
	f.Add("components: {a: {label: {en: x}, counter: b, life: 1}}\ncommands: {c: {label: {en: y}, disruptive: true}}\nformat: line\n")
	f.Add("fields: [")
	f.Fuzz(func(t *testing.T, text string) {
		models, problems := LoadModels(files("washer-w7.yaml", text))
		if len(problems) > 0 {
			return
		}
		m := models[0]
		for _, c := range m.Components {
			f := m.Field(c.Counter)
			if c.Label["en"] == "" || (c.Counter != "" && (f == nil || f.Type == fleet.String || f.Type == fleet.Boolean)) || (c.Life != 0 && c.Counter == "") {
				t.Errorf("accepted component %+v", c)
			}
		}
		for _, c := range m.Commands {
			if c.Label["en"] == "" || m.Command(c.Name) == nil {
				t.Errorf("accepted command %+v", c)
			}
		}
		if m.ID != "washer-w7" || m.Interval <= 0 || len(m.Fields) == 0 || m.Label["en"] == "" {
			t.Errorf("accepted without a problem: %+v", m)
		}
	})
}
