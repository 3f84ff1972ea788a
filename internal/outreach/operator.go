package outreach

import (
	"context"
	"maps"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// Operator is a channel that can tell operators and agents too. What holds for Channel.Send holds for Operate: it tries once,
// within the context's deadline, is called concurrently, and its errors are classified and hold no address and no secret. The
// idempotency key of an operation is OperationKey.
type Operator interface {
	Name() string
	Operate(ctx context.Context, op fleet.Operation, to fleet.Endpoint) error
}

// OperationKey is the same on every try of one operation, and another one when it ends.
func OperationKey(op fleet.Operation) string {
	parts := make([]string, 0, 3+2*len(op.Labels))
	parts = append(parts, op.Name, op.At.UTC().Format(time.RFC3339Nano), op.Ends.UTC().Format(time.RFC3339Nano))
	for _, k := range slices.Sorted(maps.Keys(op.Labels)) {
		parts = append(parts, k, op.Labels[k])
	}
	return fleet.ID("ops", parts...)
}
