package wire

import (
	"errors"
	"strings"
	"time"
	"unicode/utf8"
	"unsafe"

	"aftercare/internal/fleet"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
)

// lineDecoder reads InfluxDB line protocol from devices: each line is one reading. Measurement and tags are ignored: the
// topic, which the door has checked, says which device and model it is, and nothing in a payload may say otherwise. The time
// is in nanoseconds, cut to milliseconds; a line without one has no time. "boot" and "seq" are fields. Integers keep every
// digit, signed and unsigned.
type lineDecoder struct {
	fields
}

func (d *lineDecoder) decode(payload []byte, yield func(*fleet.Reading, []byte) error) error {
	if !utf8.Valid(payload) {
		return refuse(ReasonUTF8, "the payload is not UTF-8")
	}
	dec := lineprotocol.NewDecoderWithBytes(payload)
	n := 0
	for dec.Next() {
		if n++; n > MaxReadings {
			return refuse(ReasonTooMany, "more than %d readings in one payload", MaxReadings)
		}
		if err := d.line(dec, n); err != nil {
			return err
		}
		if err := yield(&d.reading, payload); err != nil {
			return err
		}
	}
	if err := dec.Err(); err != nil {
		return refuse(ReasonSyntax, "%v", err)
	}
	if n == 0 {
		return refuse(ReasonEmpty, "there is no line")
	}
	return nil
}

func (d *lineDecoder) line(dec *lineprotocol.Decoder, n int) error {
	d.begin()
	syntax := func(err error) error { return refuse(ReasonSyntax, "line %d: %v", n, err) }
	if _, err := dec.Measurement(); err != nil {
		return syntax(err)
	}
	for tags := 0; ; tags++ {
		key, _, err := dec.NextTag()
		if err != nil {
			return syntax(err)
		}
		if key == nil {
			break
		}
		if tags == MaxKeys {
			return refuse(ReasonKeys, "more than %d tags", MaxKeys)
		}
	}
	for {
		key, kind, text, err := dec.NextFieldBytes()
		if err != nil {
			return syntax(err)
		}
		if key == nil {
			break
		}
		v, err := d.value(kind, text)
		if err != nil {
			return err
		}
		if err := d.put(alias(key), v); err != nil {
			return err
		}
	}
	// Nanoseconds, as the protocol has it where nobody says otherwise.
	t, err := dec.Time(lineprotocol.Nanosecond, time.Time{})
	if err != nil {
		return refuse(ReasonTime, "line %d: %v", n, err)
	}
	if !t.IsZero() {
		d.reading.Time = time.UnixMilli(t.UnixMilli())
	}
	return nil
}

func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// value checks a value with the library and keeps a number's own text, so that it is stored with the precision it was sent.
func (d *lineDecoder) value(kind lineprotocol.ValueKind, text []byte) (fleet.Value, error) {
	v, err := lineprotocol.NewValueFromBytes(kind, text)
	switch {
	case errors.Is(err, lineprotocol.ErrValueOutOfRange):
		return fleet.Value{}, refuse(ReasonNumber, "%.40s is out of range", text)
	case err != nil:
		return fleet.Value{}, refuse(ReasonSyntax, "%.40q: %v", text, err)
	}
	switch kind {
	case lineprotocol.Int:
		return d.integer(v.IntV()), nil
	case lineprotocol.Uint:
		return unsignedValue(&d.text, v.UintV()), nil
	case lineprotocol.Bool:
		return boolValue(v.BoolV()), nil
	case lineprotocol.String:
		return stringValue(alias(text))
	}
	if !plainNumber(text) || len(text) > 32 { // ".5", "1.", "+1", "0x1p3", "1_0": the library is more liberal than we write
		return floatValue(&d.text, v.FloatV(), 64)
	}
	return fleet.Value{Type: fleet.Float, Float: v.FloatV(), Str: alias(text)}, nil
}

// plainNumber tells whether text is a number by JSON's grammar.
func plainNumber(text []byte) bool {
	s := JSONDecoder{s: alias(text)}
	if text[0] != '-' && !strings.ContainsRune("0123456789", rune(text[0])) {
		return false
	}
	_, err := s.number()
	return err == nil && s.i == len(text)
}
