package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Counters returns what was told last of how much a device was used before a moment: the time of the reading it goes up to, and the
// values by wire.CounterField. Nil when nothing was.
func (h *History) Counters(ctx context.Context, key fleet.DeviceKey, before time.Time) (at time.Time, values map[string]float64, err error) {
	if err := names("tenant", key.Tenant, "serial", key.Serial); err != nil {
		return at, nil, err
	}
	q := "SELECT * FROM " + quoteIdent(wire.MeasurementCounter) + " WHERE " + ofDevice(key) + during(time.Time{}, before) + " ORDER BY time DESC LIMIT 1"
	err = h.query(ctx, "counters", q, func(s *series) error {
		for _, row := range s.Values {
			if at, err = timeOf(row[0]); err != nil {
				return err
			}
			values = map[string]float64{}
			for i, name := range s.Columns {
				if v, ok := valueOf(row[i]); ok && i > 0 && v.Type == fleet.Float {
					values[name] = v.Float
				}
			}
		}
		return nil
	})
	if err != nil {
		return at, nil, fmt.Errorf("counters of %s: %w", key, err)
	}
	return at, values, nil
}

// pastPage is how many points of one measurement are asked for at a time.
const pastPage = 5000

// Readings calls each with a device's telemetry, events and presence for from <= time < to, oldest first; those of one moment in
// this order. Numbers are floats (as in Latest). It holds a page of each at a time. A reading is valid during the call.
func (h *History) Readings(ctx context.Context, key fleet.DeviceKey, model string, from, to time.Time, each func(*fleet.Reading) error) error {
	if err := names("tenant", key.Tenant, "serial", key.Serial, "model", model); err != nil {
		return err
	}
	var open []*pages
	for _, m := range []struct {
		measurement string
		class       fleet.Class
	}{{model, fleet.Telemetry}, {wire.MeasurementEvent, fleet.Event}, {wire.MeasurementPresence, fleet.Presence}} {
		open = append(open, &pages{h: h, measurement: m.measurement, more: true, first: fleet.Reading{Device: key, Model: model, Class: m.class}, from: from, to: to})
	}
	for {
		var next *pages
		for _, p := range open {
			if err := p.fill(ctx); err != nil {
				return fmt.Errorf("readings of %s: %w", key, err)
			}
			if len(p.rows) > 0 && (next == nil || p.rows[0].Time.Before(next.rows[0].Time)) {
				next = p
			}
		}
		if next == nil {
			return nil
		}
		if r := &next.rows[0]; r.Model == model && len(r.Fields) > 0 {
			if err := each(r); err != nil {
				return err
			}
		}
		next.rows = next.rows[1:]
	}
}

// pages reads one measurement of a device, page by page.
type pages struct {
	h           *History
	measurement string
	first       fleet.Reading // what all have in common
	from, to    time.Time
	rows        []fleet.Reading
	more        bool
}

// fill reads the next page when there is nothing left of the one before.
func (p *pages) fill(ctx context.Context) error {
	if len(p.rows) > 0 || !p.more {
		return nil
	}
	q := "SELECT * FROM " + quoteIdent(p.measurement) + " WHERE " + ofDevice(p.first.Device) + during(p.from, p.to) + fmt.Sprintf(" LIMIT %d", pastPage)
	var rows []fleet.Reading // what is left of the last page may still be in use
	err := p.h.query(ctx, "readings", q, func(s *series) error {
		for _, row := range s.Values {
			r := p.first
			at, err := timeOf(row[0])
			if err != nil {
				return err
			}
			if err := fillReading(&r, s.Columns, row); err != nil {
				return err
			}
			rows, p.from = append(rows, r), at.Add(1)
		}
		return nil
	})
	p.rows, p.more = rows, len(rows) == pastPage
	return err
}

// Findings returns the newest finding of each rule about a device, of those with a time before the given one. They have what history
// keeps of them: device, model, rule, kind, severity, problem, id, revision, phase, whether it is live, and its time; OpenedAt of
// those that are not cleared, when that was told.
func (h *History) Findings(ctx context.Context, key fleet.DeviceKey, before time.Time) ([]fleet.Finding, error) {
	if err := names("tenant", key.Tenant, "serial", key.Serial); err != nil {
		return nil, err
	}
	var out []fleet.Finding
	from := " FROM " + quoteIdent(wire.MeasurementFinding) + " WHERE " + ofDevice(key)
	q := "SELECT *" + from + during(time.Time{}, before) + ` GROUP BY "rule" ORDER BY time DESC LIMIT 1`
	err := h.query(ctx, "findings", q, func(s *series) error {
		for _, row := range s.Values {
			f := fleet.Finding{Device: key, Rule: s.Tags["rule"]}
			if err := fillFinding(&f, s.Columns, row); err != nil {
				return err
			}
			out = append(out, f)
		}
		return nil
	})
	for i := range out {
		f := &out[i]
		if err != nil || f.Phase == fleet.Cleared {
			continue
		}
		q := `SELECT "phase"` + from + ` AND "id" = ` + quoteString(f.ID) + " ORDER BY time LIMIT 1"
		err = h.query(ctx, "findings", q, func(s *series) error {
			var err error
			for _, row := range s.Values {
				if f.OpenedAt, err = timeOf(row[0]); err != nil {
					return err
				}
				f.OpenedAt = f.OpenedAt.Truncate(time.Millisecond)
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("findings about %s: %w", key, err)
	}
	return out, nil
}

func fillFinding(f *fleet.Finding, columns []string, row []any) error {
	for i, name := range columns {
		if i >= len(row) || row[i] == nil {
			continue
		}
		word, _ := row[i].(string)
		switch name {
		case "time":
			at, err := timeOf(row[i])
			if err != nil {
				return err
			}
			f.At = at.Truncate(time.Millisecond)
		case "id":
			f.ID = word
		case "revision":
			n, ok := row[i].(json.Number)
			if !ok {
				return errors.New("a revision that is no number")
			}
			f.Revision = int(intOf(n))
		case "phase":
			f.Phase = fleet.Phase(word)
		case "problem":
			f.Problem = word
		case "model":
			f.Model = word
		case "kind":
			f.Kind = fleet.Kind(word)
		case "live":
			f.Live, _ = row[i].(bool)
		case "severity":
			if err := f.Severity.UnmarshalText([]byte(word)); err != nil {
				return err
			}
		}
	}
	return nil
}
