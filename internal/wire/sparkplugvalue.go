package wire

import (
	"math"
	"unsafe"

	"aftercare/internal/fleet"
)

// Retype reads the value of m, a metric of p, anew as type t. Data messages leave the type out: whoever remembers the birth
// message calls it with the type from there, because a negative number can be told from a large one by nothing else.
// Without a type numbers count as unsigned. Sets Type, Value, Unsupported and Err.
func (p *SparkplugPayload) Retype(m *SparkplugMetric, t SparkplugType) {
	m.Type, m.Value, m.Unsupported, m.Err = t, fleet.Value{}, false, nil
	switch {
	case m.Null:
		return
	case m.field == 0:
		m.Null = true
		return
	case m.field >= spDataSet, t > SpUUID && t != SpBytes:
		m.Unsupported = true
		return
	}
	switch m.field {
	case spInt, spLong:
		m.Value, m.Err = p.whole(m, t)
	case spFloat:
		m.Value, m.Err = floatValue(&p.text, float64(math.Float32frombits(uint32(m.bits))), 32)
	case spDouble:
		m.Value, m.Err = floatValue(&p.text, math.Float64frombits(m.bits), 64)
	case spBool:
		m.Value = boolValue(m.bits != 0)
	case spString:
		m.Value, m.Err = stringValue(unsafe.String(unsafe.SliceData(m.bytes), len(m.bytes)))
	case spBytes:
		m.Value, m.Err = bytesValue(&p.text, m.bytes)
	}
	if m.Err == nil && !t.holds(m) {
		m.Value, m.Err = fleet.Value{}, refuse(ReasonNumber, "metric %.64q (alias %d) is of type %d and its value is not", m.Name, m.Alias, t)
	}
}

// holds tells whether a metric's value was sent in a member that fits its type.
func (t SparkplugType) holds(m *SparkplugMetric) bool {
	switch {
	case t == 0:
		return true
	case t <= SpUInt64, t == SpDateTime:
		return m.field == spInt || m.field == spLong
	case t <= SpDouble:
		return m.field == spFloat || m.field == spDouble
	case t == SpBoolean:
		return m.field == spBool
	case t == SpBytes:
		return m.field == spBytes
	default:
		return m.field == spString
	}
}

// whole reads an integer. Signed ones are two's complement in the unsigned member, of the type's own width or of the
// member's, as libraries differ. What does not fit the type is refused, never cut.
func (p *SparkplugPayload) whole(m *SparkplugMetric, t SparkplugType) (fleet.Value, error) {
	n := m.bits
	if m.field == spInt {
		n = uint64(uint32(n))
	}
	signed := int64(n)
	if m.field == spInt {
		signed = int64(int32(n))
	}
	bits := uint(64)
	switch t {
	case SpInt8, SpUInt8:
		bits = 8
	case SpInt16, SpUInt16:
		bits = 16
	case SpInt32, SpUInt32:
		bits = 32
	}
	switch t {
	case SpInt8, SpInt16, SpInt32:
		shift := 64 - bits
		narrow := int64(n<<shift) >> shift
		if n>>bits == 0 || signed == narrow {
			return integerValue(&p.text, narrow), nil
		}
	case SpInt64:
		if m.field == spLong {
			return integerValue(&p.text, signed), nil
		}
		return integerValue(&p.text, int64(n)), nil
	default:
		if bits == 64 || n>>bits == 0 {
			return unsignedValue(&p.text, n), nil
		}
	}
	return fleet.Value{}, refuse(ReasonNumber, "metric %.64q (alias %d) is %d, which its type %d cannot be", m.Name, m.Alias, n, t)
}
