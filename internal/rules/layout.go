package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"aftercare/internal/fleet"
)

// layout says what the numbers in encoded devices mean: fields, windows and rules by name. With it a state is read into a
// set that has other rules, and whatever both know is kept.
type layout struct {
	Model string       `json:"model"`
	Slots []slotLayout `json:"slots"`
	Aggs  []aggLayout  `json:"aggs"`
	Cells []cellLayout `json:"cells,omitempty"`
	Rules []ruleLayout `json:"rules"`
}

type slotLayout struct {
	Name string `json:"name"`
	Text bool   `json:"text,omitempty"`
	Prev bool   `json:"prev,omitempty"`
	Chg  bool   `json:"chg,omitempty"`
}

type aggLayout struct {
	Field  string `json:"field"` // or another series
	Axis   string `json:"axis,omitempty"`
	Window int64  `json:"window_ms"`
	Sum    bool   `json:"sum,omitempty"`
	Min    bool   `json:"min,omitempty"`
	Max    bool   `json:"max,omitempty"`
	M2     bool   `json:"m2,omitempty"`
}

type ruleLayout struct {
	ID       string         `json:"id"`
	Version  string         `json:"version"`
	Logic    string         `json:"logic"`
	Problem  string         `json:"problem"`
	Category string         `json:"category"`
	Kind     fleet.Kind     `json:"kind"`
	Severity fleet.Severity `json:"severity"`
}

func (p *program) layout() layout {
	l := layout{Model: p.model}
	for i := range p.slots {
		sl := &p.slots[i]
		l.Slots = append(l.Slots, slotLayout{Name: sl.spec.Name, Text: sl.str >= 0, Prev: sl.prev >= 0, Chg: sl.chg >= 0})
	}
	for i := range p.aggs {
		a := &p.aggs[i]
		l.Aggs = append(l.Aggs, aggLayout{
			Field: a.series, Axis: a.axis, Window: a.window.Milliseconds(),
			Sum: a.sum >= 0, Min: a.min >= 0, Max: a.max >= 0, M2: a.m2 >= 0,
		})
	}
	for i := range p.cells {
		l.Cells = append(l.Cells, p.cells[i].layout())
	}
	for i := range p.rules {
		r := &p.rules[i]
		l.Rules = append(l.Rules, ruleLayout{
			ID: r.ID, Version: r.Version, Logic: r.logic, Problem: r.Problem, Category: p.category, Kind: r.Kind, Severity: r.Severity,
		})
	}
	return l
}

// Layout returns the set's layout as JSON: two sets with the same layout can read each other's devices byte for byte.
func (s *Set) Layout() []byte {
	all := make([]layout, 0, len(s.programs))
	for _, id := range slices.Sorted(maps.Keys(s.programs)) {
		all = append(all, s.programs[id].layout())
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic("rules: layout: " + err.Error()) // names and numbers only: cannot happen
	}
	return b
}

// mapping leads from a layout to a program. -1 means that the program does not have it any more.
type mapping struct {
	from  layout
	to    *program // nil: the model is gone
	slots []int
	aggs  []int
	cells []int
	rules []int
	same  []bool // the rule decides as it did
}

func newMapping(from layout, to *program) mapping {
	m := mapping{from: from, to: to}
	for _, sl := range from.Slots {
		at := -1
		if to != nil {
			if i, ok := to.byName[sl.Name]; ok && (to.slots[i].str >= 0) == sl.Text {
				at = i
			}
		}
		m.slots = append(m.slots, at)
	}
	for _, a := range from.Aggs {
		at := -1
		if to != nil {
			at = slices.IndexFunc(to.aggs, func(b agg) bool {
				covered := (a.Sum || b.sum < 0) && (a.Min || b.min < 0) && (a.Max || b.max < 0) && (a.M2 || b.m2 < 0)
				return b.series == a.Field && b.axis == a.Axis && b.window.Milliseconds() == a.Window && covered
			})
		}
		m.aggs = append(m.aggs, at)
	}
	for _, c := range from.Cells {
		at := -1
		if to != nil {
			at = slices.IndexFunc(to.cells, func(have cell) bool { return have.layout() == c })
		}
		m.cells = append(m.cells, at)
	}
	for _, r := range from.Rules {
		at, same := -1, false
		if to != nil {
			at = slices.IndexFunc(to.rules, func(c compiled) bool { return c.ID == r.ID })
			same = at >= 0 && to.rules[at].logic == r.Logic
		}
		m.rules, m.same = append(m.rules, at), append(m.same, same)
	}
	return m
}

// blank returns a copy of the words that a device begins with where the mapping leads to.
func (m *mapping) blank() []uint64 {
	if m.to == nil {
		return nil
	}
	return slices.Clone(m.to.blank)
}

// mappings reads a layout for a set.
func (s *Set) mappings(body []byte) ([]mapping, error) {
	var all []layout
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("layout of the snapshot: %w", err)
	}
	out := make([]mapping, len(all))
	for i, l := range all {
		out[i] = newMapping(l, s.programs[l.Model])
	}
	return out, nil
}
