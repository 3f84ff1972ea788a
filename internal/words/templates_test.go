package words

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"text/template"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"aftercare/internal/fleet"
)

func shippedFS() fs.FS { return os.DirFS("../../configs/templates") }

func shipped(t testing.TB) *Templates {
	t.Helper()
	tp, problems := LoadTemplates(shippedFS())
	for _, p := range problems {
		t.Error(p)
	}
	return tp
}

// TestShippedTemplatesAreComplete: German says all that English does, part by part. What operators read is in English only.
func TestShippedTemplatesAreComplete(t *testing.T) {
	tp := shipped(t)
	for _, f := range files {
		en, de := tp.files["en/"+f], tp.files["de/"+f]
		if f == EventOperation || en == nil && de == nil {
			continue
		}
		if en == nil || de == nil {
			t.Errorf("%s: English %v, German %v", f, en != nil, de != nil)
			continue
		}
		if d := cmp.Diff(defined(en), defined(de)); d != "" {
			t.Errorf("%s (-English +German):\n%s", f, d)
		}
	}
}

func defined(t interface{ DefinedTemplates() string }) []string {
	_, list, _ := strings.Cut(t.DefinedTemplates(), ": ")
	names := slices.DeleteFunc(strings.Split(list, ", "), func(n string) bool { return strings.Contains(n, ending) })
	slices.Sort(names)
	return names
}

func composing(t testing.TB) *Renderer {
	return New([]fleet.Model{*sampleLetterModel}, func(string) fleet.Texts { return sampleTexts }).With(shipped(t))
}

// TestGoldenMessages shows every message as a phone, the inbox and an e-mail have it.
func TestGoldenMessages(t *testing.T) {
	r := composing(t)
	for _, lang := range Languages() {
		for _, ev := range sampleEvents {
			if ev.event == EventOperation && lang != "en" {
				continue
			}
			name := ev.event
			if ev.event == fleet.EventOpened {
				name += "-" + string(ev.topic)
			}
			if ev.order != "" {
				name += "-" + string(ev.order)
			}
			t.Run(lang+"/"+name, func(t *testing.T) {
				var b strings.Builder
				for _, channel := range sampleChannels {
					l := samples(lang, channel, ev)[0]
					c := r.Compose(l)
					if c.Fallback != "" || len(c.Gaps) > 0 {
						t.Errorf("%s: fallback %q, gaps %q", channel, c.Fallback, c.Gaps)
					}
					fmt.Fprintf(&b, "== %s\n%s\n\n%s\n\n", channel, c.Title, c.Body)
					if channel == "inbox" {
						fmt.Fprintf(&b, "== in a list\n%s\n\n", c.Do)
					}
					if c.Calendar != "" && channel == "inbox" {
						fmt.Fprintf(&b, "== calendar\n%s\n\n", c.Calendar)
					}
				}
				golden(t, "message/"+name+"."+lang+".txt", strings.ReplaceAll(b.String(), string(nbsp), "~"))
			})
		}
		t.Run(lang+"/html", func(t *testing.T) {
			c := r.Compose(samples(lang, "email", sampleEvents[0])[2])
			golden(t, "message/opened-safety-hostile."+lang+".html", strings.ReplaceAll(c.HTML, string(nbsp), "~"))
		})
	}
}

// with is the shipped templates with some files in their place.
func with(files map[string]string) (*Templates, []fleet.Problem) {
	own := fstest.MapFS{}
	for name, text := range files {
		own[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return LoadTemplates(shippedFS(), own)
}

func TestMistakesInTemplates(t *testing.T) {
	for _, c := range []struct{ name, file, text, want string }{
		{"unknown file", "en/falt.tmpl", "", "en/falt.tmpl: no message is made from this file (want LANGUAGE/NAME.tmpl"},
		{"unknown language", "fr/case.tmpl", "", "fr/case.tmpl: no message is made from this file (languages are en and de)"},
		{"syntax", "en/fault.tmpl", "\n{{define \"title\"}}{{if}}x{{end}}{{end}}", "en/fault.tmpl:2: missing value for if"},
		{"unknown function", "de/fault.tmpl", "\n\n{{define \"title\"}}{{wat}}{{end}}", `de/fault.tmpl:3: function "wat" not defined`},
		{"unknown value", "en/fault.tmpl", "\n{{define \"title\"}}{{.Wat}}{{end}}", `en/fault.tmpl:2: executing "title" at <.Wat>`},
		{"unknown part", "en/fault.tmpl", "\n{{define \"titel\"}}{{what}}{{end}}", "en/fault.tmpl:2: titel: nothing is made from a part of this name"},
		{"unknown channel", "en/fault.tmpl", "{{define \"body.pigeon\"}}{{what}}{{end}}", "en/fault.tmpl:1: body.pigeon: nothing is made"},
		{"stray text", "en/fault.tmpl", "{{define \"title\"}}{{what}}{{end}} and so on", "en/fault.tmpl:1: there is text outside"},
		{"exclamation", "en/fault.tmpl", "{{define \"title\"}}Alert! {{what}}{{end}}", "no exclamation marks"},
		{"emoji", "de/fault.tmpl", "{{define \"title\"}}\U0001F525 {{what}}{{end}}", "no exclamation marks, emoji"},
		{"long line", "en/fault.tmpl", "{{define \"title\"}}We have noticed on your behalf that there may be something the matter here: {{what}}{{end}}", "the first line had to be shortened"},
		{"too many words", "en/fault.tmpl", "{{define \"body\"}}{{what}}" + strings.Repeat(" word", 60) + ".{{end}}", "words together"},
		{"endless", "en/fault.tmpl", "{{define \"title\"}}{{range 1000000000}}x{{end}}{{end}}", "{{range}} goes over a list"},
		{"endless by variable", "en/fault.tmpl", "{{define \"title\"}}{{$n := 1000000000}}{{range $n}}x{{end}}{{end}}", "{{range}} goes over a list"},
		{"recursion", "en/fault.tmpl", "{{define \"title\"}}{{template \"title\"}}{{end}}", "{{template}} and {{block}} are not used here"},
		{"empty line", "en/reminder.tmpl", "{{define \"title\"}}{{end}}", "it is empty"},
		{"bad layout", "email.html", "<a href=\"{{.Page}}\n", "email.html"},
		{"unescapable layout", "email.html", "\n<script>{{if .Page}}\"{{end}}</script>", "email.html:2:"},
		{"layout, unknown value", "email.txt", "{{.Title}}\n{{.Wat}}", "email.txt:2:"},
		{"label", "de/labels.tmpl", "{{define \"book\"}}Einen Termin mit einem Techniker vereinbaren{{end}}", "the button \"book\" has the label"},
		{"broken in German only", "de/labels.tmpl", "{{define \"footer\"}}\n{{.Wat}}{{end}}", "de/labels.tmpl:2:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := with(map[string]string{c.file: c.text})
			if len(problems) == 0 || !slices.ContainsFunc(problems, func(p fleet.Problem) bool { return strings.Contains(p.String(), c.want) }) {
				t.Errorf("problems %v, want one with %q", problems, c.want)
			}
		})
	}
}

// TestOwnTemplates: an operator's file takes the place of the shipped one, and only that.
func TestOwnTemplates(t *testing.T) {
	tp, problems := with(map[string]string{"en/safety.tmpl": `{{define "title.push"}}Look at {{.thing}} now{{end}}`, "README.md": "ours"})
	for _, p := range problems {
		t.Error(p)
	}
	r := New([]fleet.Model{*sampleLetterModel}, func(string) fleet.Texts { return sampleTexts }).With(tp)
	for channel, want := range map[string]string{"push": "Look at the washing machine in the cellar now", "inbox": "The washing machine in the cellar drains slowly"} {
		if c := r.Compose(samples("en", channel, sampleEvents[0])[0]); c.Title != want || !strings.Contains(c.Body, "Clean the drain filter") {
			t.Errorf("%s: %q\n%s", channel, c.Title, c.Body)
		}
	}
}

// TestWhatIsMissingFallsBackAndIsNamed: a language, a rule's text or an event's template that is not there.
func TestWhatIsMissingFallsBackAndIsNamed(t *testing.T) {
	noGerman := fstest.MapFS{}
	err := fs.WalkDir(shippedFS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == "de/reminder.tmpl" {
			return err
		}
		b, err := fs.ReadFile(shippedFS(), name)
		noGerman[name] = &fstest.MapFile{Data: b}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tp, problems := LoadTemplates(noGerman)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	english := fleet.Texts{"en": sampleTexts["en"]}
	for _, c := range []struct {
		name, locale, event, fallback, title string
		texts                                fleet.Texts
	}{
		{"all there", "de-AT", fleet.EventOpened, "", "Die Waschmaschine im Keller pumpt langsam ab", sampleTexts},
		{"language", "fr-FR", fleet.EventOpened, "language fr: en", "The washing machine in the cellar drains slowly", sampleTexts},
		{"no language", "x\x00", fleet.EventOpened, "language unknown: en", "The washing machine in the cellar drains slowly", sampleTexts},
		{"rule", "de-DE", fleet.EventOpened, "rule sample in de: en", "The washing machine in the cellar drains slowly", english},
		{"template", "de-DE", fleet.EventReminder, "template reminder in de: en", "The washing machine in the cellar drains slowly", sampleTexts},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := New([]fleet.Model{*sampleLetterModel}, func(string) fleet.Texts { return c.texts }).With(tp)
			l := samples("en", "inbox", sampleEvent{event: c.event, topic: fleet.TopicMaintenance})[0]
			l.Person = &fleet.Person{Locale: c.locale, Zone: "Europe/Berlin"}
			got := r.Compose(l)
			if got.Fallback != c.fallback || got.Title != c.title || len(got.Gaps) > 0 {
				t.Errorf("%q, fallback %q, gaps %q; want %q, fallback %q", got.Title, got.Fallback, got.Gaps, c.title, c.fallback)
			}
			if l.Person.Locale != c.locale {
				t.Error("the person was changed")
			}
		})
	}
}

// TestFailingTemplate: what fails only with certain values ends in the rule's own text, and that is said.
func TestFailingTemplate(t *testing.T) {
	tp := shipped(t)
	p := tp.add("en/fault.tmpl", `{{define "title"}}{{index .Thing 100000}}{{end}}`)
	if len(p) > 0 {
		t.Fatal(p)
	}
	r := New([]fleet.Model{*sampleLetterModel}, func(string) fleet.Texts { return sampleTexts }).With(tp)
	for _, channel := range sampleChannels {
		c := r.Compose(samples("en", channel, sampleEvent{event: fleet.EventOpened, topic: fleet.TopicFault})[0])
		if c.Title != "The washing machine in the cellar drains slowly" || !strings.Contains(c.Body, "Clean the drain filter") || !strings.HasPrefix(c.Fallback, "template en/fault.tmpl") ||
			!slices.Contains(c.Gaps, "template") {
			t.Errorf("%s: %q\n%s\nfallback %q, gaps %q", channel, c.Title, c.Body, c.Fallback, c.Gaps)
		}
		if len(c.Actions) != 7 || c.Actions[0].Label != "I fixed it" {
			t.Errorf("%s: actions %v", channel, c.Actions)
		}
	}
}

// TestWithoutTemplates: a renderer without any still composes the rule's text, with labels.
func TestWithoutTemplates(t *testing.T) {
	r := New([]fleet.Model{*sampleLetterModel}, func(string) fleet.Texts { return sampleTexts })
	c := r.Compose(samples("de", "email", sampleEvents[0])[0])
	if c.Title != "Die Waschmaschine im Keller pumpt langsam ab" || c.Fallback != "templates: none" || c.Actions[0].Label != "Ist erledigt" || c.HTML != "" {
		t.Errorf("%+v", c)
	}
}

// TestHostileLetters proves SEC-17 for whatever comes from devices and people: one clean line, nothing unseen, no markup in the HTML but
// the layout's own.
func TestHostileLetters(t *testing.T) {
	r := composing(t)
	tags := func(html string) int { return strings.Count(html, "<") }
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("<b>&\"'`\r\n\x00\u202e\u2066\ufeff\ue000\ue001\ue002.;(){}aZ 9\u0301=/:"))))
		ev := rapid.SampledFrom(sampleEvents).Draw(t, "event")
		lang := rapid.SampledFrom(Languages()).Draw(t, "lang")
		l := samples(lang, rapid.SampledFrom(sampleChannels).Draw(t, "channel"), ev)[0]
		plain := r.Compose(l)
		l.Device.Name, l.Device.Room, l.Device.Region, l.Device.Key.Serial = text.Draw(t, "name"), text.Draw(t, "room"), text.Draw(t, "region"), text.Draw(t, "serial")
		l.Partner.Name, l.Order.Contact, l.Order.Summary, l.Order.Note = text.Draw(t, "partner"), text.Draw(t, "contact"), text.Draw(t, "summary"), text.Draw(t, "note")
		l.Order.Part, l.Order.Reason, l.Cover.Text = text.Draw(t, "part"), text.Draw(t, "reason"), fleet.Words{"en": text.Draw(t, "cover")}
		l.Incident.News = fleet.Words{"en": text.Draw(t, "news")}
		l.Also = append(l.Also, Rendered{Title: text.Draw(t, "also"), Body: text.Draw(t, "alsoBody")})
		l.Case.Episodes[0].Evidence[0].Text = text.Draw(t, "value")
		got := r.Compose(l)
		if n := utf8.RuneCountInString(got.Title); n == 0 || n > MaxTitle || strings.ContainsAny(got.Title+got.Calendar, "\r\n") {
			t.Errorf("title of %d characters: %q, calendar %q", n, got.Title, got.Calendar)
		}
		for _, s := range []string{got.Title, got.Body} {
			if i := strings.IndexFunc(s, func(r rune) bool {
				return unicode.IsControl(r) && r != '\n' || unicode.In(r, unicode.Cf, unicode.Co) || r == '<' || r == '>'
			}); i >= 0 || !utf8.ValidString(s) {
				t.Errorf("%q holds %q", s, s[max(i, 0):])
			}
		}
		if slices.Contains(got.Gaps, "template") {
			t.Errorf("a template failed: %s", got.Fallback)
		}
		for _, bad := range []string{"<b>", "<b ", "&#34;\"", "\ue000", "\ue001", "\ue002"} {
			if strings.Contains(got.HTML, bad) {
				t.Errorf("%q in the HTML", bad)
			}
		}
		if n := tags(got.HTML); got.HTML != "" && n > tags(plain.HTML)+40 {
			t.Errorf("%d tags, %d with ordinary values", n, tags(plain.HTML))
		}
	})
}

// FuzzTemplates: whatever an operator writes, reading it ends and says what is wrong, or it composes.
func FuzzTemplates(f *testing.F) {
	for _, name := range []string{"en/case.tmpl", "en/visit.tmpl", "en/labels.tmpl", "email.html", "email.txt"} {
		b, err := fs.ReadFile(shippedFS(), name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, string(b))
	}
	f.Add("en/fault.tmpl", `{{define "title"}}{{range $i, $x := also}}{{$i}}{{end}}{{printf "%9999999d" 1}}{{end}}`)
	f.Add("email.html", `<a href={{.Title}} onclick="{{.Page}}">{{range .Buttons}}<!--{{.URL}}-->{{end}}`)
	r := New([]fleet.Model{*sampleLetterModel}, func(string) fleet.Texts { return sampleTexts })
	base, problems := LoadTemplates(shippedFS())
	if len(problems) > 0 {
		f.Fatal(problems)
	}
	f.Fuzz(func(t *testing.T, name, text string) {
		if !known(name) || len(text) > maxOutput {
			return
		}
		own := *base
		own.files = map[string]*template.Template{}
		for k, v := range base.files {
			own.files[k] = v
		}
		if len(own.add(name, text)) > 0 {
			return
		}
		c := r.With(&own).Compose(samples("en", "email", sampleEvent{event: fleet.EventOpened, topic: fleet.TopicFault})[0])
		if c.Title == "" || len(c.HTML) > 8*maxOutput {
			t.Errorf("title %q, %d bytes of HTML", c.Title, len(c.HTML))
		}
	})
}
