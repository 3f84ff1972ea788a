package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// People is what the registry needs of SQL for people.
type People interface {
	// EditPerson writes what edit makes of a person as she is in the database at that moment, with the security events it
	// returns; an error of edit changes nothing. Consents are only ever added or withdrawn.
	EditPerson(ctx context.Context, tenant, id string, edit func(*fleet.Person) ([]fleet.SecurityEvent, error)) error
	// Consents returns what a person ever agreed to, oldest first.
	Consents(ctx context.Context, tenant, personID string) ([]fleet.Consent, error)
}

// What one person may have of each, and how long a text of hers may be, in bytes.
const (
	maxEndpoints = 20
	maxWishes    = 100
	maxMembers   = 20
	maxName      = 200
	maxAddress   = 2048
)

// Person returns a person.
func (r *Registry) Person(tenant, id string) (*fleet.Person, bool) {
	return r.people.get(fleet.DeviceKey{Tenant: tenant, Serial: id})
}

// Owner returns the person who hears of a device; false if nobody has claimed it.
func (r *Registry) Owner(_ context.Context, key fleet.DeviceKey) (*fleet.Person, bool) {
	d, ok := r.Device(key)
	if !ok || d.OwnerID == "" {
		return nil, false
	}
	return r.Person(key.Tenant, d.OwnerID)
}

// PeopleOf returns the people of a tenant, ordered by id.
func (r *Registry) PeopleOf(tenant string) (out []*fleet.Person) {
	for p := range r.people.all() {
		if p.Tenant == tenant {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *fleet.Person) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Household returns the people who live together, in the order in which they hear. The id is a household's; that of a person
// who lives in none stands for a household of her own.
func (r *Registry) Household(tenant, id string) (fleet.Household, bool) {
	h := fleet.Household{Tenant: tenant, ID: id}
	members, _ := r.households.get(fleet.DeviceKey{Tenant: tenant, Serial: id})
	if len(members) == 0 {
		p, ok := r.Person(tenant, id)
		if !ok || p.Household != "" {
			return fleet.Household{}, false
		}
		members = []*fleet.Person{p}
	}
	for _, p := range members {
		h.Members = append(h.Members, *p)
	}
	return h, true
}

// HouseholdOf returns the household of a person.
func (r *Registry) HouseholdOf(tenant, personID string) (fleet.Household, bool) {
	p, ok := r.Person(tenant, personID)
	if !ok {
		return fleet.Household{}, false
	}
	if p.Household != "" {
		return r.Household(tenant, p.Household)
	}
	return fleet.Household{Tenant: tenant, ID: p.ID, Members: []fleet.Person{*p}}, true
}

// takePeople puts changed people and the households they live in, or have left, in place.
func (r *Registry) takePeople(changed map[fleet.DeviceKey]*fleet.Person) {
	homes := map[fleet.DeviceKey][]*fleet.Person{}
	home := func(tenant, id string) fleet.DeviceKey {
		k := fleet.DeviceKey{Tenant: tenant, Serial: id}
		if _, ok := homes[k]; !ok {
			members, _ := r.households.get(k)
			homes[k] = slices.Clone(members)
		}
		return k
	}
	for key, p := range changed {
		if old, ok := r.people.get(key); ok && old.Household != "" {
			k := home(old.Tenant, old.Household)
			homes[k] = slices.DeleteFunc(homes[k], func(m *fleet.Person) bool { return m.ID == old.ID })
		}
		if p.Household != "" {
			k := home(p.Tenant, p.Household)
			homes[k] = append(homes[k], p)
		}
	}
	for _, members := range homes {
		slices.SortFunc(members, func(a, b *fleet.Person) int {
			if a.Rank != b.Rank {
				return a.Rank - b.Rank
			}
			return strings.Compare(a.ID, b.ID)
		})
	}
	r.people.put(changed)
	r.households.put(homes)
}

// SavePeople makes people with all that is said of them, in one transaction. Of those who exist it replaces the profile (name,
// locale, zone, time of the digest) and the household, nothing else: a list that is imported again must not undo what people
// have told us themselves since.
func (r *Registry) SavePeople(ctx context.Context, people []fleet.Person) error {
	var errs []error
	events := make([]fleet.SecurityEvent, 0, len(people))
	for i := range people {
		p := &people[i]
		if err := r.checkPerson(p); err != nil {
			errs = append(errs, err)
		}
		if _, known := r.Person(p.Tenant, p.ID); !known {
			events = append(events, r.event(actor(ctx), fleet.ActionPersonMade, personSubject(p), ""))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return r.save(ctx, nil, nil, people, events...)
}

func personSubject(p *fleet.Person) fleet.DeviceKey {
	return fleet.DeviceKey{Tenant: p.Tenant, Serial: p.ID}
}

func (r *Registry) checkPerson(p *fleet.Person) error {
	err := checkProfile(p)
	if !fleet.ValidName(p.Tenant) || !fleet.ValidName(p.ID) {
		err = errors.New("tenant and id want 1 to 64 letters, digits, '.', '_', '-', beginning with a letter or digit")
	}
	if err == nil {
		err = r.checkHousehold(p, p.Household)
	}
	for _, e := range p.Endpoints {
		if err == nil {
			err = checkEndpoint(e)
		}
	}
	for _, w := range p.Preferences {
		if err == nil {
			err = checkWish(w)
		}
	}
	if err == nil && (len(p.Endpoints) > maxEndpoints || len(p.Preferences) > maxWishes) {
		err = fmt.Errorf("at most %d endpoints and %d preferences", maxEndpoints, maxWishes)
	}
	return invalidPerson(p, err)
}

func invalidPerson(p *fleet.Person, err error) error {
	if err == nil {
		return nil
	}
	return fleet.Errorf(fleet.CodeInvalid, "person %q: %w", p.Tenant+"/"+p.ID, err)
}

func checkProfile(p *fleet.Person) error {
	if len(p.Locale) < 2 || len(p.Locale) > 35 {
		return fmt.Errorf("locale %q: want a language such as \"de-DE\"", p.Locale)
	}
	if _, err := time.LoadLocation(p.Zone); err != nil || p.Zone == "" || p.Zone == "Local" {
		return fmt.Errorf("zone %q: want a time zone such as \"Europe/Berlin\"", p.Zone)
	}
	if len(p.Name) > maxName || hasControl(p.Name) {
		return fmt.Errorf("name %.40q: want at most %d bytes in one line", p.Name, maxName)
	}
	if p.DigestDay < time.Sunday || p.DigestDay > time.Saturday || p.DigestHour < 0 || p.DigestHour > 23 {
		return fmt.Errorf("digest on day %d at %d: want a day of the week and a full hour", p.DigestDay, p.DigestHour)
	}
	return nil
}

func checkEndpoint(e fleet.Endpoint) error {
	switch {
	case e.Channel == "" || e.Address == "":
		return fmt.Errorf("endpoint %q %q: want a channel and an address", e.Channel, e.Address)
	case len(e.Channel) > 32 || len(e.Address) > maxAddress || len(e.Secret) > maxAddress || len(e.Label) > maxName:
		return fmt.Errorf("endpoint of channel %.32q: want an address of at most %d bytes and a label of at most %d", e.Channel, maxAddress, maxName)
	case hasControl(e.Channel + e.Address + e.Secret + e.Label):
		return fmt.Errorf("endpoint of channel %q: control characters", e.Channel)
	}
	return nil
}

func checkWish(w fleet.Preference) error {
	switch {
	case !slices.Contains(fleet.Topics(), w.Topic):
		return fmt.Errorf("topic %q: want one of %v", w.Topic, fleet.Topics())
	case w.Want != fleet.WantNow && w.Want != fleet.WantDigest && w.Want != fleet.WantNever:
		return fmt.Errorf("want %q: want now, digest or never", w.Want)
	case len(w.Channel) > 32 || hasControl(w.Channel):
		return fmt.Errorf("channel %.32q: too long", w.Channel)
	}
	return nil
}

// checkHousehold refuses a household with the name of a person who does not live there: her household of one has that name.
func (r *Registry) checkHousehold(p *fleet.Person, household string) error {
	if household == "" {
		return nil
	}
	if !fleet.ValidName(household) {
		return fmt.Errorf("household %q: want 1 to 64 letters, digits, '.', '_', '-'", household)
	}
	if other, ok := r.Person(p.Tenant, household); ok && other.ID != p.ID && other.Household != household {
		return fmt.Errorf("household %q has the id of a person who does not live there", household)
	}
	members, _ := r.households.get(fleet.DeviceKey{Tenant: p.Tenant, Serial: household})
	if len(members) >= maxMembers && !slices.ContainsFunc(members, func(m *fleet.Person) bool { return m.ID == p.ID }) {
		return fmt.Errorf("household %q: at most %d members", household, maxMembers)
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}
