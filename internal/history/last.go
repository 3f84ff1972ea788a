package history

import (
	"context"
	"fmt"

	"aftercare/internal/fleet"
)

// Last returns the newest value of one field of a device's telemetry, which newer readings may not have, and the time of the reading
// it is from. ok is false when there is none. A boolean is 0 or 1, a string no value.
func (h *History) Last(ctx context.Context, key fleet.DeviceKey, model, field string) (p fleet.Point, ok bool, err error) {
	if err := names("tenant", key.Tenant, "serial", key.Serial, "model", model); err != nil {
		return p, false, err
	}
	if err := fieldName(field); err != nil {
		return p, false, err
	}
	// InfluxQL leaves out rows without the field when it is the only one that is asked for.
	q := "SELECT " + quoteIdent(field) + " FROM " + quoteIdent(model) + " WHERE " + ofDevice(key) + " ORDER BY time DESC LIMIT 1"
	points, err := h.points(ctx, q)
	if err != nil {
		return p, false, fmt.Errorf("last %s of %s: %w", field, key, err)
	}
	if len(points) == 0 {
		return p, false, nil
	}
	return points[0], true, nil
}
