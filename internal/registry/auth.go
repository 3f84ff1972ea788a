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
)

// Authenticate checks a device's name ("tenant/serial") and secret, from memory. If they do not fit, it looks once a second
// at most whether another process has just registered the device or changed its secret. The error is CodeDenied and
// says the same whatever was wrong, so that nobody learns which devices there are; the counter knows.
func (r *Registry) Authenticate(ctx context.Context, username, password string) (fleet.DeviceKey, error) {
	tenant, serial, ok := strings.Cut(username, "/")
	key := fleet.DeviceKey{Tenant: tenant, Serial: serial}
	result := loginMalformed
	if ok && fleet.ValidName(tenant) && fleet.ValidName(serial) && password != "" && len(password) <= maxSecret {
		result = r.check(key, password)
		if result != loginOK && r.lookAgain(ctx) {
			result = r.check(key, password)
		}
	}
	r.metrics.logins.WithLabelValues(string(result)).Inc()
	if result != loginOK {
		return fleet.DeviceKey{}, fleet.Errorf(fleet.CodeDenied, "log-in of %.140q: the name or the secret is not right", username)
	}
	return key, nil
}

// check takes the same time for an unknown device as for a wrong secret.
func (r *Registry) check(key fleet.DeviceKey, secret string) login {
	hash := r.hash(key, secret)
	e, ok := r.devices.get(key)
	if !ok {
		return loginUnknown
	}
	match := 0
	for _, c := range e.credentials {
		if c.RevokedAt.IsZero() {
			match |= subtle.ConstantTimeCompare(hash, c.Hash)
		}
	}
	switch {
	case e.device.Revoked:
		return loginRevoked
	case match == 0:
		return loginWrong
	default:
		return loginOK
	}
}

// hash binds the secret to the device, so that a row copied to another device is worthless. A fast hash is right here: the
// secret is not a password somebody chose but 130 random bits.
func (r *Registry) hash(key fleet.DeviceKey, secret string) []byte {
	mac := hmac.New(sha256.New, r.key)
	for _, part := range []string{key.Tenant, key.Serial, secret} {
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
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails: crypto/rand ends the program instead
	return secret, fleet.Credential{Device: key, ID: hex.EncodeToString(id), Hash: r.hash(key, secret), CreatedAt: r.now()}
}
