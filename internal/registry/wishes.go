package registry

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// SetProfile changes a person's name, locale, zone and the time of her digest to those of p; nothing else of p counts.
func (r *Registry) SetProfile(ctx context.Context, p fleet.Person) error {
	if err := invalidPerson(&p, checkProfile(&p)); err != nil {
		return err
	}
	return r.editPerson(ctx, p.Tenant, p.ID, func(have *fleet.Person) (action, detail string, err error) {
		have.Name, have.Locale, have.Zone, have.DigestDay, have.DigestHour = p.Name, p.Locale, p.Zone, p.DigestDay, p.DigestHour
		return fleet.ActionProfile, "", nil
	})
}

// AddEndpoint gives a person one more address, in the last place; one with the same channel and address is replaced where it
// stands.
func (r *Registry) AddEndpoint(ctx context.Context, tenant, personID string, e fleet.Endpoint) error {
	return r.editPerson(ctx, tenant, personID, func(p *fleet.Person) (action, detail string, err error) {
		if err := invalidPerson(p, checkEndpoint(e)); err != nil {
			return "", "", err
		}
		i := slices.IndexFunc(p.Endpoints, func(have fleet.Endpoint) bool { return have.Channel == e.Channel && have.Address == e.Address })
		switch {
		case i >= 0 && p.Endpoints[i] == e:
			return "", "", errSame
		case i >= 0:
			p.Endpoints[i] = e
		case len(p.Endpoints) >= maxEndpoints:
			return "", "", invalidPerson(p, fmt.Errorf("at most %d endpoints: remove one first", maxEndpoints))
		default:
			p.Endpoints = append(p.Endpoints, e)
		}
		return fleet.ActionEndpointAdd, strings.TrimSpace(e.Channel + " " + e.Label), nil
	})
}

// RemoveEndpoint takes an address off a person's list. One that is not there is no error: it is what was wanted.
func (r *Registry) RemoveEndpoint(ctx context.Context, tenant, personID, channel, address string) error {
	return r.editPerson(ctx, tenant, personID, func(p *fleet.Person) (action, detail string, err error) {
		i := slices.IndexFunc(p.Endpoints, func(e fleet.Endpoint) bool { return e.Channel == channel && e.Address == address })
		if i < 0 {
			return "", "", errSame
		}
		label := p.Endpoints[i].Label
		p.Endpoints = slices.Delete(p.Endpoints, i, i+1)
		return fleet.ActionEndpointEnd, strings.TrimSpace(channel + " " + label), nil
	})
}

// SetPreferences sets a person's wishes for the topics and channels named, each in place of the one she had; an empty Want takes
// it back. Wishes for others stay.
func (r *Registry) SetPreferences(ctx context.Context, tenant, personID string, wishes ...fleet.Preference) error {
	return r.editPerson(ctx, tenant, personID, func(p *fleet.Person) (action, detail string, err error) {
		before := p.Preferences
		next := slices.Clone(before)
		var told []string
		for _, w := range wishes {
			next = slices.DeleteFunc(next, func(have fleet.Preference) bool { return have.Topic == w.Topic && have.Channel == w.Channel })
			word := "default"
			if w.Want != "" {
				if err := invalidPerson(p, checkWish(w)); err != nil {
					return "", "", err
				}
				next, word = append(next, w), string(w.Want)
			}
			told = append(told, fmt.Sprintf("%s %s: %s", w.Topic, orAll(w.Channel), word))
		}
		if len(next) > maxWishes {
			return "", "", invalidPerson(p, fmt.Errorf("at most %d preferences", maxWishes))
		}
		slices.SortFunc(next, func(a, b fleet.Preference) int {
			if c := slices.Index(fleet.Topics(), a.Topic) - slices.Index(fleet.Topics(), b.Topic); c != 0 {
				return c
			}
			return strings.Compare(a.Channel, b.Channel)
		})
		if slices.Equal(before, next) {
			return "", "", errSame
		}
		p.Preferences = next
		return fleet.ActionPreferences, strings.Join(told, ", "), nil
	})
}

func orAll(channel string) string {
	if channel == "" {
		return "everywhere"
	}
	return "by " + channel
}

// GiveConsent records that a person agreed to a purpose: to which version of the text, and through what. A consent that holds
// for the same text stays; one for another text is withdrawn with it, so that one at most holds for a purpose.
func (r *Registry) GiveConsent(ctx context.Context, tenant, personID string, purpose fleet.Purpose, text, source string) error {
	if !slices.Contains(purposes, purpose) {
		return fleet.Errorf(fleet.CodeInvalid, "purpose %q: want one of %v", purpose, purposes)
	}
	if text == "" || source == "" || len(text)+len(source) > maxName || hasControl(text+source) {
		return fleet.Errorf(fleet.CodeInvalid, "consent to text %.40q through %.40q: want the version of the text and where it was given", text, source)
	}
	return r.editPerson(ctx, tenant, personID, func(p *fleet.Person) (action, detail string, err error) {
		now := r.now().Truncate(time.Millisecond)
		for i := range p.Consents {
			if c := &p.Consents[i]; c.Purpose == purpose {
				if c.Text == text {
					return "", "", errSame
				}
				c.WithdrawnAt = now
			}
		}
		p.Consents = append(p.Consents, fleet.Consent{ID: randomID(), Tenant: tenant, PersonID: personID, Purpose: purpose,
			Text: text, Source: source, GivenAt: now})
		return fleet.ActionConsent, fmt.Sprintf("%s, text %s, through %s", purpose, text, source), nil
	})
}

var purposes = []fleet.Purpose{fleet.PurposeTips, fleet.PurposeReview, fleet.PurposePartner}

// WithdrawConsent ends a person's consent to a purpose from now on; the record of it stays. None is no error.
func (r *Registry) WithdrawConsent(ctx context.Context, tenant, personID string, purpose fleet.Purpose) error {
	return r.editPerson(ctx, tenant, personID, func(p *fleet.Person) (action, detail string, err error) {
		found := false
		for i := range p.Consents {
			if c := &p.Consents[i]; c.Purpose == purpose {
				c.WithdrawnAt, found = r.now().Truncate(time.Millisecond), true
			}
		}
		if !found {
			return "", "", errSame
		}
		return fleet.ActionConsentEnd, string(purpose), nil
	})
}

// Consents returns what a person ever agreed to, oldest first, what she took back included.
func (r *Registry) Consents(ctx context.Context, tenant, personID string) ([]fleet.Consent, error) {
	return r.store.Consents(ctx, tenant, personID)
}

// SetHousehold says with whom a person lives, and in which place she hears: the lowest rank first. An empty household is one of
// her own.
func (r *Registry) SetHousehold(ctx context.Context, tenant, personID, household string, rank int) error {
	return r.editPerson(ctx, tenant, personID, func(p *fleet.Person) (action, detail string, err error) {
		if err := invalidPerson(p, r.checkHousehold(p, household)); err != nil {
			return "", "", err
		}
		if rank < 0 || rank > 1000 {
			return "", "", invalidPerson(p, fmt.Errorf("rank %d: want 0 to 1000", rank))
		}
		if p.Household == household && p.Rank == rank {
			return "", "", errSame
		}
		p.Household, p.Rank = household, rank
		if household == "" {
			return fleet.ActionHousehold, "lives alone", nil
		}
		return fleet.ActionHousehold, fmt.Sprintf("%s, place %d", household, rank), nil
	})
}

// errSame ends an edit that would change nothing: nothing is written and nobody is told.
var errSame = fleet.Errorf(fleet.CodeConflict, "nothing to change")

// editPerson changes a person with the security event that edit names, and sees it at once.
func (r *Registry) editPerson(ctx context.Context, tenant, id string, edit func(*fleet.Person) (action, detail string, err error)) error {
	same := false
	err := r.store.EditPerson(ctx, tenant, id, func(p *fleet.Person) ([]fleet.SecurityEvent, error) {
		action, detail, err := edit(p)
		if err != nil {
			same = err == errSame //nolint:errorlint // our own value, never wrapped here
			return nil, err
		}
		return []fleet.SecurityEvent{r.event(actor(ctx), action, personSubject(p), detail)}, nil
	})
	if err != nil && !same {
		return err
	}
	r.takeIn(ctx)
	return nil
}
