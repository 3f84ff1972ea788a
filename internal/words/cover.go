package words

import (
	"strconv"
	"time"

	"aftercare/internal/fleet"
)

// CoverText says in one sentence, in every language there are words in, who pays until when: "Covered by the maker until
// 14 December, 23 days." It is seen from now, in the owner's zone. With proof the owner has to show that the fault was there
// from the start. The last day is named; days are counted when there are at most ninety.
func CoverText(c fleet.Cover, now time.Time, zone *time.Location, region string, proof bool) fleet.Words {
	out := fleet.Words{}
	for _, lang := range []string{"en", "de"} {
		l := For(lang, zone.String(), region)
		out[lang] = l.coverText(c, now.In(zone), proof)
	}
	return out
}

func (l Locale) coverText(c fleet.Cover, now time.Time, proof bool) string {
	de := l.Lang == "de"
	if c.Until.IsZero() {
		return two{"Whether it is covered is not known.", "Ob Garantie besteht, ist nicht bekannt."}.in(l.Lang)
	}
	date := l.Date(now, c.Until)
	if c.Kind == "none" {
		if de {
			return "Die Garantie endete am " + date + "."
		}
		return "The cover ended on " + date + "."
	}
	s := coverBy(c, de)
	switch {
	case c.Days == 0 && de:
		s += " nur noch heute"
	case c.Days == 0:
		s += " until today"
	case de:
		s += " bis " + date
	default:
		s += " until " + date
	}
	switch {
	case c.Days == 1:
		s += two{", 1\u00a0day", ", noch 1\u00a0Tag"}.in(l.Lang)
	case c.Days > 1 && c.Days <= 90 && de:
		s += ", noch " + strconv.Itoa(c.Days) + "\u00a0Tage"
	case c.Days > 1 && c.Days <= 90:
		s += ", " + strconv.Itoa(c.Days) + "\u00a0days"
	}
	switch {
	case !c.Pays:
		s += two{"; wear and use are not part of it", "; Verschleiß und Gebrauch gehören nicht dazu"}.in(l.Lang)
	case proof:
		s += two{"; you may have to show that the fault was there from the start", "; Sie müssen eventuell zeigen, dass der Fehler von Anfang an da war"}.in(l.Lang)
	}
	return s + "."
}

// coverBy begins the sentence: who stands for it.
func coverBy(c fleet.Cover, de bool) string {
	name := c.Name
	switch {
	case c.Kind == "statutory" && de && name != "":
		return "Gewährleistung durch " + name
	case c.Kind == "statutory" && de:
		return "Gewährleistung durch den Verkäufer"
	case c.Kind == "contract" && de && name != "":
		return "Abgedeckt durch " + name
	case c.Kind == "contract" && de:
		return "Abgedeckt durch Ihren Vertrag"
	case de && name != "":
		return "Garantie von " + name
	case de:
		return "Garantie des Herstellers"
	case name != "":
		return "Covered by " + name
	case c.Kind == "contract":
		return "Covered by your contract"
	case c.Kind == "statutory":
		return "Covered by the seller"
	default:
		return "Covered by the maker"
	}
}
