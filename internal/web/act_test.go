package web

import (
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// TestActions posts every form of a case's page and sees that it asks for the right thing, and what the page says afterwards.
func TestActions(t *testing.T) {
	for _, x := range []struct {
		on, verb, form string
		want           fleet.CaseAct
		says           string
	}{
		{"case-waits", "resume", "note=part+is+there", fleet.CaseAct{Do: fleet.VerbResume, Note: "part is there"}, "The case goes on."},
		{"", "acknowledge", "", fleet.CaseAct{Do: fleet.VerbTake}, "You have this case now."},
		{"", "start", "", fleet.CaseAct{Do: fleet.VerbStart}, "The case is in progress."},
		{"case-waits", "wait", "for=part", fleet.CaseAct{Do: fleet.VerbWait, WaitFor: "part"}, "The case waits for the partner."}, // the sample stays as it is
		{"case-waits", "assign", "to=ruth", fleet.CaseAct{Do: fleet.VerbAssign, To: "agent:ruth"}, "The case is with the desk now."},
		{"", "assign", "to=", fleet.CaseAct{Do: fleet.VerbAssign}, "Nobody has the case now."},
		{"", "comment", "note=called", fleet.CaseAct{Do: fleet.VerbComment, Note: "called"}, "Your comment is noted."},
		{"case-symptom", "snooze", "for=24h&worse=1", fleet.CaseAct{Do: fleet.VerbSnooze, Worse: true, Until: friday.Add(24 * time.Hour)}, "The case is quiet until it gets worse."},
		{"", "snooze", "for=worse&device=1", fleet.CaseAct{Do: fleet.VerbSnooze, Worse: true, Device: true}, ""},
		{"", "snooze", "for=24h&until=2025-11-24T08:00", fleet.CaseAct{Do: fleet.VerbSnooze, Until: time.Date(2025, 11, 24, 7, 0, 0, 0, time.UTC)}, ""},
		{"case-symptom", "unsnooze", "", fleet.CaseAct{Do: fleet.VerbUnsnooze}, "The case is awake again."},
		{"", "resolve", "outcome=repaired&what=new+plug", fleet.CaseAct{Do: fleet.VerbResolve, Outcome: fleet.OutcomeRepaired, Cause: "new plug"}, "The case is resolved."},
		{"", "resolve", "outcome=part_replaced&what=pump&note=worn", fleet.CaseAct{Do: fleet.VerbResolve, Outcome: fleet.OutcomePart, Part: "pump", Note: "worn"}, ""},
		{"", "resolve", "outcome=false_alarm", fleet.CaseAct{Do: fleet.VerbResolve, Outcome: fleet.OutcomeFalseAlarm}, ""},
		{"case-watched", "close", "", fleet.CaseAct{Do: fleet.VerbClose}, "closed for good"},
		{"case-watched", "reopen", "note=again", fleet.CaseAct{Do: fleet.VerbReopen, Note: "again"}, "open again"},
		{"case-symptom", "merge", "into=case-waits", fleet.CaseAct{Do: fleet.VerbMerge, Into: "case-waits"}, "goes on in the other one"},
		{"case-waits", "split", "rule=washer-leaks", fleet.CaseAct{Do: fleet.VerbSplit, Rule: "washer-leaks"}, "A case of its own"},
		{"", "maintenance", "until=2025-11-21T23:00", fleet.CaseAct{Do: fleet.VerbMaintain, Until: time.Date(2025, 11, 21, 22, 0, 0, 0, time.UTC)}, "maintenance window is set"},
	} {
		f := newFixture(t)
		c := &f.cases[0]
		if x.on != "" {
			c = f.byID(x.on)
		}
		w := f.post(caseURL(c)+"/"+x.verb, x.form, nil)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != caseURL(c)+"?done="+x.verb {
			t.Errorf("%s %q: %d to %q\n%.900s", x.verb, x.form, w.Code, w.Header().Get("Location"), w.Body)
			continue
		}
		x.want.Tenant, x.want.CaseID, x.want.Actor, x.want.At = "demo", c.ID, "agent:desk", friday
		if len(f.acts) != 1 || fmt.Sprint(f.acts[0]) != fmt.Sprint(x.want) {
			t.Errorf("%s %q asked for\n%+v, want\n%+v", x.verb, x.form, f.acts, x.want)
		}
		if body := f.get(t, w.Header().Get("Location")); !strings.Contains(body, `role="status"`) && x.says != "" || !strings.Contains(body, x.says) {
			t.Errorf("%s: the page does not say %q", x.verb, x.says)
		}
	}
}

// TestWrongActionsAreSaid: what cannot be done is a sentence on the case's page, and nothing is asked for.
func TestWrongActionsAreSaid(t *testing.T) {
	for _, x := range []struct {
		on, verb, form string
		err            error
		status         int
		says           string
	}{
		{"", "resolve", "outcome=whatever", nil, 400, "Choose how it ended."},
		{"", "resolve", "outcome=duplicate", nil, 400, "Choose how it ended."},
		{"", "resolve", "outcome=repaired", nil, 400, "Say what it was"},
		{"", "comment", "note=+", nil, 400, "The comment is empty."},
		{"", "comment", "note=" + strings.Repeat("x", maxForm), nil, 400, "could not be read"},
		{"", "wait", "for=godot", nil, 400, "Choose whom"},
		{"", "snooze", "for=ever", nil, 400, "Choose how long"},
		{"", "snooze", "until=2024-01-01T00:00", nil, 400, "Choose how long"},
		{"", "snooze", "until=tomorrow", nil, 400, "Choose how long"},
		{"", "merge", "", nil, 400, "Choose the case"},
		{"", "split", "", nil, 400, "Choose the rule"},
		{"", "maintenance", "until=2025-11-21T10:00", nil, 400, "A window needs an end"},
		{"", "maintenance", "from=2025-11-23T10:00&until=2025-11-22T10:00", nil, 400, "A window needs an end"},
		{"case-merged", "acknowledge", "", nil, 409, "The case is “closed”"},
		{"case-watched", "resolve", "outcome=false_alarm", nil, 409, "The case is “being watched”"},
		{"case-watched", "close", "", fleet.Errorf(fleet.CodeConflict, "holds"), 409, "Its condition still holds."},
		{"", "acknowledge", "", fleet.Errorf(fleet.CodeConflict, "changed"), 409, "The case changed while you were looking"},
		{"", "acknowledge", "", fleet.Errorf(fleet.CodeInvalid, "no"), 400, "Nothing was changed."},
		{"", "acknowledge", "", fleet.Errorf(fleet.CodeBusy, "busy"), 503, "The server is busy"},
		{"", "acknowledge", "", errors.New("disk"), 500, "could not be made"},
		{"", "explode", "", nil, 404, "There is nothing here"},
	} {
		f := newFixture(t)
		f.agentErr = x.err
		c := &f.cases[0]
		if x.on != "" {
			c = f.byID(x.on)
		}
		w := f.post(caseURL(c)+"/"+x.verb, x.form, nil)
		if w.Code != x.status || !strings.Contains(w.Body.String(), x.says) {
			t.Errorf("%s %.30q with %v: %d, want %d and %q", x.verb, x.form, x.err, w.Code, x.status, x.says)
		}
		if x.err == nil && x.status != 409 && len(f.acts) > 0 {
			t.Errorf("%s %.30q was asked for", x.verb, x.form)
		}
	}
}

// TestOnlyWhatTheStateAllowsIsOffered: the forms of a page are those that the table of states allows. (SEC-17)
func TestOnlyWhatTheStateAllowsIsOffered(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{f.cases[0].ID, "case-waits", "case-watched", "case-merged", "case-symptom"} {
		c := f.byID(id)
		body := f.get(t, caseURL(c))
		for _, v := range deskVerbs {
			offered := strings.Contains(body, `action="`+caseURL(c)+"/"+string(v)+`"`)
			if offered && !f.Can(c.State, v) {
				t.Errorf("%s is %s and offers %s", id, c.State, v)
			}
		}
	}
	for id, want := range map[string][]string{"case-waits": {"resume", "resolve", "wait", "assign", "snooze", "merge", "split", "maintenance", "comment", "attach", "visit/cancel"},
		"case-watched": {"close", "reopen", "comment", "attach"}, "case-symptom": {"unsnooze", "visit", "acknowledge"}} {
		body := f.get(t, caseURL(f.byID(id)))
		for _, v := range want {
			if !strings.Contains(body, `/`+v+`"`) {
				t.Errorf("%s does not offer %s", id, v)
			}
		}
	}
}

func (f *fixture) upload(t *testing.T, target, name string, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	part, err := m.CreateFormFile("file", name)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(body)
	_ = m.WriteField("note", "the old pump")
	_ = m.Close()
	return f.post(target, b.String(), func(r *http.Request) { r.Header.Set("Content-Type", m.FormDataContentType()) })
}

// TestFilesAreSavedNeverShown: an attachment goes up, and comes down as something to save, whatever it holds.
func TestFilesAreSavedNeverShown(t *testing.T) {
	f := newFixture(t)
	c := &f.cases[0]
	if w := f.upload(t, caseURL(c)+"/attach", "../../pump.png", []byte("\x89PNG\r\n\x1a\n")); w.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if len(f.acts) != 1 || len(f.acts[0].File.Body) != 8 || f.acts[0].Note != "the old pump" {
		t.Errorf("asked for %+v", f.acts)
	}
	for _, x := range [][]byte{nil, make([]byte, maxFile+1), make([]byte, maxUpload+1)} {
		if w := f.upload(t, caseURL(c)+"/attach", "x", x); w.Code != http.StatusBadRequest || len(f.acts) != 1 {
			t.Errorf("%d bytes: %d, want 400", len(x), w.Code)
		}
	}
	f.desk.files[0].Name, f.desk.files[0].Type, f.desk.files[0].Body = "p\"ümp\r\n.svg", "image/svg+xml", []byte("<svg onload=alert(1)>")
	r := request(http.MethodGet, "/cases/demo/case-watched/files/att-1", nil)
	r.AddCookie(&http.Cookie{Name: "aftercare_8080", Value: sessionValue(testToken)})
	w := f.do(r)
	h := w.Header()
	for key, want := range map[string]string{"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'",
		"Content-Disposition": `attachment; filename="p__mp__.svg"; filename*=UTF-8''p%22%C3%BCmp%0D%0A.svg`, "Cache-Control": "private, no-store"} {
		if h.Get(key) != want {
			t.Errorf("%s is %q, want %q", key, h.Get(key), want)
		}
	}
}

func TestVisits(t *testing.T) {
	f := newFixture(t)
	c := &f.cases[0]
	w := f.post(caseURL(c)+"/visit", "partner=nord&from=2025-11-24T09:00&part=plug&note=ring+twice", nil)
	if want := "book " + c.ID + " nord plug 2025-11-24T08:00 ring twice agent:desk"; w.Code != http.StatusSeeOther || len(f.done) != 1 || f.done[0] != want {
		t.Errorf("%d, did %q, want %q", w.Code, f.done, want)
	}
	f.done = nil
	if w := f.post("/cases/demo/case-waits/visit/cancel", "order=ord-1&note=fixed", nil); w.Code != http.StatusSeeOther || f.done[0] != "cancel ord-1 agent:desk fixed" {
		t.Errorf("%d %q", w.Code, f.done)
	}
	if w := f.post(caseURL(c)+"/visit/cancel", "order=ord-1", nil); w.Code != http.StatusNotFound {
		t.Errorf("another case's order: %d", w.Code)
	}
	for err, says := range map[error]string{fleet.Errorf(fleet.CodeNotFound, "x"): "No partner serves", fleet.Errorf(fleet.CodeConflict, "x"): "there is nothing to visit for"} {
		f.desk.orderErr = err
		if w := f.post(caseURL(c)+"/visit", "", nil); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%v: %d, want %q", err, w.Code, says)
		}
	}
	if w := f.post(caseURL(c)+"/visit", "from=2020-01-01T00:00", nil); w.Code != http.StatusBadRequest {
		t.Errorf("a visit in the past: %d", w.Code)
	}
	f.web.deps.Dispatcher = nil
	if w := f.post(caseURL(c)+"/visit", "", nil); w.Code != http.StatusConflict || strings.Contains(f.get(t, caseURL(c)), "/visit\"") {
		t.Errorf("without dispatch: %d", w.Code)
	}
}

func TestBulkSaysHowEachWent(t *testing.T) {
	f := newFixture(t)
	ids := "case=" + f.cases[0].ID + "&case=case-merged&case=none&case=" + f.cases[0].ID
	w := f.post("/cases/bulk", "do=resolve&outcome=false_alarm&back=kind%3Dsafety&"+ids, nil)
	body := w.Body.String()
	if w.Code != http.StatusOK || !strings.Contains(body, "Done with one case.") || !strings.Contains(body, "The case is “closed”") || !strings.Contains(body, "/cases?kind=safety") {
		t.Errorf("%d\n%s", w.Code, body)
	}
	for form, says := range map[string]string{"do=acknowledge": "No case is chosen", "do=resolve&case=x": "Choose how it ended.", "do=merge&case=x": "could not be read",
		"do=acknowledge&back=https://evil.example/&" + ids: `href="/cases?`} {
		f := newFixture(t)
		if w := f.post("/cases/bulk", form, nil); !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s: %d, want %q", form, w.Code, says)
		}
	}
}

// TestFormsOfOthersAreRefused: no page elsewhere can send any of the desk's forms. (SEC-17)
func TestFormsOfOthersAreRefused(t *testing.T) {
	f := newFixture(t)
	paths := make([]string, 0, 30)
	paths = append(paths, "/cases/bulk", "/messages/retry", "/incidents", "/incidents/demo/inc-open/edit", "/incidents/demo/inc-open/fix", "/incidents/demo/inc-open/close",
		"/cases/demo/case-waits/visit", "/cases/demo/case-waits/visit/cancel")
	for _, v := range deskVerbs {
		paths = append(paths, "/cases/demo/case-waits/"+string(v))
	}
	for _, p := range paths {
		for _, change := range []func(*http.Request){
			func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") },
			func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
			func(r *http.Request) { r.Header.Del("Cookie") },
		} {
			if w := f.post(p, "note=x&why=x&to=x&do=acknowledge&case=case-waits", change); w.Code != http.StatusForbidden && w.Code != http.StatusUnauthorized {
				t.Errorf("%s: %d", p, w.Code)
			}
		}
	}
	if len(f.acts)+len(f.done) > 0 {
		t.Errorf("done: %v %v", f.acts, f.done)
	}
}

func TestDeadLettersAreTriedAgain(t *testing.T) {
	f := newFixture(t)
	body := f.get(t, "/messages")
	for _, want := range []string{"410 Gone since 18 November", "webhook: help desk", `value="dead-1"`, `name="channel" value="email"`, "the operators"} {
		if !strings.Contains(body, want) {
			t.Errorf("lacks %q", want)
		}
	}
	for form, want := range map[string]string{"id=dead-1": "retry dead-1", "channel=email": "retry dead-2"} {
		f.done = nil
		if w := f.post("/messages/retry", form, nil); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/messages?retried=1" || len(f.done) != 1 || f.done[0] != want {
			t.Errorf("%s: %d, done %q", form, w.Code, f.done)
		}
	}
	if !strings.Contains(f.get(t, "/messages?retried=1"), "One goes out again now.") {
		t.Error("the page does not say that one goes out again")
	}
	for form, want := range map[string]int{"": 400, "id=none": 404} {
		if w := f.post("/messages/retry", form, nil); w.Code != want {
			t.Errorf("%q: %d, want %d", form, w.Code, want)
		}
	}
}

// TestOverviewLeadsToWhatWaits: each count on the overview leads to the list that shows as many.
func TestOverviewLeadsToWhatWaits(t *testing.T) {
	f := newFixture(t)
	body := f.get(t, "/")
	for _, want := range []string{`<a href="/cases?overdue=1">One case is overdue`, `<a href="/incidents">One open incident`, `<a href="/messages#r-dead">2 messages were not delivered`, `href="/cases?show=waiting"`, `href="/cases?severity=danger"`} {
		if !strings.Contains(body, want) {
			t.Errorf("lacks %q", want)
		}
	}
	for query, want := range map[string]int{"?overdue=1": 1, "?show=waiting": 1, "?severity=danger": 1, "?snoozed=only": 1, "?incident=inc-open": 1, "?show=watching": 1, "?who=desk": 2} {
		if got := strings.Count(f.get(t, "/cases"+query), "data-row"); got != want {
			t.Errorf("/cases%s: %d rows, want %d", query, got, want)
		}
	}
}
