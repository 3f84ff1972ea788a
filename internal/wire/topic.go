package wire

import (
	"errors"
	"strings"

	"aftercare/internal/fleet"
)

// MaxTopic is the longest topic accepted, in bytes.
const MaxTopic = 256

// ErrTopic says that a topic is not one of a device's own.
var ErrTopic = errors.New("topic is not devices/{tenant}/{model}/{serial}/{telemetry|event|status|reply}")

// Topic is a parsed device topic: devices/{tenant}/{model}/{serial}/{class}.
type Topic struct {
	Tenant string
	Model  string
	Serial string
	Class  fleet.Class
}

// Device returns the identity the topic speaks of.
func (t Topic) Device() fleet.DeviceKey { return fleet.DeviceKey{Tenant: t.Tenant, Serial: t.Serial} }

// String returns the topic as it goes over the wire.
func (t Topic) String() string {
	return "devices/" + t.Tenant + "/" + t.Model + "/" + t.Serial + "/" + t.Class.String()
}

// CommandTopic is where a device listens for commands.
func CommandTopic(tenant, model, serial string) string {
	return "devices/" + tenant + "/" + model + "/" + serial + "/command"
}

// ParseTopic reads a device topic. Its parts alias s. Anything else, wildcards and $ topics among it, is ErrTopic.
func ParseTopic(s string) (Topic, error) {
	var t Topic
	rest, ok := strings.CutPrefix(s, "devices/")
	if !ok || len(s) > MaxTopic {
		return t, ErrTopic
	}
	var class string
	if t.Tenant, rest, ok = strings.Cut(rest, "/"); !ok {
		return Topic{}, ErrTopic
	}
	if t.Model, rest, ok = strings.Cut(rest, "/"); !ok {
		return Topic{}, ErrTopic
	}
	if t.Serial, class, ok = strings.Cut(rest, "/"); !ok {
		return Topic{}, ErrTopic
	}
	switch class {
	case "telemetry":
		t.Class = fleet.Telemetry
	case "event":
		t.Class = fleet.Event
	case "status":
		t.Class = fleet.Status
	case "reply":
		t.Class = fleet.Reply
	default:
		return Topic{}, ErrTopic
	}
	if !fleet.ValidName(t.Tenant) || !fleet.ValidName(t.Model) || !fleet.ValidName(t.Serial) {
		return Topic{}, ErrTopic
	}
	return t, nil
}
