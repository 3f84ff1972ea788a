package wire

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"

	"aftercare/internal/fleet"

	"google.golang.org/protobuf/encoding/protowire"
)

// AppendSparkplug appends p as a payload: what an edge node of the simulator sends and what we send to one. Of a metric Name,
// Alias, Time, Type, Null, Historical, Transient and Value count; a Type of 0 writes the value by its own type, without saying
// one. The metrics must be encodable: Value of the kind that Type says.
func AppendSparkplug(dst []byte, p *SparkplugPayload) []byte {
	if !p.Time.IsZero() {
		dst = appendVarint(dst, spPayloadTime, uint64(p.Time.UnixMilli()))
	}
	var buf []byte
	for i := range p.Metrics {
		buf = appendMetric(buf[:0], &p.Metrics[i])
		dst = protowire.AppendTag(dst, spPayloadMetrics, protowire.BytesType)
		dst = protowire.AppendBytes(dst, buf)
	}
	if p.HasSeq {
		dst = appendVarint(dst, spPayloadSeq, p.Seq)
	}
	return dst
}

func appendVarint(dst []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

func appendMetric(dst []byte, m *SparkplugMetric) []byte {
	if m.Name != "" {
		dst = protowire.AppendString(protowire.AppendTag(dst, spName, protowire.BytesType), m.Name)
	}
	if m.HasAlias {
		dst = appendVarint(dst, spAlias, m.Alias)
	}
	if !m.Time.IsZero() {
		dst = appendVarint(dst, spTime, uint64(m.Time.UnixMilli()))
	}
	if m.Type != 0 {
		dst = appendVarint(dst, spType, uint64(m.Type))
	}
	for _, flag := range []struct {
		num protowire.Number
		on  bool
	}{{spHistorical, m.Historical}, {spTransient, m.Transient}, {spNull, m.Null}} {
		if flag.on {
			dst = appendVarint(dst, flag.num, 1)
		}
	}
	if m.Null {
		return dst
	}
	return appendMetricValue(dst, m.Type, &m.Value)
}

func appendMetricValue(dst []byte, t SparkplugType, v *fleet.Value) []byte {
	switch {
	case v.Type == fleet.Boolean:
		return appendVarint(dst, spBool, uint64(v.Int))
	case t == SpBytes:
		b, _ := base64.RawURLEncoding.DecodeString(v.Str)
		return protowire.AppendBytes(protowire.AppendTag(dst, spBytes, protowire.BytesType), b)
	case v.Type == fleet.String:
		return protowire.AppendString(protowire.AppendTag(dst, spString, protowire.BytesType), v.Str)
	case t == SpFloat:
		return protowire.AppendFixed32(protowire.AppendTag(dst, spFloat, protowire.Fixed32Type), math.Float32bits(float32(v.Float)))
	case t == SpDouble || t == 0 && v.Type == fleet.Float:
		return protowire.AppendFixed64(protowire.AppendTag(dst, spDouble, protowire.Fixed64Type), math.Float64bits(v.Float))
	}
	n := wholeBits(v)
	switch t {
	case SpInt8, SpInt16, SpInt32, SpUInt8, SpUInt16, SpUInt32:
		return appendVarint(dst, spInt, uint64(uint32(n)))
	default:
		return appendVarint(dst, spLong, n)
	}
}

// wholeBits returns an integer's 64 bits, two's complement.
func wholeBits(v *fleet.Value) uint64 {
	if v.Type == fleet.Integer {
		return uint64(v.Int)
	}
	if n, err := strconv.ParseUint(v.Str, 10, 64); err == nil {
		return n
	}
	if n, err := strconv.ParseInt(v.Str, 10, 64); err == nil {
		return uint64(n)
	}
	return uint64(int64(v.Float))
}

// RebirthPayload is the request to an edge node, on RebirthTopic, to announce itself and its devices again.
func RebirthPayload(now time.Time) []byte {
	return AppendSparkplug(nil, &SparkplugPayload{Time: now, Metrics: []SparkplugMetric{
		{Name: "Node Control/Rebirth", Time: now, Type: SpBoolean, Value: boolValue(true)},
	}})
}
