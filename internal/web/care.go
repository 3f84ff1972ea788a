package web

import (
	"context"
	"maps"
	"slices"
	"strings"

	"aftercare/internal/fleet"
)

// careRow is one thing that rules know of a device besides its readings. Sub says in machine words what it is about.
type careRow struct{ Label, Value, Sub string }

// care lists what rules go by: what the device is, when somebody works on it or it is put away, what was serviced, and which
// limits are its own. What is not known and what is over is left out.
func (p *devicePage) care(ctx context.Context, s *Web) error {
	f, err := s.deps.Care.Facts(ctx, p.Device.Key)
	if err != nil {
		return err
	}
	add := func(label, value, sub string) {
		if value != "" {
			p.Care = append(p.Care, careRow{label, value, sub})
		}
	}
	for _, x := range [][2]string{{"firmware", f.Firmware}, {"hardware", f.Hardware}, {"batch", f.Batch}, {"region", f.Region}} {
		add(p.T("fact."+x[0]), x[1], "")
	}
	for _, span := range f.Maintenance {
		add(p.T("fact.maintenance"), p.span(span), "")
	}
	for _, span := range f.Stored {
		add(p.T("fact.stored"), p.span(span), "")
	}
	for _, x := range f.Services {
		by := x.By
		if by == "owner" {
			by = p.T("fact.byowner")
		}
		add(strings.ReplaceAll(p.T("fact.serviced"), "#", s.component(p.Device.Model, x.Component, p.Loc.Lang)), p.When(x.At), by)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Limits)) {
		add(p.T("fact.limit"), p.limit(s, name, f.Limits[name]), name)
	}
	return nil
}

// span is a time that is not over yet, seen from now; empty for one that is.
func (v *view) span(s fleet.Span) string {
	if !s.To.IsZero() && !s.To.After(v.Now) {
		return ""
	}
	begin := v.T("span.now")
	if !s.Holds(v.Now) {
		begin = strings.ReplaceAll(v.T("span.from"), "#", v.When(s.From))
	}
	if s.To.IsZero() {
		return begin + ", " + v.T("span.open")
	}
	return begin + ", " + strings.ReplaceAll(v.T("span.until"), "#", v.When(s.To))
}

// limit is a device's own value of "rule-id.limit", beside what counts for the others. A rule that is gone has no unit to give.
func (v *view) limit(s *Web, name string, own float64) string {
	rule, limit, _ := strings.Cut(name, ".")
	usual, unit, ok := s.deps.Care.Limit(rule, limit)
	if !ok {
		return v.Value(own, "") + ", " + v.T("limit.norule")
	}
	return v.Value(own, unit) + ", " + strings.ReplaceAll(v.T("limit.usual"), "#", v.Value(usual, unit))
}

// component is a part's name as its model's profile has it.
func (s *Web) component(model, name string, lang string) string {
	if m, ok := s.deps.Models.Model(model); ok {
		for i := range m.Components {
			if t := m.Components[i].Label.In(lang); m.Components[i].Name == name && t != "" {
				return t
			}
		}
	}
	return humanise(name)
}
