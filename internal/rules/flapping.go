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

// openings are when a rule's episodes opened lately. A device has one only for rules that opened within their Within, or, of rules
// whose rate in the fleet some rule looks at, as long as they count for that.
type openings struct {
	rule int
	at   []int64
}

// lookback is how long an opening of the rule is remembered, in ms.
func (r *compiled) lookback() int64 {
	within := r.Flapping.Within
	if r.Flapping.Times == 0 {
		within = defaultFlapping.Within
	}
	if r.rated {
		within = max(within, heardLately)
	}
	return within.Milliseconds()
}

// openings returns when a rule opened lately; nil: it did not.
func (d *device) openings(rule int) *openings {
	if d.opened == nil {
		return nil
	}
	k := slices.IndexFunc(*d.opened, func(o openings) bool { return o.rule == rule })
	if k < 0 {
		return nil
	}
	return &(*d.opened)[k]
}

// afterOpenings is now, or a millisecond behind an opening of the same rule at the same time: the moment is what tells one
// episode from the next, and the clock of a device may stand still.
func (d *device) afterOpenings(rule int, now int64) int64 {
	at := now
	if o := d.openings(rule); o != nil {
		for _, was := range o.at {
			if now <= was && was < now+1000 {
				at = max(at, was+1)
			}
		}
	}
	return at
}

// opens notes an opening and reports whether it is one too many.
func (d *device) opens(rule int, now int64) bool {
	d.forgetOpenings(now)
	r := d.p.rules[rule].Flapping
	if d.opened == nil {
		d.opened = &[]openings{}
	}
	o := d.openings(rule)
	if o == nil {
		*d.opened = append(*d.opened, openings{rule: rule})
		o = &(*d.opened)[len(*d.opened)-1]
	}
	o.at = append(o.at, now)
	if extra := len(o.at) - max(r.Times, 1); extra > 0 {
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
		return now-o.at[len(o.at)-1] >= d.p.rules[o.rule].lookback()
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
