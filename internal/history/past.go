package history

import (
	"context"
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
