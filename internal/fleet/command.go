package fleet

import (
	"encoding/json"
	"time"
)

// CommandState is how far a command has come.
type CommandState string

// The states of a command. Waiting, sent, delivered, running and not now are open; the others are final.
const (
	CommandWaiting   CommandState = "waiting"   // not sent yet: the device is away
	CommandSent      CommandState = "sent"      // handed to a connection, no acknowledgement yet
	CommandDelivered CommandState = "delivered" // acknowledged by the device, or taken by its broker
	CommandRunning   CommandState = "running"   // the device says it has begun
	CommandNotNow    CommandState = "not_now"   // the device is busy; asked again at DueAt
	CommandDone      CommandState = "done"
	CommandFailed    CommandState = "failed"
	CommandRefused   CommandState = "refused" // the device does not want to, for good
	CommandExpired   CommandState = "expired"
	CommandCancelled CommandState = "cancelled"
)

// Final reports whether nothing can follow.
func (s CommandState) Final() bool {
	switch s {
	case CommandWaiting, CommandSent, CommandDelivered, CommandRunning, CommandNotNow:
		return false
	default:
		return true
	}
}

// Command is something a device is asked to do. It is kept until the device has answered or it has expired, whether the
// device is connected or not.
type Command struct {
	ID         string
	Device     DeviceKey
	Model      string
	Name       string
	Args       json.RawMessage // a JSON object; nil: none
	Disruptive bool            // from the model's profile
	State      CommandState
	Version    int64 // counts changes; a writer names the one it has seen
	CreatedAt  time.Time
	ExpiresAt  time.Time
	DueAt      time.Time // when it is to be sent (again) at the earliest; zero: when the device comes
	SentAt     time.Time
	AnsweredAt time.Time
	Attempts   int
	By         string          // who asked for it
	Reason     string          // the device's or ours: why not, why failed
	Result     json.RawMessage // what the device answered; nil: nothing
}

// CommandFilter selects commands of one tenant, newest first.
type CommandFilter struct {
	Tenant string
	Device string // serial; empty: all
	Open   bool   // only those that are not final
	Limit  int    // 0 means 100
}

// CommandReply is a device's answer to a command, as it comes on the reply topic.
type CommandReply struct {
	ID     string          `json:"id"`
	Status string          `json:"status"` // running, done, failed, not_now, refused
	Reason string          `json:"reason,omitempty"`
	RetryS int64           `json:"retry_s,omitempty"` // with not_now: ask again after so many seconds
	Result json.RawMessage `json:"result,omitempty"`
}

// CommandAudit is one line of a command's history: who did what, when and why.
type CommandAudit struct {
	At     time.Time
	Actor  string // who asked, "device", or "system"
	Action string // the state it came to
	Detail string
}

// CommandChange is everything one decision about a command writes, in one transaction or not at all. The store answers
// CodeConflict when the command's version is not Expected any more (0: it does not exist yet).
type CommandChange struct {
	Command  Command
	Expected int64
	Audit    []CommandAudit
	Outbox   []OutboxRow
}

// CommandCount is how many commands there are of one state.
type CommandCount struct {
	State CommandState
	N     int
}

// DeviceReply is an answer with who gave it and when it arrived.
type DeviceReply struct {
	Device DeviceKey
	At     time.Time
	Reply  CommandReply
}
