package wire

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"aftercare/internal/fleet"
)

// The scanner below the decoder: tokens by the letter of RFC 8259.

// number reads a number by JSON's grammar. Values beyond a float64 are refused; so NaN and Inf cannot come in.
func (d *JSONDecoder) number() (fleet.Value, error) {
	start, i, s := d.i, d.i, d.s
	if i < len(s) && s[i] == '-' {
		i++
	}
	digits := func() bool {
		from := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > from
	}
	first := i
	ok := digits() && (s[first] != '0' || i == first+1)
	if ok && i < len(s) && s[i] == '.' {
		i++
		ok = digits()
	}
	if ok && i < len(s) && s[i]|0x20 == 'e' {
		if i++; i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		ok = digits()
	}
	d.i = i
	if !ok {
		return fleet.Value{}, d.syntax("a number")
	}
	text := s[start:i]
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return fleet.Value{}, refuse(ReasonNumber, "%.40s does not fit a 64-bit float", text)
	}
	if len(text) > 32 { // more digits than a float holds: no reason to carry them
		text = strconv.FormatFloat(f, 'g', -1, 64)
	}
	return fleet.Value{Type: fleet.Float, Float: f, Str: text}, nil
}

// str reads the string at '"'. It aliases the payload unless it holds escapes.
func (d *JSONDecoder) str() (string, error) {
	if d.peek() != '"' {
		return "", d.syntax("a string")
	}
	d.i++
	start := d.i
	for ; d.i < len(d.s); d.i++ {
		switch c := d.s[d.i]; {
		case c == '"':
			d.i++
			return d.s[start : d.i-1], nil
		case c == '\\':
			return d.escaped(start)
		case c < ' ':
			return "", d.syntax("no control character in a string")
		}
	}
	return "", d.syntax("the end of the string")
}

func (d *JSONDecoder) escaped(start int) (string, error) {
	buf := append(make([]byte, 0, 64), d.s[start:d.i]...)
	for d.i < len(d.s) {
		c := d.s[d.i]
		d.i++
		switch {
		case c == '"':
			return string(buf), nil
		case c < ' ':
			return "", d.syntax("no control character in a string")
		case c != '\\':
			buf = append(buf, c)
			continue
		}
		var err error
		if buf, err = d.escape(buf); err != nil {
			return "", err
		}
	}
	return "", d.syntax("the end of the string")
}

func (d *JSONDecoder) escape(buf []byte) ([]byte, error) {
	c := d.peek()
	d.i++
	switch c {
	case '"', '\\', '/':
		return append(buf, c), nil
	case 'b':
		return append(buf, '\b'), nil
	case 'f':
		return append(buf, '\f'), nil
	case 'n':
		return append(buf, '\n'), nil
	case 'r':
		return append(buf, '\r'), nil
	case 't':
		return append(buf, '\t'), nil
	case 'u':
		r, ok := d.hex()
		if ok && utf16.IsSurrogate(r) {
			low := rune(0)
			if ok = d.word(`\u`); ok {
				low, ok = d.hex()
			}
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return nil, refuse(ReasonUTF8, "half of a surrogate pair in a string")
			}
		}
		if !ok {
			return nil, d.syntax("four hexadecimal digits")
		}
		return utf8.AppendRune(buf, r), nil
	default:
		return nil, d.syntax("an escape")
	}
}

func (d *JSONDecoder) hex() (rune, bool) {
	if len(d.s)-d.i < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(d.s[d.i:d.i+4], 16, 16)
	d.i += 4
	return rune(n), err == nil
}

func (d *JSONDecoder) space() {
	for d.i < len(d.s) {
		switch d.s[d.i] {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return
		}
	}
}

func (d *JSONDecoder) peek() byte {
	if d.i < len(d.s) {
		return d.s[d.i]
	}
	return 0
}

func (d *JSONDecoder) syntax(want string) error {
	at := min(d.i, len(d.s))
	return refuse(ReasonSyntax, "byte %d: want %s, have %.20q", at+1, want, d.s[at:])
}
