package chart

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

var update = flag.Bool("update", false, "write the golden files")

var noon = time.Date(2025, 3, 14, 12, 0, 0, 0, time.UTC)

func draw(t *testing.T, s Spec) string {
	t.Helper()
	var b bytes.Buffer
	if err := Line(&b, s); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, b.Bytes())
	return b.String()
}

func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	dec := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, svg)
		}
	}
	for _, bad := range []string{"NaN", "Inf"} {
		if bytes.Contains(svg, []byte(bad)) {
			t.Fatalf("%s in the drawing:\n%s", bad, svg)
		}
	}
}

// washer is two days of draining times with a night without link and a filter that clogs.
func washer() Spec {
	var pts []fleet.Point
	for i := range 48 * 2 {
		at := noon.Add(time.Duration(i-96) * 30 * time.Minute)
		if at.Day() == 13 && at.Hour() < 7 {
			continue
		}
		v := 55 + 3*math.Sin(float64(i)/3)
		if i > 70 {
			v += float64(i-70) * 1.5
		}
		pts = append(pts, fleet.Point{At: at, Value: v})
	}
	return Spec{
		ID: "drain", Title: "Draining time", Desc: "Rose from 55 s to 94 s; the limit is 77 s.",
		From: noon.Add(-48 * time.Hour), To: noon, Points: pts,
		Band: &Band{Low: 50, High: 60, Label: "normal 50 to 60 s"}, Limits: []Limit{{Value: 77, Label: "limit 77 s"}},
		Marks: []Mark{
			{At: noon.Add(-30 * time.Hour), Label: "power cut", Symbol: Info},
			{At: noon.Add(-8 * time.Hour), Label: "drains slowly", Symbol: Due, Ring: true},
		},
		Last: "94 s", NoData: "no readings",
	}
}

func TestGolden(t *testing.T) {
	narrow := washer()
	narrow.Width, narrow.Height, narrow.Locale = 328, 200, "de"
	empty := Spec{ID: "e", Title: "Nothing", From: noon.Add(-time.Hour), To: noon, NoData: "no readings"}
	for name, s := range map[string]Spec{"wide": washer(), "narrow-de": narrow, "empty": empty} {
		t.Run(name, func(t *testing.T) {
			got := draw(t, s)
			path := filepath.Join("testdata", name+".golden.svg")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path) //nolint:gosec // a file of this test
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("drawing differs from %s; look at it, then run with -update", path)
			}
		})
	}
}

func TestGapsAreNotJoined(t *testing.T) {
	got := draw(t, washer())
	if n := strings.Count(got, `class="c-line"`); n != 2 {
		t.Errorf("%d lines, want 2: one before the silent night, one after", n)
	}
	if !strings.Contains(got, ">no readings</text>") {
		t.Error("the gap does not say so")
	}
}

func TestMissingValuesBreakTheLine(t *testing.T) {
	s := Spec{From: noon.Add(-10 * time.Minute), To: noon, Gap: 90 * time.Second}
	for i := range 10 {
		v := float64(i)
		if i == 5 {
			v = math.NaN()
		}
		s.Points = append(s.Points, fleet.Point{At: noon.Add(time.Duration(i-10) * time.Minute), Value: v})
	}
	if n := strings.Count(draw(t, s), `class="c-line"`); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
}

func TestHostileWordsStayWords(t *testing.T) {
	s := washer()
	evil := `</text><script>alert(1)</script>"'&` + "\x00\xff"
	s.ID, s.Title, s.Desc, s.Last, s.NoData = evil, evil, evil, evil, evil
	s.Band.Label, s.Limits[0].Label, s.Marks[0].Label, s.Marks[0].Symbol = evil, evil, evil, Symbol(evil)
	if strings.Contains(draw(t, s), "<script") {
		t.Error("markup came through")
	}
}

func TestRangeMustBeInOrder(t *testing.T) {
	err := Line(io.Discard, Spec{From: noon, To: noon})
	if fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("got %v", err)
	}
}

func TestManyPointsAreThinned(t *testing.T) {
	s := Spec{From: noon.Add(-24 * time.Hour), To: noon}
	for i := range 86400 {
		v := 1.0
		if i == 40000 {
			v = 99
		}
		s.Points = append(s.Points, fleet.Point{At: s.From.Add(time.Duration(i) * time.Second), Value: v})
	}
	got := draw(t, s)
	if len(got) > 60_000 {
		t.Errorf("%d bytes", len(got))
	}
	d := newDrawing(io.Discard, s)
	peak := false
	for _, p := range d.thin(d.runs[0]) {
		peak = peak || p.Value == 99
	}
	if !peak {
		t.Error("the one high point was thinned away")
	}
}

func TestMarkWordsDoNotOverlap(t *testing.T) {
	s := washer()
	s.Marks = nil
	for i := range 10 {
		s.Marks = append(s.Marks, Mark{At: noon.Add(time.Duration(-i) * time.Hour), Label: "something happened here", Symbol: Watch})
	}
	d := newDrawing(io.Discard, s)
	type span struct{ a, b float64 }
	lanes := map[int][]span{}
	for _, m := range d.marks {
		if m.label == "" {
			continue
		}
		a, b := m.x, m.x+10+textWidth(m.label)
		if m.left {
			a, b = m.x-10-textWidth(m.label), m.x
		}
		for _, o := range lanes[m.lane] {
			if a < o.b && b > o.a {
				t.Errorf("words at %.0f..%.0f and %.0f..%.0f overlap in lane %d", a, b, o.a, o.b, m.lane)
			}
		}
		lanes[m.lane] = append(lanes[m.lane], span{a, b})
	}
}

func TestTimeTicksAreWhatAPersonWouldChoose(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones here")
	}
	labels := func(span time.Duration, n int, locale string) string {
		to := time.Date(2025, 3, 31, 9, 30, 0, 0, berlin) // the night before had 23 hours
		ticks := timeTicks(to.Add(-span), to, n, locale)
		out := make([]string, 0, len(ticks))
		for _, tick := range ticks {
			out = append(out, tick.label)
		}
		return strings.Join(out, "|")
	}
	for _, c := range []struct{ got, want string }{
		{labels(24*time.Hour, 8, "en"), "12:00|15:00|18:00|21:00|Mon 31|03:00|06:00|09:00"},
		{labels(48*time.Hour, 5, "de"), "12:00|So 30.|12:00|Mo 31."},
		{labels(7*24*time.Hour, 8, "en"), "Tue 25|Wed 26|Thu 27|Fri 28|Sat 29|Sun 30|Mon 31"},
		{labels(90*24*time.Hour, 7, "de"), "14. Jan|28. Jan|11. Feb|25. Feb|11. März|25. März"},
	} {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add(1.0, 2.0, math.NaN(), 3.0, int64(3600), int64(60), "x")
	f.Add(math.Inf(1), -1e308, 1e308, 0.0, int64(1), int64(0), "<b>")
	f.Add(1e15, 1e15+0.125, 1e-300, -1e99, int64(1<<40), int64(1<<33), "ä\xff")
	f.Add(0.0, 0.0, 0.0, 0.0, int64(86400*365*200), int64(-5), "")
	f.Fuzz(func(t *testing.T, a, b, limit, low float64, span, at int64, words string) {
		s := Spec{From: noon, To: noon.Add(time.Duration(span)), Title: words, Last: words, NoData: words, Locale: words,
			Width: int(at), Height: int(span),
			Band: &Band{Low: low, High: a, Label: words}, Limits: []Limit{{limit, words}, {low, words}},
			Marks:  []Mark{{At: noon.Add(time.Duration(at)), Label: words, Symbol: Fault, Ring: true}},
			Points: []fleet.Point{{At: noon, Value: a}, {At: noon.Add(time.Duration(at)), Value: b}, {At: noon.Add(time.Duration(span / 2)), Value: low}}}
		s.Width, s.Height = min(s.Width, 4000), min(s.Height, 4000)
		var out bytes.Buffer
		if err := Line(&out, s); err != nil {
			if fleet.CodeOf(err) != fleet.CodeInvalid {
				t.Fatal(err)
			}
			return
		}
		wellFormed(t, out.Bytes())
	})
}
