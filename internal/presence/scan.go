package presence

import (
	"time"

	"aftercare/internal/fleet"
)

// deadline is when an entry becomes silent; 0: never.
func (t *Tracker) deadline(e *entry) int64 {
	grace := int64(e.grace)
	if grace == 0 && e.flags&wasConn != 0 {
		grace = t.cfg.Reconnect.Milliseconds()
	}
	if grace == 0 || e.flags&(online|waiting) == 0 {
		return 0
	}
	return max(e.heard, e.base) + grace
}

// excuse counts the silence of a shard's devices from now on.
func (t *Tracker) excuse(s *shard, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.index {
		e := s.entry(id)
		e.heard, e.base = min(e.heard, now), now
	}
}

// due is an entry whose deadline has passed.
type due struct {
	id      uint32
	h       uint64
	station uint64
}

// scan finds who is silent at a time. Stations come first, so that of a child whose station is gone that is said and not its
// own silence.
func (t *Tracker) scan(now int64) {
	start := time.Now()
	defer func() { t.metrics.scan.Observe(time.Since(start).Seconds()) }()
	t.cascade()
	var children []due
	for i := range t.shards {
		for _, d := range t.look(&t.shards[i], uint32(i)<<slotBits, now) { //nolint:gosec // 8 bits
			if t.stations.has(d.h) {
				t.silence(d, now, t.heardThrough(d.h), false)
			} else {
				children = append(children, d)
			}
		}
	}
	t.cascade()
	for _, d := range children {
		down, wait := t.stationOf(d.station)
		if !wait {
			t.silence(d, now, 0, down)
		}
	}
	t.cascade()
}

// look walks one shard: it collects who is due, and puts on its way what is owed.
func (t *Tracker) look(s *shard, first uint32, now int64) (out []due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.used
	for p, page := range s.pages {
		for i := range min(left, pageSize) {
			e := &page[i]
			if e.flags&(online|waiting|owed) == 0 {
				continue
			}
			id := first | uint32(p)<<pageBits | i //nolint:gosec // bounded by slotMask
			if e.flags&owed != 0 {
				t.enqueue(s, e, id, now)
			}
			if at := t.deadline(e); at != 0 && at <= now {
				out = append(out, due{id: id, h: hash(e.dev.Key), station: e.station})
			}
		}
		left -= min(left, pageSize)
	}
	return out
}

// silence makes an entry offline if its deadline has passed even when what came through it until heard is counted.
func (t *Tracker) silence(d due, now, heard int64, stationDown bool) {
	s := &t.shards[d.id>>slotBits]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(d.id)
	if e.dev == nil || e.station != d.station {
		return
	}
	if heard > e.heard {
		e.heard = heard
	}
	at := t.deadline(e)
	if at == 0 || at > now {
		return
	}
	c := causeSilent
	switch {
	case stationDown && e.flags&waiting != 0:
		e.flags &^= waiting // its station has gone again
		return
	case stationDown:
		c = causeStation
	case e.flags&wasConn != 0:
		c = causeLost
	}
	t.set(s, e, d.h, false, c, at)
}

// stationOf says whether a station is offline, and whether that is not known yet: it was online before our start and its own
// grace has not passed.
func (t *Tracker) stationOf(h uint64) (down, wait bool) {
	if h == 0 {
		return false, false
	}
	s := &t.shards[h>>shardShift]
	s.mu.Lock()
	defer s.mu.Unlock()
	id, ok := s.index[h]
	if !ok {
		return false, false
	}
	e := s.entry(id)
	isOnline := e.flags&online != 0
	return !isOnline && e.cause != causeNone, isOnline && e.flags&loaded != 0
}

// sweep brings what is remembered of the registry up to date in one shard, and forgets who is revoked or removed once that
// is recorded.
func (t *Tracker) sweep(s *shard, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, id := range s.index {
		e := s.entry(id)
		d, ok := t.devices.Device(e.dev.Key)
		switch {
		case ok && !d.Revoked:
			if e.dev != d {
				t.adopt(id, e, d)
			}
		case e.cause != causeRevoked:
			t.set(s, e, h, false, causeRevoked, now)
		case e.pending == 0 && e.flags&owed == 0:
			t.forget(s, h, id, e)
		}
	}
}

func (t *Tracker) forget(s *shard, h uint64, id uint32, e *entry) {
	if e.cause != causeNone {
		t.metrics.count(e, -1)
	}
	t.stations.move(id, e.station, 0)
	delete(s.index, h)
	*e = entry{}
	s.free = append(s.free, id&slotMask)
	s.dirty = true
}

// reading is a change as the journal keeps it.
func reading(d *fleet.Device, c change) fleet.Reading {
	isOnline := int64(0)
	if c.online {
		isOnline = 1
	}
	fields := []fleet.Field{{Name: "online", Value: fleet.Value{Type: fleet.Boolean, Int: isOnline}},
		{Name: "cause", Value: fleet.Value{Type: fleet.String, Str: causeWords[c.cause]}}}
	if d.Parent != "" {
		fields = append(fields, fleet.Field{Name: "station", Value: fleet.Value{Type: fleet.String, Str: d.Parent}})
	}
	if c.skipped > 0 {
		fields = append(fields, fleet.Field{Name: "summarised", Value: fleet.Value{Type: fleet.Integer, Int: int64(c.skipped)}})
	}
	return fleet.Reading{Device: d.Key, Model: d.Model, Class: fleet.Presence, Time: time.UnixMilli(c.at).UTC(), Fields: fields}
}
