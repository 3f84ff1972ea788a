package device

import (
	"iter"
	"strconv"
)

// kind is a field's JSON type.
type kind uint8

const (
	number kind = iota
	integer
	boolean
	text
)

// Field is one measured value.
type Field struct {
	Name string
	kind kind
	num  float64
	int  int64
	str  string
}

// Reading is a set of measured values, reused from one reading to the next.
type Reading struct{ Fields []Field }

// AddNumber adds a float, rounded to a number of decimals as a device's firmware would send it.
func (r *Reading) AddNumber(name string, v float64, decimals int) {
	p := [...]float64{1, 10, 100, 1000}[decimals]
	if v < 0 {
		v = float64(int64(v*p-0.5)) / p
	} else {
		v = float64(int64(v*p+0.5)) / p
	}
	r.Fields = append(r.Fields, Field{Name: name, kind: number, num: v})
}

func (r *Reading) AddInteger(name string, v int64) {
	r.Fields = append(r.Fields, Field{Name: name, kind: integer, int: v})
}

func (r *Reading) AddBool(name string, v bool) {
	f := Field{Name: name, kind: boolean}
	if v {
		f.int = 1
	}
	r.Fields = append(r.Fields, f)
}

func (r *Reading) AddText(name, v string) {
	r.Fields = append(r.Fields, Field{Name: name, kind: text, str: v})
}

// Number returns a field's value as a float (booleans as 0 or 1) and whether it is there as a number.
func (r *Reading) Number(name string) (float64, bool) {
	for _, f := range r.Fields {
		if f.Name == name {
			if f.kind == number {
				return f.num, true
			}
			return float64(f.int), f.kind != text
		}
	}
	return 0, false
}

// Text returns a text field's value.
func (r *Reading) Text(name string) (string, bool) {
	for _, f := range r.Fields {
		if f.Name == name && f.kind == text {
			return f.str, true
		}
	}
	return "", false
}

// AppendJSON appends the reading as a JSON object with its device time (milliseconds since 1970), boot and running number.
// Names and texts are the simulator's own and need no escaping.
func (r *Reading) AppendJSON(dst []byte, tsMillis, boot, seq int64) []byte {
	dst = AppendHead(dst, tsMillis, boot, seq)
	for i := range r.Fields {
		f := &r.Fields[i]
		dst = append(dst, ',', '"')
		dst = append(dst, f.Name...)
		dst = append(dst, '"', ':')
		switch f.kind {
		case number:
			dst = strconv.AppendFloat(dst, f.num, 'f', -1, 64)
		case integer:
			dst = strconv.AppendInt(dst, f.int, 10)
		case boolean:
			dst = strconv.AppendBool(dst, f.int != 0)
		case text:
			dst = append(dst, '"')
			dst = append(dst, f.str...)
			dst = append(dst, '"')
		}
	}
	return append(dst, '}')
}

// AppendHead begins a JSON object with the reserved keys; the caller adds fields and the closing brace.
func AppendHead(dst []byte, tsMillis, boot, seq int64) []byte {
	dst = append(dst, `{"ts":`...)
	dst = strconv.AppendInt(dst, tsMillis, 10)
	dst = append(dst, `,"boot":`...)
	dst = strconv.AppendInt(dst, boot, 10)
	dst = append(dst, `,"seq":`...)
	return strconv.AppendInt(dst, seq, 10)
}

// All yields the names of the fields with their types as profiles name them.
func (r *Reading) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, f := range r.Fields {
			if !yield(f.Name, [...]string{"float", "integer", "boolean", "string"}[f.kind]) {
				return
			}
		}
	}
}

// Replace gives a number that is already in the reading another value.
func (r *Reading) Replace(name string, v float64) {
	for i := range r.Fields {
		if r.Fields[i].Name == name && r.Fields[i].kind == number {
			r.Fields[i].num = v
		}
	}
}
