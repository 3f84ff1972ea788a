package web

import (
	"context"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

const (
	incidentsShown = 100
	childrenShown  = 200
)

// incidentRow is one incident as one line of a list.
type incidentRow struct {
	*view
	Incident fleet.Incident
	Title    string
	URL      string
	State    state
	Stands   string // where it is: open, fixed, closed
	Group    string // which devices: model, firmware, batch
	Size     string // how many of them
}

type incidentsPage struct {
	*view
	Open, Over []incidentRow
}

func incidentURL(i *fleet.Incident) string { return "/incidents/" + i.Tenant + "/" + i.ID }

func (s *Web) incidentList(w http.ResponseWriter, r *http.Request) error {
	v := s.view(w, r, "incidents")
	v.Title = v.T("nav.incidents")
	list, err := s.deps.Incidents.Incidents(r.Context(), fleet.IncidentFilter{Tenant: s.cfg.Tenant, Limit: incidentsShown})
	if err != nil {
		return err
	}
	p := incidentsPage{view: v}
	for i := range list {
		row := s.incidentRow(v, &list[i])
		if list[i].State == fleet.IncidentOpen {
			p.Open = append(p.Open, row)
		} else {
			p.Over = append(p.Over, row)
		}
	}
	return s.render(w, r, http.StatusOK, "incidents", p)
}

func (s *Web) incidentRow(v *view, i *fleet.Incident) incidentRow {
	row := incidentRow{view: v, Incident: *i, Title: s.incidentTitle(v, i), URL: incidentURL(i), State: severityState(i.Severity),
		Stands: v.orHuman("incident.state.", string(i.State)), Group: s.group(v, i)}
	if i.State != fleet.IncidentOpen {
		row.State = "good"
	}
	if i.Devices > 0 {
		row.Size = strings.ReplaceAll(v.Fill("incident.share", itoa(i.Affected)), "@", itoa(i.Devices))
	}
	return row
}

// incidentTitle is the incident's own, else the problem in plain letters.
func (s *Web) incidentTitle(_ *view, i *fleet.Incident) string {
	if i.Title != "" {
		return i.Title
	}
	return upperFirst(humanise(i.Problem))
}

// group says which devices an incident is about.
func (s *Web) group(v *view, i *fleet.Incident) string {
	out := s.label(i.Model, v.Loc.Lang) + " (" + i.Model + ")"
	if i.Firmware != "" {
		out += ", " + v.T("fact.firmware") + " " + i.Firmware
	}
	if i.Batch != "" {
		out += ", " + v.T("fact.batch") + " " + i.Batch
	}
	return out
}

type incidentPage struct {
	*view
	Row      incidentRow
	Incident fleet.Incident
	Evidence []string // sentences
	Cases    []caseRow
	More     bool
	Told     []toldRow
	Reached  int
	Audit    []event
	Open     bool
	CanClose bool
	Done     string
	Refused  string
	Form     newsForm
	By       string
}

// toldRow is what became of one message about the incident.
type toldRow struct {
	way
	To, URL string
	About   string
}

// newsForm is what an agent writes to owners, and how it would read.
type newsForm struct {
	Title, EN, DE, NextAt, Why string
	Preview                    []preview
}

type preview struct {
	Lang, Title string
	Body        []string
}

func (s *Web) loadIncident(ctx context.Context, r *http.Request) (*fleet.Incident, error) {
	if err := s.ours(r.PathValue("tenant")); err != nil {
		return nil, err
	}
	return s.deps.Incidents.Incident(ctx, s.cfg.Tenant, r.PathValue("id"))
}

func (s *Web) incidentOne(w http.ResponseWriter, r *http.Request) error {
	i, err := s.loadIncident(r.Context(), r)
	if err != nil {
		return err
	}
	return s.showIncident(w, r, s.view(w, r, "incidents"), i, s.formOf(i), http.StatusOK, "")
}

// formOf is the form as it begins: what is said now.
func (s *Web) formOf(i *fleet.Incident) newsForm {
	f := newsForm{Title: i.Title, EN: i.News["en"], DE: i.News["de"]}
	if !i.NextAt.IsZero() {
		f.NextAt = i.NextAt.In(s.zone).Format(formTime)
	}
	return f
}

func (s *Web) showIncident(w http.ResponseWriter, r *http.Request, v *view, i *fleet.Incident, f newsForm, status int, refused string) error {
	ctx := r.Context()
	p := incidentPage{view: v, Row: s.incidentRow(v, i), Incident: *i, Open: i.State == fleet.IncidentOpen, CanClose: i.State != fleet.IncidentClosed,
		Refused: refused, Form: f, Evidence: v.chance(i)}
	v.Title, v.Path, v.Query = p.Row.Title, incidentURL(i), ""
	snap, err := s.fleet.get(ctx)
	if err != nil {
		return err
	}
	people := s.names(ctx)
	p.By = v.actor(i.By, people)
	cases, err := s.deps.Incidents.IncidentCases(ctx, i.Tenant, i.ID, childrenShown+1)
	if err != nil {
		return err
	}
	if p.More = len(cases) > childrenShown; p.More {
		cases = cases[:childrenShown]
	}
	for _, c := range cases {
		p.Cases = append(p.Cases, s.caseLine(v, snap, people, c))
	}
	if err := p.story(ctx, s, people); err != nil {
		return err
	}
	if done := r.URL.Query().Get("done"); refused == "" && done != "" {
		if t := v.T("idone." + done); t != "idone."+done {
			p.Done = t
		}
	}
	return s.render(w, r, status, "incident", p)
}

// story is who was told and what happened to the incident, newest first.
func (p *incidentPage) story(ctx context.Context, s *Web, people *names) error {
	audit, err := s.deps.Incidents.IncidentAudit(ctx, p.Incident.Tenant, p.Incident.ID)
	if err != nil {
		return err
	}
	for _, a := range audit {
		e := event{At: a.At, Kind: "act", Title: upperFirst(p.orHuman("iaction.", a.Action)), Who: p.actor(a.Actor, people)}
		if a.Detail != "" {
			e.Lines = []string{a.Detail}
		}
		p.Audit = append(p.Audit, e)
	}
	slices.Reverse(p.Audit)
	sent, err := s.deps.Incidents.RefDeliveries(ctx, p.Incident.Tenant, p.Incident.ID)
	if err != nil {
		return err
	}
	reached := map[string]bool{}
	for i := range sent {
		d := &sent[i]
		row := toldRow{way: p.way(d, i), To: people.name(d.PersonID), URL: personURL(p.Incident.Tenant, d.PersonID), About: p.about(d.Topic)}
		if d.State == "sent" || d.State == "merged" {
			reached[d.PersonID] = true
		}
		p.Told = append(p.Told, row)
	}
	slices.Reverse(p.Told)
	p.Reached = len(reached)
	return nil
}

// chance says the evidence in plain words: how many of how many, what is normal, how likely that is by chance.
func (v *view) chance(i *fleet.Incident) (out []string) {
	if i.Devices > 0 {
		key := "incident.evidence"
		if i.Window <= 0 {
			key = "incident.evidence.now"
		}
		out = append(out, strings.NewReplacer("#", itoa(i.Affected), "@", itoa(i.Devices), "%", v.Loc.Span(max(i.Window, time.Minute))).Replace(v.T(key)))
	}
	if i.Expected > 0 {
		out = append(out, v.Fill("incident.expected", v.Loc.Number(i.Expected, 2)))
	}
	if i.Chance <= 0 {
		return out
	}
	once := 1 / i.Chance
	switch {
	case once >= 1e9:
		out = append(out, v.T("incident.chance.never"))
	case once >= 2:
		out = append(out, v.Fill("incident.chance", v.Loc.Number(roundTo(once), 7)))
	default:
		out = append(out, v.T("incident.chance.often"))
	}
	return out
}

// roundTo keeps one digit: nobody knows a chance better than that.
func roundTo(x float64) float64 {
	step := math.Pow(10, math.Floor(math.Log10(x)))
	return math.Round(x/step) * step
}
