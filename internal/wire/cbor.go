package wire

import (
	"time"

	"aftercare/internal/fleet"
)

// cborDecoder reads CBOR payloads of the shape of the JSON format: a map, an array of maps, or {"readings": [maps]} with an
// optional common "boot" before it, with the same keys and rules. What JSON does not have: "ts" may be tagged as a date (0)
// or as seconds since 1970 (1); byte strings become base64url text; integers of 64 bits keep every digit, larger ones
// (bignums) and all other tags are refused; the tag that says "this is CBOR" may stand before the payload.
type cborDecoder struct {
	fields
	cborScan
	boot    fleet.Value // from {"boot":n,"readings":[...]}
	hasBoot bool
	bootBuf []byte
}

func (d *cborDecoder) decode(payload []byte, yield func(*fleet.Reading, []byte) error) error {
	if err := d.start(payload); err != nil {
		return err
	}
	d.hasBoot, d.bootBuf, d.text = false, d.bootBuf[:0], d.text[:0]
	h := d.head()
	if h.major == cborTag && h.arg == cborTagSelf {
		h = d.head()
	}
	switch h.major {
	case cborArray:
		return d.list(h, 1, yield)
	case cborMap:
	default:
		return refuse(ReasonSyntax, "want a map or an array of maps")
	}
	start := d.i
	list, ok, err := d.envelope(h)
	if err != nil {
		return err
	}
	if ok {
		return d.list(list, 2, yield)
	}
	d.i = start
	if err := d.one(h, 0); err != nil {
		return err
	}
	return yield(&d.reading, payload)
}

// envelope looks whether the map is {"readings":[...]} or {"boot":n,"readings":[...]} and nothing else; if so, it stands
// behind the array's head, which it returns.
func (d *cborDecoder) envelope(h cborHead) (list cborHead, ok bool, err error) {
	d.hasBoot = false
	for n := uint64(0); n < 2 && d.more(h, n); n++ {
		key, err := d.key()
		if err != nil {
			return list, false, err
		}
		v := d.head()
		if key == "readings" && v.major == cborArray {
			first := d.i
			for m := uint64(0); d.more(v, m); m++ {
				d.skip()
			}
			if d.more(h, n+1) {
				return list, false, refuse(ReasonSyntax, "want nothing behind the readings")
			}
			d.i = first
			return v, true, nil
		}
		if key != "boot" {
			break
		}
		if d.boot, d.hasBoot, err = v.number(&d.bootBuf); !d.hasBoot || err != nil {
			return list, false, err
		}
	}
	d.hasBoot = false
	return list, false, nil
}

// list reads the maps of an array whose head was read.
func (d *cborDecoder) list(h cborHead, depth int, yield func(*fleet.Reading, []byte) error) error {
	n := uint64(0)
	for ; d.more(h, n); n++ {
		if n == MaxReadings {
			return refuse(ReasonTooMany, "more than %d readings in one payload", MaxReadings)
		}
		start := d.i
		item := d.head()
		if item.major != cborMap {
			return refuse(ReasonSyntax, "byte %d: want a map", start+1)
		}
		if err := d.one(item, depth); err != nil {
			return err
		}
		if err := yield(&d.reading, d.b[start:d.i]); err != nil {
			return err
		}
	}
	if n == 0 {
		return refuse(ReasonEmpty, "the list of readings is empty")
	}
	return nil
}

// one reads a reading from the map whose head was read.
func (d *cborDecoder) one(h cborHead, depth int) error {
	d.begin()
	if d.hasBoot {
		if err := d.count("boot", d.boot, &d.reading.Boot); err != nil {
			return err
		}
	}
	return d.members(h, depth+1)
}

func (d *cborDecoder) members(h cborHead, depth int) error {
	if depth > MaxDepth {
		return refuse(ReasonDepth, "nested deeper than %d", MaxDepth)
	}
	for n := uint64(0); d.more(h, n); n++ {
		key, err := d.key()
		if err != nil {
			return err
		}
		if err := d.member(key, depth); err != nil {
			return err
		}
	}
	return nil
}

// key reads a map's key, which must be text.
func (d *cborDecoder) key() (string, error) {
	h := d.head()
	if h.major != cborText {
		return "", refuse(ReasonName, "byte %d: want a text as the name of a field", d.i)
	}
	v, err := stringValue(d.str(h, &d.text))
	return v.Str, err
}

func (d *cborDecoder) member(key string, depth int) error {
	if key == "ts" && len(d.prefix) == 0 {
		return d.timestamp()
	}
	h := d.head()
	if h.major == cborMap {
		mark, err := d.enter(key)
		if err != nil {
			return err
		}
		err = d.members(h, depth+1)
		d.prefix = d.prefix[:mark]
		return err
	}
	v, ok, err := d.scalar(h)
	if err != nil || !ok {
		return err
	}
	return d.put(key, v)
}

// scalar reads a field's value; ok is false for null and undefined.
func (d *cborDecoder) scalar(h cborHead) (v fleet.Value, ok bool, err error) {
	if v, ok, err = h.number(&d.text); ok || err != nil {
		return v, ok, err
	}
	switch {
	case h.major == cborText:
		v, err = stringValue(d.str(h, &d.text))
		return v, true, err
	case h.major == cborBytes:
		v, err = bytesValue(&d.text, d.bytes(h, &d.text))
		return v, true, err
	case h.major == cborArray:
		return v, false, refuse(ReasonArray, "a list cannot be a field's value")
	case h.major == cborTag:
		return v, false, refuse(ReasonTag, "the tag %d cannot be a field's value", h.arg)
	case h.info == cborTrue, h.info == cborFalse:
		return boolValue(h.info == cborTrue), true, nil
	case h.info == cborNull, h.info == cborUndefined:
		return v, false, nil
	default:
		return v, false, refuse(ReasonSyntax, "the simple value %d cannot be a field's value", h.arg)
	}
}

// timestamp reads "ts": integer milliseconds since 1970, an RFC 3339 text, tagged or not, or seconds with the tag for them.
func (d *cborDecoder) timestamp() error {
	if !d.reading.Time.IsZero() {
		return refuse(ReasonDuplicate, "%q is given twice", "ts")
	}
	h := d.head()
	tag := int64(-1)
	if h.major == cborTag {
		if tag = cborTagDate; h.arg != cborTagDate {
			tag = cborTagEpoch
		}
		if h.arg > cborTagEpoch {
			return refuse(ReasonTime, "ts has the tag %d", h.arg)
		}
		h = d.head()
	}
	v, ok, err := d.scalar(h)
	if err != nil {
		return err
	}
	if !ok && tag < 0 {
		return nil
	}
	switch {
	case v.Type == fleet.String && h.major == cborText && tag != cborTagEpoch:
		t, err := time.Parse(time.RFC3339Nano, v.Str)
		if err != nil {
			return refuse(ReasonTime, "ts %.60q is not RFC 3339", v.Str)
		}
		d.reading.Time = t.Truncate(time.Millisecond)
		return nil
	case ok && v.Type == fleet.Float && tag == cborTagEpoch:
		d.reading.Time, err = secondsTime(v.Float)
		return err
	case ok && v.Type == fleet.Float && tag < 0 && h.major != cborSimple && v.Float > -maxSeconds*1000 && v.Float < maxSeconds*1000:
		d.reading.Time = time.UnixMilli(int64(v.Float))
		return nil
	}
	return refuse(ReasonTime, "ts is neither integer milliseconds since 1970, nor an RFC 3339 text, nor tagged seconds")
}
