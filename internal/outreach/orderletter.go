package outreach

import (
	"fmt"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

// orderData is the data of an order's webhook. Fields are added, never renamed: receivers are other people's programs.
type orderData struct {
	OrderID string           `json:"order_id"`
	State   fleet.OrderState `json:"state"`
	Version int64            `json:"version"`
	CaseID  string           `json:"case_id"`
	Partner string           `json:"partner"`
	Device  orderDevice      `json:"device"`
	Problem string           `json:"problem"`
	Summary string           `json:"summary,omitempty"`
	Part    string           `json:"part,omitempty"` // to bring along
	Cover   orderCover       `json:"cover"`
	Visit   orderVisit       `json:"visit"`
	Contact string           `json:"contact,omitempty"` // of the owner: when the visit is agreed, and she consented
	Note    string           `json:"note,omitempty"`
	Reason  string           `json:"reason,omitempty"`
	Link    string           `json:"link,omitempty"` // the page that takes the answer
	Locale  string           `json:"locale"`
}

type orderDevice struct {
	Tenant   string `json:"tenant"`
	Serial   string `json:"serial"`
	Model    string `json:"model,omitempty"`
	Category string `json:"category,omitempty"`
	Region   string `json:"region,omitempty"`
	Firmware string `json:"firmware,omitempty"`
}

type orderCover struct {
	Pays bool   `json:"pays"` // somebody else than the owner
	Kind string `json:"kind,omitempty"`
	By   string `json:"by,omitempty"`
	Name string `json:"name,omitempty"`
	Text string `json:"text,omitempty"`
}

type orderVisit struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Zone string    `json:"zone,omitempty"` // the partner's
}

// shownOrder is the order as its partner may see it now: how to reach the owner once the visit is agreed.
func (p *plan) shownOrder() *fleet.Order {
	o := *p.order
	if o.State != fleet.OrderAccepted {
		o.Contact = ""
	}
	return &o
}

func (o *Outreach) orderURL(p *plan) string {
	if !p.links {
		return ""
	}
	return OrderLink(o.deps.Seal, o.config.URL, p.order)
}

func (o *Outreach) orderData(p *plan) orderData {
	x := p.shownOrder()
	d := orderData{OrderID: x.ID, State: x.State, Version: x.Version, CaseID: x.CaseID, Partner: x.PartnerID, Device: orderDevice{Tenant: x.Device.Tenant, Serial: x.Device.Serial},
		Problem: x.Problem, Summary: x.Summary, Part: x.Part, Cover: orderCover{x.Cover.Pays, x.Cover.Kind, x.Cover.By, x.Cover.Name, x.Cover.Text.In(p.partner.Locale)},
		Visit: orderVisit{x.From.UTC(), x.To.UTC(), p.partner.Zone}, Contact: x.Contact, Note: x.Note, Reason: x.Reason, Link: o.orderURL(p), Locale: p.partner.Locale}
	if v := p.device; v != nil {
		d.Device.Model, d.Device.Category, d.Device.Region, d.Device.Firmware = v.Model, v.Category, v.Region, v.Firmware
	}
	return d
}

// orderMessage puts the order into the partner's words, with the entry for a calendar.
func (o *Outreach) orderMessage(p *plan) fleet.Message {
	x := p.shownOrder()
	m := fleet.Message{ID: p.row.ID, Tenant: x.Tenant, CaseID: x.CaseID, Ref: x.ID, Device: x.Device, PersonID: p.person.ID, Channel: p.row.Channel,
		Topic: p.row.Topic, At: p.now, URL: o.orderURL(p), TTL: week, Collapse: fleet.ID("c", p.person.ID, x.ID)}
	l := words.Letter{Input: words.Input{Topic: words.EventOrder, Case: p.kase, Device: p.device, Person: p.person, Now: p.now}, Channel: p.row.Channel, Cover: x.Cover,
		Order: x, Partner: p.partner, URL: m.URL}
	if p.kase != nil {
		m.Kind, m.Severity = p.kase.Kind, p.kase.Severity
	}
	c := o.deps.Words.Compose(l)
	if c.Fallback != "" {
		o.metrics.fallbacks.Inc()
	}
	m.Locale, m.Title, m.Body, m.HTML = c.Locale, c.Title, c.Body, c.HTML
	if o.deps.Calendar == nil {
		return m
	}
	entry, err := o.deps.Calendar(x, c.Calendar, m.URL)
	if err != nil { // the order says the time as well
		o.deps.Log.Error("an order goes without an entry for a calendar", "order", x.ID, "error", err)
		return m
	}
	method := "PUBLISH"
	if !x.State.Open() {
		method = "CANCEL"
	}
	m.Attachments = []fleet.Attachment{{Name: "visit.ics", Type: "text/calendar; charset=utf-8; method=" + method, Size: len(entry), Body: entry}}
	return m
}

// visitTrue is for what an owner hears of a visit: agreed, moved or called off, and nothing of it that was changed since or is past.
func (p *plan) visitTrue() (verdict, string) {
	switch o := p.order; {
	case o == nil:
		return skip, "the work order does not exist any more"
	case p.movedOn():
		return skip, "the visit was changed since"
	case o.State == fleet.OrderAccepted && !o.To.After(p.now):
		return skip, "the visit is over"
	default:
		return proceed, fmt.Sprintf("the visit is %s", o.State)
	}
}
