package web

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"aftercare/internal/chart"
	"aftercare/internal/fleet"
)

const testToken = "0123456789abcdefghjkmnpqrstv"

type fixture struct {
	*sample
	web *Web
	hub *Hub
	log *bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{sample: newSample(), hub: NewHub(nil), log: &bytes.Buffer{}}
	cfg := DefaultConfig()
	cfg.Token, cfg.Zone = testToken, "Europe/Berlin"
	s := f.sample
	w, err := New(cfg, Deps{Cases: s, Stories: s, Devices: s, Models: s, Mail: s, History: s, Doors: s, Mender: s, Commander: s, Links: s, Care: s, Homes: s, Agent: s, Dispatcher: s, Incidents: s, Composer: s.renderer(), Dead: s, Feed: f.hub, Teller: s.renderer(),
		Log: slog.New(slog.NewTextHandler(f.log, nil)), Now: func() time.Time { return s.now }})
	if err != nil {
		t.Fatal(err)
	}
	f.web = w
	return f
}

func request(method, target string, body io.Reader) *http.Request {
	r := httptest.NewRequest(method, target, body)
	r.Host = "127.0.0.1:8080"
	return r
}

func (f *fixture) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.web.ServeHTTP(w, r)
	return w
}

func (f *fixture) get(t *testing.T, target string) string {
	t.Helper()
	return f.want(t, target, http.StatusOK)
}

func (f *fixture) want(t *testing.T, target string, status int) string {
	t.Helper()
	r := request(http.MethodGet, target, nil)
	r.AddCookie(&http.Cookie{Name: "aftercare_8080", Value: sessionValue(testToken)})
	w := f.do(r)
	if w.Code != status {
		t.Fatalf("GET %s: %d, want %d\n%s\n%s", target, w.Code, status, w.Body, f.log)
	}
	return w.Body.String()
}

func (f *fixture) post(target, form string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := request(http.MethodPost, target, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "http://127.0.0.1:8080")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.AddCookie(&http.Cookie{Name: "aftercare_8080", Value: sessionValue(testToken)})
	if change != nil {
		change(r)
	}
	return f.do(r)
}

func (f *fixture) pages() []string {
	c := f.cases[2]
	return []string{"/", "/devices", "/devices?state=silent", "/devices?category=refrigerator&q=pantry", "/devices?q=nothing-like-it", "/devices?page=3",
		"/devices/demo/WM-0001", "/devices/demo/WM-0001?range=14d", "/devices/demo/OP-0003", "/devices/demo/CD-0001", "/devices/demo/CD-0007",
		"/cases", "/cases?show=all&kind=safety", "/cases?kind=experience", caseURL(&c), caseURL(&f.cases[0]), caseURL(&f.cases[3]), caseURL(&f.cases[6]),
		"/people/demo/p-berger", "/people/demo/p-hughes", "/messages", "/quarantine", "/cases?who=nobody&snoozed=hide", "/cases?show=watching", "/cases?overdue=1&severity=fault",
		"/incidents", "/incidents/demo/inc-open", "/incidents/demo/inc-fixed", "/incidents/new", "/incidents/new?problem=washer-drain-slow&model=washer-w7&batch=2024-31",
		caseURL(f.byID("case-watched")), caseURL(f.byID("case-merged")), caseURL(f.byID("case-waits"))}
}

var unworded = regexp.MustCompile(`>\s*[a-z]+\.[a-z.0-9]+\s*<|%!|&lt;no value|ZgotmplZ|<nil>`)

func TestEveryPageInBothLanguages(t *testing.T) {
	f := newFixture(t)
	for _, page := range f.pages() {
		for _, l := range []string{"en", "de"} {
			sep := "?"
			if strings.Contains(page, "?") {
				sep = "&"
			}
			body := f.get(t, page+sep+"lang="+l)
			if bad := unworded.FindString(body); bad != "" {
				t.Errorf("%s in %s: %q", page, l, bad)
			}
			if !strings.Contains(body, `<html lang="`+l+`"`) || !strings.Contains(body, "</html>") {
				t.Errorf("%s: not a whole page in %s", page, l)
			}
			if strings.Contains(body, "style=") || strings.Contains(body, "<script>") || strings.Contains(body, "onclick") {
				t.Errorf("%s: something inline that the policy forbids", page)
			}
		}
	}
	if f.log.Len() > 0 {
		t.Errorf("log: %s", f.log)
	}
}

func TestEmptyFleetSaysWhatToDo(t *testing.T) {
	f := newFixture(t)
	f.devices, f.cases, f.inbox, f.sent, f.aside, f.refusals, f.byReason = nil, nil, nil, nil, nil, nil, nil
	for page, words := range map[string]string{"/": "No open case", "/devices": "No device is registered yet", "/cases": "No case is open",
		"/messages": "Nobody has been told anything yet", "/quarantine": "Nothing is set aside", "/people/demo/p-hughes": "All is well"} {
		if body := f.get(t, page); !strings.Contains(body, words) {
			t.Errorf("%s does not say %q", page, words)
		}
	}
}

func TestHistoryAwayLeavesTheRest(t *testing.T) {
	f := newFixture(t)
	f.historyErr = errors.New("connection refused")
	for _, page := range []string{"/", "/devices/demo/WM-0001", caseURL(&f.cases[2])} {
		if body := f.get(t, page); !strings.Contains(body, "time series do not answer") || !strings.Contains(body, "drains slowly") {
			t.Errorf("%s: want the notice and the case", page)
		}
	}
	if strings.Contains(f.get(t, "/"), ">silent<") {
		t.Error("devices are called silent although nobody knows")
	}
}

func TestHostileWordsAreEscapedEverywhere(t *testing.T) {
	f := newFixture(t)
	evil := `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	for i := range f.devices {
		d := &f.devices[i]
		d.Name, d.Room, d.Firmware, d.Hardware, d.Batch, d.Region, d.Seller, d.Parent = evil, evil, evil, evil, evil, evil, evil, evil
	}
	for id, p := range f.people {
		p.Name = evil
		f.people[id] = p
	}
	for i := range f.cases {
		c := &f.cases[i]
		c.Problem, c.Rule, c.Outcome, c.Assignee, c.Kind = evil, evil, fleet.Outcome(evil), evil, fleet.Kind(evil)
		c.Episodes[0].RuleHash = evil
		c.Episodes[0].Evidence = append(c.Episodes[0].Evidence, fleet.Evidence{Name: evil, Text: evil, Unit: evil}, fleet.Evidence{Name: "drain_s", Value: 1, Unit: evil, Limit: 3, HasLimit: true})
		f.audit[c.ID] = append(f.audit[c.ID], fleet.Audit{Actor: evil, Action: evil, Detail: evil, At: friday})
	}
	for i := range f.inbox {
		f.inbox[i].Title, f.inbox[i].Body = evil, evil+"\n\njavascript:alert(1)"
	}
	for i := range f.sent {
		f.sent[i].Channel, f.sent[i].Reason, f.sent[i].State = evil, evil, evil
	}
	for i := range f.aside {
		f.aside[i].Reason, f.aside[i].Detail, f.aside[i].Topic, f.aside[i].Payload, f.aside[i].Device.Serial = evil, evil, evil, []byte(evil), evil
	}
	f.byReason[evil] = 1
	f.refusals = []fleet.Refusal{{Door: evil, Source: evil, Topic: evil, Reason: evil, At: friday}}
	for _, m := range f.models {
		m.Label = fleet.Words{"en": evil, "de": evil}
		for i := range m.Fields {
			m.Fields[i].Label, m.Fields[i].Unit = fleet.Words{"en": evil, "de": evil}, evil
		}
	}
	for _, page := range append(f.pages(), "/devices?q="+url.QueryEscape(evil), "/?lang=de&x="+url.QueryEscape(evil), "/none/"+url.PathEscape(evil)) {
		r := request(http.MethodGet, page, nil)
		r.AddCookie(&http.Cookie{Name: "aftercare_8080", Value: sessionValue(testToken)})
		body := f.do(r).Body.String()
		for _, bad := range []string{"<script>alert", "<img", "href=\"javascript:"} {
			if i := strings.Index(body, bad); i >= 0 {
				t.Errorf("%s: %q came through: …%s…", page, bad, body[max(0, i-120):min(len(body), i+80)])
			}
		}
	}
}

func TestCaseShowsEvidenceStoryAndActions(t *testing.T) {
	f := newFixture(t)
	c := f.cases[2]
	body := f.get(t, caseURL(&c))
	for _, want := range []string{"Draining time, average of 24\u00a0h", "94\u00a0s", "55\u00a0s", "77\u00a0s", "limit 77\u00a0s", "Die Waschmaschine im Keller pumpt langsam ab",
		"inbox: sent", "Called; the owner cleans the filter tonight.", "Covered until", `name="outcome"`, "/comment"} {
		if !strings.Contains(body, want) {
			t.Errorf("case page lacks %q", want)
		}
	}
	if strings.Contains(body, "/acknowledge\"") {
		t.Error("a case that somebody has offers to be taken")
	}
	if body := f.get(t, caseURL(&f.cases[3])); !strings.Contains(body, "the paper path is blocked") || !strings.Contains(body, "a torn sheet behind the fuser") {
		t.Error("the fault code's meaning is missing")
	}
}

func TestWhatIsNotHereIs404(t *testing.T) {
	f := newFixture(t)
	for _, p := range []string{"/none", "/devices/demo/XX-1", "/devices/other/WM-0001", "/cases/demo/case-none", "/cases/other/" + f.cases[0].ID, "/people/demo/p-none", "/people/other/p-berger",
		"/incidents/other/inc-open", "/incidents/demo/none", caseURL(&f.cases[0]) + "/files/none"} {
		if body := f.want(t, p, http.StatusNotFound); !strings.Contains(body, "There is nothing here") {
			t.Errorf("%s: %s", p, body)
		}
	}
}

func TestPersonIsSpokenToInTheirLanguage(t *testing.T) {
	f := newFixture(t)
	body := f.get(t, "/people/demo/p-berger")
	if !strings.Contains(body, `<html lang="de"`) || !strings.Contains(body, "Ihre Geräte") || !strings.Contains(body, "Reinigen Sie das Flusensieb") {
		t.Error("Anna Berger reads German")
	}
	if strings.Contains(body, "WM-0001") || strings.Contains(body, "/cases/") {
		t.Error("an owner's page shows a serial or leads to the desk")
	}
	if !strings.Contains(f.get(t, "/people/demo/p-hughes"), `<html lang="en"`) {
		t.Error("Tom Hughes reads English")
	}
}

func TestFragmentIsTheSameContent(t *testing.T) {
	f := newFixture(t)
	part, whole := f.get(t, "/?fragment=1"), f.get(t, "/")
	if strings.Contains(part, "<html") || !strings.Contains(part, `id="r-cases"`) {
		t.Errorf("not a fragment: %.200s", part)
	}
	if !strings.Contains(whole, strings.TrimSpace(part)) {
		t.Error("the fragment is not what the page shows")
	}
}

func TestStates(t *testing.T) {
	f := newFixture(t)
	snap, err := f.web.fleet.get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for serial, want := range map[string]state{"EV-0005": chart.Danger, "FR-0002": chart.Fault, "WM-0001": chart.Due, "RM-0004": chart.Watch, "WM-0031": chart.Silent, "WM-0002": chart.Good} {
		if got := snap.state(snap.device(serial)); got != want {
			t.Errorf("%s is %s, want %s", serial, got, want)
		}
	}
	total := 0
	for _, c := range snap.categories(en) {
		sum := 0
		for _, n := range c.States {
			sum += n
		}
		if sum != c.Total {
			t.Errorf("%s: %d of %d devices have a state", c.Category, sum, c.Total)
		}
		total += c.Total
	}
	if total != len(f.devices) {
		t.Errorf("%d of %d devices are in a category", total, len(f.devices))
	}
}

func TestPrintablePayload(t *testing.T) {
	for _, c := range []struct{ in, want string }{{"{\"a\":1}\n", "{\"a\":1}\n"}, {"a\x00\x1bb\x7f", "a␀␛b␡"}, {"\xff\x00A", "ff 00 41"}, {"a\u202eb", "a\uFFFDb"}} {
		if got, cut := printable([]byte(c.in)); got != c.want || cut {
			t.Errorf("%q: %q, %v", c.in, got, cut)
		}
	}
	if got, cut := printable([]byte(strings.Repeat("é", 3000))); !cut || strings.Contains(got, "\uFFFD") || len(got) > payloadShown {
		t.Errorf("long text: %d bytes, cut %v", len(got), cut)
	}
}

func TestEveryTextIsInBothLanguagesAndCalm(t *testing.T) {
	for k, v := range texts {
		if v[0] == "" || v[1] == "" {
			t.Errorf("%q lacks a language", k)
		}
		if strings.ContainsAny(v[0]+v[1], "!") {
			t.Errorf("%q shouts", k)
		}
		if strings.Count(v[0], "#") != strings.Count(v[1], "#") {
			t.Errorf("%q: the languages name different numbers", k)
		}
	}
}

func TestShortWordsLeaveOutTheThing(t *testing.T) {
	for _, c := range []struct{ sentence, name, label, room, want string }{
		{"The washing machine in the cellar drains slowly", "Washing machine in the cellar", "Washing machine", "cellar", "drains slowly"},
		{"The car charger in the garden gets too hot", "", "Car charger", "garden", "gets too hot"},
		{"Die Wallbox im Garten wird zu heiß", "", "Wallbox", "Garten", "wird zu heiß"},
		{"the charger in the garage is too hot", "Charger in the garage", "Charger", "garage", "is too hot"},
		{"Stop charging now", "", "Car charger", "garden", "Stop charging now"},
	} {
		if got := withoutThing(c.sentence, c.name, c.label, c.room); got != c.want {
			t.Errorf("%q: %q, want %q", c.sentence, got, c.want)
		}
	}
}
