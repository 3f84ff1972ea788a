package registry_test

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

const termsDE = `country: DE
zone: Europe/Berlin
manufacturer:
  - {categories: [cordless-drill], months: 36}
  - {months: 12}
statutory: {months: 24, by: seller, presumed: 12}
excluded:
  kinds: [maintenance, usage]
  components: [filter]
`

func terms(t testing.TB, files map[string]string) (*registry.Terms, []string) {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	out, problems := registry.LoadWarranty(fsys, []fleet.Model{
		{ID: "washer-w7", Category: "washing-machine", Components: []fleet.Component{{Name: "filter"}, {Name: "bearing"}}}, {ID: "drill-d18", Category: "cordless-drill"}})
	said := make([]string, 0, len(problems))
	for _, p := range problems {
		said = append(said, p.String())
	}
	return out, said
}

func goodTerms(t testing.TB) *registry.Terms {
	t.Helper()
	out, said := terms(t, map[string]string{"de.yaml": termsDE, "default.yaml": "manufacturer: [{months: 24}]\n"})
	if len(said) > 0 {
		t.Fatal(said)
	}
	return out
}

func date(s string) time.Time {
	if s == "" {
		return time.Time{}
	}
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return d
}

func TestCoverByCase(t *testing.T) {
	berlin, _ := time.LoadLocation("Europe/Berlin")
	newYork, _ := time.LoadLocation("America/New_York")
	fault := registry.Matter{Kind: fleet.KindFault}
	all := goodTerms(t)
	for _, c := range []struct {
		name      string
		installed string
		until     string // the device's own
		region    string
		category  string
		zone      *time.Location
		at        time.Time
		matter    registry.Matter
		kind      string
		last      string
		days      int
		pays      bool
		en, de    string
	}{
		{"the maker first", "2026-01-15", "", "DE-BE", "", berlin, date("2026-12-23"), fault, "manufacturer", "2027-01-15", 23, true,
			"Covered by the maker until 15 January 2027, 23 days.", "Garantie des Herstellers bis 15. Januar 2027, noch 23 Tage."},
		{"then the seller", "2026-01-15", "", "DE", "", berlin, date("2027-01-16"), fault, "statutory", "2028-01-15", 364, true,
			"Covered by Elektro Seidel until 15 January 2028; you may have to show that the fault was there from the start.",
			"Gewährleistung durch Elektro Seidel bis 15. Januar 2028; Sie müssen eventuell zeigen, dass der Fehler von Anfang an da war."},
		{"then nobody", "2026-01-15", "", "DE", "", berlin, date("2028-01-16"), fault, "none", "2028-01-15", -1, false,
			"The cover ended on 15 January.", "Die Garantie endete am 15. Januar."},
		{"the device's own", "2024-12-01", "2026-12-14", "DE", "", berlin, date("2026-11-21"), fault, "manufacturer", "2026-12-14", 23, true,
			"Covered by the maker until 14 December, 23 days.", "Garantie des Herstellers bis 14. Dezember, noch 23 Tage."},
		{"its last minute in the owner's zone", "", "2026-12-14", "DE", "", berlin, time.Date(2026, 12, 14, 23, 59, 0, 0, berlin), fault, "manufacturer", "2026-12-14", 0, true,
			"Covered by the maker until today.", "Garantie des Herstellers nur noch heute."},
		{"and the minute after", "", "2026-12-14", "DE", "", berlin, time.Date(2026, 12, 15, 0, 0, 0, 0, berlin), fault, "none", "2026-12-14", -1, false, "The cover ended on 14 December.", ""},
		{"the country's zone for a device of nobody's", "", "2026-12-14", "DE", "", nil, time.Date(2026, 12, 14, 22, 59, 0, 0, time.UTC), fault, "manufacturer", "2026-12-14", 0, true, "", ""},
		{"another country's", "2026-01-01", "", "US", "", newYork, date("2027-12-31").Add(12 * time.Hour), fault, "manufacturer", "2028-01-01", 1, true,
			"Covered by the maker until January 1, 2028, 1 day.", "Garantie des Herstellers bis 1. Januar 2028, noch 1 Tag."},
		{"by category", "2026-01-15", "", "DE", "cordless-drill", berlin, date("2028-06-01"), fault, "manufacturer", "2029-01-15", 228, true, "Covered by the maker until 15 January 2029.", ""},
		{"29 February", "2028-02-29", "", "DE", "", berlin, date("2029-02-28"), fault, "manufacturer", "2029-02-28", 0, true, "", ""},
		{"31 August and half a year", "2026-08-31", "", "DE", "", berlin, date("2027-08-31"), fault, "manufacturer", "2027-08-31", 0, true, "", ""},
		{"nothing known", "", "", "DE", "", berlin, date("2026-01-01"), fault, "none", "", 0, false, "Whether it is covered is not known.", "Ob Garantie besteht, ist nicht bekannt."},
		{"usage", "2026-01-15", "", "DE", "", berlin, date("2026-02-01"), registry.Matter{Kind: fleet.KindUsage}, "manufacturer", "2027-01-15", 348, false,
			"Covered by the maker until 15 January 2027; wear and use are not part of it.", ""},
		{"upkeep", "2026-01-15", "", "DE", "", berlin, date("2026-02-01"), registry.Matter{Kind: fleet.KindMaintenance}, "manufacturer", "2027-01-15", 348, false, "", ""},
		{"a bearing that gets loud", "2026-01-15", "", "DE", "", berlin, date("2026-02-01"), registry.Matter{Kind: fleet.KindMaintenance, Component: "bearing"}, "manufacturer", "2027-01-15", 348, true, "", ""},
		{"a wear part", "2026-01-15", "", "DE", "", berlin, date("2026-02-01"), registry.Matter{Kind: fleet.KindFault, Component: "filter"}, "manufacturer", "2027-01-15", 348, false, "", ""},
		{"a wear part that is dangerous", "2026-01-15", "", "DE", "", berlin, date("2026-02-01"), registry.Matter{Kind: fleet.KindSafety, Component: "filter"}, "manufacturer", "2027-01-15", 348, true, "", ""},
	} {
		d := &fleet.Device{Region: c.region, Category: c.category, InstalledAt: date(c.installed), WarrantyUntil: date(c.until), Seller: "Elektro Seidel"}
		got := all.Cover(d, c.zone, c.at, c.matter)
		last := ""
		if !got.Until.IsZero() {
			last = got.Until.Format(time.DateOnly)
		}
		if got.Kind != c.kind || last != c.last || got.Days != c.days || got.Pays != c.pays {
			t.Errorf("%s: %+v", c.name, got)
		}
		plain := func(lang string) string { return strings.ReplaceAll(got.Text.In(lang), "\u00a0", " ") }
		if c.en != "" && plain("en") != c.en || c.de != "" && plain("de") != c.de || plain("de") == "" {
			t.Errorf("%s: %q, %q", c.name, plain("en"), plain("de"))
		}
	}
}

// TestCoverNeverGrows: of the same cover a later moment never has more days, each day takes one, what is over does not come back, and who
// pays later has not paid before somebody else's turn.
func TestCoverNeverGrows(t *testing.T) {
	all := goodTerms(t)
	zones := make([]*time.Location, 6) // the last is nil: the country's
	for i, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Asia/Kathmandu"} {
		z, err := time.LoadLocation(name)
		must(t, err)
		zones[i] = z
	}
	rank := map[string]int{"manufacturer": 0, "contract": 1, "statutory": 2, "none": 3}
	rapid.Check(t, func(rt *rapid.T) {
		moment := func(name string) time.Time { return time.Unix(rapid.Int64Range(0, 4e9).Draw(rt, name), 0).UTC() }
		d := &fleet.Device{Region: rapid.SampledFrom([]string{"DE-BE", "US", ""}).Draw(rt, "region")}
		if rapid.Bool().Draw(rt, "installed known") {
			d.InstalledAt = moment("installed").Truncate(24 * time.Hour)
		}
		if rapid.Bool().Draw(rt, "warranty known") {
			d.WarrantyUntil = moment("until").Truncate(24 * time.Hour)
		}
		zone := rapid.SampledFrom(zones).Draw(rt, "zone")
		m := registry.Matter{Kind: rapid.SampledFrom([]fleet.Kind{"", fleet.KindFault, fleet.KindUsage, fleet.KindSafety}).Draw(rt, "kind")}
		at := moment("at")
		later := at.Add(time.Duration(rapid.Int64Range(0, int64(5000*24*time.Hour)).Draw(rt, "later")))
		a, b := all.Cover(d, zone, at, m), all.Cover(d, zone, later, m)
		if rank[b.Kind] < rank[a.Kind] {
			rt.Fatalf("%s at %s, %s at %s", a.Kind, at, b.Kind, later)
		}
		if a.Kind == b.Kind && b.Days > a.Days {
			rt.Fatalf("%d days at %s, %d at %s", a.Days, at, b.Days, later)
		}
		if (a.Kind != "none") != (a.Days >= 0 && !a.Until.IsZero()) || a.Kind == "none" && (a.By != "" || a.Pays) {
			rt.Fatalf("%+v", a)
		}
		if next := all.Cover(d, zone, at.AddDate(0, 0, 1), m); next.Kind == a.Kind && !a.Until.IsZero() && zone == time.UTC && next.Days != a.Days-1 {
			rt.Fatalf("%d days, on the next day %d", a.Days, next.Days)
		}
	})
}

func TestMistakesInWarrantyTerms(t *testing.T) {
	for text, want := range map[string]string{
		"country: DE\nzone: Berlin\n": `de.yaml:2: zone: "Berlin" is no time zone`,
		"country: Germany\n":          `de.yaml:1: country: "Germany" is no ISO 3166 country`,
		"country: AT\n":               `de.yaml:1: country: the file is not named like its country "AT"`,
		"country: DE\nmanufacturer:\n  - {categories: [toaster], months: 3}\n": `de.yaml:3: manufacturer[0].categories[0]: there is no model of category "toaster"`,
		"country: DE\nmanufacturer:\n  - {models: [w8], months: 3}\n":          `de.yaml:3: manufacturer[0].models[0]: there is no profile of model "w8"`,
		"country: DE\nmanufacturer:\n  - {}\n":                                 `de.yaml:3: manufacturer[0].months: the key is missing`,
		"country: DE\nmanufacturer:\n  - {months: 2.5}\n":                      `de.yaml:3: manufacturer[0].months: 2.5: want whole months`,
		"country: DE\nmanufacturer:\n  - {months: 3}\n  - {months: 4}\n":       `de.yaml:4: manufacturer[1]: an entry before this one holds for all`,
		"country: DE\nstatutory: {months: 6, presumed: 12}\n":                  `de.yaml:2: statutory.presumed: 12 months are longer`,
		"country: DE\nstatutory: {by: me, months: 6}\n":                        `de.yaml:2: statutory.by: "me" is none of the words`,
		"country: DE\nexcluded: {kinds: [safety]}\n":                           `de.yaml:2: excluded.kinds[0]: "safety" is none of the words`,
		"country: DE\nexcluded: {components: [hose]}\n":                        `de.yaml:2: excluded.components[0]: no model has a component "hose"`,
		"country: DE\nyears: 2\n":                                              `de.yaml:2: years: unknown key`,
		"country: DE\nmanufacturer: 24\n":                                      `de.yaml:2: manufacturer: want a list, not "24"`,
		"- a\n":                                                                `de.yaml:1: want keys and values`,
		"country: [\n":                                                         `not YAML`,
	} {
		if _, said := terms(t, map[string]string{"de.yaml": text}); len(said) == 0 || !strings.Contains(strings.Join(said, "\n"), want) {
			t.Errorf("%q: %q, want %q", text, said, want)
		}
	}
}

func FuzzWarrantyTerms(f *testing.F) {
	f.Add(termsDE)
	f.Add("manufacturer: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		out, said := terms(t, map[string]string{"de.yaml": text})
		if out == nil {
			t.Fatal(said)
		}
		_ = out.Cover(&fleet.Device{Region: "DE", InstalledAt: date("2026-01-01")}, nil, date("2026-05-01"), registry.Matter{})
	})
}

// TestCoverInTheRegistry: the owner's zone and the component of the case's rule come from what the registry knows.
func TestCoverInTheRegistry(t *testing.T) {
	p, err := tryStart(t, t.TempDir(), nil, func(d *registry.Deps) { d.Warranty = goodTerms(t) })
	must(t, err)
	anna := person("anna")
	anna.Zone = "Pacific/Kiritimati" // UTC+14
	must(t, p.SavePeople(t.Context(), []fleet.Person{anna}))
	d := washer("W-1")
	d.OwnerID, d.Region, d.WarrantyUntil = "anna", "DE", date("2026-12-14")
	_, err = p.Register(t.Context(), d)
	must(t, err)
	have, _ := p.Device(d.Key)
	at := time.Date(2026, 12, 14, 9, 59, 0, 0, time.UTC)
	if c := p.Cover(have, at, nil); c.Kind != "manufacturer" || c.Days != 0 || !c.Pays {
		t.Errorf("%+v", c)
	}
	if c := p.Cover(have, at.Add(time.Minute), nil); c.Kind != "none" || c.Days != -1 {
		t.Errorf("%+v", c)
	}
	about := &fleet.Case{Kind: fleet.KindFault, Rule: "filter-full"}
	if c := p.Cover(have, at, about); !c.Pays {
		t.Errorf("%+v", c)
	}
	p.UseRules(func(string) string { return "filter" })
	if c := p.Cover(have, at, about); c.Pays {
		t.Errorf("%+v", c)
	}
}
