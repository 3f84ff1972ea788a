package owner

import (
	"strings"
	"time"

	"golang.org/x/text/language"
)

// countries are offered where no script tells the zone: the most usual zone of each, and where units differ.
var countries = []struct{ region, zone, en, de string }{
	{"DE", "Europe/Berlin", "Germany", "Deutschland"}, {"AT", "Europe/Vienna", "Austria", "Österreich"}, {"CH", "Europe/Zurich", "Switzerland", "Schweiz"},
	{"GB", "Europe/London", "United Kingdom", "Vereinigtes Königreich"}, {"IE", "Europe/Dublin", "Ireland", "Irland"}, {"FR", "Europe/Paris", "France", "Frankreich"},
	{"NL", "Europe/Amsterdam", "Netherlands", "Niederlande"}, {"BE", "Europe/Brussels", "Belgium", "Belgien"}, {"LU", "Europe/Luxembourg", "Luxembourg", "Luxemburg"},
	{"IT", "Europe/Rome", "Italy", "Italien"}, {"ES", "Europe/Madrid", "Spain", "Spanien"}, {"PT", "Europe/Lisbon", "Portugal", "Portugal"},
	{"DK", "Europe/Copenhagen", "Denmark", "Dänemark"}, {"SE", "Europe/Stockholm", "Sweden", "Schweden"}, {"NO", "Europe/Oslo", "Norway", "Norwegen"},
	{"FI", "Europe/Helsinki", "Finland", "Finnland"}, {"PL", "Europe/Warsaw", "Poland", "Polen"}, {"CZ", "Europe/Prague", "Czechia", "Tschechien"},
	{"US", "America/New_York", "United States, east", "USA, Osten"}, {"US", "America/Chicago", "United States, middle", "USA, Mitte"},
	{"US", "America/Denver", "United States, mountains", "USA, Rocky Mountains"}, {"US", "America/Los_Angeles", "United States, west", "USA, Westen"},
	{"CA", "America/Toronto", "Canada, east", "Kanada, Osten"}, {"CA", "America/Vancouver", "Canada, west", "Kanada, Westen"},
	{"AU", "Australia/Sydney", "Australia, east", "Australien, Osten"}, {"NZ", "Pacific/Auckland", "New Zealand", "Neuseeland"}, //nolint:misspell // German
}

type zoneOption struct{ Zone, Name string }

func zonesIn(lang string) []zoneOption {
	out := make([]zoneOption, 0, len(countries))
	for _, c := range countries {
		name := c.en
		if lang == "de" {
			name = c.de
		}
		out = append(out, zoneOption{c.zone, name})
	}
	return out
}

// locales are what settings offer: language with the country that says how numbers, dates and units are written.
var locales = []struct{ tag, name string }{
	{"de-DE", "Deutsch (Deutschland): °C, Liter"}, {"de-AT", "Deutsch (Österreich): °C, Liter"}, {"de-CH", "Deutsch (Schweiz): °C, Liter"},
	{"en-GB", "English (United Kingdom): °C, litres"}, {"en-IE", "English (Ireland): °C, litres"}, {"en-US", "English (United States): °F, gallons"},
	{"en-AU", "English (Australia): °C, litres"},
}

// regionAsked is the first country that the browser's languages name.
func regionAsked(header string) string {
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil {
		return ""
	}
	for _, t := range tags {
		if r, sure := t.Region(); sure == language.Exact {
			return r.String()
		}
	}
	return ""
}

// preferredLocale is how a new person reads: the page's language with the browser's country.
func preferredLocale(header, lang string) string {
	if r := regionAsked(header); len(r) == 2 {
		return lang + "-" + r
	}
	return map[string]string{"de": "de-DE", "en": "en-GB"}[lang]
}

func usualZone(header string) string {
	r := regionAsked(header)
	for _, c := range countries {
		if c.region == r {
			return c.zone
		}
	}
	if asked(header) == "de" {
		return "Europe/Berlin"
	}
	return "Europe/London"
}

// zoneOr takes the zone that the script told, else that of the country picked, else the most likely one.
func zoneOr(script, picked, header string) string {
	for _, z := range []string{script, picked} {
		if validZone(z) {
			return z
		}
	}
	return usualZone(header)
}

func validZone(z string) bool {
	if z == "" || z == "Local" || len(z) > 64 || strings.Contains(z, "..") {
		return false
	}
	_, err := time.LoadLocation(z)
	return err == nil
}
