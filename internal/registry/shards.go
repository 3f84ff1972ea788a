package registry

import (
	"hash/maphash"
	"iter"
	"maps"
	"sync/atomic"

	"aftercare/internal/fleet"
)

const shardCount = 256

// shards is a map that is read without a lock and copied where it is written: a change copies one part in 256, a few
// hundred entries for a fleet of a hundred thousand. (A sync.Map would allocate its key on every read.)
type shards[V any] struct {
	seed  maphash.Seed
	parts [shardCount]atomic.Pointer[map[fleet.DeviceKey]V]
}

func (s *shards[V]) init() { s.seed = maphash.MakeSeed() }

func (s *shards[V]) part(key fleet.DeviceKey) *atomic.Pointer[map[fleet.DeviceKey]V] {
	return &s.parts[maphash.String(s.seed, key.Serial)%shardCount]
}

func (s *shards[V]) get(key fleet.DeviceKey) (v V, ok bool) {
	if m := s.part(key).Load(); m != nil {
		v, ok = (*m)[key]
	}
	return v, ok
}

// put sets many entries; each is seen whole, but not all at the same moment. Only one goroutine may put at a time.
func (s *shards[V]) put(entries map[fleet.DeviceKey]V) {
	copies := map[*atomic.Pointer[map[fleet.DeviceKey]V]]map[fleet.DeviceKey]V{}
	for key, v := range entries {
		part := s.part(key)
		m, ok := copies[part]
		if !ok {
			m = map[fleet.DeviceKey]V{}
			if old := part.Load(); old != nil {
				m = maps.Clone(*old)
			}
			copies[part] = m
		}
		m[key] = v
	}
	for part, m := range copies {
		part.Store(&m)
	}
}

// all yields every entry, in no order.
func (s *shards[V]) all() iter.Seq[V] {
	return func(yield func(V) bool) {
		for i := range s.parts {
			m := s.parts[i].Load()
			if m == nil {
				continue
			}
			for _, v := range *m {
				if !yield(v) {
					return
				}
			}
		}
	}
}
