package app

import (
	"context"
	"net/http"
	"net/mail"
	"time"

	"aftercare/internal/api"
	"aftercare/internal/cases"
	"aftercare/internal/dispatch"
	"aftercare/internal/fleet"
	"aftercare/internal/incidents"
	"aftercare/internal/outreach"
	"aftercare/internal/outreach/channel/webhook"
	"aftercare/internal/registry"
	"aftercare/internal/store"
	"aftercare/internal/web"
	"aftercare/internal/web/partner"
	"aftercare/internal/words"
)

var (
	_ dispatch.Store    = (*store.Store)(nil)
	_ dispatch.Errands  = (*store.Store)(nil)
	_ dispatch.Registry = (*registry.Registry)(nil)
	_ dispatch.Desk     = (*cases.Cases)(nil)
	_ incidents.Orders  = (*dispatch.Dispatch)(nil)
	_ cases.Booker      = booker{}
	_ outreach.Orders   = partnerWork{}
	_ outreach.Poster   = (*webhook.Channel)(nil)
	_ partner.Orders    = partnerAnswers{}
	_ api.Orders        = orderDesk{}
)

// buildDispatch comes before cases and incidents, which ask it; what it does to cases waits until there are any.
func (s *server) buildDispatch(context.Context) error {
	s.dispatch = dispatch.New(s.cfg.Dispatch, dispatch.Deps{Store: s.store, Errands: s.store, Registry: s.registry, Desk: lateCases{s}, Teller: lateWords{s},
		Wake: func() { s.outreach.Wake() }, Log: s.log, Registerer: s.metrics})
	return nil
}

func (l lateCases) Ordered(ctx context.Context, o fleet.Order, why string, at time.Time) error {
	return l.s.cases.Ordered(ctx, o, why, at)
}

func (l lateCases) Unserved(ctx context.Context, o fleet.Order, why string, at time.Time) error {
	return l.s.cases.Unserved(ctx, o, why, at)
}

func (l lateCases) Reported(ctx context.Context, o fleet.Order, at time.Time) error {
	return l.s.cases.Reported(ctx, o, at)
}

// lateWords is the words that are built later.
type lateWords struct{ s *server }

func (l lateWords) Render(in words.Input) words.Rendered { return l.s.words.Render(in) }

// booker is dispatch as an owner's answer asks for it.
type booker struct{ d *dispatch.Dispatch }

func (b booker) Book(ctx context.Context, c *fleet.Case, a fleet.Answer) (fleet.Order, error) {
	return b.d.Book(ctx, dispatch.Wish{Tenant: c.Device.Tenant, CaseID: c.ID, Note: a.Note, By: "owner:" + a.PersonID, At: a.At})
}

// partnerWork is orders and who does them, as outreach asks for them.
type partnerWork struct {
	*store.Store
	r *registry.Registry
}

func (w partnerWork) Partner(_ context.Context, tenant, id string) (*fleet.Partner, error) {
	if p, ok := w.r.Partner(tenant, id); ok {
		return p, nil
	}
	return nil, fleet.Errorf(fleet.CodeNotFound, "there is no partner %q", id)
}

// visits is what the desk's pages do with work orders.
type visits struct {
	*dispatch.Dispatch
	s *store.Store
}

func (v visits) Book(ctx context.Context, w web.Visit) (fleet.Order, error) {
	return v.Dispatch.Book(ctx, dispatch.Wish(w))
}

func (v visits) Orders(ctx context.Context, f fleet.OrderFilter) ([]fleet.Order, error) {
	return v.s.Orders(ctx, f)
}

// calendar writes what goes with the e-mails of an order. Without a sender there are none.
func (s *server) calendar() outreach.Calendar {
	from, err := mail.ParseAddress(s.cfg.Email.From)
	if err != nil {
		return nil
	}
	return func(o *fleet.Order, summary, url string) ([]byte, error) {
		e := dispatch.Entry{Summary: summary, Description: url, URL: url, Organizer: from.Address}
		if d, ok := s.registry.Device(o.Device); ok {
			e.Location = d.Region
		}
		return dispatch.Calendar(o, e)
	}
}

// partnerPages are what is behind the links of work orders.
func (s *server) partnerPages() (http.Handler, error) {
	return partner.New(partner.Deps{Orders: partnerAnswers{s.dispatch}, Reads: s.store, Registry: s.registry, Teller: s.words, Seal: s.seal, Log: s.log})
}

// partnerAnswers is dispatch as the pages see it.
type partnerAnswers struct{ *dispatch.Dispatch }

func (p partnerAnswers) Report(ctx context.Context, tenant, id, by string, outcome fleet.Outcome, cause, part, note string, at time.Time) error {
	return p.Dispatch.Report(ctx, tenant, id, by, dispatch.Report{Outcome: outcome, Cause: cause, Part: part, Note: note}, at)
}

// orderDesk is what agents do with work orders, as the API sees it.
type orderDesk struct {
	*store.Store
	s *server
}

func (d orderDesk) BookOrder(ctx context.Context, o fleet.Order) (fleet.Order, error) {
	return d.s.dispatch.Book(ctx, dispatch.Wish{Tenant: o.Tenant, CaseID: o.CaseID, PartnerID: o.PartnerID, From: o.From, To: o.To, Part: o.Part, Note: o.Note, By: o.By, At: time.Now()})
}

func (d orderDesk) CancelOrder(ctx context.Context, tenant, id, by, why string) error {
	return d.s.dispatch.Cancel(ctx, tenant, id, by, why, time.Now())
}

// OrderLink is the page on which its partner answers; empty without owners' pages.
func (d orderDesk) OrderLink(o *fleet.Order) string {
	base := d.s.ownerURL()
	if base == "" {
		return ""
	}
	return outreach.OrderLink(d.s.seal, base, o)
}
