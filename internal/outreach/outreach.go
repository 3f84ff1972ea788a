// Package outreach tells people. It takes message rows that cases wrote into the outbox and decides when they are due, not
// when they were written: does it still hold, may we, whom, how, when, in which language. Then it sends through a channel,
// tries again for days, and records what became of it. Operators and service partners are told in the same way, without the
// questions about wishes. It also relays record rows to the journal.
//
// It does not decide what a case is (cases), what a sentence says (words) or how a channel speaks (channel/...). Delivery is
// at least once with the same id on each try: a crash between sending and recording sends twice, and the id lets the receiver
// see it. The inbox is no channel: its message is saved in the transaction that ends the row, so it is there exactly once.
//
// App imports it, and channels for the interface and the error classes. It imports fleet, words and seal.
package outreach

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/seal"
	"aftercare/internal/words"
)

// Channel sends a message to one endpoint. It tries once, within the context's deadline, and is called concurrently. An error
// is made with Again, Never or Gone; any other counts as Again. Message.ID is the idempotency key. Errors are shown to people
// and must not hold the endpoint's address or secret.
type Channel interface {
	Name() string
	Send(ctx context.Context, m fleet.Message, to fleet.Endpoint) error
}

// Outbox is where message rows come from and go. A leased row belongs to the caller until the lease ends. Deliver ends a row
// in one transaction: what became of it, the inbox message if there is one, the rows that follow; it writes nothing when the
// row was ended before. RetryOutbox puts a row off after a try and counts it in Attempts, PutOffOutbox puts one off that was
// not tried; a lease alone counts nothing. HoldOutbox puts one off that a stage holds, with what each stage said. LeaseChannel leases
// what is for one channel ("": for none yet), OutboxChannels says which channels rows are for.
type Outbox interface {
	LeaseOutbox(ctx context.Context, kind fleet.OutboxKind, now time.Time, lease time.Duration, limit int) ([]fleet.OutboxRow, error)
	LeaseChannel(ctx context.Context, channel string, now time.Time, lease time.Duration, limit int) ([]fleet.OutboxRow, error)
	OutboxChannels(ctx context.Context) ([]string, error)
	Deliver(ctx context.Context, id string, inbox *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) error
	RetryOutbox(ctx context.Context, id string, due time.Time, errText string) error
	PutOffOutbox(ctx context.Context, id string, due time.Time, reason string) error
	HoldOutbox(ctx context.Context, row fleet.OutboxRow, d fleet.Delivery, follow []fleet.OutboxRow) error
	AddOutbox(ctx context.Context, rows []fleet.OutboxRow) error
	HurryOutbox(ctx context.Context, ids []string, due time.Time) error
}

// Company is how messages that wait for a person go as one: Waiting lists those on a channel that were put off, ClaimOutbox takes those
// that nobody works on, DeliverWith ends a row and those that went along in one transaction. OutboxTries says how often the rows were
// tried that are not done, UnderWay until when a message of a problem is being sent to somebody.
type Company interface {
	Waiting(ctx context.Context, tenant, personID, channel string, now time.Time) (free, leased []fleet.OutboxRow, err error)
	ClaimOutbox(ctx context.Context, rows []fleet.OutboxRow, now time.Time, lease time.Duration) ([]string, error)
	OutboxTries(ctx context.Context, ids []string) (map[string]int, error)
	UnderWay(ctx context.Context, tenant, caseID, personID, channel string, now time.Time) (time.Time, error)
	DeliverWith(ctx context.Context, id string, d fleet.Delivery, along []fleet.Delivery, follow []fleet.OutboxRow) error
}

// Contacts is the account of a household's budget. TakeContact is safe against another that takes the last place at once; ReleaseContact
// gives a place back unless one of the message's rows was sent.
type Contacts interface {
	Contacts(ctx context.Context, tenant, household string, since time.Time) (map[string]time.Time, error)
	TakeContact(ctx context.Context, tenant, household, id string, at time.Time, day, week int) (bool, error)
	ReleaseContact(ctx context.Context, tenant, id string, rows []string) error
}

// Cases answers how a case is now (CodeNotFound: there is none) and what became of the messages about it, or about an incident, so far.
type Cases interface {
	Case(ctx context.Context, tenant, id string) (*fleet.Case, error)
	CaseDeliveries(ctx context.Context, tenant, caseID string) ([]fleet.Delivery, error)
	RefDeliveries(ctx context.Context, tenant, ref string) ([]fleet.Delivery, error)
	// LatestCase returns the case of a device's problem that is open, else the one opened last, else nil.
	LatestCase(ctx context.Context, key fleet.DeviceKey, problem string) (*fleet.Case, error)
}

// Incidents answers how an incident is now; CodeNotFound: there is none.
type Incidents interface {
	Incident(ctx context.Context, tenant, id string) (*fleet.Incident, error)
}

// Orders answers how a work order and its partner are now; CodeNotFound: there is none.
type Orders interface {
	Order(ctx context.Context, tenant, id string) (*fleet.Order, error)
	Partner(ctx context.Context, tenant, id string) (*fleet.Partner, error)
}

// Calendar writes the visit of an order as an entry for a calendar (text/calendar), with a line that names it and its page, if it has one.
type Calendar func(o *fleet.Order, summary, url string) ([]byte, error)

// Registry answers from memory; what it returns is not changed by anybody.
type Registry interface {
	Device(key fleet.DeviceKey) (*fleet.Device, bool)
	Person(tenant, id string) (*fleet.Person, bool)
}

// Households answers who lives together, in the order in which they hear.
type Households interface {
	Household(tenant, id string) (fleet.Household, bool)
}

// Entitlements answers who pays for a case of a device.
type Entitlements interface {
	Cover(d *fleet.Device, at time.Time, c *fleet.Case) fleet.Cover
}

// People takes an address off a person's list after its receiver said that it is gone for good.
type People interface {
	RemoveEndpoint(ctx context.Context, tenant, personID, channel, address string) error
}

// Receipts keeps how far messages came.
type Receipts interface {
	MarkDelivery(ctx context.Context, tenant, messageID, what string, at time.Time) error
}

// Deps are what outreach works with.
type Deps struct {
	Outbox     Outbox
	Company    Company
	Contacts   Contacts
	Cases      Cases
	Registry   Registry
	Words      *words.Renderer
	Channels   []Channel
	Log        *slog.Logger
	Registerer prometheus.Registerer

	// What may be missing.
	Households   Households       // nil: everybody lives alone
	Entitlements Entitlements     // nil: who pays is not known
	Incidents    Incidents        // nil: there are none
	Orders       Orders           // nil: there are none
	People       People           // nil: an endpoint that is gone stays on the person's list and each message to it dies
	Receipts     Receipts         // nil: how far a message came is not kept
	Seal         *seal.Seal       // nil: messages have no links
	Picture      Picture          // nil: messages have no picture
	Calendar     Calendar         // nil: orders have no entry for a calendar
	Now          func() time.Time // nil: time.Now
}

// Picture draws what a message about a case shows, as PNG; nil: nothing.
type Picture func(ctx context.Context, c *fleet.Case, p *fleet.Person) []byte

// Outreach is the loop over message rows. Make it with New.
type Outreach struct {
	config   Config
	deps     Deps
	now      func() time.Time
	channels map[string]Channel
	names    []string            // of the channels
	tellers  map[string]Operator // those of them that have a form of their own for operators
	metrics  *metrics
	circuits *circuits
	zones    zones
	bells    bells
}

// New returns an Outreach that does nothing until Run. The configuration must be valid.
func New(c Config, d Deps) *Outreach {
	o := &Outreach{config: c, deps: d, channels: map[string]Channel{}, tellers: map[string]Operator{}, metrics: newMetrics(d.Registerer)}
	o.circuits = newCircuits(c.CircuitAfter, c.CircuitWait, o.metrics.circuits)
	if o.now = d.Now; o.now == nil {
		o.now = time.Now
	}
	for _, ch := range d.Channels {
		o.channels[ch.Name()] = ch
		o.names = append(o.names, ch.Name())
		if op, ok := ch.(Operator); ok {
			o.tellers[ch.Name()] = op
		}
	}
	slices.Sort(o.names)
	o.bells = newBells(append(slices.Clone(o.names), operations))
	return o
}

// MarkDelivery notes a receipt, "delivered", "opened" or a verdict, and counts it.
func (o *Outreach) MarkDelivery(ctx context.Context, tenant, messageID, what string, at time.Time) error {
	if o.deps.Receipts == nil {
		return nil
	}
	err := o.deps.Receipts.MarkDelivery(ctx, tenant, messageID, what, at)
	if err == nil {
		o.metrics.receipts.WithLabelValues(what).Inc()
	}
	return err
}
