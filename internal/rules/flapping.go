package rules

import (
	"encoding/binary"
	"slices"
	"time"
)

// Flapping says when a rule's episodes come and go too often: from the Times-th opening within Within on an episode is kept
// open until its condition has been over for Quiet. Times 0: never.
type Flapping struct {
	Times  int
	Within time.Duration
	Quiet  time.Duration
}

var defaultFlapping = Flapping{Times: 4, Within: 24 * time.Hour, Quiet: 6 * time.Hour}

// maxFlapping bounds how many openings are remembered.
const maxFlapping = 20

// openings are when a rule's episodes opened lately. A device has one only for rules that opened within their Within.
type openings struct {
	rule int
	at   []int64
}

// opens notes an opening and reports whether it is one too many.
func (d *device) opens(rule int, now int64) bool {
	d.forgetOpenings(now)
	r := d.p.rules[rule].Flapping
	if r.Times == 0 {
		return false
	}
	if d.opened == nil {
		d.opened = &[]openings{}
	}
	k := slices.IndexFunc(*d.opened, func(o openings) bool { return o.rule == rule })
	if k < 0 {
		*d.opened = append(*d.opened, openings{rule: rule})
		k = len(*d.opened) - 1
	}
	o := &(*d.opened)[k]
	o.at = append(o.at, now)
	if extra := len(o.at) - r.Times; extra > 0 {
		o.at = slices.Delete(o.at, 0, extra)
	}
	return len(o.at) == r.Times && now-o.at[0] < r.Within.Milliseconds()
}

// forgetOpenings drops what is too old to count.
func (d *device) forgetOpenings(now int64) {
	if d.opened == nil {
		return
	}
	*d.opened = slices.DeleteFunc(*d.opened, func(o openings) bool {
		return now-o.at[len(o.at)-1] >= d.p.rules[o.rule].Flapping.Within.Milliseconds()
	})
	if len(*d.opened) == 0 {
		d.opened = nil
	}
}

// appendOpenings encodes what is remembered of openings; openings is the inverse, for the rules of a mapping.
func appendOpenings(b []byte, list []openings) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, o := range list {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(o.rule)), uint64(len(o.at))) //nolint:gosec // an index
		for _, at := range o.at {
			b = binary.AppendVarint(b, at)
		}
	}
	return b
}

func (r *decoder) openings(m *mapping) *[]openings {
	var out []openings
	for range r.count() {
		rule := r.uvarint()
		if rule >= uint64(len(m.rules)) {
			r.fail()
			return nil
		}
		o := openings{rule: m.rules[rule]}
		for range min(r.count(), maxFlapping) {
			o.at = append(o.at, r.varint())
		}
		if o.rule >= 0 && len(o.at) > 0 {
			out = append(out, o)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return &out
}
