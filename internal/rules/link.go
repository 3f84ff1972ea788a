package rules

import (
	"math"

	"aftercare/internal/fleet"
	"github.com/expr-lang/expr/ast"
)

// The link of a device is what presence last said of it. Every model has these fields; a device cannot send them.
const (
	linkOnline = "link.online" // whether it can be reached
	linkCause  = "link.cause"  // why it can, or cannot
)

// linkFields are the fields of readings of class presence, as rules name them.
var linkFields = []fleet.FieldSpec{{Name: linkOnline, Type: fleet.Boolean}, {Name: linkCause, Type: fleet.String}}

// linkCauses are the words of link.cause.
var linkCauses = []string{"connected", "heard", "disconnected", "lost", "will", "silent", "station_lost", "revoked"}

// spec returns a field of the model or of the link, or nil.
func (b *builder) spec(name string) *fleet.FieldSpec {
	for i := range linkFields {
		if linkFields[i].Name == name {
			b.link()
			return &linkFields[i]
		}
	}
	return b.model.Field(name)
}

// link makes places for both fields: the time of one tells which presence is the newest.
func (b *builder) link() {
	if b.p.link >= 0 {
		return
	}
	b.p.link, b.p.linkCause = b.slot(linkFields[0]), b.slot(linkFields[1])
	b.p.slots[b.p.link].link, b.p.slots[b.p.linkCause].link = true, true
}

// linkWord notes a mistake when link.cause is compared with a word that it never is.
func (c *compiler) linkWord(n ast.Node, cause, word value) bool {
	if !cause.plain || cause.slot != c.b.p.linkCause || !word.isLit || contains(linkCauses, word.lit) {
		return true
	}
	c.fail(n, didYouMean(word.lit, linkCauses), "link.cause is never %q", clip(word.lit))
	return false
}

// silent compiles silent(): seconds since anything but presence came from the device.
func (c *compiler) silent() value {
	c.use.silent, c.use.sliding, c.use.onEvent = true, true, true
	return value{kind: number, slot: -1, unit: "s", age: true, moment: crossing{f: -1}, grows: true, num: func(e *env) float64 {
		at := e.d.spoke()
		if at == never {
			return math.NaN()
		}
		return float64(max(e.now-at, 0)) / 1000
	}}
}

// spoke is the time of the newest reading that the device sent itself.
func (d *device) spoke() int64 { return max(d.newest[fleet.Telemetry], d.newest[fleet.Event]) }

// linkAt is the time of the newest presence; never before the first.
func (d *device) linkAt() int64 {
	if d.p.link < 0 {
		return never
	}
	sl := &d.p.slots[d.p.link]
	if math.IsNaN(d.num(sl.f)) {
		return never
	}
	return d.time(sl.t)
}

// presence takes in what is said of a device's link, of time t by the server's clock. It moves none of the device's own timers:
// while it uploads its past these are far behind.
func (s *State) presence(d *device, r *fleet.Reading, t int64) {
	p := d.p
	newest := d.linkAt()
	if t < newest {
		s.counts.Late++
		return
	}
	bits := s.scratch(p)
	clear(bits)
	again := t == newest
	came := make([]int, 0, len(linkFields))
	for i := range r.Fields {
		var sl *slot
		f := &r.Fields[i]
		switch {
		case f.Name == "online" && f.Value.Type == fleet.Boolean:
			sl = &p.slots[p.link]
			again = again && d.num(sl.f) == numberOf(&f.Value)
		case f.Name == "cause" && f.Value.Type == fleet.String:
			sl = &p.slots[p.linkCause]
			again = again && d.text(sl.str) == f.Value.Str
		default:
			continue
		}
		came = append(came, p.byName[sl.spec.Name])
		d.set(sl, &f.Value, t, true)
		bits.union(sl.rules)
	}
	if again {
		s.counts.Duplicates++
		return
	}
	d.linkP = s.partition()
	if d.spoke() == never {
		d.clock = max(d.clock, t)
	}
	s.env = s.look(d, t)
	s.cellsOf(p, came)
	s.evaluate(d, bits)
	s.runDue(d)
}

// cellsOf updates what is kept about the fields that came, and no more.
func (s *State) cellsOf(p *program, came []int) {
	if len(p.cells) == 0 {
		return
	}
	s.beginCells(p)
	clear(s.cells)
	for _, k := range came {
		s.touched(p, k)
	}
	s.updateCells(p)
}

// hear notes when an event was received of a device that never sent telemetry: its clock runs on from there.
func (s *State) hear(d *device, t int64) {
	if d.newest[fleet.Telemetry] == never && t >= d.newest[fleet.Event] {
		d.heardT, d.clock = s.partition(), max(d.clock, t)
	}
}

// anchor is where the device's clock runs on from, and the partition clock then: its newest telemetry, before the first its
// newest event. Of a device that cannot be reached, or was never heard, it is what presence said: that is by our own clock, and
// nothing of the device is under way that would be older.
func (s *State) anchor(d *device) (at, partition int64) {
	at, partition = d.newest[fleet.Telemetry], d.heardT
	if at == never {
		at = d.newest[fleet.Event]
	}
	if link := d.linkAt(); link != never && link > at && !s.uploading(d) && (at == never || d.num(d.p.slots[d.p.link].f) == 0) {
		return link, d.linkP
	}
	return at, partition
}

// at returns the device's clock now: it runs on from the anchor as receipt time does. A device
// that uploads its past has a clock in the past.
func (s *State) at(d *device) int64 {
	from, then := s.anchor(d)
	if from == never {
		return never
	}
	return from + max(s.partition()-then, 0)
}

// present is the device's clock, and not before anything that is known of it.
func (s *State) present(d *device) int64 {
	return max(s.at(d), d.spoke(), d.linkAt(), 0)
}
