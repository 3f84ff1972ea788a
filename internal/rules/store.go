package rules

import "math"

// store is what a device's program keeps of it: values, previous values, changes and parts of windows, by the numbers that
// slot and agg name. Only these accessors know how it is laid out.
type store struct {
	f []float64
	t []int64
	c []uint32
	s []string
}

// newStore returns a store in which nothing is known yet: every number is NaN, every time and count 0, every text empty.
func newStore(p *program) store {
	st := store{f: make([]float64, p.nf), t: make([]int64, p.nt), c: make([]uint32, p.nc), s: make([]string, p.ns)}
	for i := range st.f {
		st.f[i] = math.NaN()
	}
	return st
}

func (st *store) num(i int) float64        { return st.f[i] }
func (st *store) setNum(i int, v float64)  { st.f[i] = v }
func (st *store) time(i int) int64         { return st.t[i] } // ms
func (st *store) setTime(i int, t int64)   { st.t[i] = t }
func (st *store) count(i int) uint32       { return st.c[i] }
func (st *store) setCount(i int, n uint32) { st.c[i] = n }
func (st *store) text(i int) string        { return st.s[i] }
func (st *store) setText(i int, s string)  { st.s[i] = s }
func (st *store) nums(i, n int) nums       { return st.f[i : i+n] }
func (st *store) counts(i, n int) counts   { return st.c[i : i+n] }

// nums and counts are some of a store's numbers in a row, to be read only.
type (
	nums   []float64
	counts []uint32
)

func (f nums) at(i int64) float64  { return f[i] }
func (c counts) at(i int64) uint32 { return c[i] }
