package wire

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"

	"aftercare/internal/fleet"
)

// fields collects one reading and holds the limits that all formats share. Texts that are not in the payload (numbers of
// binary formats, joined names) are built in its buffer and live until the next reading begins.
type fields struct {
	reading fleet.Reading
	prefix  []byte // of the objects around the current one, each ended by a dot
	text    []byte
}

// begin starts a new reading.
func (d *fields) begin() {
	d.reading = fleet.Reading{Fields: d.reading.Fields[:0]}
	d.prefix, d.text = d.prefix[:0], d.text[:0]
}

// enter goes into a nested object; the caller sets d.prefix back to the mark when it comes out.
func (d *fields) enter(key string) (mark int, err error) {
	if !ValidField(key) {
		return 0, refuse(ReasonName, "%.80q cannot be a field's name", key)
	}
	mark = len(d.prefix)
	if mark+len(key)+1 > MaxName {
		return 0, refuse(ReasonName, "the name %.80q is longer than %d characters", string(d.prefix)+key, MaxName)
	}
	d.prefix = append(append(d.prefix, key...), '.')
	return mark, nil
}

// add takes a field in after checking its name.
func (d *fields) add(key string, v fleet.Value) error {
	if len(d.prefix) > 0 {
		key = string(d.prefix) + key
	}
	if !ValidField(key) {
		return refuse(ReasonName, "%.80q cannot be a field's name: letters, digits, '.', '_' and '-', at most %d, a letter first", key, MaxName)
	}
	switch key {
	case "time", "tenant", "serial", "model", "clock_off_ms": // the last is the mark of a corrected clock
		return refuse(ReasonName, "%q is reserved", key)
	}
	for i := range d.reading.Fields {
		if d.reading.Fields[i].Name == key {
			return refuse(ReasonDuplicate, "%q is given twice", key)
		}
	}
	if len(d.reading.Fields) == MaxKeys {
		return refuse(ReasonKeys, "more than %d fields", MaxKeys)
	}
	d.reading.Fields = append(d.reading.Fields, fleet.Field{Name: key, Value: v})
	return nil
}

// put takes a field in, or the reading's boot or seq, in formats that carry the time elsewhere.
func (d *fields) put(key string, v fleet.Value) error {
	if len(d.prefix) == 0 {
		switch key {
		case "boot":
			return d.count(key, v, &d.reading.Boot)
		case "seq":
			return d.count(key, v, &d.reading.Seq)
		case "ts":
			return refuse(ReasonName, "%q is reserved", key)
		}
	}
	return d.add(key, v)
}

// count sets boot or seq. Given twice, the two must agree: a device that contradicts itself is not understood.
func (d *fields) count(key string, v fleet.Value, to *int64) error {
	n, ok := natural(v)
	if !ok {
		return refuse(ReasonNumber, "%q is %.40s: want an integer from 0 to 2^63-1", key, v.Str)
	}
	if *to != 0 && *to != n {
		return refuse(ReasonDuplicate, "%q is given twice", key)
	}
	*to, d.reading.HasSeq = n, true
	return nil
}

func natural(v fleet.Value) (int64, bool) {
	n, err := strconv.ParseInt(v.Str, 10, 64)
	return n, err == nil && n >= 0 && v.Type == fleet.Float
}

// view returns what was appended to the buffer since from, without copying it.
func view(buf []byte, from int) string {
	return unsafe.String(unsafe.SliceData(buf[from:]), len(buf)-from)
}

// integer makes a whole number's value; its text keeps what a float64 cannot.
func (d *fields) integer(n int64) fleet.Value { return integerValue(&d.text, n) }

func integerValue(buf *[]byte, n int64) fleet.Value {
	from := len(*buf)
	*buf = strconv.AppendInt(*buf, n, 10)
	return fleet.Value{Type: fleet.Float, Float: float64(n), Str: view(*buf, from)}
}

func unsignedValue(buf *[]byte, n uint64) fleet.Value {
	from := len(*buf)
	*buf = strconv.AppendUint(*buf, n, 10)
	return fleet.Value{Type: fleet.Float, Float: float64(n), Str: view(*buf, from)}
}

// floatValue makes a float's value. Of a 32-bit float it is the shortest decimal that names it: 55.2, as the device meant,
// not 55.20000076293945. NaN and infinities are refused.
func floatValue(buf *[]byte, f float64, bits int) (fleet.Value, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fleet.Value{}, refuse(ReasonNumber, "%v is not a number that can be stored", f)
	}
	from := len(*buf)
	*buf = strconv.AppendFloat(*buf, f, 'g', -1, bits)
	v := fleet.Value{Type: fleet.Float, Float: f, Str: view(*buf, from)}
	if bits == 32 {
		v.Float, _ = strconv.ParseFloat(v.Str, 64)
	}
	return v, nil
}

func boolValue(b bool) fleet.Value {
	v := fleet.Value{Type: fleet.Boolean}
	if b {
		v.Int = 1
	}
	return v
}

// stringValue makes a text's value: UTF-8, not too long, no control character.
func stringValue(s string) (fleet.Value, error) {
	if !utf8.ValidString(s) {
		return fleet.Value{}, refuse(ReasonUTF8, "a string is not UTF-8")
	}
	return fleet.Value{Type: fleet.String, Str: s}, checkText(s)
}

func checkText(s string) error {
	if len(s) > MaxString {
		return refuse(ReasonString, "a string of %d bytes: at most %d", len(s), MaxString)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return refuse(ReasonString, "a control character in %.80q", s)
		}
	}
	return nil
}

// bytesValue makes a binary value: its text in base64url without padding, as SenML writes it in JSON.
func bytesValue(buf *[]byte, b []byte) (fleet.Value, error) {
	if n := base64.RawURLEncoding.EncodedLen(len(b)); n > MaxString {
		return fleet.Value{}, refuse(ReasonString, "a binary value of %d bytes is too long", len(b))
	}
	from := len(*buf)
	*buf = base64.RawURLEncoding.AppendEncode(*buf, b)
	return fleet.Value{Type: fleet.String, Str: view(*buf, from)}, nil
}

// maxSeconds bounds times given in seconds, to the year 5138: far inside of what milliseconds can hold.
const maxSeconds = 1e11

// secondsTime converts seconds since 1970 to a time of whole milliseconds, rounded.
func secondsTime(s float64) (time.Time, error) {
	if !(s > -maxSeconds && s < maxSeconds) { // NaN as well
		return time.Time{}, refuse(ReasonTime, "%v is no time in seconds since 1970", s)
	}
	return time.UnixMilli(int64(math.Round(s * 1000))), nil
}
