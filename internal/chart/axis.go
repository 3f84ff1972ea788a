package chart

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// valueTicks returns about four round values inside lo..hi and the step between them (1, 2 or 5 times a power of ten).
func valueTicks(lo, hi float64) (ticks []float64, step float64) {
	step = niceStep((hi - lo) / 4)
	first := math.Ceil(lo / step)
	for i := range 12 {
		v := (first + float64(i)) * step
		if v > hi {
			break
		}
		if v == 0 {
			v = 0 // no negative zero
		}
		ticks = append(ticks, v)
	}
	return ticks, step
}

func niceStep(raw float64) float64 {
	if raw <= 0 || math.IsInf(raw, 0) || math.IsNaN(raw) {
		return 1
	}
	pow := math.Pow(10, math.Floor(math.Log10(raw)))
	switch f := raw / pow; {
	case f <= 1:
		return pow
	case f <= 2:
		return 2 * pow
	case f <= 5:
		return 5 * pow
	default:
		return 10 * pow
	}
}

// number writes a tick with just the decimals that its step needs.
func (d *drawing) number(v float64) string {
	a := math.Abs(v)
	if a >= 1e7 || (d.step < 1e-4 && v != 0) {
		return d.decimal(strconv.FormatFloat(v, 'g', 4, 64))
	}
	decimals := max(0, int(-math.Floor(math.Log10(d.step)+1e-9)))
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if a >= 10000 {
		whole, frac, _ := strings.Cut(s, ".")
		s = whole[:len(whole)-3] + "\u202f" + whole[len(whole)-3:]
		if frac != "" {
			s += "." + frac
		}
	}
	return d.decimal(strings.Replace(s, "-", "−", 1))
}

func (d *drawing) decimal(s string) string {
	if german(d.s.Locale) {
		return strings.Replace(s, ".", ",", 1)
	}
	return s
}

func german(locale string) bool { return strings.HasPrefix(locale, "de") }

func (d *drawing) axes() {
	for _, t := range d.ticks {
		y := d.y(t)
		d.p(`<line class="c-grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="currentColor" stroke-opacity="0.14"/>`, d.x0, y, d.x1, y)
		d.text("c-tick", "end", d.x0-6, y+4, d.number(t))
	}
	d.p(`<line class="c-axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="currentColor" stroke-opacity="0.4"/>`, d.x0, d.y1, d.x1, d.y1)
	for _, t := range timeTicks(d.s.From.In(d.s.Zone), d.s.To.In(d.s.Zone), int((d.x1-d.x0)/60), d.s.Locale) {
		x := d.x(t.at)
		d.p(`<line class="c-axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="currentColor" stroke-opacity="0.4"/>`, x, d.y1, x, d.y1+4)
		anchor := "middle"
		switch half := textWidth(t.label) / 2; {
		case x+half > float64(d.s.Width):
			anchor = "end"
		case x-half < 0:
			anchor = "start"
		}
		d.text("c-tick", anchor, x, d.y1+18, t.label)
	}
}

type timeTick struct {
	at    time.Time
	label string
}

var minuteSteps = []int{1, 5, 15, 30, 60, 180, 360, 720}
var dayStepsWanted = []int{1, 2, 7, 14, 30, 90, 180, 365}

// timeTicks returns at most about n moments that a person would choose, in the zone of from: round hours within days, midnights
// beyond. Steps follow the wall clock, so that a change to summer time moves no label.
func timeTicks(from, to time.Time, n int, locale string) []timeTick {
	n = max(n, 2)
	minutes := to.Sub(from).Minutes()
	for _, step := range minuteSteps {
		if minutes/float64(step) <= float64(n) {
			return minuteTicks(from, to, step, locale)
		}
	}
	days := minutes / (24 * 60)
	for _, step := range dayStepsWanted {
		if days/float64(step) <= float64(n) {
			return dayTicks(from, to, step, locale)
		}
	}
	return dayTicks(from, to, 365*(1+int(days/365)/n), locale)
}

const tickBound = 64 // no chart is so wide; it ends the loops whatever the clock does

func minuteTicks(from, to time.Time, step int, locale string) []timeTick {
	var out []timeTick
	y, m, day := from.Date()
	start := (from.Hour()*60 + from.Minute()) / step * step
	for i := range 24 * 60 {
		at := time.Date(y, m, day, 0, start+i*step, 0, 0, from.Location())
		if at.After(to) || len(out) >= tickBound {
			break
		}
		if at.Before(from) {
			continue
		}
		label := at.Format("15:04")
		if at.Hour() == 0 && at.Minute() == 0 {
			label = dayLabel(at, 1, locale)
		}
		out = append(out, timeTick{at, label})
	}
	return out
}

func dayTicks(from, to time.Time, step int, locale string) []timeTick {
	var out []timeTick
	y, m, day := from.Date()
	for i := range tickBound {
		at := time.Date(y, m, day+i*step, 0, 0, 0, 0, from.Location())
		if at.After(to) {
			break
		}
		if !at.Before(from) {
			out = append(out, timeTick{at, dayLabel(at, step, locale)})
		}
	}
	return out
}

var germanDays = [...]string{"So", "Mo", "Di", "Mi", "Do", "Fr", "Sa"}
var germanMonths = [...]string{"", "Jan", "Feb", "März", "Apr", "Mai", "Juni", "Juli", "Aug", "Sep", "Okt", "Nov", "Dez"}

// dayLabel names a day: with its weekday while days are counted, with its month beyond, with its year beyond that.
func dayLabel(t time.Time, step int, locale string) string {
	de := german(locale)
	switch {
	case step <= 2 && de:
		return germanDays[t.Weekday()] + " " + strconv.Itoa(t.Day()) + "."
	case step <= 2:
		return t.Format("Mon 2")
	case step < 180 && de:
		return strconv.Itoa(t.Day()) + ". " + germanMonths[t.Month()]
	case step < 180:
		return t.Format("2 Jan")
	case de:
		return germanMonths[t.Month()] + " " + strconv.Itoa(t.Year())
	default:
		return t.Format("Jan 2006")
	}
}
