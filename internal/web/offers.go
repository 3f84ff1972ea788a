package web

import (
	"context"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// acts is what the state of a case lets people do: what is not offered is not shown.
type acts struct {
	URL                            string
	Take, Start, Resume, Wake      bool
	Wait, Assign, Snooze           bool
	Resolve, Close, Reopen         bool
	Maintain, Comment, Attach      bool
	Waits, Outcomes, Snoozes, Into []option
	Rules, Agents, Partners        []option
	Visit                          bool
	WakeDevice                     bool
	Now                            string // the earliest a form's time can be
}

// Main reports whether one of the plain steps is offered.
func (a *acts) Main() bool { return a.Take || a.Start || a.Resume || a.Wake || a.Reopen || a.Close }

// offer asks the table for every action, and fills in the choices.
func (p *casePage) offer(s *Web, snap *snapshot) {
	c := &p.Case
	can := func(v fleet.CaseVerb) bool { return s.deps.Agent.Can(c.State, v) }
	a := acts{URL: caseURL(c), Now: p.Now.In(p.Loc.Zone).Format(formTime),
		Take:  can(fleet.VerbTake) && c.Assignee != "agent:"+deskActor,
		Start: can(fleet.VerbStart) && c.State != fleet.CaseInProgress && c.State != fleet.CaseWaiting, Resume: can(fleet.VerbResume),
		Wait: can(fleet.VerbWait), Assign: can(fleet.VerbAssign), Snooze: can(fleet.VerbSnooze), Wake: can(fleet.VerbUnsnooze) && c.Snooze.By != "", WakeDevice: c.Snooze.Device,
		Resolve: can(fleet.VerbResolve), Close: can(fleet.VerbClose), Reopen: can(fleet.VerbReopen) && c.MergedInto == "",
		Maintain: can(fleet.VerbMaintain) && p.Device != nil, Comment: can(fleet.VerbComment), Attach: can(fleet.VerbAttach)}
	for _, w := range waits {
		if c.WaitingFor != w || c.State != fleet.CaseWaiting {
			a.Waits = append(a.Waits, option{Value: w, Text: p.T("wait." + w)})
		}
	}
	a.Outcomes, a.Snoozes, a.Agents = p.outcomes(), p.snoozes(), p.agents(snap, c.Assignee)
	if can(fleet.VerbMerge) {
		for i := range snap.open {
			if o := &snap.open[i]; o.Device == c.Device && o.ID != c.ID {
				a.Into = append(a.Into, option{Value: o.ID, Text: s.title(o, p.Device, p.view) + ", " + p.T("case.since") + " " + p.When(o.OpenedAt)})
			}
		}
	}
	if can(fleet.VerbSplit) {
		a.Rules = rulesOf(c)
	}
	a.Visit = s.deps.Dispatcher != nil && p.Open && p.Device != nil && !slices.ContainsFunc(p.Orders, func(o orderRow) bool { return o.Open })
	if p.Incident != nil && c.Severity < fleet.Danger {
		a.Visit = false
	}
	if a.Visit {
		for _, x := range s.deps.Homes.PartnersFor(p.Device) {
			a.Partners = append(a.Partners, option{Value: x.ID, Text: x.Name})
		}
	}
	p.Acts = a
}

func (v *view) outcomes() (out []option) {
	for _, o := range outcomes {
		out = append(out, option{Value: o, Text: v.orHuman("outcome.", o)})
	}
	return out
}

func (v *view) snoozes() (out []option) {
	for _, x := range snoozeFor {
		out = append(out, option{Value: x.name, Text: v.T("snooze." + x.name), Selected: x.name == "24h"})
	}
	return out
}

// agents are who has cases now, and the desk.
func (v *view) agents(snap *snapshot, but string) []option {
	out := []option{}
	have := map[string]bool{but: true}
	add := func(a string) {
		if len(a) > len("agent:") && !have[a] {
			have[a] = true
			out = append(out, option{Value: a[len("agent:"):], Text: a[len("agent:"):]})
		}
	}
	add("agent:" + deskActor)
	for i := range snap.open {
		add(snap.open[i].Assignee)
	}
	return out
}

// rulesOf are the rules that can be split off: of a case with one rule none can.
func rulesOf(c *fleet.Case) (out []option) {
	n := map[string]int{}
	for _, e := range c.Episodes {
		n[e.Rule]++
	}
	if len(n) < 2 {
		return nil
	}
	for _, e := range c.Episodes {
		if n[e.Rule] > 0 {
			n[e.Rule] = 0
			out = append(out, option{Value: e.Rule, Text: humanise(e.Rule)})
		}
	}
	return out
}

// orderRow is one work order of the case.
type orderRow struct {
	Order      fleet.Order
	Partner    string
	State      string
	When       string // the visit
	Reason     string
	Outcome    string
	Open       bool
	Created    time.Time
	Changed    time.Time
	ByWho      string
	CoverWords string
}

func (p *casePage) orders(ctx context.Context, s *Web) error {
	if s.deps.Dispatcher == nil {
		return nil
	}
	list, err := s.deps.Dispatcher.Orders(ctx, fleet.OrderFilter{Tenant: p.Case.Device.Tenant, CaseID: p.Case.ID})
	if err != nil {
		return err
	}
	people := s.names(ctx)
	for _, o := range list {
		row := orderRow{Order: o, Partner: p.actor("partner:"+o.PartnerID, people), State: p.orHuman("order.", string(o.State)), Reason: o.Reason, Open: o.State.Open(),
			Created: o.CreatedAt, Changed: o.UpdatedAt, ByWho: p.actor(o.By, people), CoverWords: o.Cover.Text.In(p.Loc.Lang)}
		if !o.From.IsZero() {
			row.When = p.When(o.From)
		}
		if o.Outcome != "" {
			row.Outcome = p.orHuman("outcome.", string(o.Outcome))
		}
		p.Orders = append(p.Orders, row)
	}
	return nil
}
