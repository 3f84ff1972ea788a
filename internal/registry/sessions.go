package registry

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Sessions is what the registry needs of SQL for the ways into the owner pages.
type Sessions interface {
	// OpenSession uses up the link, if one is named, and is CodeDenied when it was used before.
	OpenSession(ctx context.Context, s fleet.Session, link string, linkExpires time.Time, events ...fleet.SecurityEvent) error
	// UseLink uses up a link alone, as OpenSession does.
	UseLink(ctx context.Context, tenant, link string, expires time.Time) error
	// SessionByHash is CodeNotFound if there is none.
	SessionByHash(ctx context.Context, hash []byte) (fleet.Session, error)
	SessionUsed(ctx context.Context, tenant, id string, at time.Time) error
	// RevokeSessions ends one of a person's, or all with an empty id, and says how many it ended.
	RevokeSessions(ctx context.Context, tenant, personID, id string, e fleet.SecurityEvent) (int, error)
	// Sessions returns a person's, newest first.
	Sessions(ctx context.Context, tenant, personID string) ([]fleet.Session, error)
}

const (
	tokenBytes = 32
	usedEvery  = time.Hour // how exactly it is known when a session was used last
	maxAgent   = 200
)

// OpenSession lets a person in and returns the token that says so: 256 random bits as 43 letters, digits, '-' and '_'. Only its
// hash is kept. The agent is what the browser calls itself.
func (r *Registry) OpenSession(ctx context.Context, tenant, personID, agent string, ttl time.Duration) (token string, err error) {
	return r.openSession(ctx, tenant, personID, agent, ttl, "", time.Time{})
}

// OpenSessionByLink is OpenSession for a link that works once: the id names it until it expires, and a second use is CodeDenied.
func (r *Registry) OpenSessionByLink(ctx context.Context, tenant, personID, agent string, ttl time.Duration, link string, expires time.Time) (token string, err error) {
	if link == "" || expires.IsZero() {
		return "", fleet.Errorf(fleet.CodeInvalid, "a link that works once wants an id and an end")
	}
	return r.openSession(ctx, tenant, personID, agent, ttl, link, expires)
}

func (r *Registry) openSession(ctx context.Context, tenant, personID, agent string, ttl time.Duration, link string, expires time.Time) (string, error) {
	now := r.now().Truncate(time.Millisecond)
	switch _, ok := r.Person(tenant, personID); {
	case !ok:
		return "", fleet.Errorf(fleet.CodeNotFound, "person %q is not registered", personID)
	case ttl <= 0:
		return "", fleet.Errorf(fleet.CodeInvalid, "a session of %v", ttl)
	case link != "" && now.After(expires):
		return "", fleet.Errorf(fleet.CodeDenied, "the link has expired")
	}
	raw := make([]byte, tokenBytes)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	token := base64.RawURLEncoding.EncodeToString(raw)
	agent = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, strings.ToValidUTF8(agent, ""))
	if len(agent) > maxAgent {
		agent = strings.ToValidUTF8(agent[:maxAgent], "")
	}
	s := fleet.Session{ID: randomID(), Tenant: tenant, PersonID: personID, Hash: r.sessionHash(token), Agent: agent, CreatedAt: now,
		UsedAt: now, ExpiresAt: now.Add(ttl)}
	e := r.event(personID, fleet.ActionSignedIn, fleet.DeviceKey{Tenant: tenant, Serial: personID}, agent)
	if err := r.store.OpenSession(ctx, s, link, expires, e); err != nil {
		return "", err
	}
	return token, nil
}

func (r *Registry) sessionHash(token string) []byte { return r.mac("", "session", token) }

// UseSession returns the session of a token. CodeDenied if there is none, or it has expired or was ended, which nobody is told
// apart.
func (r *Registry) UseSession(ctx context.Context, token string) (*fleet.Session, error) {
	denied := func() error { return fleet.Errorf(fleet.CodeDenied, "not signed in") }
	if len(token) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return nil, denied()
	}
	s, err := r.store.SessionByHash(ctx, r.sessionHash(token))
	if fleet.CodeOf(err) == fleet.CodeNotFound {
		return nil, denied()
	}
	if err != nil {
		return nil, err
	}
	now := r.now()
	if _, ok := r.Person(s.Tenant, s.PersonID); !ok || !s.RevokedAt.IsZero() || !now.Before(s.ExpiresAt) {
		return nil, denied()
	}
	if now.Sub(s.UsedAt) >= usedEvery {
		s.UsedAt = now.Truncate(time.Millisecond)
		if err := r.store.SessionUsed(ctx, s.Tenant, s.ID, s.UsedAt); err != nil {
			r.log.Warn("the use of a session was not noted", "person", s.PersonID, "err", err)
		}
	}
	return &s, nil
}

// Sessions returns a person's, newest first, ended ones included, so that she sees where she is signed in.
func (r *Registry) Sessions(ctx context.Context, tenant, personID string) ([]fleet.Session, error) {
	return r.store.Sessions(ctx, tenant, personID)
}

// RevokeSession ends a session of a person, or all of hers with an empty id. One that is over is no error.
func (r *Registry) RevokeSession(ctx context.Context, tenant, personID, id string) error {
	detail := "session " + id
	if id == "" {
		detail = "all"
	}
	_, err := r.store.RevokeSessions(ctx, tenant, personID, id, r.event(actor(ctx), fleet.ActionSignedOut, fleet.DeviceKey{Tenant: tenant, Serial: personID}, detail))
	return err
}

// UseLink uses up a link that works once: the id names it until it expires, and a second use is CodeDenied.
func (r *Registry) UseLink(ctx context.Context, tenant, id string, expires time.Time) error {
	if id == "" || !r.now().Before(expires) {
		return fleet.Errorf(fleet.CodeDenied, "the link has expired")
	}
	return r.store.UseLink(ctx, tenant, id, expires)
}
