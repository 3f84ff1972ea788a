package owner

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
)

type messageData struct {
	*visit
	Message  *fleet.Message
	Thing    string
	Sign     sign
	ShowSign bool
	Parts    []string
	Why      []reason
	Rule     string
	Over     string        // set when it is not true any more
	Asked    verdictButton // ?a= of a button in a message: offered first
	Main     []verdictButton
	More     []verdictButton
	Given    []givenAnswer
	Cover    string
	Foreign  bool // who is signed in is not whom it was written to
	Receipt  string
	Back     string
}

type verdictButton struct {
	Verdict fleet.Verdict
	Label   string
	Note    bool // there is something to say with it
}

// reason is one value that made the rule speak.
type reason struct {
	Label  string
	Value  string
	At     time.Time
	Normal string
	Limit  string
}

type givenAnswer struct {
	Verdict fleet.Verdict
	Said    string
	Now     string // what happens now
	At      time.Time
	Undo    bool
}

// sealedMessage is the message of the link in the address.
func (s *Site) sealedMessage(v *visit) (*fleet.Message, error) {
	c, err := s.open(v, seal.Message)
	if err != nil {
		return nil, err
	}
	return s.message(v, c)
}

// message finds a message that its link names. What is not its person's any more is explained, not shown.
func (s *Site) message(v *visit, c seal.Claim) (*fleet.Message, error) {
	id, _, _ := strings.Cut(c.Subject, " ")
	m, err := s.deps.Mail.Message(v.r.Context(), c.Tenant, c.Person, id)
	if fleet.CodeOf(err) == fleet.CodeNotFound {
		return nil, &signError{http.StatusGone, "message"}
	}
	if err != nil {
		return nil, err
	}
	if p, ok := s.deps.People.Person(c.Tenant, c.Person); ok {
		v.read(p)
	}
	if !s.hers(m) {
		return nil, &signError{http.StatusGone, "passed"}
	}
	return m, nil
}

func (s *Site) messagePage(v *visit) error {
	m, err := s.sealedMessage(v)
	if err != nil {
		return err
	}
	d, err := s.messageData(v, m)
	if err != nil {
		return err
	}
	return s.render(v, http.StatusOK, "message", d)
}

func (s *Site) messageData(v *visit, m *fleet.Message) (*messageData, error) {
	ctx := v.r.Context()
	d := &messageData{visit: v, Message: m, Sign: v.severitySign(m.Severity), Parts: paragraphs(m.Body), Rule: m.Rule, Foreign: v.person != nil && v.person.ID != m.PersonID,
		Receipt: s.seal.Sign(seal.Claim{Purpose: seal.Receipt, Tenant: m.Tenant, Subject: m.ID, Person: m.PersonID, Expires: v.Now.Add(time.Hour)})}
	v.Title = m.Title
	if allClear(m.Topic) {
		d.Sign = v.goodSign()
	}
	d.ShowSign = m.Severity > fleet.Info || allClear(m.Topic)
	device, known := s.deps.Things.Device(m.Device)
	if known {
		d.Thing = s.nameOf(v, device)
		if v.person != nil && device.OwnerID == v.person.ID {
			d.Back = "/me/things/" + device.Key.Serial
		}
	}
	c, err := s.caseOf(ctx, m)
	if err != nil {
		return nil, err
	}
	if c != nil && !c.State.Open() && !allClear(m.Topic) && m.Topic != fleet.EventReview {
		d.Over = v.F("message.over", v.Loc.When(v.Now, c.UpdatedAt))
	}
	if known {
		d.Why = s.reasons(v, device, m.Evidence)
		if fleet.TopicOf(m.Kind, m.Severity) != fleet.TopicTip && !allClear(m.Topic) {
			d.Cover = s.cover(v, device, c)
		}
	}
	answers, err := s.deps.Mail.AnswersTo(ctx, m.Tenant, m.PersonID, m.ID)
	if err != nil {
		return nil, err
	}
	for _, a := range answers {
		d.Given = append(d.Given, givenAnswer{a.Verdict, v.T("said." + string(a.Verdict)), v.T("now." + string(a.Verdict)), a.At, a.Verdict == fleet.VerdictStop && s.stopped(m)})
	}
	d.buttons(m, c)
	return d, nil
}

func (s *Site) caseOf(ctx context.Context, m *fleet.Message) (*fleet.Case, error) {
	if m.CaseID == "" {
		return nil, nil
	}
	c, err := s.deps.Cases.Case(ctx, m.Tenant, m.CaseID)
	if fleet.CodeOf(err) == fleet.CodeNotFound {
		return nil, nil
	}
	return c, err
}

// buttons offers what is an answer to this message: three at most at once, the others behind them, "that's not true" and "stop
// these" always.
func (d *messageData) buttons(m *fleet.Message, c *fleet.Case) {
	first, then := verdictsFor(m, c != nil && c.State.Open())
	given := func(w fleet.Verdict) bool {
		return slices.ContainsFunc(d.Given, func(g givenAnswer) bool { return g.Verdict == w && (w != fleet.VerdictStop || g.Undo) })
	}
	button := func(w fleet.Verdict) verdictButton {
		return verdictButton{w, d.T("verdict." + string(w)), w == fleet.VerdictNotTrue || w == fleet.VerdictFixed}
	}
	asked := fleet.Verdict(d.r.URL.Query().Get("a"))
	if slices.Contains(append(slices.Clone(first), then...), asked) && !given(asked) {
		d.Asked = button(asked)
	}
	for _, w := range first {
		if !given(w) && w != asked {
			d.Main = append(d.Main, button(w))
		}
	}
	for _, w := range then {
		if !given(w) && w != asked {
			d.More = append(d.More, button(w))
		}
	}
}

// verdictsFor are the answers that make sense: those shown at once, and those behind them.
func verdictsFor(m *fleet.Message, open bool) (first, then []fleet.Verdict) {
	then = []fleet.Verdict{fleet.VerdictNotTrue, fleet.VerdictStop}
	switch m.Topic {
	case fleet.EventReview:
		return nil, []fleet.Verdict{fleet.VerdictStop}
	case fleet.EventIncident, fleet.EventIncidentNews, fleet.EventVisit:
		return nil, then
	}
	if allClear(m.Topic) || !open {
		return nil, then
	}
	switch subjectOf(m) {
	case fleet.TopicSafety:
		return []fleet.Verdict{fleet.VerdictFixed, fleet.VerdictBook}, then
	case fleet.TopicMaintenance:
		return []fleet.Verdict{fleet.VerdictFixed, fleet.VerdictOrder, fleet.VerdictNotNow}, append([]fleet.Verdict{fleet.VerdictBook}, then...)
	case fleet.TopicTip, fleet.TopicReview:
		return []fleet.Verdict{fleet.VerdictFixed, fleet.VerdictNotNow}, then
	}
	return []fleet.Verdict{fleet.VerdictFixed, fleet.VerdictBook, fleet.VerdictNotNow}, append([]fleet.Verdict{fleet.VerdictOrder}, then...)
}

func subjectOf(m *fleet.Message) fleet.Topic {
	if m.Subject != "" {
		return m.Subject
	}
	return fleet.TopicOf(m.Kind, m.Severity)
}

// reasons says what was measured, when, and beside what.
func (s *Site) reasons(v *visit, d *fleet.Device, evidence []fleet.Evidence) []reason {
	model, _ := s.deps.Models.Model(d.Model)
	out := make([]reason, 0, len(evidence))
	for i := range evidence {
		e := &evidence[i]
		r := reason{Label: evidenceLabel(v, model, e.Name), At: e.At, Value: v.Value(e.Value, e.Unit)}
		if e.Text != "" {
			r.Value = oneLine(e.Text, 80)
		}
		if e.HasNormal {
			r.Normal = v.F("why.normal", v.Value(e.Normal, e.Unit))
		}
		if e.HasLimit {
			r.Limit = v.F("why.limit", v.Value(e.Limit, e.Unit))
		}
		out = append(out, r)
	}
	return out
}

// evidenceLabel is what a person calls a value: the field's label; of a calculated one, the labels of the fields in it.
func evidenceLabel(v *visit, m *fleet.Model, name string) string {
	if m == nil {
		return v.T("why.value")
	}
	if f := m.Field(name); f != nil {
		if l := f.Label.In(v.Loc.Lang); l != "" {
			return upperFirst(l)
		}
	}
	var labels []string
	for i := range m.Fields {
		if l := m.Fields[i].Label.In(v.Loc.Lang); l != "" && mentions(name, m.Fields[i].Name) {
			labels = append(labels, l)
		}
	}
	if len(labels) == 0 {
		return v.T("why.value")
	}
	return v.F("why.calculated", upperFirst(strings.Join(labels, ", ")))
}

// mentions reports whether an expression names a field.
func mentions(expr, field string) bool {
	return slices.Contains(strings.FieldsFunc(expr, func(r rune) bool {
		return r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}), field)
}
