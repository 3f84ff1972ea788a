// Package outreach tells people. It takes message rows that cases wrote into the outbox and decides when they are due, not
// when they were written: does it still hold, may we, whom, how, when, in which language. Then it sends through a channel,
// tries again for days, and records what became of it. It also relays record rows to the journal.
//
// It does not decide what a case is (cases), what a sentence says (words) or how a channel speaks (channel/...). Delivery is
// at least once with the same id on each try: a crash between sending and recording sends twice, and the id lets the receiver
// see it. The inbox is no channel: its message is saved in the transaction that ends the row, so it is there exactly once.
//
// App imports it, and channels for the interface and the error classes. It imports fleet and words.
package outreach

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

// Config bounds the loop and says when a phone stays quiet.
type Config struct {
	Poll        time.Duration `mapstructure:"poll" help:"how often to look for messages that are due"`
	Batch       int           `mapstructure:"batch" help:"messages taken at once for each channel"`
	Lease       time.Duration `mapstructure:"lease" help:"after so long a message that a killed process was sending is sent by another; at least outreach.send_timeout and a margin"`
	SendTimeout time.Duration `mapstructure:"send_timeout" help:"longest time of one try"`
	Workers     int           `mapstructure:"workers" help:"sends at once on each channel"`
	Queue       int           `mapstructure:"queue" help:"messages taken that wait on each channel"`
	// QuietFrom and QuietUntil are full hours in the person's zone between which a message below "fault" that is not about
	// safety is held on the QuietChannels. Equal hours: never.
	QuietFrom     int      `mapstructure:"quiet_from" help:"full hour, in the person's time zone, from which a phone stays quiet for what is neither a fault nor about safety"`
	QuietUntil    int      `mapstructure:"quiet_until" help:"full hour at which that ends; the same as quiet_from: never quiet"`
	QuietChannels []string `mapstructure:"quiet_channels" help:"channels that stay quiet then: those that ring"`
}

// DefaultConfig holds phone messages from 21 to 7 and looks once a second.
func DefaultConfig() Config {
	return Config{Poll: time.Second, Batch: 256, Lease: 45 * time.Second, SendTimeout: 20 * time.Second, Workers: 64, Queue: 256,
		QuietFrom: 21, QuietUntil: 7, QuietChannels: []string{"ntfy"}}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("outreach."+format, args...))
		}
	}
	bad(c.Poll <= 0, "poll %v: want more than 0", c.Poll)
	bad(c.Batch < 1, "batch %d: want at least 1", c.Batch)
	bad(c.SendTimeout <= 0, "send_timeout %v: want more than 0", c.SendTimeout)
	bad(c.Lease < c.SendTimeout+leaseMargin, "lease %v: want at least %v, the time of one try and a margin", c.Lease, c.SendTimeout+leaseMargin)
	bad(c.Workers < 1, "workers %d: want at least 1", c.Workers)
	bad(c.Queue < 1, "queue %d: want at least 1", c.Queue)
	bad(c.QuietFrom < 0 || c.QuietFrom > 23, "quiet_from %d: want an hour, 0 to 23", c.QuietFrom)
	bad(c.QuietUntil < 0 || c.QuietUntil > 23, "quiet_until %d: want an hour, 0 to 23", c.QuietUntil)
	return errors.Join(errs...)
}

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
// not tried; a lease alone counts nothing. LeaseChannel leases what is for one channel ("": for none yet), OutboxChannels says which
// channels rows are for.
type Outbox interface {
	LeaseOutbox(ctx context.Context, kind fleet.OutboxKind, now time.Time, lease time.Duration, limit int) ([]fleet.OutboxRow, error)
	LeaseChannel(ctx context.Context, channel string, now time.Time, lease time.Duration, limit int) ([]fleet.OutboxRow, error)
	OutboxChannels(ctx context.Context) ([]string, error)
	Deliver(ctx context.Context, id string, inbox *fleet.Message, d fleet.Delivery, follow []fleet.OutboxRow) error
	RetryOutbox(ctx context.Context, id string, due time.Time, errText string) error
	PutOffOutbox(ctx context.Context, id string, due time.Time, reason string) error
}

// Cases answers how a case is now (CodeNotFound: there is none) and what became of its messages so far.
type Cases interface {
	Case(ctx context.Context, tenant, id string) (*fleet.Case, error)
	CaseDeliveries(ctx context.Context, tenant, caseID string) ([]fleet.Delivery, error)
}

// Registry answers from memory; what it returns is not changed by anybody.
type Registry interface {
	Device(key fleet.DeviceKey) (*fleet.Device, bool)
	Person(tenant, id string) (*fleet.Person, bool)
}

// People takes an address off a person's list after its receiver said that it is gone for good.
type People interface {
	RemoveEndpoint(ctx context.Context, tenant, personID, channel, address string) error
}

// Deps are what outreach works with; all but People are needed.
type Deps struct {
	Outbox     Outbox
	Cases      Cases
	Registry   Registry
	Words      *words.Renderer
	Channels   []Channel
	People     People // nil: an endpoint that is gone stays on the person's list and each message to it dies
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // nil: time.Now
}

// Outreach is the loop over message rows. Make it with New.
type Outreach struct {
	config   Config
	deps     Deps
	now      func() time.Time
	channels map[string]Channel
	names    []string // of the channels
	metrics  *metrics
	bells    bells
}

// New returns an Outreach that does nothing until Run. The configuration must be valid.
func New(c Config, d Deps) *Outreach {
	o := &Outreach{config: c, deps: d, channels: map[string]Channel{}, metrics: newMetrics(d.Registerer)}
	if o.now = d.Now; o.now == nil {
		o.now = time.Now
	}
	for _, ch := range d.Channels {
		o.channels[ch.Name()] = ch
		o.names = append(o.names, ch.Name())
	}
	slices.Sort(o.names)
	o.bells = newBells(o.names)
	return o
}
