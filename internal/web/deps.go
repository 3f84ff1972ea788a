package web

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

// What the pages need from the rest of the program. All methods may be called concurrently; those with a context may wait
// for a database, the others answer from memory. Lists come newest first unless they say otherwise. What does not exist is
// a fleet error with CodeNotFound.
type (
	// Cases reads cases.
	Cases interface {
		Cases(ctx context.Context, f fleet.CaseFilter) ([]fleet.Case, error)
		Case(ctx context.Context, tenant, id string) (*fleet.Case, error)
	}
	// Stories reads what happened to a case, oldest first. Attachments come without their content.
	Stories interface {
		CaseAudit(ctx context.Context, tenant, caseID string) ([]fleet.Audit, error)
		CaseDeliveries(ctx context.Context, tenant, caseID string) ([]fleet.Delivery, error)
		CaseAnswers(ctx context.Context, tenant, caseID string) ([]fleet.Answer, error)
		Attachments(ctx context.Context, tenant, caseID string) ([]fleet.Attachment, error)
		Attachment(ctx context.Context, tenant, caseID, id string) (fleet.Attachment, error)
	}
	// Homes answers from memory who lives with somebody, who pays for what a case is about, and who could be sent.
	Homes interface {
		HouseholdOf(tenant, personID string) (fleet.Household, bool)
		Cover(d *fleet.Device, at time.Time, c *fleet.Case) fleet.Cover
		PartnersFor(d *fleet.Device) []*fleet.Partner
		Partner(tenant, id string) (*fleet.Partner, bool)
	}
	// Devices reads the registry: a page of devices and how many there are in all; a person.
	Devices interface {
		Devices(ctx context.Context, f fleet.DeviceFilter) ([]fleet.Device, int, error)
		Person(ctx context.Context, tenant, id string) (*fleet.Person, error)
	}
	// Models answers what a model's devices send and mean.
	Models interface {
		Model(id string) (*fleet.Model, bool)
	}
	// Mail reads messages: one person's inbox, everybody's, and what became of each message on each channel.
	Mail interface {
		Inbox(ctx context.Context, tenant, personID string, limit int) ([]fleet.Message, error)
		RecentMessages(ctx context.Context, tenant string, limit int) ([]fleet.Message, error)
		RecentDeliveries(ctx context.Context, tenant string, limit int) ([]fleet.Delivery, error)
	}
	// History reads time series. Series returns means over `every`, oldest first, nothing for an interval without readings.
	History interface {
		Series(ctx context.Context, key fleet.DeviceKey, model, field string, from, to time.Time, every time.Duration) ([]fleet.Point, error)
		Latest(ctx context.Context, key fleet.DeviceKey, model string) (fleet.Reading, error)
		LastSeen(ctx context.Context, tenant string, models []string) (map[string]time.Time, error)
	}
	// Doors reads what did not get in. Refusals are the latest, newest first, and the counts since the process started.
	Doors interface {
		Quarantined(ctx context.Context, f fleet.QuarantineFilter) ([]fleet.Quarantined, error)
		Refusals() (recent []fleet.Refusal, byReason map[string]uint64)
		Pulse() Pulse
	}
	// Mender tries again what was put aside, and says how good the reports are (rows of one UTC day each, since a day).
	Mender interface {
		Reingest(ctx context.Context, f fleet.QuarantineFilter) (fleet.Reingest, error)
		Quality(ctx context.Context, tenant, model string, since time.Time) ([]fleet.Quality, error)
	}
	// Commander sends commands; of the one to send, device, name and author are given.
	Commander interface {
		SendCommand(ctx context.Context, c fleet.Command) (fleet.Command, error)
		Commands(ctx context.Context, f fleet.CommandFilter) ([]fleet.Command, error)
	}
	// Care reads what rules know of a device besides its readings, and what a rule's named limit is for devices without one of
	// their own; false when there is no such limit.
	Care interface {
		Facts(ctx context.Context, key fleet.DeviceKey) (fleet.Facts, error)
		Limit(rule, name string) (usual float64, unit string, ok bool)
	}
	// Links knows whether a device can be reached; false when nothing was ever heard of it.
	Links interface {
		State(key fleet.DeviceKey) (fleet.Link, bool)
	}
	// Teller says a case in a person's words; words.Renderer is one.
	Teller interface {
		Render(in words.Input) words.Rendered
	}
	// Agent is what a person at the desk can do with a case. Do answers CodeConflict for what the table of states refuses; Can
	// asks the table beforehand.
	Agent interface {
		Do(ctx context.Context, a fleet.CaseAct) error
		Can(state fleet.CaseState, verb fleet.CaseVerb) bool
	}
	// Dispatcher sends service partners and calls them off; Orders lists work orders, newest first. Book returns the order that
	// is open already, if there is one; CodeNotFound: there is nobody to send.
	Dispatcher interface {
		Book(ctx context.Context, v Visit) (fleet.Order, error)
		Cancel(ctx context.Context, tenant, id, by, reason string, at time.Time) error
		Orders(ctx context.Context, f fleet.OrderFilter) ([]fleet.Order, error)
	}
	// Incidents reads and changes incidents; RefDeliveries are what became of the messages about one, oldest first. A version is what
	// the agent saw: CodeConflict when somebody else changed it since. Of one to declare, tenant, problem, model, firmware, batch,
	// title, news and next are given.
	Incidents interface {
		Incidents(ctx context.Context, f fleet.IncidentFilter) ([]fleet.Incident, error)
		Incident(ctx context.Context, tenant, id string) (*fleet.Incident, error)
		IncidentAudit(ctx context.Context, tenant, id string) ([]fleet.Audit, error)
		IncidentCases(ctx context.Context, tenant, id string, limit int) ([]fleet.Case, error)
		RefDeliveries(ctx context.Context, tenant, ref string) ([]fleet.Delivery, error)
		DeclareIncident(ctx context.Context, i fleet.Incident, actor, why string) (*fleet.Incident, error)
		EditIncident(ctx context.Context, tenant, id string, version int64, e fleet.IncidentEdit, actor, why string) error
		FixIncident(ctx context.Context, tenant, id string, version int64, actor, why string) error
		CloseIncident(ctx context.Context, tenant, id string, version int64, actor, why string) error
	}
	// Composer says what an owner would be sent; words.Renderer is one.
	Composer interface {
		Compose(l words.Letter) words.Composed
	}
	// Dead is what was given up, the latest first, and how it is tried again: under its own key, CodeConflict when it is not
	// given up (any more).
	Dead interface {
		DeadLetterList(ctx context.Context, tenant string, limit int) ([]fleet.DeadLetter, error)
		RetryDead(ctx context.Context, tenant, id string, at time.Time) error
	}
	// Feed is the live feed of notices. The channel is closed when the subscriber was too slow or the feed ends; cancel may
	// be called more than once. Hub is one.
	Feed interface {
		Subscribe() (notices <-chan fleet.Notice, cancel func())
	}
)

// Pulse is how much comes in.
type Pulse struct {
	PerMinute   float64   // readings stored a minute, of late
	LastReading time.Time // receipt time of the last one; zero: none yet
}

// Visit is what somebody who books a visit says.
type Visit struct {
	Tenant, CaseID string
	PartnerID      string    // empty: the best that serves the device
	From, To       time.Time // when; zero: the partner is asked for the next time that is usual
	Part           string    // to bring along; may be empty
	Note           string
	By             string // "agent:<name>"
	At             time.Time
}

// Deps is what New is given. All are required but Dispatcher, Registerer and Now.
type Deps struct {
	Cases      Cases
	Stories    Stories
	Devices    Devices
	Models     Models
	Mail       Mail
	History    History
	Doors      Doors
	Mender     Mender
	Commander  Commander
	Links      Links
	Care       Care
	Homes      Homes
	Agent      Agent
	Dispatcher Dispatcher // nil: visits are not booked here
	Incidents  Incidents
	Composer   Composer
	Dead       Dead
	Feed       Feed
	Teller     Teller
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	Now        func() time.Time      // nil: time.Now; the one clock of the pages
}
