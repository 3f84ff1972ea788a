package rules

import (
	"math"
	"slices"
	"strconv"

	"aftercare/internal/fleet"
)

// never is a time before every other.
const never = math.MinInt64 / 4

// later is a time after every other: no timer.
const later = math.MaxInt64 / 4

// device is the state of one device. Times are milliseconds: event time unless said otherwise.
type device struct {
	key fleet.DeviceKey
	p   *program
	store

	newest [2]int64 // newest in-order reading of telemetry and of events; never before the first
	clock  int64    // how far the device's timers have been run, on the time line of its telemetry
	heard  int64    // partition clock (receipt time without our own gaps) of the newest reading of either class
	heardT int64    // partition clock of newest[telemetry]
	linkP  int64    // partition clock of the newest presence
	due    int64    // next timer on the device's clock
	wake   int64    // partition clock at which the state wants to look at it without a reading; later: never
	active []episode
	opened *[]openings // nil: no rule opened lately
	facts  *facts      // nil: nothing is known
	sent   dedupe      // telemetry it sent
	events *dedupe     // nil as long as it sent none
	upload bool        // catching up: its readings are of the past
	gen    uint16      // number of the state's set that its program is of
	epoch  uint32      // the state's when it changed last; 0: not since it was saved
	chunk  uint32      // of a snapshot that holds its newest copy, and how many bytes
	size   uint32
}

// episode is a rule's state when it is not idle.
type episode struct {
	rule     int
	open     bool
	live     bool
	told     int   // highest revision
	since    int64 // pending: when the condition began to hold
	openedAt int64
	lastTrue int64 // event rule: its last event
	clearing int64 // since when the clear condition holds; never: it does not
	flapping bool
	cause    int     // the rule whose open episode explains it; -1: none
	ladder   *ladder // nil: the rule has no levels
	evidence []fleet.Evidence
}

// newDevice returns a device of which nothing is known, in words that are a copy of the program's blank.
func newDevice(key fleet.DeviceKey, p *program, words []uint64) device {
	return device{
		key: key, p: p, newest: [2]int64{never, never}, clock: never, due: later, wake: later, store: newStore(p, words),
	}
}

// dedupe returns what is remembered of the readings of a class.
func (d *device) dedupe(class fleet.Class) *dedupe {
	if class == fleet.Telemetry {
		return &d.sent
	}
	if d.events == nil {
		d.events = &dedupe{}
	}
	return d.events
}

// find returns the index of a rule's episode, or -1 when the rule is idle.
func (d *device) find(rule int) int {
	for i := range d.active {
		if d.active[i].rule == rule {
			return i
		}
	}
	return -1
}

func (d *device) drop(i int) {
	d.active = slices.Delete(d.active, i, i+1)
	if len(d.active) == 0 {
		d.active = nil
	}
}

// numberOf returns what a field's value counts as: a text's is 0, it only says that it is known.
func numberOf(v *fleet.Value) float64 {
	switch v.Type {
	case fleet.Float:
		return v.Float
	case fleet.Integer, fleet.Boolean:
		return float64(v.Int)
	default:
		return 0
	}
}

// set takes in the value of a field from an in-order reading of time t. again says that the field has a value of that very
// millisecond without a number that would make it another reading: it is overwritten and counted once; counted says which.
func (d *device) set(sl *slot, v *fleet.Value, t int64, again bool) (counted bool) {
	n, old, oldT := numberOf(v), d.num(sl.f), d.time(sl.t)
	first := math.IsNaN(old)
	differs := n != old
	if sl.str >= 0 {
		differs = d.text(sl.str) != v.Str
		if differs || first {
			d.setText(sl.str, v.Str)
		}
	}
	d.setNum(sl.f, n)
	d.setTime(sl.t, t)
	if again && !first && oldT == t {
		return false
	}
	if !first {
		if sl.prev >= 0 {
			d.setNum(sl.prev, old)
			d.setTime(sl.prevT, oldT)
		}
		if sl.chg >= 0 {
			d.setNum(sl.chg, 0)
			if differs {
				d.setNum(sl.chg, 1)
			}
		}
	}
	for _, k := range sl.aggs {
		d.p.aggs[k].add(d, t, n)
	}
	return true
}

// fits reports whether a value is of the type the profile fixed; ingest sees to it, so anything else is left out here. No device
// can say what its link is.
func (sl *slot) fits(v *fleet.Value) bool {
	return (sl.spec.Type == fleet.String) == (v.Type == fleet.String) && !sl.link
}

func (d *device) findingID(rule string, openedAt int64) string {
	return fleet.ID("find", d.key.Tenant, d.key.Serial, rule, strconv.FormatInt(openedAt, 10))
}
