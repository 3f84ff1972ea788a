package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"aftercare/internal/fleet"
)

// Case is one problem of one device.
type Case struct {
	ID        string     `json:"id"`
	Version   int64      `json:"version" doc:"counts changes"`
	Tenant    string     `json:"tenant"`
	Serial    string     `json:"serial"`
	Model     string     `json:"model"`
	Category  string     `json:"category"`
	Problem   string     `json:"problem"`
	Rule      string     `json:"rule" doc:"the rule that speaks for the case"`
	Kind      string     `json:"kind" enum:"fault,maintenance,safety,usage,experience"`
	Severity  string     `json:"severity" enum:"info,watch,due,fault,danger"`
	State     string     `json:"state" enum:"new,acknowledged,in_progress,waiting,reopened,resolved,watching,closed"`
	OpenedAt  time.Time  `json:"opened_at"`
	UpdatedAt time.Time  `json:"updated_at"`
	ClosedAt  *time.Time `json:"closed_at,omitempty"`
	Count     int        `json:"count" doc:"how many episodes there were"`
	Outcome   string     `json:"outcome,omitempty"`
	Assignee  string     `json:"assignee,omitempty"`
}

// CaseDetail is a case with its evidence and what happened.
type CaseDetail struct {
	Case
	Episodes   []Episode  `json:"episodes" doc:"newest last"`
	Audit      []Audit    `json:"audit" doc:"oldest first"`
	Deliveries []Delivery `json:"deliveries" doc:"what became of its messages, oldest first"`
}

// Episode is one time the problem showed.
type Episode struct {
	Rule      string           `json:"rule"`
	RuleHash  string           `json:"rule_hash"`
	Severity  string           `json:"severity"`
	OpenedAt  time.Time        `json:"opened_at"`
	ClearedAt *time.Time       `json:"cleared_at,omitempty"`
	Evidence  []fleet.Evidence `json:"evidence"`
}

// Audit is one line of a case's history.
type Audit struct {
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	Action string    `json:"action"`
	Detail string    `json:"detail,omitempty"`
}

// Delivery is what became of one message on one channel.
type Delivery struct {
	ID       string    `json:"id" doc:"the message's id"`
	CaseID   string    `json:"case_id"`
	Person   string    `json:"person,omitempty"`
	Channel  string    `json:"channel,omitempty"`
	State    string    `json:"state" doc:"sent, held, skipped, dead"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
	Attempts int       `json:"attempts"`
}

func oneCase(c *fleet.Case) Case {
	return Case{ID: c.ID, Version: c.Version, Tenant: c.Device.Tenant, Serial: c.Device.Serial, Model: c.Model, Category: c.Category, Problem: c.Problem, Rule: c.Rule,
		Kind: string(c.Kind), Severity: c.Severity.String(), State: string(c.State), OpenedAt: c.OpenedAt.UTC(), UpdatedAt: c.UpdatedAt.UTC(), ClosedAt: moment(c.ClosedAt),
		Count: c.Count, Outcome: string(c.Outcome), Assignee: c.Assignee}
}

func delivery(d fleet.Delivery) Delivery {
	return Delivery{ID: d.OutboxID, CaseID: d.CaseID, Person: d.PersonID, Channel: d.Channel, State: d.State, Reason: d.Reason, At: d.At.UTC(), Attempts: d.Attempts}
}

type casesIn struct {
	State  string `query:"state" enum:"open,resolved,all" default:"open" doc:"open: not resolved, acknowledged or not"`
	Kind   string `query:"kind" enum:"fault,maintenance,safety,usage,experience"`
	Device string `query:"device" maxLength:"64" doc:"serial"`
	After  string `query:"after" maxLength:"64" doc:"id of the last case of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type casesOut struct {
	Body struct {
		Cases []Case `json:"cases" doc:"open ones most severe first, else newest first"`
		Next  string `json:"next,omitempty" doc:"value of after for the next page; absent on the last"`
	}
}

// CaseRef names a case in a path.
type CaseRef struct {
	Tenant string `path:"tenant" maxLength:"64"`
	ID     string `path:"id" maxLength:"64"`
}

type caseOut struct{ Body CaseDetail }

type resolveIn struct {
	CaseRef
	Body struct {
		Outcome string `json:"outcome" enum:"repaired,part_replaced,firmware_updated,fixed_by_owner,no_fault_found,false_alarm" doc:"how it ended; of the first three the note says what it was, or which"`
		Note    string `json:"note,omitempty" maxLength:"2000"`
	}
}

type commentIn struct {
	CaseRef
	Body struct {
		Text string `json:"text" minLength:"1" maxLength:"2000"`
	}
}

func (a *api) cases(h huma.API) {
	huma.Register(h, a.operation("list-cases", http.MethodGet, "/cases", "Cases, a page at a time", 404), a.listCases)
	huma.Register(h, a.operation("get-case", http.MethodGet, "/cases/{tenant}/{id}", "One case with evidence, history and deliveries", 404), a.getCase)
	huma.Register(h, a.operation("acknowledge-case", http.MethodPost, "/cases/{tenant}/{id}/acknowledge", "Take a case", 404, 409), a.acknowledge)
	huma.Register(h, a.operation("resolve-case", http.MethodPost, "/cases/{tenant}/{id}/resolve", "Close a case with an outcome", 400, 404, 409), a.resolve)
	huma.Register(h, a.operation("comment-case", http.MethodPost, "/cases/{tenant}/{id}/comment", "Add a line to a case's history", 400, 404, 409), a.comment)
}

func (a *api) listCases(ctx context.Context, in *casesIn) (*casesOut, error) {
	f := fleet.CaseFilter{Tenant: a.cfg.Tenant, Kind: fleet.Kind(in.Kind), Device: in.Device, After: in.After, Limit: in.Limit + 1, ByTime: in.State != "open"}
	switch in.State {
	case "open":
		f.States = fleet.OpenStates()
	case "resolved":
		f.States = fleet.ClosedStates()
	}
	cs, err := a.deps.Cases.Cases(ctx, f)
	if err != nil {
		return nil, a.failed("list-cases", err)
	}
	out := &casesOut{}
	if len(cs) > in.Limit {
		cs = cs[:in.Limit]
		out.Body.Next = cs[in.Limit-1].ID
	}
	out.Body.Cases = make([]Case, 0, len(cs))
	for i := range cs {
		out.Body.Cases = append(out.Body.Cases, oneCase(&cs[i]))
	}
	return out, nil
}

func (a *api) getCase(ctx context.Context, in *CaseRef) (*caseOut, error) {
	out, err := a.detail(ctx, *in)
	if err != nil {
		return nil, a.failed("get-case", err)
	}
	return out, nil
}

func (a *api) detail(ctx context.Context, in CaseRef) (*caseOut, error) {
	if err := a.ours(in.Tenant); err != nil {
		return nil, err
	}
	c, err := a.deps.Cases.Case(ctx, in.Tenant, in.ID)
	if err != nil {
		return nil, err
	}
	audit, err := a.deps.Stories.CaseAudit(ctx, in.Tenant, in.ID)
	if err != nil {
		return nil, err
	}
	sent, err := a.deps.Stories.CaseDeliveries(ctx, in.Tenant, in.ID)
	if err != nil {
		return nil, err
	}
	d := CaseDetail{Case: oneCase(c), Episodes: make([]Episode, 0, len(c.Episodes)), Audit: make([]Audit, 0, len(audit)), Deliveries: make([]Delivery, 0, len(sent))}
	for _, e := range c.Episodes {
		evidence := e.Evidence
		if evidence == nil {
			evidence = []fleet.Evidence{}
		}
		d.Episodes = append(d.Episodes, Episode{e.Rule, e.RuleHash, e.Severity.String(), e.OpenedAt.UTC(), moment(e.ClearedAt), evidence})
	}
	for _, x := range audit {
		d.Audit = append(d.Audit, Audit{x.At.UTC(), x.Actor, x.Action, x.Detail})
	}
	for _, x := range sent {
		d.Deliveries = append(d.Deliveries, delivery(x))
	}
	return &caseOut{Body: d}, nil
}

const actor = "agent:api" // everybody with the token, until programs have names

// act does one thing and answers with the case as it is then.
func (a *api) act(ctx context.Context, op string, in CaseRef, do func() error) (*caseOut, error) {
	err := a.ours(in.Tenant)
	if err == nil {
		err = do()
	}
	if err != nil {
		return nil, a.failed(op, err)
	}
	out, err := a.detail(ctx, in)
	if err != nil {
		return nil, a.failed(op, err)
	}
	return out, nil
}

func (a *api) acknowledge(ctx context.Context, in *CaseRef) (*caseOut, error) {
	return a.act(ctx, "acknowledge-case", *in, func() error { return a.deps.Agent.Acknowledge(ctx, in.Tenant, in.ID, actor) })
}

func (a *api) resolve(ctx context.Context, in *resolveIn) (*caseOut, error) {
	return a.act(ctx, "resolve-case", in.CaseRef, func() error {
		return a.deps.Agent.Resolve(ctx, in.Tenant, in.ID, actor, in.Body.Outcome, in.Body.Note)
	})
}

func (a *api) comment(ctx context.Context, in *commentIn) (*caseOut, error) {
	return a.act(ctx, "comment-case", in.CaseRef, func() error { return a.deps.Agent.Comment(ctx, in.Tenant, in.ID, actor, in.Body.Text) })
}
