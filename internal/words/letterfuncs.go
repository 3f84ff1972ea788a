package words

import (
	"maps"
	"strings"
	"text/template"
	"time"
	"unicode"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"

	"aftercare/internal/fleet"
)

// dot is what a message's template sees as values for its conditions; words it gets from functions, which leave a sentence out
// when they have none.
func (s *scope) dot() map[string]any {
	l := s.letter
	d := map[string]any{"Thing": phrase(s.thing.start), "thing": phrase(s.thing.mid), "Event": l.Topic, "Topic": string(l.Subject), "Channel": l.Channel,
		"Kind": string(s.kind), "Severity": "", "Order": "", "Payer": "", "Page": l.URL != "",
		"Ended": l.operation != nil && !l.operation.Ends.IsZero()}
	if l.Case != nil {
		d["Severity"] = l.Case.Severity.String()
	}
	if l.Order != nil {
		d["Order"] = string(l.Order.State)
	}
	if s.cover != nil && s.cover.Pays {
		d["Payer"] = s.cover.By
	}
	return d
}

// Item is a message that another one takes along.
type Item struct{ Title, Body phrase }

// letterFuncs are the functions of a rule's text and those that messages have besides. Those without a value return an empty
// phrase: false in {{if}} and {{with}}, and where it is printed the sentence around it is left out.
func (s *scope) letterFuncs() template.FuncMap {
	f := s.funcs()
	maps.Copy(f, template.FuncMap{
		// the parts of the rule's text
		"what": s.what, "why": s.why, "clear": s.clear,
		"otherwise": func() phrase { return s.slot("otherwise", s.text.Otherwise, "") },
		"do":        func() phrase { return s.slot("do", s.text.Do, "") },
		"cost":      func() phrase { return s.slot("cost", s.text.Cost, "") },
		// who pays
		"notCovered": s.notCovered, "coverEnd": s.coverEnd, "payer": s.orderPayer,
		"ruleWords": s.ruleWords, "proof": s.proof,
		// counting
		"number": func(v float64) phrase { return phrase(s.locale.Number(v, 2)) },
		"plural": s.plural,
		"label": func(key string) phrase {
			if s.labels == nil || key == "" {
				return ""
			}
			return phrase(s.labels(key))
		},
		"also": s.also, "first": func() phrase { return phrase(s.first) }, "others": func() int { return len(s.letter.Also) },
	})
	maps.Copy(f, s.incidentFuncs())
	maps.Copy(f, s.orderFuncs())
	maps.Copy(f, s.operationFuncs())
	return f
}

func (s *scope) also() []Item {
	out := make([]Item, 0, len(s.letter.Also))
	for _, a := range s.letter.Also {
		out = append(out, Item{readable(trimStop(Clean(a.Title, MaxTitle))), readable(Clean(a.Body, 600))})
	}
	return out
}

// plural writes a count with the form that the language has for it; nothing for none.
func (s *scope) plural(one, other string, n int) phrase {
	if n <= 0 {
		return ""
	}
	tag := language.English
	if s.locale.Lang == "de" {
		tag = language.German
	}
	word := other
	if plural.Cardinal.MatchPlural(tag, n, 0, 0, 0, 0) == plural.One {
		word = one
	}
	return phrase(s.locale.Number(float64(n), 2) + string(nbsp) + word)
}

// ruleWords says what was compared: "draining time above 70 s".
func (s *scope) ruleWords() phrase {
	words := map[string]two{"above": {"above", "über"}, "below": {"below", "unter"}, "unusual": {"other than usual", "anders als sonst"}}
	for i := range s.evidence {
		e := &s.evidence[i]
		if s.model == nil {
			break
		}
		spec := s.model.Field(e.Name)
		if spec == nil || spec.Label.In(s.locale.Lang) == "" || spec.Type == fleet.Boolean || e.Text != "" {
			continue
		}
		label, q := capital(Clean(spec.Label.In(s.locale.Lang), 60)), s.quantities(e)
		switch {
		case e.HasLimit && e.Value >= e.Limit:
			return phrase(label + " " + words["above"].in(s.locale.Lang) + " " + q.limit)
		case e.HasLimit:
			return phrase(label + " " + words["below"].in(s.locale.Lang) + " " + q.limit)
		case e.HasNormal:
			return phrase(label + " " + words["unusual"].in(s.locale.Lang))
		}
	}
	return ""
}

// proof is the use that showed that a repair holds: "30 hours", "20 washes", "14 days".
func (s *scope) proof() phrase {
	if s.letter == nil || s.letter.Case == nil {
		return ""
	}
	p := s.letter.Case.Proof
	unit := p.Unit
	if unit == "h" {
		unit = "hours"
	}
	seen := p.Seen
	if seen <= 0 {
		seen = p.Need
	}
	if seen <= 0 || unit == "" || unit == "1" {
		return ""
	}
	return phrase(s.locale.Quantity(seen, unit, 2))
}

func (s *scope) incidentFuncs() template.FuncMap {
	incident := func(say func(*fleet.Incident) string) func() phrase {
		return func() phrase {
			if s.letter == nil || s.letter.Incident == nil {
				return ""
			}
			return readable(say(s.letter.Incident))
		}
	}
	return template.FuncMap{
		"news":      incident(func(i *fleet.Incident) string { return Clean(i.News.In(s.locale.Lang), 400) }),
		"knownFrom": incident(func(i *fleet.Incident) string { return s.locale.Date(s.now, i.OpenedAt) }),
		"nextNews": incident(func(i *fleet.Incident) string {
			if i.NextAt.Before(s.now) {
				return ""
			}
			return s.locale.Date(s.now, i.NextAt)
		}),
	}
}

func (s *scope) orderFuncs() template.FuncMap {
	order := func(say func(*fleet.Order) string) func() phrase {
		return func() phrase {
			if s.letter == nil || s.letter.Order == nil {
				return ""
			}
			return readable(say(s.letter.Order))
		}
	}
	moment := func(t time.Time, say func(time.Time) string) string {
		if t.IsZero() {
			return ""
		}
		return say(t.In(s.locale.Zone))
	}
	return template.FuncMap{
		"visitDay": order(func(o *fleet.Order) string {
			return moment(o.From, func(t time.Time) string {
				comma := ","
				if s.locale.Lang == "en" && s.locale.Region != "US" {
					comma = ""
				}
				return weekdays[s.locale.Lang][t.Weekday()] + comma + " " + s.locale.Date(s.now, t)
			})
		}),
		"visitFrom": order(func(o *fleet.Order) string { return moment(o.From, s.locale.clock) }),
		"visitTo":   order(func(o *fleet.Order) string { return moment(o.To, s.locale.clock) }),
		"summary":   order(func(o *fleet.Order) string { return trimStop(Clean(o.Summary, MaxTitle)) }),
		"bring":     order(func(o *fleet.Order) string { return Clean(o.Part, 80) }),
		"contact":   order(func(o *fleet.Order) string { return Clean(o.Contact, 160) }),
		"note":      order(func(o *fleet.Order) string { return trimStop(Clean(o.Note, 300)) }),
		"reason":    order(func(o *fleet.Order) string { return trimStop(Clean(OrderReason(s.locale.Lang, o.Reason), 160)) }),
		"orderID":   order(func(o *fleet.Order) string { return Clean(o.ID, 40) }),
		"partner": func() phrase {
			if s.letter == nil || s.letter.Partner == nil {
				return ""
			}
			return readable(Clean(s.letter.Partner.Name, 60))
		},
		"kindOfDevice": func() phrase {
			if s.model == nil {
				return phrase(Clean(s.device.Category, 30))
			}
			return phrase(Clean(s.model.Label.In(s.locale.Lang), 30))
		},
		"deviceModel": func() phrase { return phrase(Clean(s.device.Model, 60)) },
		"serial":      func() phrase { return phrase(Clean(s.device.Key.Serial, 60)) },
		"region":      func() phrase { return phrase(Clean(s.device.Region, 12)) },
	}
}

// readable is nothing for text without a letter or digit: the sentence around it would say nothing.
func readable(text string) phrase {
	if !strings.ContainsFunc(text, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
		return ""
	}
	return phrase(text)
}

func trimStop(s string) string {
	for len(s) > 0 && s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	return s
}

// orderPayer says who pays for the order's visit.
func (s *scope) orderPayer() phrase {
	if s.letter == nil || s.letter.Order == nil || s.letter.Order.Cover.Kind == "" {
		return ""
	}
	return s.payer(s.letter.Order.Cover)
}
