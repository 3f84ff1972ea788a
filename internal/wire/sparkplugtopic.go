package wire

import (
	"errors"
	"strings"

	"aftercare/internal/fleet"
)

// ErrSparkplugTopic says that a topic is not one that an edge node publishes to.
var ErrSparkplugTopic = errors.New("topic is not spBv1.0/{tenant}/{NBIRTH|NDATA|NDEATH}/{edge} or spBv1.0/{tenant}/{DBIRTH|DDATA|DDEATH}/{edge}/{device}")

const sparkplugSpace = "spBv1.0/"

// The message types of Sparkplug B that a topic names. N is the edge node itself, D a device it speaks for.
const (
	NBirth   = "NBIRTH"
	NData    = "NDATA"
	NDeath   = "NDEATH"
	DBirth   = "DBIRTH"
	DData    = "DDATA"
	DDeath   = "DDEATH"
	NCommand = "NCMD"
	DCommand = "DCMD"
)

// SparkplugTopic is a parsed topic of Sparkplug B. The group id is the tenant, the edge node id the serial that logs in, the
// device id a serial it speaks for; the model comes from the registry.
type SparkplugTopic struct {
	Tenant string
	Kind   string // one of the constants above
	Edge   string
	Device string // empty for N messages
}

// IsSparkplug tells whether a topic is in Sparkplug's name space, well formed or not.
func IsSparkplug(topic string) bool { return strings.HasPrefix(topic, sparkplugSpace) }

// Serial returns the serial of the device that the message is about.
func (t SparkplugTopic) Serial() string {
	if t.Device != "" {
		return t.Device
	}
	return t.Edge
}

// Speaks returns the identity that must have logged in to publish here.
func (t SparkplugTopic) Speaks() fleet.DeviceKey {
	return fleet.DeviceKey{Tenant: t.Tenant, Serial: t.Edge}
}

// About returns the identity of the device that the message is about.
func (t SparkplugTopic) About() fleet.DeviceKey {
	return fleet.DeviceKey{Tenant: t.Tenant, Serial: t.Serial()}
}

// Birth tells whether the message announces the node or a device with all its metrics.
func (t SparkplugTopic) Birth() bool { return t.Kind == NBirth || t.Kind == DBirth }

// Data tells whether the message holds changed values.
func (t SparkplugTopic) Data() bool { return t.Kind == NData || t.Kind == DData }

// Death tells whether the message ends a session.
func (t SparkplugTopic) Death() bool { return t.Kind == NDeath || t.Kind == DDeath }

// Command tells whether the message goes down to the edge node.
func (t SparkplugTopic) Command() bool { return t.Kind == NCommand || t.Kind == DCommand }

// String returns the topic as it goes over the wire.
func (t SparkplugTopic) String() string {
	s := sparkplugSpace + t.Tenant + "/" + t.Kind + "/" + t.Edge
	if t.Device != "" {
		s += "/" + t.Device
	}
	return s
}

// RebirthTopic is where an edge node listens for the request to announce itself and its devices again.
func RebirthTopic(tenant, edge string) string {
	return SparkplugTopic{Tenant: tenant, Kind: NCommand, Edge: edge}.String()
}

// ParseSparkplugTopic reads a topic that an edge node publishes to. Its parts alias s; Kind is one of the six constants of
// births, data and deaths. Commands (which we send), STATE, wildcards and everything else are ErrSparkplugTopic.
func ParseSparkplugTopic(s string) (SparkplugTopic, error) {
	t, err := parseSparkplugTopic(s)
	if err != nil || t.Command() {
		return SparkplugTopic{}, ErrSparkplugTopic
	}
	return t, nil
}

// ParseSparkplugCommandTopic reads a topic that an edge node listens on: NCMD or DCMD, without wildcards.
func ParseSparkplugCommandTopic(s string) (SparkplugTopic, error) {
	t, err := parseSparkplugTopic(s)
	if err != nil || !t.Command() {
		return SparkplugTopic{}, ErrSparkplugTopic
	}
	return t, nil
}

func parseSparkplugTopic(s string) (SparkplugTopic, error) {
	var t SparkplugTopic
	rest, ok := strings.CutPrefix(s, sparkplugSpace)
	if !ok || len(s) > MaxTopic {
		return t, ErrSparkplugTopic
	}
	var kind string
	if t.Tenant, rest, ok = strings.Cut(rest, "/"); !ok {
		return SparkplugTopic{}, ErrSparkplugTopic
	}
	if kind, rest, ok = strings.Cut(rest, "/"); !ok {
		return SparkplugTopic{}, ErrSparkplugTopic
	}
	t.Edge, t.Device, ok = strings.Cut(rest, "/")
	switch kind {
	case NBirth, NData, NDeath, NCommand:
		ok = !ok
	case DBirth, DData, DDeath, DCommand:
		ok = ok && fleet.ValidName(t.Device)
	default:
		ok = false
	}
	if !ok || !fleet.ValidName(t.Tenant) || !fleet.ValidName(t.Edge) {
		return SparkplugTopic{}, ErrSparkplugTopic
	}
	t.Kind = kind
	return t, nil
}
