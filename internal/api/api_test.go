package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

var at = time.Date(2025, 11, 21, 19, 0, 0, 0, time.UTC)

// source is a small fleet written out: what the other parts of the program would answer.
type source struct {
	devices  []fleet.Device
	cases    []fleet.Case
	latest   map[string]fleet.Reading
	agentErr error
	err      error
	done     []string
	asked    fleet.CaseFilter

	quarantine fleet.QuarantineFilter
	commands   []fleet.Command
}

func newSource() *source {
	s := &source{latest: map[string]fleet.Reading{}}
	for i := range 700 {
		s.devices = append(s.devices, fleet.Device{Key: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("WM-%d", i)}, Model: "w7", Category: "washing-machine"})
	}
	for i, sev := range []fleet.Severity{fleet.Fault, fleet.Due, fleet.Watch} {
		key := s.devices[i].Key
		s.cases = append(s.cases, fleet.Case{ID: fmt.Sprintf("case-%d", i), Device: key, Model: "w7", Kind: fleet.KindFault, Severity: sev, State: fleet.CaseNew, OpenedAt: at, UpdatedAt: at,
			Episodes: []fleet.Episode{{Rule: "r", Severity: sev, OpenedAt: at, Evidence: []fleet.Evidence{{Name: "drain_s", Value: 94, Unit: "s", At: at, Limit: 77, HasLimit: true}}}, {Rule: "r"}}})
	}
	s.latest["WM-1"] = fleet.Reading{Time: at, Fields: []fleet.Field{{Name: "drain_s", Value: fleet.Value{Float: 55.2}}, {Name: "door", Value: fleet.Value{Float: 1}},
		{Name: "text", Value: fleet.Value{Type: fleet.String, Str: "<ok>"}}, {Name: "odd", Value: fleet.Value{Float: math.NaN()}}}}
	return s
}

func (s *source) Cases(_ context.Context, f fleet.CaseFilter) ([]fleet.Case, error) {
	s.asked = f
	return s.cases[:min(len(s.cases), f.Limit)], s.err
}

func (s *source) Case(_ context.Context, _, id string) (*fleet.Case, error) {
	for i := range s.cases {
		if s.cases[i].ID == id {
			return &s.cases[i], nil
		}
	}
	return nil, fleet.Errorf(fleet.CodeNotFound, "there is no case %q", id)
}

func (s *source) CategoryCounts(context.Context, string) (map[string]int, error) {
	return map[string]int{"washing-machine": len(s.devices)}, s.err
}

func (s *source) OpenCasesByDevice(context.Context, string) (map[string]fleet.Severity, error) {
	out := map[string]fleet.Severity{}
	for _, c := range s.cases {
		out[c.Device.Serial] = c.Severity
	}
	return out, nil
}

func (s *source) CaseAudit(_ context.Context, _, id string) ([]fleet.Audit, error) {
	return []fleet.Audit{{CaseID: id, At: at, Actor: "rules", Action: "opened"}}, nil
}

func (s *source) CaseDeliveries(_ context.Context, _, id string) ([]fleet.Delivery, error) {
	return []fleet.Delivery{{OutboxID: "m1", CaseID: id, State: "dead", Reason: "410 Gone", At: at}}, nil
}

func (s *source) Devices(_ context.Context, f fleet.DeviceFilter) ([]fleet.Device, int, error) {
	var match []fleet.Device
	for _, d := range s.devices {
		if strings.Contains(d.Key.Serial, f.Query) {
			match = append(match, d)
		}
	}
	from := min(f.Offset, len(match))
	return match[from:min(from+f.Limit, len(match))], len(match), s.err
}

func (s *source) Model(id string) (*fleet.Model, bool) {
	return &fleet.Model{ID: id, Fields: []fleet.FieldSpec{{Name: "drain_s", Unit: "s"}, {Name: "door", Type: fleet.Boolean, Unit: "1"}}}, id == "w7"
}

func (s *source) RecentMessages(context.Context, string, int) ([]fleet.Message, error) {
	return []fleet.Message{{ID: "m1", Title: "It drains slowly", At: at}}, s.err
}

func (s *source) RecentDeliveries(context.Context, string, int) ([]fleet.Delivery, error) {
	return []fleet.Delivery{{OutboxID: "m1", State: "sent", At: at}}, s.err
}

func (s *source) Series(_ context.Context, _ fleet.DeviceKey, _, _ string, from, to time.Time, every time.Duration) ([]fleet.Point, error) {
	var out []fleet.Point
	for t := from; t.Before(to); t = t.Add(every) {
		out = append(out, fleet.Point{At: t, Value: 55})
	}
	return append(out, fleet.Point{At: to, Value: math.Inf(1)}), s.err
}

func (s *source) Latest(_ context.Context, key fleet.DeviceKey, _ string) (fleet.Reading, error) {
	if r, ok := s.latest[key.Serial]; ok {
		return r, nil
	}
	return fleet.Reading{}, fleet.Errorf(fleet.CodeNotFound, "no reading")
}

func (s *source) Quarantined(_ context.Context, f fleet.QuarantineFilter) ([]fleet.Quarantined, error) {
	s.quarantine = f
	return []fleet.Quarantined{{At: at, Reason: "syntax", Payload: []byte("{\xff")}}, s.err
}

func (s *source) Refusals() ([]fleet.Refusal, map[string]uint64) {
	return []fleet.Refusal{{At: at, Reason: "credentials"}}, map[string]uint64{"credentials": 14}
}

func (s *source) Acknowledge(_ context.Context, tenant, id, who string) error {
	s.done = append(s.done, "acknowledge "+tenant+" "+id+" "+who)
	return s.agentErr
}

func (s *source) Resolve(_ context.Context, _, id, _, outcome, note string) error {
	s.done = append(s.done, "resolve "+id+" "+outcome+" "+note)
	return s.agentErr
}

func (s *source) Comment(_ context.Context, _, id, _, text string) error {
	s.done = append(s.done, "comment "+id+" "+text)
	return s.agentErr
}

type fixture struct {
	*source
	h   http.Handler
	log bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{source: newSource()}
	s := f.source
	f.h = New(Config{Tenant: "demo", Version: "test"}, Deps{Cases: s, Stories: s, Devices: s, Models: s, Mail: s, History: s, Doors: s, Mender: s, Commander: s, Provisioner: s, Claims: s, Links: s, Agent: s, Dead: s,
		Log: slog.New(slog.NewTextHandler(&f.log, nil)), Now: func() time.Time { return at }})
	return f
}

// call sends a request and reads the answer into a map, after checking its status and type.
func (f *fixture) call(t *testing.T, method, path, body string, status int) map[string]any {
	t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+Prefix+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.h.ServeHTTP(w, r)
	if w.Code != status {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, w.Code, status, w.Body)
	}
	want := "application/json"
	if status >= 400 {
		want = "application/problem+json"
	}
	if got := w.Header().Get("Content-Type"); got != want || w.Header().Get("Link") != "" {
		t.Errorf("%s %s: type %q, link %q", method, path, got, w.Header().Get("Link"))
	}
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
	}
	if out["$schema"] != nil {
		t.Errorf("%s %s: a $schema link", method, path)
	}
	return out
}

func TestDevices(t *testing.T) {
	f := newFixture(t)
	out := f.call(t, "GET", "/devices?q=WM-1&limit=5&offset=2", "", 200)
	if out["total"].(float64) != 111 || len(out["devices"].([]any)) != 5 {
		t.Errorf("%v", out)
	}
	d := f.call(t, "GET", "/devices/demo/WM-1", "", 200)
	fields := d["latest"].(map[string]any)["fields"].(map[string]any)
	if d["worst_case"] != "due" || fields["drain_s"] != 55.2 || fields["door"] != true || fields["text"] != "<ok>" || fields["odd"] != nil {
		t.Errorf("%v", d)
	}
	if f.call(t, "GET", "/devices/demo/WM-699", "", 200)["latest"] != nil {
		t.Error("a reading of a device that never reported")
	}
	for _, path := range []string{"/devices/demo/WM", "/devices/demo/none", "/devices/other/WM-1", "/nothing"} {
		f.call(t, "GET", path, "", 404)
	}
	f.call(t, "GET", "/devices?limit=0", "", 422)
}

func TestSeries(t *testing.T) {
	f := newFixture(t)
	s := f.call(t, "GET", "/devices/demo/WM-1/series/drain_s", "", 200)
	points := s["points"].([]any)
	if len(points) != 144 || s["unit"] != "s" || points[0].(map[string]any)["at"] != "2025-11-20T19:00:00Z" {
		t.Errorf("%d points, unit %v, first %v", len(points), s["unit"], points[0])
	}
	s = f.call(t, "GET", "/devices/demo/WM-1/series/drain_s?from=2025-11-01T00:00:00Z&to=2025-11-02T00:00:00%2B00:00&every=1h", "", 200)
	if len(s["points"].([]any)) != 24 {
		t.Errorf("%v", s)
	}
	for _, q := range []string{"every=no", "every=1ms", "every=-1h", "from=2025-11-22T00:00:00Z", "from=2020-01-01T00:00:00Z&every=1s", "from=0001-01-02T00:00:00Z&to=9999-01-01T00:00:00Z&every=1s"} {
		f.call(t, "GET", "/devices/demo/WM-1/series/drain_s?"+q, "", 400)
	}
}

func TestCases(t *testing.T) {
	f := newFixture(t)
	out := f.call(t, "GET", "/cases?limit=2&kind=fault", "", 200)
	if len(out["cases"].([]any)) != 2 || out["next"] != "case-1" || len(f.asked.States) != len(fleet.OpenStates()) || f.asked.ByTime {
		t.Errorf("%v, asked %+v", out, f.asked)
	}
	if f.call(t, "GET", "/cases?state=all&limit=3", "", 200)["next"] != nil || len(f.asked.States) != 0 || !f.asked.ByTime {
		t.Errorf("asked %+v", f.asked)
	}
	c := f.call(t, "GET", "/cases/demo/case-1", "", 200)
	ev := c["episodes"].([]any)[0].(map[string]any)["evidence"].([]any)[0].(map[string]any)
	if c["severity"] != "due" || ev["limit"].(float64) != 77 || len(c["audit"].([]any)) != 1 || c["deliveries"].([]any)[0].(map[string]any)["reason"] != "410 Gone" {
		t.Errorf("%v", c)
	}
	f.call(t, "GET", "/cases/demo/none", "", 404)
	f.call(t, "GET", "/cases/other/case-1", "", 404)
	f.call(t, "GET", "/cases?state=odd", "", 422)
}

func TestActions(t *testing.T) {
	f := newFixture(t)
	for _, a := range []struct{ path, body, want string }{
		{"/acknowledge", "", "acknowledge demo case-1 agent:api"}, {"/resolve", `{"outcome":"repaired","note":"new pump"}`, "resolve case-1 repaired new pump"}, {"/comment", `{"text":"called"}`, "comment case-1 called"},
	} {
		f.done = nil
		if c := f.call(t, "POST", "/cases/demo/case-1"+a.path, a.body, 200); c["id"] != "case-1" || len(f.done) != 1 || f.done[0] != a.want {
			t.Errorf("%s: %v, did %q", a.path, c["id"], f.done)
		}
	}
	f.done = nil
	f.call(t, "POST", "/cases/other/case-1/acknowledge", "", 404)
	f.call(t, "POST", "/cases/demo/case-1/resolve", `{}`, 422)
	f.call(t, "POST", "/cases/demo/case-1/comment", `{"text":""}`, 422)
	f.call(t, "POST", "/cases/demo/case-1/comment", `{`, 400)
	if len(f.done) != 0 {
		t.Errorf("did %q all the same", f.done)
	}
}

func TestErrorsAreTranslatedOnce(t *testing.T) {
	f := newFixture(t)
	for code, status := range map[fleet.Code]int{fleet.CodeInvalid: 400, fleet.CodeNotFound: 404, fleet.CodeConflict: 409, fleet.CodeDuplicate: 409, fleet.CodeDenied: 403, fleet.CodeBusy: 503} {
		f.agentErr = fmt.Errorf("acknowledge: %w", fleet.Errorf(code, "somebody was faster"))
		if p := f.call(t, "POST", "/cases/demo/case-1/acknowledge", "", status); !strings.Contains(p["detail"].(string), "somebody was faster") {
			t.Errorf("%s: %v", code, p)
		}
	}
	f.err = errors.New("open /secret/path: disk")
	for _, path := range []string{"/devices", "/cases", "/messages", "/quarantine", "/fleet"} {
		if p := f.call(t, "GET", path, "", 500); strings.Contains(fmt.Sprint(p), "secret") {
			t.Errorf("%s tells what only the log should: %v", path, p)
		}
	}
	if !strings.Contains(f.log.String(), "/secret/path") {
		t.Error("the log does not say what failed")
	}
}

func TestMessagesQuarantineAndFleet(t *testing.T) {
	f := newFixture(t)
	if m := f.call(t, "GET", "/messages", "", 200); m["messages"].([]any)[0].(map[string]any)["title"] != "It drains slowly" || len(m["deliveries"].([]any)) != 1 {
		t.Errorf("%v", m)
	}
	q := f.call(t, "GET", "/quarantine", "", 200)
	if q["refused"].(map[string]any)["credentials"].(float64) != 14 || q["quarantined"].([]any)[0].(map[string]any)["payload"] != "e/8=" {
		t.Errorf("%v", q)
	}
	s := f.call(t, "GET", "/fleet", "", 200)
	if s["devices"].(float64) != 700 || s["untroubled"].(float64) != 697 || s["worst_case"].(map[string]any)["due"].(float64) != 1 {
		t.Errorf("%v", s)
	}
}

func TestDocument(t *testing.T) {
	f := newFixture(t)
	r := httptest.NewRequest(http.MethodGet, Prefix+"/openapi.json", nil)
	w := httptest.NewRecorder()
	f.h.ServeHTTP(w, r)
	var doc struct {
		OpenAPI string
		Paths   map[string]any
	}
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	for _, p := range []string{"/devices", "/devices/{tenant}/{serial}", "/devices/{tenant}/{serial}/series/{field}", "/cases", "/cases/{tenant}/{id}", "/cases/{tenant}/{id}/acknowledge",
		"/cases/{tenant}/{id}/resolve", "/cases/{tenant}/{id}/comment", "/messages", "/quarantine", "/quarantine/reingest", "/quality", "/fleet", "/devices/import", "/devices/{tenant}/{serial}/commands",
		"/commands/{tenant}/{id}", "/devices/{tenant}/{serial}/rotate", "/claims", "/provisioning-keys"} {
		if doc.Paths[Prefix+p] == nil {
			t.Errorf("the document lacks %s", p)
		}
	}
	for _, p := range []string{"/docs", Prefix + "/docs", "/schemas", "/openapi.json"} {
		w := httptest.NewRecorder()
		f.h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, p, nil))
		if w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "script") {
			t.Errorf("%s answers %d", p, w.Code)
		}
	}
}
