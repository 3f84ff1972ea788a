package history

import (
	"context"
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Readings returns what came from a device, and our own readings of whether it could be reached, from from up to but not including
// to, oldest first: at most limit of each class, the newest ones. As in Latest the profile knows the types.
func (h *History) Readings(ctx context.Context, key fleet.DeviceKey, model string, from, to time.Time, limit int) (out []fleet.Reading, err error) {
	if err := names("tenant", key.Tenant, "serial", key.Serial, "model", model); err != nil {
		return nil, err
	}
	for _, m := range []struct {
		name  string
		class fleet.Class
	}{{model, fleet.Telemetry}, {wire.MeasurementEvent, fleet.Event}, {wire.MeasurementPresence, fleet.Presence}} {
		q := "SELECT * FROM " + quoteIdent(m.name) + " WHERE " + ofDevice(key) + during(from, to) + fmt.Sprintf(" ORDER BY time DESC LIMIT %d", limit)
		err := h.query(ctx, "readings", q, func(s *series) error {
			for _, row := range s.Values {
				r := fleet.Reading{Device: key, Model: model, Class: m.class}
				if err := fillReading(&r, s.Columns, row); err != nil {
					return err
				}
				out = append(out, r)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("readings of %s: %w", key, err)
		}
	}
	slices.SortStableFunc(out, func(a, b fleet.Reading) int { return a.Time.Compare(b.Time) })
	return out, nil
}
