package registry

import (
	"context"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Owners is what the registry needs of SQL for whose a device is.
type Owners interface {
	// SetOwner gives a device to a person, or to nobody; the event is completed with from whom. CodeNotFound: no such device.
	SetOwner(ctx context.Context, key fleet.DeviceKey, personID string, e fleet.SecurityEvent) error
	// Ownerships returns whose a device was and when, oldest first; of one person only if one is named.
	Ownerships(ctx context.Context, key fleet.DeviceKey, personID string) ([]fleet.Ownership, error)
}

// TransferExpiry is how long a code is good that gives a device away.
const TransferExpiry = 7 * 24 * time.Hour

// SetOwner gives a device to a person, or to nobody with an empty id. It closes the ownership before: the new owner sees and hears
// nothing of the time before this moment. A device that is hers already stays so. What the device may do does not
// change.
func (r *Registry) SetOwner(ctx context.Context, key fleet.DeviceKey, personID string) error {
	e, err := r.current(ctx, key)
	if err != nil {
		return err
	}
	if e.device.Revoked && personID != "" {
		return fleet.Errorf(fleet.CodeInvalid, "device %q is revoked", key)
	}
	if _, ok := r.Person(key.Tenant, personID); !ok && personID != "" {
		return fleet.Errorf(fleet.CodeNotFound, "person %q is not registered", personID)
	}
	if err := r.store.SetOwner(ctx, key, personID, r.event(actor(ctx), fleet.ActionOwner, key, "")); err != nil {
		return err
	}
	r.takeIn(ctx)
	return nil
}

// TransferCodes makes claim codes that also work for devices that belong to somebody: with them their owners give them away. They
// take the place of codes the devices had.
func (r *Registry) TransferCodes(ctx context.Context, keys []fleet.DeviceKey, expires time.Time) (map[fleet.DeviceKey]string, error) {
	return r.claimCodes(ctx, keys, expires, true)
}

// TransferCode is TransferCodes for one device.
func (r *Registry) TransferCode(ctx context.Context, key fleet.DeviceKey, expires time.Time) (string, error) {
	codes, err := r.TransferCodes(ctx, []fleet.DeviceKey{key}, expires)
	return codes[key], err
}

// Owned returns from when to when a device was a person's, oldest first: whoever shows its past shows nothing else. An empty id
// stands for everybody.
func (r *Registry) Owned(ctx context.Context, key fleet.DeviceKey, personID string) ([]fleet.Ownership, error) {
	return r.store.Ownerships(ctx, key, personID)
}

// DevicesOf returns the devices of a person that are not revoked, ordered by serial.
func (r *Registry) DevicesOf(tenant, personID string) (out []*fleet.Device) {
	keys, _ := r.owned.get(fleet.DeviceKey{Tenant: tenant, Serial: personID})
	for _, k := range keys {
		if d, ok := r.Device(k); ok && !d.Revoked && d.OwnerID == personID {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b *fleet.Device) int { return strings.Compare(a.Key.Serial, b.Key.Serial) })
	return out
}

// takeOwners puts in place who owns the devices that changed.
func (r *Registry) takeOwners(changed map[fleet.DeviceKey]*entry) {
	next := map[fleet.DeviceKey][]fleet.DeviceKey{}
	of := func(tenant, person string) fleet.DeviceKey {
		k := fleet.DeviceKey{Tenant: tenant, Serial: person}
		if _, ok := next[k]; !ok {
			have, _ := r.owned.get(k)
			next[k] = slices.Clone(have)
		}
		return k
	}
	for key, e := range changed {
		before := ""
		if old, ok := r.devices.get(key); ok {
			before = old.device.OwnerID
		}
		if before == e.device.OwnerID {
			continue
		}
		if before != "" {
			k := of(key.Tenant, before)
			next[k] = slices.DeleteFunc(next[k], func(d fleet.DeviceKey) bool { return d == key })
		}
		if e.device.OwnerID != "" {
			k := of(key.Tenant, e.device.OwnerID)
			next[k] = append(next[k], key)
		}
	}
	r.owned.put(next)
}

// NewOwner makes a person of a tenant for somebody who has no account yet. Of the profile the locale and the zone are wanted, the
// name may be empty; the id is made here.
func (r *Registry) NewOwner(ctx context.Context, tenant string, profile fleet.Person) (fleet.Person, error) {
	p := newOwner(tenant, profile)
	if err := r.SavePeople(ctx, []fleet.Person{p}); err != nil {
		return fleet.Person{}, err
	}
	return p, nil
}

// NewMember makes a person who lives in a household, as NewOwner does one who lives alone.
func (r *Registry) NewMember(ctx context.Context, profile fleet.Person) (fleet.Person, error) {
	p := newOwner(profile.Tenant, profile)
	p.Household, p.Rank = profile.Household, profile.Rank
	if err := r.SavePeople(ctx, []fleet.Person{p}); err != nil {
		return fleet.Person{}, err
	}
	return p, nil
}

func newOwner(tenant string, profile fleet.Person) fleet.Person {
	return fleet.Person{Tenant: tenant, ID: "owner-" + randomID(), Name: profile.Name, Locale: profile.Locale, Zone: profile.Zone,
		DigestDay: profile.DigestDay, DigestHour: profile.DigestHour}
}
