// Package dispatch sends service partners: it chooses who, offers a work order, takes the answer, offers it to the next one when it is
// declined or not answered, and brings what the partner reports to the case. What happens to an order is decided by pure functions;
// the store commits the result in one transaction or answers conflict. Partners are told by outreach, through the outbox; what
// follows for the case is an errand in the outbox too, so that a crash in between loses nothing.
//
// What a case must know of its order, and that a case that is over needs no visit, goes the same way in both directions.
//
// Only app may import it. It imports fleet, obs and words.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

// Config says how long partners have, and when they come at the earliest.
type Config struct {
	OfferFor time.Duration `mapstructure:"offer_for" help:"how long a partner has to accept a work order before the next one is asked"`
	Notice   time.Duration `mapstructure:"notice" help:"how far away a visit is proposed at least"`
	Visit    time.Duration `mapstructure:"visit" help:"length of the time window of a visit that is proposed"`
	Poll     time.Duration `mapstructure:"poll" help:"how often to look for work orders that wait for something"`
}

// DefaultConfig gives partners a day and proposes the morning two days ahead.
func DefaultConfig() Config {
	return Config{OfferFor: 24 * time.Hour, Notice: 48 * time.Hour, Visit: 4 * time.Hour, Poll: 5 * time.Second}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		name      string
		v, lo, hi time.Duration
	}{{"offer_for", c.OfferFor, time.Minute, 30 * 24 * time.Hour}, {"notice", c.Notice, 0, 60 * 24 * time.Hour},
		{"visit", c.Visit, 15 * time.Minute, 24 * time.Hour}, {"poll", c.Poll, 100 * time.Millisecond, time.Minute}} {
		if f.v < f.lo || f.v > f.hi {
			errs = append(errs, fmt.Errorf("dispatch.%s %v: want %v to %v", f.name, f.v, f.lo, f.hi))
		}
	}
	return errors.Join(errs...)
}

// Store is what dispatch needs of SQL.
type Store interface {
	// Order returns one work order, or CodeNotFound; Orders those of a filter, newest first.
	Order(ctx context.Context, tenant, id string) (*fleet.Order, error)
	Orders(ctx context.Context, f fleet.OrderFilter) ([]fleet.Order, error)
	// CommitOrder writes all of the change or nothing; CodeConflict when somebody else was first, or another order of the case is open.
	CommitOrder(ctx context.Context, ch fleet.OrderChange) error
	// Case returns one case, or CodeNotFound.
	Case(ctx context.Context, tenant, id string) (*fleet.Case, error)
}

// Errands are the outbox rows of this package; see outreach.Outbox for what leasing means.
type Errands interface {
	LeaseOutbox(ctx context.Context, kind fleet.OutboxKind, now time.Time, lease time.Duration, limit int) ([]fleet.OutboxRow, error)
	FinishOutbox(ctx context.Context, id, reason string) error
	RetryOutbox(ctx context.Context, id string, due time.Time, errText string) error
}

// Registry answers from memory; what it returns is not changed by anybody.
type Registry interface {
	Device(key fleet.DeviceKey) (*fleet.Device, bool)
	Person(tenant, id string) (*fleet.Person, bool)
	// PartnersFor returns the partners that serve the device where it is, the best first.
	PartnersFor(d *fleet.Device) []*fleet.Partner
	Cover(d *fleet.Device, at time.Time, c *fleet.Case) fleet.Cover
}

// Desk is what dispatch does to cases. Each method does nothing when it was done before.
type Desk interface {
	// Ordered notes the order and its partner on the case, which waits for the partner from then on.
	Ordered(ctx context.Context, o fleet.Order, why string, at time.Time) error
	// Unserved gives the case back to the agents.
	Unserved(ctx context.Context, o fleet.Order, why string, at time.Time) error
	// Reported resolves the case with the outcome of the order, which starts the proof of the fix.
	Reported(ctx context.Context, o fleet.Order, at time.Time) error
}

// Teller says a case in a reader's words.
type Teller interface {
	Render(in words.Input) words.Rendered
}

// Deps is what dispatch is built on.
type Deps struct {
	Store      Store
	Errands    Errands
	Registry   Registry
	Desk       Desk
	Teller     Teller // nil: orders have no summary
	Wake       func() // of outreach, after a commit; may be nil
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Dispatch keeps no state of its own: any number of processes may work on the same store.
type Dispatch struct {
	cfg     Config
	deps    Deps
	changes *prometheus.CounterVec
}

// New returns a Dispatch that does nothing until it is called. The configuration must be valid.
func New(cfg Config, d Deps) *Dispatch {
	x := &Dispatch{cfg: cfg, deps: d, changes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aftercare_orders_total",
		Help: "Work orders that came to a state."}, []string{"state"})}
	if d.Registerer != nil {
		d.Registerer.MustRegister(x.changes)
	}
	if x.deps.Wake == nil {
		x.deps.Wake = func() {}
	}
	return x
}

// Wish is what somebody who asks for a visit says.
type Wish struct {
	Tenant, CaseID string
	PartnerID      string    // empty: the best that is not ruled out
	From, To       time.Time // when; zero: proposed
	Part           string    // to bring along; may be empty
	Note           string
	By             string // "agent:<name>", "owner:<id>"
	At             time.Time
}

// Book offers a work order for a case to a partner and returns it; the one that is open already, if there is one. CodeNotFound without
// a partner for the device and the place, CodeConflict when the case is over or belongs to an incident: then no visit helps.
func (d *Dispatch) Book(ctx context.Context, w Wish) (fleet.Order, error) {
	k, err := d.deps.Store.Case(ctx, w.Tenant, w.CaseID)
	if err != nil {
		return fleet.Order{}, err
	}
	switch {
	case !k.State.Open():
		return fleet.Order{}, fleet.Errorf(fleet.CodeConflict, "case %q is %s: there is nothing to visit for", k.ID, k.State)
	case k.IncidentID != "" && k.Severity < fleet.Danger:
		return fleet.Order{}, fleet.Errorf(fleet.CodeConflict, "case %q belongs to incident %q: a visit does not help until it is fixed", k.ID, k.IncidentID)
	}
	past, err := d.deps.Store.Orders(ctx, fleet.OrderFilter{Tenant: w.Tenant, CaseID: w.CaseID})
	if err != nil {
		return fleet.Order{}, err
	}
	for _, o := range past {
		if o.State.Open() {
			return o, nil
		}
	}
	device, ok := d.deps.Registry.Device(k.Device)
	if !ok {
		return fleet.Order{}, fleet.Errorf(fleet.CodeNotFound, "device %q is not registered", k.Device)
	}
	p, err := choose(d.deps.Registry.PartnersFor(device), k, past, w.PartnerID)
	if err != nil {
		return fleet.Order{}, err
	}
	o := d.cfg.offer(k, device, p, w, len(past), d.deps.Registry.Cover(device, w.At, k), d.contact(device))
	o.Summary = d.summary(k, device, p, w.At)
	err = d.commit(ctx, d.cfg.offered(o, w.At))
	if fleet.CodeOf(err) == fleet.CodeConflict { // somebody else booked at the same moment: that visit it is
		if open, oerr := d.open(ctx, w.Tenant, w.CaseID); oerr == nil && len(open) > 0 {
			return open[0], nil
		}
	}
	return o, err
}

// summary is the case in one line of the partner's language. What the owner calls the device is nobody else's business.
func (d *Dispatch) summary(k *fleet.Case, device *fleet.Device, p *fleet.Partner, at time.Time) string {
	if d.deps.Teller == nil {
		return ""
	}
	plain := *device
	plain.Name, plain.Room = "", ""
	return d.deps.Teller.Render(words.Input{Topic: fleet.EventOpened, Case: k, Device: &plain, Person: &fleet.Person{Locale: p.Locale, Zone: p.Zone}, Now: at}).Title
}

func (d *Dispatch) open(ctx context.Context, tenant, caseID string) ([]fleet.Order, error) {
	return d.deps.Store.Orders(ctx, fleet.OrderFilter{Tenant: tenant, CaseID: caseID, States: []fleet.OrderState{fleet.OrderOffered, fleet.OrderAccepted}})
}

// contact is how the partner reaches the owner, if she agreed to that.
func (d *Dispatch) contact(device *fleet.Device) string {
	p, ok := d.deps.Registry.Person(device.Key.Tenant, device.OwnerID)
	if !ok {
		return ""
	}
	for _, c := range p.Consents {
		if c.Purpose == fleet.PurposePartner && c.WithdrawnAt.IsZero() {
			return contactOf(p)
		}
	}
	return ""
}

func contactOf(p *fleet.Person) string {
	out := p.Name
	for _, e := range p.Endpoints {
		if e.Channel == "email" {
			out += " <" + e.Address + ">"
			break
		}
	}
	return out
}

// Accept is a partner's yes, with a time of its own or the one proposed (zero). Accepting again changes the time. CodeConflict when
// the order is over, CodeInvalid for a time that has passed, ends before it begins or is longer than a day.
func (d *Dispatch) Accept(ctx context.Context, tenant, id, partner string, from, to, at time.Time) error {
	return d.change(ctx, tenant, id, partner, func(o fleet.Order) (fleet.OrderChange, error) { return accept(o, from, to, at) })
}

// Decline is a partner's no, with a reason; the next partner is asked. CodeConflict when the order is over.
func (d *Dispatch) Decline(ctx context.Context, tenant, id, partner, reason string, at time.Time) error {
	return d.change(ctx, tenant, id, partner, func(o fleet.Order) (fleet.OrderChange, error) { return decline(o, reason, at) })
}

// Report is what the partner found and did; it ends the order. CodeConflict when the order was not accepted or is over, CodeInvalid
// without an outcome that a partner may give.
func (d *Dispatch) Report(ctx context.Context, tenant, id, partner string, r Report, at time.Time) error {
	return d.change(ctx, tenant, id, partner, func(o fleet.Order) (fleet.OrderChange, error) { return report(o, r, at) })
}

// Cancel calls the visit off. by is who does; a partner hears of it. CodeConflict when the order is over.
func (d *Dispatch) Cancel(ctx context.Context, tenant, id, by, reason string, at time.Time) error {
	return d.change(ctx, tenant, id, "", func(o fleet.Order) (fleet.OrderChange, error) { return cancel(o, by, reason, at) })
}

// CancelCase calls off what is open for a case; nothing to call off is no error.
func (d *Dispatch) CancelCase(ctx context.Context, tenant, caseID, reason string, at time.Time) error {
	open, err := d.open(ctx, tenant, caseID)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range open {
		if err := d.Cancel(ctx, tenant, o.ID, actorSystem, reason, at); err != nil && fleet.CodeOf(err) != fleet.CodeConflict {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

const maxTries = 10 // conflicts in a row; each means that somebody else made progress

// change loads the order, decides and commits, and again as long as somebody else was first. An order of another partner is
// CodeNotFound: nobody learns that it exists.
func (d *Dispatch) change(ctx context.Context, tenant, id, partner string, decide func(fleet.Order) (fleet.OrderChange, error)) error {
	for try := 1; ; try++ {
		o, err := d.deps.Store.Order(ctx, tenant, id)
		if err != nil {
			return err
		}
		if partner != "" && o.PartnerID != partner {
			return fleet.Errorf(fleet.CodeNotFound, "there is no work order %q", id)
		}
		ch, err := decide(*o)
		if err != nil || ch.Order.ID == "" {
			return err
		}
		err = d.commit(ctx, ch)
		if fleet.CodeOf(err) != fleet.CodeConflict || try == maxTries {
			return err
		}
	}
}

func (d *Dispatch) commit(ctx context.Context, ch fleet.OrderChange) error {
	if err := d.deps.Store.CommitOrder(ctx, ch); err != nil {
		return err
	}
	d.changes.WithLabelValues(string(ch.Order.State)).Inc()
	d.deps.Wake()
	return nil
}
