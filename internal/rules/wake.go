package rules

import "aftercare/internal/fleet"

// wakeHeap orders the devices that want to be looked at without a reading of theirs. A device may have entries that are
// out of date: they are found stale when they come up, because its own wake says another time.
//
// Those are let go of once they may be more than the others: a timer of days is entered again after each of minutes.
type wakeHeap struct {
	list []wakeEntry
	full int // when list is this long, it is looked through
}

type wakeEntry struct {
	at int64
	d  *device
}

// before orders entries of the same time by device, so that what is found does not come in the order of a start.
func (e wakeEntry) before(o wakeEntry) bool {
	return e.at < o.at || e.at == o.at && compareKeys(e.d.key, o.d.key) < 0
}

func (h *wakeHeap) push(e wakeEntry) {
	if len(h.list) >= h.full {
		h.tidy()
	}
	h.list = append(h.list, e)
	a := h.list
	for i := len(a) - 1; i > 0; {
		up := (i - 1) / 2
		if !a[i].before(a[up]) {
			break
		}
		a[up], a[i] = a[i], a[up]
		i = up
	}
}

func (h *wakeHeap) pop() wakeEntry {
	a := h.list
	top := a[0]
	last := len(a) - 1
	a[0], a[last] = a[last], wakeEntry{}
	h.list = a[:last]
	h.down(0)
	return top
}

// down brings an entry to its place among those below it.
func (h *wakeHeap) down(i int) {
	for a := h.list; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(a); c++ {
			if a[c].before(a[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		a[i], a[least] = a[least], a[i]
		i = least
	}
}

// tidy leaves each device its one entry that is not out of date.
func (h *wakeHeap) tidy() {
	kept := h.list[:0]
	for _, e := range h.list {
		if e.d.wake == e.at {
			kept = append(kept, e)
			e.d.wake = never // an entry of the same time is one too many
		}
	}
	clear(h.list[len(kept):])
	for _, e := range kept {
		e.d.wake = e.at
	}
	h.list = kept
	for i := len(kept)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
	h.full = 2*len(kept) + rosterBlock
}

// schedule computes when the device's next timer is due, on its own clock and on the partition's.
func (s *State) schedule(d *device) {
	if len(d.active) == 0 && !d.p.hasAge {
		d.due = later
		return // an entry that is left wakes it once for nothing
	}
	d.due = nextDue(d)
	want := int64(later)
	if from, then := s.anchor(d); d.due < later && from != never {
		want = then + d.due - from
	}
	if d.upload && (d.due < later && d.linkAt() != never || d.waiting()) {
		want = min(want, d.heard+s.cfg.Quiet.Milliseconds())
	}
	if want < d.wake {
		s.wakes.push(wakeEntry{at: want, d: d})
		d.wake = want
	}
}

// runDue is schedule after something that may have brought the device's clock forward: timers that are due by now run at once,
// not with the next record, so that it makes no difference where a batch ends.
func (s *State) runDue(d *device) {
	s.schedule(d)
	if at := s.at(d); d.due <= at {
		s.advance(d, at+1)
		s.schedule(d)
	}
}

// waiting reports whether an episode is open that nobody was told of, because the device is still uploading.
func (d *device) waiting() bool {
	for i := range d.active {
		if d.active[i].open && !d.active[i].live {
			return true
		}
	}
	return false
}

// runWakes looks at the devices whose time has come.
func (s *State) runWakes() {
	now := s.partition()
	for len(s.wakes.list) > 0 && s.wakes.list[0].at <= now {
		e := s.wakes.pop()
		if e.d.wake != e.at {
			continue
		}
		e.d.wake = later
		s.wakeUp(e.d, now)
	}
}

func (s *State) wakeUp(d *device, now int64) {
	s.touch(d)
	caught := d.upload && now-d.heard >= s.cfg.Quiet.Milliseconds()
	if caught {
		d.upload = false // nothing more comes: what is open now is the present
	}
	at := s.at(d)
	if at != never && d.due <= at {
		s.advance(d, at+1)
	}
	if caught {
		s.caughtUp(d, max(at, d.newest[fleet.Event]))
	}
	s.schedule(d)
}
