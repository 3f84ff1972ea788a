package registry

import (
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

// Terms are the warranty terms by country. They answer who pays for what on a date, and read no clock, store or settings.
type Terms struct {
	countries map[string]*countryTerms // ISO 3166; "" are those of all other countries
}

// countryTerms is one file: what holds in one country.
type countryTerms struct {
	country   string
	zone      *time.Location // where the last day ends for a device nobody owns
	maker     string         // name
	warranty  []grant        // the maker's, of which the first that fits counts
	statutory grant
	seller    string // who answers by law: "seller", or "maker" where the maker sells
	presumed  int    // months in which the owner has not to show that a fault was there from the start; 0: all of it
	excluded  excluded
}

// grant is a length of cover for some devices.
type grant struct {
	categories []string // empty: all
	models     []string
	months     int
}

func (g *grant) fits(d *fleet.Device) bool {
	if len(g.categories) == 0 && len(g.models) == 0 {
		return true
	}
	return slices.Contains(g.categories, d.Category) || slices.Contains(g.models, d.Model)
}

// excluded is what nobody pays for.
type excluded struct {
	kinds      []fleet.Kind
	components map[string]bool // wear parts
}

// Matter is what cover is asked for: what a finding is about. The zero value asks for the device as such.
type Matter struct {
	Kind      fleet.Kind
	Component string // of the model's profile; empty: none in particular
}

// pays reports whether cover pays for a matter. Safety is always paid for. A part that wears is not, nor what its kind
// excludes; but what is about a part that does not wear is no upkeep, though its kind be maintenance: a bearing that gets loud.
func (x *excluded) pays(m Matter) bool {
	switch {
	case m.Kind == fleet.KindSafety || m.Kind == "":
		return true
	case x.components[m.Component]:
		return false
	case m.Kind == fleet.KindMaintenance && m.Component != "":
		return true
	default:
		return !slices.Contains(x.kinds, m.Kind)
	}
}

// The kinds of cover.
const (
	coverMaker     = "manufacturer"
	coverStatutory = "statutory"
	coverContract  = "contract"
	coverNone      = "none"
)

// Cover says who pays for a matter of a device on the day that at is in the zone, the owner's; nil means the country's. The
// days of a device (installed, warranty until) are calendar days, kept as their beginning in UTC; the last one counts. What
// the registry says of the device's own warranty goes before the terms. Of several that hold the maker's is named, then a
// contract, then the law's, those that pay for the matter first. Kind is "none" when none holds: then Until is when
// the last one ended.
func (t *Terms) Cover(d *fleet.Device, zone *time.Location, at time.Time, m Matter) fleet.Cover {
	c := t.of(d.Region)
	if zone == nil {
		zone = c.zone
	}
	today := dayOf(at.In(zone))
	pays := c.excluded.pays(m)
	best := fleet.Cover{Kind: coverNone}
	var last day
	for _, o := range c.offers(d) {
		if o.until > last {
			last = o.until
		}
		if o.until >= today && best.Kind == coverNone {
			best = fleet.Cover{Kind: o.kind, By: o.by, Name: o.name, Until: o.until.noon(zone), Days: int(o.until - today), Pays: pays}
			best.Text = words.CoverText(best, at, zone, d.Region, o.proof != 0 && today > o.proof)
		}
	}
	if best.Kind == coverNone && last != 0 {
		best.Until, best.Days = last.noon(zone), int(last-today)
	}
	if best.Text == nil {
		best.Text = words.CoverText(best, at, zone, d.Region, false)
	}
	return best
}

// offer is one cover a device has, or had.
type offer struct {
	kind, by, name string
	until          day
	proof          day // after it the owner has to show that the fault was there from the start; 0: never
}

// offers returns those whose end is known, in the order in which they are named.
func (c *countryTerms) offers(d *fleet.Device) (out []offer) {
	add := func(o offer) {
		if o.until != 0 {
			out = append(out, o)
		}
	}
	installed := dayOf(d.InstalledAt.UTC())
	if d.InstalledAt.IsZero() {
		installed = 0
	}
	maker := offer{kind: coverMaker, by: "maker", name: c.maker}
	switch i := slices.IndexFunc(c.warranty, func(g grant) bool { return g.fits(d) }); {
	case !d.WarrantyUntil.IsZero():
		maker.until = dayOf(d.WarrantyUntil.UTC())
	case i >= 0 && installed != 0:
		maker.until = installed.plus(c.warranty[i].months)
	}
	add(maker)
	if !d.ContractUntil.IsZero() {
		add(offer{kind: coverContract, by: "insurer", name: d.Contract, until: dayOf(d.ContractUntil.UTC())})
	}
	if c.statutory.months > 0 && installed != 0 {
		law := offer{kind: coverStatutory, by: c.seller, name: d.Seller, until: installed.plus(c.statutory.months)}
		if c.seller == "maker" {
			law.name = c.maker
		}
		if c.presumed > 0 {
			law.proof = installed.plus(c.presumed)
		}
		add(law)
	}
	return out
}

func (t *Terms) of(region string) *countryTerms {
	country, _, _ := strings.Cut(region, "-")
	if t != nil {
		if c, ok := t.countries[country]; ok {
			return c
		}
		if c, ok := t.countries[""]; ok {
			return c
		}
	}
	return &noTerms
}

// noTerms knows only what the registry says of a device.
var noTerms = countryTerms{zone: time.UTC, seller: "seller", excluded: excluded{kinds: []fleet.Kind{fleet.KindUsage}}}

// day counts calendar days since 1 January 1970, which is 1: 0 is none.
type day int

func dayOf(t time.Time) day {
	y, m, d := t.Date()
	return day(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix()/86400) + 1
}

func (d day) date() (int, time.Month, int) {
	return time.Unix(int64(d-1)*86400, 0).UTC().Date()
}

// plus is the same day of the month so many months later, the last of a month that has no such day: what was installed on
// 29 February is covered until 28 February. (Regulation 1182/71, article 3: a period ends with the day of the same date.)
func (d day) plus(months int) day {
	y, m, dd := d.date()
	first := time.Date(y, m+time.Month(months), 1, 0, 0, 0, 0, time.UTC)
	lastDay := first.AddDate(0, 1, -1).Day()
	return dayOf(first.AddDate(0, 0, min(dd, lastDay)-1))
}

// noon is a moment of the day that is of the same day in nearly every other zone.
func (d day) noon(zone *time.Location) time.Time {
	y, m, dd := d.date()
	return time.Date(y, m, dd, 12, 0, 0, 0, zone)
}

// Cover says who pays for what a case is about, on the day that at is for the owner; a nil case asks for the device as such.
func (r *Registry) Cover(d *fleet.Device, at time.Time, c *fleet.Case) fleet.Cover {
	var m Matter
	if c != nil {
		m.Kind = c.Kind
		if f := r.components.Load(); f != nil {
			m.Component = (*f)(c.Rule)
		}
	}
	return r.CoverOf(d, at, m)
}

// CoverOf is Cover for a matter that is no case.
func (r *Registry) CoverOf(d *fleet.Device, at time.Time, m Matter) fleet.Cover {
	var zone *time.Location
	if p, ok := r.Person(d.Key.Tenant, d.OwnerID); ok && d.OwnerID != "" {
		zone = locationOf(p.Zone)
	}
	return r.terms.Cover(d, zone, at, m)
}

// UseRules tells the registry which component a rule is about, for what the warranty terms say of wear parts. It may be called
// while the registry is in use.
func (r *Registry) UseRules(component func(rule string) string) { r.components.Store(&component) }
