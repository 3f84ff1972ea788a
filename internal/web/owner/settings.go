package owner

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"time"

	"aftercare/internal/fleet"
)

type settingsData struct {
	*visit
	Person    *fleet.Person
	Locales   []option
	Zones     []option
	Endpoints []endpointRow
	Topics    []topicRow
	Days      []option
	Hours     []option
	Consents  []consentRow
	Members   []memberRow
	Sessions  []sessionRow
	Things    []thingRow
	Email     bool   // an address can be added
	Said      string // what was done just now
}

type option struct {
	Value, Name string
	On          bool
}

type endpointRow struct {
	ID, Push string // Push: the hash of the address by which a browser knows its own
	Channel  string
	Label    string
	First    bool
	Can      bool // a test message can be sent
}

type topicRow struct {
	Topic    fleet.Topic
	Name     string
	About    string
	Channels []wishRow
}

type wishRow struct {
	Channel, Name string
	Options       []option
}

type consentRow struct {
	Purpose fleet.Purpose
	Name    string
	Text    string // word for word
	Version string
	Given   time.Time
	Source  string
	On      bool
	Past    []fleet.Consent
}

type memberRow struct {
	Name string
	You  bool
}

type sessionRow struct {
	ID    string
	Agent string
	Used  time.Time
	Since time.Time
	This  bool
}

func (s *Site) settings(v *visit) error {
	ctx := v.r.Context()
	v.Title, v.Nav = v.T("settings.title"), "settings"
	d := settingsData{visit: v, Person: v.person, Email: s.deps.Email}
	if said := v.r.URL.Query().Get("said"); said != "" && textOf("saved."+said, v.Lang) != "saved."+said {
		d.Said = v.T("saved." + said)
	}
	d.Locales = selected(localeOptions(v.person.Locale), v.person.Locale)
	d.Zones = selected(zoneOptions(v), v.person.Zone)
	for i, e := range v.person.Endpoints {
		d.Endpoints = append(d.Endpoints, endpointRow{ID: endpointID(e), Push: pushHash(e), Channel: v.channelWord(e.Channel), Label: endpointLabel(e), First: i == 0, Can: true})
	}
	d.Topics = v.topicRows()
	d.Days, d.Hours = v.digestOptions()
	given, err := s.deps.Consents.Consents(ctx, v.person.Tenant, v.person.ID)
	if err != nil {
		return err
	}
	d.Consents = v.consentRows(given)
	if h, ok := s.deps.People.Household(v.person.Tenant, householdID(v.person)); ok {
		for i := range h.Members {
			d.Members = append(d.Members, memberRow{h.Members[i].Name, h.Members[i].ID == v.person.ID})
		}
	}
	if d.Sessions, err = s.sessionRows(v); err != nil {
		return err
	}
	for _, one := range s.devicesOf(v.person) {
		d.Things = append(d.Things, thingRow{Serial: one.Key.Serial, Name: s.nameOf(v, one), Room: one.Room})
	}
	return s.render(v, http.StatusOK, "settings", d)
}

// householdID is the household's, or the person's own for one who lives in none.
func householdID(p *fleet.Person) string {
	if p.Household != "" {
		return p.Household
	}
	return p.ID
}

func (s *Site) sessionRows(v *visit) ([]sessionRow, error) {
	list, err := s.deps.Sessions.Sessions(v.r.Context(), v.person.Tenant, v.person.ID)
	if err != nil {
		return nil, err
	}
	var out []sessionRow
	for _, x := range list {
		if !x.RevokedAt.IsZero() || !x.ExpiresAt.After(v.Now) {
			continue
		}
		row := sessionRow{x.ID, x.Agent, x.UsedAt, x.CreatedAt, x.ID == v.session.ID}
		if row.Agent == "" {
			row.Agent = v.T("sessions.unknown")
		}
		out = append(out, row)
	}
	slices.SortStableFunc(out, func(a, b sessionRow) int { return b.Used.Compare(a.Used) })
	return out, nil
}

func localeOptions(have string) []option {
	out := make([]option, 0, len(locales)+1)
	for _, l := range locales {
		out = append(out, option{Value: l.tag, Name: l.name})
	}
	if !slices.ContainsFunc(out, func(o option) bool { return o.Value == have }) {
		out = append(out, option{Value: have, Name: have})
	}
	return out
}

func zoneOptions(v *visit) []option {
	var out []option
	for _, z := range zonesIn(v.Lang) {
		out = append(out, option{Value: z.Zone, Name: z.Name})
	}
	if !slices.ContainsFunc(out, func(o option) bool { return o.Value == v.person.Zone }) {
		out = append(out, option{Value: v.person.Zone, Name: v.person.Zone})
	}
	return out
}

func selected(list []option, value string) []option {
	for i := range list {
		list[i].On = list[i].Value == value
	}
	return list
}

// endpointID names an endpoint in a form without repeating its address.
func endpointID(e fleet.Endpoint) string {
	sum := sha256.Sum256([]byte(e.Channel + "\n" + e.Address))
	return hex.EncodeToString(sum[:12])
}

func pushHash(e fleet.Endpoint) string {
	if e.Channel != pushChannel {
		return ""
	}
	sum := sha256.Sum256([]byte(e.Address))
	return hex.EncodeToString(sum[:])
}

// endpointLabel is how a person recognises an endpoint. Addresses of services are secrets, and tell her nothing.
func endpointLabel(e fleet.Endpoint) string {
	switch {
	case e.Label != "":
		return e.Label
	case e.Channel == "email":
		return e.Address
	}
	return ""
}

// topicRows are the wishes by topic, for the inbox and each kind of channel that the person has.
func (v *visit) topicRows() []topicRow {
	channels := []string{inboxChannel}
	for _, e := range v.person.Endpoints {
		if !slices.Contains(channels, e.Channel) {
			channels = append(channels, e.Channel)
		}
	}
	out := make([]topicRow, 0, len(fleet.Topics()))
	for _, t := range fleet.Topics() {
		row := topicRow{Topic: t, Name: v.T("topic." + string(t)), About: v.T("topic." + string(t) + ".about")}
		for _, c := range channels {
			if t == fleet.TopicSafety && c == inboxChannel {
				continue // there it always arrives
			}
			row.Channels = append(row.Channels, wishRow{c, v.channelWord(c), selected(v.wants(), string(v.want(t, c)))})
		}
		out = append(out, row)
	}
	return out
}

func (v *visit) wants() []option {
	return []option{{Value: "", Name: v.T("want.usual")}, {Value: string(fleet.WantNow), Name: v.T("want.now")}, {Value: string(fleet.WantDigest), Name: v.T("want.digest")},
		{Value: string(fleet.WantNever), Name: v.T("want.never")}}
}

// want is the wish for a topic on a channel: its own, else that for all channels, else none.
func (v *visit) want(t fleet.Topic, channel string) fleet.Want {
	var all fleet.Want
	for _, p := range v.person.Preferences {
		if p.Topic == t && p.Channel == channel {
			return p.Want
		}
		if p.Topic == t && p.Channel == "" {
			all = p.Want
		}
	}
	return all
}

func (v *visit) digestOptions() (days, hours []option) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		days = append(days, option{Value: strconv.Itoa(int(d)), Name: v.T("day." + strconv.Itoa(int(d)))})
	}
	days = append(days[1:], days[0]) // the week begins on Monday
	hours = []option{{Value: "0", Name: v.T("digest.usual")}}
	for h := 6; h <= 22; h++ {
		hours = append(hours, option{Value: strconv.Itoa(h), Name: v.F("digest.hour", strconv.Itoa(h))})
	}
	return selected(days, strconv.Itoa(int(v.person.DigestDay))), selected(hours, strconv.Itoa(v.person.DigestHour))
}

// consentRows are the purposes with the text that is asked for now; one that holds is shown with its own version and date.
func (v *visit) consentRows(given []fleet.Consent) []consentRow {
	purposes := []fleet.Purpose{fleet.PurposeTips, fleet.PurposeReview, fleet.PurposePartner}
	out := make([]consentRow, 0, len(purposes))
	for _, p := range purposes {
		row := consentRow{Purpose: p, Name: v.T("consent." + string(p)), Text: v.T("consent." + string(p) + ".text"), Version: consentVersion[p]}
		for _, c := range given {
			switch {
			case c.Purpose != p:
			case c.WithdrawnAt.IsZero():
				row.On, row.Given, row.Source = true, c.GivenAt, c.Source
				if c.Text != row.Version { // she agreed to other words than those of today
					row.Version, row.Text = c.Text, v.F("consent.other", c.Text)
				}
			default:
				row.Past = append(row.Past, c)
			}
		}
		out = append(out, row)
	}
	return out
}
