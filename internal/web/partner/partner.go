// Package partner is the page behind a work order's link: what is the matter, when, who pays, and the partner's answer. Who has the
// link may answer for that one order and sees nothing else. It works without script, and GET changes nothing: mail scanners open links.
//
// App hands it to the owners' listener, whose guard and assets it shares. It imports fleet, words, seal and obs.
package partner

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
	"aftercare/internal/words"
)

//go:embed templates/order.html
var templateFiles embed.FS

// Orders is what a partner can do; dispatch.Dispatch has it. Errors carry a fleet code.
type Orders interface {
	Accept(ctx context.Context, tenant, id, partner string, from, to, at time.Time) error
	Decline(ctx context.Context, tenant, id, partner, reason string, at time.Time) error
	Report(ctx context.Context, tenant, id, partner string, outcome fleet.Outcome, cause, part, note string, at time.Time) error
}

// Reads is what the page shows, from SQL; CodeNotFound for what does not exist.
type Reads interface {
	Order(ctx context.Context, tenant, id string) (*fleet.Order, error)
	Case(ctx context.Context, tenant, id string) (*fleet.Case, error)
}

// Registry answers from memory.
type Registry interface {
	Device(key fleet.DeviceKey) (*fleet.Device, bool)
	Partner(tenant, id string) (*fleet.Partner, bool)
}

// Teller says a case in a reader's words.
type Teller interface {
	Render(in words.Input) words.Rendered
}

// Deps is what New is given; all but Now are required.
type Deps struct {
	Orders   Orders
	Reads    Reads
	Registry Registry
	Teller   Teller
	Seal     *seal.Seal
	Log      *slog.Logger
	Now      func() time.Time // nil: time.Now
}

// Pages answers /order/{seal}.
type Pages struct {
	deps Deps
	page *template.Template
}

// New returns the handler. The error is of a template that does not parse.
func New(d Deps) (*Pages, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	page, err := template.ParseFS(templateFiles, "templates/order.html")
	if err != nil {
		return nil, err
	}
	return &Pages{deps: d, page: page}, nil
}

// ServeHTTP shows the order on GET and takes an answer on POST.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &view{Lang: requestLang(r)}
	err := p.serve(v, r)
	if err != nil {
		v.fail(err)
		if v.status >= http.StatusInternalServerError {
			p.deps.Log.Error("partner's page failed", "error", err)
		}
	}
	if err == nil && r.Method == http.MethodPost {
		http.Redirect(w, r, r.URL.Path+"?done=1", http.StatusSeeOther)
		return
	}
	var b bytes.Buffer
	if err := p.page.ExecuteTemplate(&b, "order.html", v); err != nil {
		p.deps.Log.Error("partner's page cannot be shown", "error", err)
		http.Error(w, v.T("err.other"), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(v.status)
	_, _ = w.Write(b.Bytes())
}

func (p *Pages) serve(v *view, r *http.Request) error {
	v.status = http.StatusOK
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		return fleet.Errorf(fleet.CodeInvalid, "method %s", r.Method)
	}
	now := p.deps.Now()
	claim, err := p.deps.Seal.Open(seal.Order, r.PathValue("seal"), now)
	if err != nil {
		return err
	}
	ctx := r.Context()
	o, err := p.deps.Reads.Order(ctx, claim.Tenant, claim.Subject)
	if err == nil && o.PartnerID != claim.Person {
		err = fleet.Errorf(fleet.CodeNotFound, "there is no work order %q", claim.Subject)
	}
	if err != nil {
		return err
	}
	partner, ok := p.deps.Registry.Partner(o.Tenant, o.PartnerID)
	if !ok {
		return fleet.Errorf(fleet.CodeNotFound, "there is no partner %q", o.PartnerID)
	}
	v.about(r, o, partner, now)
	if err := p.describe(ctx, v, o); err != nil {
		return err
	}
	if r.Method != http.MethodPost {
		return nil
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" {
		return fleet.Errorf(fleet.CodeDenied, "sent from another site")
	}
	if err := r.ParseForm(); err != nil {
		return fleet.Errorf(fleet.CodeInvalid, "the form cannot be read: %w", err)
	}
	return p.act(ctx, v, o, r, now)
}

// describe says what is the matter, in the partner's language. A case that is gone leaves the order standing.
func (p *Pages) describe(ctx context.Context, v *view, o *fleet.Order) error {
	k, err := p.deps.Reads.Case(ctx, o.Tenant, o.CaseID)
	if fleet.CodeOf(err) == fleet.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	d, _ := p.deps.Registry.Device(o.Device)
	if d != nil { // what the owner calls it is nobody else's business
		plain := *d
		plain.Name, plain.Room = "", ""
		d = &plain
	}
	reader := &fleet.Person{Locale: v.loc.Lang, Zone: v.loc.Zone.String()}
	said := p.deps.Teller.Render(words.Input{Topic: fleet.EventOpened, Case: k, Device: d, Person: reader, Now: v.now})
	v.What = said.Title
	if why, _, ok := strings.Cut(said.Body, "\n\n"); ok {
		v.Why = why
	}
	v.Serial, v.Model = o.Device.Serial, k.Model
	if d != nil {
		v.Region = d.Region
	}
	return nil
}

// act takes the answer of a form.
func (p *Pages) act(ctx context.Context, v *view, o *fleet.Order, r *http.Request, now time.Time) error {
	text := func(name string) string { return words.Clean(strings.TrimSpace(r.PostForm.Get(name)), maxText) }
	switch r.PostForm.Get("answer") {
	case "accept":
		from, to, err := v.visit(r)
		if err != nil {
			return err
		}
		return p.deps.Orders.Accept(ctx, o.Tenant, o.ID, o.PartnerID, from, to, now)
	case "decline":
		return p.deps.Orders.Decline(ctx, o.Tenant, o.ID, o.PartnerID, text("reason"), now)
	case "report":
		return p.deps.Orders.Report(ctx, o.Tenant, o.ID, o.PartnerID, fleet.Outcome(r.PostForm.Get("outcome")), text("cause"), text("part"), text("note"), now)
	default:
		return fleet.Errorf(fleet.CodeInvalid, "answer %.20q", r.PostForm.Get("answer"))
	}
}

const maxText = 1000 // characters of what a partner writes

// fail turns an error into what the page says: what, why, what to do.
func (v *view) fail(err error) {
	v.Problem = "other"
	switch {
	case errors.Is(err, seal.ErrExpired):
		v.status, v.Problem = http.StatusGone, "expired"
	case errors.Is(err, seal.ErrBad):
		v.status, v.Problem = http.StatusNotFound, "link"
	default:
		switch fleet.CodeOf(err) {
		case fleet.CodeNotFound:
			v.status, v.Problem = http.StatusNotFound, "link"
		case fleet.CodeInvalid:
			v.status, v.Problem = http.StatusBadRequest, "invalid"
		case fleet.CodeConflict:
			v.status, v.Problem = http.StatusConflict, "over"
		case fleet.CodeDenied:
			v.status, v.Problem = http.StatusForbidden, "site"
		default:
			v.status = http.StatusInternalServerError
		}
	}
}
