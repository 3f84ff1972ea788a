package wire

import (
	"math"
	"time"
	"unsafe"

	"aftercare/internal/fleet"

	"google.golang.org/protobuf/encoding/protowire"
)

// MaxMetrics is the most metrics of one Sparkplug payload.
const MaxMetrics = 10_000

// SparkplugType is the data type a metric is declared with.
type SparkplugType uint32

// The data types of Sparkplug B that a metric of ours can have. 0 means that the message does not say, which is usual for
// data: then the birth message did.
const (
	SpInt8     SparkplugType = 1
	SpInt16    SparkplugType = 2
	SpInt32    SparkplugType = 3
	SpInt64    SparkplugType = 4
	SpUInt8    SparkplugType = 5
	SpUInt16   SparkplugType = 6
	SpUInt32   SparkplugType = 7
	SpUInt64   SparkplugType = 8
	SpFloat    SparkplugType = 9
	SpDouble   SparkplugType = 10
	SpBoolean  SparkplugType = 11
	SpString   SparkplugType = 12
	SpDateTime SparkplugType = 13 // milliseconds since 1970, kept as a number
	SpText     SparkplugType = 14
	SpUUID     SparkplugType = 15
	SpBytes    SparkplugType = 17
)

// Field numbers of the payload and its metrics, from the specification (Sparkplug 3.0, section 6.4).
const (
	spPayloadTime, spPayloadMetrics, spPayloadSeq = 1, 2, 3

	spName, spAlias, spTime, spType, spHistorical, spTransient, spNull = 1, 2, 3, 4, 5, 6, 7

	spInt, spLong, spFloat, spDouble, spBool, spString, spBytes, spDataSet, spTemplate, spExtension = 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
)

// SparkplugMetric is one metric of a payload.
type SparkplugMetric struct {
	Name        string // empty where an alias stands for it
	Alias       uint64
	HasAlias    bool
	Time        time.Time     // zero: the payload's counts
	Type        SparkplugType // 0: not said here
	Value       fleet.Value   // numbers as Float with their text; binary as base64url text
	Null        bool          // there is no value
	Historical  bool          // an old value sent late, not the current one
	Transient   bool          // not to be stored
	Unsupported bool          // a data set, template, file, array or extension: there is no Value
	Err         error         // why the value is refused (*DecodeError): NaN, not of its type, ...

	field protowire.Number // which value was sent, 0 for none
	bits  uint64           // a number as sent
	bytes []byte           // a text or binary value as sent
}

// SparkplugPayload is a decoded payload. It is reused from call to call; its strings alias the bytes it was decoded from.
type SparkplugPayload struct {
	Time        time.Time // zero: none
	Seq         uint64    // 0 to 255, counting messages of the edge node
	HasSeq      bool
	BdSeq       uint64 // the session's number, in NBIRTH and NDEATH
	HasBdSeq    bool
	Metrics     []SparkplugMetric
	Unsupported int // metrics whose values we cannot take

	text []byte
}

// SparkplugDecoder decodes payloads and makes readings of their metrics. One goroutine at a time; the zero value is ready.
type SparkplugDecoder struct {
	fields
	order  []int
	joined []byte
}

// Decode reads a payload into p, whose buffers are reused. An error (*DecodeError) means that it is no Sparkplug payload, or
// exceeds a limit; a single value that is refused is the Err of its metric, so that names and aliases are known all the same.
func (d *SparkplugDecoder) Decode(payload []byte, p *SparkplugPayload) error {
	*p = SparkplugPayload{Metrics: p.Metrics[:0], text: p.text[:0]}
	for b := payload; len(b) > 0; {
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		switch f.num {
		case spPayloadTime:
			p.Time, err = f.time()
		case spPayloadSeq:
			p.Seq, p.HasSeq = f.bits, true
			err = f.is(protowire.VarintType)
			if err == nil && f.bits > 255 {
				err = refuse(ReasonNumber, "the sequence number is %d: at most 255", f.bits)
			}
		case spPayloadMetrics:
			if err = f.is(protowire.BytesType); err == nil {
				err = p.metric(f.bytes)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// metric reads one metric's bytes to the end of p.Metrics.
func (p *SparkplugPayload) metric(b []byte) error {
	if len(p.Metrics) == MaxMetrics {
		return refuse(ReasonTooMany, "more than %d metrics in one payload", MaxMetrics)
	}
	p.Metrics = append(p.Metrics, SparkplugMetric{})
	m := &p.Metrics[len(p.Metrics)-1]
	for len(b) > 0 {
		f, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		if err := m.take(f); err != nil {
			return err
		}
	}
	p.Retype(m, m.Type)
	if m.Unsupported {
		p.Unsupported++
	}
	if m.Name == "bdSeq" && m.Err == nil && (m.field == spInt || m.field == spLong) {
		p.BdSeq, p.HasBdSeq = m.bits, true
	}
	return nil
}

func (m *SparkplugMetric) take(f protoField) (err error) {
	switch f.num {
	case spName:
		if err = f.is(protowire.BytesType); err == nil {
			var v fleet.Value
			v, err = stringValue(f.str())
			m.Name = v.Str
		}
	case spAlias:
		m.Alias, m.HasAlias, err = f.bits, true, f.is(protowire.VarintType)
	case spTime:
		m.Time, err = f.time()
	case spType:
		m.Type, err = SparkplugType(min(f.bits, math.MaxUint32)), f.is(protowire.VarintType)
	case spHistorical:
		m.Historical, err = f.bits != 0, f.is(protowire.VarintType)
	case spTransient:
		m.Transient, err = f.bits != 0, f.is(protowire.VarintType)
	case spNull:
		m.Null, err = f.bits != 0, f.is(protowire.VarintType)
	case spInt, spLong, spBool:
		m.field, m.bits, err = f.num, f.bits, f.is(protowire.VarintType)
	case spFloat:
		m.field, m.bits, err = f.num, f.bits, f.is(protowire.Fixed32Type)
	case spDouble:
		m.field, m.bits, err = f.num, f.bits, f.is(protowire.Fixed64Type)
	case spString, spBytes, spDataSet, spTemplate, spExtension:
		m.field, m.bytes, err = f.num, f.bytes, f.is(protowire.BytesType)
	}
	return err
}

// protoField is one field of a protobuf message.
type protoField struct {
	num   protowire.Number
	typ   protowire.Type
	bits  uint64
	bytes []byte
}

func (f *protoField) str() string { return unsafe.String(unsafe.SliceData(f.bytes), len(f.bytes)) }

func (f *protoField) is(t protowire.Type) error {
	if f.typ != t {
		return refuse(ReasonSyntax, "protobuf field %d has the wire type %d, want %d", f.num, f.typ, t)
	}
	return nil
}

func (f *protoField) time() (time.Time, error) {
	if err := f.is(protowire.VarintType); err != nil {
		return time.Time{}, err
	}
	if f.bits > maxSeconds*1000 {
		return time.Time{}, refuse(ReasonTime, "%d is no time in milliseconds since 1970", f.bits)
	}
	return time.UnixMilli(int64(f.bits)), nil
}

// nextField reads the first field of b. Groups, which Sparkplug does not use, are refused: they nest without bound.
func nextField(b []byte) (f protoField, rest []byte, err error) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, nil, refuse(ReasonSyntax, "no protobuf: %v", protowire.ParseError(n))
	}
	f.num, f.typ, b = num, typ, b[n:]
	switch typ {
	case protowire.VarintType:
		f.bits, n = protowire.ConsumeVarint(b)
	case protowire.Fixed32Type:
		var v uint32
		v, n = protowire.ConsumeFixed32(b)
		f.bits = uint64(v)
	case protowire.Fixed64Type:
		f.bits, n = protowire.ConsumeFixed64(b)
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(b)
	default:
		return f, nil, refuse(ReasonSyntax, "protobuf field %d has the wire type %d", num, typ)
	}
	if n < 0 {
		return f, nil, refuse(ReasonSyntax, "protobuf field %d: %v", num, protowire.ParseError(n))
	}
	return f, b[n:], nil
}
