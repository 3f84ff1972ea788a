package registry

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// missEvery bounds how often failed log-ins make the registry look into the store: a flood of wrong passwords must not
// become a flood of queries.
const missEvery = time.Second

const maxSecret = 128 // bytes; ours have 26

type login string

const (
	loginOK        login = "ok"
	loginMalformed login = "malformed"
	loginUnknown   login = "unknown_device"
	loginWrong     login = "wrong_secret"
	loginRevoked   login = "revoked"
	loginFirst     login = "first_contact"
	loginClosed    login = "first_contact_closed" // the device has had a credential of its own
)

// checked is what came of a name and a password.
type checked struct {
	result login
	login  fleet.Login
	unused *fleet.Credential // it fits and was never used before
}

func (c checked) ok() bool { return c.result == loginOK || c.result == loginFirst }

// Authenticate checks a device's name ("tenant/serial") and password, from memory: a secret of its own, or "prov." and its
// model's provisioning secret, with which it may do nothing but fetch its own. If they do not fit, it looks once a second
// at most whether another process has just registered the device or changed its secret. The error is CodeDenied and
// says the same whatever was wrong, so that nobody learns which devices there are; the counter knows. The first log-in with a
// secret waits until the store knows of it; if that fails the error is another, and the device may come back.
func (r *Registry) Authenticate(ctx context.Context, username, password string) (fleet.Login, error) {
	tenant, serial, ok := strings.Cut(username, "/")
	key := fleet.DeviceKey{Tenant: tenant, Serial: serial}
	c := checked{result: loginMalformed}
	if ok && fleet.ValidName(tenant) && fleet.ValidName(serial) && password != "" && len(password) <= maxSecret {
		c = r.check(key, password)
		if !c.ok() && r.lookAgain(ctx) {
			c = r.check(key, password)
		}
		if c.ok() && c.unused != nil {
			if err := r.firstUse(ctx, *c.unused); err != nil {
				return fleet.Login{}, err
			}
			c = r.check(key, password) // it may have been replaced by another process
		}
	}
	r.metrics.logins.WithLabelValues(string(c.result)).Inc()
	if !c.ok() {
		return fleet.Login{}, fleet.Errorf(fleet.CodeDenied, "log-in of %.140q: the name or the secret is not right", username)
	}
	return c.login, nil
}

// check takes the same time for an unknown device as for a wrong secret.
func (r *Registry) check(key fleet.DeviceKey, password string) checked {
	if secret, ok := isProvisioning(password); ok {
		return r.checkFirstContact(key, secret)
	}
	hash := r.hash(key, password)
	e, ok := r.devices.get(key)
	if !ok {
		return checked{result: loginUnknown}
	}
	match := -1
	for i := range e.credentials {
		if e.credentials[i].RevokedAt.IsZero() {
			match = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(hash, e.credentials[i].Hash), i, match)
		}
	}
	switch {
	case e.device.Revoked:
		return checked{result: loginRevoked}
	case match < 0:
		return checked{result: loginWrong}
	}
	c := checked{result: loginOK, login: fleet.Login{Key: key}}
	if e.credentials[match].UsedAt.IsZero() {
		c.unused = &e.credentials[match]
	}
	return c
}

// hash binds the secret to the device, so that a row copied to another device is worthless. A fast hash is right here: the
// secret is not a password somebody chose but 130 random bits.
func (r *Registry) hash(key fleet.DeviceKey, secret string) []byte {
	return r.mac(key.Tenant, key.Serial, secret)
}

// mac is a keyed hash of the parts. What is not a device's secret begins with an empty part, which no tenant's name is.
func (r *Registry) mac(parts ...string) []byte {
	mac := hmac.New(sha256.New, r.key)
	for _, part := range parts {
		mac.Write([]byte(part))
		mac.Write([]byte{0})
	}
	return mac.Sum(nil)
}

func (r *Registry) lookAgain(ctx context.Context) bool {
	now, last := r.now().UnixNano(), r.lastMiss.Load()
	if now-last < int64(missEvery) || !r.lastMiss.CompareAndSwap(last, now) {
		return false
	}
	if err := r.Refresh(ctx); err != nil {
		r.log.Warn("registry could not look for a device that is not known", "err", err)
		return false
	}
	return true
}

// newCredential makes a secret of 130 random bits, 26 letters and digits, and what is kept of it.
func (r *Registry) newCredential(key fleet.DeviceKey) (secret string, c fleet.Credential) {
	secret = rand.Text()
	return secret, fleet.Credential{Device: key, ID: randomID(), Hash: r.hash(key, secret), CreatedAt: r.now()}
}

// randomID names something without saying anything about it: 64 random bits.
func randomID() string {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(id)
}
