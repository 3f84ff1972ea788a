package rules

import (
	"encoding/binary"
	"encoding/json"
	"math"
)

// The bits of an encoded episode. What was written before a bit existed has it not set, and reads as it was meant.
const (
	epOpen = 1 << iota
	epLive
	epFlapping
	epCause
	epLadder
)

func appendEpisode(b []byte, e *episode) []byte {
	b = binary.AppendUvarint(b, uint64(e.rule)) //nolint:gosec // an index
	b = append(b, flag(e.open)*epOpen|flag(e.live)*epLive|flag(e.flapping)*epFlapping|flag(e.cause >= 0)*epCause|flag(e.ladder != nil)*epLadder)
	b = binary.AppendUvarint(b, uint64(e.told)) //nolint:gosec // it counts from 0
	for _, t := range []int64{e.since, e.openedAt, e.lastTrue, e.clearing} {
		b = binary.AppendVarint(b, t)
	}
	ev, err := json.Marshal(e.evidence)
	if err != nil {
		panic("rules: evidence: " + err.Error()) // explain leaves out what JSON cannot hold
	}
	b = appendString(b, string(ev))
	if e.cause >= 0 {
		b = binary.AppendUvarint(b, uint64(e.cause))
	}
	if l := e.ladder; l != nil {
		b = binary.AppendVarint(binary.AppendUvarint(b, uint64(l.at)), l.low) //nolint:gosec // an index
		b = binary.AppendUvarint(b, uint64(len(l.held)))
		for _, t := range l.held {
			b = binary.AppendVarint(b, t)
		}
	}
	return b
}

func (r *decoder) episode() episode {
	e := episode{rule: int(r.uvarint() & math.MaxInt32), cause: -1} //nolint:gosec // masked
	f := r.byte()
	e.open, e.live, e.flapping = f&epOpen != 0, f&epLive != 0, f&epFlapping != 0
	e.told = int(r.uvarint() & math.MaxInt32) //nolint:gosec // masked
	for _, t := range []*int64{&e.since, &e.openedAt, &e.lastTrue, &e.clearing} {
		*t = r.varint()
	}
	if err := json.Unmarshal(r.bytes(r.uvarint()), &e.evidence); err != nil {
		r.fail()
	}
	if f&epCause != 0 {
		e.cause = int(r.uvarint() & math.MaxInt32) //nolint:gosec // masked
	}
	if f&epLadder != 0 {
		l := &ladder{at: int(r.uvarint() & math.MaxInt32), low: r.varint()} //nolint:gosec // masked
		for range r.count() {
			l.held = append(l.held, r.varint())
		}
		e.ladder = l
	}
	return e
}

// keep takes an episode over into the new program. An open one lives on under the rule of the same id; a wait is begun
// anew when the rule decides differently than before.
func keep(d *device, m *mapping, e episode, gone []episode) []episode {
	to, same := m.rules[e.rule], m.same[e.rule]
	switch {
	case to < 0 && e.open:
		return append(gone, e)
	case to < 0 || !same && !e.open:
		return gone
	}
	if e.cause >= 0 && e.cause < len(m.rules) {
		e.cause = m.rules[e.cause]
	} else {
		e.cause = -1
	}
	rule := &d.p.rules[to]
	e.rule = to
	if !same {
		e.clearing = never
	}
	switch n := len(rule.levels); {
	case n == 0:
		e.ladder = nil
	case e.ladder == nil || !same || len(e.ladder.held) != n || e.ladder.at >= n:
		at := 0
		if e.ladder != nil {
			at = min(e.ladder.at, n-1)
		}
		e.ladder = newLadder(n)
		e.ladder.at = at
	}
	d.active = append(d.active, e)
	return gone
}
