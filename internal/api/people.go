package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"aftercare/internal/fleet"
)

// What the API needs to know and do about people.
type (
	// People reads who there is; consents are oldest first, withdrawn ones included.
	People interface {
		PeopleOf(tenant string) []*fleet.Person
		Person(tenant, id string) (*fleet.Person, bool)
		HouseholdOf(tenant, personID string) (fleet.Household, bool)
		Consents(ctx context.Context, tenant, personID string) ([]fleet.Consent, error)
	}
	// Wishes changes what people want and agreed to. PutPerson makes a person or changes the profile.
	Wishes interface {
		PutPerson(ctx context.Context, p fleet.Person) error
		SetHousehold(ctx context.Context, tenant, personID, household string, rank int) error
		SetPreferences(ctx context.Context, tenant, personID string, wishes ...fleet.Preference) error
		GiveConsent(ctx context.Context, tenant, personID string, purpose fleet.Purpose, text, source string) error
		WithdrawConsent(ctx context.Context, tenant, personID string, purpose fleet.Purpose) error
	}
	// Belongings says whose a device is and who pays for it.
	Belongings interface {
		Device(key fleet.DeviceKey) (*fleet.Device, bool)
		SetOwner(ctx context.Context, key fleet.DeviceKey, personID string) error
		Cover(d *fleet.Device, at time.Time, c *fleet.Case) fleet.Cover
	}
)

// Person is somebody who hears of devices. Addresses are not shown.
type Person struct {
	ID          string       `json:"id"`
	Name        string       `json:"name,omitempty"`
	Locale      string       `json:"locale"`
	Zone        string       `json:"zone"`
	Household   string       `json:"household,omitempty"`
	Place       int          `json:"place" doc:"within the household: the lowest hears first"`
	Channels    []string     `json:"channels" doc:"on which she has an address, besides the inbox"`
	Preferences []Preference `json:"preferences"`
}

// Preference is a wish for a topic on a channel.
type Preference struct {
	Topic   string `json:"topic" enum:"safety,fault,warranty,maintenance,tip,review"`
	Channel string `json:"channel,omitempty" maxLength:"32" doc:"absent: all channels"`
	Want    string `json:"want" enum:"now,digest,never,default" doc:"default takes the wish back"`
}

// Consent is what somebody agreed to.
type Consent struct {
	ID          string     `json:"id"`
	Purpose     string     `json:"purpose"`
	Text        string     `json:"text" doc:"version of the text"`
	Source      string     `json:"source"`
	GivenAt     time.Time  `json:"given_at"`
	WithdrawnAt *time.Time `json:"withdrawn_at,omitempty"`
}

// Cover is who pays for a device on a day.
type Cover struct {
	Kind  string            `json:"kind" enum:"manufacturer,statutory,contract,none"`
	By    string            `json:"by,omitempty"`
	Name  string            `json:"name,omitempty"`
	Until string            `json:"until,omitempty" format:"date" doc:"the last day"`
	Days  int               `json:"days" doc:"left; negative: so long over"`
	Text  map[string]string `json:"text" doc:"by language"`
}

// PersonRef names a person in a path.
type PersonRef struct {
	ID string `path:"id" maxLength:"64"`
}

type personOut struct{ Body Person }

type peopleOut struct {
	Body struct {
		People []Person `json:"people"`
	}
}

type personIn struct {
	PersonRef
	Body struct {
		Name   string `json:"name,omitempty" maxLength:"200"`
		Locale string `json:"locale" maxLength:"35"`
		Zone   string `json:"zone" maxLength:"64"`
	}
}

type householdIn struct {
	PersonRef
	Body struct {
		Household string `json:"household" maxLength:"64" doc:"empty: she lives alone"`
		Place     int    `json:"place,omitempty" minimum:"0" maximum:"1000"`
	}
}

type wishesIn struct {
	PersonRef
	Body struct {
		Preferences []Preference `json:"preferences" maxItems:"100"`
	}
}

type consentIn struct {
	PersonRef
	Body struct {
		Purpose string `json:"purpose" enum:"tips,review,partner"`
		Text    string `json:"text" maxLength:"100" doc:"version of the text she agreed to"`
		Source  string `json:"source" maxLength:"100" doc:"through what she did"`
	}
}

type withdrawIn struct {
	PersonRef
	Purpose string `path:"purpose" enum:"tips,review,partner"`
}

type consentsOut struct {
	Body struct {
		Consents []Consent `json:"consents"`
	}
}

type membersOut struct {
	Body struct {
		ID      string   `json:"id"`
		Members []Person `json:"members" doc:"in the order in which they hear"`
	}
}

type transferIn struct {
	DeviceRef
	Body struct {
		Person string `json:"person" maxLength:"64" doc:"empty: nobody"`
	}
}

type coverIn struct {
	DeviceRef
	At time.Time `query:"at" doc:"on which day; default: now"`
}

type coverOut struct{ Body Cover }

func (a *api) people(h huma.API) {
	huma.Register(h, a.operation("list-people", http.MethodGet, "/people", "People, by id"), a.listPeople)
	huma.Register(h, a.operation("get-person", http.MethodGet, "/people/{id}", "One person", 404), a.getPerson)
	huma.Register(h, a.operation("put-person", http.MethodPut, "/people/{id}", "Register a person, or change name, locale and zone", 400), a.putPerson)
	huma.Register(h, a.operation("get-household", http.MethodGet, "/people/{id}/household", "With whom a person lives", 404), a.getHousehold)
	huma.Register(h, a.operation("set-household", http.MethodPut, "/people/{id}/household", "Say with whom a person lives", 400, 404), a.setHousehold)
	huma.Register(h, a.operation("set-preferences", http.MethodPost, "/people/{id}/preferences", "Set wishes; those not named stay", 400, 404), a.setPreferences)
	huma.Register(h, a.operation("list-consents", http.MethodGet, "/people/{id}/consents", "What a person agreed to, oldest first, withdrawn ones included", 404), a.listConsents)
	huma.Register(h, a.operation("give-consent", http.MethodPost, "/people/{id}/consents", "Record a consent", 400, 404), a.giveConsent)
	huma.Register(h, a.operation("withdraw-consent", http.MethodPost, "/people/{id}/consents/{purpose}/withdraw", "Record that a consent was taken back", 404), a.withdrawConsent)
	huma.Register(h, a.operation("transfer-device", http.MethodPost, "/devices/{tenant}/{serial}/transfer", "Give a device to another owner: what was before stays the first one's", 400, 404), a.transfer)
	huma.Register(h, a.operation("get-cover", http.MethodGet, "/devices/{tenant}/{serial}/cover", "Who pays for a device on a day, by the warranty terms", 404), a.cover)
}

func personOf(p *fleet.Person) Person {
	out := Person{ID: p.ID, Name: p.Name, Locale: p.Locale, Zone: p.Zone, Household: p.Household, Place: p.Rank,
		Channels: make([]string, 0, len(p.Endpoints)), Preferences: make([]Preference, 0, len(p.Preferences))}
	for _, e := range p.Endpoints {
		out.Channels = append(out.Channels, e.Channel)
	}
	for _, w := range p.Preferences {
		out.Preferences = append(out.Preferences, Preference{string(w.Topic), w.Channel, string(w.Want)})
	}
	return out
}

// known is a person of ours.
func (a *api) known(op, id string) (*fleet.Person, error) {
	if p, ok := a.deps.People.Person(a.cfg.Tenant, id); ok {
		return p, nil
	}
	return nil, a.failed(op, fleet.Errorf(fleet.CodeNotFound, "there is no person %q", id))
}

// done is the answer to what changes something.
func (a *api) done(op string, err error) (*nothingOut, error) {
	if err != nil {
		return nil, a.failed(op, err)
	}
	return &nothingOut{}, nil
}

func (a *api) listPeople(_ context.Context, _ *struct{}) (*peopleOut, error) {
	list := a.deps.People.PeopleOf(a.cfg.Tenant)
	out := &peopleOut{}
	out.Body.People = make([]Person, 0, len(list))
	for _, p := range list {
		out.Body.People = append(out.Body.People, personOf(p))
	}
	return out, nil
}

func (a *api) getPerson(_ context.Context, in *PersonRef) (*personOut, error) {
	p, err := a.known("get-person", in.ID)
	if err != nil {
		return nil, err
	}
	return &personOut{personOf(p)}, nil
}

func (a *api) putPerson(ctx context.Context, in *personIn) (*nothingOut, error) {
	return a.done("put-person", a.deps.Wishes.PutPerson(ctx, fleet.Person{Tenant: a.cfg.Tenant, ID: in.ID, Name: in.Body.Name, Locale: in.Body.Locale, Zone: in.Body.Zone}))
}

func (a *api) getHousehold(_ context.Context, in *PersonRef) (*membersOut, error) {
	h, ok := a.deps.People.HouseholdOf(a.cfg.Tenant, in.ID)
	if !ok {
		return nil, a.failed("get-household", fleet.Errorf(fleet.CodeNotFound, "there is no person %q", in.ID))
	}
	out := &membersOut{}
	out.Body.ID, out.Body.Members = h.ID, make([]Person, 0, len(h.Members))
	for i := range h.Members {
		out.Body.Members = append(out.Body.Members, personOf(&h.Members[i]))
	}
	return out, nil
}

func (a *api) setHousehold(ctx context.Context, in *householdIn) (*nothingOut, error) {
	return a.done("set-household", a.deps.Wishes.SetHousehold(ctx, a.cfg.Tenant, in.ID, in.Body.Household, in.Body.Place))
}

func (a *api) setPreferences(ctx context.Context, in *wishesIn) (*nothingOut, error) {
	wishes := make([]fleet.Preference, 0, len(in.Body.Preferences))
	for _, w := range in.Body.Preferences {
		p := fleet.Preference{Topic: fleet.Topic(w.Topic), Channel: w.Channel, Want: fleet.Want(w.Want)}
		if w.Want == "default" {
			p.Want = ""
		}
		wishes = append(wishes, p)
	}
	return a.done("set-preferences", a.deps.Wishes.SetPreferences(ctx, a.cfg.Tenant, in.ID, wishes...))
}

func (a *api) listConsents(ctx context.Context, in *PersonRef) (*consentsOut, error) {
	if _, err := a.known("list-consents", in.ID); err != nil {
		return nil, err
	}
	list, err := a.deps.People.Consents(ctx, a.cfg.Tenant, in.ID)
	if err != nil {
		return nil, a.failed("list-consents", err)
	}
	out := &consentsOut{}
	out.Body.Consents = make([]Consent, 0, len(list))
	for _, c := range list {
		out.Body.Consents = append(out.Body.Consents, Consent{c.ID, string(c.Purpose), c.Text, c.Source, c.GivenAt.UTC(), moment(c.WithdrawnAt)})
	}
	return out, nil
}

func (a *api) giveConsent(ctx context.Context, in *consentIn) (*nothingOut, error) {
	return a.done("give-consent", a.deps.Wishes.GiveConsent(ctx, a.cfg.Tenant, in.ID, fleet.Purpose(in.Body.Purpose), in.Body.Text, in.Body.Source))
}

func (a *api) withdrawConsent(ctx context.Context, in *withdrawIn) (*nothingOut, error) {
	return a.done("withdraw-consent", a.deps.Wishes.WithdrawConsent(ctx, a.cfg.Tenant, in.ID, fleet.Purpose(in.Purpose)))
}

func (a *api) transfer(ctx context.Context, in *transferIn) (*nothingOut, error) {
	return &nothingOut{}, a.on("transfer-device", in.DeviceRef, func(key fleet.DeviceKey) error { return a.deps.Belongings.SetOwner(ctx, key, in.Body.Person) })
}

func (a *api) cover(_ context.Context, in *coverIn) (*coverOut, error) {
	out := &coverOut{}
	return out, a.on("get-cover", in.DeviceRef, func(key fleet.DeviceKey) error {
		d, ok := a.deps.Belongings.Device(key)
		if !ok {
			return fleet.Errorf(fleet.CodeNotFound, "device %q is not registered", key)
		}
		at := in.At
		if at.IsZero() {
			at = a.now()
		}
		c := a.deps.Belongings.Cover(d, at, nil)
		out.Body = Cover{Kind: c.Kind, By: c.By, Name: c.Name, Days: c.Days, Text: c.Text}
		if !c.Until.IsZero() {
			out.Body.Until = c.Until.Format(time.DateOnly)
		}
		return nil
	})
}
