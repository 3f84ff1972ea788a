package presence

import (
	"math"
	"sync"
	"time"

	"aftercare/internal/fleet"
)

const (
	shardCount = 256
	shardShift = 64 - 8
	slotBits   = 24 // of an id; the shard is above
	slotMask   = 1<<slotBits - 1
	pageBits   = 6
	pageSize   = 1 << pageBits
)

type cause uint8

const (
	causeNone cause = iota // known, and nothing was said of it yet
	causeConnected
	causeHeard
	causeDisconnected
	causeLost
	causeWill
	causeSilent
	causeStation
	causeRevoked
	causeCount
)

var causeWords = [causeCount]string{"", fleet.CauseConnected, fleet.CauseHeard, fleet.CauseDisconnected, fleet.CauseLost,
	fleet.CauseWill, fleet.CauseSilent, fleet.CauseStation, fleet.CauseRevoked}

func causeOf(word string, otherwise cause) cause {
	for c := causeNone + 1; c < causeCount; c++ {
		if causeWords[c] == word {
			return c
		}
	}
	return otherwise
}

// What an entry's flags say.
const (
	online    = 1 << iota
	connected // a session of it is open at the gateway
	waiting   // offline because of its station, which is back: counted as silent from its deadline on
	owed      // its state is not what was recorded last
	loaded    // from a snapshot, nothing seen of it since the start
	wasConn   // loaded, and it was connected before
)

// entry is one device. It is kept small, a million of them is a fleet: the test of its size says what one costs.
type entry struct {
	dev      *fleet.Device
	station  uint64 // hash of its parent's key; 0: none
	heard    int64  // Unix milliseconds; 0: never
	base     int64  // silence is counted from here if that is later than heard
	since    int64  // time of the last change; changes of a device have strictly rising times
	grace    uint32 // milliseconds without a word until it is silent; 0: it has no interval and never is
	window   uint32 // the minute that recorded counts
	skipped  uint16 // changes left out since one was recorded
	recorded uint8
	pending  uint8 // changes on their way to Record
	flags    uint8
	cause    cause
}

func (e *entry) link() fleet.Link {
	l := fleet.Link{Online: e.flags&online != 0, Connected: e.flags&connected != 0, Cause: causeWords[e.cause], Since: time.UnixMilli(e.since).UTC()}
	if e.heard != 0 {
		l.Heard = time.UnixMilli(e.heard).UTC()
	}
	return l
}

// change is what Record has not taken yet.
type change struct {
	at      int64
	id      uint32
	skipped uint16
	online  bool
	cause   cause
}

// shard is one part of the devices under one lock. Entries stay where they are; pages of them are added.
type shard struct {
	mu      sync.Mutex
	index   map[uint64]uint32 // hash to id
	pages   []*[pageSize]entry
	used    uint32 // slots ever used
	free    []uint32
	pending []change
	dirty   bool
	_       [64]byte // locks of two shards share no cache line
}

func (s *shard) entry(id uint32) *entry {
	slot := id & slotMask
	return &s.pages[slot>>pageBits][slot&(pageSize-1)]
}

func (s *shard) find(h uint64, key fleet.DeviceKey) *entry {
	id, ok := s.index[h]
	if !ok {
		return nil
	}
	if e := s.entry(id); e.dev.Key == key {
		return e
	}
	return nil
}

// know returns the entry of a device, made if need be, with what the registry says of it now. It returns nil for a revoked
// device, and for the second of two with the same 64-bit hash, which in a fleet of a million happens once in 30 million fleets.
func (t *Tracker) know(s *shard, h uint64, d *fleet.Device) *entry {
	if d.Revoked {
		t.metrics.ignored.WithLabelValues("revoked").Inc()
		return nil
	}
	id, ok := s.index[h]
	if !ok {
		return t.add(s, h, d)
	}
	e := s.entry(id)
	if e.dev == d {
		return e
	}
	if e.dev.Key != d.Key {
		t.metrics.ignored.WithLabelValues("hash").Inc()
		return nil
	}
	t.adopt(id, e, d)
	return e
}

func (t *Tracker) add(s *shard, h uint64, d *fleet.Device) *entry {
	var slot uint32
	if n := len(s.free); n > 0 {
		slot, s.free = s.free[n-1], s.free[:n-1]
	} else {
		slot = s.used
		if slot > slotMask {
			t.metrics.ignored.WithLabelValues("full").Inc()
			return nil
		}
		if slot>>pageBits == uint32(len(s.pages)) { //nolint:gosec // bounded by slotMask
			s.pages = append(s.pages, new([pageSize]entry))
		}
		s.used++
	}
	id := uint32(h>>shardShift)<<slotBits | slot //nolint:gosec // 8 bits
	e := s.entry(id)
	*e = entry{}
	s.index[h] = id
	t.adopt(id, e, d)
	return e
}

// adopt takes over what the registry says: another model, another parent.
func (t *Tracker) adopt(id uint32, e *entry, d *fleet.Device) {
	e.dev = d
	e.grace = 0
	if m, ok := t.models.Model(d.Model); ok && m.Interval > 0 {
		grace := max(time.Duration(t.cfg.Missed)*m.Interval, t.cfg.MinGrace).Milliseconds()
		e.grace = uint32(min(grace, math.MaxUint32)) //nolint:gosec // bounded
	}
	var station uint64
	if d.Parent != "" && d.Parent != d.Key.Serial {
		station = hash(fleet.DeviceKey{Tenant: d.Key.Tenant, Serial: d.Parent})
	}
	if station != e.station {
		t.stations.move(id, e.station, station)
		e.station = station
	}
}

// alive is any sign of life, with the cause it would make the device online for. It returns nil for who is not tracked.
func (t *Tracker) alive(s *shard, h uint64, d *fleet.Device, c cause, ms int64) *entry {
	e := t.know(s, h, d)
	if e == nil {
		return nil
	}
	// A message that was on its way while the device left is older than its leaving, and no return.
	left := e.cause == causeDisconnected || e.cause == causeLost || e.cause == causeWill || e.cause == causeRevoked
	if e.flags&online == 0 && left && ms <= e.since && c != causeConnected {
		e.heard = max(e.heard, ms)
		return e
	}
	e.heard = max(e.heard, ms)
	was := e.flags
	e.flags &^= loaded | wasConn | waiting
	switch {
	case was&online == 0:
		t.set(s, e, h, true, c, ms)
	case was&loaded != 0 && t.resaid:
		t.set(s, e, h, true, c, ms) // the journal may say something newer than the snapshot
	}
	return e
}

// set changes the state of an entry and puts the change on its way.
func (t *Tracker) set(s *shard, e *entry, h uint64, isOnline bool, c cause, ms int64) {
	if e.cause != causeNone {
		t.metrics.count(e, -1)
		ms = max(ms, e.since+1)
	}
	e.flags &^= online | waiting | loaded | wasConn
	if isOnline {
		e.flags |= online
	}
	e.cause, e.since = c, ms
	t.metrics.count(e, 1)
	t.metrics.changes[c].Inc()
	s.dirty = true
	if !t.enqueue(s, e, s.index[h], ms) {
		e.flags |= owed
		if e.skipped < math.MaxUint16 {
			e.skipped++
		}
		t.metrics.summarised.Inc()
	}
	t.stations.changed(h, isOnline, ms)
}

// enqueue puts the present state of an entry on its way to Record. It refuses when the device has had its share of this
// minute, or too much waits already.
func (t *Tracker) enqueue(s *shard, e *entry, id uint32, now int64) bool {
	minute := uint32(now / 60_000) //nolint:gosec // minutes since 1970
	if minute != e.window {
		e.window, e.recorded = minute, 0
	}
	if int(e.recorded) >= t.cfg.FlapLimit || e.pending == math.MaxUint8 || len(s.pending) >= t.perShard {
		return false
	}
	s.pending = append(s.pending, change{at: e.since, id: id, skipped: e.skipped, online: e.flags&online != 0, cause: e.cause})
	e.recorded++
	e.pending++
	e.skipped = 0
	e.flags &^= owed
	return true
}
