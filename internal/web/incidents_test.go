package web

import (
	"net/http"
	"strings"
	"testing"

	"aftercare/internal/fleet"
)

func TestIncidentSaysItsEvidence(t *testing.T) {
	f := newFixture(t)
	body := f.get(t, "/incidents/demo/inc-open")
	for _, want := range []string{"7 of 18 devices had it within about seven days.", "Normally it would be about 0.4.", "about once in 300,000 times", "Tom Hughes", "opened", "quiet hours until 07:00", "One person",
		"/cases/demo/case-child", "the maker answered", "opened by the numbers"} {
		if !strings.Contains(strings.ReplaceAll(strings.ToLower(body), "\u00a0", " "), strings.ToLower(want)) {
			t.Errorf("lacks %q", want)
		}
	}
	if body := f.get(t, "/incidents/demo/inc-fixed"); strings.Contains(body, "/fix\"") || !strings.Contains(body, "/close\"") {
		t.Error("a fixed incident can be closed, and not fixed again")
	}
}

// TestDeclareCountsFirst: what an incident would take in is shown, and only the second form declares it.
func TestDeclareCountsFirst(t *testing.T) {
	f := newFixture(t)
	form := "problem=washer-drain-slow&model=washer-w7&batch=2024-31&news_en=We+know+of+it.&why=the+maker+called"
	w := f.post("/incidents", form+"&step=count", nil)
	body := w.Body.String()
	for _, want := range []string{"36 devices are meant.", "become", "We know of it.", `value="declare"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the count lacks %q", want)
		}
	}
	if len(f.done) > 0 || w.Code != http.StatusOK {
		t.Fatalf("%d, done %q", w.Code, f.done)
	}
	w = f.post("/incidents", form+"&step=declare", nil)
	if w.Code != http.StatusSeeOther || len(f.done) != 1 || f.done[0] != `declare washer-drain-slow washer-w7 "" "2024-31" We know of it. agent:desk the maker called` {
		t.Errorf("%d, done %q", w.Code, f.done)
	}
	for _, x := range []struct {
		form   string
		err    error
		status int
		says   string
	}{
		{"step=declare&model=washer-w7&why=x", nil, 400, "Choose the problem"}, {"step=declare&problem=p&model=washer-w7", nil, 400, "Say why"},
		{form + "&step=declare&news_de=Ja&news_en=", nil, 303, ""}, {"step=declare&problem=p&model=m&why=x&news_de=Ja", nil, 400, "in English too"},
		{form + "&step=declare&next_at=2020-01-01T00:00", nil, 400, "still to come"}, {form + "&step=declare", fleet.Errorf(fleet.CodeConflict, "x"), 409, "open incident of this problem"},
	} {
		f := newFixture(t)
		f.agentErr = x.err
		if w := f.post("/incidents", x.form, nil); w.Code != x.status || !strings.Contains(w.Body.String(), x.says) {
			t.Errorf("%s: %d, want %d and %q", x.form, w.Code, x.status, x.says)
		}
	}
}

func TestIncidentForms(t *testing.T) {
	f := newFixture(t)
	at := "/incidents/demo/inc-open"
	w := f.post(at+"/edit", "step=preview&news_en=Nearly+done.&news_de=Fast+fertig.&title=T&why=", nil)
	if w.Code != http.StatusOK || len(f.done) > 0 || !strings.Contains(w.Body.String(), "As owners would read it") || !strings.Contains(w.Body.String(), "Fast fertig.") {
		t.Errorf("preview: %d, done %q", w.Code, f.done)
	}
	for path, x := range map[string][2]string{"/edit": {"step=save&version=3&title=T&news_en=Now&news_de=Jetzt&next_at=2025-11-25T08:00&why=w", "edit inc-open 3 T Now Jetzt 2025-11-25T07:00 w"},
		"/fix": {"version=3&why=fixed+in+1.4", "fix inc-open 3 fixed in 1.4"}, "/close": {"why=none", "close inc-open 3 none"}} {
		f.done = nil
		if w := f.post(at+path, x[0], nil); w.Code != http.StatusSeeOther || len(f.done) != 1 || f.done[0] != x[1] {
			t.Errorf("%s: %d, done %q, want %q", path, w.Code, f.done, x[1])
		}
	}
	for path, want := range map[string]int{"/fix": 400, "/close": 400, "/edit": 400, "/explode": 404} {
		if w := f.post(at+path, "", nil); w.Code != want {
			t.Errorf("%s without a reason: %d, want %d", path, w.Code, want)
		}
	}
	f.agentErr = fleet.Errorf(fleet.CodeConflict, "x")
	if w := f.post(at+"/fix", "why=x", nil); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "changed while you were looking") {
		t.Errorf("conflict: %d", w.Code)
	}
}
