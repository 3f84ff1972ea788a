package words

import (
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"

	"aftercare/internal/fleet"
)

// ComposeOperation puts what operators are told into words, in English, times in UTC. channel is "email" or any other.
func (r *Renderer) ComposeOperation(o fleet.Operation, channel string, now time.Time) Composed {
	l := Letter{Input: Input{Topic: EventOperation, Now: now, Person: &fleet.Person{Locale: "en", Zone: "UTC"}}, Channel: channel, URL: o.URL, operation: &o}
	out := r.Compose(l)
	if r.templates == nil || slices.Contains(out.Gaps, "template") { // the plain text of a case says nothing here
		out.Title, out.Body = shorten(Clean(o.Summary, 0), MaxTitle), Clean(o.Detail, 0)
	}
	return out
}

func (s *scope) operationFuncs() template.FuncMap {
	operation := func(say func(*fleet.Operation) string) func() phrase {
		return func() phrase {
			if s.letter == nil || s.letter.operation == nil {
				return ""
			}
			return phrase(say(s.letter.operation))
		}
	}
	moment := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format("2006-01-02 15:04") + " UTC"
	}
	return template.FuncMap{
		"operationSummary":  operation(func(o *fleet.Operation) string { return Clean(o.Summary, 0) }),
		"operationDetail":   operation(func(o *fleet.Operation) string { return Clean(o.Detail, 2000) }),
		"operationSeverity": operation(func(o *fleet.Operation) string { return capital(Clean(o.Severity, 20)) }),
		"operationSince":    operation(func(o *fleet.Operation) string { return moment(o.At) }),
		"operationEnd":      operation(func(o *fleet.Operation) string { return moment(o.Ends) }),
		"operationLabels": operation(func(o *fleet.Operation) string {
			parts := make([]string, 0, len(o.Labels))
			for _, k := range slices.Sorted(maps.Keys(o.Labels)) {
				parts = append(parts, Clean(k, 40)+" "+Clean(o.Labels[k], 80))
			}
			return strings.Join(parts, ", ")
		}),
	}
}
