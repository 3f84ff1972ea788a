package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// numbers returns the number of each model in the layout.
func (s *Set) numbers() map[string]int {
	out := map[string]int{}
	for i, id := range slices.Sorted(maps.Keys(s.programs)) {
		out[id] = i
	}
	return out
}

// Header encodes what the state knows besides the devices. After an activation or a summary of the fleet it holds these too.
func (s *State) Header() []byte {
	b := binary.AppendVarint(binary.AppendVarint(nil, s.clock), s.gap)
	if s.activation != nil || s.fleet != nil {
		b = appendString(b, string(s.activation))
	}
	if s.fleet != nil {
		b = appendString(b, string(s.fleet.body))
	}
	return b
}

// header is the inverse of Header, for a new state. An activation that cannot be followed any more, because the models are
// others now, leaves the state with the set it was made with.
func (s *State) header(b []byte) error {
	r := decoder{b: b}
	s.clock, s.gap = r.varint(), r.varint()
	var activation, summary []byte
	if r.err == nil && len(r.b) > 0 {
		activation = r.bytes(r.uvarint())
	}
	if r.err == nil && len(r.b) > 0 {
		summary = r.bytes(r.uvarint())
	}
	if r.err != nil {
		return fmt.Errorf("header of the snapshot: %w", r.err)
	}
	if len(summary) > 0 {
		if err := s.SetSummary(summary); err != nil {
			return fmt.Errorf("summary in the header of the snapshot: %w", err)
		}
	}
	if len(activation) > 0 {
		s.activate(&wire.Record{Kind: wire.KindActivation, Body: activation})
		s.counts.Activations = 0 // it was counted when it came
	}
	return nil
}

// Restore builds a state from a header, the layout it was saved with and its chunks, oldest first. Its rules are those of the
// last activation before it was saved, else the set's. Fields, windows and
// episodes go by name: what the set does not have any more is left out. Open episodes of rules (or models) that are gone
// are returned as cleared: nobody else would ever end them.
func Restore(set *Set, header, layout []byte, chunks []Chunk) (*State, []fleet.Finding, error) {
	s := NewState(set)
	if err := s.header(header); err != nil {
		return nil, nil, err
	}
	s.sets, s.anew = []*Set{s.set}, false
	mappings, err := s.set.mappings(layout)
	if err != nil {
		return nil, nil, err
	}
	ended := map[fleet.DeviceKey][]fleet.Finding{}
	for _, c := range slices.Backward(chunks) { // a device's newest copy counts
		if err := s.restore(c, mappings, ended); err != nil {
			return nil, nil, fmt.Errorf("chunk %d: %w", c.ID, err)
		}
	}
	s.received = moment(s.clock)
	for i := range s.devices.n {
		d := s.devices.at(i)
		s.bindFacts(d)
		s.out = nil
		if s.leave(d, s.present(d)); len(s.out) > 0 { // the rules apply to others than they did
			s.touch(d)
			ended[d.key] = append(ended[d.key], s.out...)
		}
		s.schedule(d)
	}
	s.out = nil
	var out []fleet.Finding
	for _, key := range slices.SortedFunc(maps.Keys(ended), compareKeys) {
		out = append(out, ended[key]...)
	}
	return s, out, nil
}

// restore reads the devices of a chunk that are not known from a newer one. ended gets the findings of what is gone, and a
// place for every device whose model is.
func (s *State) restore(c Chunk, mappings []mapping, ended map[fleet.DeviceKey][]fleet.Finding) error {
	for r := (decoder{b: c.Body}); len(r.b) > 0; {
		before := len(r.b)
		n, key := r.head()
		if r.err != nil || n >= uint64(len(mappings)) {
			return errShort
		}
		m := &mappings[n]
		_, passed := ended[key]
		passed = passed || s.devices.get(key) != nil
		words := m.blank()
		if !passed && m.to != nil {
			key, words = s.devices.own(key), s.words(m.to)
		}
		d, gone, err := r.device(key, m, words)
		switch {
		case err != nil:
			return err
		case passed:
			continue
		case len(gone) > 0 || m.to == nil:
			ended[key] = s.endedAll(&d, m, gone, s.clock)
		}
		if m.to != nil {
			s.place(s.devices.add(d), c.ID, before-len(r.b))
		}
	}
	return nil
}

func (s *State) endedAll(d *device, m *mapping, gone []episode, received int64) (out []fleet.Finding) {
	for i := range gone {
		out = append(out, s.ended(d, m, &gone[i], received))
	}
	return out
}

// ended is the last finding of an episode whose rule does not exist for the device any more.
func (s *State) ended(d *device, m *mapping, e *episode, received int64) fleet.Finding {
	r := m.from.Rules[e.rule]
	return fleet.Finding{
		ID: d.findingID(r.ID, e.openedAt), Revision: e.told + 1, Phase: fleet.Cleared,
		Device: d.key, Model: m.from.Model, Category: r.Category,
		Rule: r.ID, Version: r.Version, Problem: r.Problem, Kind: r.Kind, Severity: r.Severity,
		OpenedAt: moment(e.openedAt), At: moment(max(d.newest[0], d.newest[1], e.openedAt)), Received: moment(received), Live: e.live,
	}
}

// rebind moves a device to another program, of another model or another set: what both know by the same name stays.
func (s *State) rebind(d *device, p *program) {
	m := s.mapping(d.p, p)
	r := decoder{b: appendDevice(nil, d, 0, d.upload)}
	r.head()
	fresh, gone, err := r.device(d.key, m, s.words(p))
	if err != nil { // cannot happen: it was encoded a moment ago
		fresh, gone = newDevice(d.key, p, m.blank()), nil
	}
	if len(gone) > 0 { // then a record is stepped
		s.out = append(s.out, s.endedAll(&fresh, m, gone, s.rec.Received.UnixMilli())...)
	}
	fresh.epoch, fresh.chunk, fresh.size, fresh.wake, fresh.gen = d.epoch, d.chunk, d.size, d.wake, d.gen
	*d = fresh
	s.bindFacts(d)
	s.leave(d, s.present(d))
}

// move is a device's way from one program to another.
type move struct{ from, to *program }

// mapping returns what leads from one program to another. It is made once.
func (s *State) mapping(from, to *program) *mapping {
	m := s.moves[move{from, to}]
	if m == nil {
		made := newMapping(from.layout(), to)
		m = &made
		s.moves[move{from, to}] = m
	}
	return m
}

// Hash names the whole state: two states with the same hash go on alike.
func (s *State) Hash() string {
	numbers := s.set.numbers()
	h := sha256.New()
	h.Write(s.Header())
	var b []byte
	for _, d := range s.devices.sorted() {
		as := *d // what it will be once it is taken over
		s.bring(&as, s.gen())
		d = &as
		b = appendDevice(b[:0], d, numbers[d.p.model], s.uploading(d))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}
