package words

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"aftercare/internal/fleet"
)

var update = flag.Bool("update", false, "write the golden files")

var washer = fleet.Model{ID: "washer-w7", Category: "washing-machine",
	Label: fleet.Words{"en": "washing machine", "de": "Waschmaschine"},
	Fields: []fleet.FieldSpec{
		{Name: "drain_s", Type: fleet.Float, Unit: "s", Label: fleet.Words{"en": "draining time", "de": "Abpumpzeit"}},
		{Name: "door_open", Type: fleet.Boolean, Label: fleet.Words{"en": "door open", "de": "Tür offen"}},
	},
	FaultCodes: []fleet.FaultCode{{Code: "E18", Part: "drain pump",
		Meaning: fleet.Words{"en": "the water is not pumped out", "de": "das Wasser wird nicht abgepumpt"},
		Cause:   fleet.Words{"en": "The drain filter is clogged.", "de": "Das Flusensieb ist verstopft."},
		Remedy:  fleet.Words{"en": "Clean the drain filter: 10 minutes, no tool.", "de": "Reinigen Sie das Flusensieb: 10 Minuten, kein Werkzeug."}}},
}

var freezer = fleet.Model{ID: "freezer-f2", Category: "freezer", Label: fleet.Words{"en": "freezer", "de": "Gefrierschrank"},
	Fields: []fleet.FieldSpec{{Name: "temp_c", Type: fleet.Float, Unit: "°C", Label: fleet.Words{"en": "temperature", "de": "Temperatur"}}}}

var drainTexts = fleet.Texts{
	"en": {
		What:      `{{.Thing}} drains slowly.`,
		Why:       `Draining took {{value "drain_s"}} {{at "drain_s"}}; yours usually needs {{normal "drain_s"}}.`,
		Otherwise: `In most machines the pump stops within about two weeks.`,
		Do:        `Clean the drain filter: 10 minutes, no tool.`,
		Cost:      `{{if cover}}{{cover}}: a visit costs you nothing.{{end}}`,
		Clear:     `{{.Thing}} drains normally again.`,
	},
	"de": {
		What:      `{{.Thing}} pumpt langsam ab.`,
		Why:       `Das Abpumpen dauerte {{at "drain_s"}} {{value "drain_s"}}; sonst braucht Ihre {{normal "drain_s"}}.`,
		Otherwise: `Meist bleibt die Pumpe nach etwa zwei Wochen stehen.`,
		Do:        `Reinigen Sie das Flusensieb: 10 Minuten, kein Werkzeug.`,
		Cost:      `{{if cover}}{{cover}}: Ein Besuch kostet Sie nichts.{{end}}`,
		Clear:     `{{.Thing}} pumpt wieder normal ab.`,
	},
}

var codeTexts = fleet.Texts{
	"en": {What: `{{.Thing}} has stopped: {{code}}.`, Why: `It has been so since {{since}}. {{cause}}.`, Do: `{{remedy}}.`,
		Cost: `{{with part}}If that does not help, bring a new {{.}}.{{end}} {{cover}}.`, Clear: `{{.Thing}} runs again.`},
	"de": {What: `{{.Thing}} steht: {{code}}.`, Why: `Das ist seit {{since}} so. {{cause}}.`, Do: `{{remedy}}.`,
		Cost: `{{cover}}.`, Clear: `{{.Thing}} läuft wieder.`},
}

var coldTexts = fleet.Texts{
	"en": {What: `{{.Thing}} is at {{value "temp_c"}} and rising since {{since}}.`, Why: `It should stay below {{limit "temp_c"}} (usually {{normal "temp_c"}}).`,
		Do: `Close the door.`, Clear: `{{.Thing}} is cold again: {{value "temp_c"}}.`},
	"de": {What: `{{.Thing}} hat {{value "temp_c"}}, steigend seit {{since}}.`, Why: `Unter {{limit "temp_c"}} sollte es bleiben (sonst {{normal "temp_c"}}).`,
		Do: `Schließen Sie die Tür.`, Clear: `{{.Thing}} ist wieder kalt: {{value "temp_c"}}.`},
}

func renderer() *Renderer {
	return New([]fleet.Model{washer, freezer}, func(rule string) fleet.Texts {
		return map[string]fleet.Texts{"drain": drainTexts, "code": codeTexts, "cold": coldTexts,
			"broken": {"en": {What: `{{.Nothing}}`, Why: `{{value}}`, Do: `{{end`}}}[rule]
	})
}

var now = time.Date(2025, 11, 21, 17, 30, 0, 0, time.UTC) // Friday, 18:30 in Berlin

func caseOf(rule, model string, ev ...fleet.Evidence) *fleet.Case {
	return &fleet.Case{ID: "case-1", Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, Model: model, Rule: rule,
		Kind: fleet.KindMaintenance, Severity: fleet.Due, OpenedAt: now.Add(-72 * time.Hour),
		Episodes: []fleet.Episode{{Rule: rule, OpenedAt: now.Add(-24*time.Hour - 10*time.Minute), Evidence: ev}}}
}

func drain() fleet.Evidence {
	return fleet.Evidence{Name: "drain_s", Value: 94.2, Unit: "s", At: now.Add(-24*time.Hour - 10*time.Minute), Normal: 55.1, HasNormal: true, Limit: 70, HasLimit: true}
}

func temp() fleet.Evidence {
	return fleet.Evidence{Name: "temp_c", Value: -9.04, Unit: "°C", At: now, Normal: -18.25, HasNormal: true, Limit: -15, HasLimit: true}
}

func TestGolden(t *testing.T) {
	cellar := fleet.Device{Room: "cellar", Region: "DE", WarrantyUntil: time.Date(2025, 12, 14, 12, 0, 0, 0, time.UTC)}
	named := fleet.Device{Name: "Washing machine in the cellar", Region: "GB"}
	berta := fleet.Device{Name: "Berta", Region: "DE"}
	noNormal := drain()
	noNormal.HasNormal = false
	code := fleet.Evidence{Name: "code", Text: "E18", At: now}
	unknownCode := fleet.Evidence{Name: "code", Text: "E99", At: now}
	cases := []struct {
		name   string
		topic  string
		c      *fleet.Case
		device *fleet.Device
		region string // of the English reader
	}{
		{"drain", "opened", caseOf("drain", "washer-w7", drain()), &cellar, "GB"},
		{"drain-named", "opened", caseOf("drain", "washer-w7", drain()), &named, "GB"},
		{"drain-berta", "escalated", caseOf("drain", "washer-w7", drain()), &berta, "GB"},
		{"drain-no-normal", "opened", caseOf("drain", "washer-w7", noNormal), &cellar, "GB"},
		{"drain-no-evidence", "opened", caseOf("drain", "washer-w7"), &cellar, "GB"},
		{"drain-cleared", "cleared", caseOf("drain", "washer-w7", drain()), &cellar, "GB"},
		{"code", "opened", caseOf("code", "washer-w7", code), &cellar, "GB"},
		{"code-unknown", "opened", caseOf("code", "washer-w7", unknownCode), &cellar, "GB"},
		{"cold", "opened", caseOf("cold", "freezer-f2", temp()), nil, "GB"},
		{"cold-us", "opened", caseOf("cold", "freezer-f2", temp()), nil, "US"},
		{"cold-cleared-no-evidence", "cleared", caseOf("cold", "freezer-f2"), nil, "GB"},
		{"rule-gone", "opened", caseOf("gone", "washer-w7", drain()), &cellar, "GB"},
		{"rule-broken", "opened", caseOf("broken", "washer-w7", drain()), &cellar, "GB"},
	}
	r := renderer()
	for _, c := range cases {
		for _, p := range []fleet.Person{{Locale: "en-" + c.region, Zone: "Europe/Berlin"}, {Locale: "de-DE", Zone: "Europe/Berlin"}} {
			t.Run(c.name+"/"+p.Locale, func(t *testing.T) {
				got := r.Render(Input{Topic: c.topic, Case: c.c, Device: c.device, Person: &p, Now: now})
				text := fmt.Sprintf("%s\n\n%s\n-- gaps %q\n", got.Title, got.Body, got.Gaps)
				golden(t, c.name+"."+p.Locale+".txt", strings.ReplaceAll(text, string(nbsp), "~"))
			})
		}
	}
}

// golden compares with testdata/name; -update writes it. The no-break space is shown as ~.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file) //nolint:gosec // a name from the table above
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// TestWhateverComesIn is the promise to every channel: no panic, one clean line for a title, nothing unseen in the text.
func TestWhateverComesIn(t *testing.T) {
	r := renderer()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("<b>\r\n\x00\u202e\u2066\ufeff\ue000\ue001\ue002.;(){}aZ 9\u0301"))))
		moment := rapid.Custom(func(t *rapid.T) time.Time {
			return time.Unix(rapid.Int64Range(-1e11, 1e12).Draw(t, "unix"), 0)
		})
		ev := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) fleet.Evidence {
			return fleet.Evidence{Name: rapid.SampledFrom([]string{"drain_s", "temp_c", "code", "x"}).Draw(t, "name"), Value: rapid.Float64().Draw(t, "v"),
				Text: text.Draw(t, "text"), Unit: rapid.SampledFrom([]string{"", "1", "s", "°C", "%"}).Draw(t, "unit"), At: moment.Draw(t, "at"),
				Normal: rapid.Float64().Draw(t, "n"), HasNormal: rapid.Bool().Draw(t, "hn"), HasLimit: rapid.Bool().Draw(t, "hl")}
		}), 0, 3).Draw(t, "evidence")
		c := caseOf(rapid.SampledFrom([]string{"drain", "code", "cold", "gone", "broken"}).Draw(t, "rule"), rapid.SampledFrom([]string{"washer-w7", "freezer-f2", "?"}).Draw(t, "model"), ev...)
		in := Input{Topic: rapid.SampledFrom([]string{"opened", "escalated", "cleared"}).Draw(t, "topic"), Case: c, Now: moment.Draw(t, "now"),
			Device: &fleet.Device{Name: text.Draw(t, "device"), Room: text.Draw(t, "room"), Region: text.Draw(t, "region"), Category: text.Draw(t, "category"), WarrantyUntil: moment.Draw(t, "until")},
			Person: &fleet.Person{Locale: rapid.SampledFrom([]string{"de", "de-AT", "en-US", "fr", "", "\x00"}).Draw(t, "locale"), Zone: rapid.SampledFrom([]string{"Europe/Berlin", "", "../x"}).Draw(t, "zone")}}
		got := r.Render(in)
		if n := utf8.RuneCountInString(got.Title); n == 0 || n > MaxTitle {
			t.Errorf("title of %d characters: %q", n, got.Title)
		}
		for part, s := range map[string]string{"title": got.Title, "body": strings.ReplaceAll(got.Body, "\n\n", " ")} {
			if i := strings.IndexFunc(s, func(r rune) bool {
				return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Co) || r == '<' || r == '>'
			}); i >= 0 || !utf8.ValidString(s) {
				t.Errorf("%s holds %q: %q", part, s[max(i, 0):], s)
			}
			if strings.Contains(s, "no value") {
				t.Errorf("%s: %q", part, s)
			}
		}
	})
}

func TestHostileNames(t *testing.T) {
	for in, want := range map[string]string{
		"Drill\r\nTitle: owned":           "Drill Title: owned",
		"<script>alert(1)</script>Mower":  "alert(1)Mower",
		"\u202eevil\u202c mower\u200b":    "evil mower",
		"[click](https://evil.example/x)": "click(https evil.example/x)",
		"a\x00b\x1b[31mc":                 "ab31mc",
		"**bold** `code` {{.Thing}}":      "bold code .Thing",
		"3 < 4 & 5":                       "3 4 & 5",
		"e\u0301\u0301\u0301\u0301\u0301": "é\u0301\u0301",
		"  two   words\t":                 "two words",
		"\xff\xfeok":                      "ok",
		"The printer on the very long second floor of the building": "The printer on the very long second floor of…",
	} {
		if got := Clean(in, 48); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTitleIsNeverCutSilently(t *testing.T) {
	long := `{{.Thing}} has been vibrating far more than it usually does since the last three washes of this week, and it walks.`
	r := New([]fleet.Model{washer}, func(string) fleet.Texts { return fleet.Texts{"en": {What: long, Clear: "x"}} })
	got := r.Render(Input{Topic: "opened", Case: caseOf("x", "washer-w7"), Device: &fleet.Device{Room: "cellar"}, Now: now})
	if want := "The washing machine has been vibrating far more than it usually does since the…"; got.Title != want {
		t.Errorf("title %q, want %q", got.Title, want)
	}
	if !strings.HasPrefix(got.Body, "The washing machine in the cellar has been vibrating") || !strings.Contains(got.Body, "and it walks.") {
		t.Errorf("the body does not hold the whole line: %q", got.Body)
	}
	if diff := cmp.Diff([]string{"title"}, got.Gaps); diff != "" {
		t.Error(diff)
	}
}

func BenchmarkRender(b *testing.B) {
	r := renderer()
	in := Input{Topic: "opened", Case: caseOf("drain", "washer-w7", drain()), Device: &fleet.Device{Room: "cellar"}, Person: &fleet.Person{Locale: "de-DE", Zone: "Europe/Berlin"}, Now: now}
	b.ReportAllocs()
	for b.Loop() {
		r.Render(in)
	}
}
