package rules

// recent is how many sequence numbers of a boot are remembered one by one.
const recent = 128

// span remembers which sequence numbers of one boot were seen: the highest, and the recent ones as bits.
type span struct {
	boot int64
	high int64
	bits [recent / 64]uint64 // bit i: high-i was seen
}

// verdict says whether a reading is a resend.
type verdict uint8

const (
	fresh verdict = iota
	resend
	unsure // too old to be remembered
)

// dedupe recognises resends of one class of reports by (boot, seq). Telemetry and events have one each, because devices
// upload them one after the other: a day of telemetry must not push the events of that day out of the window.
//
// What is below the window, or of a boot before the last two, cannot be told from a resend by its number. Its time
// decides: newer than everything seen is new (the counters were reset), older than the allowed lateness is late and counts
// for nothing anyway, and between the two it is taken for a resend. Live readings between those of an upload are safe
// either way: they are the newest, and the upload's own order keeps within the window.
type dedupe struct {
	span       // of the newest boot; its highest number's bit is set once there is one
	old  *span // of the boot before it; nil: none
}

func (d *dedupe) any() bool { return d.bits[0]&1 == 1 }

// seen notes (boot, seq) and says what it is.
func (d *dedupe) seen(boot, seq int64) verdict {
	switch {
	case !d.any():
		d.span = newSpan(boot, seq)
		return fresh
	case boot == d.boot:
		return d.see(seq)
	case d.old != nil && boot == d.old.boot:
		return d.old.see(seq)
	case boot > d.boot:
		d.restart(boot, seq)
		return fresh
	}
	return unsure
}

// restart takes (boot, seq) as the beginning of a new count.
func (d *dedupe) restart(boot, seq int64) {
	if boot != d.boot {
		old := d.span
		d.old = &old
	}
	d.span = newSpan(boot, seq)
}

func newSpan(boot, seq int64) span {
	s := span{boot: boot, high: seq}
	s.bits[0] = 1
	return s
}

func (s *span) see(seq int64) verdict {
	if seq > s.high {
		s.shift(uint64(seq) - uint64(s.high))
		s.high = seq
		s.bits[0] |= 1
		return fresh
	}
	back := uint64(s.high) - uint64(seq)
	if back >= recent {
		return unsure
	}
	if s.bits[back/64]>>(back%64)&1 == 1 {
		return resend
	}
	s.bits[back/64] |= 1 << (back % 64)
	return fresh
}

func (s *span) shift(n uint64) {
	switch {
	case n >= recent:
		s.bits = [recent / 64]uint64{}
	case n >= 64:
		s.bits[1] = s.bits[0] << (n - 64)
		s.bits[0] = 0
	default:
		s.bits[1] = s.bits[1]<<n | s.bits[0]>>(64-n)
		s.bits[0] <<= n
	}
}
