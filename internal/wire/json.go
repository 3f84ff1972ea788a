package wire

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

// Limits of a JSON payload (SEC-08). What exceeds one is refused with a reason of its own.
const (
	MaxDepth    = 32     // nesting of objects and arrays
	MaxKeys     = 128    // fields of one reading
	MaxName     = 64     // length of a field's name, dots of flattened objects included
	MaxString   = 1024   // length of a string value in bytes
	MaxReadings = 10_000 // readings of one payload
)

// The reasons a payload is refused; they are the labels of the quarantine counter.
const (
	ReasonSyntax    = "syntax"
	ReasonUTF8      = "utf8"
	ReasonDepth     = "depth"
	ReasonKeys      = "keys"
	ReasonDuplicate = "duplicate_key"
	ReasonName      = "field_name"
	ReasonNumber    = "number"
	ReasonString    = "string"
	ReasonArray     = "array_value"
	ReasonTime      = "timestamp"
	ReasonEmpty     = "no_field"
	ReasonTooMany   = "too_many_readings"
	ReasonFormat    = "format"    // the format cannot come here
	ReasonVersion   = "version"   // SenML: a version we do not know
	ReasonRequired  = "must_know" // SenML: a field that must be understood and is not
	ReasonTag       = "tag"       // CBOR: a tag that means nothing to us
)

// DecodeError says why a payload or a reading was refused: Reason is for machines, Detail for people.
type DecodeError struct {
	Reason string
	Detail string
}

func (e *DecodeError) Error() string { return e.Reason + ": " + e.Detail }

func refuse(reason, format string, args ...any) error {
	return &DecodeError{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// ValidField reports whether s can name a field: 1 to 64 letters, digits, '.', '_' and '-', the first a letter. The
// reserved names (ts, boot, seq, time, tenant, serial, model) are the caller's to refuse.
func ValidField(s string) bool {
	if s == "" || len(s) > MaxName || !letter(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !letter(c) && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// JSONDecoder reads payloads. It keeps its buffers from call to call: one goroutine at a time. The zero value is ready.
type JSONDecoder struct {
	fields
	s       string // the payload
	i       int    // next byte
	boot    int64  // from {"boot":n,"readings":[...]}
	hasBoot bool
}

// Decode reads a payload, RFC 8259 to the letter, and calls yield for each reading in it, with the bytes it was read from.
// The payload is an object, an array of objects, or {"readings":[objects]} with an optional common "boot" before it. Of a
// reading, "ts" (integer milliseconds since 1970 or an RFC 3339 string), "boot" and "seq" (integers from 0) are taken out,
// null is absence, objects flatten with a dot, arrays are refused, a name given twice is refused.
//
// Numbers arrive as Float with the text they were sent as in Str. The reading and its strings alias payload and are valid
// until yield returns. Errors are *DecodeError, or what yield returned; readings before the mistake have been yielded then.
func (d *JSONDecoder) Decode(payload []byte, yield func(r *fleet.Reading, raw []byte) error) error {
	if err := d.open(payload); err != nil {
		return err
	}
	d.space()
	var err error
	switch d.peek() {
	case '{':
		err = d.top(payload, yield)
	case '[':
		err = d.array(payload, 1, yield)
	default:
		return d.syntax("an object or an array")
	}
	if err != nil {
		return err
	}
	if d.space(); d.i != len(d.s) {
		return d.syntax("the end")
	}
	return nil
}

// open begins with a payload.
func (d *JSONDecoder) open(payload []byte) error {
	if !utf8.Valid(payload) {
		return refuse(ReasonUTF8, "the payload is not UTF-8")
	}
	d.s, d.i, d.hasBoot = alias(payload), 0, false
	return nil
}

// top reads the outermost object: a reading, or the envelope of several.
func (d *JSONDecoder) top(payload []byte, yield func(*fleet.Reading, []byte) error) error {
	if d.envelope() {
		if err := d.array(payload, 2, yield); err != nil {
			return err
		}
		if d.space(); d.peek() != '}' {
			return d.syntax("'}' behind the readings")
		}
		d.i++
		return nil
	}
	start := d.i
	if err := d.object(0); err != nil {
		return err
	}
	return yield(&d.reading, payload[start:d.i])
}

// envelope looks whether the object begins with "readings":[ or "boot":n,"readings":[ and, if so, stands at the '['.
func (d *JSONDecoder) envelope() bool {
	start := d.i
	d.i++
	for range 2 {
		d.space()
		key, err := d.str()
		if err != nil {
			break
		}
		if d.space(); d.peek() != ':' {
			break
		}
		d.i++
		d.space()
		if key == "readings" && d.peek() == '[' {
			return true
		}
		if key != "boot" || d.hasBoot {
			break
		}
		v, err := d.number()
		if err != nil {
			break
		}
		if d.boot, d.hasBoot = natural(v); !d.hasBoot {
			break
		}
		if d.space(); d.peek() != ',' {
			break
		}
		d.i++
	}
	d.i, d.hasBoot = start, false
	return false
}

func (d *JSONDecoder) array(payload []byte, depth int, yield func(*fleet.Reading, []byte) error) error {
	d.i++
	if d.space(); d.peek() == ']' {
		d.i++
		return refuse(ReasonEmpty, "the list of readings is empty")
	}
	for n := 1; ; n++ {
		if n > MaxReadings {
			return refuse(ReasonTooMany, "more than %d readings in one payload", MaxReadings)
		}
		d.space()
		start := d.i
		if d.peek() != '{' {
			return d.syntax("an object")
		}
		if err := d.object(depth); err != nil {
			return err
		}
		if err := yield(&d.reading, payload[start:d.i]); err != nil {
			return err
		}
		d.space()
		switch d.peek() {
		case ',':
			d.i++
		case ']':
			d.i++
			return nil
		default:
			return d.syntax("',' or ']'")
		}
	}
}

// object reads one reading into d.reading.
func (d *JSONDecoder) object(depth int) error {
	d.begin()
	if d.hasBoot {
		d.reading.Boot, d.reading.HasSeq = d.boot, true
	}
	return d.members(depth + 1)
}

// members reads the members of the object at '{'; names get the prefix of the objects around it.
func (d *JSONDecoder) members(depth int) error {
	if depth > MaxDepth {
		return refuse(ReasonDepth, "nested deeper than %d", MaxDepth)
	}
	d.i++
	if d.space(); d.peek() == '}' {
		d.i++
		return nil
	}
	for {
		d.space()
		if d.peek() != '"' {
			return d.syntax("a name in quotes")
		}
		key, err := d.str()
		if err != nil {
			return err
		}
		if d.space(); d.peek() != ':' {
			return d.syntax("':'")
		}
		d.i++
		d.space()
		if err := d.member(key, depth); err != nil {
			return err
		}
		d.space()
		switch d.peek() {
		case ',':
			d.i++
		case '}':
			d.i++
			return nil
		default:
			return d.syntax("',' or '}'")
		}
	}
}

func (d *JSONDecoder) member(key string, depth int) error {
	if len(d.prefix) == 0 {
		switch key {
		case "ts":
			return d.timestamp()
		case "boot":
			return d.natural(key, &d.reading.Boot)
		case "seq":
			return d.natural(key, &d.reading.Seq)
		}
	}
	if d.peek() == '{' {
		return d.nested(key, depth)
	}
	v, ok, err := d.scalar()
	if err != nil || !ok {
		return err
	}
	return d.add(key, v)
}

func (d *JSONDecoder) nested(key string, depth int) error {
	mark, err := d.enter(key)
	if err != nil {
		return err
	}
	err = d.members(depth + 1)
	d.prefix = d.prefix[:mark]
	return err
}

// scalar reads a number, string or boolean; ok is false for null.
func (d *JSONDecoder) scalar() (v fleet.Value, ok bool, err error) {
	switch c := d.peek(); {
	case c == '"':
		s, err := d.str()
		if err == nil {
			err = checkText(s)
		}
		return fleet.Value{Type: fleet.String, Str: s}, true, err
	case c == '-' || c >= '0' && c <= '9':
		v, err := d.number()
		return v, true, err
	case c == '[':
		return v, false, refuse(ReasonArray, "a list cannot be a field's value")
	case d.word("true"):
		return fleet.Value{Type: fleet.Boolean, Int: 1}, true, nil
	case d.word("false"):
		return fleet.Value{Type: fleet.Boolean}, true, nil
	case d.word("null"):
		return v, false, nil
	default:
		return v, false, d.syntax("a value")
	}
}

func (d *JSONDecoder) word(w string) bool {
	if len(d.s)-d.i >= len(w) && d.s[d.i:d.i+len(w)] == w {
		d.i += len(w)
		return true
	}
	return false
}

// natural reads boot or seq.
func (d *JSONDecoder) natural(key string, to *int64) error {
	v, err := d.number()
	if err != nil {
		return err
	}
	return d.count(key, v, to)
}

func (d *JSONDecoder) timestamp() error {
	if !d.reading.Time.IsZero() {
		return refuse(ReasonDuplicate, "%q is given twice", "ts")
	}
	if d.peek() == '"' {
		s, err := d.str()
		if err != nil {
			return err
		}
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return refuse(ReasonTime, "ts %.60q is not RFC 3339", s)
		}
		d.reading.Time = t.Truncate(time.Millisecond)
		return nil
	}
	if d.word("null") {
		return nil
	}
	switch c := d.peek(); {
	case d.i >= len(d.s):
		return d.syntax("a value")
	case c != '-' && (c < '0' || c > '9'):
		return refuse(ReasonTime, "ts is neither integer milliseconds since 1970 nor an RFC 3339 string")
	}
	v, err := d.number()
	if err != nil {
		return err
	}
	ms, err := strconv.ParseInt(v.Str, 10, 64)
	if err != nil {
		return refuse(ReasonTime, "ts %.40s is not integer milliseconds since 1970", v.Str)
	}
	d.reading.Time = time.UnixMilli(ms)
	return nil
}
