package app

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode"

	"aftercare/internal/chart"
	"aftercare/internal/fleet"
	"aftercare/internal/words"
)

// charts draws the picture of an e-mail: the value that a case is about, before and since, with its limit and what is normal.
type charts struct {
	history interface {
		Series(ctx context.Context, key fleet.DeviceKey, model, field string, from, to time.Time, every time.Duration) ([]fleet.Point, error)
	}
	models []fleet.Model
	now    func() time.Time
	log    *slog.Logger
}

// Picture is Chart for outreach: a message goes without its picture rather than not at all.
func (c *charts) Picture(ctx context.Context, k *fleet.Case, to *fleet.Person) []byte {
	b, err := c.Chart(ctx, k, to)
	if err != nil {
		c.log.Warn("an e-mail goes without its chart", "case", k.ID, "error", err)
		return nil
	}
	return b
}

const (
	chartBefore   = 14 * 24 * time.Hour // shown before the finding: what is normal
	chartLongest  = 60 * 24 * time.Hour
	chartPoints   = 280             // as many as the picture has room for
	chartPatience = 3 * time.Second // a message does not wait longer for its picture
	chartSize     = 100 << 10       // bytes: larger ones are left out
	chartFewest   = 24              // fewer values before the finding say nothing about what is normal
)

// Chart returns a PNG of the first number that made the case's rule fire, in the reader's language and zone; nil when there is
// nothing to draw. It asks the history and takes chartPatience at most.
func (c *charts) Chart(ctx context.Context, k *fleet.Case, who *fleet.Person) ([]byte, error) {
	field, ev, since := c.subject(k)
	if field == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, chartPatience)
	defer cancel()
	to := c.now()
	from := since.Add(-chartBefore)
	if to.Sub(from) > chartLongest {
		from = to.Add(-chartLongest)
	}
	every := max(to.Sub(from)/chartPoints, time.Minute).Truncate(time.Minute)
	points, err := c.history.Series(ctx, k.Device, k.Model, field.Name, from, to, every)
	if err != nil || len(points) < 2 {
		return nil, err
	}
	loc := words.For("en", "UTC", "")
	if who != nil {
		loc = words.For(who.Locale, who.Zone, "")
	}
	label := func(en, de string) string {
		if loc.Lang == "de" {
			return de
		}
		return en
	}
	s := chart.Spec{ID: "mail", Title: field.Label.In(loc.Lang), Width: 360, Height: 190, From: from, To: to, Zone: loc.Zone, Locale: loc.Lang, Points: points,
		NoData: label("no readings", "keine Werte"), Last: loc.Quantity(points[len(points)-1].Value, field.Unit, 2),
		Marks: []chart.Mark{{At: since, Label: label("since then", "seitdem"), Symbol: chart.Info, Ring: true}}}
	if m := c.model(k.Model); m != nil {
		s.Gap = max(3*every, 3*m.Interval)
	}
	if ev.HasLimit && (ev.Unit == "" || ev.Unit == field.Unit) {
		s.Limits = []chart.Limit{{Value: ev.Limit, Label: label("limit ", "Grenze ") + loc.Quantity(ev.Limit, field.Unit, 2)}}
	}
	if low, high, ok := usual(points, since); ok {
		s.Band = &chart.Band{Low: low, High: high, Label: label("usually ", "sonst ") + loc.Number(low, 2) + "–" + loc.Quantity(high, field.Unit, 2)}
	}
	var out bytes.Buffer
	if err := chart.PNG(&out, s); err != nil {
		return nil, err
	}
	if out.Len() > chartSize {
		return nil, nil
	}
	return out.Bytes(), nil
}

// subject is the first number of the case's evidence that is a field, or is calculated from one, and since when it has been so.
func (c *charts) subject(k *fleet.Case) (*fleet.FieldSpec, *fleet.Evidence, time.Time) {
	m := c.model(k.Model)
	if m == nil {
		return nil, nil, time.Time{}
	}
	for i := len(k.Episodes) - 1; i >= 0; i-- {
		e := &k.Episodes[i]
		if e.Rule != k.Rule {
			continue
		}
		for j := range e.Evidence {
			if f := fieldOf(m, e.Evidence[j].Name); f != nil && e.Evidence[j].Text == "" {
				return f, &e.Evidence[j], e.OpenedAt
			}
		}
	}
	return nil, nil, time.Time{}
}

// fieldOf is the number that an expression is about: the first name in it that is a field.
func fieldOf(m *fleet.Model, expr string) *fleet.FieldSpec {
	if f := m.Field(expr); f != nil {
		return onlyNumbers(f)
	}
	for _, name := range strings.FieldsFunc(expr, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '.' }) {
		if f := m.Field(name); f != nil {
			return onlyNumbers(f)
		}
	}
	return nil
}

func onlyNumbers(f *fleet.FieldSpec) *fleet.FieldSpec {
	if f.Type != fleet.Float && f.Type != fleet.Integer {
		return nil
	}
	return f
}

func (c *charts) model(id string) *fleet.Model {
	if i := slices.IndexFunc(c.models, func(m fleet.Model) bool { return m.ID == id }); i >= 0 {
		return &c.models[i]
	}
	return nil
}

// usual is where four fifths of the values before the finding lie.
func usual(points []fleet.Point, since time.Time) (low, high float64, ok bool) {
	var before []float64
	for _, p := range points {
		if p.At.Before(since) {
			before = append(before, p.Value)
		}
	}
	if len(before) < chartFewest {
		return 0, 0, false
	}
	sort.Float64s(before)
	return before[len(before)/10], before[len(before)-1-len(before)/10], true
}
