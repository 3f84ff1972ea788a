package rules

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"slices"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// facts is what the newest record of facts said about a device, as far as rules look at it. Times are milliseconds by the
// server's clock. Most devices share what kind they are, and have nothing more.
type facts struct {
	at      int64
	kind    *kindFacts
	more    *moreFacts // nil: none of it
	revoked bool
}

// kindFacts is shared by all devices of a program that are alike in it.
type kindFacts struct {
	firmware, hardware, batch, region string
	out                               ruleset // rules that do not apply; nil: all do
}

type kindKey struct {
	p                                 *program
	firmware, hardware, batch, region string
}

type moreFacts struct {
	limits      map[string]float64 // by "rule.limit", as they came
	own         []float64          // the same by number of the program's limit; NaN: none
	maintenance []interval
	stored      []interval
	services    []service
}

// interval begins at from and ends before to.
type interval struct{ from, to int64 }

type service struct {
	component string
	at        int64
}

// learn takes in a record of facts. A device that a rule stops to apply to has no episode of that rule any more.
func (s *State) learn(body []byte) {
	for len(body) > 0 {
		f, rest, err := wire.NextFacts(body)
		body = rest
		if err != nil {
			s.counts.BadLines++
			continue
		}
		s.counts.Facts++
		s.learnOf(&f)
	}
}

func (s *State) learnOf(f *fleet.Facts) {
	d := s.devices.get(f.Device)
	if d == nil {
		p := s.set.programs[f.Model]
		if p == nil {
			s.counts.UnknownModel++
			return
		}
		d = s.devices.add(newDevice(s.devices.own(f.Device), p, s.words(p))) // a model without rules may have some tomorrow
		d.gen = s.gen()
	}
	fresh := packFacts(f)
	if old := d.facts; old != nil && (fresh.at < old.at || bytes.Equal(appendFacts(nil, fresh), appendFacts(nil, old))) {
		return // told again
	}
	s.touch(d)
	d.facts = fresh
	s.bindFacts(d)
	if len(s.kinds) > 2*s.devices.n+rosterBlock {
		s.tidyKinds()
	}
	for name := range f.Limits {
		if _, ok := d.p.limits[name]; !ok {
			s.counts.UnknownLimits++ // of another model's rule, or one that is gone
		}
	}
	s.reconsider(d)
	s.runDue(d)
}

func packFacts(f *fleet.Facts) *facts {
	out := &facts{at: f.At.UnixMilli(), revoked: f.Revoked,
		kind: &kindFacts{firmware: f.Firmware, hardware: f.Hardware, batch: f.Batch, region: f.Region}}
	if len(f.Limits)+len(f.Maintenance)+len(f.Stored)+len(f.Services) == 0 {
		return out
	}
	m := &moreFacts{limits: f.Limits, maintenance: intervals(f.Maintenance), stored: intervals(f.Stored)}
	for _, v := range f.Services {
		m.services = append(m.services, service{component: v.Component, at: v.At.UnixMilli()})
	}
	out.more = m
	return out
}

func intervals(spans []fleet.Span) []interval {
	out := make([]interval, 0, len(spans))
	for _, sp := range spans {
		i := interval{from: sp.From.UnixMilli(), to: later}
		if !sp.To.IsZero() {
			i.to = sp.To.UnixMilli()
		}
		out = append(out, i)
	}
	return out
}

// bindFacts works out what a device's facts mean for its program.
func (s *State) bindFacts(d *device) {
	f := d.facts
	if f == nil {
		return
	}
	k := kindKey{p: d.p, firmware: f.kind.firmware, hardware: f.kind.hardware, batch: f.kind.batch, region: f.kind.region}
	shared := s.kinds[k]
	if shared == nil {
		shared = f.kind
		shared.out = d.p.outside(shared)
		s.kinds[k] = shared
	}
	f.kind = shared
	if m := f.more; m != nil {
		m.own = nil
		for name, v := range m.limits {
			i, ok := d.p.limits[name]
			if !ok || !finite(v) {
				continue
			}
			if m.own == nil {
				m.own = slices.Repeat([]float64{math.NaN()}, len(d.p.limits))
			}
			m.own[i] = v
		}
	}
}

// tidyKinds lets go of the kinds that no device is of any more.
func (s *State) tidyKinds() {
	clear(s.kinds)
	for i := range s.devices.n {
		if d := s.devices.at(i); d.facts != nil {
			k := d.facts.kind
			s.kinds[kindKey{p: d.p, firmware: k.firmware, hardware: k.hardware, batch: k.batch, region: k.region}] = k
		}
	}
}

// outside returns the rules that say nothing of a device of that kind; nil: there are none. kind may be nil: nothing is known.
func (p *program) outside(kind *kindFacts) ruleset {
	var out ruleset
	for i := range p.rules {
		r := &p.rules[i]
		inside := true
		for k := range r.Scopes {
			inside = inside && (r.Scopes[k].empty() || kind != nil && r.Scopes[k].holds(kind))
		}
		if inside {
			continue
		}
		if out == nil {
			out = make(ruleset, p.words)
		}
		out.add(i)
	}
	return out
}

// outside returns the rules that do not apply to the device.
func (d *device) outside() ruleset {
	switch f := d.facts; {
	case f == nil:
		return d.p.scoped
	case f.revoked:
		return d.p.all
	default:
		return f.kind.out
	}
}

// reconsider brings a device's episodes in line with what was learnt: those of rules that do not apply any more end, and what
// was only kept from opening by a span that is gone opens now.
func (s *State) reconsider(d *device) {
	now := s.present(d)
	s.env = s.look(d, now)
	s.leave(d, now)
	bits := s.scratch(d.p)
	clear(bits)
	for i := range d.active {
		if e := &d.active[i]; !e.open && (e.ladder != nil || e.since+d.p.rules[e.rule].forMs <= now) {
			bits.add(e.rule)
		}
	}
	s.timers(d, bits, now)
}

// leave ends the episodes of rules that do not apply to the device any more.
func (s *State) leave(d *device, now int64) {
	out := d.outside()
	for i := 0; out != nil && i < len(d.active); {
		e := d.active[i]
		if !out.has(e.rule) {
			i++
			continue
		}
		if e.open {
			e.told++
			s.emit(d, &e, fleet.Cleared, now, nil)
		}
		d.drop(i)
	}
}

// servicedAt is when a component of the device was serviced last; never before the first time.
func (d *device) servicedAt(component string) int64 {
	at := int64(never)
	if d.facts != nil && d.facts.more != nil {
		for _, v := range d.facts.more.services {
			if v.component == component {
				at = max(at, v.at)
			}
		}
	}
	return at
}

// appendFacts encodes facts; readFacts is the inverse, not yet bound to a program.
func appendFacts(b []byte, f *facts) []byte {
	b = binary.AppendVarint(b, f.at)
	b = append(b, flag(f.revoked)|flag(f.more != nil)<<1)
	for _, s := range []string{f.kind.firmware, f.kind.hardware, f.kind.batch, f.kind.region} {
		b = appendString(b, s)
	}
	m := f.more
	if m == nil {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(m.limits)))
	for _, name := range slices.Sorted(maps.Keys(m.limits)) {
		b = appendFloat(appendString(b, name), m.limits[name])
	}
	for _, list := range [][]interval{m.maintenance, m.stored} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, i := range list {
			b = binary.AppendVarint(binary.AppendVarint(b, i.from), i.to)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(m.services)))
	for _, v := range m.services {
		b = binary.AppendVarint(appendString(b, v.component), v.at)
	}
	return b
}

func (r *decoder) facts() *facts {
	f := &facts{at: r.varint(), kind: &kindFacts{}}
	flags := r.byte()
	f.revoked = flags&1 != 0
	for _, s := range []*string{&f.kind.firmware, &f.kind.hardware, &f.kind.batch, &f.kind.region} {
		*s = r.string()
	}
	if flags&2 == 0 {
		return f
	}
	m := &moreFacts{}
	f.more = m
	for range r.count() {
		if m.limits == nil {
			m.limits = map[string]float64{}
		}
		name := r.string()
		m.limits[name] = r.float()
	}
	for _, list := range []*[]interval{&m.maintenance, &m.stored} {
		for range r.count() {
			*list = append(*list, interval{from: r.varint(), to: r.varint()})
		}
	}
	for range r.count() {
		m.services = append(m.services, service{component: r.string(), at: r.varint()})
	}
	return f
}

// count reads how many items follow; each takes a byte at least.
func (r *decoder) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n) //nolint:gosec // bounded by what is there
}
