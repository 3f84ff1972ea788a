package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"aftercare/internal/fleet"
)

// Incidents reads incidents and does to them what agents do. version is what the agent saw, 0 for whatever it is; another one is
// CodeConflict.
type Incidents interface {
	IncidentLog
	IncidentDesk
}

// IncidentLog reads them.
type IncidentLog interface {
	Incidents(ctx context.Context, f fleet.IncidentFilter) ([]fleet.Incident, error)
	Incident(ctx context.Context, tenant, id string) (*fleet.Incident, error)
	IncidentAudit(ctx context.Context, tenant, id string) ([]fleet.Audit, error)
	IncidentCases(ctx context.Context, tenant, id string, limit int) ([]fleet.Case, error)
}

// IncidentDesk changes them. Of the incident to declare, tenant, problem, model, firmware, batch, title, news and next are given.
type IncidentDesk interface {
	DeclareIncident(ctx context.Context, i fleet.Incident, actor, why string) (*fleet.Incident, error)
	EditIncident(ctx context.Context, tenant, id string, version int64, e fleet.IncidentEdit, actor, why string) error
	FixIncident(ctx context.Context, tenant, id string, version int64, actor, why string) error
	CloseIncident(ctx context.Context, tenant, id string, version int64, actor, why string) error
}

// Incident is one fault of many devices.
type Incident struct {
	ID       string            `json:"id"`
	Version  int64             `json:"version" doc:"counts changes"`
	State    string            `json:"state" enum:"open,fixed,closed"`
	Problem  string            `json:"problem"`
	Model    string            `json:"model"`
	Firmware string            `json:"firmware,omitempty" doc:"absent: any"`
	Batch    string            `json:"batch,omitempty" doc:"absent: any"`
	OpenedAt time.Time         `json:"opened_at"`
	FixedAt  *time.Time        `json:"fixed_at,omitempty"`
	ClosedAt *time.Time        `json:"closed_at,omitempty"`
	By       string            `json:"by" doc:"rules, or who declared it"`
	Title    string            `json:"title"`
	News     map[string]string `json:"news,omitempty" doc:"what owners are told, by language; absent: the shipped text"`
	NextAt   *time.Time        `json:"next_at,omitempty" doc:"when owners were promised news"`
	Severity string            `json:"severity" enum:"info,watch,due,fault,danger"`
	Devices  int               `json:"devices" doc:"in the group, when it was opened"`
	Affected int               `json:"affected" doc:"of these, with the problem within the window"`
	WindowS  int64             `json:"window_s" doc:"seconds"`
	Expected float64           `json:"expected" doc:"how many of them would at most be normal"`
	Chance   float64           `json:"chance" doc:"probability of so many by chance"`
}

// IncidentDetail is an incident with its history and its cases.
type IncidentDetail struct {
	Incident
	Audit []Audit `json:"audit" doc:"oldest first"`
	Cases []Case  `json:"cases" doc:"newest first, at most 1,000"`
}

func oneIncident(i *fleet.Incident) Incident {
	return Incident{ID: i.ID, Version: i.Version, State: string(i.State), Problem: i.Problem, Model: i.Model, Firmware: i.Firmware, Batch: i.Batch, OpenedAt: i.OpenedAt.UTC(),
		FixedAt: moment(i.FixedAt), ClosedAt: moment(i.ClosedAt), By: i.By, Title: i.Title, News: i.News, NextAt: moment(i.NextAt), Severity: i.Severity.String(),
		Devices: i.Devices, Affected: i.Affected, WindowS: int64(i.Window / time.Second), Expected: i.Expected, Chance: i.Chance}
}

type incidentsIn struct {
	State string `query:"state" enum:"open,fixed,closed,all" default:"open"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type incidentsOut struct {
	Body struct {
		Incidents []Incident `json:"incidents" doc:"newest first"`
	}
}

// IncidentRef names an incident in a path.
type IncidentRef struct {
	Tenant string `path:"tenant" maxLength:"64"`
	ID     string `path:"id" maxLength:"64"`
}

type incidentOut struct{ Body IncidentDetail }

type declareIn struct {
	Body struct {
		Problem  string            `json:"problem" minLength:"1" maxLength:"100" example:"washer-drain"`
		Model    string            `json:"model" minLength:"1" maxLength:"64"`
		Firmware string            `json:"firmware,omitempty" maxLength:"64" doc:"absent: any"`
		Batch    string            `json:"batch,omitempty" maxLength:"64" doc:"absent: any"`
		Title    string            `json:"title,omitempty" maxLength:"200"`
		News     map[string]string `json:"news,omitempty" doc:"what owners are told, by language; English is required then"`
		NextAt   time.Time         `json:"next_at,omitzero" doc:"when owners hear again at the latest"`
		Why      string            `json:"why" minLength:"1" maxLength:"2000"`
	}
}

type editIncidentIn struct {
	IncidentRef
	Body struct {
		Version int64             `json:"version,omitempty" doc:"the one that was seen; another one is a conflict. Absent: whatever it is"`
		Title   *string           `json:"title,omitempty" maxLength:"200"`
		News    map[string]string `json:"news,omitempty" doc:"owners who were told hear of it"`
		NextAt  *time.Time        `json:"next_at,omitempty"`
		Why     string            `json:"why" minLength:"1" maxLength:"2000"`
	}
}

type endIncidentIn struct {
	IncidentRef
	Body struct {
		Version int64  `json:"version,omitempty" doc:"the one that was seen; another one is a conflict. Absent: whatever it is"`
		Why     string `json:"why" minLength:"1" maxLength:"2000"`
	}
}

func (a *api) incidents(h huma.API) {
	huma.Register(h, a.operation("list-incidents", http.MethodGet, "/incidents", "Incidents: one fault of many devices"), a.listIncidents)
	huma.Register(h, a.operation("get-incident", http.MethodGet, "/incidents/{tenant}/{id}", "One incident with its history and its cases", 404), a.getIncident)
	huma.Register(h, a.operation("declare-incident", http.MethodPost, "/incidents", "Declare one: open cases of the group become its children", 400, 409), a.declareIncident)
	huma.Register(h, a.operation("edit-incident", http.MethodPost, "/incidents/{tenant}/{id}/edit", "Change the title, the news or the promised time", 400, 404, 409), a.editIncident)
	huma.Register(h, a.operation("fix-incident", http.MethodPost, "/incidents/{tenant}/{id}/fix", "Say that it is over: all who were told hear so", 400, 404, 409), a.fixIncident)
	huma.Register(h, a.operation("close-incident", http.MethodPost, "/incidents/{tenant}/{id}/close", "End it: it was none, or nothing follows any more", 400, 404, 409), a.closeIncident)
}

func (a *api) listIncidents(ctx context.Context, in *incidentsIn) (*incidentsOut, error) {
	f := fleet.IncidentFilter{Tenant: a.cfg.Tenant, Limit: in.Limit}
	if in.State != "all" {
		f.States = []fleet.IncidentState{fleet.IncidentState(in.State)}
	}
	list, err := a.deps.Incidents.Incidents(ctx, f)
	if err != nil {
		return nil, a.failed("list-incidents", err)
	}
	out := &incidentsOut{}
	out.Body.Incidents = make([]Incident, 0, len(list))
	for k := range list {
		out.Body.Incidents = append(out.Body.Incidents, oneIncident(&list[k]))
	}
	return out, nil
}

func (a *api) getIncident(ctx context.Context, in *IncidentRef) (*incidentOut, error) {
	return a.shown(ctx, "get-incident", *in)
}

// shown is an incident as it is now.
func (a *api) shown(ctx context.Context, op string, ref IncidentRef) (*incidentOut, error) {
	if err := a.ours(ref.Tenant); err != nil {
		return nil, a.failed(op, err)
	}
	i, err := a.deps.Incidents.Incident(ctx, ref.Tenant, ref.ID)
	if err != nil {
		return nil, a.failed(op, err)
	}
	lines, err := a.deps.Incidents.IncidentAudit(ctx, i.Tenant, i.ID)
	if err != nil {
		return nil, a.failed(op, err)
	}
	children, err := a.deps.Incidents.IncidentCases(ctx, i.Tenant, i.ID, 1000)
	if err != nil {
		return nil, a.failed(op, err)
	}
	out := &incidentOut{IncidentDetail{Incident: oneIncident(i), Audit: make([]Audit, 0, len(lines)), Cases: make([]Case, 0, len(children))}}
	for _, l := range lines {
		out.Body.Audit = append(out.Body.Audit, Audit{At: l.At.UTC(), Actor: l.Actor, Action: l.Action, Detail: l.Detail})
	}
	for k := range children {
		out.Body.Cases = append(out.Body.Cases, oneCase(&children[k]))
	}
	return out, nil
}

func (a *api) declareIncident(ctx context.Context, in *declareIn) (*incidentOut, error) {
	b := &in.Body
	i, err := a.deps.Incidents.DeclareIncident(ctx, fleet.Incident{Tenant: a.cfg.Tenant, Problem: b.Problem, Model: b.Model, Firmware: b.Firmware, Batch: b.Batch,
		Title: b.Title, News: b.News, NextAt: b.NextAt}, actor, b.Why)
	if err != nil {
		return nil, a.failed("declare-incident", err)
	}
	return a.shown(ctx, "declare-incident", IncidentRef{i.Tenant, i.ID})
}

func (a *api) editIncident(ctx context.Context, in *editIncidentIn) (*incidentOut, error) {
	if err := a.ours(in.Tenant); err != nil {
		return nil, a.failed("edit-incident", err)
	}
	e := fleet.IncidentEdit{Title: in.Body.Title, News: in.Body.News, NextAt: in.Body.NextAt}
	if err := a.deps.Incidents.EditIncident(ctx, in.Tenant, in.ID, in.Body.Version, e, actor, in.Body.Why); err != nil {
		return nil, a.failed("edit-incident", err)
	}
	return a.shown(ctx, "edit-incident", in.IncidentRef)
}

func (a *api) fixIncident(ctx context.Context, in *endIncidentIn) (*incidentOut, error) {
	if err := a.ours(in.Tenant); err != nil {
		return nil, a.failed("fix-incident", err)
	}
	if err := a.deps.Incidents.FixIncident(ctx, in.Tenant, in.ID, in.Body.Version, actor, in.Body.Why); err != nil {
		return nil, a.failed("fix-incident", err)
	}
	return a.shown(ctx, "fix-incident", in.IncidentRef)
}

func (a *api) closeIncident(ctx context.Context, in *endIncidentIn) (*incidentOut, error) {
	if err := a.ours(in.Tenant); err != nil {
		return nil, a.failed("close-incident", err)
	}
	if err := a.deps.Incidents.CloseIncident(ctx, in.Tenant, in.ID, in.Body.Version, actor, in.Body.Why); err != nil {
		return nil, a.failed("close-incident", err)
	}
	return a.shown(ctx, "close-incident", in.IncidentRef)
}
