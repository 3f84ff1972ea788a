package owner

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
)

// What the pages need from the rest of the program. All methods may be called concurrently; those with a context may wait for a
// database, the others answer from memory. What does not exist is a fleet error with CodeNotFound.
type (
	// People reads who people are.
	People interface {
		Person(tenant, id string) (*fleet.Person, bool)
		Household(tenant, id string) (fleet.Household, bool)
	}
	// Wishes changes how a person is called and wants to hear. Of SetProfile's person name, locale, zone and the time of the digest
	// count. An empty Want takes a wish back. AddEndpoint replaces one with the same channel and address where it stands.
	Wishes interface {
		SetProfile(ctx context.Context, p fleet.Person) error
		SetPreferences(ctx context.Context, tenant, personID string, wishes ...fleet.Preference) error
		AddEndpoint(ctx context.Context, tenant, personID string, e fleet.Endpoint) error
		RemoveEndpoint(ctx context.Context, tenant, personID, channel, address string) error
		PreferEndpoint(ctx context.Context, tenant, personID, channel, address string) error // it comes first from now on
	}
	// Consents keeps what a person agreed to, word for word: all of them, oldest first.
	Consents interface {
		Consents(ctx context.Context, tenant, personID string) ([]fleet.Consent, error)
		GiveConsent(ctx context.Context, tenant, personID string, purpose fleet.Purpose, text, source string) error
		WithdrawConsent(ctx context.Context, tenant, personID string, purpose fleet.Purpose) error
	}
	// Homes says who lives together. UseLink is CodeDenied the second time. NewMember makes a person of a household; its locale and
	// zone are wanted.
	Homes interface {
		SetHousehold(ctx context.Context, tenant, personID, household string, rank int) error
		NewMember(ctx context.Context, p fleet.Person) (fleet.Person, error)
		UseLink(ctx context.Context, tenant, id string, expires time.Time) error
	}
	// Claims makes people owners. ClaimAs with a person without an ID makes the person too, or neither. CodeInvalid: not a code.
	// CodeNotFound: no such code, used or expired. CodeConflict: the device is somebody else's.
	Claims interface {
		ClaimAs(ctx context.Context, typed string, p fleet.Person) (personID string, device fleet.DeviceKey, err error)
		// TransferCode makes a code that hands the device on to whoever types it.
		TransferCode(ctx context.Context, key fleet.DeviceKey, expires time.Time) (string, error)
	}
	// Sessions keeps who is signed in. The token is what the browser keeps. OpenSessionByLink uses up the link: the second time is
	// CodeDenied. UseSession is CodeDenied for a token that opens nothing (any more). RevokeSession with an empty id ends all of the
	// person's.
	Sessions interface {
		OpenSession(ctx context.Context, tenant, personID, agent string, ttl time.Duration) (token string, err error)
		OpenSessionByLink(ctx context.Context, tenant, personID, agent string, ttl time.Duration, link string, expires time.Time) (token string, err error)
		UseSession(ctx context.Context, token string) (*fleet.Session, error)
		Sessions(ctx context.Context, tenant, personID string) ([]fleet.Session, error)
		RevokeSession(ctx context.Context, tenant, personID, id string) error
	}
	// Things reads devices and what is known of them.
	Things interface {
		Device(key fleet.DeviceKey) (*fleet.Device, bool)
		DevicesOf(tenant, personID string) []*fleet.Device
		Cover(d *fleet.Device, at time.Time, c *fleet.Case) fleet.Cover
		PutAway(ctx context.Context, key fleet.DeviceKey) (since time.Time, away bool, err error)
	}
	// Keeper changes devices as their owners may: what it is called, where it stands, whether it is in use.
	Keeper interface {
		NameDevice(ctx context.Context, key fleet.DeviceKey, name, room string) error
		SetAway(ctx context.Context, key fleet.DeviceKey, away bool) error
	}
	// Models answers what a model's devices send and mean.
	Models interface {
		Model(id string) (*fleet.Model, bool)
	}
	// Links knows whether a device can be reached; false when nothing was ever heard of it.
	Links interface {
		State(key fleet.DeviceKey) (fleet.Link, bool)
	}
	// Cases reads cases.
	Cases interface {
		Cases(ctx context.Context, f fleet.CaseFilter) ([]fleet.Case, error)
		Case(ctx context.Context, tenant, id string) (*fleet.Case, error)
	}
	// Mail reads a person's messages and what she answered. The id may be that of the same message on another channel.
	Mail interface {
		Inbox(ctx context.Context, tenant, personID string, limit int) ([]fleet.Message, error)
		Message(ctx context.Context, tenant, personID, id string) (*fleet.Message, error)
		AnswersTo(ctx context.Context, tenant, personID, messageID string) ([]fleet.Answer, error)
		MarkRead(ctx context.Context, tenant, personID, id string, at time.Time) error
	}
	// Receipts notes that a message arrived ("delivered") or was opened ("opened").
	Receipts interface {
		MarkDelivery(ctx context.Context, tenant, messageID, what string, at time.Time) error
	}
	// Answers takes a verdict to its case. The same one twice is no error.
	Answers interface {
		Answer(ctx context.Context, a fleet.Answer) error
	}
	// History reads time series: means over `every`, oldest first, nothing for an interval without readings.
	History interface {
		Series(ctx context.Context, key fleet.DeviceKey, model, field string, from, to time.Time, every time.Duration) ([]fleet.Point, error)
	}
	// Push is the server's end of Web Push. Key is its public key (base64url, uncompressed P-256); empty: push is off. Accepts is
	// CodeInvalid for an address that no push service known to us has.
	Push interface {
		Key() string
		Accepts(endpoint string) error
	}
	// Tester sends one message to one endpoint at once.
	Tester interface {
		Try(ctx context.Context, m fleet.Message, e fleet.Endpoint) error
	}
)

// Deps is what New is given. All are required but Orders, Registerer and Now.
type Deps struct {
	People   People
	Wishes   Wishes
	Consents Consents
	Homes    Homes
	Claims   Claims
	Sessions Sessions
	Things   Things
	Keeper   Keeper
	Models   Models
	Links    Links
	Cases    Cases
	Mail     Mail
	Receipts Receipts // nil: nobody keeps how far messages came
	Answers  Answers
	History  History // nil: no charts
	Push     Push
	Tester   Tester
	Email    bool         // e-mails can be sent
	Orders   http.Handler // /order/{seal}, for service partners; nil: there are none

	Tenant     string // whose codes are claimed here
	Key        []byte // of the links; the forms are sealed with one made of it
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	Now        func() time.Time      // nil: time.Now
}
