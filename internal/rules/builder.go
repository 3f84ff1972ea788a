package rules

import (
	"slices"
	"time"

	"github.com/expr-lang/expr/ast"

	"aftercare/internal/fleet"
)

// builder collects what the rules of one model need. Places in a device's store are given out as they are asked for, so
// that a closure can hold its index at once.
type builder struct {
	cfg   Config
	model *fleet.Model
	p     *program
	uses  []usage            // by rule number
	draft *draft             // the rule that is compiled
	trace map[ast.Node]value // what the parts of its conditions were compiled to
}

// minHold is the shortest time a value is taken to last without a newer one; defaultHold is for models without interval.
const (
	minHold     = 5 * time.Minute
	defaultHold = time.Hour
)

func newBuilder(cfg Config, m *fleet.Model) *builder {
	hold := defaultHold
	if m.Interval > 0 {
		hold = max(3*m.Interval, minHold)
	}
	return &builder{cfg: cfg, model: m, p: &program{
		model: m.ID, category: m.Category, hold: hold.Milliseconds(), byName: map[string]int{},
		limits: map[string]int{}, link: -1, linkCause: -1,
	}}
}

func (b *builder) names() []string {
	out := make([]string, len(b.model.Fields))
	for i := range b.model.Fields {
		out[i] = b.model.Fields[i].Name
	}
	return out
}

func (b *builder) slot(spec fleet.FieldSpec) int {
	if i, ok := b.p.byName[spec.Name]; ok {
		return i
	}
	s := slot{spec: spec, str: -1, prev: -1, prevT: -1, chg: -1, f: b.nums(1), t: b.times(1)}
	if spec.Type == fleet.String {
		s.str = b.texts(1)
	}
	b.p.slots = append(b.p.slots, s)
	b.p.byName[spec.Name] = len(b.p.slots) - 1
	return len(b.p.slots) - 1
}

func (b *builder) text(i int) int { return b.p.slots[i].str }

func (b *builder) previous(i int) (value, at int) {
	s := &b.p.slots[i]
	if s.prev < 0 {
		s.prev, s.prevT = b.nums(1), b.times(1)
	}
	return s.prev, s.prevT
}

func (b *builder) changed(i int) int {
	s := &b.p.slots[i]
	if s.chg < 0 {
		s.chg = b.nums(1)
	}
	return s.chg
}

// window returns the number of the aggregate over a field and a window of time, with the part that fn reads.
func (b *builder) window(slot int, d time.Duration, fn string) int {
	k, made := b.agg(b.p.slots[slot].spec.Name, "", d, fn)
	if made {
		b.p.slots[slot].aggs = append(b.p.slots[slot].aggs, k)
	}
	return k
}

// agg returns the number of the aggregate over a series, with the part that fn reads. Whoever made it adds to it.
func (b *builder) agg(series, axis string, d time.Duration, fn string) (k int, made bool) {
	k = slices.IndexFunc(b.p.aggs, func(a agg) bool { return a.series == series && a.axis == axis && a.window == d })
	if made = k < 0; made {
		b.p.aggs = append(b.p.aggs, agg{
			series: series, axis: axis, window: d, width: d.Milliseconds() / buckets,
			head: b.times(1), count: b.counts(buckets), sum: -1, min: -1, max: -1, m2: -1,
		})
		k = len(b.p.aggs) - 1
	}
	a := &b.p.aggs[k]
	for _, part := range map[string][]*int{
		"avg": {&a.sum}, "sum": {&a.sum}, "min": {&a.min}, "max": {&a.max}, "stddev": {&a.sum, &a.m2}, "slope": {&a.sum},
	}[fn] {
		if *part < 0 {
			*part = b.nums(buckets)
		}
	}
	return k, made
}

// finish fixes the index from fields to rules. No rule can be added after it.
func (b *builder) finish() *program {
	p := b.p
	p.words = (len(p.rules) + 63) / 64
	p.sliding, p.onCode, p.all = make(ruleset, p.words), make(ruleset, p.words), make(ruleset, p.words)
	for i := range p.slots {
		p.slots[i].rules = make(ruleset, p.words)
	}
	p.indexCells()
	p.counters = p.lifelong()
	for n, u := range b.uses {
		for _, s := range u.slots {
			p.slots[s].rules.add(n)
		}
		if u.sliding {
			p.sliding.add(n)
		}
		if u.code || u.onEvent {
			p.onCode.add(n)
		}
		p.all.add(n)
		p.rules[n].rated = contains(p.rates, p.rules[n].ID)
		for _, k := range append(slices.Clone(u.rules), p.rules[n].causes...) {
			if !slices.Contains(p.rules[k].dependents, n) {
				p.rules[k].dependents = append(p.rules[k].dependents, n)
			}
		}
		p.hasCauses = p.hasCauses || len(p.rules[n].causes) > 0
		p.hasAge = p.hasAge || len(p.rules[n].crossings) > 0
	}
	p.startAggs(&device{store: store{w: p.blank}})
	p.scoped = p.outside(nil)
	return p
}
