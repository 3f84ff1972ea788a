// Package presence knows for each device whether it can be reached. The doors tell it of connections and messages, the models
// how often a device has something to say; what changes becomes a reading of class presence in the journal, like everything
// the rules read. It decides nothing about faults: silence is not health, and no fault either.
//
// A device of which nothing was ever heard is not lost, it is not known: there is no state and no reading of it.
//
// A base station is a device that is the parent of others. When it goes offline nothing is known of its children, and they are
// offline for that reason (station_lost), except those with a session of their own; when it is back each has its grace anew.
// What its children say through it counts as a sign of the station too.
//
// It has to run in one process for a journal, one with a door: another would hear nothing of the devices of the first, call them
// silent, and keep its states under the same keys.
//
// Offline and connected (fleet.Link) means: its connection is up, and nothing came for several intervals.
//
// Only app may import it. It imports fleet, wire and obs.
package presence

import (
	"context"
	"log/slog"
	"math/bits"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
)

// Devices answers who is who. It must not block.
type Devices interface {
	Device(key fleet.DeviceKey) (*fleet.Device, bool)
}

// Models knows the profiles; the interval is what counts here. It must not block.
type Models interface {
	Model(id string) (*fleet.Model, bool)
}

// Snapshots keeps bodies of at most 1 MiB by key.
type Snapshots interface {
	Save(ctx context.Context, key string, body []byte) error
	Load(ctx context.Context, key string) ([]byte, bool, error)
}

// Deps is what a Tracker is built on.
type Deps struct {
	Devices   Devices
	Models    Models
	Record    func(ctx context.Context, readings []fleet.Reading) error // takes the readings, or none of them
	Snapshots Snapshots                                                 // nil: nothing is kept over a restart
	Stalled   func() bool                                               // whether the doors wait for us and devices cannot be heard; nil: never
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	Now       func() time.Time // nil: time.Now
}

// Tracker keeps the states. Connected, Disconnected, Heard, Reported, State and Children may be called from many goroutines and
// never wait for anything but each other; Run, or Look, from one.
type Tracker struct {
	cfg      Config
	devices  Devices
	models   Models
	record   func(ctx context.Context, readings []fleet.Reading) error
	snaps    Snapshots
	stalled  func() bool
	log      *slog.Logger
	now      func() time.Time
	metrics  *metrics
	shards   [shardCount]shard
	stations stations
	perShard int       // how many changes of a shard may wait
	looked   time.Time // when silence was last looked for; Run only
	saved    time.Time // when the states were last kept; Run only
	resaid   bool      // the end before this start was not orderly: what is confirmed is recorded again
	unsent   []change
}

// New returns a Tracker that knows no device. The configuration must be valid.
func New(cfg Config, d Deps) *Tracker {
	t := &Tracker{cfg: cfg, devices: d.Devices, models: d.Models, record: d.Record, snaps: d.Snapshots, stalled: d.Stalled, log: d.Log, now: d.Now,
		metrics: newMetrics(d.Metrics), perShard: max(cfg.MaxPending/shardCount, 1)}
	if t.now == nil {
		t.now = time.Now
	}
	if t.stalled == nil {
		t.stalled = func() bool { return false }
	}
	for i := range t.shards {
		t.shards[i].index = map[uint64]uint32{}
	}
	t.stations.children = map[uint64][]uint32{}
	return t
}

// hash is stable over restarts: it also says in which snapshot a device is.
func hash(key fleet.DeviceKey) uint64 {
	return xxhash.Sum64String(key.Serial) ^ bits.RotateLeft64(xxhash.Sum64String(key.Tenant), 21)
}

// Heard says that a message of a device arrived at a time of our clock. It is called for every message.
func (t *Tracker) Heard(d *fleet.Device, at time.Time) {
	h, ms := hash(d.Key), at.UnixMilli()
	s := &t.shards[h>>shardShift]
	s.mu.Lock()
	if id, ok := s.index[h]; ok {
		if e := s.entry(id); e.dev == d && e.flags&(online|loaded) == online {
			e.heard = max(e.heard, ms)
			s.mu.Unlock()
			return
		}
	}
	t.alive(s, h, d, causeHeard, ms)
	s.mu.Unlock()
}

// Connected says that the first session of a device began. A device that is not registered is ignored.
func (t *Tracker) Connected(key fleet.DeviceKey, at time.Time) {
	d, ok := t.devices.Device(key)
	if !ok {
		t.metrics.ignored.WithLabelValues("not_registered").Inc()
		return
	}
	h := hash(key)
	s := &t.shards[h>>shardShift]
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := t.alive(s, h, d, causeConnected, at.UnixMilli()); e != nil {
		e.flags |= connected
		s.dirty = true
	}
}

// Disconnected says that the last session of a device ended, and why: one of the Cause constants. Revoked ends what is known
// of a device that is revoked or removed; of one that only changed its secret it says that the session is over.
func (t *Tracker) Disconnected(key fleet.DeviceKey, cause string, at time.Time) {
	h := hash(key)
	s := &t.shards[h>>shardShift]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(h, key)
	if e == nil {
		return // it was never known, or is forgotten already
	}
	c := causeOf(cause, causeLost)
	e.flags &^= connected
	s.dirty = true
	if e.flags&online != 0 || (c == causeRevoked && e.cause != causeRevoked) {
		t.set(s, e, h, false, c, at.UnixMilli())
	}
}

// Reported says what a device (or its station, or its broker with a will) said of it: that it is online or goes off. An unknown
// or empty cause is "heard" for online, "disconnected" for offline. It stands for Heard: do not call that for the same message.
// The time may be of the device's clock. What is older than what is known (a retained report, an upload of the past) is counted
// and changes nothing.
func (t *Tracker) Reported(d *fleet.Device, isOnline bool, cause string, at time.Time) {
	now := t.now().UnixMilli()
	h, ms := hash(d.Key), min(at.UnixMilli(), now)
	slack := t.cfg.MinGrace.Milliseconds() // what a device's clock may be behind
	s := &t.shards[h>>shardShift]
	s.mu.Lock()
	defer s.mu.Unlock()
	if isOnline {
		if now-ms > slack {
			t.metrics.ignored.WithLabelValues("old_report").Inc()
			return
		}
		t.alive(s, h, d, causeOf(cause, causeHeard), ms)
		return
	}
	e := t.know(s, h, d)
	if e == nil {
		return
	}
	if e.heard-ms > slack {
		t.metrics.ignored.WithLabelValues("old_report").Inc()
		return
	}
	c := causeOf(cause, causeDisconnected)
	if c == causeDisconnected { // else somebody else speaks for it
		e.heard = max(e.heard, ms)
	}
	if e.flags&online != 0 || e.cause == causeNone || e.cause == causeSilent || e.cause == causeStation {
		t.set(s, e, h, false, c, ms)
	}
}

// State returns what is known of a device; false: it was never heard of.
func (t *Tracker) State(key fleet.DeviceKey) (fleet.Link, bool) {
	h := hash(key)
	s := &t.shards[h>>shardShift]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(h, key)
	if e == nil || e.cause == causeNone {
		return fleet.Link{}, false
	}
	return e.link(), true
}

// Children calls yield for each child of a station of which something is known, in no order, until it returns false.
func (t *Tracker) Children(station fleet.DeviceKey, yield func(*fleet.Device, fleet.Link) bool) {
	h := hash(station)
	for _, id := range t.stations.of(h) {
		s := &t.shards[id>>slotBits]
		s.mu.Lock()
		e := s.entry(id)
		d, l, ok := e.dev, e.link(), e.dev != nil && e.station == h && e.cause != causeNone
		s.mu.Unlock()
		if ok && !yield(d, l) {
			return
		}
	}
}
