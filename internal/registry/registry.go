// Package registry knows which devices, models and people there are: who a device is, whether its secret is right, whom it
// belongs to. It answers from memory, because the doors and ingest ask for every connection and every message; SQL is
// behind it, and what another process changes there is noticed within seconds. It holds no telemetry and no cases.
//
// Only app and the command-line tools may import it. It imports fleet and obs.
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
	KeyFile string        `mapstructure:"key_file"` // the installation's key for device secrets; made when it is missing
	Poll    time.Duration `mapstructure:"poll"`     // how often to look for changes made by other processes
}

// DefaultConfig keeps the key beside the default database and looks every two seconds.
func DefaultConfig() Config { return Config{KeyFile: "data/registry.key", Poll: 2 * time.Second} }

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.KeyFile == "" {
		errs = append(errs, errors.New(`registry.key_file "": want the path of a file`))
	}
	if c.Poll < 100*time.Millisecond || c.Poll > 10*time.Minute {
		errs = append(errs, fmt.Errorf("registry.poll %v: want 100ms to 10m", c.Poll))
	}
	return errors.Join(errs...)
}

// Store is what the registry needs of SQL. Its methods are safe for concurrent use, and what they wrote is durable when
// they return.
type Store interface {
	// LoadRegistry hands over all that was written after revision since, from one snapshot, and returns the revision to
	// ask with the next time. When nothing was written it is cheap.
	LoadRegistry(ctx context.Context, since int64, device func(fleet.Device), credential func(fleet.Credential),
		person func(fleet.Person)) (int64, error)
	// SaveRegistry makes or replaces all of it in one transaction.
	SaveRegistry(ctx context.Context, devices []fleet.Device, credentials []fleet.Credential, people []fleet.Person) error
	// RevokeCredentials ends all credentials of a device but the one named keep; with an empty keep it marks the device
	// revoked too. CodeNotFound if there is no such device.
	RevokeCredentials(ctx context.Context, key fleet.DeviceKey, keep string, at time.Time) error
}

// Deps is what the registry is built on.
type Deps struct {
	Store      Store
	Models     []fleet.Model
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

	devices shards[*entry]
	people  shards[*fleet.Person] // by tenant and person id

	mu       sync.Mutex // one refresh at a time
	revision int64
	count    int // devices
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
	r := &Registry{cfg: cfg, store: d.Store, log: d.Log, now: d.Now, metrics: newMetrics(d.Registerer),
		models: make(map[string]*fleet.Model, len(d.Models))}
	if r.now == nil {
		r.now = time.Now
	}
	r.devices.init()
	r.people.init()
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

// Person returns a person.
func (r *Registry) Person(tenant, id string) (*fleet.Person, bool) {
	return r.people.get(fleet.DeviceKey{Tenant: tenant, Serial: id})
}

// Owner returns the person who hears of a device; false if nobody has claimed it.
func (r *Registry) Owner(_ context.Context, key fleet.DeviceKey) (*fleet.Person, bool) {
	d, ok := r.Device(key)
	if !ok || d.OwnerID == "" {
		return nil, false
	}
	return r.Person(key.Tenant, d.OwnerID)
}

// OnRevoke adds a function that is called, outside all locks, for every device of which a credential stopped being valid:
// its live sessions have to end. It may be called from any goroutine and must not block for long.
func (r *Registry) OnRevoke(fn func(fleet.DeviceKey)) {
	r.hooksMu.Lock()
	defer r.hooksMu.Unlock()
	r.hooks = append(r.hooks, fn)
}

// Run looks for changes made by other processes until ctx ends. An unreachable store is no reason to stop: what is in
// memory stays valid.
func (r *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Poll)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := r.Refresh(ctx)
		switch {
		case err == nil:
			failing = false
		case ctx.Err() != nil:
			return nil
		case !failing:
			failing = true
			r.log.Warn("registry does not see changes; going on with what is known", "err", err)
		}
	}
}

// Refresh takes in what was written since the last time, by whichever process.
func (r *Registry) Refresh(ctx context.Context) error {
	cut, err := r.refresh(ctx)
	if err != nil {
		r.metrics.reloads.WithLabelValues("failed").Inc()
		return fmt.Errorf("refresh registry: %w", err)
	}
	r.hooksMu.Lock()
	hooks := r.hooks[:len(r.hooks):len(r.hooks)]
	r.hooksMu.Unlock()
	for _, key := range cut {
		for _, fn := range hooks {
			fn(key)
		}
	}
	return nil
}

// refresh returns the devices that lost a credential.
func (r *Registry) refresh(ctx context.Context) (cut []fleet.DeviceKey, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var devices []fleet.Device
	var credentials []fleet.Credential
	people := map[fleet.DeviceKey]*fleet.Person{}
	revision, err := r.store.LoadRegistry(ctx, r.revision,
		func(d fleet.Device) { devices = append(devices, d) },
		func(c fleet.Credential) { credentials = append(credentials, c) },
		func(p fleet.Person) { people[fleet.DeviceKey{Tenant: p.Tenant, Serial: p.ID}] = &p })
	if err != nil || revision == r.revision {
		return nil, err
	}
	changed := r.merge(devices, credentials)
	for key, e := range changed {
		old, known := r.devices.get(key)
		if !known {
			r.count++
		} else if lostAccess(old, e) {
			cut = append(cut, key)
		}
	}
	r.people.put(people)
	r.devices.put(changed)
	r.revision = revision
	r.metrics.reloads.WithLabelValues("changed").Inc()
	r.metrics.devices.Set(float64(r.count))
	return cut, nil
}

// merge makes the new entries of the devices that changed. A device comes with only those credentials that changed.
func (r *Registry) merge(devices []fleet.Device, credentials []fleet.Credential) map[fleet.DeviceKey]*entry {
	changed := make(map[fleet.DeviceKey]*entry, len(devices))
	edit := func(key fleet.DeviceKey) *entry {
		e, ok := changed[key]
		if !ok {
			e = &entry{}
			if old, known := r.devices.get(key); known {
				e.device = old.device
				e.credentials = append(e.credentials, old.credentials...)
			}
			changed[key] = e
		}
		return e
	}
	for i := range devices {
		edit(devices[i].Key).device = devices[i]
	}
	for _, c := range credentials {
		e := edit(c.Device)
		e.credentials = append(withoutCredential(e.credentials, c.ID), c)
	}
	return changed
}

func withoutCredential(cs []fleet.Credential, id string) []fleet.Credential {
	out := make([]fleet.Credential, 0, len(cs)+1)
	for _, c := range cs {
		if c.ID != id {
			out = append(out, c)
		}
	}
	return out
}

// lostAccess reports whether somebody who could log in before cannot any more.
func lostAccess(before, after *entry) bool {
	if after.device.Revoked {
		return !before.device.Revoked
	}
	for _, old := range before.credentials {
		if !old.RevokedAt.IsZero() {
			continue
		}
		for _, c := range after.credentials {
			if c.ID == old.ID && !c.RevokedAt.IsZero() {
				return true
			}
		}
	}
	return false
}
