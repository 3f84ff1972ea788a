package registry

import (
	"context"
	"errors"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// Register adds one device and returns its secret, which is not kept and cannot be shown again. The secret is empty for a
// device with a parent: the parent speaks for it. A device that exists is CodeConflict, unless it was revoked: then it is
// taken back, with a new secret and the owner named, or none.
func (r *Registry) Register(ctx context.Context, d fleet.Device) (secret string, err error) {
	if err := r.Refresh(ctx); err != nil {
		return "", err
	}
	old, known := r.Device(d.Key)
	if known && !old.Revoked {
		return "", fleet.Errorf(fleet.CodeConflict, "device %q is registered already: give it a new secret instead", d.Key)
	}
	if err := r.complete(&d, nil); err != nil {
		return "", err
	}
	if known && d.OwnerID == "" { // who had it before must not hear of it any more
		if err := r.store.SetOwner(ctx, d.Key, "", r.event(actor(ctx), fleet.ActionOwner, d.Key, "")); err != nil {
			return "", err
		}
	}
	d.Revoked, d.OwnedSince = false, r.now()
	var creds []fleet.Credential
	if d.Parent == "" {
		var c fleet.Credential
		secret, c = r.newCredential(d.Key)
		creds = append(creds, c)
	}
	if err := r.save(ctx, []fleet.Device{d}, creds, nil, r.event(actor(ctx), fleet.ActionRegistered, d.Key, "model "+d.Model)); err != nil {
		return "", err
	}
	return secret, nil
}

// Import adds or updates many devices in one transaction: all or none. It returns the secrets of those that got one:
// new devices without a parent. A device without an owner in the list keeps the one it has. A device that has a valid credential keeps it; use Rotate for another. A revoked
// device is updated and stays revoked.
func (r *Registry) Import(ctx context.Context, devices []fleet.Device) (map[fleet.DeviceKey]string, error) {
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	batch := make(map[fleet.DeviceKey]bool, len(devices))
	var errs []error
	for _, d := range devices {
		if batch[d.Key] {
			errs = append(errs, fleet.Errorf(fleet.CodeInvalid, "device %q is in the list twice", d.Key))
		}
		batch[d.Key] = true
	}
	all := append([]fleet.Device(nil), devices...)
	secrets := map[fleet.DeviceKey]string{}
	var creds []fleet.Credential
	for i := range all {
		d := &all[i]
		if err := r.complete(d, batch); err != nil {
			errs = append(errs, err)
			continue
		}
		e, known := r.devices.get(d.Key)
		d.Revoked, d.OwnedSince = known && e.device.Revoked, r.now()
		if d.Parent == "" && !d.Revoked && (!known || len(valid(e)) == 0) {
			secret, c := r.newCredential(d.Key)
			secrets[d.Key] = secret
			creds = append(creds, c)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := r.save(ctx, all, creds, nil, r.ownerEvents(ctx, all)...); err != nil {
		return nil, err
	}
	return secrets, nil
}

// ownerEvents tells which devices get another owner.
func (r *Registry) ownerEvents(ctx context.Context, devices []fleet.Device) (events []fleet.SecurityEvent) {
	for i := range devices {
		d := &devices[i]
		if old, known := r.Device(d.Key); known && d.OwnerID != "" && old.OwnerID != "" && d.OwnerID != old.OwnerID {
			events = append(events, r.event(actor(ctx), fleet.ActionOwner, d.Key, "from "+old.OwnerID+" to "+d.OwnerID))
		}
	}
	return events
}

// complete checks a device and copies the category from its model. The parent may be in the same batch.
func (r *Registry) complete(d *fleet.Device, batch map[fleet.DeviceKey]bool) error {
	if !fleet.ValidName(d.Key.Tenant) || !fleet.ValidName(d.Key.Serial) {
		return fleet.Errorf(fleet.CodeInvalid,
			"device %q: tenant and serial want 1 to 64 letters, digits, '.', '_', '-', beginning with a letter or digit", d.Key)
	}
	m, ok := r.models[d.Model]
	if !ok {
		return fleet.Errorf(fleet.CodeInvalid, "device %q: there is no profile of model %q", d.Key, d.Model)
	}
	d.Category = m.Category
	if d.Parent != "" {
		parent := fleet.DeviceKey{Tenant: d.Key.Tenant, Serial: d.Parent}
		if _, known := r.Device(parent); (!known && !batch[parent]) || parent == d.Key {
			return fleet.Errorf(fleet.CodeInvalid, "device %q: its parent %q is not another registered device", d.Key, d.Parent)
		}
	}
	if d.OwnerID != "" {
		if _, known := r.Person(d.Key.Tenant, d.OwnerID); !known {
			return fleet.Errorf(fleet.CodeInvalid, "device %q: its owner %q is not registered", d.Key, d.OwnerID)
		}
	}
	return nil
}

// Rotate gives a device a new secret beside the newest one it had and the newest one it has used, so that it can change over,
// also when a secret was lost on the way and it is rotated again; others end now. Those before end when FinishRotation is
// called, or some days after the device has first used the new one. An unknown device is
// CodeNotFound, a revoked one or one with a parent CodeInvalid.
func (r *Registry) Rotate(ctx context.Context, key fleet.DeviceKey) (secret string, err error) {
	e, err := r.current(ctx, key)
	if err != nil {
		return "", err
	}
	if e.device.Revoked || e.device.Parent != "" {
		return "", fleet.Errorf(fleet.CodeInvalid, "device %q is revoked or has a parent that speaks for it: it has no secret", key)
	}
	if older := replaced(valid(e)); len(older) > 0 {
		if err := r.store.EndCredentials(ctx, key, older, r.now()); err != nil {
			return "", err
		}
	}
	secret, c := r.newCredential(key)
	if err := r.save(ctx, nil, []fleet.Credential{c}, nil, r.event(actor(ctx), fleet.ActionRotated, key, "")); err != nil {
		return "", err
	}
	return secret, nil
}

// FinishRotation leaves a device only its newest secret.
func (r *Registry) FinishRotation(ctx context.Context, key fleet.DeviceKey) error {
	e, err := r.current(ctx, key)
	if err != nil {
		return err
	}
	older := allButNewest(valid(e))
	if len(older) == 0 {
		return nil
	}
	return r.finish(ctx, key, older, actor(ctx))
}

func (r *Registry) finish(ctx context.Context, key fleet.DeviceKey, older []string, actor string) error {
	if err := r.store.EndCredentials(ctx, key, older, r.now(), r.event(actor, fleet.ActionRotationDone, key, "")); err != nil {
		return err
	}
	return r.Refresh(ctx)
}

// endRotations ends the old secrets of devices that have used their newest one for longer than the grace.
func (r *Registry) endRotations(ctx context.Context, now time.Time) error {
	var errs []error
	for e := range r.devices.all() {
		if len(e.credentials) < 2 {
			continue
		}
		cs := valid(e)
		if len(cs) < 2 {
			continue
		}
		keep := newest(cs)
		for _, c := range cs {
			if c.ID == keep && !c.UsedAt.IsZero() && now.Sub(c.UsedAt) >= r.cfg.RotationGrace {
				errs = append(errs, r.finish(ctx, e.device.Key, allButNewest(cs), "registry"))
			}
		}
	}
	return errors.Join(errs...)
}

// Revoke ends every credential of a device and the device's right to report, through a parent too. Its sessions are ended
// through OnRevoke.
func (r *Registry) Revoke(ctx context.Context, key fleet.DeviceKey) error {
	if err := r.store.RevokeCredentials(ctx, key, "", r.now(), r.event(actor(ctx), fleet.ActionRevoked, key, "")); err != nil {
		return err
	}
	return r.Refresh(ctx)
}

func (r *Registry) current(ctx context.Context, key fleet.DeviceKey) (*entry, error) {
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	e, ok := r.devices.get(key)
	if !ok {
		return nil, fleet.Errorf(fleet.CodeNotFound, "device %q is not registered", key)
	}
	return e, nil
}

// save writes and takes in what it wrote.
func (r *Registry) save(ctx context.Context, devices []fleet.Device, creds []fleet.Credential, people []fleet.Person,
	events ...fleet.SecurityEvent) error {
	if err := r.store.SaveRegistry(ctx, devices, creds, people, events...); err != nil {
		return err
	}
	r.takeIn(ctx)
	return nil
}

// takeIn looks at what was just written. When that fails it is logged, not returned: it is stored, the secrets just made
// would be lost, and Run tries again.
func (r *Registry) takeIn(ctx context.Context) {
	if err := r.Refresh(ctx); err != nil {
		r.log.Warn("registry has stored a change and does not see it yet", "err", err)
	}
}

func (r *Registry) event(actor, action string, subject fleet.DeviceKey, detail string) fleet.SecurityEvent {
	return fleet.SecurityEvent{At: r.now(), Tenant: subject.Tenant, Actor: actor, Action: action, Subject: subject.Serial, Detail: detail}
}

type actorKey struct{}

// WithActor names who asks for the changes made with the context, for the security events.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// actor is a label on what is done, never a decision: so it may travel with the context.
func actor(ctx context.Context) string {
	if s, ok := ctx.Value(actorKey{}).(string); ok {
		return s
	}
	return "system"
}

func valid(e *entry) []fleet.Credential {
	var out []fleet.Credential
	for _, c := range e.credentials {
		if c.RevokedAt.IsZero() {
			out = append(out, c)
		}
	}
	return out
}

func newest(cs []fleet.Credential) string {
	var best fleet.Credential
	for _, c := range cs {
		if best.ID == "" || c.CreatedAt.After(best.CreatedAt) {
			best = c
		}
	}
	return best.ID
}

// replaced returns the ids of the secrets that are neither the newest nor the newest that was used.
func replaced(cs []fleet.Credential) (out []string) {
	used := slices.DeleteFunc(slices.Clone(cs), func(c fleet.Credential) bool { return c.UsedAt.IsZero() })
	keep := newest(used)
	for _, id := range allButNewest(cs) {
		if id != keep {
			out = append(out, id)
		}
	}
	return out
}

func allButNewest(cs []fleet.Credential) []string {
	keep := newest(cs)
	var out []string
	for _, c := range cs {
		if c.ID != keep {
			out = append(out, c.ID)
		}
	}
	return out
}
