package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"aftercare/internal/fleet"
)

func (s *State) numbers() map[string]int {
	out := map[string]int{}
	for i, id := range slices.Sorted(maps.Keys(s.set.programs)) {
		out[id] = i
	}
	return out
}

// Header encodes what the state knows besides the devices.
func (s *State) Header() []byte {
	return binary.AppendVarint(binary.AppendVarint(nil, s.clock), s.gap)
}

// Restore builds a state from a header, the layout it was saved with and its chunks, oldest first. Fields, windows and
// episodes go by name: what the set does not have any more is left out. Open episodes of rules (or models) that are gone
// are returned as cleared: nobody else would ever end them.
func Restore(set *Set, header, layout []byte, chunks []Chunk) (*State, []fleet.Finding, error) {
	s := NewState(set)
	h := decoder{b: header}
	s.clock, s.gap = h.varint(), h.varint()
	if h.err != nil {
		return nil, nil, fmt.Errorf("header of the snapshot: %w", h.err)
	}
	mappings, err := set.mappings(layout)
	if err != nil {
		return nil, nil, err
	}
	ended := map[fleet.DeviceKey][]fleet.Finding{}
	for _, c := range chunks {
		r := decoder{b: c.Body}
		for len(r.b) > 0 {
			before := len(r.b)
			d, m, gone, err := r.device(mappings)
			if err != nil {
				return nil, nil, fmt.Errorf("chunk %d: %w", c.ID, err)
			}
			if old := s.devices[d.key]; old != nil {
				s.place(old, 0, 0)
				delete(s.devices, d.key)
			}
			size := before - len(r.b)
			delete(ended, d.key)
			for i := range gone {
				ended[d.key] = append(ended[d.key], s.ended(d, m, &gone[i], s.clock))
			}
			if m.to == nil {
				continue
			}
			s.place(d, c.ID, size)
			s.devices[d.key] = d
		}
	}
	for _, d := range s.devices {
		s.schedule(d)
	}
	var out []fleet.Finding
	for _, key := range slices.SortedFunc(maps.Keys(ended), func(a, b fleet.DeviceKey) int {
		return slices.Compare([]string{a.Tenant, a.Serial}, []string{b.Tenant, b.Serial})
	}) {
		out = append(out, ended[key]...)
	}
	return s, out, nil
}

// ended is the last finding of an episode whose rule does not exist for the device any more.
func (s *State) ended(d *device, m *mapping, e *episode, received int64) fleet.Finding {
	r := m.from.Rules[e.rule]
	return fleet.Finding{
		ID: d.findingID(r.ID, e.openedAt), Revision: e.told + 1, Phase: fleet.Cleared,
		Device: d.key, Model: m.from.Model, Category: r.Category,
		Rule: r.ID, Version: r.Version, Problem: r.Problem, Kind: r.Kind, Severity: r.Severity,
		OpenedAt: moment(e.openedAt), At: moment(max(d.newest[0], d.newest[1])), Received: moment(received), Live: e.live,
	}
}

// rebind moves a device to another model: what both models' rules know by the same name stays.
func (s *State) rebind(d *device, p *program) {
	m := newMapping(d.p.layout(), p)
	r := decoder{b: appendDevice(nil, d, 0, d.upload)}
	fresh, _, gone, err := r.device([]mapping{m})
	if err != nil { // cannot happen: it was encoded a moment ago
		fresh, gone = newDevice(d.key, p), nil
	}
	for i := range gone {
		s.out = append(s.out, s.ended(fresh, &m, &gone[i], s.rec.Received.UnixMilli()))
	}
	fresh.epoch, fresh.chunk, fresh.size, fresh.wake = d.epoch, d.chunk, d.size, d.wake
	*d = *fresh
}

// Hash names the whole state: two states with the same hash go on alike.
func (s *State) Hash() string {
	keys := slices.SortedFunc(maps.Keys(s.devices), func(a, b fleet.DeviceKey) int {
		return slices.Compare([]string{a.Tenant, a.Serial}, []string{b.Tenant, b.Serial})
	})
	numbers := s.numbers()
	h := sha256.New()
	h.Write(s.Header())
	var b []byte
	for _, k := range keys {
		d := s.devices[k]
		b = appendDevice(b[:0], d, numbers[d.p.model], s.uploading(d))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}
