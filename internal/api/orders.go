package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"aftercare/internal/fleet"
)

// Orders reads work orders and does to them what agents do. Of the order to book, tenant, case and author are given, and if the caller
// has a wish, partner, time, part and note; an open one of the case is returned as it is.
type Orders interface {
	Orders(ctx context.Context, f fleet.OrderFilter) ([]fleet.Order, error)
	Order(ctx context.Context, tenant, id string) (*fleet.Order, error)
	BookOrder(ctx context.Context, o fleet.Order) (fleet.Order, error)
	CancelOrder(ctx context.Context, tenant, id, by, why string) error
	OrderLink(o *fleet.Order) string
}

// Order is one visit of one partner for one case.
type Order struct {
	ID        string    `json:"id"`
	Version   int64     `json:"version" doc:"counts changes"`
	State     string    `json:"state" enum:"offered,accepted,declined,done,cancelled"`
	CaseID    string    `json:"case_id"`
	Serial    string    `json:"serial"`
	Partner   string    `json:"partner"`
	Problem   string    `json:"problem"`
	Summary   string    `json:"summary,omitempty" doc:"in the partner's language"`
	Part      string    `json:"part,omitempty" doc:"to bring along"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to"`
	Pays      string    `json:"pays" doc:"who: maker, seller, insurer, owner"`
	Note      string    `json:"note,omitempty"`
	Reason    string    `json:"reason,omitempty" doc:"why declined or cancelled"`
	Outcome   string    `json:"outcome,omitempty" doc:"what the partner reported"`
	FixCause  string    `json:"fix_cause,omitempty"`
	FixPart   string    `json:"fix_part,omitempty"`
	By        string    `json:"by" doc:"who ordered it or called it off"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Link      string    `json:"link,omitempty" doc:"the page on which the partner answers: to be passed on to nobody else"`
}

func (a *api) oneOrder(o *fleet.Order) Order {
	pays := "owner"
	if o.Cover.Pays {
		pays = o.Cover.By
	}
	return Order{ID: o.ID, Version: o.Version, State: string(o.State), CaseID: o.CaseID, Serial: o.Device.Serial, Partner: o.PartnerID, Problem: o.Problem, Summary: o.Summary,
		Part: o.Part, From: o.From.UTC(), To: o.To.UTC(), Pays: pays, Note: o.Note, Reason: o.Reason, Outcome: string(o.Outcome), FixCause: o.FixCause, FixPart: o.FixPart,
		By: o.By, CreatedAt: o.CreatedAt.UTC(), UpdatedAt: o.UpdatedAt.UTC(), Link: a.deps.Orders.OrderLink(o)}
}

type ordersIn struct {
	State   string `query:"state" enum:"open,offered,accepted,declined,done,cancelled,all" default:"open"`
	Case    string `query:"case" maxLength:"64" doc:"only of this case"`
	Partner string `query:"partner" maxLength:"64" doc:"only of this partner"`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type ordersOut struct {
	Body struct {
		Orders []Order `json:"orders" doc:"newest first"`
	}
}

// OrderRef names a work order in a path.
type OrderRef struct {
	Tenant string `path:"tenant" maxLength:"64"`
	ID     string `path:"id" maxLength:"64"`
}

type orderOut struct{ Body Order }

type bookIn struct {
	Body struct {
		Case    string    `json:"case" minLength:"1" maxLength:"64"`
		Partner string    `json:"partner,omitempty" maxLength:"64" doc:"absent: the best that serves the device where it is"`
		From    time.Time `json:"from,omitzero" doc:"absent: proposed"`
		To      time.Time `json:"to,omitzero"`
		Part    string    `json:"part,omitempty" maxLength:"200" doc:"to bring along"`
		Note    string    `json:"note,omitempty" maxLength:"2000"`
	}
}

type cancelOrderIn struct {
	OrderRef
	Body struct {
		Why string `json:"why" minLength:"1" maxLength:"2000" doc:"the partner reads it, and the owner if a visit was agreed"`
	}
}

func (a *api) orders(h huma.API) {
	huma.Register(h, a.operation("list-orders", http.MethodGet, "/orders", "Work orders: visits of service partners"), a.listOrders)
	huma.Register(h, a.operation("get-order", http.MethodGet, "/orders/{tenant}/{id}", "One work order", 404), a.getOrder)
	huma.Register(h, a.operation("book-order", http.MethodPost, "/orders", "Offer the work on a case to a partner; an open order of the case is returned as it is", 400, 404, 409), a.bookOrder)
	huma.Register(h, a.operation("cancel-order", http.MethodPost, "/orders/{tenant}/{id}/cancel", "Call a visit off: the partner hears, and the owner if it was agreed", 404, 409), a.cancelOrder)
}

func (a *api) listOrders(ctx context.Context, in *ordersIn) (*ordersOut, error) {
	f := fleet.OrderFilter{Tenant: a.cfg.Tenant, CaseID: in.Case, PartnerID: in.Partner, Limit: in.Limit}
	switch in.State {
	case "all":
	case "open":
		f.States = []fleet.OrderState{fleet.OrderOffered, fleet.OrderAccepted}
	default:
		f.States = []fleet.OrderState{fleet.OrderState(in.State)}
	}
	list, err := a.deps.Orders.Orders(ctx, f)
	if err != nil {
		return nil, a.failed("list-orders", err)
	}
	out := &ordersOut{}
	out.Body.Orders = make([]Order, 0, len(list))
	for k := range list {
		out.Body.Orders = append(out.Body.Orders, a.oneOrder(&list[k]))
	}
	return out, nil
}

func (a *api) getOrder(ctx context.Context, in *OrderRef) (*orderOut, error) {
	err := a.ours(in.Tenant)
	var o *fleet.Order
	if err == nil {
		o, err = a.deps.Orders.Order(ctx, in.Tenant, in.ID)
	}
	if err != nil {
		return nil, a.failed("get-order", err)
	}
	return &orderOut{a.oneOrder(o)}, nil
}

func (a *api) bookOrder(ctx context.Context, in *bookIn) (*orderOut, error) {
	b := &in.Body
	if !b.To.IsZero() && !b.To.After(b.From) || !b.From.IsZero() && !b.From.After(a.now()) {
		return nil, a.failed("book-order", fleet.Errorf(fleet.CodeInvalid, "a visit from %s to %s: want a time to come", b.From.Format(time.RFC3339), b.To.Format(time.RFC3339)))
	}
	o, err := a.deps.Orders.BookOrder(ctx, fleet.Order{Tenant: a.cfg.Tenant, CaseID: b.Case, PartnerID: b.Partner, From: b.From, To: b.To, Part: b.Part, Note: b.Note, By: actor})
	if err != nil {
		return nil, a.failed("book-order", err)
	}
	return &orderOut{a.oneOrder(&o)}, nil
}

func (a *api) cancelOrder(ctx context.Context, in *cancelOrderIn) (*orderOut, error) {
	err := a.ours(in.Tenant)
	if err == nil {
		err = a.deps.Orders.CancelOrder(ctx, in.Tenant, in.ID, actor, in.Body.Why)
	}
	if err != nil {
		return nil, a.failed("cancel-order", err)
	}
	return a.getOrder(ctx, &in.OrderRef)
}
