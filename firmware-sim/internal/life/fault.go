package life

import (
	"math"
	"slices"

	"aftercare/firmware-sim/internal/signal"
)

// fault is one fault of one device. Its progress runs from 0 at onset to 1 at failure; what is felt of it is its level.
type fault struct {
	kind   *Kind
	start  int64   // onset
	need   float64 // days or typical days of use from onset to failure
	shape  float64
	repair float64 // days from failure to repair
	early  float64 // progress at which somebody mends it before it fails; 0 is nobody
	p      float64
	failed int64
	ended  int64
}

// never is later than any simulation ends.
const never = math.MaxInt64 / 4

// Inflict gives the device a fault from a moment on; how fast it grows is drawn from the device's seed. A fault that comes of
// being put away begins when its time has come, and one of the mowing season not before it.
func (l *Life) Inflict(name string, start int64) {
	k := kindOf(name)
	n := int64(len(l.faults))
	f := &fault{kind: k, start: start, need: l.seed.Between(970, n, k.days[0], k.days[1]), shape: l.seed.Between(971, n, k.shape[0], k.shape[1]),
		repair: l.seed.Between(972, n, k.repair[0], k.repair[1])}
	if !k.Abrupt && l.seed.U(973, n) < 0.1 {
		f.early = l.seed.Between(974, n, 0.6, 0.9)
	}
	if m, ok := l.m.(*mowers); ok {
		f.start = m.inSeason(start)
	}
	if k.pace == byHand {
		f.start = never
	}
	l.faults = append(l.faults, f)
}

func (f *fault) active(at int64) bool { return at >= f.start && f.ended == 0 }

// grow adds days of time or use.
func (f *fault) grow(l *Life, days float64) {
	if !f.active(l.at) || f.failed != 0 || days < 0 {
		return
	}
	if f.need <= 0 { // what comes at once comes with use: nobody could have known before
		f.p, f.start = 1, l.at
		return
	}
	f.p = math.Min(1, f.p+days/f.need)
}

// await puts off what happens suddenly until the device is on and somebody is about: nobody leaves a door open in the night.
func (f *fault) await(l *Life) {
	if !f.kind.Abrupt || f.start > l.at || f.p > 0 {
		return
	}
	if day, hour := signal.LocalDay(l.at); l.Off() || hour < 7 || hour > 21 || l.work(day) == 0 {
		f.start = l.at + 1
	}
}

func (f *fault) condition(end int64) Condition {
	return Condition{Kind: f.kind.Name, Component: f.kind.Component, Onset: f.start, Failure: f.failed, End: end, Abrupt: f.kind.Abrupt}
}

// level returns how much of a fault is felt: 0 before onset, 1 from failure to repair.
func (l *Life) level(name string) float64 {
	for _, f := range l.faults {
		if f.kind.Name == name && f.active(l.at) {
			if f.p >= 1 {
				return 1
			}
			return math.Pow(f.p, f.shape)
		}
	}
	return 0
}

// failed reports whether a fault has brought the device to its end.
func (l *Life) failed(name string) bool {
	return slices.ContainsFunc(l.faults, func(f *fault) bool { return f.kind.Name == name && f.failed != 0 && f.active(l.at) })
}

// since returns for how many seconds a fault has been there.
func (l *Life) since(name string) (float64, bool) {
	for _, f := range l.faults {
		if f.kind.Name == name && f.active(l.at) {
			return float64(l.at - f.start), true
		}
	}
	return 0, false
}

// down reports whether any of these faults has failed.
func (l *Life) down(names ...string) bool {
	return slices.ContainsFunc(names, l.failed)
}

// used tells the faults that are paced by use how much there was, in typical days.
func (l *Life) used(days float64) {
	for _, f := range l.faults {
		if f.kind.pace == byUse {
			f.grow(l, days)
		}
	}
}

// mend ends what is repaired by now.
func (l *Life) mend() {
	for _, f := range l.faults {
		if !f.active(l.at) {
			continue
		}
		mended := f.failed != 0 && l.at >= f.failed+int64(f.repair*signal.Day) || f.failed == 0 && f.early > 0 && f.p >= f.early
		if !mended {
			continue
		}
		f.ended = l.at
		l.Conditions = append(l.Conditions, f.condition(l.at))
		l.service(f.kind.Component)
		l.m.renewed(l, f.kind.Name)
	}
}

// service notes work on a component, once.
func (l *Life) service(component string) {
	s := Service{At: l.at, Component: component}
	if component != "" && !slices.Contains(l.Services, s) {
		l.Services = append(l.Services, s)
	}
}

// judge notes which faults have failed in this step.
func (l *Life) judge() {
	for _, f := range l.faults {
		if f.active(l.at) && f.failed == 0 && f.p >= 1 {
			f.failed = l.at
		}
	}
}

// blip sends the code of a mishap that is taken back after some minutes, unless it is there already. While a fault makes such
// mishaps frequent they are that fault's.
func (l *Life) blip(mishap string, minutes, fault float64) {
	code := kindOf(mishap).Code
	if slices.ContainsFunc(l.blips, func(b blip) bool { return b.code == code }) {
		return
	}
	b := blip{code, l.at + int64(minutes*signal.Minute)}
	l.blips = append(l.blips, b)
	if fault == 0 {
		l.Conditions = append(l.Conditions, Condition{Kind: mishap, Onset: l.at, End: b.until})
	}
}

// announce sends codes that came since the last step. One code, OK, takes all of them back; those still there are told again.
func (l *Life) announce() {
	var now []string
	for _, f := range l.faults {
		if f.kind.Code != "" && f.failed != 0 && f.active(l.at) && !slices.Contains(now, f.kind.Code) {
			now = append(now, f.kind.Code)
		}
	}
	l.blips = slices.DeleteFunc(l.blips, func(b blip) bool { return l.at > b.until })
	for _, b := range l.blips {
		if !slices.Contains(now, b.code) {
			now = append(now, b.code)
		}
	}
	if len(now) == 0 && len(l.known) == 0 {
		return
	}
	slices.Sort(now)
	told := l.known
	ms := l.at * 1000
	if slices.ContainsFunc(told, func(c string) bool { return !slices.Contains(now, c) }) {
		l.events = append(l.events, Event{ms, "OK"})
		told = nil
	}
	for _, c := range now {
		if !slices.Contains(told, c) {
			ms++
			l.events = append(l.events, Event{ms, c})
		}
	}
	l.known = now
}
