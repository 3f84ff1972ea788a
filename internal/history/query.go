package history

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Series returns one field of a device for from <= time < to, oldest first: the mean of each bucket of length every, at the
// bucket's start, without empty buckets; or every single value when every is 0. Booleans are 0 and 1, strings are left
// out. More points than Config.MaxPoints are CodeInvalid: ask for longer buckets or less time. A device, model or field
// without data gives no points.
func (h *History) Series(ctx context.Context, key fleet.DeviceKey, model, field string, from, to time.Time, every time.Duration) ([]fleet.Point, error) {
	if err := names("tenant", key.Tenant, "serial", key.Serial, "model", model); err != nil {
		return nil, err
	}
	if err := fieldName(field); err != nil {
		return nil, err
	}
	if !from.Before(to) {
		return nil, fleet.Errorf(fleet.CodeInvalid, "from %s is not before %s", from, to)
	}
	if every > 0 && to.Sub(from)/every >= time.Duration(h.cfg.MaxPoints) {
		return nil, tooMany(h.cfg.MaxPoints)
	}
	if every > 0 && every < time.Millisecond {
		return nil, fleet.Errorf(fleet.CodeInvalid, "buckets of %v: want at least 1ms", every)
	}
	points, err := h.points(ctx, seriesQuery(key, model, field, from, to, every, h.cfg.MaxPoints))
	if err != nil && strings.Contains(err.Error(), "unsupported mean") {
		// InfluxQL has no mean of booleans, nor of strings.
		points, err = h.points(ctx, seriesQuery(key, model, field, from, to, 0, h.cfg.MaxPoints))
		points = bucket(points, every)
	}
	if err != nil {
		return nil, fmt.Errorf("series %s of %s: %w", field, key, err)
	}
	return points, nil
}

func seriesQuery(key fleet.DeviceKey, model, field string, from, to time.Time, every time.Duration, limit int) string {
	where := " FROM " + quoteIdent(model) + " WHERE " + ofDevice(key) + during(from, to)
	if every > 0 {
		return fmt.Sprintf("SELECT mean(%s)%s GROUP BY time(%dms) FILL(none)", quoteIdent(field), where, every.Milliseconds())
	}
	return fmt.Sprintf("SELECT %s%s LIMIT %d", quoteIdent(field), where, limit+1)
}

func tooMany(limit int) error {
	return fleet.Errorf(fleet.CodeInvalid, "more than %d points: ask for longer buckets or less time", limit)
}

func (h *History) points(ctx context.Context, q string) ([]fleet.Point, error) {
	var out []fleet.Point
	err := h.query(ctx, "series", q, func(s *series) error {
		for _, row := range s.Values {
			if len(row) != 2 {
				return fmt.Errorf("a row of %d values, want 2", len(row))
			}
			at, err := timeOf(row[0])
			if err != nil {
				return err
			}
			v, _ := valueOf(row[1])
			if f, ok := v.Number(); ok {
				out = append(out, fleet.Point{At: at, Value: f})
			}
		}
		if len(out) > h.cfg.MaxPoints {
			return tooMany(h.cfg.MaxPoints)
		}
		return nil
	})
	return out, err
}

// bucket replaces points, which are in order of time, by the means of their buckets.
func bucket(points []fleet.Point, every time.Duration) []fleet.Point {
	var out []fleet.Point
	for i := 0; i < len(points); {
		start := points[i].At.UnixNano() / int64(every) * int64(every)
		sum, n := 0.0, 0
		for ; i < len(points) && points[i].At.UnixNano() < start+int64(every); i++ {
			sum += points[i].Value
			n++
		}
		out = append(out, fleet.Point{At: time.Unix(0, start).UTC(), Value: sum / float64(n)})
	}
	return out
}

// Latest returns the newest reading of a device; CodeNotFound when there is none. Its numbers are floats (an answer in JSON
// does not tell 12 from 12.0: the model's profile knows), its time is cut to the millisecond. model may also be
// wire.MeasurementEvent, MeasurementStatus or MeasurementPresence, for the newest report of that class.
func (h *History) Latest(ctx context.Context, key fleet.DeviceKey, model string) (fleet.Reading, error) {
	r := fleet.Reading{Device: key, Model: model}
	switch model {
	case wire.MeasurementEvent:
		r.Class, r.Model = fleet.Event, ""
	case wire.MeasurementStatus:
		r.Class, r.Model = fleet.Status, ""
	case wire.MeasurementPresence:
		r.Class, r.Model = fleet.Presence, ""
	}
	if err := names("tenant", key.Tenant, "serial", key.Serial, "model", model); err != nil {
		return fleet.Reading{}, err
	}
	found := false
	q := "SELECT * FROM " + quoteIdent(model) + " WHERE " + ofDevice(key) + " ORDER BY time DESC LIMIT 1"
	err := h.query(ctx, "latest", q, func(s *series) error {
		for _, row := range s.Values {
			found = true
			return fillReading(&r, s.Columns, row)
		}
		return nil
	})
	if err != nil {
		return fleet.Reading{}, fmt.Errorf("latest reading of %s: %w", key, err)
	}
	if !found {
		return fleet.Reading{}, fleet.Errorf(fleet.CodeNotFound, "no reading of %s as %s", key, model)
	}
	return r, nil
}

func fillReading(r *fleet.Reading, columns []string, row []any) error {
	for i, name := range columns {
		if i >= len(row) || row[i] == nil {
			continue
		}
		switch name {
		case "time":
			at, err := timeOf(row[i])
			if err != nil {
				return err
			}
			r.Time = at.Truncate(time.Millisecond)
		case "tenant", "serial":
		case "model":
			r.Model, _ = row[i].(string)
		case "boot":
			r.Boot, r.HasSeq = intOf(row[i]), true
		case "seq":
			r.Seq, r.HasSeq = intOf(row[i]), true
		default:
			if v, ok := valueOf(row[i]); ok {
				r.Fields = append(r.Fields, fleet.Field{Name: name, Value: v})
			}
		}
	}
	return nil
}

// LastSeen returns, for every device of a tenant that has sent telemetry as one of models, the device's time of its newest
// reading, by serial.
func (h *History) LastSeen(ctx context.Context, tenant string, models []string) (map[string]time.Time, error) {
	if err := names("tenant", tenant); err != nil {
		return nil, err
	}
	var q string
	for _, m := range models {
		if err := names("model", m); err != nil {
			return nil, err
		}
		// The limit is for each series; one statement for all models would make a column for every field of all of them.
		q += "SELECT * FROM " + quoteIdent(m) + ` WHERE "tenant" = ` + quoteString(tenant) + ` GROUP BY "serial" ORDER BY time DESC LIMIT 1;`
	}
	out := map[string]time.Time{}
	if q == "" {
		return out, nil
	}
	err := h.query(ctx, "last_seen", q, func(s *series) error {
		for _, row := range s.Values {
			at, err := timeOf(row[0])
			if err != nil {
				return err
			}
			if serial := s.Tags["serial"]; at.After(out[serial]) {
				out[serial] = at.Truncate(time.Millisecond)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("last seen of tenant %q: %w", tenant, err)
	}
	return out, nil
}

// Statistics summarises the numbers of a field over a time.
type Statistics struct {
	Count    int64
	Mean     float64
	StdDev   float64
	Min, Max float64
	P50, P95 float64 // nearest rank
}

// Statistics returns the summary of a numeric field of a device for from <= time < to; Count is 0 when there is no value.
func (h *History) Statistics(ctx context.Context, key fleet.DeviceKey, model, field string, from, to time.Time) (Statistics, error) {
	var st Statistics
	if err := names("tenant", key.Tenant, "serial", key.Serial, "model", model); err != nil {
		return st, err
	}
	if err := fieldName(field); err != nil {
		return st, err
	}
	f := quoteIdent(field)
	q := fmt.Sprintf("SELECT count(%s) AS n, mean(%s) AS mean, stddev(%s) AS sd, min(%s) AS lo, max(%s) AS hi, percentile(%s, 50) AS p50, percentile(%s, 95) AS p95 FROM %s WHERE %s",
		f, f, f, f, f, f, f, quoteIdent(model), ofDevice(key)+during(from, to))
	err := h.query(ctx, "statistics", q, func(s *series) error {
		for _, row := range s.Values {
			if len(row) != 8 {
				return fmt.Errorf("a row of %d values, want 8", len(row))
			}
			st.Count = intOf(row[1])
			for i, dst := range []*float64{&st.Mean, &st.StdDev, &st.Min, &st.Max, &st.P50, &st.P95} {
				v, _ := valueOf(row[2+i])
				*dst, _ = v.Number()
			}
		}
		return nil
	})
	if err != nil {
		return Statistics{}, fmt.Errorf("statistics of %s of %s: %w", field, key, err)
	}
	return st, nil
}

// Count returns how many readings with a sequence number a tenant has in models.
func (h *History) Count(ctx context.Context, tenant string, models []string) (int64, error) {
	if err := names("tenant", tenant); err != nil {
		return 0, err
	}
	var q string
	for _, m := range models {
		if err := names("model", m); err != nil {
			return 0, err
		}
		q += `SELECT count("seq") FROM ` + quoteIdent(m) + ` WHERE "tenant" = ` + quoteString(tenant) + ";"
	}
	if q == "" {
		return 0, nil
	}
	var n int64
	err := h.query(ctx, "count", q, func(s *series) error {
		for _, row := range s.Values {
			n += intOf(row[len(row)-1])
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("count the readings of tenant %q: %w", tenant, err)
	}
	return n, nil
}

// Seq identifies one reading of a device.
type Seq struct{ Boot, Seq int64 }

// Seqs returns the identities of all stored readings of a model's devices that carry one, by serial, oldest first and without
// a limit; serial "" means all devices. It is for checks that nothing was lost.
func (h *History) Seqs(ctx context.Context, tenant, model, serial string) (map[string][]Seq, error) {
	if err := names("tenant", tenant, "model", model); err != nil {
		return nil, err
	}
	where := `"tenant" = ` + quoteString(tenant)
	if serial != "" {
		if err := names("serial", serial); err != nil {
			return nil, err
		}
		where = ofDevice(fleet.DeviceKey{Tenant: tenant, Serial: serial})
	}
	out := map[string][]Seq{}
	q := `SELECT "boot", "seq" FROM ` + quoteIdent(model) + " WHERE " + where + ` GROUP BY "serial"`
	err := h.query(ctx, "seqs", q, func(s *series) error {
		for _, row := range s.Values {
			if len(row) != 3 {
				return fmt.Errorf("a row of %d values, want 3", len(row))
			}
			if row[1] == nil || row[2] == nil {
				continue // just being written: InfluxDB shows a point's fields one after the other
			}
			out[s.Tags["serial"]] = append(out[s.Tags["serial"]], Seq{intOf(row[1]), intOf(row[2])})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sequence numbers of %s/%s: %w", tenant, serial, err)
	}
	return out, nil
}

func timeOf(v any) (time.Time, error) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, fmt.Errorf("a time of type %T", v)
	}
	ns, err := n.Int64()
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q: %w", n, err)
	}
	return time.Unix(0, ns).UTC(), nil
}

// intOf returns a whole number, 0 for anything else.
func intOf(v any) int64 {
	n, _ := v.(json.Number)
	i, err := n.Int64()
	if err != nil {
		f, _ := n.Float64()
		i = int64(math.Round(f))
	}
	return i
}

func valueOf(v any) (fleet.Value, bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		return fleet.Value{Type: fleet.Float, Float: f}, err == nil
	case bool:
		b := fleet.Value{Type: fleet.Boolean}
		if v {
			b.Int = 1
		}
		return b, true
	case string:
		return fleet.Value{Type: fleet.String, Str: v}, true
	}
	return fleet.Value{Type: fleet.String}, false
}
