package wire

import (
	"math"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// MeasurementCounter is where history keeps how much devices were used.
const MeasurementCounter = "counter"

// Counters is how much a device was used up to a moment: a number by the name of what was counted, such as hours(running).
type Counters struct {
	Device fleet.DeviceKey
	Model  string
	At     time.Time // the device's clock, millisecond precision
	Values []Counter
}

// Counter is one number of Counters.
type Counter struct {
	Name  string
	Value float64
}

// CounterField is the name of a counter as history has it: a backslash or a line break cannot stand in line protocol.
func CounterField(name string) string { return counterNames.Replace(name) }

var (
	counterNames = strings.NewReplacer("%", "%25", `\`, "%5C", "\n", "%0A", "\r", "%0D")
	counterKeys  = strings.NewReplacer(",", `\,`, "=", `\=`, " ", `\ `)
)

// AppendCounters appends a line of line protocol; nothing when there is no finite value. The names in c.Device and c.Model must be
// valid.
func AppendCounters(dst []byte, c *Counters) []byte {
	before := len(dst)
	dst = append(append(append(dst, MeasurementCounter...), ",model="...), c.Model...)
	dst = append(append(dst, ",serial="...), c.Device.Serial...)
	dst = append(append(dst, ",tenant="...), c.Device.Tenant...)
	sep := byte(' ')
	for _, v := range c.Values {
		if math.IsNaN(v.Value) || math.IsInf(v.Value, 0) {
			continue
		}
		dst = append(append(dst, sep), counterKeys.Replace(CounterField(v.Name))...)
		dst = strconv.AppendFloat(append(dst, '='), v.Value, 'g', -1, 64)
		sep = ','
	}
	if sep == ' ' {
		return dst[:before]
	}
	dst = strconv.AppendInt(append(dst, ' '), c.At.UnixMilli()*foldRange, 10)
	return append(dst, '\n')
}
