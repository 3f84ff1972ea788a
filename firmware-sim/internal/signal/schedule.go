package signal

// Slot is one use of a device: when it starts and ends (seconds since 1970) and its number since the anchor.
type Slot struct {
	Start, End int64
	N          int64
}

// Schedule is what a household does with a device: some uses on each local day. Its plan function must be pure; the
// schedule only remembers what it returned. One goroutine uses it. Uses must not overlap nor be longer than a day.
type Schedule struct {
	plan    func(day int64) []Slot
	days    map[int64][]Slot
	count   []int64 // uses that started before day anchor+i
	seconds []int64 // their total length
}

// NewSchedule makes a schedule; plan returns a day's uses in order, with N unset and times absolute (use At to make them).
func NewSchedule(plan func(day int64) []Slot) *Schedule {
	return &Schedule{plan: plan, days: map[int64][]Slot{}, count: []int64{0}, seconds: []int64{0}}
}

// At returns the moment of a local day's hour.
func At(day int64, hour float64) int64 { return day*Day - zone + int64(hour*Hour) }

func (s *Schedule) day(d int64) []Slot {
	if slots, ok := s.days[d]; ok {
		return slots
	}
	first, _ := s.before(d)
	slots := s.plan(d)
	for i := range slots {
		slots[i].N = first + int64(i)
	}
	if len(s.days) > 64 { // a live device looks at two days only
		clear(s.days)
	}
	s.days[d] = slots
	return slots
}

// before returns how many uses started before a day and how long they lasted together.
func (s *Schedule) before(d int64) (count, seconds int64) {
	i := DaysSinceAnchor(d)
	for n := int64(len(s.count)); n <= i; n++ {
		c, sec := s.count[n-1], s.seconds[n-1]
		for _, x := range s.plan(anchor + n - 1) {
			c++
			sec += x.End - x.Start
		}
		s.count = append(s.count, c)
		s.seconds = append(s.seconds, sec)
	}
	return s.count[i], s.seconds[i]
}

// Now returns the use that is going on at a moment.
func (s *Schedule) Now(at int64) (Slot, bool) {
	d, _ := LocalDay(at)
	for _, day := range [2]int64{d - 1, d} {
		for _, x := range s.day(day) {
			if x.Start <= at && at < x.End {
				return x, true
			}
		}
	}
	return Slot{}, false
}

// Last returns the newest use that has ended at a moment, looking back two days.
func (s *Schedule) Last(at int64) (Slot, bool) {
	d, _ := LocalDay(at)
	for day := d; day >= d-2; day-- {
		slots := s.day(day)
		for i := len(slots) - 1; i >= 0; i-- {
			if slots[i].End <= at {
				return slots[i], true
			}
		}
	}
	return Slot{}, false
}

// Ended returns the newest use that ended in (from, to].
func (s *Schedule) Ended(from, to int64) (Slot, bool) {
	x, ok := s.Last(to)
	return x, ok && x.End > from
}

// Done returns how many uses have ended at a moment, and how many seconds of use there were.
func (s *Schedule) Done(at int64) (count, seconds int64) {
	d, _ := LocalDay(at)
	count, seconds = s.before(d - 1)
	for _, day := range [2]int64{d - 1, d} {
		for _, x := range s.day(day) {
			if x.End <= at {
				count++
			}
			if x.Start < at {
				seconds += min(at, x.End) - x.Start
			}
		}
	}
	return count, seconds
}
