package web

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// casePage is everything the desk knows of one case: what is broken, for whom, since when, how sure, what next, by when.
type casePage struct {
	*view
	Row       caseRow
	Case      fleet.Case
	Done      string // what the last action did, as a sentence
	Refused   string // why it was not done
	Facts     caseFacts
	Chart     *figure
	NoData    bool
	Evidence  []evidenceRow
	AsOf      time.Time
	Timeline  []event
	Told      bool // whether anybody was sent anything
	Outcome   string
	Open      bool
	Next      string
	SLA       sla
	Proof     proofView
	Device    *fleet.Device
	Label     string
	Rule      string
	Hash      string
	Code      *fleet.FaultCode
	CodeWords [3]string // meaning, cause, remedy
	Acts      acts
	Orders    []orderRow
	Incident  *incidentLink
	Links     []caseLink // cause, symptoms, where it was merged to and what was merged into it

	answers []fleet.Answer
	files   []fleet.Attachment
}

// caseFacts is whose device it is and who pays.
type caseFacts struct {
	Household []link // who else hears, in order
	Cover     string
	Snoozed   string
	Waits     string
}

// caseLink leads to a case that has to do with this one.
type caseLink struct {
	Why  string
	Text string
	URL  string
}

type incidentLink struct{ Title, URL, State string }

type option struct {
	Value, Text string
	Selected    bool
}

// outcomes are what an agent may close a case with; they feed the rules' record, so the list is short and fixed. A duplicate is
// merged into another case, which needs more than a choice.
var outcomes = func() (out []string) {
	for _, o := range fleet.Outcomes() {
		if o != fleet.OutcomeDuplicate {
			out = append(out, string(o))
		}
	}
	return out
}()

func (s *Web) loadCase(ctx context.Context, r *http.Request) (*fleet.Case, error) {
	if err := s.ours(r.PathValue("tenant")); err != nil {
		return nil, err
	}
	return s.deps.Cases.Case(ctx, s.cfg.Tenant, r.PathValue("id"))
}

func (s *Web) caseOne(w http.ResponseWriter, r *http.Request) error {
	c, err := s.loadCase(r.Context(), r)
	if err != nil {
		return err
	}
	return s.showCase(w, r, s.view(w, r, "cases"), c, http.StatusOK, "")
}

// showCase is the page of a case, with what was refused if something was.
func (s *Web) showCase(w http.ResponseWriter, r *http.Request, v *view, c *fleet.Case, status int, refused string) error {
	ctx := r.Context()
	snap, err := s.fleet.get(ctx)
	if err != nil {
		return err
	}
	people := s.names(ctx)
	d := snap.device(c.Device.Serial)
	p := &casePage{view: v, Case: *c, Row: s.caseRow(ctx, v, snap, people, *c), Device: d, Label: s.label(c.Model, v.Loc.Lang),
		Open: c.State.Open(), Rule: c.Rule, Refused: refused, SLA: v.sla(c), Proof: v.proof(c), Next: v.next(c)}
	v.Title, v.Path, v.Query = p.Row.Title, caseURL(c), "" // after a form that was refused the language links lead to the case
	if c.Outcome != "" {
		p.Outcome = v.orHuman("outcome.", string(c.Outcome))
	}
	p.facts(s, people)
	if err := p.neighbours(ctx, s, snap); err != nil {
		return err
	}
	if err := p.orders(ctx, s); err != nil {
		return err
	}
	if err := p.history(ctx, s, people); err != nil {
		return err
	}
	p.evidence(ctx, s, d)
	p.offer(s, snap)
	if refused == "" {
		p.Done = p.doneWords(r.URL.Query().Get("done"))
	}
	return s.render(w, r, status, "case", p)
}

// facts are the people and who pays.
func (p *casePage) facts(s *Web, people *names) {
	d := p.Device
	if d == nil {
		return
	}
	if c := s.deps.Homes.Cover(d, p.Now, &p.Case); c.Kind != "" {
		p.Facts.Cover = c.Text.In(p.Loc.Lang)
	}
	if p.Facts.Cover == "" {
		p.Facts.Cover = upperFirst(p.Loc.Cover(p.Now, d.WarrantyUntil))
	}
	if d.OwnerID != "" {
		if h, ok := s.deps.Homes.HouseholdOf(d.Key.Tenant, d.OwnerID); ok {
			for _, m := range h.Members {
				if m.ID != d.OwnerID {
					p.Facts.Household = append(p.Facts.Household, link{people.name(m.ID), personURL(m.Tenant, m.ID)})
				}
			}
		}
	}
	if z := p.Case.Snooze; p.Open && z.Holds(p.Now, p.Case.Severity) {
		p.Facts.Snoozed = p.snoozeWords(z)
	}
	if p.Case.State == fleet.CaseWaiting {
		p.Facts.Waits = p.orHuman("wait.", p.Case.WaitingFor)
	}
}

func (v *view) snoozeWords(z fleet.Snooze) string {
	out := v.T("snoozed.worse")
	if !z.Until.IsZero() {
		out = v.Fill("snoozed.until", v.When(z.Until))
		if z.Worse {
			out += ", " + v.T("snoozed.orworse")
		}
	}
	if z.Device {
		out += " (" + v.T("snoozed.device") + ")"
	}
	return out
}

// neighbours finds the cases that have to do with this one, and its incident.
func (p *casePage) neighbours(ctx context.Context, s *Web, snap *snapshot) error {
	c := &p.Case
	add := func(why string, o *fleet.Case) {
		p.Links = append(p.Links, caseLink{p.T(why), s.title(o, snap.device(o.Device.Serial), p.view), caseURL(o)})
	}
	if c.MergedInto != "" {
		if o, err := s.deps.Cases.Case(ctx, c.Device.Tenant, c.MergedInto); err == nil {
			add("link.mergedinto", o)
		}
	}
	for i := range snap.open {
		o := &snap.open[i]
		switch {
		case o.Device != c.Device || o.ID == c.ID:
		case c.CauseRule != "" && hasRule(o, c.CauseRule):
			add("link.cause", o)
		case o.CauseRule != "" && hasRule(c, o.CauseRule):
			add("link.symptom", o)
		}
	}
	if c.IncidentID == "" {
		return nil
	}
	i, err := s.deps.Incidents.Incident(ctx, c.Device.Tenant, c.IncidentID)
	switch {
	case fleet.CodeOf(err) == fleet.CodeNotFound:
		return nil
	case err != nil:
		return err
	}
	p.Incident = &incidentLink{s.incidentTitle(p.view, i), incidentURL(i), p.orHuman("incident.state.", string(i.State))}
	if p.Open && i.State == fleet.IncidentOpen {
		p.Next = p.T("next.incident")
	}
	return nil
}

func hasRule(c *fleet.Case, rule string) bool {
	return slices.ContainsFunc(c.Episodes, func(e fleet.Episode) bool { return e.Rule == rule && e.ClearedAt.IsZero() })
}

// next is the step that helps most, as a sentence.
func (v *view) next(c *fleet.Case) string {
	switch c.State {
	case fleet.CaseWaiting:
		return v.orHuman("next.waiting.", c.WaitingFor)
	case fleet.CaseResolved:
		if !c.CloseAt.IsZero() {
			return v.Fill("next.resolved", v.Date(c.CloseAt))
		}
		return v.T("next.closed")
	case fleet.CaseClosed:
		if c.MergedInto != "" {
			return v.T("next.merged")
		}
	}
	if t := v.T("next." + string(c.State)); t != "next."+string(c.State) {
		return t
	}
	return v.T("next.new")
}

// proofView is how far the proof of a fix is.
type proofView struct {
	Words string
	Seen  float64 // of Need, for the bar
	Need  float64
	Clean bool
}

func (v *view) proof(c *fleet.Case) proofView {
	p := c.Proof
	if p.Since.IsZero() {
		return proofView{}
	}
	out := proofView{Seen: min(p.Seen, p.Need), Need: p.Need, Clean: p.Clean}
	amount := v.use(p.Seen, p.Unit)
	switch {
	case p.Clean:
		out.Words = v.Fill("proof.clean", amount)
	case !p.Back.IsZero():
		out.Words, out.Need = strings.ReplaceAll(v.Fill("proof.back", amount), "@", v.When(p.Back)), 0
	case c.State == fleet.CaseWatching && p.Need > 0:
		out.Words = strings.NewReplacer("@", v.use(p.Need, p.Unit), "%", v.When(p.Since)).Replace(v.Fill("proof.seen", amount))
	case c.State == fleet.CaseWatching:
		out.Words = v.Fill("proof.begun", v.When(p.Since))
	}
	return out
}

// use is an amount of use: "12 h", "3 cycles", "2 days".
func (v *view) use(n float64, unit string) string {
	if t := v.T("unit." + unit); t != "unit."+unit {
		return v.Loc.Number(n, 3) + "\u00a0" + t
	}
	return v.Value(n, unit)
}

// doneWords says what an action did, from how the case is now.
func (p *casePage) doneWords(done string) string {
	c := &p.Case
	switch fleet.CaseVerb(done) {
	case fleet.VerbAssign:
		if p.Row.Assignee == "" {
			return p.T("done.nobody")
		}
		return p.Fill("done.assign", p.Row.Assignee)
	case fleet.VerbWait:
		if c.State == fleet.CaseWaiting {
			return upperFirst(p.orHuman("done.wait.", c.WaitingFor))
		}
	case fleet.VerbSnooze:
		if c.Snooze.By != "" {
			return p.Fill("done.snooze", p.snoozeWords(c.Snooze))
		}
	case fleet.VerbResolve:
		if c.State == fleet.CaseWatching {
			return p.T("done.watching")
		}
	case fleet.VerbMerge:
		return p.T("done.merge")
	}
	if t := p.T("done." + done); t != "done."+done {
		return t
	}
	return ""
}

func (v *view) actor(a string, people *names) string {
	kind, id, _ := strings.Cut(a, ":")
	switch kind {
	case "rules", "clock", "incidents":
		return v.T("actor." + kind)
	case "owner":
		return people.name(id)
	case "partner":
		if p, ok := people.s.deps.Homes.Partner(people.s.cfg.Tenant, id); ok {
			return p.Name
		}
		return id
	case "agent":
		if id == deskActor {
			return v.T("actor.desk")
		}
		return id
	default:
		return a
	}
}
