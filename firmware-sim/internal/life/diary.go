package life

import "aftercare/firmware-sim/internal/signal"

// use is one use of a device: a wash, a trip. K numbers it over the device's life and is what its noise is drawn by.
type use struct {
	start, end int64
	k          int64
	size       float64
}

// diary holds the uses of the days around a moment; plan draws a day's uses in order.
type diary struct {
	day    int64
	uses   []use
	closed []use // ended in the last step
}

// advance moves to l.at and returns the use that goes on. closed then holds those that ended since the last step.
func (d *diary) advance(l *Life, plan func(day int64) []use) *use {
	day, _ := signal.LocalDay(l.at)
	if d.day == 0 {
		d.day = day - 1
	}
	for d.day < day {
		d.day++
		d.uses = append(d.uses, plan(d.day)...)
	}
	d.closed = d.closed[:0]
	for len(d.uses) > 0 && d.uses[0].end <= l.at {
		d.closed = append(d.closed, d.uses[0])
		d.uses = d.uses[1:]
	}
	if len(d.uses) > 0 && d.uses[0].start <= l.at {
		return &d.uses[0]
	}
	return nil
}

// part returns how far a use has gone, 0 to 1.
func (u *use) part(at int64) float64 { return float64(at-u.start) / float64(u.end-u.start) }

// draw plans a day of n uses, spread from an hour on with a gap between, each from shortest to longest minutes.
func (l *Life) draw(ch uint32, day int64, n int, from, gap, shortest, longest float64) []use {
	uses := make([]use, 0, n)
	for i := range n {
		k := day*8 + int64(i)
		start := signal.At(day, from+gap*(float64(i)+0.7*l.seed.U(ch, k)))
		length := l.seed.Between(ch+1, k, shortest, longest) * signal.Minute
		uses = append(uses, use{start: start, end: start + int64(length), k: k, size: l.seed.Between(ch+2, k, 0.75, 1.25)})
	}
	return uses
}

// count draws how often something is done on a day, around a rate.
func (l *Life) count(ch uint32, day int64, rate float64) int {
	return max(0, int(rate+l.seed.U(ch, day)+0.5*l.seed.Noise(ch+1, day)*min(1, rate)))
}
