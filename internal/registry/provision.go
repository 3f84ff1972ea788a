package registry

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"strings"
	"sync/atomic"

	"aftercare/internal/fleet"
)

// provisioningPrefix marks a password as a model's provisioning secret. A device's own secret has no dot.
const provisioningPrefix = "prov."

// provisioningKeys are all keys by tenant, replaced as a whole: there are few.
type provisioningKeys struct {
	all atomic.Pointer[map[string][]fleet.ProvisioningKey]
}

func (p *provisioningKeys) of(tenant string) []fleet.ProvisioningKey {
	if m := p.all.Load(); m != nil {
		return (*m)[tenant]
	}
	return nil
}

func (p *provisioningKeys) any() bool { return p.all.Load() != nil }

// put adds or replaces keys. Only one goroutine may put at a time.
func (p *provisioningKeys) put(keys []fleet.ProvisioningKey) {
	if len(keys) == 0 {
		return
	}
	changed := map[string]bool{}
	for _, k := range keys {
		changed[k.Tenant+"/"+k.ID] = true
	}
	next := map[string][]fleet.ProvisioningKey{}
	if m := p.all.Load(); m != nil {
		for tenant, old := range *m {
			for _, k := range old {
				if !changed[tenant+"/"+k.ID] {
					next[tenant] = append(next[tenant], k)
				}
			}
		}
	}
	for _, k := range keys {
		next[k.Tenant] = append(next[k.Tenant], k)
	}
	p.all.Store(&next)
}

// checkFirstContact finds the provisioning key that the secret belongs to, among all of the tenant in the same time, and
// whether the device may use it: it is registered, of the key's model, and has never used a credential of its own; or it is
// not registered and the key is open.
func (r *Registry) checkFirstContact(key fleet.DeviceKey, secret string) checked {
	hash := r.mac("", "provisioning", key.Tenant, secret)
	e, known := r.devices.get(key)
	keys := r.provisioning.of(key.Tenant)
	found := -1
	for i := range keys {
		same := subtle.ConstantTimeCompare(hash, keys[i].Hash)
		found = subtle.ConstantTimeSelect(same, i, found)
	}
	out := checked{result: loginWrong, login: fleet.Login{Key: key, FirstContact: true}}
	switch {
	case found < 0 || !keys[found].RevokedAt.IsZero():
		if !known {
			out.result = loginUnknown
		}
		return out
	case !known && !keys[found].Open:
		out.result = loginUnknown
	case !known:
		out.result = loginFirst
	case e.device.Revoked:
		out.result = loginRevoked
	case e.device.Model != keys[found].Model || e.device.Parent != "":
		out.result = loginWrong
	case !awaiting(e):
		out.result = loginClosed
	default:
		out.result = loginFirst
	}
	out.login.Model = keys[found].Model
	return out
}

// awaiting reports whether nobody has ever logged in as the device with a credential of its own.
func awaiting(e *entry) bool {
	for _, c := range e.credentials {
		if !c.UsedAt.IsZero() {
			return false
		}
	}
	return true
}

// FirstContact gives a device that logged in with its model's provisioning secret a secret of its own, in place of one it never
// used: a device that lost the answer asks again. An unregistered device of an open key is registered. It is decided in the
// store, so that of two processes one wins; CodeDenied if the device, the model or the key does not allow it (any more).
func (r *Registry) FirstContact(ctx context.Context, login fleet.Login) (secret string, err error) {
	if !login.FirstContact {
		return "", fleet.Errorf(fleet.CodeInvalid, "device %q has logged in with a credential of its own", login.Key)
	}
	d := fleet.Device{Key: login.Key, Model: login.Model}
	if err := r.complete(&d, nil); err != nil {
		return "", err
	}
	secret, c := r.newCredential(d.Key)
	if err := r.store.FirstContact(ctx, d, c, r.event("device", fleet.ActionFirstContact, d.Key, "model "+d.Model)); err != nil {
		return "", err
	}
	r.takeIn(ctx)
	return secret, nil
}

// CreateProvisioning makes a provisioning key: a secret that all devices of a model may carry from the factory and show at
// their first contact, and nothing else. With open, devices that are not registered are taken too. The secret, of 130
// random bits, is what a device uses as its password; it is not kept and cannot be shown again.
func (r *Registry) CreateProvisioning(ctx context.Context, tenant, model string, open bool) (id, secret string, err error) {
	if !fleet.ValidName(tenant) {
		return "", "", fleet.Errorf(fleet.CodeInvalid, "tenant %q: want 1 to 64 letters, digits, '.', '_', '-'", tenant)
	}
	if _, ok := r.models[model]; !ok {
		return "", "", fleet.Errorf(fleet.CodeInvalid, "there is no profile of model %q", model)
	}
	text := rand.Text()
	k := fleet.ProvisioningKey{ID: randomID(), Tenant: tenant, Model: model, Open: open,
		Hash: r.mac("", "provisioning", tenant, text), CreatedAt: r.now()}
	detail := "model " + model
	if open {
		detail += ", open"
	}
	if err := r.store.SaveProvisioning(ctx, k, r.event(actor(ctx), fleet.ActionKeyMade, fleet.DeviceKey{Tenant: tenant, Serial: k.ID}, detail)); err != nil {
		return "", "", err
	}
	r.takeIn(ctx)
	return k.ID, provisioningPrefix + text, nil
}

// ProvisioningKeys returns the keys of a tenant, revoked ones too, in no order.
func (r *Registry) ProvisioningKeys(tenant string) []fleet.ProvisioningKey {
	return append([]fleet.ProvisioningKey(nil), r.provisioning.of(tenant)...)
}

// RevokeProvisioning ends a key: no device can make its first contact with it any more. What devices fetched with it stays
// valid. An unknown key is CodeNotFound.
func (r *Registry) RevokeProvisioning(ctx context.Context, tenant, id string) error {
	if err := r.Refresh(ctx); err != nil {
		return err
	}
	for _, k := range r.provisioning.of(tenant) {
		if k.ID != id {
			continue
		}
		if !k.RevokedAt.IsZero() {
			return nil
		}
		k.RevokedAt = r.now()
		if err := r.store.SaveProvisioning(ctx, k, r.event(actor(ctx), fleet.ActionKeyRevoked, fleet.DeviceKey{Tenant: tenant, Serial: id},
			"model "+k.Model)); err != nil {
			return err
		}
		return r.Refresh(ctx)
	}
	return fleet.Errorf(fleet.CodeNotFound, "there is no provisioning key %q", id)
}

func isProvisioning(password string) (secret string, ok bool) {
	return strings.CutPrefix(password, provisioningPrefix)
}
