package registry

import (
	"context"
	"sync"
	"time"

	"aftercare/internal/fleet"
)

// certificate is the id under which the registry remembers that a device was let in by its certificate.
const certificate = "certificate"

// uses stores which credentials were used for the first time, before the door answers: from then on the model's provisioning
// secret, which a whole fleet shares, cannot take the device over, not even after a crash in the next moment. That
// happens once in a credential's life, and those who come while one transaction runs share the next.
type uses struct {
	writing chan struct{} // holds one token while a batch is written
	mu      sync.Mutex
	next    *useBatch
}

type useBatch struct {
	credentials []fleet.Credential
	done        chan struct{}
	err         error
}

// firstUse stores that c is used now and takes in what the store then knows. The error is the store's: come back later.
func (r *Registry) firstUse(ctx context.Context, c fleet.Credential) error {
	c.UsedAt = r.now()
	r.uses.mu.Lock()
	b := r.uses.next
	leads := b == nil
	if leads {
		b = &useBatch{done: make(chan struct{})}
		r.uses.next = b
	}
	b.credentials = append(b.credentials, c)
	r.uses.mu.Unlock()
	if leads {
		r.writeUses(ctx, b)
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writeUses writes a batch for all who joined it, even if the one who leads it goes away.
func (r *Registry) writeUses(ctx context.Context, b *useBatch) {
	r.uses.writing <- struct{}{}
	defer func() { <-r.uses.writing }()
	r.uses.mu.Lock()
	r.uses.next = nil // whoever comes now begins another
	r.uses.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if b.err = r.store.MarkUsed(ctx, b.credentials); b.err == nil {
		b.err = r.Refresh(ctx)
	}
	close(b.done)
}

// Admit reports whether a device that proved who it is by certificate may come in: nil, or CodeDenied if it is not registered,
// revoked, or a base station speaks for it. That it came closes first contact, like a log-in with a secret.
func (r *Registry) Admit(ctx context.Context, key fleet.DeviceKey) error {
	result := r.checkCertificate(key)
	if result != loginOK && r.lookAgain(ctx) {
		result = r.checkCertificate(key)
	}
	if result == loginOK {
		if e, ok := r.devices.get(key); ok && awaiting(e) {
			now := r.now()
			if err := r.firstUse(ctx, fleet.Credential{Device: key, ID: certificate, CreatedAt: now, RevokedAt: now}); err != nil {
				return err
			}
			result = r.checkCertificate(key)
		}
	}
	r.metrics.logins.WithLabelValues(string(result)).Inc()
	if result != loginOK {
		return fleet.Errorf(fleet.CodeDenied, "certificate of %.140q: the device may not log in", key.String())
	}
	return nil
}

func (r *Registry) checkCertificate(key fleet.DeviceKey) login {
	e, ok := r.devices.get(key)
	switch {
	case !ok:
		return loginUnknown
	case e.device.Revoked || e.device.Parent != "":
		return loginRevoked
	default:
		return loginOK
	}
}
