package ingest

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Journal is where readings become durable. Append returns nil only when all records are fsynced; after an error they may or
// may not be stored, and appending them again is harmless.
type Journal interface {
	Append(ctx context.Context, records []wire.Record) error
	Partitions() int
	PartitionOf(k fleet.DeviceKey) int
}

// Devices answers who is who; it is asked for every message and must not block.
type Devices interface {
	Device(k fleet.DeviceKey) (*fleet.Device, bool)
	SpeaksFor(identity fleet.DeviceKey, serial string) bool
}

// Firmware hears of a device that names another firmware than the registry knows. Observed must not block; it may be called
// again with the same news until the registry shows it.
type Firmware interface {
	Observed(key fleet.DeviceKey, firmware string)
}

// Presence hears of signs of life. Both are called from many goroutines and must not block; Heard is called for every
// message of a device and must not allocate.
type Presence interface {
	Heard(d *fleet.Device, at time.Time)
	// Reported passes on what the device, or its edge node, said itself; cause is one of the fleet.Cause constants.
	Reported(d *fleet.Device, online bool, cause string, at time.Time)
}

// Quality keeps the counts of what devices send; SaveQuality adds the rows to what is stored, all or none.
type Quality interface {
	SaveQuality(ctx context.Context, rows []fleet.Quality) error
}

// Clocks keeps small bodies by key, durable when Save returns.
type Clocks interface {
	Save(ctx context.Context, key string, body []byte) error
	Load(ctx context.Context, key string) ([]byte, bool, error)
}

// Outbound sends a message to a device's live session, best effort; it must not block.
type Outbound interface {
	Publish(identity fleet.DeviceKey, topic string, payload []byte)
}

// Deps is what ingest needs from the rest of the process. The interfaces below the line may be nil: what they are for is then
// left out.
type Deps struct {
	Journal Journal
	Devices Devices
	Models  []fleet.Model
	Log     *slog.Logger
	Metrics prometheus.Registerer
	Now     func() time.Time // nil: time.Now

	Firmware Firmware
	Presence Presence
	Quality  Quality
	Clocks   Clocks
	Outbound Outbound
}
