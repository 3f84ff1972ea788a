package presence

import (
	"slices"
	"sync"
)

// stations knows the children of each, and which of them changed since anybody looked. Its lock may be taken under that of a
// shard, never the other way round.
type stations struct {
	mu       sync.Mutex
	children map[uint64][]uint32 // by the hash of the station's key
	changes  []stationChange
}

type stationChange struct {
	station uint64
	at      int64
	online  bool
}

// move takes a child from one station to another; 0 is none.
func (st *stations) move(id uint32, from, to uint64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if from != 0 {
		st.children[from] = slices.DeleteFunc(st.children[from], func(c uint32) bool { return c == id })
		if len(st.children[from]) == 0 {
			delete(st.children, from)
		}
	}
	if to != 0 {
		st.children[to] = append(st.children[to], id)
	}
}

// changed notes that a device went on- or offline, if it is a station.
func (st *stations) changed(h uint64, isOnline bool, at int64) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.children[h]) > 0 {
		st.changes = append(st.changes, stationChange{station: h, at: at, online: isOnline})
	}
}

func (st *stations) has(h uint64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.children[h]) > 0
}

func (st *stations) of(h uint64) []uint32 {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Clone(st.children[h])
}

func (st *stations) take() []stationChange {
	st.mu.Lock()
	defer st.mu.Unlock()
	c := st.changes
	st.changes = nil
	return c
}

// cascade brings what happened to stations to their children, and to theirs.
func (t *Tracker) cascade() {
	for changes := t.stations.take(); len(changes) > 0; changes = t.stations.take() {
		for _, c := range changes {
			for _, id := range t.stations.of(c.station) {
				t.inherit(id, c)
			}
		}
	}
}

func (t *Tracker) inherit(id uint32, c stationChange) {
	s := &t.shards[id>>slotBits]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(id)
	switch {
	case e.dev == nil || e.station != c.station:
		return // it has another station by now
	case c.online:
		if e.cause == causeStation || e.flags&online != 0 {
			e.base = max(e.base, c.at)
		}
		if e.cause == causeStation && e.flags&waiting == 0 {
			e.flags |= waiting
			s.dirty = true
		}
	case e.flags&online != 0 && e.flags&connected == 0 && e.heard <= c.at:
		t.set(s, e, hash(e.dev.Key), false, causeStation, c.at)
	default:
		e.flags &^= waiting
	}
}

// heardThrough is when a child was last heard that has no session of its own: its station passed that on.
func (t *Tracker) heardThrough(station uint64) (ms int64) {
	for _, id := range t.stations.of(station) {
		s := &t.shards[id>>slotBits]
		s.mu.Lock()
		if e := s.entry(id); e.dev != nil && e.station == station && e.flags&(connected|online) == online {
			ms = max(ms, e.heard)
		}
		s.mu.Unlock()
	}
	return ms
}
