package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"aftercare/internal/fleet"
)

// sweepEvery is how often Run looks for rotations whose grace is over.
const sweepEvery = time.Minute

// Run looks for changes made by other processes, writes what Observed was told, and ends rotations, until ctx ends. An
// unreachable store is no reason to stop: what is in memory stays valid.
func (r *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Poll)
	defer tick.Stop()
	var failing bool
	var swept time.Time
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := r.WriteObserved(last); err != nil {
				r.log.Warn("registry could not write what firmware devices have; they will say it again", "err", err)
			}
			return nil
		case <-tick.C:
		}
		err := errors.Join(r.WriteObserved(ctx), r.Refresh(ctx))
		if now := r.now(); err == nil && now.Sub(swept) >= sweepEvery {
			swept, err = now, r.endRotations(ctx, now)
		}
		switch {
		case err == nil:
			failing = false
		case ctx.Err() == nil && !failing:
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
	if err := r.refreshPartners(ctx); err != nil {
		return nil, err
	}
	var devices []fleet.Device
	var credentials []fleet.Credential
	var keys []fleet.ProvisioningKey
	people := map[fleet.DeviceKey]*fleet.Person{}
	revision, err := r.store.LoadRegistry(ctx, r.revision,
		func(d fleet.Device) { devices = append(devices, d) },
		func(c fleet.Credential) { credentials = append(credentials, c) },
		func(p fleet.Person) { people[fleet.DeviceKey{Tenant: p.Tenant, Serial: p.ID}] = &p },
		func(k fleet.ProvisioningKey) { keys = append(keys, k) })
	if err != nil || revision == r.revision {
		return nil, err
	}
	r.takePeople(people)
	r.provisioning.put(keys)
	cut = r.take(devices, credentials)
	r.revision = revision
	r.wakeFacts()
	r.metrics.reloads.WithLabelValues("changed").Inc()
	r.metrics.devices.Set(float64(r.count))
	return cut, nil
}

// take puts changed devices in place and returns those that lost a credential.
func (r *Registry) take(devices []fleet.Device, credentials []fleet.Credential) (cut []fleet.DeviceKey) {
	r.putMu.Lock()
	defer r.putMu.Unlock()
	changed := r.merge(devices, credentials)
	for key, e := range changed {
		old, known := r.devices.get(key)
		if !known {
			r.count++
		} else if lostAccess(old, e) {
			cut = append(cut, key)
		}
	}
	r.takeOwners(changed)
	r.devices.put(changed)
	return cut
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
		d := devices[i]
		if version, ok := r.observed.pending[d.Key]; ok { // not written yet, and newer than what was
			d.Firmware = version
		}
		edit(d.Key).device = d
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

// lostAccess reports whether somebody who was let in before cannot log in any more. A secret that nobody ever used ends
// no session: first contact replaces such, and the session that asks for the new one has to live on.
func lostAccess(before, after *entry) bool {
	if after.device.Revoked {
		return !before.device.Revoked
	}
	for _, old := range before.credentials {
		if !old.RevokedAt.IsZero() {
			continue
		}
		for _, c := range after.credentials {
			if c.ID == old.ID && !c.RevokedAt.IsZero() && !c.UsedAt.IsZero() {
				return true
			}
		}
	}
	return false
}
