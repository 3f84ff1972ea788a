package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"aftercare/internal/fleet"
)

// track is what ingest remembers of one device between its messages. Its owner holds the lock while it works on a message.
type track struct {
	mu     sync.Mutex
	clocks [fleet.Status + 1]clock // by class
	// the sheet that its readings are counted on, and what it is of
	sheet    *sheet
	model    string
	firmware string
	day      int64
}

// tracks is what is remembered of all devices that have reported since the start, and of those with wrong clocks before it.
// Only registered devices get here, so their number is bounded.
type tracks struct {
	dirty  atomic.Bool // at least one shard is
	shards [trackShards]trackShard
}

type trackShard struct {
	mu    sync.Mutex
	of    map[fleet.DeviceKey]*track
	wrong map[fleet.DeviceKey]*track // those with wrong clocks
	dirty atomic.Bool
}

const (
	trackShards = 64
	maxWrong    = 4096 // devices with wrong clocks of one shard: what one snapshot holds
)

func newTracks() *tracks {
	t := &tracks{}
	for i := range t.shards {
		t.shards[i].of, t.shards[i].wrong = map[fleet.DeviceKey]*track{}, map[fleet.DeviceKey]*track{}
	}
	return t
}

// shard spreads by the end of the serial, which is where serials differ.
func (t *tracks) shard(k fleet.DeviceKey) *trackShard {
	h := uint(0)
	for i := max(0, len(k.Serial)-4); i < len(k.Serial); i++ {
		h = h*31 + uint(k.Serial[i])
	}
	return &t.shards[h%trackShards]
}

// get returns what is remembered of a device. k's strings are kept.
func (t *tracks) get(k fleet.DeviceKey) *track {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	tr := s.of[k]
	if tr == nil {
		tr = &track{}
		s.of[k] = tr
	}
	return tr
}

// changed says that tr's memory of a wrong clock changed. It must be called before the reading is queued for the commit.
// The caller holds tr's lock.
func (t *tracks) changed(k fleet.DeviceKey, tr *track) {
	s := t.shard(k)
	s.mu.Lock()
	if s.wrong[k] == nil && len(s.wrong) >= maxWrong {
		for victim := range s.wrong { // any: that so many clocks are wrong is not a matter of one device
			delete(s.wrong, victim)
			break
		}
	}
	s.wrong[k] = tr
	s.mu.Unlock()
	s.dirty.Store(true)
	t.dirty.Store(true)
}

// doubt makes the next reading of every wrong clock tell anew how wrong it is.
func (t *tracks) doubt() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		wrong := maps.Clone(s.wrong)
		s.mu.Unlock()
		for k, tr := range wrong {
			tr.mu.Lock()
			changed := false
			for class := range tr.clocks {
				changed = tr.clocks[class].doubt() || changed
			}
			if changed {
				t.changed(k, tr)
			}
			tr.mu.Unlock()
		}
	}
}

// touch makes the next save write everything, also what changes without need to be durable at once: how far wrong clocks' readings
// have come.
func (t *tracks) touch() {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		if len(s.wrong) > 0 {
			s.dirty.Store(true)
			t.dirty.Store(true)
		}
		s.mu.Unlock()
	}
}

// wrongClock is a device in a snapshot.
type wrongClock struct {
	Device fleet.DeviceKey `json:"device"`
	Boots  []bootClock     `json:"boots"`
}

func clocksKey(shard int) string { return fmt.Sprintf("clocks.%d", shard) }

// save makes durable what changed. Until it has returned nil, nothing that was corrected meanwhile may be committed.
func (t *tracks) save(ctx context.Context, to Clocks, now time.Time) error {
	if to == nil || !t.dirty.Swap(false) {
		return nil
	}
	for i := range t.shards {
		s := &t.shards[i]
		if !s.dirty.Swap(false) {
			continue
		}
		body, err := s.snapshot(now)
		if err == nil {
			err = to.Save(ctx, clocksKey(i), body)
		}
		if err != nil {
			s.dirty.Store(true)
			t.dirty.Store(true)
			return fmt.Errorf("save the clocks that are wrong: %w", err)
		}
	}
	return nil
}

func (s *trackShard) snapshot(now time.Time) ([]byte, error) {
	s.mu.Lock()
	wrong := maps.Clone(s.wrong)
	s.mu.Unlock()
	list := make([]wrongClock, 0, len(wrong))
	for k, tr := range wrong {
		tr.mu.Lock()
		w := wrongClock{Device: k}
		for class := range tr.clocks {
			for _, b := range tr.clocks[class].wrong {
				if now.UnixMilli()-b.At < clocksKept.Milliseconds() {
					b.Class, b.Spans = fleet.Class(class), append([]span(nil), b.Spans...)
					w.Boots = append(w.Boots, b)
				}
			}
		}
		tr.mu.Unlock()
		if len(w.Boots) > 0 {
			list = append(list, w)
		}
	}
	const most = 900 << 10 // JetStream takes at most 1 MiB
	for {
		body, err := json.Marshal(list)
		if err != nil {
			return nil, fmt.Errorf("encode the clocks that are wrong: %w", err)
		}
		if len(body) <= most {
			return body, nil
		}
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		list = list[:len(list)/2]
	}
}

// load takes back what save kept. A snapshot that cannot be read is an error with the others taken in.
func (t *tracks) load(ctx context.Context, from Clocks) error {
	if from == nil {
		return nil
	}
	for i := range t.shards {
		body, ok, err := from.Load(ctx, clocksKey(i))
		if err != nil {
			return fmt.Errorf("load the clocks that are wrong: %w", err)
		}
		if !ok {
			continue
		}
		var list []wrongClock
		if err := json.Unmarshal(body, &list); err != nil {
			return fleet.Errorf(fleet.CodeInvalid, "the snapshot %s cannot be read: %w", clocksKey(i), err)
		}
		for _, w := range list {
			tr := t.get(w.Device)
			tr.mu.Lock()
			for _, b := range w.Boots {
				if int(b.Class) < len(tr.clocks) && len(tr.clocks[b.Class].wrong) < maxBoots {
					c := &tr.clocks[b.Class]
					c.wrong = append(c.wrong, b)
				}
			}
			tr.mu.Unlock()
			s := t.shard(w.Device)
			s.mu.Lock()
			s.wrong[w.Device] = tr
			s.mu.Unlock()
		}
	}
	return nil
}
