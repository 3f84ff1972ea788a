package web

import (
	"bytes"
	"context"
	"html/template"
	"math"
	"sort"
	"strings"
	"time"

	"aftercare/internal/chart"
	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

// series is what a chart is asked for.
type series struct {
	id       string
	device   *fleet.Device
	model    *fleet.Model
	field    *fleet.FieldSpec
	from, to time.Time
	every    time.Duration
	cases    []fleet.Case
	last     string // the present value in words
	only     bool   // mark all episodes of cases, whatever fields their evidence names
}

// figure is one chart with its caption and the table behind it.
type figure struct {
	*view
	Label  string
	Last   string
	Wide   template.HTML
	Narrow template.HTML
	Rows   []figureRow
	Unit   string
	Empty  bool
	Marks  []markLine
}

type figureRow struct {
	At    time.Time
	Value string
}

// markLine is a chart's mark as a line of text.
type markLine struct {
	At    time.Time
	State state
	Text  string
}

const (
	normalDays   = 14 * 24 * time.Hour
	normalEvery  = time.Hour
	normalFewest = 24 // fewer hours than a day's worth say nothing about what is normal
	tableRows    = 60

	// seriesPatience is how long a page waits for its charts: without them it still says what to do.
	seriesPatience = 5 * time.Second
)

func (s *Web) figure(ctx context.Context, v *view, q series) (figure, error) {
	f := figure{view: v, Label: v.fieldLabel(q.field), Last: q.last, Unit: q.field.Unit}
	points, err := s.deps.History.Series(ctx, q.device.Key, q.model.ID, q.field.Name, q.from, q.to, q.every)
	if err != nil {
		return f, err
	}
	f.Empty = len(points) == 0
	spec := chart.Spec{ID: q.id, Title: f.Label + ", " + v.When(q.from) + " – " + v.When(q.to), From: q.from, To: q.to, Zone: v.Loc.Zone, Locale: v.Loc.Lang,
		Points: points, Gap: max(3*q.every, 3*q.model.Interval), NoData: v.T("chart.nodata"), Last: q.last}
	if q.field.Type == fleet.Float || q.field.Type == fleet.Integer {
		past, err := s.deps.History.Series(ctx, q.device.Key, q.model.ID, q.field.Name, q.to.Add(-normalDays), q.to, normalEvery)
		if err != nil {
			return f, err
		}
		spec.Band = v.normal(past, q)
	}
	spec.Limits = v.limitsOf(q)
	s.mark(v, &spec, &f, q)
	spec.Desc = describe(v, points, &spec, q)
	if f.Wide, f.Narrow, err = drawBoth(spec); err != nil {
		return f, err
	}
	f.table(points, q.field)
	return f, nil
}

// drawBoth draws a chart for a wide and for a narrow page: one that is scaled down has letters nobody can read.
func drawBoth(spec chart.Spec) (wide, narrow template.HTML, err error) {
	var a, b bytes.Buffer
	spec.Width, spec.Height = 720, 240
	if err := chart.Line(&a, spec); err != nil {
		return "", "", err
	}
	spec.Width, spec.Height, spec.ID = 340, 220, spec.ID+"-n"
	if err := chart.Line(&b, spec); err != nil {
		return "", "", err
	}
	return template.HTML(a.String()), template.HTML(b.String()), nil //nolint:gosec // chart escapes all words
}

// normal is where the device's own values usually are: the middle eight tenths of the hours of the last two weeks in which no
// case was open. Nil when that is too little to say.
func (v *view) normal(past []fleet.Point, q series) *chart.Band {
	var vals []float64
	for _, p := range past {
		if !math.IsNaN(p.Value) && !duringEpisode(p.At, q.cases) {
			vals = append(vals, p.Value)
		}
	}
	if len(vals) < normalFewest {
		return nil
	}
	sort.Float64s(vals)
	low, high := vals[len(vals)/10], vals[len(vals)-1-len(vals)/10]
	return &chart.Band{Low: low, High: high, Label: v.usually(low, high, q.field.Unit)}
}

// usually names a range with as few digits as tell its ends apart.
func (v *view) usually(low, high float64, unit string) string {
	for digits := 2; digits <= 3; digits++ {
		a, b := v.digits(low, "", digits), v.digits(high, unit, digits)
		if a != v.digits(high, "", digits) {
			return strings.NewReplacer("#1", a, "#2", b).Replace(v.T("chart.normal"))
		}
	}
	return strings.ReplaceAll(v.T("chart.normal.one"), "#", v.digits(high, unit, 3))
}

func duringEpisode(at time.Time, cases []fleet.Case) bool {
	for i := range cases {
		for _, e := range cases[i].Episodes {
			if !at.Before(e.OpenedAt.Add(-normalEvery)) && (e.ClearedAt.IsZero() || at.Before(e.ClearedAt)) {
				return true
			}
		}
	}
	return false
}

// about reports whether evidence is about a field: the field itself or an expression that names it.
func about(ev *fleet.Evidence, field string) bool {
	if ev.Name == field {
		return true
	}
	for rest := ev.Name; ; {
		i := strings.Index(rest, field)
		if i < 0 {
			return false
		}
		before, after := rest[:i], rest[i+len(field):]
		if (before == "" || !nameByte(before[len(before)-1])) && (after == "" || !nameByte(after[0])) {
			return true
		}
		rest = after
	}
}

func nameByte(c byte) bool {
	return c == '_' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// limitsOf are the limits that the newest episodes were measured against, one line for each value.
func (v *view) limitsOf(q series) []chart.Limit {
	var out []chart.Limit
	have := map[string]bool{}
	for i := range q.cases {
		eps := q.cases[i].Episodes
		if len(eps) == 0 {
			continue
		}
		ep := eps[len(eps)-1]
		if !ep.ClearedAt.IsZero() && ep.ClearedAt.Before(q.from) {
			continue
		}
		for _, ev := range ep.Evidence {
			if !ev.HasLimit || !about(&ev, q.field.Name) || ev.Unit != "" && ev.Unit != q.field.Unit {
				continue
			}
			label := v.T("chart.limit") + " " + v.Value(ev.Limit, q.field.Unit)
			if !have[label] {
				have[label] = true
				out = append(out, chart.Limit{Value: ev.Limit, Label: label})
			}
		}
	}
	return out
}

// mark puts the episodes of the cases into the chart and, as lines, below it.
func (s *Web) mark(v *view, spec *chart.Spec, f *figure, q series) {
	add := func(at time.Time, st state, text string, ring bool) {
		if at.Before(q.from) || at.After(q.to) || at.IsZero() {
			return
		}
		spec.Marks = append(spec.Marks, chart.Mark{At: at, Label: text, Symbol: st, Ring: ring})
		f.Marks = append(f.Marks, markLine{at, st, text})
	}
	for i := range q.cases {
		c := &q.cases[i]
		name := s.short(c, q.device, v)
		for _, e := range c.Episodes {
			ours := aboutAny(e.Evidence, q.field.Name)
			if !ours && !q.only {
				continue
			}
			add(e.OpenedAt, severityState(e.Severity), name, ours)
			add(e.ClearedAt, chart.Good, v.T("chart.cleared"), false)
		}
	}
	sort.SliceStable(f.Marks, func(i, j int) bool { return f.Marks[i].At.Before(f.Marks[j].At) })
}

func aboutAny(evs []fleet.Evidence, field string) bool {
	for i := range evs {
		if about(&evs[i], field) {
			return true
		}
	}
	return false
}

const shortWords = 36 // characters that fit beside a mark on a phone

// short is a case's problem in the few words that fit beside a mark: its first sentence without the name of the thing, which
// stands above; else what it is about and how bad.
func (s *Web) short(c *fleet.Case, d *fleet.Device, v *view) string {
	t := s.title(c, d, v)
	if d != nil {
		t = withoutThing(t, words.Clean(d.Name, 60), s.label(d.Model, v.Loc.Lang), words.Clean(d.Room, 40))
		// What to do at once stands before what it is about: "Close the tap: the washing machine leaks".
		if _, about, ok := strings.Cut(t, ": "); ok {
			if rest := withoutThing(about, words.Clean(d.Name, 60), s.label(d.Model, v.Loc.Lang), words.Clean(d.Room, 40)); rest != about {
				t = rest
			}
		}
	}
	t, _, _ = strings.Cut(t, ". ")
	t = strings.TrimSuffix(t, ".")
	if n := len([]rune(t)); n > 0 && n <= shortWords {
		return t
	}
	return v.KindWord(c.Kind) + ", " + v.Loc.Severity(c.Severity).Word
}

// withoutThing takes the thing's name from the front of a sentence: "The freezer in the pantry is warm" becomes "is warm".
func withoutThing(sentence, name, label, room string) string {
	rest := sentence
	for _, article := range []string{"The ", "Der ", "Die ", "Das "} {
		rest, _ = cutFold(rest, article)
	}
	after, ok := cutFold(rest, name)
	if !ok {
		if after, ok = cutFold(rest, label); !ok {
			return sentence
		}
	}
	for _, in := range []string{" in the ", " on the ", " in der ", " im ", " auf dem ", " auf der ", " in "} {
		if r, ok := cutFold(after, in+room); ok && room != "" {
			after = r
			break
		}
	}
	return strings.TrimSpace(after)
}

// cutFold cuts a prefix whatever the case of its letters.
func cutFold(s, prefix string) (string, bool) {
	if prefix == "" || len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// describe says in words what the chart shows, for those who do not see it.
func describe(v *view, points []fleet.Point, spec *chart.Spec, q series) string {
	if len(points) == 0 {
		return v.T("chart.empty")
	}
	lo, hi := points[0].Value, points[0].Value
	for _, p := range points {
		lo, hi = math.Min(lo, p.Value), math.Max(hi, p.Value)
	}
	out := strings.NewReplacer("#1", v.Value(lo, q.field.Unit), "#2", v.Value(hi, q.field.Unit)).Replace(v.T("chart.desc"))
	if spec.Band != nil {
		out += " " + upperFirst(spec.Band.Label) + "."
	}
	for _, l := range spec.Limits {
		out += " " + upperFirst(l.Label) + "."
	}
	return out
}

// table lists the newest points, thinned to a length a person would read.
func (f *figure) table(points []fleet.Point, spec *fleet.FieldSpec) {
	step := max(1, (len(points)+tableRows-1)/tableRows)
	for i := len(points) - 1; i >= 0; i -= step {
		f.Rows = append(f.Rows, figureRow{points[i].At, f.Value(points[i].Value, spec.Unit)})
	}
}
