package app

import (
	"context"
	"errors"
	"time"

	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/seal"
	"aftercare/internal/web/owner"
)

// component is the one that a rule in force is about, for what the warranty terms say of it; empty if none.
func (r *ruleset) component(rule string) string {
	a := r.active.Load()
	if c, ok := a.set.Rule(rule); ok {
		return c.Component
	}
	if a.before != nil {
		return componentOf(a.before)(rule)
	}
	return ""
}

func componentOf(set *rules.Set) func(rule string) string {
	return func(rule string) string {
		if r, ok := set.Rule(rule); ok {
			return r.Component
		}
		return ""
	}
}

// PutPerson makes a person or changes the profile of one.
func (r registrar) PutPerson(ctx context.Context, p fleet.Person) error {
	old, ok := r.Person(p.Tenant, p.ID)
	if !ok {
		return r.SavePeople(by(ctx), []fleet.Person{p})
	}
	p.DigestDay, p.DigestHour = old.DigestDay, old.DigestHour
	return r.SetProfile(by(ctx), p)
}

func (r registrar) SetHousehold(ctx context.Context, tenant, personID, household string, rank int) error {
	return r.Registry.SetHousehold(by(ctx), tenant, personID, household, rank)
}

func (r registrar) SetPreferences(ctx context.Context, tenant, personID string, wishes ...fleet.Preference) error {
	return r.Registry.SetPreferences(by(ctx), tenant, personID, wishes...)
}

func (r registrar) GiveConsent(ctx context.Context, tenant, personID string, purpose fleet.Purpose, text, source string) error {
	return r.Registry.GiveConsent(by(ctx), tenant, personID, purpose, text, source)
}

func (r registrar) WithdrawConsent(ctx context.Context, tenant, personID string, purpose fleet.Purpose) error {
	return r.Registry.WithdrawConsent(by(ctx), tenant, personID, purpose)
}

func (r registrar) SetOwner(ctx context.Context, key fleet.DeviceKey, personID string) error {
	return r.Registry.SetOwner(by(ctx), key, personID)
}

func (r registrar) SavePartner(ctx context.Context, p fleet.Partner) error {
	return r.Registry.SavePartner(by(ctx), p)
}

func (r registrar) PausePartner(ctx context.Context, tenant, id string, paused bool) error {
	return r.Registry.PausePartner(by(ctx), tenant, id, paused)
}

// SignInLink makes a link that signs a person in to the owners' pages, once, until it expires. It works as soon as a server with this
// configuration runs.
func SignInLink(cfg config.Config, tenant, personID string, expires time.Time) (string, error) {
	key, err := linksOf(cfg)
	if err != nil {
		return "", err
	}
	if cfg.Owner.Listen == "" && cfg.Owner.URL == "" {
		return "", errors.New("there are no owners' pages: owner.listen and owner.url are empty")
	}
	return owner.LoginLink(seal.New(key), cfg.Owner.Public(""), tenant, personID, expires), nil
}
