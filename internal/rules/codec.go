package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"aftercare/internal/fleet"
)

// errShort says that an encoded device ends too early or holds what cannot be.
var errShort = errors.New("encoded device is damaged")

// appendDevice encodes a device by the layout of its program, whose number in the set's layout is model.
func appendDevice(b []byte, d *device, model int, upload bool) []byte {
	b = appendString(appendString(binary.AppendUvarint(b, uint64(model)), d.key.Tenant), d.key.Serial)
	b = append(b, flag(upload)|flag(d.facts != nil)<<1|flag(d.opened != nil)<<2|flag(d.linkP != 0)<<3)
	for _, t := range []int64{d.newest[0], d.newest[1], d.clock, d.heard, d.heardT} {
		b = binary.AppendVarint(b, t)
	}
	if d.linkP != 0 {
		b = binary.AppendVarint(b, d.linkP)
	}
	b = appendSeen(b, &d.sent)
	if d.events != nil {
		b = appendSeen(b, d.events)
	} else {
		b = appendSeen(b, &dedupe{})
	}
	base := d.newest[fleet.Telemetry]
	for i := range d.p.slots {
		b = appendSlot(b, d, &d.p.slots[i], base)
	}
	for i := range d.p.aggs {
		b = appendAgg(b, d, &d.p.aggs[i])
	}
	for i := range d.p.cells {
		b = appendCell(b, d, &d.p.cells[i], base)
	}
	b = binary.AppendUvarint(b, uint64(len(d.active)))
	for i := range d.active {
		b = appendEpisode(b, &d.active[i])
	}
	if d.opened != nil {
		b = appendOpenings(b, *d.opened)
	}
	if d.facts != nil {
		b = appendFacts(b, d.facts)
	}
	return b
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendFloat(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
}

func appendSeen(b []byte, s *dedupe) []byte {
	b = append(b, flag(s.any())|flag(s.old != nil)<<1)
	if s.any() {
		b = appendSpan(b, &s.span)
	}
	if s.old != nil {
		b = appendSpan(b, s.old)
	}
	return b
}

func appendSpan(b []byte, s *span) []byte {
	b = binary.AppendVarint(binary.AppendVarint(b, s.boot), s.high)
	for _, w := range s.bits {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func appendSlot(b []byte, d *device, sl *slot, base int64) []byte {
	if math.IsNaN(d.num(sl.f)) {
		return append(b, 0)
	}
	prev := sl.prev >= 0 && !math.IsNaN(d.num(sl.prev))
	chg := sl.chg >= 0 && !math.IsNaN(d.num(sl.chg))
	b = append(b, 1|flag(prev)<<1|flag(chg)<<2)
	b = binary.AppendVarint(appendFloat(b, d.num(sl.f)), base-d.time(sl.t))
	if prev {
		b = binary.AppendVarint(appendFloat(b, d.num(sl.prev)), base-d.time(sl.prevT))
	}
	if chg {
		b = append(b, byte(d.num(sl.chg)))
	}
	if sl.str >= 0 {
		b = appendString(b, d.text(sl.str))
	}
	return b
}

func appendAgg(b []byte, d *device, a *agg) []byte {
	var used uint64
	for i := range buckets {
		if d.count(a.count+i) > 0 {
			used |= 1 << i
		}
	}
	b = binary.AppendUvarint(b, used)
	if used == 0 {
		return b
	}
	b = binary.AppendVarint(b, d.time(a.head))
	for m := used; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		b = binary.AppendUvarint(b, uint64(d.count(a.count+i)))
		for _, part := range []int{a.sum, a.min, a.max, a.m2} {
			if part >= 0 {
				b = appendFloat(b, d.num(part+i))
			}
		}
	}
	return b
}

// decoder reads what append wrote. After an error everything reads as zero, and err says so.
type decoder struct {
	b   []byte
	err error
}

func (r *decoder) fail() {
	if r.err == nil {
		r.err = errShort
	}
	r.b = nil
}

func (r *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *decoder) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// place reads a number of a bucket. What no clock and no counter reaches is refused: loops over buckets must end.
func (r *decoder) place() int64 {
	v := r.varint()
	if v < math.MinInt64/2 || v > later {
		r.fail()
	}
	return v
}

func (r *decoder) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *decoder) byte() byte {
	if v := r.bytes(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *decoder) word() uint64 {
	if v := r.bytes(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (r *decoder) float() float64 { return math.Float64frombits(r.word()) }

func (r *decoder) string() string { return string(r.bytes(r.uvarint())) }

// head reads whose device comes next, and the number of its model in the layout.
func (r *decoder) head() (model uint64, key fleet.DeviceKey) {
	return r.uvarint(), fleet.DeviceKey{Tenant: r.string(), Serial: r.string()}
}

// device reads what follows the head into words that are a copy of the blank of the program the mapping leads to. Episodes
// of rules that the program does not have any more are returned beside it, as numbers of the old layout.
func (r *decoder) device(key fleet.DeviceKey, m *mapping, words []uint64) (out device, gone []episode, err error) {
	p := m.to
	if p == nil {
		p = &program{model: m.from.Model, link: -1}
	}
	out = newDevice(key, p, words)
	d := &out
	has := r.byte()
	d.upload = has&1 != 0
	for _, t := range []*int64{&d.newest[0], &d.newest[1], &d.clock, &d.heard, &d.heardT} {
		*t = r.varint()
	}
	if has&8 != 0 {
		d.linkP = r.varint()
	}
	r.seen(&d.sent)
	d.events = &dedupe{}
	if r.seen(d.events); !d.events.any() {
		d.events = nil
	}
	for i, sl := range m.from.Slots {
		r.slot(d, sl, m.slots[i])
	}
	for i, a := range m.from.Aggs {
		r.agg(d, a, m.aggs[i])
	}
	base := d.newest[fleet.Telemetry]
	for i, c := range m.from.Cells {
		r.cell(d, base, c, m.cells[i])
	}
	for range min(r.uvarint(), uint64(len(m.from.Rules))) {
		e := r.episode()
		if r.err != nil || e.rule >= len(m.rules) {
			r.fail()
			break
		}
		gone = keep(d, m, e, gone)
	}
	if has&4 != 0 {
		d.opened = r.openings(m)
	}
	if has&2 != 0 {
		d.facts = r.facts() // to be bound to the program
	}
	if r.err != nil {
		return device{}, nil, fmt.Errorf("device %s: %w", key, r.err)
	}
	return out, gone, nil
}

func (r *decoder) seen(s *dedupe) {
	f := r.byte()
	if f&1 != 0 {
		r.span(&s.span)
	}
	if f&2 != 0 {
		s.old = &span{}
		r.span(s.old)
	}
}

func (r *decoder) span(s *span) {
	s.boot, s.high = r.varint(), r.varint()
	for i := range s.bits {
		s.bits[i] = r.word()
	}
}

func (r *decoder) slot(d *device, l slotLayout, to int) {
	f := r.byte()
	if f == 0 {
		return
	}
	base := d.newest[fleet.Telemetry]
	v, at := r.float(), base-r.varint()
	var prev, chg float64
	var prevAt int64
	if f&2 != 0 {
		prev, prevAt = r.float(), base-r.varint()
	}
	if f&4 != 0 {
		chg = float64(r.byte())
	}
	var s string
	if l.Text {
		s = r.string()
	}
	if to < 0 || r.err != nil {
		return
	}
	sl := &d.p.slots[to]
	d.setNum(sl.f, v)
	d.setTime(sl.t, at)
	if sl.prev >= 0 && f&2 != 0 {
		d.setNum(sl.prev, prev)
		d.setTime(sl.prevT, prevAt)
	}
	if sl.chg >= 0 && f&4 != 0 {
		d.setNum(sl.chg, chg)
	}
	if sl.str >= 0 {
		d.setText(sl.str, s)
	}
}

func (r *decoder) agg(d *device, l aggLayout, to int) {
	used := r.uvarint()
	if used == 0 {
		return
	}
	if used >= 1<<buckets {
		r.fail()
		return
	}
	head := r.place()
	var a *agg
	if to >= 0 {
		a = &d.p.aggs[to]
		d.setTime(a.head, head)
	}
	for m := used; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		count := r.uvarint()
		if a != nil {
			d.setCount(a.count+i, uint32(min(count, maxCount)))
		}
		for k, has := range []bool{l.Sum, l.Min, l.Max, l.M2} {
			if !has {
				continue
			}
			v := r.float()
			if a == nil {
				continue
			}
			if part := [...]int{a.sum, a.min, a.max, a.m2}[k]; part >= 0 {
				d.setNum(part+i, v)
			}
		}
	}
}
