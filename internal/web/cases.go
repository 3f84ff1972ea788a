package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"aftercare/internal/fleet"
)

const casesPerPage = 50

var caseKinds = []fleet.Kind{fleet.KindSafety, fleet.KindFault, fleet.KindMaintenance, fleet.KindUsage, fleet.KindExperience}

// caseFilter is what the list of cases shows, as its address says it.
type caseFilter struct {
	Show     string // empty: open cases; "all", or a state
	Kind     fleet.Kind
	Who      string // assignee: "nobody", or a name
	Incident string // "any", "none" or an incident's id
	Snoozed  string // "hide", "only"
	Severity string
	Overdue  bool
}

func filterOf(q url.Values) caseFilter {
	return caseFilter{Show: q.Get("show"), Kind: fleet.Kind(q.Get("kind")), Who: q.Get("who"), Incident: q.Get("incident"), Snoozed: q.Get("snoozed"),
		Severity: q.Get("severity"), Overdue: q.Get("overdue") != ""}
}

func (f *caseFilter) any() bool { return *f != caseFilter{} }

// open reports whether only open cases are asked for: these are in memory.
func (f *caseFilter) open() bool {
	return f.Show == "" || fleet.CaseState(f.Show).Open() && f.Show != "all"
}

func (f *caseFilter) states() []fleet.CaseState {
	switch f.Show {
	case "":
		return openStates
	case "all":
		return nil
	}
	return []fleet.CaseState{fleet.CaseState(f.Show)}
}

// fits reports whether a case is shown.
func (f *caseFilter) fits(v *view, c *fleet.Case) bool {
	if st := f.states(); st != nil && !slices.Contains(st, c.State) {
		return false
	}
	switch {
	case f.Kind != "" && c.Kind != f.Kind, f.Severity != "" && c.Severity.String() != f.Severity, f.Overdue && !late(c, v.Now):
		return false
	case f.Who == "nobody" && c.Assignee != "", f.Who != "" && f.Who != "nobody" && c.Assignee != "agent:"+f.Who:
		return false
	case f.Incident == "any" && c.IncidentID == "", f.Incident == "none" && c.IncidentID != "":
		return false
	case f.Incident != "" && f.Incident != "any" && f.Incident != "none" && c.IncidentID != f.Incident:
		return false
	}
	quiet := c.Snooze.Holds(v.Now, c.Severity)
	return f.Snoozed == "" || f.Snoozed == "hide" && !quiet || f.Snoozed == "only" && quiet
}

type casesPage struct {
	*view
	Rows     []caseRow
	Filter   caseFilter
	Filtered bool
	Next     string
	Selects  []selectBox // of the filter
	Bulk     bulkForm
}

// selectBox is one choice of a filter.
type selectBox struct {
	Name, Label string
	Options     []option
}

// bulkForm is what can be done with several cases at once.
type bulkForm struct {
	Whats, Snoozes, Outcomes, Agents []option
	Back                             string // the list's query, for the way back
}

func (s *Web) caseList(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.fleet.get(r.Context())
	if err != nil {
		return err
	}
	q := r.URL.Query()
	v := s.view(w, r, "cases")
	v.Title = v.T("nav.cases")
	p := casesPage{view: v, Filter: filterOf(q)}
	p.Filtered = p.Filter.any()
	cases, last, err := s.caseSlice(r.Context(), v, snap, &p.Filter, q.Get("after"))
	if err != nil {
		return err
	}
	if last != "" {
		next := r.URL.Query()
		for _, k := range []string{"lang", "fragment"} {
			next.Del(k)
		}
		next.Set("after", last)
		p.Next = "?" + next.Encode()
	}
	p.Rows = underCauses(s.caseRows(r.Context(), v, snap, cases))
	p.selects(snap)
	p.Bulk = bulkForm{Snoozes: v.snoozes(), Outcomes: v.outcomes(), Agents: v.agents(snap, ""), Back: v.Query}
	for _, verb := range bulkVerbs {
		p.Bulk.Whats = append(p.Bulk.Whats, option{Value: string(verb), Text: v.T("bulk." + string(verb))})
	}
	return s.render(w, r, http.StatusOK, "cases", p)
}

// caseSlice is one page of cases, and the case after which the next one begins. Open ones are in memory, with every filter; of the others SQL knows
// states and kinds, and what else is asked for is left out of each page.
func (s *Web) caseSlice(ctx context.Context, v *view, snap *snapshot, f *caseFilter, after string) (out []fleet.Case, last string, err error) {
	all := snap.open
	if !f.open() {
		all, err = s.deps.Cases.Cases(ctx, fleet.CaseFilter{Tenant: s.cfg.Tenant, States: f.states(), Kind: f.Kind, Limit: casesPerPage + 1, After: after, ByTime: true})
		if err != nil {
			return nil, "", err
		}
		if len(all) > casesPerPage {
			all = all[:casesPerPage]
			last = all[casesPerPage-1].ID
		}
	}
	for i := range all {
		if f.fits(v, &all[i]) {
			out = append(out, all[i])
		}
	}
	if !f.open() {
		return out, last, nil
	}
	if after != "" { // one that is gone meanwhile: from the beginning
		out = out[1+slices.IndexFunc(out, func(c fleet.Case) bool { return c.ID == after }):]
	}
	if len(out) > casesPerPage {
		out = out[:casesPerPage]
		last = out[casesPerPage-1].ID
	}
	return out, last, nil
}

// underCauses puts the symptoms of a problem under it, where both are on the page.
func underCauses(rows []caseRow) []caseRow {
	cause := func(c *fleet.Case) int {
		if c.CauseRule == "" {
			return -1
		}
		return slices.IndexFunc(rows, func(r caseRow) bool {
			return r.Case.ID != c.ID && r.Case.Device == c.Device && r.Case.CauseRule == "" && hasRule(&r.Case, c.CauseRule)
		})
	}
	var out []caseRow
	under := make([][]caseRow, len(rows))
	top := make([]bool, len(rows))
	for i := range rows {
		if j := cause(&rows[i].Case); j >= 0 {
			rows[i].Symptom = true
			under[j] = append(under[j], rows[i])
		} else {
			top[i] = true
		}
	}
	for i := range rows {
		if top[i] {
			out = append(append(out, rows[i]), under[i]...)
		}
	}
	return out
}

// selects are the choices of the filter.
func (p *casesPage) selects(snap *snapshot) {
	f := &p.Filter
	box := func(name, have string, options ...option) {
		for i := range options {
			options[i].Selected = options[i].Value == have
		}
		p.Selects = append(p.Selects, selectBox{name, p.T("filter." + name), options})
	}
	states := make([]option, 0, 10)
	states = append(states, option{Value: "", Text: p.T("filter.open")})
	for _, st := range append(fleet.OpenStates(), fleet.ClosedStates()...) {
		states = append(states, option{Value: string(st), Text: p.StateWord(st)})
	}
	box("show", f.Show, append(states, option{Value: "all", Text: p.T("filter.allcases")})...)
	kinds := make([]option, 0, 1+len(caseKinds))
	kinds = append(kinds, option{Value: "", Text: p.T("filter.all")})
	for _, k := range caseKinds {
		kinds = append(kinds, option{Value: string(k), Text: p.KindWord(k)})
	}
	box("kind", string(f.Kind), kinds...)
	sevs := make([]option, 0, 1+len(allSeverities))
	sevs = append(sevs, option{Value: "", Text: p.T("filter.all")})
	for _, sev := range allSeverities {
		sevs = append(sevs, option{Value: sev.String(), Text: p.Loc.Severity(sev).Word})
	}
	box("severity", f.Severity, sevs...)
	who := []option{{Value: "", Text: p.T("filter.anybody")}, {Value: "nobody", Text: p.T("filter.nobody")}}
	who = append(who, p.agents(snap, "")...)
	if f.Who != "" && !slices.ContainsFunc(who, func(o option) bool { return o.Value == f.Who }) {
		who = append(who, option{Value: f.Who, Text: f.Who})
	}
	box("who", f.Who, who...)
	incident := []option{{Value: "", Text: p.T("filter.all")}, {Value: "any", Text: p.T("filter.incident.any")}, {Value: "none", Text: p.T("filter.incident.none")}}
	if f.Incident != "" && f.Incident != "any" && f.Incident != "none" {
		incident = append(incident, option{Value: f.Incident, Text: p.T("filter.incident.one")})
	}
	box("incident", f.Incident, incident...)
	box("snoozed", f.Snoozed, option{Value: "", Text: p.T("filter.snoozed.all")}, option{Value: "hide", Text: p.T("filter.snoozed.hide")}, option{Value: "only", Text: p.T("filter.snoozed.only")})
}

// allSeverities, the worst first.
var allSeverities = []fleet.Severity{fleet.Danger, fleet.Fault, fleet.Due, fleet.Watch, fleet.Info}

// bulkVerbs are what can be done with several cases at once.
var bulkVerbs = []fleet.CaseVerb{fleet.VerbTake, fleet.VerbAssign, fleet.VerbSnooze, fleet.VerbResolve, fleet.VerbClose}

// maxBulk is how many cases one form can name.
const maxBulk = 200

type bulkPage struct {
	*view
	What   string
	Good   int
	Rows   []bulkRow
	Back   string
	Failed bool
}

// bulkRow is what became of one case.
type bulkRow struct {
	caseRow
	Said string
	OK   bool
}

// bulk does the same with each of several cases and says for each how it went. One that fails stops no other.
func (s *Web) bulk(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(w, r, false); err != nil {
		return err
	}
	v := s.view(w, r, "cases")
	verb, ids := fleet.CaseVerb(r.PostForm.Get("do")), r.PostForm["case"]
	if !slices.Contains(bulkVerbs, verb) || len(ids) > maxBulk {
		return fleet.Errorf(fleet.CodeInvalid, "%q with %d cases", verb, len(ids))
	}
	a, wrong := s.actOf(r, verb)
	if len(ids) == 0 {
		wrong = "refused.nocase"
	}
	back := url.Values{}
	if q, err := url.ParseQuery(strings.TrimPrefix(r.PostForm.Get("back"), "?")); err == nil {
		back = q
	}
	p := bulkPage{view: v, What: v.T("bulk." + string(verb)), Back: "/cases"}
	if len(back) > 0 {
		p.Back += "?" + back.Encode()
	}
	v.Title, v.Path, v.LiveURL, v.Query = p.What, "/cases", "", ""
	status := http.StatusOK
	if wrong != "" {
		p.What, p.Failed, status = v.T(wrong), true, http.StatusBadRequest
		return s.render(w, r, status, "bulk", p)
	}
	results := make(map[string]error, len(ids))
	for _, id := range ids {
		if err := r.Context().Err(); err != nil {
			return err
		}
		a.Tenant, a.CaseID = s.cfg.Tenant, id
		results[id] = s.deps.Agent.Do(r.Context(), a)
	}
	s.fleet.forget()
	if err := p.rows(r.Context(), s, ids, results, verb); err != nil {
		return err
	}
	return s.render(w, r, status, "bulk", p)
}

func (p *bulkPage) rows(ctx context.Context, s *Web, ids []string, results map[string]error, verb fleet.CaseVerb) error {
	snap, err := s.fleet.get(ctx)
	if err != nil {
		return err
	}
	people := s.names(ctx)
	for _, id := range ids {
		res, seen := results[id]
		if !seen {
			continue // named twice
		}
		delete(results, id)
		c, err := s.deps.Cases.Case(ctx, s.cfg.Tenant, id)
		if err != nil {
			c = &fleet.Case{ID: id, Device: fleet.DeviceKey{Tenant: s.cfg.Tenant}, State: fleet.CaseClosed}
		}
		row := bulkRow{caseRow: s.caseRow(ctx, p.view, snap, people, *c), OK: res == nil, Said: p.T("bulk.ok")}
		switch code := fleet.CodeOf(res); {
		case res == nil:
			p.Good++
		case code == fleet.CodeConflict || code == fleet.CodeInvalid:
			row.Said = s.refusal(p.view, c, verb, code)
		case code == fleet.CodeNotFound:
			row.Said = p.T("err.404.why")
		case code == fleet.CodeBusy:
			row.Said = p.T("err.503.why")
		default:
			s.log.Error("bulk action", "case", id, "err", res)
			row.Said = p.T("err.500.why")
		}
		p.Rows = append(p.Rows, row)
	}
	return nil
}
