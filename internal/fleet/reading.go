package fleet

import "time"

// Class is the last level of a device's topic: what kind of report it is.
type Class uint8

// The classes of reports.
const (
	Telemetry Class = iota // measured values
	Event                  // something that happened: a fault code, a reboot
	Status                 // how the device is: online, going off
	Presence               // whether it can be reached, as we see it; never sent by a device
	Reply                  // its answer to a command; not a reading
)

// String returns the topic level: telemetry, event, status, presence, reply.
func (c Class) String() string {
	return [...]string{"telemetry", "event", "status", "presence", "reply"}[c]
}

// Value is one field's value. Which member counts is said by Type; a boolean is Int 0 or 1.
type Value struct {
	Type  FieldType
	Float float64
	Int   int64
	Str   string
}

// Number returns the value as a float and whether it is a number or a boolean.
func (v Value) Number() (float64, bool) {
	switch v.Type {
	case Float:
		return v.Float, true
	case Integer, Boolean:
		return float64(v.Int), true
	default:
		return 0, false
	}
}

// Field is a named value of a reading.
type Field struct {
	Name  string
	Value Value
}

// Reading is one report of one device at one moment. In the ingest path its strings may alias the payload they were
// decoded from: copy what outlives the call.
type Reading struct {
	Device DeviceKey
	Model  string
	Class  Class
	Time   time.Time // the device's clock, millisecond precision; zero when it sent none
	Boot   int64     // the device's boot counter
	Seq    int64     // its running number within the boot
	HasSeq bool      // whether Boot and Seq were sent: together they identify a resend
	Fields []Field
}
