package app

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"log/slog"
	"os"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// past answers every question with the same points, or not at all.
type pastOf struct {
	points []fleet.Point
	err    error
	asked  string
}

func (p *pastOf) Series(ctx context.Context, _ fleet.DeviceKey, _, field string, from, to time.Time, every time.Duration) ([]fleet.Point, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		return nil, errors.New("it would wait for ever")
	}
	p.asked = field
	if to.Sub(from)/every > 1000 {
		return nil, errors.New("too many points are asked for")
	}
	return p.points, p.err
}

func TestChartOfACase(t *testing.T) {
	now := time.Date(2026, 3, 11, 19, 0, 0, 0, time.UTC)
	models := []fleet.Model{{ID: "washer-w7", Interval: 10 * time.Minute, Fields: []fleet.FieldSpec{{Name: "drain_s", Type: fleet.Float, Unit: "s"}, {Name: "leak", Type: fleet.Boolean},
		{Name: "cycles", Type: fleet.Integer, Unit: "1"}}}}
	points := make([]fleet.Point, 0, 300)
	for i := range 300 {
		points = append(points, fleet.Point{At: now.Add(time.Duration(i-300) * time.Hour), Value: 55 + float64(i%7) + max(0, float64(i-270))})
	}
	evidence := func(name string) fleet.Evidence {
		return fleet.Evidence{Name: name, Value: 94, Unit: "s", Limit: 70, HasLimit: true, At: now}
	}
	for _, c := range []struct {
		name     string
		evidence fleet.Evidence
		past     pastOf
		opened   time.Duration // before now
		asked    string
		drawn    bool
		fails    bool
	}{
		{name: "field", evidence: evidence("drain_s"), past: pastOf{points: points}, opened: 24 * time.Hour, asked: "drain_s", drawn: true},
		{name: "expression", evidence: evidence(`avg(drain_s, "5d")`), past: pastOf{points: points}, opened: 24 * time.Hour, asked: "drain_s", drawn: true},
		{name: "open for years", evidence: evidence("drain_s"), past: pastOf{points: points}, opened: 900 * 24 * time.Hour, asked: "drain_s", drawn: true},
		{name: "two points", evidence: evidence("drain_s"), past: pastOf{points: points[:2]}, opened: time.Hour, asked: "drain_s", drawn: true},
		{name: "boolean", evidence: evidence("leak"), past: pastOf{points: points}},
		{name: "text", evidence: fleet.Evidence{Name: "drain_s", Text: "E18"}, past: pastOf{points: points}},
		{name: "unknown", evidence: evidence("wat"), past: pastOf{points: points}},
		{name: "no points", evidence: evidence("drain_s"), opened: time.Hour, asked: "drain_s"},
		{name: "no history", evidence: evidence("drain_s"), past: pastOf{err: errors.New("it is down")}, asked: "drain_s", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ch := &charts{history: &c.past, models: models, now: func() time.Time { return now }, log: slog.New(slog.DiscardHandler)}
			k := &fleet.Case{ID: "case-1", Model: "washer-w7", Rule: "r", Episodes: []fleet.Episode{{Rule: "r", OpenedAt: now.Add(-c.opened), Evidence: []fleet.Evidence{c.evidence}}}}
			who := &fleet.Person{Locale: "de-DE", Zone: "Europe/Berlin"}
			b, err := ch.Chart(t.Context(), k, who)
			if (err != nil) != c.fails || (b != nil) != c.drawn || c.past.asked != c.asked {
				t.Errorf("%d bytes, %v; asked for %q", len(b), err, c.past.asked)
			}
			if got := ch.Picture(t.Context(), k, who); !bytes.Equal(got, b) {
				t.Errorf("the picture has %d bytes, want %d", len(got), len(b))
			}
			if b == nil {
				return
			}
			if _, err := png.Decode(bytes.NewReader(b)); err != nil || len(b) > chartSize {
				t.Errorf("%v, %d bytes", err, len(b))
			}
			if name := os.Getenv("CHART_PNG"); name != "" && c.name == "field" {
				_ = os.WriteFile(name, b, 0o600)
			}
		})
	}
}
