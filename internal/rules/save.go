package rules

import (
	"maps"
	"math"
)

// Chunk is a part of a snapshot: some devices, encoded. A device's newest chunk counts.
type Chunk struct {
	ID   uint32
	Body []byte
}

// Saving is a snapshot in the making. It holds the state as it was when the snapshot began, however long it takes: a device
// that is about to change is encoded first. So evaluation goes on between two calls of Go and stands still only for what
// that call encodes.
type Saving struct {
	s       *State
	limit   int
	newID   func() uint32
	numbers map[string]int
	at      int64           // partition clock when it began
	gen     uint16          // of the set that counted then
	all     bool            // every device is written
	epoch   uint32          // of the devices that changed since the one before
	again   map[uint32]bool // chunks whose devices are written again
	next    int             // number of the device to be looked at next
	end     int             // how many there were when it began
	id      uint32
	body    []byte
	done    []Chunk
}

// BeginSave begins to encode the devices that changed since the last one began, into chunks of at most limit bytes (more
// only for a single device that is larger). newID gives the chunks their ids, never 0. One at a time: the one before it
// must be done. Header gives the part that goes with it before the next Step.
func (s *State) BeginSave(limit int, newID func() uint32) *Saving {
	if s.saving != nil {
		panic("rules: a snapshot begins while another is made")
	}
	if s.anew {
		for id := range s.held {
			s.again[id] = true
		}
	}
	sv := &Saving{s: s, limit: limit, newID: newID, numbers: s.set.numbers(), at: s.partition(), gen: s.gen(), all: s.anew, epoch: s.epoch, again: s.again, end: s.devices.n}
	s.saving, s.again, s.anew = sv, map[uint32]bool{}, false
	s.epoch++
	return sv
}

// looks is how many devices can be looked at in the time one is encoded.
const looks = 32

// Go encodes up to n devices and reports whether all are.
func (sv *Saving) Go(n int) (done bool) {
	for work := 0; sv.next < sv.end && work/looks < n; sv.next++ {
		work++
		if d := sv.s.devices.at(sv.next); sv.wants(d) {
			sv.encode(d)
			work += looks - 1
		}
	}
	if sv.next < sv.end {
		return false
	}
	if len(sv.body) > 0 {
		sv.done, sv.body = append(sv.done, Chunk{ID: sv.id, Body: sv.body}), nil
	}
	if sv.s.saving == sv {
		sv.s.saving = nil
		if sv.all && sv.gen == sv.s.gen() {
			sv.s.forget()
		}
	}
	return true
}

// Chunks returns what was encoded, once Go has reported that all is.
func (sv *Saving) Chunks() []Chunk { return sv.done }

// wants reports whether the snapshot is still to have a device: not when that changed meanwhile, for it was encoded then.
func (sv *Saving) wants(d *device) bool {
	return d.epoch == sv.epoch || d.epoch < sv.epoch && sv.again[d.chunk]
}

func (sv *Saving) encode(d *device) {
	if sv.id == 0 {
		sv.id = sv.newID()
	}
	sv.s.bring(d, sv.gen)
	from := len(sv.body)
	sv.body = appendDevice(sv.body, d, sv.numbers[d.p.model], sv.s.uploadingAt(d, sv.at))
	if len(sv.body) > sv.limit && from > 0 {
		sv.done = append(sv.done, Chunk{ID: sv.id, Body: sv.body[:from:from]})
		sv.body = append(make([]byte, 0, sv.limit), sv.body[from:]...)
		sv.id, from = sv.newID(), 0
	}
	sv.s.place(d, sv.id, len(sv.body)-from)
	d.epoch = 0
}

// place notes that the newest copy of a device is in a chunk (0: in none).
func (s *State) place(d *device, chunk uint32, size int) {
	if d.chunk != 0 {
		if s.held[d.chunk] -= int(d.size); s.held[d.chunk] == 0 {
			delete(s.held, d.chunk)
		}
	}
	d.chunk, d.size = chunk, uint32(size) //nolint:gosec // a device has some kilobytes
	if chunk != 0 {
		s.held[chunk] += size
	}
}

// touch notes that a device is about to change. From then on it is of the set that counts.
func (s *State) touch(d *device) {
	if d.epoch != s.epoch {
		if s.saving != nil && s.saving.wants(d) {
			s.saving.encode(d)
		}
		d.epoch = s.epoch
	}
	if d.gen != s.gen() {
		s.bring(d, s.gen())
	}
}

// Save is BeginSave and all of Go at once.
func (s *State) Save(limit int, newID func() uint32) []Chunk {
	sv := s.BeginSave(limit, newID)
	sv.Go(math.MaxInt)
	return sv.Chunks()
}

// Held returns how many bytes of each chunk are still the newest copy of a device. A chunk that is not in it is not needed
// any more.
func (s *State) Held() map[uint32]int { return maps.Clone(s.held) }

// Resave makes the next snapshot write the devices of some chunks again, so that the chunks are free; without chunks, all
// devices.
func (s *State) Resave(chunks ...uint32) {
	for _, id := range chunks {
		s.again[id] = true
	}
	s.anew = s.anew || len(chunks) == 0
}
