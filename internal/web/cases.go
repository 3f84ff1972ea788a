package web

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

const casesPerPage = 50

var caseKinds = []fleet.Kind{fleet.KindSafety, fleet.KindFault, fleet.KindMaintenance, fleet.KindUsage, fleet.KindExperience}

type casesPage struct {
	*view
	Rows       []caseRow
	All        bool
	Kind       fleet.Kind
	Kinds      []fleet.Kind
	Prev, Next string
	Filtered   bool
}

func (s *Web) caseList(w http.ResponseWriter, r *http.Request) error {
	snap, err := s.fleet.get(r.Context())
	if err != nil {
		return err
	}
	q := r.URL.Query()
	v := s.view(w, r, "cases")
	v.Title = v.T("nav.cases")
	p := casesPage{view: v, All: q.Get("show") == "all", Kind: fleet.Kind(q.Get("kind")), Kinds: caseKinds}
	p.Filtered = p.All || p.Kind != ""
	f := fleet.CaseFilter{Tenant: s.cfg.Tenant, Kind: p.Kind, Limit: casesPerPage + 1, After: q.Get("after"), ByTime: p.All}
	if !p.All {
		f.States = openStates
	}
	cases, err := s.deps.Cases.Cases(r.Context(), f)
	if err != nil {
		return err
	}
	if len(cases) > casesPerPage {
		cases = cases[:casesPerPage]
		next := url.Values{"after": {cases[casesPerPage-1].ID}}
		for _, k := range []string{"show", "kind"} {
			if q.Get(k) != "" {
				next.Set(k, q.Get(k))
			}
		}
		p.Next = "?" + next.Encode()
	}
	p.Rows = s.caseRows(r.Context(), v, snap, cases)
	return s.render(w, r, http.StatusOK, "cases", p)
}

type casePage struct {
	*view
	Row       caseRow
	Case      fleet.Case
	Done      string
	Chart     *figure
	NoData    bool
	Evidence  []evidenceRow
	AsOf      time.Time
	Told      []messageRow
	Others    []channelState // deliveries whose text is not kept: webhooks and what was never sent
	Audit     []auditRow
	Outcome   string
	Outcomes  []option
	CanAck    bool
	Open      bool
	Cover     string
	Device    *fleet.Device
	Label     string
	Rule      string
	Hash      string
	Code      *fleet.FaultCode
	CodeWords [3]string // meaning, cause, remedy
}

type option struct{ Value, Text string }

type evidenceRow struct {
	Label, Value, Normal, Limit string
	At                          time.Time
}

type auditRow struct {
	At            time.Time
	Actor, Action string
	Detail        string
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
	ctx := r.Context()
	c, err := s.loadCase(ctx, r)
	if err != nil {
		return err
	}
	snap, err := s.fleet.get(ctx)
	if err != nil {
		return err
	}
	v := s.view(w, r, "cases")
	people := s.names(ctx)
	d := snap.device(c.Device.Serial)
	p := casePage{view: v, Case: *c, Row: s.caseRow(ctx, v, snap, people, *c), Device: d, Label: s.label(c.Model, v.Loc.Lang),
		CanAck: c.State == fleet.CaseNew || c.State == fleet.CaseReopened, Open: c.State.Open(), Rule: c.Rule}
	v.Title = p.Row.Title
	if done := r.URL.Query().Get("done"); done == "acknowledge" || done == "resolve" || done == "comment" {
		p.Done = v.T("done." + done)
	}
	for _, o := range outcomes {
		p.Outcomes = append(p.Outcomes, option{o, v.orHuman("outcome.", o)})
	}
	if c.Outcome != "" {
		p.Outcome = v.orHuman("outcome.", string(c.Outcome))
	}
	if d != nil {
		p.Cover = upperFirst(v.Loc.Cover(v.Now, d.WarrantyUntil))
	}
	if err := p.history(ctx, s, snap, people); err != nil {
		return err
	}
	p.evidence(ctx, s, d)
	return s.render(w, r, http.StatusOK, "case", p)
}

// history is the case's audit trail and what its owner was told.
func (p *casePage) history(ctx context.Context, s *Web, snap *snapshot, people *names) error {
	tenant := p.Case.Device.Tenant
	audit, err := s.deps.Stories.CaseAudit(ctx, tenant, p.Case.ID)
	if err != nil {
		return err
	}
	for _, a := range audit {
		p.Audit = append(p.Audit, auditRow{a.At, p.actor(a.Actor, people), upperFirst(p.actionWord(a.Action)), a.Detail})
	}
	sent, err := s.deps.Stories.CaseDeliveries(ctx, tenant, p.Case.ID)
	if err != nil {
		return err
	}
	texts := map[string]fleet.Message{}
	for id := range recipients(sent) {
		inbox, err := s.deps.Mail.Inbox(ctx, tenant, id, 200)
		if err != nil {
			return err
		}
		for _, m := range inbox {
			if m.CaseID == p.Case.ID {
				texts[m.ID] = m
				p.Told = append(p.Told, s.messageRow(p.view, snap, people, m))
			}
		}
	}
	for _, d := range sent {
		ch := p.channel(d)
		if m, ok := texts[d.OutboxID]; ok {
			p.attach(m.ID, ch)
		} else {
			p.Others = append(p.Others, ch)
		}
	}
	return nil
}

func recipients(sent []fleet.Delivery) map[string]bool {
	out := map[string]bool{}
	for _, d := range sent {
		if d.PersonID != "" {
			out[d.PersonID] = true
		}
	}
	return out
}

func (p *casePage) attach(id string, ch channelState) {
	for i := range p.Told {
		if p.Told[i].ID == id {
			p.Told[i].Channels = append(p.Told[i].Channels, ch)
		}
	}
}

func (v *view) channel(d fleet.Delivery) channelState {
	st := knownDelivery(d.State)
	word := v.T("delivery." + st)
	if st == "other" {
		word = humanise(d.State)
	}
	ch := d.Channel
	if ch == "" {
		ch = "message"
	}
	return channelState{Channel: v.orHuman("channel.", ch), State: st, Word: word, Reason: d.Reason, At: d.At}
}

func (v *view) actor(a string, people *names) string {
	kind, id, _ := strings.Cut(a, ":")
	switch kind {
	case "rules":
		return v.T("actor.rules")
	case "owner":
		return people.name(id)
	case "agent":
		if id == deskActor {
			return v.T("actor.desk")
		}
		return id
	default:
		return a
	}
}

// evidence shows what made the rule fire: the table, and the chart of the field it is about.
func (p *casePage) evidence(ctx context.Context, s *Web, d *fleet.Device) {
	if len(p.Case.Episodes) == 0 {
		return
	}
	ep := p.Case.Episodes[len(p.Case.Episodes)-1]
	p.Hash = ep.RuleHash
	m, ok := s.deps.Models.Model(p.Case.Model)
	if !ok {
		m = &fleet.Model{ID: p.Case.Model}
	}
	for _, ev := range ep.Evidence {
		p.Evidence = append(p.Evidence, p.evidenceRow(ev, m))
		if ev.At.After(p.AsOf) {
			p.AsOf = ev.At
		}
		if ev.Name == "code" {
			p.faultCode(m, ev.Text)
		}
	}
	field := chartField(m, ep.Evidence)
	if d == nil || field == nil {
		return
	}
	to := p.Now
	if !p.Open && !p.Case.ClosedAt.IsZero() {
		to = minTime(p.Now, p.Case.ClosedAt.Add(6*time.Hour))
	}
	lead := max(24*time.Hour, to.Sub(ep.OpenedAt)/2)
	from := maxTime(ep.OpenedAt.Add(-lead), to.Add(-14*24*time.Hour))
	if !to.After(from) {
		from = to.Add(-24 * time.Hour)
	}
	every := max(10*time.Minute, (to.Sub(from) / 300).Truncate(time.Minute))
	ctx, cancel := context.WithTimeout(ctx, seriesPatience)
	defer cancel()
	f, err := s.figure(ctx, p.view, series{id: "evidence", device: d, model: m, field: field, from: from, to: to,
		every: every, cases: []fleet.Case{p.Case}, only: true, last: ""})
	if err != nil {
		s.log.Warn("series of case", "case", p.Case.ID, "err", err)
		p.NoData = true
		return
	}
	p.Chart = &f
}

func (p *casePage) faultCode(m *fleet.Model, code string) {
	for i := range m.FaultCodes {
		if fc := &m.FaultCodes[i]; fc.Code == code {
			l := p.Loc.Lang
			p.Code, p.CodeWords = fc, [3]string{fc.Meaning.In(l), fc.Cause.In(l), fc.Remedy.In(l)}
		}
	}
}

// chartField is the field the evidence is about: the first that has a limit, else the first that is a number of the
// profile, else the first of the profile's charts.
func chartField(m *fleet.Model, evs []fleet.Evidence) *fleet.FieldSpec {
	for _, limit := range []bool{true, false} {
		for i := range evs {
			if evs[i].HasLimit != limit {
				continue
			}
			for j := range m.Fields {
				if f := &m.Fields[j]; f.Type != fleet.String && about(&evs[i], f.Name) {
					return f
				}
			}
		}
	}
	if len(m.Chart) > 0 {
		return m.Field(m.Chart[0])
	}
	return nil
}

func (v *view) evidenceRow(ev fleet.Evidence, m *fleet.Model) evidenceRow {
	row := evidenceRow{Label: v.evidenceLabel(ev.Name, m), At: ev.At, Value: ev.Text}
	if ev.Text == "" {
		row.Value = v.Value(ev.Value, ev.Unit)
		if f := m.Field(ev.Name); f != nil && f.Type == fleet.Boolean {
			row.Value = v.Loc.YesNo(ev.Value != 0)
		}
	}
	if ev.HasNormal {
		row.Normal = v.Value(ev.Normal, ev.Unit)
	}
	if ev.HasLimit {
		row.Limit = v.Value(ev.Limit, ev.Unit)
	}
	return row
}

var callPattern = regexp.MustCompile(`^(avg|min|max|sum|count|prev|delta|rate|age)\(\s*([A-Za-z0-9_.]+)\s*(?:,\s*"([0-9]+)([smhdw])"\s*)?\)$`)

// evidenceLabel says a field or a call on one in words: `avg(drain_s, "24h")` is "Draining time, average of 24 h". Anything
// more stays the expression it is.
func (v *view) evidenceLabel(name string, m *fleet.Model) string {
	if f := m.Field(name); f != nil {
		return v.fieldLabel(f)
	}
	if name == "code" {
		return v.T("evidence.code")
	}
	call := callPattern.FindStringSubmatch(name)
	if call == nil {
		return name
	}
	label := upperFirst(humanise(call[2]))
	if f := m.Field(call[2]); f != nil {
		label = v.fieldLabel(f)
	}
	label += ", " + v.T("call."+call[1])
	if n, err := strconv.Atoi(call[3]); err == nil {
		unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}[call[4]]
		label += " " + strings.ReplaceAll(v.T("call.window"), "#", age(time.Duration(n)*unit, v.L))
	}
	return label
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
