package wire

import (
	"time"

	"aftercare/internal/fleet"
)

// Outcome is what became of a message that a door handed to ingest.
type Outcome uint8

// The outcomes. All but Failed are final: the door acknowledges, because sending it again would change nothing.
const (
	Stored      Outcome = iota // fsynced in the journal
	Quarantined                // fsynced aside, with the reason
	Refused                    // counted by reason, not kept
	Failed                     // not durable (shutdown): never acknowledge, the device sends it again
)

// Acker is the side of a door that waits for a message's outcome. Done is called exactly once for each message whose Submit
// returned nil, for one connection in the order of its Submits, from ingest's goroutine: it must not block. The
// outcome is durable when it is called.
type Acker interface {
	Done(ticket uint64, o Outcome)
}

// Inbound is a message on its way from a door to ingest. Payload belongs to ingest from Submit on.
type Inbound struct {
	Door        string          // "gateway", "bridge"
	Speaker     fleet.DeviceKey // who authenticated; zero with Trusted
	Trusted     bool            // an external broker vouches that the sender may use the topic
	Topic       string
	Payload     []byte
	ContentType string // MQTT 5; empty: by profile
	Ack         Acker  // nil when nobody waits (QoS 0, wills)
	Ticket      uint64 // the door's own number for it, given back to Done

	// Of a payload that comes back from quarantine: when it first came, and that it is not to be put aside a second time.
	Received time.Time
	Again    bool
}
