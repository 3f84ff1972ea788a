// Package api is what programs talk to: REST under /api/v1 with an OpenAPI 3.1 document made from the Go types. It shows and
// does what the desk shows and does, for one tenant. It is not where access is checked: app wraps it with the guard of
// package web; and it renders nothing for people.
//
// Only app may import it. It imports fleet.
package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/time/rate"

	"aftercare/internal/fleet"
)

// Prefix is where the API lives.
const Prefix = "/api/v1"

// What the API needs from the rest of the program; see package web for the same words. All methods may be called
// concurrently. What does not exist is a fleet error with CodeNotFound.
type (
	// Cases reads cases, a page at a time.
	Cases interface {
		Cases(ctx context.Context, f fleet.CaseFilter) ([]fleet.Case, error)
		Case(ctx context.Context, tenant, id string) (*fleet.Case, error)
		Counts
	}
	// Counts are what the database counts: devices by category, and the highest severity of each device with an open case.
	Counts interface {
		CategoryCounts(ctx context.Context, tenant string) (map[string]int, error)
		OpenCasesByDevice(ctx context.Context, tenant string) (map[string]fleet.Severity, error)
	}
	// Stories reads what happened to a case, oldest first.
	Stories interface {
		CaseAudit(ctx context.Context, tenant, caseID string) ([]fleet.Audit, error)
		CaseDeliveries(ctx context.Context, tenant, caseID string) ([]fleet.Delivery, error)
	}
	// Devices reads the registry: a page of devices and how many there are.
	Devices interface {
		Devices(ctx context.Context, f fleet.DeviceFilter) ([]fleet.Device, int, error)
	}
	// Models answers what a model's devices send.
	Models interface {
		Model(id string) (*fleet.Model, bool)
	}
	// Mail reads messages, newest first.
	Mail interface {
		RecentMessages(ctx context.Context, tenant string, limit int) ([]fleet.Message, error)
		RecentDeliveries(ctx context.Context, tenant string, limit int) ([]fleet.Delivery, error)
	}
	// History reads time series.
	History interface {
		Series(ctx context.Context, key fleet.DeviceKey, model, field string, from, to time.Time, every time.Duration) ([]fleet.Point, error)
		Latest(ctx context.Context, key fleet.DeviceKey, model string) (fleet.Reading, error)
	}
	// Doors reads what did not get in, newest first.
	Doors interface {
		Quarantined(ctx context.Context, f fleet.QuarantineFilter) ([]fleet.Quarantined, error)
		Refusals() (recent []fleet.Refusal, byReason map[string]uint64)
	}
	// Mender tries again what was put aside, and says how good the reports are (rows of one UTC day each, since a day).
	Mender interface {
		Reingest(ctx context.Context, f fleet.QuarantineFilter) (fleet.Reingest, error)
		Quality(ctx context.Context, tenant, model string, since time.Time) ([]fleet.Quality, error)
	}
	// Commander sends commands. Of the command to send, device, name, arguments, expiry (zero: the default), author and, if
	// the caller has one, id are given.
	Commander interface {
		SendCommand(ctx context.Context, c fleet.Command) (fleet.Command, error)
		CancelCommand(ctx context.Context, tenant, id, by string) error
		Command(ctx context.Context, tenant, id string) (fleet.Command, []fleet.CommandAudit, error)
		Commands(ctx context.Context, f fleet.CommandFilter) ([]fleet.Command, error)
	}
	// Provisioner registers devices and makes and ends their credentials.
	Provisioner interface {
		Register(ctx context.Context, d fleet.Device) (secret string, err error)
		ImportCSV(ctx context.Context, tenant string, r io.Reader, firstContact bool) (fleet.ImportReport, error)
		Rotate(ctx context.Context, key fleet.DeviceKey) (secret string, err error)
		FinishRotation(ctx context.Context, key fleet.DeviceKey) error
		Revoke(ctx context.Context, key fleet.DeviceKey) error
	}
	// Claims hands out the codes and secrets with which owners and devices make themselves known.
	Claims interface {
		ClaimCode(ctx context.Context, key fleet.DeviceKey) (code string, expires time.Time, err error)
		Claim(ctx context.Context, tenant, code, person string) (fleet.DeviceKey, error)
		CreateProvisioning(ctx context.Context, tenant, model string, open bool) (id, secret string, err error)
		ProvisioningKeys(tenant string) []fleet.ProvisioningKey
		RevokeProvisioning(ctx context.Context, tenant, id string) error
	}
	// Rules puts rule packs in force, nil meaning those of the server's folder; with a mistake in them nothing changes. It
	// returns what is in force then, and whether that is new.
	Rules interface {
		ActivateRules(ctx context.Context, packs map[string]string) (a fleet.RuleActivation, changed bool, problems []fleet.Problem, err error)
	}
	// Past is what rules went by: what is known of a device, and what came from it (oldest first, the newest limit of
	// it; cut: there is more). RulesInForce is the hash of the rules in force.
	Past interface {
		Facts(ctx context.Context, key fleet.DeviceKey) (fleet.Facts, error)
		Readings(ctx context.Context, key fleet.DeviceKey, model string, from, to time.Time, limit int) (rs []fleet.Reading, cut bool, err error)
		RulesInForce() string
	}
	// Links knows whether a device can be reached; false when nothing was ever heard of it.
	Links interface {
		State(key fleet.DeviceKey) (fleet.Link, bool)
	}
	// Agent acts on cases.
	Agent interface {
		Acknowledge(ctx context.Context, tenant, caseID, actor string) error
		Resolve(ctx context.Context, tenant, caseID, actor, outcome, note string) error
		Comment(ctx context.Context, tenant, caseID, actor, text string) error
	}
)

// Config says whose rows the API shows and which version it names in its document.
type Config struct {
	Tenant  string
	Version string
}

// Deps is what New is given; all but Now are required.
type Deps struct {
	Cases       Cases
	Stories     Stories
	Devices     Devices
	Models      Models
	Mail        Mail
	History     History
	Doors       Doors
	Mender      Mender
	Commander   Commander
	Provisioner Provisioner
	Claims      Claims
	Rules       Rules
	Past        Past
	Links       Links
	Agent       Agent
	Incidents   Incidents
	People      People
	Wishes      Wishes
	Belongings  Belongings
	Partners    Partners
	Orders      Orders
	Dead        Dead
	Log         *slog.Logger
	Now         func() time.Time // nil: time.Now
}

type api struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	now  func() time.Time

	claims *rate.Limiter
}

// New returns the API's handler, for paths that begin with Prefix. The document is at Prefix + "/openapi.json" and ".yaml";
// there is no page for it, because such pages load scripts from elsewhere.
func New(cfg Config, deps Deps) http.Handler {
	mux := http.NewServeMux()
	c := huma.DefaultConfig("aftercare", cfg.Version)
	c.OpenAPIPath = Prefix + "/openapi"
	c.DocsPath, c.SchemasPath = "", ""
	c.CreateHooks = nil // they add a $schema link to every answer
	c.Info.Description = "Devices, their readings, cases and messages of one tenant. Errors are application/problem+json."
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", Description: "The token of the start-up link."}}
	c.Security = []map[string][]string{{"token": {}}}
	h := humago.New(mux, c)
	a := &api{cfg: cfg, deps: deps, log: deps.Log, now: deps.Now}
	if a.now == nil {
		a.now = time.Now
	}
	a.devices(h)
	a.cases(h)
	a.incidents(h)
	a.more(h)
	a.quarantine(h)
	a.commands(h)
	a.provisioning(h)
	a.people(h)
	a.partners(h)
	a.orders(h)
	a.rules(h)
	a.dead(h)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"title":"Not Found","status":404,"detail":"There is no such path; see ` + Prefix + `/openapi.json."}` + "\n"))
	})
	return noStore(mux)
}

func noStore(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (a *api) operation(id, method, path, summary string, codes ...int) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: Prefix + path, Summary: summary, Errors: append([]int{401, 500}, codes...)}
}

var statusOf = map[fleet.Code]int{
	fleet.CodeInvalid: http.StatusBadRequest, fleet.CodeNotFound: http.StatusNotFound, fleet.CodeConflict: http.StatusConflict,
	fleet.CodeDuplicate: http.StatusConflict, fleet.CodeDenied: http.StatusForbidden, fleet.CodeBusy: http.StatusServiceUnavailable,
}

// failed translates an error once: its code to a status. The text of an internal error stays in the log.
func (a *api) failed(op string, err error) error {
	if errors.Is(err, context.Canceled) {
		return huma.NewError(499, "the client left")
	}
	status, ok := statusOf[fleet.CodeOf(err)]
	if !ok {
		a.log.Error("api", "operation", op, "err", err)
		return huma.Error500InternalServerError("A part of the server failed; its log says which.")
	}
	return huma.NewError(status, err.Error())
}

// ours refuses other tenants' rows as if they did not exist.
func (a *api) ours(tenant string) error {
	if tenant != a.cfg.Tenant {
		return fleet.Errorf(fleet.CodeNotFound, "no tenant %q here", tenant)
	}
	return nil
}

// moment is a time that is left out when it is not known.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
