package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"aftercare/internal/fleet"
)

// The batch format is InfluxDB line protocol, one reading a line, each ended by a newline. A batch can be read with standard
// tools, and history hands it to InfluxDB without encoding it again.
//
//	washer-w7,serial=WM-0001,tenant=demo drain_s=55.2,cycles=812i,boot=3i,seq=1044i 1700000000123877903
//
// The measurement is the model for telemetry, so that two models can never disagree about a field's type; reports of the
// other classes are in the measurements "event", "status" and "presence" with the model as a tag. Tags are sorted by name.

// Measurements that are not models.
const (
	MeasurementEvent    = "event"
	MeasurementStatus   = "status"
	MeasurementPresence = "presence"
	MeasurementFinding  = "finding"
	MeasurementChange   = "change"
)

// ErrLine says that a line is not one that AppendReading makes.
var ErrLine = errors.New("not a line of the batch format")

const foldRange = int64(time.Millisecond)

// Fold maps (boot, seq) to the nanoseconds below the millisecond, 0 to 999,999: two readings of one millisecond get
// different timestamps, a resend the same one. The factor is a prime, so that neighbouring boots lie far apart.
func Fold(boot, seq int64) int64 {
	return (boot%foldRange*611953 + seq%foldRange) % foldRange
}

// Timestamp returns a reading's point time in nanoseconds since 1970: its milliseconds, with Fold in the rest.
func Timestamp(r *fleet.Reading) int64 {
	ns := r.Time.UnixMilli() * foldRange
	if r.HasSeq {
		ns += Fold(r.Boot, r.Seq)
	}
	return ns
}

// AppendReading appends r as one line. The names in r must be valid (ParseTopic, ValidField) and r must have at least one
// field; strings may hold anything but newlines. A float whose Str is set is written as that text, which keeps the
// precision the device sent.
func AppendReading(dst []byte, r *fleet.Reading) []byte {
	switch r.Class {
	case fleet.Telemetry:
		dst = append(dst, r.Model...)
	case fleet.Event:
		dst = append(append(dst, MeasurementEvent...), ",model="...)
		dst = append(dst, r.Model...)
	case fleet.Status:
		dst = append(append(dst, MeasurementStatus...), ",model="...)
		dst = append(dst, r.Model...)
	default:
		dst = append(append(dst, MeasurementPresence...), ",model="...)
		dst = append(dst, r.Model...)
	}
	dst = append(append(dst, ",serial="...), r.Device.Serial...)
	dst = append(append(dst, ",tenant="...), r.Device.Tenant...)
	sep := byte(' ')
	for i := range r.Fields {
		dst = append(append(append(dst, sep), r.Fields[i].Name...), '=')
		dst = appendValue(dst, &r.Fields[i].Value)
		sep = ','
	}
	if r.HasSeq {
		dst = append(append(dst, sep), "boot="...)
		dst = append(strconv.AppendInt(dst, r.Boot, 10), "i,seq="...)
		dst = append(strconv.AppendInt(dst, r.Seq, 10), 'i')
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, Timestamp(r), 10)
	return append(dst, '\n')
}

func appendValue(dst []byte, v *fleet.Value) []byte {
	switch v.Type {
	case fleet.Float:
		if v.Str != "" {
			return append(dst, v.Str...)
		}
		return strconv.AppendFloat(dst, v.Float, 'g', -1, 64)
	case fleet.Integer:
		return append(strconv.AppendInt(dst, v.Int, 10), 'i')
	case fleet.Boolean:
		return strconv.AppendBool(dst, v.Int != 0)
	default:
		return appendQuoted(dst, v.Str)
	}
}

func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return append(dst, '"')
}

// NextLine reads the first line of a batch into r and returns what follows it. The strings of r alias batch; r.Fields is
// reused. boot and seq are taken out of the fields. r.Time is cut to the millisecond. A line that is not of the format is
// ErrLine with the rest behind it, so that the caller can count it and go on.
func NextLine(batch []byte, r *fleet.Reading) (rest []byte, err error) {
	line := batch
	if i := bytes.IndexByte(batch, '\n'); i >= 0 {
		line, rest = batch[:i], batch[i+1:]
	}
	*r = fleet.Reading{Fields: r.Fields[:0]}
	if err := parseLine(unsafe.String(unsafe.SliceData(line), len(line)), r); err != nil {
		return rest, fmt.Errorf("%w: %w in %.80q", ErrLine, err, line)
	}
	return rest, nil
}

var (
	errTags   = errors.New("tags")
	errFields = errors.New("fields")
	errTime   = errors.New("time")
)

func parseLine(s string, r *fleet.Reading) error {
	head, s, ok := strings.Cut(s, " ")
	if !ok {
		return errFields
	}
	name, tags, _ := strings.Cut(head, ",")
	switch name {
	case MeasurementEvent:
		r.Class = fleet.Event
	case MeasurementStatus:
		r.Class = fleet.Status
	case MeasurementPresence:
		r.Class = fleet.Presence
	default:
		r.Class, r.Model = fleet.Telemetry, name
	}
	for tags != "" {
		var tag string
		tag, tags, _ = strings.Cut(tags, ",")
		k, v, _ := strings.Cut(tag, "=")
		switch k {
		case "tenant":
			r.Device.Tenant = v
		case "serial":
			r.Device.Serial = v
		case "model":
			r.Model = v
		default:
			return errTags
		}
	}
	if r.Model == "" || r.Device.Tenant == "" || r.Device.Serial == "" {
		return errTags
	}
	s, err := parseFields(s, r)
	if err != nil {
		return err
	}
	ns, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return errTime
	}
	ms := ns / foldRange
	if ns%foldRange < 0 {
		ms--
	}
	r.Time = time.UnixMilli(ms)
	return nil
}

// parseFields reads k=v[,k=v...] up to the space before the time and returns what follows it.
func parseFields(s string, r *fleet.Reading) (string, error) {
	for {
		eq := strings.IndexByte(s, '=')
		if eq <= 0 {
			return "", errFields
		}
		name := s[:eq]
		v, rest, err := parseValue(s[eq+1:])
		if err != nil || rest == "" {
			return "", errFields
		}
		switch {
		case name == "boot" && v.Type == fleet.Integer:
			r.Boot, r.HasSeq = v.Int, true
		case name == "seq" && v.Type == fleet.Integer:
			r.Seq, r.HasSeq = v.Int, true
		default:
			r.Fields = append(r.Fields, fleet.Field{Name: name, Value: v})
		}
		if rest[0] == ' ' {
			return rest[1:], nil
		}
		s = rest[1:]
	}
}

func parseValue(s string) (v fleet.Value, rest string, err error) {
	if s == "" {
		return v, "", errFields
	}
	if s[0] == '"' {
		return parseQuoted(s)
	}
	end := 0
	for end < len(s) && s[end] != ',' && s[end] != ' ' {
		end++
	}
	word, rest := s[:end], s[end:]
	if word == "" {
		return v, "", errFields
	}
	switch last := word[len(word)-1]; {
	case last == 'i':
		v.Type = fleet.Integer
		v.Int, err = strconv.ParseInt(word[:len(word)-1], 10, 64)
	case word == "true":
		v = fleet.Value{Type: fleet.Boolean, Int: 1}
	case word == "false":
		v = fleet.Value{Type: fleet.Boolean}
	default:
		v.Float, err = strconv.ParseFloat(word, 64)
		if err == nil && (math.IsNaN(v.Float) || math.IsInf(v.Float, 0)) {
			err = errFields
		}
	}
	return v, rest, err
}

func parseQuoted(s string) (v fleet.Value, rest string, err error) {
	v.Type = fleet.String
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			return parseEscaped(s)
		case '"':
			v.Str = s[1:i]
			return v, s[i+1:], nil
		}
	}
	return v, "", errFields
}

func parseEscaped(s string) (v fleet.Value, rest string, err error) {
	v.Type = fleet.String
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			if i++; i == len(s) {
				return v, "", errFields
			}
			b.WriteByte(s[i])
		case '"':
			v.Str = b.String()
			return v, s[i+1:], nil
		default:
			b.WriteByte(c)
		}
	}
	return v, "", errFields
}
