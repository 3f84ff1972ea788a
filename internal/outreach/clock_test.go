package outreach

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestClocks: over zones and the days on which clocks change, quiet hours end after now and not in quiet hours, and a digest is on its
// day, not before its hour, within eight days.
func TestClocks(t *testing.T) {
	names := []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Havana", "Pacific/Apia", "UTC"}
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(names).Draw(t, "zone"))
		if err != nil {
			t.Skip(err)
		}
		now := time.Unix(rapid.Int64Range(1735689600, 1798761600).Draw(t, "now"), 0).In(zone)
		from, until := rapid.IntRange(0, 23).Draw(t, "from"), rapid.IntRange(0, 23).Draw(t, "until")
		if end, quiet := quietUntil(now, from, until); quiet {
			_, still := quietUntil(end, from, until)
			if !end.After(now) || still || end.Sub(now) > 25*time.Hour {
				t.Errorf("at %v the hours %d to %d end at %v", now, from, until, end)
			}
		}
		day, hour := time.Weekday(rapid.IntRange(0, 6).Draw(t, "day")), rapid.IntRange(0, 22).Draw(t, "hour")
		if at := nextDigest(now, day, hour); !at.After(now) || at.Weekday() != day || at.Hour() < hour || at.Sub(now) > 8*24*time.Hour {
			t.Errorf("after %v the digest of %v %d is at %v", now, day, hour, at)
		}
	})
}

// TestRoom: when there is room is the first moment at which both limits have some.
func TestRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		contacts := map[string]time.Time{}
		for i, h := range rapid.SliceOfN(rapid.IntRange(0, 167), 0, 12).Draw(t, "hours ago") {
			contacts[string(rune('a'+i))] = now.Add(-time.Duration(h) * time.Hour)
		}
		days, weeks := rapid.IntRange(0, 4).Draw(t, "day"), rapid.IntRange(0, 8).Draw(t, "week")
		fits := func(at time.Time) bool {
			inDay, inWeek := 0, 0
			for _, c := range contacts {
				if c.After(at.Add(-day)) {
					inDay++
				}
				if c.After(at.Add(-week)) {
					inWeek++
				}
			}
			return (days == 0 || inDay < days) && (weeks == 0 || inWeek < weeks)
		}
		until, _, _ := room(contacts, now, days, weeks)
		if !fits(until) || until.After(now) && fits(until.Add(-time.Millisecond)) {
			t.Errorf("room at %v, now is %v, contacts %v", until, now, contacts)
		}
	})
}
