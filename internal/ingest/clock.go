package ingest

import (
	"math"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// ClockField is the mark of a corrected reading: the device's clock minus the true time, in integer milliseconds, so that the
// original time is what is stored plus the mark. A device cannot send it.
const ClockField = "clock_off_ms"

// Bounds of what is remembered of wrong clocks.
const (
	maxBoots   = 4  // of one device
	maxSpans   = 64 // of one boot
	maxJump    = time.Hour
	clocksKept = 90 * 24 * time.Hour
)

// latest and oldest are the times that line protocol can hold, in milliseconds.
const (
	oldest = int64(0)
	latest = math.MaxInt64 / int64(time.Millisecond)
)

// clock is what is remembered of one class of one device's reports, which may have running numbers of their own: the newest
// reading, and where the clock was wrong.
type clock struct {
	seen          bool
	boot, seq, ms int64 // of the newest reading by boot and seq, on the device's clock
	off           int64 // by which that one was wrong
	wrong         []bootClock
}

// bootClock says how wrong the clock was within one boot. What no span covers was right.
type bootClock struct {
	Class fleet.Class `json:"class,omitempty"` // in snapshots only
	Boot  int64       `json:"boot"`
	Top   int64       `json:"top"` // the highest seq that was seen since the clock was first wrong
	At    int64       `json:"at"`  // when it last changed, milliseconds
	Spans []span      `json:"spans"`
}

// span is a range of seqs whose times are wrong by one offset. Once made, what it says of a seq never changes: a resend must
// become the same point again.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"` // exclusive; MaxInt64: it goes on
	Off  int64 `json:"off"`
}

// verdict is what is to be done with a reading's time.
type verdict struct {
	off     int64 // milliseconds the device's clock was ahead
	changed bool  // the memory changed: it must be saved before the reading is committed
	forgets bool  // a resend will not be recognised
}

// limits are the bounds beyond which a clock counts as wrong.
type limits struct {
	ahead    int64 // milliseconds
	earliest int64 // milliseconds since 1970
}

// judge decides by how much a reading's time is wrong; at is the time of receipt in milliseconds. A reading that came back
// from quarantine (again) is old and teaches nothing about where the clock stands now.
//
// A clock is wrong that is ahead of receipt or before the earliest time that makes sense, or that falls back by more than an
// hour while seq goes on. The first wrong reading fixes the offset of the readings behind it, so that they keep their distance;
// a reading that would lie ahead of receipt by it fixes a new one. A clock that was set right in the middle of a boot is right
// from there on.
func (c *clock) judge(r *fleet.Reading, at int64, again bool, l limits) verdict {
	ms := r.Time.UnixMilli()
	bad := ms > at+l.ahead || ms < l.earliest
	if !r.HasSeq {
		if bad {
			return verdict{off: ms - at, forgets: true}
		}
		return verdict{}
	}
	forward := !again && (!c.seen || r.Boot > c.boot || r.Boot == c.boot && r.Seq > c.seq)
	b := c.of(r.Boot)
	s := b.at(r.Seq)
	fresh := forward && (b == nil || r.Seq > b.Top) // not seen before, as far as we know
	jump := fresh && c.seen && r.Boot == c.boot && ms < c.ms-maxJump.Milliseconds() && (s != nil || c.off == 0)
	v := verdict{}
	switch {
	case s != nil && !jump && ms-s.Off <= at+l.ahead && ms-s.Off >= l.earliest:
		v.off = s.Off
	case s == nil && !bad && !jump:
	default:
		if v.off = ms - at; !bad && (!jump || v.off >= -l.ahead) {
			v.off = 0 // it is right again
		}
		if b == nil {
			b = c.add(r.Boot)
		}
		if len(b.Spans) >= maxSpans {
			v.forgets = true
			break
		}
		v.changed = true
		switch {
		case !fresh:
			v.off = b.one(r.Seq, v.off, ms, at, l)
		case v.off != 0 && b.resume(&v.off, l):
		default:
			b.from(r.Seq, v.off)
		}
		b.At = at
	}
	if b != nil && !again {
		b.Top = max(b.Top, r.Seq)
	}
	if forward {
		c.seen, c.boot, c.seq, c.ms, c.off = true, r.Boot, r.Seq, ms, v.off
	}
	return v
}

// doubt ends what was concluded of readings yet to come, because it was our clock that was set. What was said of seqs that were
// seen stays. It reports whether there was anything.
func (c *clock) doubt() (changed bool) {
	for i := range c.wrong {
		b := &c.wrong[i]
		for j := range b.Spans {
			if s := &b.Spans[j]; s.To == math.MaxInt64 && b.Top < math.MaxInt64 {
				s.To, changed = max(s.From, b.Top+1), true
			}
		}
	}
	return changed
}

func (c *clock) of(boot int64) *bootClock {
	for i := range c.wrong {
		if c.wrong[i].Boot == boot {
			return &c.wrong[i]
		}
	}
	return nil
}

// add makes room for a boot; the one that changed longest ago is forgotten.
func (c *clock) add(boot int64) *bootClock {
	if len(c.wrong) == maxBoots {
		oldest := 0
		for i := range c.wrong {
			if c.wrong[i].At < c.wrong[oldest].At {
				oldest = i
			}
		}
		c.wrong = slices.Delete(c.wrong, oldest, oldest+1)
	}
	top := int64(-1)
	if c.seen && c.boot == boot {
		top = c.seq
	}
	c.wrong = append(c.wrong, bootClock{Boot: boot, Top: top})
	return &c.wrong[len(c.wrong)-1]
}

// at returns the span that holds seq, or nil. b may be nil.
func (b *bootClock) at(seq int64) *span {
	if b == nil {
		return nil
	}
	for i := range b.Spans {
		if s := &b.Spans[i]; seq >= s.From && seq < s.To {
			return s
		}
	}
	return nil
}

// from ends the open span and, unless off is 0, opens one at seq.
func (b *bootClock) from(seq, off int64) {
	if s := b.at(seq); s != nil {
		s.To = seq
	}
	if off != 0 {
		b.Spans = append(b.Spans, span{From: seq, To: math.MaxInt64, Off: off})
	}
}

// resume opens again a span that doubt has closed, if the clock is still about as wrong.
func (b *bootClock) resume(off *int64, l limits) bool {
	for i := range b.Spans {
		s := &b.Spans[i]
		if diff := *off - s.Off; s.To == b.Top+1 && diff <= l.ahead && diff >= -l.ahead {
			*off, s.To = s.Off, math.MaxInt64
			return true
		}
	}
	return false
}

// one gives a single seq, which came late, an offset of its own: that of the nearest span if it makes sense there, so that the
// distance to the readings around it is kept. It returns the offset.
func (b *bootClock) one(seq, off, ms, at int64, l limits) int64 {
	i := 0 // where a span of seq belongs
	for i < len(b.Spans) && b.Spans[i].From <= seq {
		i++
	}
	if s := b.at(seq); s != nil { // split it
		tail := span{From: seq + 1, To: s.To, Off: s.Off}
		s.To = seq
		if tail.From < tail.To {
			b.Spans = slices.Insert(b.Spans, i, tail)
		}
	} else if off != 0 {
		for _, j := range []int{i, i - 1} {
			if j < 0 || j >= len(b.Spans) {
				continue
			}
			if t := ms - b.Spans[j].Off; t <= at+l.ahead && t >= l.earliest {
				off = b.Spans[j].Off
				break
			}
		}
	}
	if off == 0 {
		return 0
	}
	switch {
	case i < len(b.Spans) && b.Spans[i].From == seq+1 && b.Spans[i].Off == off:
		b.Spans[i].From = seq
	case i > 0 && b.Spans[i-1].To == seq && b.Spans[i-1].Off == off:
		b.Spans[i-1].To = seq + 1
	default:
		b.Spans = slices.Insert(b.Spans, i, span{From: seq, To: seq + 1, Off: off})
	}
	return off
}
