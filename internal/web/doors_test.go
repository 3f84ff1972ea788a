package web

import (
	"html/template"
	"net/http"
	"strings"
	"testing"

	"aftercare/internal/fleet"
)

func TestQuarantineIsFilteredAndTriedAgain(t *testing.T) {
	f := newFixture(t)
	reason := f.aside[0].Reason
	body := f.get(t, "/quarantine?reason="+reason)
	for _, q := range f.aside {
		if strings.Contains(body, template.HTMLEscapeString(q.Detail)) != (q.Reason == reason) {
			t.Errorf("with reason %s, %q is on the page: %v", reason, q.Detail, q.Reason != reason)
		}
	}
	if !strings.Contains(body, "Try these again") || !strings.Contains(f.get(t, "/quarantine?reason=nothing_like_it"), "Nothing of this kind") {
		t.Error("the page does not say what the filter does")
	}
	w := f.post("/quarantine/again", "model=washer-w7&reason="+reason, nil)
	if w.Code != http.StatusSeeOther || len(f.done) != 1 || f.done[0] != "again demo washer-w7 "+reason {
		t.Fatalf("%d, did %q", w.Code, f.done)
	}
	if body := f.get(t, w.Header().Get("Location")); !strings.Contains(body, "2 reports are stored now.") || !strings.Contains(body, "One cannot be read still.") {
		t.Errorf("the page behind %s does not say what became of it", w.Header().Get("Location"))
	}
	f.post("/quarantine/again", "model=w", func(r *http.Request) { r.Header.Set("Origin", "http://elsewhere.example") })
	if len(f.done) != 1 {
		t.Error("a foreign page had it tried again")
	}
}

func TestQuarantinePages(t *testing.T) {
	f := newFixture(t)
	one := f.aside[0]
	f.aside = nil
	for i := range 2*quarantineShown + 5 {
		one.Seq = uint64(1000 - i)
		f.aside = append(f.aside, one)
	}
	seen, next := 0, "/quarantine?reason="+one.Reason
	for range 3 {
		body := f.get(t, next)
		seen += strings.Count(body, "<details><summary>")
		before, _, more := strings.Cut(body, `" rel="next"`)
		if !more {
			break
		}
		next = strings.ReplaceAll(before[strings.LastIndexByte(before, '"')+1:], "&amp;", "&")
	}
	if seen != 2*quarantineShown+5 {
		t.Errorf("%d of %d over all pages", seen, 2*quarantineShown+5)
	}
}

func TestQualityNamesTheWorstFirmwareFirst(t *testing.T) {
	body := newFixture(t).get(t, "/quarantine")
	bad, good := strings.Index(body, "2.1.0"), strings.Index(body, "2.0.1")
	if bad < 0 || good < bad || !strings.Contains(body, "<code>drain_s</code>: 37") || !strings.Contains(body, "<code>drum_rpm</code>: 800") {
		t.Errorf("2.1.0 at %d, 2.0.1 at %d", bad, good)
	}
}

func TestDeviceIsAskedToDoSomething(t *testing.T) {
	f := newFixture(t)
	body := f.get(t, "/devices/demo/WM-0001")
	for _, want := range []string{"Restart: not now, asked again later", "a wash is running", "Identify: done", "Connected", `value="identify"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if w := f.post("/devices/demo/WM-0001/commands", "name=identify", nil); w.Code != http.StatusSeeOther || len(f.done) != 1 || f.done[0] != "command WM-0001 identify agent:desk" {
		t.Errorf("%d, did %q", w.Code, f.done)
	}
	f.agentErr = fleet.Errorf(fleet.CodeInvalid, "washer-w7 knows identify and restart only")
	if w := f.post("/devices/demo/WM-0001/commands", "name=explode", nil); w.Code != http.StatusBadRequest {
		t.Errorf("an unknown command answers %d", w.Code)
	}
	if w := f.post("/devices/other/WM-0001/commands", "name=identify", nil); w.Code != http.StatusNotFound {
		t.Errorf("a foreign tenant's device answers %d", w.Code)
	}
}
