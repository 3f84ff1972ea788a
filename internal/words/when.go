package words

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

var weekdays = map[string][7]string{
	"en": {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"},
	"de": {"Sonntag", "Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag"},
}

var months = map[string][12]string{
	"en": {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"},
	"de": {"Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November", "Dezember"},
}

// When writes a moment as seen from now, in the reader's zone: "16:40", "yesterday 18:20", "Monday 18:20" within the last
// six days, else "14 November 18:20", with the year when it is another one. "" for the zero time.
func (l Locale) When(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	now, t = now.In(l.Zone), t.In(l.Zone)
	clock := l.clock(t)
	switch days := daysBetween(t, now); {
	case days == 0:
		return clock
	case days == 1 && l.Lang == "de":
		return "gestern " + clock
	case days == 1:
		return "yesterday " + clock
	case days == -1 && l.Lang == "de":
		return "morgen " + clock
	case days == -1:
		return "tomorrow " + clock
	case days > 1 && days < 7:
		return weekdays[l.Lang][t.Weekday()] + " " + clock
	default:
		return l.Date(now, t) + " " + clock
	}
}

func (l Locale) clock(t time.Time) string {
	if l.Lang == "en" && l.Region == "US" {
		return t.Format("3:04") + string(nbsp) + t.Format("PM")
	}
	return t.Format("15:04")
}

// Date writes a day: "14 November" ("November 14" in the US, "14. November" in German), with the year when it is not now's.
func (l Locale) Date(now, t time.Time) string {
	now, t = now.In(l.Zone), t.In(l.Zone)
	month, day := months[l.Lang][t.Month()-1], strconv.Itoa(t.Day())
	year := ""
	if t.Year() != now.Year() {
		year = " " + strconv.Itoa(t.Year())
	}
	switch {
	case l.Lang == "de":
		return day + "." + string(nbsp) + month + year
	case l.Region == "US":
		if year != "" {
			year = "," + year
		}
		return month + string(nbsp) + day + year
	default:
		return day + string(nbsp) + month + year
	}
}

// daysBetween counts calendar days from a to b, both already in the reader's zone.
func daysBetween(a, b time.Time) int {
	day := func(t time.Time) int64 {
		return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC).Unix() / 86400
	}
	return int(day(b) - day(a))
}

// Cover says how long the warranty lasts: "covered until 14 December, 23 days". "" when that is not known or over, so that
// {{if cover}} means: covered now.
func (l Locale) Cover(now, until time.Time) string {
	if until.IsZero() || !until.After(now) {
		return ""
	}
	days := daysBetween(now.In(l.Zone), until.In(l.Zone))
	date := l.Date(now, until)
	if l.Lang == "de" {
		switch {
		case days == 0:
			return "Garantie nur noch heute"
		case days == 1:
			return "Garantie bis " + date + ", noch 1" + string(nbsp) + "Tag"
		case days <= 90:
			return fmt.Sprintf("Garantie bis %s, noch %d%cTage", date, days, nbsp)
		}
		return "Garantie bis " + date
	}
	switch {
	case days == 0:
		return "Covered until today"
	case days == 1:
		return "Covered until " + date + ", 1" + string(nbsp) + "day"
	case days <= 90:
		return fmt.Sprintf("Covered until %s, %d%cdays", date, days, nbsp)
	}
	return "Covered until " + date
}

// span is one step of how people count time.
type span struct {
	unit     time.Duration
	below    time.Duration // used for durations shorter than this
	en       [2]string     // one, many
	de       [2]string     // one, many: nominative
	deDative [2]string     // behind "in" and "vor"
	one      [2]string     // the article for one: nominative, dative
}

const day = 24 * time.Hour

var spans = []span{
	{time.Minute, 55 * time.Minute, [2]string{"a minute", "minutes"}, [2]string{"Minute", "Minuten"}, [2]string{"Minute", "Minuten"}, [2]string{"eine", "einer"}},
	{time.Hour, 36 * time.Hour, [2]string{"an hour", "hours"}, [2]string{"Stunde", "Stunden"}, [2]string{"Stunde", "Stunden"}, [2]string{"eine", "einer"}},
	{day, 13*day + 12*time.Hour, [2]string{"a day", "days"}, [2]string{"Tag", "Tage"}, [2]string{"Tag", "Tagen"}, [2]string{"ein", "einem"}},
	{7 * day, 60 * day, [2]string{"a week", "weeks"}, [2]string{"Woche", "Wochen"}, [2]string{"Woche", "Wochen"}, [2]string{"eine", "einer"}},
	{30 * day, 700 * day, [2]string{"a month", "months"}, [2]string{"Monat", "Monate"}, [2]string{"Monat", "Monaten"}, [2]string{"ein", "einem"}},
	{365 * day, math.MaxInt64, [2]string{"a year", "years"}, [2]string{"Jahr", "Jahre"}, [2]string{"Jahr", "Jahren"}, [2]string{"ein", "einem"}},
}

var counts = map[string][13]string{
	"en": {"", "", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"},
	"de": {"", "", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf"},
}

// Span writes a duration as people say it: "about three weeks", "etwa drei Wochen". Negative ones count as positive.
func (l Locale) Span(d time.Duration) string { return l.span(d, false) }

// In writes how long it will take: "in about three weeks", "in etwa drei Tagen".
func (l Locale) In(d time.Duration) string { return "in " + l.span(d, true) }

// Ago writes how long it is past: "about three weeks ago", "vor etwa drei Tagen".
func (l Locale) Ago(d time.Duration) string {
	if l.Lang == "de" {
		return "vor " + l.span(d, true)
	}
	return l.span(d, false) + " ago"
}

func (l Locale) span(d time.Duration, dative bool) string {
	if d < 0 {
		d = -max(d, -math.MaxInt64) // the most negative duration has no positive one
	}
	if d < 45*time.Second {
		switch {
		case l.Lang == "de" && dative:
			return "weniger als einer Minute"
		case l.Lang == "de":
			return "weniger als eine Minute"
		}
		return "less than a minute"
	}
	s := spans[len(spans)-1]
	for _, c := range spans {
		if d < c.below {
			s = c
			break
		}
	}
	n := max(int(math.Round(float64(d)/float64(s.unit))), 1)
	count := strconv.Itoa(n)
	if n <= 12 {
		count = counts[l.Lang][n]
	}
	if l.Lang == "en" {
		if n == 1 {
			return "about " + s.en[0]
		}
		return "about " + count + " " + s.en[1]
	}
	noun, kasus := s.de, 0
	if dative {
		noun, kasus = s.deDative, 1
	}
	if n == 1 {
		return "etwa " + s.one[kasus] + " " + noun[0]
	}
	return "etwa " + count + " " + noun[1]
}
