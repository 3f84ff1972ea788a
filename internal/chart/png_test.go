package chart

import (
	"bytes"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func mailSpec() Spec {
	s := Spec{ID: "m", Title: "x", Width: 560, Height: 220, From: noon.Add(-14 * 24 * time.Hour), To: noon, Locale: "de", Band: &Band{Low: 50, High: 60, Label: "sonst 50–60 s"},
		Limits: []Limit{{70, "Grenze 70 s"}}, Last: "94 s", NoData: "keine Werte", Marks: []Mark{{At: noon.Add(-24 * time.Hour), Label: "gemeldet", Symbol: Due, Ring: true}}}
	for i := range 60 {
		if i > 20 && i < 30 {
			continue
		}
		s.Points = append(s.Points, fleet.Point{At: s.From.Add(time.Duration(i) * 5 * time.Hour), Value: 55 + 3*math.Sin(float64(i)) + math.Pow(float64(i)/60, 6)*40})
	}
	return s
}

func TestPNG(t *testing.T) {
	var b bytes.Buffer
	if err := PNG(&b, mailSpec()); err != nil {
		t.Fatal(err)
	}
	if name := os.Getenv("CHART_PNG"); name != "" { // to look at it
		if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if b.Len() > 60<<10 {
		t.Errorf("%d bytes", b.Len())
	}
	img, err := png.Decode(&b)
	if err != nil {
		t.Fatal(err)
	}
	if size := img.Bounds().Size(); size.X != 1120 || size.Y != 440 {
		t.Errorf("%v pixels", size)
	}
	seen := map[color.NRGBA]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
			seen[c]++
		}
	}
	for name, c := range map[string]color.NRGBA{"line": blue, "limit": red, "words": dark, "background": {255, 255, 255, 255}} {
		if seen[c] < 100 {
			t.Errorf("%d pixels of the %s", seen[c], name)
		}
	}
}

func TestPNGBounds(t *testing.T) {
	s := mailSpec()
	s.Width, s.Height = 4000, 4000
	if err := PNG(&bytes.Buffer{}, s); err == nil {
		t.Error("a picture of 16 million pixels was drawn")
	}
	s = mailSpec()
	s.To = s.From
	if err := PNG(&bytes.Buffer{}, s); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("%v", err)
	}
}

// FuzzPNG: whatever values and words come in, there is a picture.
func FuzzPNG(f *testing.F) {
	f.Add(1.0, 2.0, math.NaN(), "x")
	f.Add(math.Inf(1), -1e99, 1e99, "<b>\u202f−ä🧺\x00")
	f.Fuzz(func(t *testing.T, a, b, limit float64, words string) {
		s := mailSpec()
		s.Width, s.Height = 200, 100
		s.Points = []fleet.Point{{At: noon.Add(-time.Hour), Value: a}, {At: noon.Add(-time.Minute), Value: b}}
		s.Band, s.Limits, s.Last, s.NoData = &Band{Low: a, High: limit, Label: words}, []Limit{{limit, words}}, words, words
		s.Marks = []Mark{{At: noon.Add(-time.Minute), Label: words, Symbol: Watch, Ring: true}}
		if err := PNG(&bytes.Buffer{}, s); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkPNG(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := PNG(io.Discard, mailSpec()); err != nil {
			b.Fatal(err)
		}
	}
}
