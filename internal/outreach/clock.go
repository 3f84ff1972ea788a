package outreach

import (
	"sync"
	"time"
)

// zones keeps the time zones that were asked for: reading one opens a file.
type zones struct{ known sync.Map } // name -> *time.Location, nil when there is none

// of returns a person's time zone, the installation's when hers is missing or not known; hers says whether it is her own.
func (z *zones) of(name, otherwise string) (zone *time.Location, hers bool) {
	if l := z.load(name); l != nil {
		return l, true
	}
	if l := z.load(otherwise); l != nil {
		return l, false
	}
	return time.UTC, false
}

func (z *zones) load(name string) *time.Location {
	if name == "" || name == "Local" { // of the server: nobody's
		return nil
	}
	if l, ok := z.known.Load(name); ok {
		return l.(*time.Location)
	}
	l, err := time.LoadLocation(name)
	if err != nil {
		l = nil
	}
	z.known.Store(name, l)
	return l
}

// grain divides every change of a clock and every zone's distance from UTC.
const grain = 15 * time.Minute

// quietUntil says whether local time t lies within the hours [from, until), and when they end. It looks at what the clock on the
// wall shows at every quarter of an hour, so that an hour which is left out or comes twice is right of itself.
func quietUntil(t time.Time, from, until int) (time.Time, bool) {
	quiet := func(h int) bool {
		return from < until && h >= from && h < until || from > until && (h >= from || h < until)
	}
	if !quiet(t.Hour()) {
		return time.Time{}, false
	}
	for t = t.Truncate(grain); quiet(t.Hour()); {
		t = t.Add(grain)
	}
	return t, true
}

// nextDigest returns the first full hour on the day of the week after t, in t's zone: the first moment of that day at which the clock
// shows the hour or a later one.
func nextDigest(t time.Time, day time.Weekday, hour int) time.Time {
	for i := range 9 {
		d := time.Date(t.Year(), t.Month(), t.Day()+i, 12, 0, 0, 0, t.Location()) // noon: no clock is changed then
		if d.Weekday() != day {
			continue
		}
		at := time.Date(d.Year(), d.Month(), d.Day(), hour, 0, 0, 0, t.Location())
		for at.Day() != d.Day() || at.Hour() < hour { // the hour is left out that day
			at = at.Add(grain)
		}
		if at.After(t) {
			return at
		}
	}
	return t // there is such a day in nine: not reached
}
