package chart

import (
	"image"
	"image/color"
	"math"
	"strings"

	"golang.org/x/image/vector"
)

type point struct{ x, y float64 }

// fill paints the inside of outlines, each closed by itself.
func (p *painter) fill(outline []point, ink color.NRGBA) { p.paint([][]point{outline}, ink) }

func (p *painter) paint(outlines [][]point, ink color.NRGBA) {
	if p.img == nil {
		return
	}
	box := p.bounds(outlines)
	if box.Empty() {
		return
	}
	r := vector.NewRasterizer(box.Dx(), box.Dy())
	at := func(q point) (x, y float32) {
		clamp := func(v float64, low, high int) float32 {
			return float32(min(max(v*scale-float64(low), -10), float64(high-low)+10))
		}
		return clamp(q.x+p.dx, box.Min.X, box.Max.X), clamp(q.y+p.dy, box.Min.Y, box.Max.Y)
	}
	for _, o := range outlines {
		if len(o) < 3 {
			continue
		}
		if area(o) < 0 { // one direction for all: then what overlaps adds up
			o = reversed(o)
		}
		r.MoveTo(at(o[0]))
		for _, q := range o[1:] {
			r.LineTo(at(q))
		}
		r.ClosePath()
	}
	r.Draw(p.img, box, image.NewUniform(ink), image.Point{})
}

// bounds is the part of the picture that outlines touch: only that is worked on.
func (p *painter) bounds(outlines [][]point) image.Rectangle {
	low, high := point{math.Inf(1), math.Inf(1)}, point{math.Inf(-1), math.Inf(-1)}
	for _, o := range outlines {
		for _, q := range o {
			low, high = point{min(low.x, q.x), min(low.y, q.y)}, point{max(high.x, q.x), max(high.y, q.y)}
		}
	}
	edge := func(v float64) int { return int(min(max(v*scale, -1e6), 1e6)) }
	return image.Rect(edge(low.x+p.dx)-1, edge(low.y+p.dy)-1, edge(high.x+p.dx)+2, edge(high.y+p.dy)+2).Intersect(p.img.Bounds())
}

func area(o []point) (sum float64) {
	for i, a := range o {
		b := o[(i+1)%len(o)]
		sum += a.x*b.y - b.x*a.y
	}
	return sum
}

func reversed(o []point) []point {
	out := make([]point, len(o))
	for i, q := range o {
		out[len(o)-1-i] = q
	}
	return out
}

// stroke draws a line along points: a box for each piece, a disc at each joint.
func (p *painter) stroke(line []point, a map[string]string, ink color.NRGBA) {
	half := 0.5
	if w := number(a["stroke-width"]); w > 0 {
		half = w / 2
	}
	var boxes [][]point
	for _, dash := range dashes(line, a["stroke-dasharray"]) {
		for i := 1; i < len(dash); i++ {
			a, b := dash[i-1], dash[i]
			length := math.Hypot(b.x-a.x, b.y-a.y)
			if length == 0 {
				continue
			}
			nx, ny := (b.y-a.y)/length*half, (a.x-b.x)/length*half
			boxes = append(boxes, []point{{a.x + nx, a.y + ny}, {b.x + nx, b.y + ny}, {b.x - nx, b.y - ny}, {a.x - nx, a.y - ny}})
			if i > 1 {
				boxes = append(boxes, around(a, half))
			}
		}
	}
	p.paint(boxes, opaque(ink, a["stroke-opacity"]))
}

// dashes cuts a line of two points by a pattern "on off"; others stay whole.
func dashes(line []point, pattern string) [][]point {
	f := strings.Fields(pattern)
	if len(line) != 2 || len(f) != 2 || number(f[0]) <= 0 || number(f[1]) <= 0 {
		return [][]point{line}
	}
	a, b := line[0], line[1]
	length := math.Hypot(b.x-a.x, b.y-a.y)
	on, step := number(f[0]), number(f[0])+number(f[1])
	along := func(d float64) point {
		t := min(d/length, 1)
		return point{a.x + (b.x-a.x)*t, a.y + (b.y-a.y)*t}
	}
	var out [][]point
	for i := 0.0; i*step < length && len(out) < 2000; i++ {
		out = append(out, []point{along(i * step), along(i*step + on)})
	}
	return out
}

// around is a circle of 32 corners.
func around(c point, r float64) []point {
	out := make([]point, 32)
	for i := range out {
		s, k := math.Sincos(2 * math.Pi * float64(i) / float64(len(out)))
		out[i] = point{c.x + r*k, c.y + r*s}
	}
	return out
}

func points(s string) []point {
	var out []point
	for pair := range strings.FieldsSeq(s) {
		x, y, _ := strings.Cut(pair, ",")
		out = append(out, point{number(x), number(y)})
	}
	return out
}

// outline reads the paths of the symbols: moves, lines, and half circles that turn left.
func outline(d string) []point {
	var out []point
	var at point
	step := func(q point) { at = q; out = append(out, q) }
	verb, args := byte(0), []float64(nil)
	apply := func() {
		switch verb {
		case 'M':
			for i := 0; i+1 < len(args); i += 2 {
				step(point{args[i], args[i+1]})
			}
		case 'H':
			step(point{args[0], at.y})
		case 'h':
			step(point{at.x + args[0], at.y})
		case 'v':
			step(point{at.x, at.y + args[0]})
		case 'a':
			from, to := at, point{at.x + args[5], at.y + args[6]}
			c, r := point{(from.x + to.x) / 2, (from.y + to.y) / 2}, args[0]
			begin := math.Atan2(from.y-c.y, from.x-c.x)
			for i := 1; i <= 16; i++ {
				s, k := math.Sincos(begin - math.Pi*float64(i)/16)
				step(point{c.x + r*k, c.y + r*s})
			}
		}
	}
	need := map[byte]int{'M': 2, 'H': 1, 'h': 1, 'v': 1, 'a': 7}
	for _, token := range pathTokens(d) {
		if c := token[0]; c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			if len(args) >= need[verb] && verb != 0 {
				apply()
			}
			verb, args = c, nil
			continue
		}
		args = append(args, number(token))
	}
	if len(args) >= need[verb] && verb != 0 {
		apply()
	}
	return out
}

// pathTokens splits a path's letters and numbers: "M6 .8 11.6 11H.4z".
func pathTokens(d string) []string {
	var out []string
	for i := 0; i < len(d); {
		c := d[i]
		switch {
		case c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z':
			out = append(out, d[i:i+1])
			i++
		case c == ' ' || c == ',':
			i++
		default:
			j := i + 1
			for j < len(d) && (d[j] >= '0' && d[j] <= '9' || d[j] == '.') {
				j++
			}
			out = append(out, d[i:j])
			i = j
		}
	}
	return out
}
