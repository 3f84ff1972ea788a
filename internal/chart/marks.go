package chart

import (
	"math"
	"sort"

	"aftercare/internal/fleet"
)

// Symbol is a state's shape. State is never colour alone: each has its own form, which is readable in grey.
type Symbol string

// The symbols: a full dot, a half dot, a triangle, a square (twice), a small dot, a ring.
const (
	Good   Symbol = "good"
	Watch  Symbol = "watch"
	Due    Symbol = "due"
	Fault  Symbol = "fault"
	Danger Symbol = "danger"
	Info   Symbol = "info"
	Silent Symbol = "silent"
)

// Shape returns the symbol as SVG elements in a box of 12 by 12, drawn in currentColor.
func (s Symbol) Shape() string {
	switch s {
	case Watch:
		return `<circle cx="6" cy="6" r="4.5" fill="none" stroke="currentColor" stroke-width="1.5"/><path d="M6 1.5a4.5 4.5 0 0 0 0 9z" fill="currentColor"/>`
	case Due:
		return `<path d="M6 .8 11.6 11H.4z" fill="currentColor"/>`
	case Fault, Danger: // told apart by their word
		return `<path d="M1.2 1.2h9.6v9.6H1.2z" fill="currentColor"/>`
	case Info:
		return `<circle cx="6" cy="6" r="2.5" fill="currentColor"/>`
	case Silent:
		return `<circle cx="6" cy="6" r="4.5" fill="none" stroke="currentColor" stroke-width="1.5"/>`
	default:
		return `<circle cx="6" cy="6" r="5" fill="currentColor"/>`
	}
}

type placedMark struct {
	Mark
	label string // as it fits; empty: only the symbol, with its words as a tooltip
	x     float64
	lane  int
	left  bool // the words stand left of the symbol
}

// placeMarks gives each mark a lane in which its words touch no others, and returns how many lanes are in use. Marks for
// whose words there is no room keep their symbol.
func (d *drawing) placeMarks() int {
	var marks []Mark
	for _, m := range d.s.Marks {
		if !m.At.Before(d.s.From) && !m.At.After(d.s.To) {
			marks = append(marks, m)
		}
	}
	sort.SliceStable(marks, func(i, j int) bool { return marks[i].At.Before(marks[j].At) })
	if len(marks) > maxMarks {
		marks = marks[len(marks)-maxMarks:]
	}
	var ends [maxLanes][][2]float64
	used := 0
	for _, m := range marks {
		p := placedMark{Mark: m, x: d.x(m.At), label: fit(m.Label, d.x1-d.x0-24)}
		p.left = p.x+10+textWidth(p.label) > d.x1
		if p.left && p.x-10-textWidth(p.label) < 0 {
			p.label = fit(m.Label, p.x-10)
		}
		from, to := p.x-7, p.x+10+textWidth(p.label)
		if p.left {
			from, to = p.x-10-textWidth(p.label), p.x+7
		}
		p.lane = freeLane(&ends, from, to)
		if p.lane < 0 {
			p.label, p.lane = "", 0
		} else {
			ends[p.lane] = append(ends[p.lane], [2]float64{from, to})
		}
		used = max(used, p.lane+1)
		d.marks = append(d.marks, p)
	}
	return used
}

func freeLane(ends *[maxLanes][][2]float64, from, to float64) int {
	for lane := range ends {
		free := true
		for _, e := range ends[lane] {
			if from < e[1]+6 && to > e[0]-6 {
				free = false
			}
		}
		if free {
			return lane
		}
	}
	return -1
}

// fit shortens s to a width; the whole text stays in the mark's tooltip and in the list beside the chart.
func fit(s string, width float64) string {
	n := int(width / charWidth)
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	if n < 4 {
		return ""
	}
	return string(r[:n-1]) + "…"
}

func (m placedMark) y() float64 { return float64(6 + m.lane*laneHeight) }

func (d *drawing) markLines() {
	for _, m := range d.marks {
		d.p(`<line class="c-mark c-%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="currentColor" stroke-opacity="0.55" stroke-dasharray="2 3"/>`,
			safeID(string(m.Symbol)), m.x, m.y()+7, m.x, d.y1)
	}
}

func (d *drawing) markWords() {
	for _, m := range d.marks {
		d.p(`<g class="c-mark c-%s"><title>%s</title>`, safeID(string(m.Symbol)), escape(m.Label))
		d.p(`<svg x="%.1f" y="%.1f" width="12" height="12" viewBox="0 0 12 12">%s</svg>`, m.x-6, m.y()-5, m.Symbol.Shape())
		if m.label != "" {
			if m.left {
				d.text("c-mark-t", "end", m.x-10, m.y()+5, m.label)
			} else {
				d.text("c-mark-t", "start", m.x+10, m.y()+5, m.label)
			}
		}
		if m.Ring {
			if v, ok := d.valueAt(m); ok {
				d.p(`<circle class="c-ring" cx="%.1f" cy="%.1f" r="6" fill="none" stroke="currentColor" stroke-width="1.75"/>`, m.x, d.y(v))
			}
		}
		d.p("</g>")
	}
}

// valueAt is the line's value at a mark: on it or between its neighbours, nothing inside a gap.
func (d *drawing) valueAt(m placedMark) (float64, bool) {
	for _, run := range d.runs {
		i := sort.Search(len(run), func(i int) bool { return !run[i].At.Before(m.At) })
		if i < len(run) && run[i].At.Equal(m.At) {
			return run[i].Value, true
		}
		if i > 0 && i < len(run) {
			a, b := run[i-1], run[i]
			f := m.At.Sub(a.At).Seconds() / math.Max(b.At.Sub(a.At).Seconds(), 1e-9)
			return a.Value + (b.Value-a.Value)*f, true
		}
	}
	return valueBeside(d.runs, m)
}

// valueBeside takes the nearest end of a run when the mark lies just outside it: within one minute it is the same moment.
func valueBeside(runs [][]fleet.Point, m placedMark) (float64, bool) {
	for _, run := range runs {
		for _, p := range []fleet.Point{run[0], run[len(run)-1]} {
			if p.At.Sub(m.At).Abs().Minutes() <= 1 {
				return p.Value, true
			}
		}
	}
	return 0, false
}
