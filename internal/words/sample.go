package words

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

// sampleChannels are those a template is tried for: one that reads on a lock screen, one page, one e-mail.
var sampleChannels = []string{"push", "inbox", "email"}

// hostileName is what somebody may have typed as a device's name: markup, line ends, directions, commands of templates.
const hostileName = "<script>alert(1)</script>\r\nBcc: x@example.org\u202e {{.Thing}} \"onload=x\" 'a' https://example.org/x"

// Check renders every template for every channel and language with sample data: all of it, none of it, the longest names and
// hostile ones. It returns what does not work, what is too long for a lock screen or for a reader, and what is no calm word.
func (t *Templates) Check() []fleet.Problem {
	var out []fleet.Problem
	told := map[fleet.Problem]bool{}
	tell := func(p fleet.Problem) {
		if !told[p] {
			told[p] = true
			out = append(out, p)
		}
	}
	r := New([]fleet.Model{*sampleLetterModel}, func(string) fleet.Texts { return sampleTexts }).With(t)
	bare := New(nil, func(string) fleet.Texts { return nil }).With(t)
	for _, lang := range Languages() {
		for _, ev := range sampleEvents {
			if ev.event == EventOperation && lang != "en" {
				continue
			}
			for _, channel := range sampleChannels {
				for _, l := range samples(lang, channel, ev) {
					for _, p := range t.try(r, l, ev, lang) {
						tell(p)
					}
				}
				if ev.event == EventOperation || ev.event == digestFile {
					continue // they are made only where there is something to say
				}
				none := Letter{Input: Input{Topic: ev.event, Now: sampleNow, Person: &fleet.Person{Locale: lang}}, Channel: channel, Subject: ev.topic}
				for _, p := range t.try(bare, none, sampleEvent{event: ev.event, topic: ev.topic}, lang) {
					tell(p)
				}
			}
		}
	}
	return out
}

// sampleEvent is a message to try. words is how many the whole may have; 0: any number, it tells more than one thing.
type sampleEvent struct {
	event string
	topic fleet.Topic
	order fleet.OrderState
	words int
}

var sampleEvents = func() []sampleEvent {
	var out []sampleEvent
	for _, topic := range fleet.Topics() {
		out = append(out, sampleEvent{event: fleet.EventOpened, topic: topic, words: MaxWords})
	}
	for _, e := range []string{fleet.EventEscalated, fleet.EventCleared, fleet.EventReminder, fleet.EventWarranty, fleet.EventIncident, fleet.EventIncidentNews,
		fleet.EventIncidentFixed, fleet.EventConfirmedFixed, fleet.EventReview} {
		out = append(out, sampleEvent{event: e, words: MaxWords})
	}
	for _, o := range []fleet.OrderState{fleet.OrderOffered, fleet.OrderAccepted, fleet.OrderDeclined, fleet.OrderDone, fleet.OrderCancelled} {
		out = append(out, sampleEvent{event: fleet.EventVisit, order: o, words: MaxWords}, sampleEvent{event: EventOrder, order: o})
	}
	return append(out, sampleEvent{event: EventOperation}, sampleEvent{event: digestFile})
}()

// try composes a letter and says what is wrong with it.
func (t *Templates) try(r *Renderer, l Letter, ev sampleEvent, lang string) (out []fleet.Problem) {
	c := r.Compose(l)
	file := lang + "/" + t.fileOf(lang, l) + ending
	tell := func(format string, args ...any) {
		out = append(out, fleet.Problem{File: file, Path: l.Channel, Message: fmt.Sprintf(format, args...)})
	}
	if slices.Contains(c.Gaps, "template") || strings.Contains(c.Fallback, "template: ") {
		cause, _, _ := strings.Cut(strings.TrimSuffix(c.Fallback, ": plain text"), ": text only")
		where := file
		for _, f := range []string{mailText, mailHTML, lang + "/" + labelFile + ending, lang + "/" + caseFile + ending} {
			if strings.Contains(cause, f+":") {
				where = f
			}
		}
		return []fleet.Problem{problem(where, fmt.Errorf("%s", cause))}
	}
	switch n := utf8.RuneCountInString(c.Title); {
	case n == 0:
		tell("the first line is empty")
	case n > MaxTitle:
		tell("the first line has %d characters, at most %d fit a lock screen: %q", n, MaxTitle, c.Title)
	case slices.Contains(c.Gaps, "title") && ev.words > 0 && !strings.Contains(l.deviceName(), "alert(1)"):
		tell("the first line had to be shortened, it is longer than %d characters: %q", MaxTitle, c.Title)
	}
	for _, text := range []string{c.Title, c.Body, c.Calendar} {
		if i := strings.IndexFunc(text, unseemly); i >= 0 {
			tell("no exclamation marks, emoji or unseen characters: %q", text[max(0, i-20):min(len(text), i+8)])
		}
	}
	if n := countWords(c.Title + " " + c.Body); ev.words > 0 && n > ev.words && l.Channel != "email" {
		tell("%d words together with sample data, want at most %d", n, ev.words)
	}
	for _, h := range []string{"<script", "alert(1)</", "\"onload=x\""} {
		if strings.Contains(c.HTML, h) {
			tell("the HTML holds %q from a device's name as it is", h)
		}
	}
	for _, a := range c.Actions {
		if a.Label == "" || a.Label == string(a.Verdict) || utf8.RuneCountInString(a.Label) > 24 {
			tell("the button %q has the label %q, want 1 to 24 characters", a.Verdict, a.Label)
		}
	}
	return out
}

// countWords counts a number and its unit as one.
func countWords(text string) int {
	return len(strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\n' }))
}

func (l *Letter) deviceName() string {
	if l.Device == nil {
		return ""
	}
	return l.Device.Name
}

func unseemly(r rune) bool {
	return r == '!' || r == '\ufffd' || unicode.IsControl(r) && r != '\n' || unicode.In(r, unicode.Cf, unicode.Co) || unicode.Is(unicode.So, r) && r != '°'
}

// fileOf is the file that a letter's text comes from first.
func (t *Templates) fileOf(lang string, l Letter) string {
	f := l.Topic
	if f == fleet.EventOpened || f == fleet.EventEscalated {
		f = string(l.Subject)
	}
	if t.files[lang+"/"+f] == nil {
		return caseFile
	}
	return f
}

var sampleNow = time.Date(2026, 3, 11, 19, 0, 0, 0, time.UTC)

var sampleLetterModel = &fleet.Model{ID: "sample-s1", Category: "washing-machine", Label: sampleModel.Label, FaultCodes: sampleModel.FaultCodes,
	Fields: []fleet.FieldSpec{{Name: "drain_s", Type: fleet.Float, Unit: "s", Label: fleet.Words{"en": "draining time", "de": "Abpumpzeit"}}}}

// sampleTexts are a rule's texts of ordinary length: what a template adds must leave room for them.
var sampleTexts = fleet.Texts{
	"en": {What: `{{.Thing}} drains slowly`, Why: `The last wash took {{value "drain_s"}} to drain; usual is {{normal "drain_s"}}.`,
		Otherwise: `In most machines the pump stops within about two weeks.`, Do: `Clean the drain filter: 10 minutes, no tool.`, Cost: `{{cover}}`,
		Clear: `{{.Thing}} drains as quickly as before.`},
	"de": {What: `{{.Thing}} pumpt langsam ab`, Why: `Die letzte Wäsche brauchte {{value "drain_s"}} zum Abpumpen; üblich sind {{normal "drain_s"}}.`,
		Otherwise: `Bei den meisten Geräten steht die Pumpe nach etwa zwei Wochen.`, Do: `Flusensieb reinigen: 10 Minuten, ohne Werkzeug.`, Cost: `{{cover}}`,
		Clear: `{{.Thing}} pumpt wieder so schnell ab wie früher.`},
}

// samples are letters with all there is to tell: of an ordinary device, one with the longest ordinary name, a hostile one.
func samples(lang, channel string, ev sampleEvent) []Letter {
	out := make([]Letter, 0, 3)
	for _, d := range []fleet.Device{{Room: "cellar"}, {Name: "Washing machine of the upper floor"}, {Name: hostileName, Room: hostileName}} {
		d.Model, d.Category, d.Region, d.WarrantyUntil = sampleLetterModel.ID, sampleLetterModel.Category, "DE-BY", sampleNow.AddDate(0, 0, 23)
		d.Key = fleet.DeviceKey{Tenant: "sample", Serial: "WM-1"}
		out = append(out, sampleLetter(lang, channel, ev, d))
	}
	return out
}

func sampleLetter(lang, channel string, ev sampleEvent, d fleet.Device) Letter {
	at := sampleNow.Add(-26 * time.Hour)
	c := &fleet.Case{ID: "case-1", Device: d.Key, Model: d.Model, Category: d.Category, Rule: "sample", Kind: fleet.KindMaintenance, Severity: fleet.Due, OpenedAt: at,
		Episodes: []fleet.Episode{{Rule: "sample", OpenedAt: at, Evidence: []fleet.Evidence{{Name: "drain_s", Value: 94, Unit: "s", At: at, Normal: 55, HasNormal: true,
			Limit: 70, HasLimit: true}}}}}
	c.Proof = fleet.Proof{Since: at, Unit: "washes", Need: 20, Seen: 20, Clean: true}
	cover := fleet.Cover{Kind: "manufacturer", By: "maker", Name: "Sample", Until: d.WarrantyUntil, Days: 23, Pays: true}
	l := Letter{Input: Input{Topic: ev.event, Case: c, Device: &d, Person: &fleet.Person{Locale: lang, Zone: "Europe/Berlin"}, Now: sampleNow}, Channel: channel,
		Subject: ev.topic, Cover: cover, URL: "https://care.example.org/m/abc", StopURL: "https://care.example.org/stop/abc", HasChart: channel == "email",
		Incident: &fleet.Incident{OpenedAt: at, NextAt: sampleNow.AddDate(0, 0, 5), Devices: 400, Affected: 37},
		Order: &fleet.Order{ID: "ord-1", State: ev.order, Part: "drain pump", Cover: cover, From: sampleNow.AddDate(0, 0, 4), To: sampleNow.AddDate(0, 0, 4).Add(2 * time.Hour),
			Summary: "Drain pump slow", Contact: d.Name},
		Partner:   &fleet.Partner{Name: "Hausgeräte Sample & Sons"},
		operation: &fleet.Operation{Name: "incident", Severity: "warning", Summary: "37 of 400 washer-w7 drain slowly", Labels: map[string]string{"case": d.Name}, At: at}}
	for _, v := range append(fleet.Verdicts(), fleet.VerdictShow) {
		l.Actions = append(l.Actions, fleet.Action{Verdict: v, URL: l.URL + "?a=" + string(v)})
	}
	if ev.event == digestFile {
		l.Topic, l.Subject = fleet.EventOpened, fleet.TopicMaintenance
		l.Also = []Rendered{{Title: "The mower's blades are due", Body: "They have cut for 60 h."}, {Title: "The freezer is too warm", Body: d.Name}}
	}
	return l
}
