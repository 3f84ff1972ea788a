// Package registry knows which devices, models and people there are: who a device is, whether its secret is right, whom it
// belongs to. It answers from memory, because the doors and ingest ask for every connection and every message; SQL is
// behind it, and what another process changes there is noticed within seconds. It holds no telemetry and no cases.
//
// Only app and the command-line tools may import it. It imports fleet, words and obs.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
)

// Config says how the registry works.
type Config struct {
	KeyFile       string        `mapstructure:"key_file" help:"file with the key that device secrets are hashed with; empty: registry.key in the data folder; made when missing. Back it up with the database"`
	Poll          time.Duration `mapstructure:"poll" help:"how often to look for changes made by other processes, such as aftercare device revoke"`
	RotationGrace time.Duration `mapstructure:"rotation_grace" help:"how long a device's old secret goes on working after the new one was first used"`
}

// DefaultConfig keeps the key beside the default database, looks every two seconds and ends a rotation after a week.
func DefaultConfig() Config {
	return Config{KeyFile: "data/registry.key", Poll: 2 * time.Second, RotationGrace: 7 * 24 * time.Hour}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.KeyFile == "" {
		errs = append(errs, errors.New(`registry.key_file "": want the path of a file`))
	}
	if c.Poll < 100*time.Millisecond || c.Poll > 10*time.Minute {
		errs = append(errs, fmt.Errorf("registry.poll %v: want 100ms to 10m", c.Poll))
	}
	if c.RotationGrace < 0 || c.RotationGrace > 366*24*time.Hour {
		errs = append(errs, fmt.Errorf("registry.rotation_grace %v: want 0 to 366 days (8784h)", c.RotationGrace))
	}
	return errors.Join(errs...)
}

// Store is what the registry needs of SQL. Its methods are safe for concurrent use, and what they wrote is durable when
// they return.
type Store interface {
	// LoadRegistry hands over all that was written after revision since, from one snapshot, and returns the revision to
	// ask with the next time. When nothing was written it is cheap.
	LoadRegistry(ctx context.Context, since int64, device func(fleet.Device), credential func(fleet.Credential),
		person func(fleet.Person), key func(fleet.ProvisioningKey)) (int64, error)
	// SaveRegistry makes or replaces all of it in one transaction, the security events with it, as everywhere below. A device
	// whose OwnerID is empty keeps the owner it has; of one that gets another, OwnedSince is when.
	SaveRegistry(ctx context.Context, devices []fleet.Device, credentials []fleet.Credential, people []fleet.Person,
		events ...fleet.SecurityEvent) error
	// RevokeCredentials ends all credentials of a device but the one named keep; with an empty keep it marks the device
	// revoked too. CodeNotFound if there is no such device.
	RevokeCredentials(ctx context.Context, key fleet.DeviceKey, keep string, at time.Time, events ...fleet.SecurityEvent) error
	// EndCredentials ends exactly the credentials named.
	EndCredentials(ctx context.Context, key fleet.DeviceKey, ids []string, at time.Time, events ...fleet.SecurityEvent) error
	// MarkUsed keeps when credentials were first used, of those that are valid and were not used before; one without a hash
	// is added.
	MarkUsed(ctx context.Context, credentials []fleet.Credential) error
	// SetFirmware changes nothing else of the devices.
	SetFirmware(ctx context.Context, firmware map[fleet.DeviceKey]string) error
	Provisioning
	Facts
	People
	Owners
	Sessions
	Newcomers
	Partners
}

// Provisioning is what first contact and claiming need of SQL.
type Provisioning interface {
	SaveProvisioning(ctx context.Context, k fleet.ProvisioningKey, events ...fleet.SecurityEvent) error
	// FirstContact decides in the transaction whether the device may have credential c, and is CodeDenied if not.
	FirstContact(ctx context.Context, d fleet.Device, c fleet.Credential, events ...fleet.SecurityEvent) error
	// SaveClaimCodes is CodeConflict if another device has one of the codes.
	SaveClaimCodes(ctx context.Context, codes []fleet.ClaimCode, events ...fleet.SecurityEvent) error
	// Claim makes a person the owner of the device of the code; CodeNotFound without a valid code, CodeConflict if it is
	// somebody else's and the code was not made for a transfer.
	Claim(ctx context.Context, tenant string, hash []byte, personID string, e fleet.SecurityEvent) (fleet.DeviceKey, error)
	// SecurityEvents returns events of a tenant, newest first.
	SecurityEvents(ctx context.Context, f fleet.SecurityFilter) ([]fleet.SecurityEvent, error)
}

// Deps is what the registry is built on.
type Deps struct {
	Store      Store
	Models     []fleet.Model
	Warranty   *Terms // nil: what the registry says of a device is all that is known
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // nil means time.Now
}

// Registry is the look-up. Reads take no lock and allocate nothing. What they return is shared: never change it.
type Registry struct {
	cfg     Config
	store   Store
	log     *slog.Logger
	now     func() time.Time
	metrics *metrics
	key     []byte
	models  map[string]*fleet.Model
	terms   *Terms

	components atomic.Pointer[func(rule string) string]

	devices      shards[*entry]
	people       shards[*fleet.Person] // by tenant and person id
	households   shards[[]*fleet.Person]
	owned        shards[[]fleet.DeviceKey] // by tenant and person id
	provisioning provisioningKeys
	partners     partners

	mu       sync.Mutex // one refresh at a time
	revision int64
	count    int // devices

	putMu    sync.Mutex    // whoever changes devices; never held while waiting for the store
	changed  chan struct{} // holds one token when there may be facts to send
	told     time.Time     // of the facts that were sent last; only SendFacts
	observed observations
	uses     uses
	hooksMu  sync.Mutex
	hooks    []func(fleet.DeviceKey)
	lastMiss atomic.Int64 // unix nanoseconds of the last reload that a failed log-in caused
}

// entry is a device with its credentials, replaced as a whole.
type entry struct {
	device      fleet.Device
	credentials []fleet.Credential
}

// New loads everything from the store, and the installation's key. A missing key is made, unless there are credentials: those
// would be worthless under a new one, so that is an error.
func New(ctx context.Context, cfg Config, d Deps) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Registry{cfg: cfg, store: d.Store, log: d.Log, now: d.Now, metrics: newMetrics(d.Registerer), terms: d.Warranty,
		models: make(map[string]*fleet.Model, len(d.Models))}
	if r.now == nil {
		r.now = time.Now
	}
	r.devices.init()
	r.people.init()
	r.households.init()
	r.owned.init()
	r.observed.pending = map[fleet.DeviceKey]string{}
	r.uses.writing = make(chan struct{}, 1)
	r.changed = make(chan struct{}, 1)
	for i := range d.Models {
		r.models[d.Models[i].ID] = &d.Models[i]
	}
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	var err error
	if r.key, err = installationKey(cfg.KeyFile, !r.anyCredential()); err != nil {
		return nil, err
	}
	r.warnOfUnknownModels()
	return r, nil
}

func (r *Registry) anyCredential() bool {
	if r.provisioning.any() {
		return true
	}
	for e := range r.devices.all() {
		if len(e.credentials) > 0 {
			return true
		}
	}
	return false
}

func (r *Registry) warnOfUnknownModels() {
	missing := map[string]int{}
	for e := range r.devices.all() {
		if _, ok := r.models[e.device.Model]; !ok {
			missing[e.device.Model]++
		}
	}
	for model, n := range missing {
		r.log.Warn("registered devices of a model without a profile: what they send is put in quarantine", "model", model, "devices", n)
	}
}

// Device returns a registered device, revoked ones too.
func (r *Registry) Device(key fleet.DeviceKey) (*fleet.Device, bool) {
	e, ok := r.devices.get(key)
	if !ok {
		return nil, false
	}
	return &e.device, true
}

// Devices calls yield for every device of every tenant, in no order, until it returns false.
func (r *Registry) Devices(yield func(*fleet.Device) bool) {
	for e := range r.devices.all() {
		if !yield(&e.device) {
			return
		}
	}
}

// Credentials returns what is kept of a device's credentials, ended ones too, in no order.
func (r *Registry) Credentials(key fleet.DeviceKey) []fleet.Credential {
	e, ok := r.devices.get(key)
	if !ok {
		return nil
	}
	return append([]fleet.Credential(nil), e.credentials...)
}

// SecurityEvents returns who changed what about access, newest first.
func (r *Registry) SecurityEvents(ctx context.Context, f fleet.SecurityFilter) ([]fleet.SecurityEvent, error) {
	return r.store.SecurityEvents(ctx, f)
}

// Model returns a model's profile.
func (r *Registry) Model(id string) (*fleet.Model, bool) {
	m, ok := r.models[id]
	return m, ok
}

// SpeaksFor reports whether somebody who logged in as identity may publish for a serial of the same tenant: its own, or that
// of a device whose parent it is. Nobody speaks for a revoked device.
func (r *Registry) SpeaksFor(identity fleet.DeviceKey, serial string) bool {
	e, ok := r.devices.get(fleet.DeviceKey{Tenant: identity.Tenant, Serial: serial})
	if !ok || e.device.Revoked {
		return false
	}
	return serial == identity.Serial || (e.device.Parent != "" && e.device.Parent == identity.Serial)
}

// OnRevoke adds a function that is called, outside all locks, for every device of which a credential stopped being valid:
// its live sessions have to end. It may be called from any goroutine and must not block for long.
func (r *Registry) OnRevoke(fn func(fleet.DeviceKey)) {
	r.hooksMu.Lock()
	defer r.hooksMu.Unlock()
	r.hooks = append(r.hooks, fn)
}
