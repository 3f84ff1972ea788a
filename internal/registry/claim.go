package registry

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// A claim code is nine random characters of Crockford's base 32 (45 bits) and a check character. It is short because a person
// types it; what protects it is that it is kept as a keyed hash, works once, and that tries are limited.
const (
	claimAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	claimLength   = 10
)

// ClaimExpiry is how long a claim code is good for if nobody says otherwise.
const ClaimExpiry = 90 * 24 * time.Hour

// claimCheck returns the check character's value for the nine others. Crockford's own (modulo 37) needs five more characters.
// This one is a weighted sum in the field of 32 elements; as the weights, the check's own 1 included, are different powers
// of x, it finds every wrong character and every two that changed places, wherever they stand.
func claimCheck(values []byte) byte {
	var sum byte
	for _, v := range values { // Horner: ((v0*x + v1)*x + ...)*x
		sum = timesX(sum ^ v)
	}
	return sum
}

// timesX multiplies by x modulo x^5 + x^2 + 1, which is primitive: the powers of x are all different up to the 31st.
func timesX(v byte) byte {
	if v <<= 1; v&32 != 0 {
		v ^= 0b100101
	}
	return v
}

// newClaimCode returns ten characters.
func newClaimCode() string {
	values := make([]byte, claimLength)
	_, _ = rand.Read(values[:claimLength-1]) // never fails: crypto/rand ends the program instead
	for i := range values {
		values[i] &= 31
	}
	values[claimLength-1] = claimCheck(values[:claimLength-1])
	for i, v := range values {
		values[i] = claimAlphabet[v]
	}
	return string(values)
}

// ParseClaimCode reads a code as people type it: small letters, spaces and hyphens anywhere, O for 0, I and L for 1. It returns
// the ten characters; CodeInvalid if it is not a code or has a typing mistake.
func ParseClaimCode(typed string) (string, error) {
	code := make([]byte, 0, claimLength)
	values := make([]byte, 0, claimLength)
	for _, c := range strings.ToUpper(typed) {
		switch c {
		case ' ', '-', '\u2010', '\u2011', '\u2013', '\u00a0': // and what programs make of hyphens and spaces
			continue
		case 'O':
			c = '0'
		case 'I', 'L':
			c = '1'
		}
		v := strings.IndexRune(claimAlphabet, c)
		if v < 0 || len(code) == claimLength {
			return "", fleet.Errorf(fleet.CodeInvalid, "that is not a claim code: want ten letters and digits, such as ABCDE-FGHJK")
		}
		code, values = append(code, claimAlphabet[v]), append(values, byte(v))
	}
	if len(code) != claimLength {
		return "", fleet.Errorf(fleet.CodeInvalid, "a claim code has ten letters and digits, this one has %d", len(code))
	}
	if claimCheck(values[:claimLength-1]) != values[claimLength-1] {
		return "", fleet.Errorf(fleet.CodeInvalid, "the claim code has a typing mistake")
	}
	return string(code), nil
}

// ClaimCodes makes a code for each device, grouped for people ("ABCDE-FGHJK"), in place of one it had. With it somebody becomes
// the device's owner. It is not kept and cannot be shown again. It is good until expires; the zero time means for ever, for
// codes that are printed into the box. An unknown device is CodeNotFound, a revoked one CodeInvalid; then no code is made.
func (r *Registry) ClaimCodes(ctx context.Context, keys []fleet.DeviceKey, expires time.Time) (map[fleet.DeviceKey]string, error) {
	return r.claimCodes(ctx, keys, expires, false)
}

func (r *Registry) claimCodes(ctx context.Context, keys []fleet.DeviceKey, expires time.Time, transfer bool) (map[fleet.DeviceKey]string, error) {
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	for _, key := range keys {
		d, ok := r.Device(key)
		if !ok {
			return nil, fleet.Errorf(fleet.CodeNotFound, "device %q is not registered", key)
		}
		if d.Revoked {
			return nil, fleet.Errorf(fleet.CodeInvalid, "device %q is revoked", key)
		}
	}
	for try := 1; ; try++ {
		out := make(map[fleet.DeviceKey]string, len(keys))
		codes := make([]fleet.ClaimCode, 0, len(keys))
		events := make([]fleet.SecurityEvent, 0, len(keys))
		for _, key := range keys {
			code := newClaimCode()
			out[key] = code[:5] + "-" + code[5:]
			codes = append(codes, fleet.ClaimCode{Device: key, Hash: r.claimHash(key.Tenant, code), CreatedAt: r.now(), ExpiresAt: expires,
				Transfer: transfer})
			detail := ""
			if transfer {
				detail = "for another owner"
			}
			events = append(events, r.event(actor(ctx), fleet.ActionClaimCode, key, detail))
		}
		err := r.store.SaveClaimCodes(ctx, codes, events...)
		if err == nil {
			return out, nil
		}
		if fleet.CodeOf(err) != fleet.CodeConflict || try == 3 { // another device has one of these codes: likely once in a long time
			return nil, err
		}
	}
}

func (r *Registry) claimHash(tenant, code string) []byte { return r.mac("", "claim", tenant, code) }

// Claim makes a person the owner of the device whose code she typed. CodeInvalid: not a code, or mistyped. CodeNotFound: no such
// code, used or expired, which nobody is told apart; or no such person. CodeConflict: the device belongs to somebody else, and the code
// was not made to give it away.
// Whoever offers this to people limits how often it is tried: 45 bits want that.
func (r *Registry) Claim(ctx context.Context, tenant, typed, personID string) (fleet.DeviceKey, error) {
	code, err := ParseClaimCode(typed)
	if err != nil {
		return fleet.DeviceKey{}, err
	}
	if err := r.Refresh(ctx); err != nil {
		return fleet.DeviceKey{}, err
	}
	if _, ok := r.Person(tenant, personID); !ok {
		return fleet.DeviceKey{}, fleet.Errorf(fleet.CodeNotFound, "person %q is not registered", personID)
	}
	e := r.event(personID, fleet.ActionClaimed, fleet.DeviceKey{Tenant: tenant}, "")
	key, err := r.store.Claim(ctx, tenant, r.claimHash(tenant, code), personID, e)
	if err != nil {
		return fleet.DeviceKey{}, err
	}
	r.takeIn(ctx)
	return key, nil
}
