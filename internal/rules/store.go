package rules

import (
	"math"
	"slices"
	"unique"
)

// store is what a device's program keeps of it: values, previous values, changes, cells and parts of windows, by the numbers
// that the builder gave out. Only these accessors know how it is laid out: numbers and times have a word each, counts a
// quarter of one, so that a million devices fit into memory.
type store struct {
	w []uint64
	x *extra // nil as long as there is none
}

// extra is what only some devices need.
type extra struct {
	texts []unique.Handle[string]
	memos []memo // of cells; empty as long as all are
}

// maxCount is where a count stops. A bucket of a window that has counted so many readings leaves further ones out of its sum
// too, so that its mean stays one; its smallest and largest value go on.
const maxCount = math.MaxUint16

// unknownBits is NaN.
var unknownBits = math.Float64bits(math.NaN())

// newStore returns a store in which nothing is known yet, in words that are a copy of the program's blank.
func newStore(p *program, words []uint64) store {
	st := store{w: words}
	if p.ns > 0 {
		st.x = &extra{texts: make([]unique.Handle[string], p.ns)}
	}
	return st
}

// slabBytes is how much memory is taken at a time for stores, the first time and later: one allocation each would waste up to
// an eighth.
const (
	slabBytes = 8 << 10
	moreBytes = 64 << 10
)

// words returns a copy of a program's blank.
func (s *State) words(p *program) []uint64 {
	n := len(p.blank)
	if n == 0 {
		return nil
	}
	free, again := s.slabs[p]
	if len(free) < n {
		size := slabBytes
		if again {
			size = moreBytes
		}
		free = make([]uint64, max(1, size/8/n)*n)
	}
	w := free[:n:n]
	s.slabs[p] = free[n:]
	copy(w, p.blank)
	return w
}

// num returns a number; NaN: not known.
func (st *store) num(i int) float64 { return math.Float64frombits(st.w[i]) }

func (st *store) setNum(i int, v float64) { st.w[i] = math.Float64bits(v) }

// time returns a time in milliseconds.
func (st *store) time(i int) int64 { return int64(st.w[i]) } //nolint:gosec // as setTime put it there

func (st *store) setTime(i int, t int64) { st.w[i] = uint64(t) } //nolint:gosec // time takes it back

// count returns a count, which is at most maxCount.
func (st *store) count(i int) uint32 { return uint32(st.w[i>>2] >> (i & 3 << 4) & maxCount) }

// setCount sets a count, to maxCount when n is more.
func (st *store) setCount(i int, n uint32) {
	w, at := &st.w[i>>2], i&3<<4
	*w = *w&^(maxCount<<at) | uint64(min(n, maxCount))<<at
}

// text returns a text; empty: not known.
func (st *store) text(i int) string {
	if h := st.x.texts[i]; h != (unique.Handle[string]{}) {
		return h.Value()
	}
	return ""
}

// setText keeps a text; devices that have the same share it.
func (st *store) setText(i int, s string) { st.x.texts[i] = unique.Make(s) }

// nums returns n numbers in a row, to be read only.
func (st *store) nums(i, n int) nums { return st.w[i : i+n] }

// counts returns n counts in a row, to be read only. i is the first that was given out with them.
func (st *store) counts(i, n int) counts { return st.w[i>>2 : (i+n+3)>>2] }

type (
	nums   []uint64
	counts []uint64
)

func (f nums) at(i int64) float64  { return math.Float64frombits(f[i]) }
func (c counts) at(i int64) uint32 { return uint32(c[i>>2] >> (i & 3 << 4) & maxCount) }

// nums gives out n numbers that are not known at first.
func (b *builder) nums(n int) int {
	at := len(b.p.blank)
	b.p.blank = append(b.p.blank, slices.Repeat([]uint64{unknownBits}, n)...)
	return at
}

// times gives out n times that are 0 at first.
func (b *builder) times(n int) int {
	at := len(b.p.blank)
	b.p.blank = append(b.p.blank, make([]uint64, n)...)
	return at
}

// counts gives out n counts that are 0 at first.
func (b *builder) counts(n int) int { return b.times((n+3)/4) * 4 }

// texts gives out n texts that are not known at first.
func (b *builder) texts(n int) int {
	b.p.ns += n
	return b.p.ns - n
}
