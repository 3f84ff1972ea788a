package gateway

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Ingest takes what devices publish.
type Ingest interface {
	// Submit hands over a message; it waits while ingest's queue is full, which pauses the device's connection. An error
	// means that ctx ended or ingest is closed; then nothing was taken and Done is not called. Concurrent calls are fine.
	Submit(ctx context.Context, m wire.Inbound) error
}

// Auth knows the devices. It is called concurrently and should answer from memory. An error of code denied, not_found or
// invalid refuses the device; any other tells it to come back.
type Auth interface {
	// Authenticate returns who connects with these credentials.
	Authenticate(ctx context.Context, username, password string) (fleet.Login, error)
	// Admit says whether an identity that a certificate proves is registered and not revoked.
	Admit(ctx context.Context, key fleet.DeviceKey) error
	// FirstContact makes the credential of a session that came with its model's provisioning secret; it may take as long as
	// a transaction does.
	FirstContact(ctx context.Context, login fleet.Login) (secret string, err error)
	// SpeaksFor reports whether an identity may publish and receive for a serial of its tenant that is not its own.
	SpeaksFor(identity fleet.DeviceKey, serial string) bool
}

// Presence hears who is connected: the first session of an identity and the end of its last one. Neither call may block;
// calls about one identity come one after the other. A session that takes over another of the same client id changes
// nothing, nor does the end of this process.
type Presence interface {
	Connected(key fleet.DeviceKey, at time.Time)
	Disconnected(key fleet.DeviceKey, cause string, at time.Time) // cause: fleet.CauseDisconnected, Lost, Will or Revoked
}

// Deps are what the gateway uses. Presence, Subscribed, Log and Metrics may be nil.
type Deps struct {
	Ingest Ingest
	Auth   Auth
	// Refuse counts and keeps what was refused; it must not block. The gateway's reasons are in reasons.go.
	Refuse   func(fleet.Refusal)
	Presence Presence
	// Subscribed is called when an identity begins to listen to a filter: after its SUBACK was written, and when a session
	// is resumed with which it was subscribed. It must not block.
	Subscribed func(identity fleet.DeviceKey, filter string)
	Log        *slog.Logger
	Metrics    prometheus.Registerer
}
