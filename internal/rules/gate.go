package rules

import (
	"fmt"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// season is a part of every year, by the calendar in UTC, both days included. It may run over the turn of the year.
type season struct {
	from, to int // month*100 + day
	set      bool
}

// parseSeason reads "04-01..10-31".
func parseSeason(s string) (season, error) {
	a, b, ok := strings.Cut(s, "..")
	from, errA := monthDay(a)
	to, errB := monthDay(b)
	if !ok || errA != nil || errB != nil {
		return season{}, fmt.Errorf("%q is not a season", clip(s))
	}
	if from == next(to) {
		return season{}, fmt.Errorf("%q is the whole year", clip(s))
	}
	return season{from: from, to: to, set: true}, nil
}

func monthDay(s string) (int, error) {
	t, err := time.Parse("2006-01-02", "2024-"+strings.TrimSpace(s)) // a leap year: 02-29 is a day
	if err != nil {
		return 0, err
	}
	return int(t.Month())*100 + t.Day(), nil
}

// next is the day after a day of the year.
func next(md int) int {
	t := time.Date(2024, time.Month(md/100), md%100+1, 0, 0, 0, 0, time.UTC)
	return int(t.Month())*100 + t.Day()
}

// begins returns the next begin of the season after a moment outside it, or false when the moment is in it.
func (s season) begins(now int64) (int64, bool) {
	t := moment(now)
	md := int(t.Month())*100 + t.Day()
	inside := md >= s.from && md <= s.to
	if s.from > s.to {
		inside = md >= s.from || md <= s.to
	}
	if inside {
		return 0, false
	}
	for year := t.Year(); ; year++ {
		if at := time.Date(year, time.Month(s.from/100), s.from%100, 0, 0, 0, 0, time.UTC).UnixMilli(); at > now {
			return at, true
		}
	}
}

// barred reports whether a rule's episode may not open now although its condition holds, and until when at least; later when
// nothing but a record can tell. It is asked at opening only: what is open stays.
func (d *device) barred(rule *compiled, sev fleet.Severity, now int64) (until int64, barred bool) {
	for _, k := range rule.causes {
		if d.isOpen(k) {
			return later, true
		}
	}
	if rule.season.set {
		if at, outside := rule.season.begins(now); outside {
			until, barred = at, true
		}
	}
	if d.facts == nil || d.facts.more == nil || rule.Kind == fleet.KindSafety || sev == fleet.Danger {
		return until, barred
	}
	spans := func(list []interval) {
		for _, i := range list {
			if now >= i.from && now < i.to {
				until, barred = max(until, i.to), true
			}
		}
	}
	spans(d.facts.more.maintenance)
	if rule.absence && !rule.InStorage {
		spans(d.facts.more.stored)
	}
	return until, barred
}

// isOpen reports whether a rule's episode is open.
func (d *device) isOpen(rule int) bool {
	at := d.find(rule)
	return at >= 0 && d.active[at].open
}
