package wire

import (
	"time"

	"aftercare/internal/fleet"
)

// senmlJSON reads SenML in JSON with the scanner of the JSON format.
type senmlJSON struct {
	pack   senmlPack
	scan   JSONDecoder
	record senmlRecord
}

func (d *senmlJSON) decode(payload []byte, now time.Time, yield func(*fleet.Reading, []byte) error) error {
	d.pack.reset()
	if err := d.scan.open(payload); err != nil {
		return err
	}
	s := &d.scan
	if s.space(); s.peek() != '[' {
		return s.syntax("a list of records")
	}
	for first := true; ; first = false {
		s.i++
		if s.space(); first && s.peek() == ']' {
			return refuse(ReasonEmpty, "the list of records is empty")
		}
		d.record = senmlRecord{}
		if err := s.each(func(key string) error { return d.member(key) }); err != nil {
			return err
		}
		if err := d.pack.take(&d.record, now); err != nil {
			return err
		}
		if s.space(); s.peek() == ',' {
			continue
		}
		if s.peek() != ']' {
			return s.syntax("',' or ']'")
		}
		s.i++
		if s.space(); s.i != len(s.s) {
			return s.syntax("the end")
		}
		return d.pack.finish(payload, yield)
	}
}

func (d *senmlJSON) member(key string) error {
	label, err := senmlLabelOf(key)
	if err != nil {
		return err
	}
	if label == senmlUnknown {
		return d.scan.skip(2)
	}
	v, ok, err := d.scan.scalar()
	if err != nil {
		return err
	}
	if !ok {
		return refuse(ReasonSyntax, "%q is null", key)
	}
	return d.record.set(label, v)
}

// each reads the object that comes next and calls member at each member's value.
func (d *JSONDecoder) each(member func(key string) error) error {
	if d.peek() != '{' {
		return d.syntax("an object")
	}
	d.i++
	if d.space(); d.peek() == '}' {
		d.i++
		return nil
	}
	for {
		d.space()
		key, err := d.str()
		if err != nil {
			return err
		}
		if d.space(); d.peek() != ':' {
			return d.syntax("':'")
		}
		d.i++
		d.space()
		if err := member(key); err != nil {
			return err
		}
		d.space()
		d.i++
		switch c := d.before(); c {
		case ',':
		case '}':
			return nil
		default:
			d.i--
			return d.syntax("',' or '}'")
		}
	}
}

// before returns the byte that was just stepped over.
func (d *JSONDecoder) before() byte {
	if d.i > len(d.s) {
		return 0
	}
	return d.s[d.i-1]
}

// skip steps over a value of any kind, checking its grammar.
func (d *JSONDecoder) skip(depth int) error {
	if depth > MaxDepth {
		return refuse(ReasonDepth, "nested deeper than %d", MaxDepth)
	}
	switch d.peek() {
	case '{':
		return d.each(func(string) error { return d.skip(depth + 1) })
	case '[':
		for first := true; ; first = false {
			d.i++
			if d.space(); first && d.peek() == ']' {
				d.i++
				return nil
			}
			if err := d.skip(depth + 1); err != nil {
				return err
			}
			if d.space(); d.peek() == ']' {
				d.i++
				return nil
			}
			if d.peek() != ',' {
				return d.syntax("',' or ']'")
			}
		}
	case '"':
		_, err := d.str()
		return err
	default:
		_, _, err := d.scalar()
		return err
	}
}

// senmlCBOR reads SenML in CBOR, whose labels are small integers (RFC 8428, section 6).
type senmlCBOR struct {
	cborScan
	pack   senmlPack
	record senmlRecord
}

func (d *senmlCBOR) decode(payload []byte, now time.Time, yield func(*fleet.Reading, []byte) error) error {
	d.pack.reset()
	if err := d.start(payload); err != nil {
		return err
	}
	h := d.head()
	if h.major == cborTag && h.arg == cborTagSelf {
		h = d.head()
	}
	if h.major != cborArray {
		return refuse(ReasonSyntax, "want an array of records")
	}
	n := uint64(0)
	for ; d.more(h, n); n++ {
		item := d.head()
		if item.major != cborMap {
			return refuse(ReasonSyntax, "byte %d: want a map", d.i)
		}
		d.record = senmlRecord{}
		for m := uint64(0); d.more(item, m); m++ {
			if err := d.member(); err != nil {
				return err
			}
		}
		if err := d.pack.take(&d.record, now); err != nil {
			return err
		}
	}
	if n == 0 {
		return refuse(ReasonEmpty, "the list of records is empty")
	}
	return d.pack.finish(payload, yield)
}

func (d *senmlCBOR) member() error {
	label, err := d.label()
	if err != nil {
		return err
	}
	if label == senmlUnknown {
		d.skip()
		return nil
	}
	h := d.head()
	v, ok, err := h.number(&d.pack.names)
	switch {
	case err != nil:
		return err
	case ok:
	case h.major == cborText:
		v, err = stringValue(d.str(h, &d.pack.names))
	case h.major == cborBytes && label == senmlVd:
		v, err = bytesValue(&d.pack.names, d.bytes(h, &d.pack.names))
	case h.major == cborSimple && (h.info == cborTrue || h.info == cborFalse):
		v = boolValue(h.info == cborTrue)
	default:
		err = refuse(ReasonSyntax, "%q has a value of CBOR's type %d", senmlNames[label], h.major)
	}
	if err != nil {
		return err
	}
	if label == senmlVd && h.major != cborBytes {
		return refuse(ReasonSyntax, "vd is no byte string")
	}
	return d.record.set(label, v)
}

// label reads a label: an integer, or a text for those that have no number.
func (d *senmlCBOR) label() (senmlLabel, error) {
	h := d.head()
	switch h.major {
	case cborText:
		return senmlLabelOf(d.str(h, &d.pack.names))
	case cborUnsigned:
		if h.arg <= uint64(senmlVd-senmlN) {
			return senmlN + senmlLabel(h.arg), nil
		}
		return senmlUnknown, nil
	case cborNegative: // -1 bver, -2 bn, -3 bt, -4 bu, -5 bv, -6 bs
		if h.arg <= uint64(senmlBs) {
			return senmlLabel(h.arg), nil
		}
		return senmlUnknown, nil
	default:
		return senmlUnknown, refuse(ReasonSyntax, "byte %d: want an integer or a text as label", d.i)
	}
}
