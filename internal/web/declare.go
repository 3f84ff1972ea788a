package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

const (
	maxTitle = 120 // characters of an incident's title
	maxNews  = 600 // characters of what owners are told
)

// declarePage is the form for an incident. What it would take in is shown before it is declared.
type declarePage struct {
	*view
	Draft                       fleet.Incident
	Form                        newsForm
	Problems, Models            []option
	Firmwares, Batches          []string
	Counted                     bool
	Devices, Cases              int
	Refused, DevicesIn, CasesIn string
}

func (s *Web) declareForm(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	return s.showDeclare(w, r, s.view(w, r, "incidents"), q, q.Get("model") != "", http.StatusOK, "")
}

// draftOf reads which devices are meant.
func (s *Web) draftOf(f url.Values) fleet.Incident {
	get := func(k string) string { return words.Clean(strings.TrimSpace(f.Get(k)), 64) }
	return fleet.Incident{Tenant: s.cfg.Tenant, Problem: strings.TrimSpace(f.Get("problem")), Model: strings.TrimSpace(f.Get("model")),
		Firmware: get("firmware"), Batch: get("batch"), Severity: fleet.Fault, State: fleet.IncidentOpen}
}

func (s *Web) showDeclare(w http.ResponseWriter, r *http.Request, v *view, f url.Values, count bool, status int, refused string) error {
	snap, err := s.fleet.get(r.Context())
	if err != nil {
		return err
	}
	v.Title, v.LiveURL = v.T("incident.declare"), ""
	p := declarePage{view: v, Draft: s.draftOf(f), Form: newsOf(f), Refused: refused}
	p.choices(s, snap)
	if p.Counted = count && p.Draft.Model != "" && p.Draft.Problem != ""; p.Counted {
		for i := range snap.devices {
			d := &snap.devices[i]
			if d.Model == p.Draft.Model && !d.Revoked && (p.Draft.Firmware == "" || d.Firmware == p.Draft.Firmware) && (p.Draft.Batch == "" || d.Batch == p.Draft.Batch) {
				p.Devices++
			}
		}
		for i := range snap.open {
			if c := &snap.open[i]; c.IncidentID == "" && p.Draft.Matches(c) {
				p.Cases++
			}
		}
		p.DevicesIn, p.CasesIn = v.N("declare.devices", p.Devices), v.N("declare.cases", p.Cases)
		p.Draft.OpenedAt, p.Draft.Devices, p.Draft.Affected = v.Now, p.Devices, p.Cases
		p.Draft.NextAt, _ = s.timeOf(p.Form.NextAt)
		p.Draft.News = p.Form.news()
		p.Form.Preview = s.previews(v, &p.Draft, snap, fleet.EventIncident)
	}
	return s.render(w, r, status, "declare", p)
}

// choices are the problems of open cases and the models that there are.
func (p *declarePage) choices(s *Web, snap *snapshot) {
	seen := map[string]bool{}
	for i := range snap.open {
		c := &snap.open[i]
		if !seen["p"+c.Problem] {
			seen["p"+c.Problem] = true
			p.Problems = append(p.Problems, option{Value: c.Problem, Text: upperFirst(humanise(c.Problem)), Selected: c.Problem == p.Draft.Problem})
		}
	}
	if d := p.Draft.Problem; d != "" && !seen["p"+d] {
		p.Problems = append(p.Problems, option{Value: d, Text: upperFirst(humanise(d)), Selected: true})
	}
	for i := range snap.devices {
		d := &snap.devices[i]
		if !seen["m"+d.Model] {
			seen["m"+d.Model] = true
			p.Models = append(p.Models, option{Value: d.Model, Text: s.label(d.Model, p.Loc.Lang) + " (" + d.Model + ")", Selected: d.Model == p.Draft.Model})
		}
		if p.Draft.Model != "" && d.Model != p.Draft.Model {
			continue
		}
		if d.Firmware != "" && !slices.Contains(p.Firmwares, d.Firmware) && len(p.Firmwares) < 50 {
			p.Firmwares = append(p.Firmwares, d.Firmware)
		}
		if d.Batch != "" && !slices.Contains(p.Batches, d.Batch) && len(p.Batches) < 50 {
			p.Batches = append(p.Batches, d.Batch)
		}
	}
	slices.Sort(p.Firmwares)
	slices.Sort(p.Batches)
}

func newsOf(f url.Values) newsForm {
	get := func(k string, n int) string { return words.Clean(strings.TrimSpace(f.Get(k)), n) }
	return newsForm{Title: get("title", maxTitle), EN: get("news_en", maxNews), DE: get("news_de", maxNews), NextAt: f.Get("next_at"), Why: get("why", maxNote)}
}

// news is what owners are told, nil when nothing was written: then the shipped text.
func (f *newsForm) news() fleet.Words {
	out := fleet.Words{}
	if f.EN != "" {
		out["en"] = f.EN
	}
	if f.DE != "" {
		out["de"] = f.DE
	}
	return out
}

// previews are the message in both languages as an owner would get it, about the first device it fits.
func (s *Web) previews(v *view, i *fleet.Incident, snap *snapshot, topic string) (out []preview) {
	var d *fleet.Device
	for j := range snap.devices {
		if x := &snap.devices[j]; x.Model == i.Model && (i.Firmware == "" || x.Firmware == i.Firmware) && (i.Batch == "" || x.Batch == i.Batch) {
			d = x
			break
		}
	}
	c := &fleet.Case{Device: fleet.DeviceKey{Tenant: i.Tenant}, Model: i.Model, Problem: i.Problem, Rule: i.Problem, Kind: fleet.KindFault, Severity: max(i.Severity, fleet.Due), IncidentID: i.ID,
		State: fleet.CaseNew, OpenedAt: i.OpenedAt}
	if d != nil {
		c.Device, c.Category = d.Key, d.Category
	}
	for _, l := range []lang{en, de} {
		got := s.deps.Composer.Compose(words.Letter{Input: words.Input{Topic: topic, Case: c, Device: d, Now: v.Now,
			Person: &fleet.Person{Locale: readerTags[string(l)], Zone: v.Loc.Zone.String()}}, Channel: inboxChannel, Subject: fleet.TopicFault, Incident: i})
		out = append(out, preview{Lang: string(l), Title: got.Title, Body: paragraphs(got.Body)})
	}
	return out
}

// checkNews says what is wrong with what was written; empty: nothing.
func (s *Web) checkNews(f *newsForm) string {
	next, ok := s.timeOf(f.NextAt)
	switch {
	case !ok || !next.IsZero() && !next.After(s.now()):
		return "refused.next"
	case f.DE != "" && f.EN == "":
		return "refused.english"
	case f.Why == "":
		return "refused.why"
	}
	return ""
}

func (s *Web) declare(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(w, r, false); err != nil {
		return err
	}
	v := s.view(w, r, "incidents")
	d, f := s.draftOf(r.PostForm), newsOf(r.PostForm)
	wrong := s.checkNews(&f)
	if d.Problem == "" || d.Model == "" {
		wrong = "refused.group"
	}
	if wrong != "" || r.PostForm.Get("step") != "declare" {
		status, text := http.StatusOK, ""
		if r.PostForm.Get("step") == "declare" {
			status, text = http.StatusBadRequest, v.T(wrong)
		}
		return s.showDeclare(w, r, v, r.PostForm, true, status, text)
	}
	d.Title, d.News = f.Title, f.news()
	d.NextAt, _ = s.timeOf(f.NextAt)
	i, err := s.deps.Incidents.DeclareIncident(r.Context(), d, "agent:"+deskActor, f.Why)
	switch fleet.CodeOf(err) {
	case fleet.CodeConflict:
		return s.showDeclare(w, r, v, r.PostForm, true, http.StatusConflict, v.T("refused.declared"))
	case fleet.CodeInvalid:
		return s.showDeclare(w, r, v, r.PostForm, true, http.StatusBadRequest, v.T("err.400.why"))
	}
	if err != nil {
		return err
	}
	s.fleet.forget()
	http.Redirect(w, r, incidentURL(i)+"?done=declare", http.StatusSeeOther)
	return nil
}

// incidentAct edits, fixes or closes.
func (s *Web) incidentAct(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(w, r, false); err != nil {
		return err
	}
	i, err := s.loadIncident(r.Context(), r)
	if err != nil {
		return err
	}
	v := s.view(w, r, "incidents")
	verb, f := r.PathValue("verb"), newsOf(r.PostForm)
	if n, err := strconv.ParseInt(r.PostForm.Get("version"), 10, 64); err == nil && n > 0 {
		i.Version = n // what the agent saw
	}
	var wrong string
	switch {
	case verb == "edit" && r.PostForm.Get("step") == "preview":
		return s.showPreview(w, r, v, i, f)
	case verb == "edit":
		wrong = s.checkNews(&f)
	case verb != "fix" && verb != "close":
		return fleet.Errorf(fleet.CodeNotFound, "nothing is called %q", verb)
	case f.Why == "":
		f, wrong = s.formOf(i), "refused.why"
	}
	if wrong != "" {
		return s.showIncident(w, r, v, i, f, http.StatusBadRequest, v.T(wrong))
	}
	switch verb {
	case "edit":
		err = s.edit(r, i, &f)
	case "fix":
		err = s.deps.Incidents.FixIncident(r.Context(), i.Tenant, i.ID, i.Version, "agent:"+deskActor, f.Why)
	case "close":
		err = s.deps.Incidents.CloseIncident(r.Context(), i.Tenant, i.ID, i.Version, "agent:"+deskActor, f.Why)
	}
	switch fleet.CodeOf(err) {
	case fleet.CodeConflict:
		return s.showIncident(w, r, v, i, f, http.StatusConflict, v.T("refused.incidentstate"))
	case fleet.CodeInvalid:
		return s.showIncident(w, r, v, i, f, http.StatusBadRequest, v.T("err.400.why"))
	}
	if err != nil {
		return err
	}
	s.fleet.forget()
	http.Redirect(w, r, incidentURL(i)+"?done="+verb, http.StatusSeeOther)
	return nil
}

func (s *Web) edit(r *http.Request, i *fleet.Incident, f *newsForm) error {
	next, _ := s.timeOf(f.NextAt)
	e := fleet.IncidentEdit{Title: &f.Title, NextAt: &next}
	if n := f.news(); len(n) > 0 || len(i.News) > 0 {
		e.News = n
	}
	return s.deps.Incidents.EditIncident(r.Context(), i.Tenant, i.ID, i.Version, e, "agent:"+deskActor, f.Why)
}

// showPreview is the form as it was filled in, with what owners would read.
func (s *Web) showPreview(w http.ResponseWriter, r *http.Request, v *view, i *fleet.Incident, f newsForm) error {
	snap, err := s.fleet.get(r.Context())
	if err != nil {
		return err
	}
	x := *i
	x.News = f.news()
	x.NextAt, _ = s.timeOf(f.NextAt)
	f.Preview = s.previews(v, &x, snap, fleet.EventIncidentNews)
	return s.showIncident(w, r, v, i, f, http.StatusOK, "")
}
