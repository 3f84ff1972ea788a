package web

import (
	"strconv"
	"strings"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// lang is one of the two languages of the pages.
type lang string

const (
	en lang = "en"
	de lang = "de"
)

// localeLang picks the page language for a person's locale.
func localeLang(locale string) lang {
	if strings.HasPrefix(strings.ToLower(locale), "de") {
		return de
	}
	return en
}

// age says how long in one unit, for narrow columns: "now", "5 min", "3 h", "2 days". Sentences use words.Locale.
func age(d time.Duration, l lang) string {
	one := func(n int, single, many string) string {
		if n == 1 {
			return "1\u00a0" + single
		}
		return itoa(n) + "\u00a0" + many
	}
	german := l == de
	switch {
	case d < time.Minute && german:
		return "eben"
	case d < time.Minute:
		return "now"
	case d < time.Hour:
		return one(int(d.Minutes()), "min", "min")
	case d < 48*time.Hour:
		return one(int(d.Hours()), "h", "h")
	case d < 21*24*time.Hour && german:
		return one(int(d.Hours()/24), "Tag", "Tage")
	case d < 21*24*time.Hour:
		return one(int(d.Hours()/24), "day", "days")
	case german:
		return one(int(d.Hours()/24/7), "Woche", "Wochen")
	default:
		return one(int(d.Hours()/24/7), "week", "weeks")
	}
}

// humanise turns a machine word into words: "washer-drain-slow" into "washer drain slow".
func humanise(s string) string { return strings.NewReplacer("-", " ", "_", " ").Replace(s) }

// upperFirst makes the first letter large, as a title begins.
func upperFirst(s string) string {
	for _, r := range s {
		first := string(r)
		return strings.ToUpper(first) + strings.TrimPrefix(s, first)
	}
	return s
}
