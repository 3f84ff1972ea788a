// Package chart draws a series as an SVG line chart, or the same as a picture (PNG) for mail: the normal range as a band, the
// limit as a line with its value, events as marks with words, missing data as gaps. The output is small, deterministic and
// readable in grey; on a page colours come through CSS classes and custom properties, so that one drawing serves light and dark.
//
// It is not a general plotting library and knows nothing of devices, rules or where points come from.
//
// Who may import it: outreach, web, api, app. It imports fleet.
package chart

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"sort"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Spec says what to draw. Numbers that are not finite, or beyond MaxValue, count as missing.
type Spec struct {
	ID     string // unique in the page, letters, digits and '-': the title is referred to by it
	Title  string // what the chart shows, for a reader who does not see it
	Desc   string // what there is to see in it, one or two sentences
	Width  int    // in CSS pixels at scale 1; 0: 720
	Height int    // 0: 240
	From   time.Time
	To     time.Time      // after From
	Zone   *time.Location // of the time axis; nil: UTC
	Locale string         // "en", "de": weekday and month names, decimal sign
	Points []fleet.Point  // in any order; those outside From..To are left out
	// Gap is the distance from which two neighbouring points are not joined; 0: four times the usual distance.
	Gap    time.Duration
	Band   *Band
	Limits []Limit
	Marks  []Mark
	Last   string // words beside the last point, "94 s"; may be empty
	NoData string // words for gaps wide enough to hold them, "no readings"
}

// Band is the normal range.
type Band struct {
	Low, High float64
	Label     string
}

// Limit is a value that must not be passed.
type Limit struct {
	Value float64
	Label string
}

// Mark is something that happened at a moment.
type Mark struct {
	At     time.Time
	Label  string
	Symbol Symbol
	Ring   bool // ring the line at this moment: here the rule fired
}

// MaxValue is the largest magnitude that is drawn.
const MaxValue = 1e100

const (
	fontSize   = 12
	charWidth  = 6.4 // mean advance of a system font at 12 px; only used to keep labels apart
	laneHeight = 18
	maxLanes   = 3
	maxMarks   = 40
	padRight   = 12
	padBottom  = 26
)

// Line writes the chart as one svg element. Errors: CodeInvalid when To is not after From, and what w answers.
func Line(w io.Writer, s Spec) error {
	if !s.To.After(s.From) {
		return fleet.Errorf(fleet.CodeInvalid, "chart %q: the end %s is not after the start %s", s.ID, s.To, s.From)
	}
	d := newDrawing(w, s)
	d.open()
	d.axes()
	d.band()
	d.gaps()
	d.limits()
	d.markLines()
	d.series()
	d.limitLabels()
	d.markWords()
	d.last()
	d.p("</svg>")
	if err := d.w.Flush(); err != nil {
		return fmt.Errorf("write chart %q: %w", s.ID, err)
	}
	return nil
}

// drawing is one chart being written: the specification made sane, and the scales.
type drawing struct {
	w      *bufio.Writer
	s      Spec
	runs   [][]fleet.Point // joined points between gaps
	lo, hi float64
	ticks  []float64
	step   float64
	x0, y0 float64 // plot area
	x1, y1 float64
	marks  []placedMark
}

func newDrawing(w io.Writer, s Spec) *drawing {
	if s.Width <= 0 {
		s.Width = 720
	}
	if s.Height <= 0 {
		s.Height = 240
	}
	s.Width, s.Height = max(160, s.Width), max(100, s.Height)
	if s.Zone == nil {
		s.Zone = time.UTC
	}
	d := &drawing{w: bufio.NewWriter(w), s: s}
	pts := clean(s.Points, s.From, s.To)
	if d.s.Gap <= 0 {
		d.s.Gap = 4 * usualDistance(pts)
	}
	d.runs = split(pts, d.s.Gap)
	d.domain(pts)
	if d.ticks, d.step = valueTicks(d.lo, d.hi); len(pts) == 0 {
		d.ticks = nil // a scale without values says nothing
	}
	longest := 0
	for _, t := range d.ticks {
		longest = max(longest, len([]rune(d.number(t))))
	}
	d.x0, d.x1 = math.Round(float64(longest)*charWidth+12), float64(s.Width-padRight)
	lanes := d.placeMarks()
	d.y0, d.y1 = float64(12+lanes*laneHeight), float64(s.Height-padBottom)
	return d
}

// clean returns the drawable points inside the range, by time.
func clean(in []fleet.Point, from, to time.Time) []fleet.Point {
	out := make([]fleet.Point, 0, len(in))
	for _, p := range in {
		if drawable(p.Value) && !p.At.Before(from) && !p.At.After(to) {
			out = append(out, p)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].At.Before(out[j].At) })
	return out
}

func drawable(v float64) bool { return !math.IsNaN(v) && math.Abs(v) <= MaxValue }

// usualDistance is the median distance between neighbours: what the device usually keeps.
func usualDistance(pts []fleet.Point) time.Duration {
	if len(pts) < 2 {
		return time.Hour
	}
	ds := make([]time.Duration, 0, len(pts)-1)
	for i := 1; i < len(pts); i++ {
		ds = append(ds, pts[i].At.Sub(pts[i-1].At))
	}
	sort.Slice(ds, func(i, j int) bool { return ds[i] < ds[j] })
	return max(ds[len(ds)/2], time.Second)
}

func split(pts []fleet.Point, gap time.Duration) [][]fleet.Point {
	var runs [][]fleet.Point
	start := 0
	for i := 1; i <= len(pts); i++ {
		if i == len(pts) || pts[i].At.Sub(pts[i-1].At) > gap {
			runs = append(runs, pts[start:i])
			start = i
		}
	}
	return runs
}

// domain sets the value range: all that is drawn, with some air, and not below zero when nothing is.
func (d *drawing) domain(pts []fleet.Point) {
	lo, hi := math.Inf(1), math.Inf(-1)
	see := func(v float64) {
		if drawable(v) {
			lo, hi = math.Min(lo, v), math.Max(hi, v)
		}
	}
	for _, p := range pts {
		see(p.Value)
	}
	if d.s.Band != nil {
		see(d.s.Band.Low)
		see(d.s.Band.High)
	}
	for _, l := range d.s.Limits {
		see(l.Value)
	}
	if lo > hi {
		lo, hi = 0, 1
	}
	floor := math.Max(math.Abs(lo), math.Abs(hi)) * 1e-6
	if hi-lo <= floor || hi == lo {
		air := math.Max(math.Abs(hi)*0.1, 1e-6)
		if hi == 0 {
			air = 1
		}
		lo, hi = lo-air, hi+air
	}
	air := (hi - lo) * 0.1
	nonNegative := lo >= 0
	d.lo, d.hi = lo-1.7*air, hi+1.8*air // room for the words of the band below and of the last value above
	if nonNegative && d.lo < 0 {
		d.lo = 0
	}
}

func (d *drawing) x(t time.Time) float64 {
	from, to := float64(d.s.From.UnixMilli()), float64(d.s.To.UnixMilli())
	if to <= from {
		to = from + 1
	}
	return d.x0 + (float64(t.UnixMilli())-from)/(to-from)*(d.x1-d.x0)
}

func (d *drawing) y(v float64) float64 { return d.y1 - (v-d.lo)/(d.hi-d.lo)*(d.y1-d.y0) }

func (d *drawing) p(format string, args ...any) { _, _ = fmt.Fprintf(d.w, format, args...) }

// text writes a label with a halo of the background, so that a line behind it does not cut through the words.
func (d *drawing) text(class, anchor string, x, y float64, s string) {
	d.p(`<text class="%s" x="%.1f" y="%.1f" text-anchor="%s" fill="currentColor">%s</text>`, class, x, y, anchor, escape(s))
}

func (d *drawing) open() {
	id := safeID(d.s.ID)
	d.p(`<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="%s-t %s-d" font-size="%d">`,
		d.s.Width, d.s.Height, d.s.Width, d.s.Height, id, id, fontSize)
	d.p(`<title id="%s-t">%s</title><desc id="%s-d">%s</desc>`, id, escape(d.s.Title), id, escape(d.s.Desc))
}

func (d *drawing) band() {
	b := d.s.Band
	if b == nil || !drawable(b.Low) || !drawable(b.High) || b.High < b.Low {
		return
	}
	top, bottom := d.y(b.High), d.y(b.Low)
	d.p(`<rect class="c-band" x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="currentColor" fill-opacity="0.08"/>`,
		d.x0, top, d.x1-d.x0, math.Max(bottom-top, 1))
}

func (d *drawing) limits() {
	for _, l := range d.s.Limits {
		if drawable(l.Value) {
			y := d.y(l.Value)
			d.p(`<line class="c-limit" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="currentColor" stroke-width="1.5" stroke-dasharray="6 4"/>`, d.x0, y, d.x1, y)
		}
	}
}

// limitLabels writes the words of band and limits on the left, away from the last value, and apart from each other.
func (d *drawing) limitLabels() {
	var taken []float64
	place := func(y float64) float64 {
		for range taken {
			for _, t := range taken {
				if math.Abs(t-y) < fontSize+2 {
					y = t + fontSize + 3
				}
			}
		}
		taken = append(taken, y)
		return y
	}
	for _, l := range d.s.Limits {
		if drawable(l.Value) && l.Label != "" {
			d.text("c-limit-t", "start", d.x0+6, place(math.Max(d.y(l.Value)-5, d.y0+10)), l.Label)
		}
	}
	if b := d.s.Band; b != nil && b.Label != "" && drawable(b.Low) && drawable(b.High) && b.High >= b.Low {
		y := d.y(b.Low) + fontSize + 2 // below the band, where the line seldom is
		if y > d.y1-4 {
			y = d.y(b.Low) - 5
		}
		d.text("c-band-t", "start", d.x0+6, place(y), b.Label)
	}
}

func (d *drawing) series() {
	for _, run := range d.runs {
		run = d.thin(run)
		if len(run) == 1 {
			d.p(`<circle class="c-dot" cx="%.1f" cy="%.1f" r="2" fill="currentColor"/>`, d.x(run[0].At), d.y(run[0].Value))
			continue
		}
		d.p(`<polyline class="c-line" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linejoin="round" stroke-linecap="round" points="`)
		for i, p := range run {
			if i > 0 {
				d.p(" ")
			}
			d.p("%.1f,%.1f", d.x(p.At), d.y(p.Value))
		}
		d.p(`"/>`)
	}
}

// thin keeps, for each pixel column, the first, lowest, highest and last point: what the eye would see of all of them.
func (d *drawing) thin(run []fleet.Point) []fleet.Point {
	if float64(len(run)) < 2*(d.x1-d.x0) {
		return run
	}
	var out []fleet.Point
	for i := 0; i < len(run); {
		col := math.Floor(d.x(run[i].At))
		j, low, high := i, i, i
		for ; j < len(run) && math.Floor(d.x(run[j].At)) == col; j++ {
			if run[j].Value < run[low].Value {
				low = j
			}
			if run[j].Value > run[high].Value {
				high = j
			}
		}
		keep := []int{i, min(low, high), max(low, high), j - 1}
		for k, at := range keep {
			if k == 0 || at != keep[k-1] {
				out = append(out, run[at])
			}
		}
		i = j
	}
	return out
}

// gaps shades where nothing was heard, and says so where the words fit.
func (d *drawing) gaps() {
	if len(d.runs) == 0 {
		d.text("c-gap-t", "middle", (d.x0+d.x1)/2, (d.y0+d.y1)/2, d.s.NoData)
		return
	}
	words := d.gapWordsY()
	edge := d.s.From
	shade := func(from, to time.Time) {
		if to.Sub(from) <= d.s.Gap {
			return
		}
		a, b := d.x(from), d.x(to)
		if b-a < 3 {
			return
		}
		d.p(`<rect class="c-gap" x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="currentColor" fill-opacity="0.04"/>`, a, d.y0, b-a, d.y1-d.y0)
		if d.s.NoData != "" && b-a > textWidth(d.s.NoData)+8 {
			d.text("c-gap-t", "middle", (a+b)/2, words, d.s.NoData)
		}
	}
	for _, run := range d.runs {
		shade(edge, run[0].At)
		edge = run[len(run)-1].At
	}
	shade(edge, d.s.To)
}

// gapWordsY is at the top, or at the bottom where a limit's words are at the top.
func (d *drawing) gapWordsY() float64 {
	y := d.y0 + 14
	for _, l := range d.s.Limits {
		if drawable(l.Value) && math.Abs(d.y(l.Value)-5-y) < fontSize+6 {
			return d.y1 - 8
		}
	}
	return y
}

func (d *drawing) last() {
	if len(d.runs) == 0 {
		return
	}
	run := d.runs[len(d.runs)-1]
	p := run[len(run)-1]
	x, y := d.x(p.At), d.y(p.Value)
	d.p(`<circle class="c-last" cx="%.1f" cy="%.1f" r="3.5" fill="currentColor"/>`, x, y)
	if d.s.Last == "" {
		return
	}
	ty := y - 9
	if ty < d.y0+4 {
		ty = y + 18
	}
	d.text("c-last-t", "end", math.Max(math.Min(x+4, d.x1), d.x0+textWidth(d.s.Last)), ty, d.s.Last)
}

func textWidth(s string) float64 { return float64(len([]rune(s))) * charWidth }

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

// escape makes s safe as text or attribute of XML and HTML: control characters become spaces.
func escape(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0xfffe || r == 0xffff {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return escaper.Replace(s)
}

func safeID(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return -1
	}, s)
	if s == "" {
		return "chart"
	}
	return s
}
