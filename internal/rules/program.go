package rules

import (
	"math"
	"math/bits"
	"time"

	"aftercare/internal/fleet"
)

// program is what all rules of one model were compiled to: which fields matter, which windows are kept over them, and
// the conditions as closures over a device's store. It does not change once it is built.
type program struct {
	model     string
	category  string
	hold      int64 // ms a value is taken to last without a newer reading, for `for`
	slots     []slot
	byName    map[string]int
	aggs      []agg
	cells     []cell   // what functions keep besides windows, in the order they are updated
	always    ruleset  // cells that are updated on every telemetry reading
	codeCells ruleset  // cells that are updated on events
	nmemo     int      // memories of cells
	counters  []int    // cells that go to history
	peers     []peer   // what rules compare with other devices
	rates     []string // rules whose rate in the fleet they look at
	rules     []compiled
	words     int     // length of a rule set
	sliding   ruleset // rules whose condition changes with time alone (windows, age): evaluated on every telemetry reading
	onCode    ruleset // rules whose condition reads `code`: evaluated on events
	scoped    ruleset // rules that say nothing of a device without facts; nil: none
	all       ruleset
	hasAge    bool
	hasCauses bool
	link      int // slots of link.online and link.cause; -1: no rule reads them
	linkCause int
	limits    map[string]int // "rule.limit" to its number
	blank     []uint64       // the words of a store that knows nothing
	ns        int            // texts of a store
}

// slot is a field that some rule reads. Its indices point into a device's store; -1 means not kept.
type slot struct {
	spec  fleet.FieldSpec
	f     int // f: the last value; NaN before the first, some number for a text that is known
	t     int // t: its time
	str   int // s: the text of a string field
	prev  int // f: the value before the last one
	prevT int // t: its time
	chg   int // f: 1 when the last two values differ, else 0
	aggs  []int
	cells ruleset // that are updated when it comes
	late  []int   // cells that take late values of it too
	rules ruleset
	link  bool // presence sets it, not the device
}

// compiled is a rule for one model.
type compiled struct {
	*Rule
	when       boolFn
	clear      boolFn // nil: when `when` is false, or for an event rule after quiet
	whenTrace  traced
	clearTrace traced
	clearCode  bool // clear reads `code`
	rated      bool // some rule looks at its rate in the fleet
	absence    bool // when is about silence itself
	lasting    bool // when needs no fresh values: it may open through silence
	forMs      int64
	clearMs    int64
	minHoldMs  int64
	stepMs     int64
	quietMs    int64 // of an episode that flaps
	levels     []level
	season     season
	causes     []int // rules that explain it, in the order of preference
	dependents []int // rules that look at this one's episode
	evidence   []evidence
	crossings  []crossing
}

// crossing says that a comparison with age(f), held(c) or silent() changes its result a fixed time after a moment that is kept:
// that of the field's last value, since when the condition holds, or that of the device's last reading.
type crossing struct {
	f   int   // number that is known once the moment is; -1: silent()
	t   int   // the moment
	off int64 // ms
}

// evidence is one value that explains a finding.
type evidence struct {
	name    string
	written string // the expression, in the parser's form
	unit    string
	slot    int // whose time counts; -1: the moment of evaluation
	value   value
	normal  numFn
	limit   numFn
}

// ruleset is a set of rule numbers.
type ruleset []uint64

func (r ruleset) add(i int) { r[i>>6] |= 1 << (i & 63) }

func (r ruleset) has(i int) bool { return r[i>>6]>>(i&63)&1 == 1 }

// minus takes the rules of o away; o may be nil.
func (r ruleset) minus(o ruleset) {
	for i, w := range o {
		r[i] &^= w
	}
}

func (r ruleset) union(o ruleset) {
	for i, w := range o {
		r[i] |= w
	}
}

// next returns the lowest number in the set that is at least i, or -1.
func (r ruleset) next(i int) int {
	w := i >> 6
	if w >= len(r) {
		return -1
	}
	v := r[w] >> (i & 63) << (i & 63)
	for v == 0 {
		if w++; w >= len(r) {
			return -1
		}
		v = r[w]
	}
	return w<<6 + bits.TrailingZeros64(v)
}

// buckets is how many parts a window is kept in. A window of length W therefore covers, at any moment, between 15/16 W
// and W: the running bucket and the fifteen before it. Nothing older than W is ever in it; what is between 15/16 W and W
// old may be missing. It is a power of two so that a ring index is a mask.
const buckets = 16

// agg is one window over one series, shared by all rules that use it. Only the parts some rule reads are kept. The series is
// a field, or what a cell puts into it. A window that is measured by a counter has thousandths of it in the place of milliseconds.
type agg struct {
	series string        // a field's name, or the call: times(drain_s > 70)
	axis   string        // the field that measures the window; empty: time
	window time.Duration // of time, or thousandths of the counter
	width  int64         // ms of a bucket
	head   int           // t: number of the newest bucket (time / width)
	count  int           // c: readings by bucket, always kept
	sum    int           // f
	min    int           // f
	max    int           // f
	m2     int           // f: sum of squared distances from the bucket's mean
}

// startAggs empties all windows.
func (p *program) startAggs(d *device) {
	for i := range p.aggs {
		p.aggs[i].empty(d)
	}
}

func (a *agg) wipe(d *device, from, n int64) {
	for b := from; b < from+n; b++ {
		i := int(b & (buckets - 1))
		d.setCount(a.count+i, 0)
		if a.sum >= 0 {
			d.setNum(a.sum+i, 0)
		}
		if a.min >= 0 {
			d.setNum(a.min+i, math.Inf(1))
		}
		if a.max >= 0 {
			d.setNum(a.max+i, math.Inf(-1))
		}
		if a.m2 >= 0 {
			d.setNum(a.m2+i, 0)
		}
	}
}

// add puts a value of time t (ms) into its bucket; what is older than the window is left out.
func (a *agg) add(d *device, t int64, v float64) {
	b := floorDiv(t, a.width)
	head := d.time(a.head)
	switch {
	case b > head:
		a.wipe(d, max(head+1, b-buckets+1), min(b-head, buckets))
		d.setTime(a.head, b)
	case b <= head-buckets:
		return
	}
	i := int(b & (buckets - 1))
	if n := d.count(a.count + i); n < maxCount {
		d.setCount(a.count+i, n+1)
		if a.m2 >= 0 && n > 0 { // Welford 1962, with the mean kept as a sum
			sum := d.num(a.sum + i)
			d.setNum(a.m2+i, d.num(a.m2+i)+(v-sum/float64(n))*(v-(sum+v)/float64(n+1)))
		}
		if a.sum >= 0 {
			d.setNum(a.sum+i, d.num(a.sum+i)+v)
		}
	}
	if a.min >= 0 && v < d.num(a.min+i) {
		d.setNum(a.min+i, v)
	}
	if a.max >= 0 && v > d.num(a.max+i) {
		d.setNum(a.max+i, v)
	}
}

// empty forgets all that is in the window.
func (a *agg) empty(d *device) {
	d.setTime(a.head, math.MinInt64/2)
	a.wipe(d, 0, buckets)
}

// span returns the first of the buckets that are still inside the window at time now, and how many there are.
func (a *agg) span(d *device, now int64) (from int64, n int64) {
	head := d.time(a.head)
	from = max(head, floorDiv(now, a.width)) - buckets + 1
	return from, max(head-from+1, 0)
}

func (a *agg) counted(d *device, now int64) float64 {
	from, n := a.span(d, now)
	c := d.counts(a.count, buckets)
	var total uint64
	for b := from; b < from+n; b++ {
		total += uint64(c.at(b & (buckets - 1)))
	}
	return float64(total)
}

func (a *agg) summed(d *device, now int64) float64 {
	from, n := a.span(d, now)
	f := d.nums(a.sum, buckets)
	var total float64
	for b := from; b < from+n; b++ {
		total += f.at(b & (buckets - 1))
	}
	return total
}

func (a *agg) mean(d *device, now int64) float64 {
	return known(a.summed(d, now) / a.counted(d, now)) // 0/0 is NaN: unknown
}

func (a *agg) smallest(d *device, now int64) float64 {
	from, n := a.span(d, now)
	f := d.nums(a.min, buckets)
	least := math.Inf(1)
	for b := from; b < from+n; b++ {
		if v := f.at(b & (buckets - 1)); v < least {
			least = v
		}
	}
	return known(least)
}

func (a *agg) largest(d *device, now int64) float64 {
	from, n := a.span(d, now)
	f := d.nums(a.max, buckets)
	most := math.Inf(-1)
	for b := from; b < from+n; b++ {
		if v := f.at(b & (buckets - 1)); v > most {
			most = v
		}
	}
	return known(most)
}

// known turns an infinity into unknown: no evidence and no comparison may hold one.
func known(v float64) float64 {
	if math.IsInf(v, 0) {
		return math.NaN()
	}
	return v
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
