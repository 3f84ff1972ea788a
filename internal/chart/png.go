package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"image"
	"image/color"
	imagedraw "image/draw"
	"image/png"
	"io"
	"strconv"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// MaxPixels bounds a picture: width times height in CSS pixels.
const MaxPixels = 1200 * 600

// scale is how many pixels of the picture are one CSS pixel: screens of phones have at least two.
const scale = 2

// PNG writes the chart as a picture on white, for where no SVG is shown (e-mail). It draws what Line writes, so that both look
// the same. Errors: CodeInvalid of Line, more than MaxPixels, and what w answers.
func PNG(w io.Writer, s Spec) error {
	var svg bytes.Buffer
	if err := Line(&svg, s); err != nil {
		return err
	}
	face, err := newFace()
	if err != nil {
		return err
	}
	defer func() { _ = face.Close() }()
	p := painter{face: face}
	dec := xml.NewDecoder(&svg)
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("draw chart %q: %w", s.ID, err)
		}
		if err := p.token(t); err != nil {
			return fmt.Errorf("draw chart %q: %w", s.ID, err)
		}
	}
	if p.img == nil {
		return fmt.Errorf("draw chart %q: it is empty", s.ID)
	}
	if err := (&png.Encoder{CompressionLevel: png.DefaultCompression}).Encode(w, p.img); err != nil {
		return fmt.Errorf("write chart %q: %w", s.ID, err)
	}
	return nil
}

func newFace() (font.Face, error) {
	f, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, fmt.Errorf("read the font: %w", err)
	}
	return opentype.NewFace(f, &opentype.FaceOptions{Size: fontSize * scale, DPI: 72, Hinting: font.HintingNone})
}

// painter draws the elements that Line writes, no others.
type painter struct {
	img    *image.RGBA
	face   font.Face
	dx, dy float64 // of the inner svg, which holds a symbol
	inner  bool
	label  *label // text that is being read
}

type label struct {
	attrs map[string]string
	words strings.Builder
}

func (p *painter) token(t xml.Token) error {
	switch t := t.(type) {
	case xml.StartElement:
		a := map[string]string{}
		for _, x := range t.Attr {
			a[x.Name.Local] = x.Value
		}
		return p.start(t.Name.Local, a)
	case xml.CharData:
		if p.label != nil {
			p.label.words.Write(t)
		}
	case xml.EndElement:
		switch {
		case t.Name.Local == "text" && p.label != nil:
			p.text(p.label.attrs, p.label.words.String())
			p.label = nil
		case t.Name.Local == "svg" && p.inner:
			p.inner, p.dx, p.dy = false, 0, 0
		}
	}
	return nil
}

func (p *painter) start(name string, a map[string]string) error {
	if name == "svg" && p.img == nil {
		w, h := int(number(a["width"])), int(number(a["height"]))
		if w <= 0 || h <= 0 || w*h > MaxPixels {
			return fmt.Errorf("%d x %d pixels, at most %d in all", w, h, MaxPixels)
		}
		p.img = image.NewRGBA(image.Rect(0, 0, w*scale, h*scale))
		imagedraw.Draw(p.img, p.img.Bounds(), image.White, image.Point{}, imagedraw.Src)
		return nil
	}
	ink := inkOf(a["class"])
	switch name {
	case "svg":
		p.inner, p.dx, p.dy = true, number(a["x"]), number(a["y"])
	case "text":
		p.label = &label{attrs: a}
	case "line":
		p.stroke([]point{{number(a["x1"]), number(a["y1"])}, {number(a["x2"]), number(a["y2"])}}, a, ink)
	case "rect":
		x, y, w, h := number(a["x"]), number(a["y"]), number(a["width"]), number(a["height"])
		p.fill([]point{{x, y}, {x + w, y}, {x + w, y + h}, {x, y + h}}, opaque(ink, a["fill-opacity"]))
	case "polyline":
		p.stroke(points(a["points"]), a, ink)
	case "circle":
		p.circle(a, ink)
	case "path":
		p.fill(outline(a["d"]), ink)
	}
	return nil
}

func (p *painter) circle(a map[string]string, ink color.NRGBA) {
	c, r := point{number(a["cx"]), number(a["cy"])}, number(a["r"])
	if a["fill"] != "none" {
		p.fill(around(c, r), ink)
		return
	}
	ring := around(c, r)
	p.stroke(append(ring, ring[0]), a, ink)
}

// text writes words with a halo of white, so that a line behind them does not cut through.
func (p *painter) text(a map[string]string, words string) {
	if p.img == nil {
		return
	}
	words = strings.Map(func(r rune) rune {
		if _, ok := p.face.GlyphAdvance(r); ok && r != '\u202f' {
			return r
		}
		return ' '
	}, words)
	x, y := (number(a["x"])+p.dx)*scale, (number(a["y"])+p.dy)*scale
	width := float64(font.MeasureString(p.face, words)) / 64
	switch a["text-anchor"] {
	case "end":
		x -= width
	case "middle":
		x -= width / 2
	}
	x = min(max(x, 0), float64(p.img.Bounds().Dx())-width)
	d := font.Drawer{Dst: p.img, Face: p.face, Src: image.White}
	at := func(dx, dy float64) {
		d.Dot = fixed.Point26_6{X: fixed.Int26_6((x + dx) * 64), Y: fixed.Int26_6((y + dy) * 64)}
		d.DrawString(words)
	}
	for _, o := range [][2]float64{{-2, 0}, {2, 0}, {0, -2}, {0, 2}, {-1.5, -1.5}, {1.5, 1.5}, {-1.5, 1.5}, {1.5, -1.5}} {
		at(o[0], o[1])
	}
	d.Src = image.NewUniform(inkOf(a["class"]))
	at(0, 0)
}

// The inks, readable in grey: dark, a blue for the line and its normal range, a red for the limit.
var (
	dark = color.NRGBA{0x22, 0x22, 0x22, 0xff}
	blue = color.NRGBA{0x1d, 0x5c, 0x8a, 0xff}
	red  = color.NRGBA{0xa6, 0x26, 0x1e, 0xff}
)

func inkOf(class string) color.NRGBA {
	switch strings.Fields(class + " x")[0] {
	case "c-line", "c-dot", "c-last", "c-last-t", "c-band":
		return blue
	case "c-limit", "c-limit-t":
		return red
	default:
		return dark
	}
}

func opaque(c color.NRGBA, opacity string) color.NRGBA {
	if opacity != "" {
		c.A = uint8(255 * min(max(number(opacity), 0), 1))
	}
	return c
}

func number(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0
	}
	return v
}
