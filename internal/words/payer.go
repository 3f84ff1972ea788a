package words

import (
	"strings"

	"aftercare/internal/fleet"
)

// covered is who pays when somebody has to come: what the warranty terms say, else what the device's own date says. Empty when
// nobody but the owner does, so that {{if cover}} means: covered now.
func (s *scope) covered() phrase {
	c := s.cover
	switch {
	case c == nil:
		return phrase(s.locale.Cover(s.now, s.device.WarrantyUntil))
	case !c.Pays || c.Days < 0:
		return ""
	case c.Text.In(s.locale.Lang) != "":
		return phrase(strings.TrimRight(Clean(c.Text.In(s.locale.Lang), 160), "."))
	default:
		return phrase(s.locale.Cover(s.now, c.Until))
	}
}

// notCovered says that the owner pays; empty when that is not known.
func (s *scope) notCovered() phrase {
	c := s.cover
	switch {
	case c == nil || c.Until.IsZero() || c.Pays && c.Days >= 0:
		return ""
	case c.Text.In(s.locale.Lang) != "":
		return phrase(strings.TrimRight(Clean(c.Text.In(s.locale.Lang), 160), "."))
	case s.locale.Lang == "de":
		return "Ein Besuch wäre auf Ihre Rechnung"
	default:
		return "A visit would be at your own cost"
	}
}

// coverEnd is the last day of the cover there is.
func (s *scope) coverEnd() phrase {
	until := s.device.WarrantyUntil
	if s.cover != nil {
		until = s.cover.Until
	}
	if until.Before(s.now) && !until.Equal(s.now) && daysBetween(until.In(s.locale.Zone), s.now.In(s.locale.Zone)) > 0 {
		return ""
	}
	return phrase(s.locale.Date(s.now, until))
}

// payers are the words for who pays a partner's visit.
var payers = map[string]two{
	"maker":   {"the maker", "der Hersteller"},
	"seller":  {"the seller", "der Verkäufer"},
	"insurer": {"the insurer", "die Versicherung"},
	"":        {"the owner", "die Kundin oder der Kunde"},
}

// payer says who pays for a visit, with the name where it is known.
func (s *scope) payer(c fleet.Cover) phrase {
	by := c.By
	if !c.Pays {
		by = ""
	}
	w := pick(s.locale.Lang, payers, by)
	if w == "" {
		w = Clean(by, 40)
	}
	if name := Clean(c.Name, 60); name != "" && by != "" {
		w += " (" + name + ")"
	}
	return phrase(w)
}
