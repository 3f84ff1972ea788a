package words

import (
	"math"
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"
)

// Locale is how one reader writes numbers, units and times. The zero value is not usable; make one with For. It is safe for
// concurrent use.
type Locale struct {
	Lang    string // "en" or "de": the languages there are words in
	Region  string // ISO 3166: "DE", "US"; "" when not known
	Zone    *time.Location
	printer *message.Printer
}

// For returns the locale of a person with a BCP 47 tag ("de-DE") and an IANA zone, for a thing in a region ("DE-BY"; used
// when the tag names none). What is not known becomes English and UTC.
func For(tag, zone, region string) Locale {
	l := Locale{Lang: "en", Zone: time.UTC}
	t, err := language.Parse(tag)
	if err == nil {
		if base, _ := t.Base(); base.String() == "de" {
			l.Lang = "de"
		}
		if r, sure := t.Region(); sure == language.Exact {
			l.Region = r.String()
		}
	}
	if l.Region == "" && len(region) >= 2 {
		l.Region = strings.ToUpper(region[:2])
	}
	if z, err := time.LoadLocation(zone); err == nil && zone != "" && zone != "Local" {
		l.Zone = z
	}
	show := language.English
	if l.Lang == "de" {
		show = language.German
	}
	if r, err := language.ParseRegion(l.Region); err == nil {
		if t, err := language.Compose(show, r); err == nil {
			show = t
		}
	}
	l.printer = message.NewPrinter(show)
	return l
}

// Number writes v with the given count of significant digits; the digits before the decimal separator are never rounded
// away. It returns "" for what is not a number.
func (l Locale) Number(v float64, digits int) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	decimals := 0
	if v != 0 {
		decimals = digits - 1 - int(math.Floor(math.Log10(math.Abs(v))))
	}
	decimals = min(max(decimals, 0), 6)
	scale := math.Pow(10, float64(decimals))
	if r := math.Round(v*scale) / scale; !math.IsInf(r, 0) {
		v = r + 0 // no "-0"
	}
	return l.printer.Sprint(number.Decimal(v, number.MaxFractionDigits(decimals)))
}

// conversion is how a unit reads elsewhere: v*factor + offset.
type conversion struct {
	unit           string
	factor, offset float64
}

var american = map[string]conversion{
	"°C": {"°F", 1.8, 32}, "°C/h": {"°F/h", 1.8, 0}, "l": {"gal", 0.264172, 0}, "L": {"gal", 0.264172, 0}, "l/min": {"gal/min", 0.264172, 0},
	"km": {"mi", 0.621371, 0}, "km/h": {"mph", 0.621371, 0},
}

var british = map[string]conversion{"km": {"mi", 0.621371, 0}, "km/h": {"mph", 0.621371, 0}}

// fahrenheit lists the regions whose weather report speaks of °F; of them only the United States use gallons and miles here.
var fahrenheit = map[string]bool{"US": true, "BS": true, "BZ": true, "KY": true, "PW": true, "FM": true, "MH": true, "LR": true}

func (l Locale) convert(v float64, unit string, difference bool) (float64, string) {
	var c conversion
	var ok bool
	switch {
	case l.Region == "US" || fahrenheit[l.Region] && strings.HasPrefix(unit, "°C"):
		c, ok = american[unit]
	case l.Region == "GB":
		c, ok = british[unit]
	}
	if !ok {
		return v, unit
	}
	if difference {
		c.offset = 0
	}
	return v*c.factor + c.offset, c.unit
}

// Quantity writes a value with its unit as the reader's region has it, with a no-break space between: "94 s", "-9 °C",
// "15.8 °F". Unit is a profile's: "1" and "" mean none.
func (l Locale) Quantity(v float64, unit string, digits int) string {
	return l.quantity(v, unit, digits, false)
}

// Difference is Quantity for how much two values differ: 5 °C are 9 °F.
func (l Locale) Difference(v float64, unit string, digits int) string {
	return l.quantity(v, unit, digits, true)
}

func (l Locale) quantity(v float64, unit string, digits int, difference bool) string {
	v, unit = l.convert(v, unit, difference)
	switch a := math.Abs(v); {
	case unit == "s" && a >= 2*3600:
		v, unit = v/3600, "h"
	case unit == "s" && a >= 600:
		v, unit = v/60, "min"
	}
	if strings.HasPrefix(unit, "°") && math.Abs(v) < 1 && digits == 2 {
		digits = 1 // nobody speaks of hundredths of a degree
	}
	n := l.Number(v, digits)
	switch {
	case n == "" || unit == "" || unit == "1" || unit == "count":
		return n
	case unit == "%" && l.Lang == "en":
		return n + "%"
	}
	if w, ok := spokenUnits[unit]; ok {
		unit = w.in(l.Lang)
	}
	return n + string(nbsp) + unit
}

// spokenUnits are the units that are words, or that people say otherwise than engineers write.
var spokenUnits = map[string]two{
	"1/min": {"rpm", "U/min"}, "rpm": {"rpm", "U/min"}, "cycles": {"cycles", "Zyklen"}, "pages": {"pages", "Seiten"}, "sheets": {"sheets", "Blatt"},
	"days": {"days", "Tage"}, "d": {"days", "Tage"}, "hours": {"hours", "Stunden"}, "weeks": {"weeks", "Wochen"}, "washes": {"washes", "Wäschen"},
	"charges": {"charges", "Ladungen"}, "times": {"times", "Mal"}, "errors": {"errors", "Fehler"},
}

// YesNo writes a boolean.
func (l Locale) YesNo(v bool) string {
	switch {
	case l.Lang == "de" && v:
		return "ja"
	case l.Lang == "de":
		return "nein"
	case v:
		return "yes"
	default:
		return "no"
	}
}
