package registry

import (
	"context"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// Newcomers is what the registry needs of SQL for the owners' pages.
type Newcomers interface {
	// ClaimAsNewcomer makes the person and gives her the device of the code in one transaction, or neither; see Claim.
	ClaimAsNewcomer(ctx context.Context, hash []byte, p fleet.Person, made, claimed fleet.SecurityEvent) (fleet.DeviceKey, error)
	// NameDevice is CodeNotFound if there is no such device.
	NameDevice(ctx context.Context, key fleet.DeviceKey, name, room string) error
}

// ClaimAs is Claim for the person p, who is made with it when she has no ID: locale and zone are wanted then. A wrong code makes
// nobody, nor does one that somebody else is just using up.
func (r *Registry) ClaimAs(ctx context.Context, typed string, p fleet.Person) (personID string, device fleet.DeviceKey, err error) {
	if p.ID != "" {
		device, err = r.Claim(ctx, p.Tenant, typed, p.ID)
		return p.ID, device, err
	}
	code, err := ParseClaimCode(typed)
	if err != nil {
		return "", device, err
	}
	p = newOwner(p.Tenant, p)
	if err := r.checkPerson(&p); err != nil {
		return "", device, err
	}
	device, err = r.store.ClaimAsNewcomer(ctx, r.claimHash(p.Tenant, code), p, r.event(actor(ctx), fleet.ActionPersonMade, personSubject(&p), ""),
		r.event(p.ID, fleet.ActionClaimed, fleet.DeviceKey{Tenant: p.Tenant}, ""))
	if err != nil {
		return "", device, err
	}
	r.takeIn(ctx)
	return p.ID, device, nil
}

// NameDevice sets what its owner calls a device and where it stands; both may be empty.
func (r *Registry) NameDevice(ctx context.Context, key fleet.DeviceKey, name, room string) error {
	if len(name) > maxName || len(room) > maxName || hasControl(name+room) {
		return fleet.Errorf(fleet.CodeInvalid, "device %q: want a name and a room of at most %d bytes in one line", key, maxName)
	}
	if err := r.store.NameDevice(ctx, key, name, room); err != nil {
		return err
	}
	r.takeIn(ctx)
	return nil
}

// PreferEndpoint puts one of a person's addresses in the first place. CodeNotFound if she does not have it.
func (r *Registry) PreferEndpoint(ctx context.Context, tenant, personID, channel, address string) error {
	return r.editPerson(ctx, tenant, personID, func(p *fleet.Person) (action, detail string, err error) {
		i := slices.IndexFunc(p.Endpoints, func(e fleet.Endpoint) bool { return e.Channel == channel && e.Address == address })
		switch {
		case i < 0:
			return "", "", fleet.Errorf(fleet.CodeNotFound, "person %q has no such address on channel %q", personID, channel)
		case i == 0:
			return "", "", errSame
		}
		e := p.Endpoints[i]
		p.Endpoints = slices.Insert(slices.Delete(p.Endpoints, i, i+1), 0, e)
		return fleet.ActionEndpointAdd, channel + " first", nil
	})
}

// PutAway reports since when a device is put away, if it is.
func (r *Registry) PutAway(ctx context.Context, key fleet.DeviceKey) (since time.Time, away bool, err error) {
	f, err := r.Facts(ctx, key)
	if err != nil {
		return time.Time{}, false, err
	}
	now := r.now()
	for _, s := range f.Stored {
		if s.Holds(now) {
			return s.From, true, nil
		}
	}
	return time.Time{}, false, nil
}

// SetAway puts a device away from now on, or takes it back. What is so already is no error.
func (r *Registry) SetAway(ctx context.Context, key fleet.DeviceKey, away bool) error {
	_, is, err := r.PutAway(ctx, key)
	if err != nil || is == away {
		return err
	}
	if away {
		return r.AddSpan(ctx, key, Storage, fleet.Span{})
	}
	return r.EndSpan(ctx, key, Storage)
}
