package api

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// fewIncidents is one incident, and what was done to it.
type fewIncidents struct {
	one  fleet.Incident
	done []string
	f    fleet.IncidentFilter
}

func (s *fewIncidents) Incidents(_ context.Context, f fleet.IncidentFilter) ([]fleet.Incident, error) {
	s.f = f
	return []fleet.Incident{s.one}, nil
}

func (s *fewIncidents) Incident(_ context.Context, _, id string) (*fleet.Incident, error) {
	if id != s.one.ID {
		return nil, fleet.Errorf(fleet.CodeNotFound, "there is no incident %q", id)
	}
	return &s.one, nil
}

func (s *fewIncidents) IncidentAudit(context.Context, string, string) ([]fleet.Audit, error) {
	return []fleet.Audit{{At: at, Actor: "rules", Action: "opened", Detail: "12 of 100"}}, nil
}

func (s *fewIncidents) IncidentCases(context.Context, string, string, int) ([]fleet.Case, error) {
	return []fleet.Case{{ID: "case-1", Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, OpenedAt: at}}, nil
}

func (s *fewIncidents) DeclareIncident(_ context.Context, i fleet.Incident, actor, why string) (*fleet.Incident, error) {
	s.done = append(s.done, fmt.Sprintf("declare %s %s %s %s %s: %s", i.Tenant, i.Problem, i.Model, i.Batch, actor, why))
	return &s.one, nil
}

func (s *fewIncidents) EditIncident(_ context.Context, tenant, id string, version int64, e fleet.IncidentEdit, _, why string) error {
	if version == 9 {
		return fleet.Errorf(fleet.CodeConflict, "somebody else changed it")
	}
	s.done = append(s.done, fmt.Sprintf("edit %s/%s %d %v %v %s: %s", tenant, id, version, e.Title == nil, e.News, e.NextAt.Format(time.DateOnly), why))
	return nil
}

func (s *fewIncidents) FixIncident(_ context.Context, _, id string, version int64, actor, why string) error {
	s.done = append(s.done, fmt.Sprintf("fix %s %d %s: %s", id, version, actor, why))
	return nil
}

func (s *fewIncidents) CloseIncident(_ context.Context, _, id string, version int64, actor, why string) error {
	s.done = append(s.done, fmt.Sprintf("close %s %d %s: %s", id, version, actor, why))
	return nil
}

func TestIncidents(t *testing.T) {
	s := &fewIncidents{one: fleet.Incident{ID: "i1", Tenant: "demo", Version: 3, State: fleet.IncidentOpen, Problem: "washer-drain", Model: "w7", Firmware: "2.1",
		OpenedAt: at, By: "rules", Title: "it", Severity: fleet.Fault, Devices: 100, Affected: 12, Window: time.Hour, Expected: 1.5, Chance: 1e-9}}
	f := &fixture{source: newSource()}
	f.h = New(Config{Tenant: "demo", Version: "test"}, Deps{Incidents: s, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return at }})
	list := f.call(t, "GET", "/incidents", "", 200)["incidents"].([]any)
	if i := list[0].(map[string]any); i["id"] != "i1" || i["fixed_at"] != nil || i["window_s"].(float64) != 3600 || len(s.f.States) != 1 || s.f.Tenant != "demo" {
		t.Errorf("%v, asked %+v", i, s.f)
	}
	if f.call(t, "GET", "/incidents?state=all", "", 200); len(s.f.States) != 0 {
		t.Errorf("asked %+v", s.f)
	}
	i := f.call(t, "GET", "/incidents/demo/i1", "", 200)
	if len(i["audit"].([]any)) != 1 || i["cases"].([]any)[0].(map[string]any)["serial"] != "WM-1" || i["severity"] != "fault" {
		t.Errorf("%v", i)
	}
	for _, c := range []struct{ path, body, want string }{
		{"", `{"problem":"washer-drain","model":"w7","batch":"B","why":"seen"}`, "declare demo washer-drain w7 B agent:api: seen"},
		{"/demo/i1/edit", `{"version":3,"news":{"en":"soon"},"next_at":"2026-01-02T00:00:00Z","why":"asked"}`, "edit demo/i1 3 true map[en:soon] 2026-01-02: asked"},
		{"/demo/i1/fix", `{"why":"2.2"}`, "fix i1 0 agent:api: 2.2"},
		{"/demo/i1/close", `{"version":3,"why":"none"}`, "close i1 3 agent:api: none"},
	} {
		s.done = nil
		if got := f.call(t, "POST", "/incidents"+c.path, c.body, 200); got["id"] != "i1" || strings.Join(s.done, "|") != c.want {
			t.Errorf("%s: did %q, want %q", c.path, s.done, c.want)
		}
	}
	s.done = nil
	f.call(t, "GET", "/incidents/demo/none", "", 404)
	f.call(t, "GET", "/incidents/other/i1", "", 404)
	for _, verb := range []string{"edit", "fix", "close"} {
		f.call(t, "POST", "/incidents/other/i1/"+verb, `{"why":"x"}`, 404)
		f.call(t, "POST", "/incidents/demo/i1/"+verb, `{}`, 422)
	}
	f.call(t, "POST", "/incidents", `{"problem":"x","why":"y"}`, 422)
	f.call(t, "POST", "/incidents/demo/i1/edit", `{"version":9,"why":"y"}`, 409)
	if len(s.done) != 0 {
		t.Errorf("did %q all the same", s.done)
	}
}
