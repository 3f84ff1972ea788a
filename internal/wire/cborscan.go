package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"sync"
	"unsafe"

	"aftercare/internal/fleet"

	"github.com/fxamacker/cbor/v2"
)

// CBOR's major types and what else its first byte can say (RFC 8949, section 3).
const (
	cborUnsigned, cborNegative, cborBytes, cborText, cborArray, cborMap, cborTag, cborSimple = 0, 1, 2, 3, 4, 5, 6, 7

	cborFalse, cborTrue, cborNull, cborUndefined, cborHalf, cborSingle, cborDouble, cborBreak = 20, 21, 22, 23, 25, 26, 27, 31

	cborTagDate, cborTagEpoch, cborTagSelf = 0, 1, 55799
)

// cborRules is the check that a payload is well formed and within limits, made once. What is left to the walk below is
// meaning, and limits that count differently (MaxKeys counts fields over nested maps).
var cborRules = sync.OnceValue(func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		MaxNestedLevels:  MaxDepth + 2,
		MaxArrayElements: MaxReadings,
		MaxMapPairs:      2 * MaxKeys,
		NaN:              cbor.NaNDecodeForbidden,
		Inf:              cbor.InfDecodeForbidden,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants: a test would have shown it
	}
	return mode
})

// cborScan walks over a payload that start has found to be well formed; so no step needs to check lengths.
type cborScan struct {
	b []byte
	i int
}

func (c *cborScan) start(payload []byte) error {
	c.b, c.i = payload, 0
	err := cborRules().Wellformed(payload)
	if err == nil {
		return nil
	}
	reason := ReasonSyntax
	var depth *cbor.MaxNestedLevelError
	var elements *cbor.MaxArrayElementsError
	var pairs *cbor.MaxMapPairsError
	var number *cbor.UnacceptableDataItemError
	switch {
	case errors.As(err, &depth):
		reason = ReasonDepth
	case errors.As(err, &elements):
		reason = ReasonTooMany
	case errors.As(err, &pairs):
		reason = ReasonKeys
	case errors.As(err, &number):
		reason = ReasonNumber
	}
	return refuse(reason, "%v", err)
}

// cborHead is the beginning of an item: its argument is a number, a length, a tag or the bits of a float.
type cborHead struct {
	major      byte
	info       byte
	arg        uint64
	indefinite bool
}

func (c *cborScan) peek() (major, info byte) { return c.b[c.i] >> 5, c.b[c.i] & 31 }

func (c *cborScan) head() cborHead {
	h := cborHead{}
	h.major, h.info = c.peek()
	c.i++
	switch rest := c.b[c.i:]; h.info {
	case 24:
		h.arg = uint64(rest[0])
		c.i++
	case 25:
		h.arg = uint64(binary.BigEndian.Uint16(rest))
		c.i += 2
	case 26:
		h.arg = uint64(binary.BigEndian.Uint32(rest))
		c.i += 4
	case 27:
		h.arg = binary.BigEndian.Uint64(rest)
		c.i += 8
	case 31:
		h.indefinite = true
	default:
		h.arg = uint64(h.info)
	}
	return h
}

// more tells whether an array or map of which n items were read goes on; at the end of an indefinite one it steps over the
// break.
func (c *cborScan) more(h cborHead, n uint64) bool {
	if !h.indefinite {
		return n < h.arg
	}
	if c.b[c.i] == 0xff {
		c.i++
		return false
	}
	return true
}

// bytes reads a byte or text string. It aliases the payload unless it came in chunks, which are joined in buf.
func (c *cborScan) bytes(h cborHead, buf *[]byte) []byte {
	if !h.indefinite {
		s := c.b[c.i : c.i+int(h.arg)]
		c.i += int(h.arg)
		return s
	}
	from := len(*buf)
	for c.more(h, 0) {
		chunk := c.head()
		*buf = append(*buf, c.b[c.i:c.i+int(chunk.arg)]...)
		c.i += int(chunk.arg)
	}
	return (*buf)[from:]
}

// str reads a text string at its head.
func (c *cborScan) str(h cborHead, buf *[]byte) string {
	b := c.bytes(h, buf)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// skip steps over one item. Its depth is bounded by start.
func (c *cborScan) skip() {
	h := c.head()
	switch h.major {
	case cborBytes, cborText:
		if h.indefinite {
			for c.more(h, 0) {
				c.skip()
			}
			return
		}
		c.i += int(h.arg)
	case cborArray:
		for n := uint64(0); c.more(h, n); n++ {
			c.skip()
		}
	case cborMap:
		for n := uint64(0); c.more(h, n); n++ {
			c.skip()
			c.skip()
		}
	case cborTag:
		c.skip()
	}
}

// number makes a value of an integer or a float whose head was read; ok is false for anything else.
func (h cborHead) number(buf *[]byte) (v fleet.Value, ok bool, err error) {
	switch {
	case h.major == cborUnsigned:
		return unsignedValue(buf, h.arg), true, nil
	case h.major == cborNegative && h.arg <= math.MaxInt64:
		return integerValue(buf, -1-int64(h.arg)), true, nil
	case h.major == cborNegative && h.arg == math.MaxUint64:
		return fleet.Value{Type: fleet.Float, Float: -0x1p64, Str: "-18446744073709551616"}, true, nil
	case h.major == cborNegative:
		from := len(*buf)
		*buf = strconv.AppendUint(append(*buf, '-'), h.arg+1, 10)
		return fleet.Value{Type: fleet.Float, Float: -float64(h.arg + 1), Str: view(*buf, from)}, true, nil
	case h.major != cborSimple:
		return v, false, nil
	}
	switch h.info {
	case cborHalf:
		v, err = floatValue(buf, half(uint16(h.arg)), 32)
	case cborSingle:
		v, err = floatValue(buf, float64(math.Float32frombits(uint32(h.arg))), 32)
	case cborDouble:
		v, err = floatValue(buf, math.Float64frombits(h.arg), 64)
	default:
		return v, false, nil
	}
	return v, true, err
}

// half converts a 16-bit float (RFC 8949, appendix D).
func half(bits uint16) float64 {
	exp, mant := int(bits>>10&31), float64(bits&1023)
	var f float64
	switch exp {
	case 0:
		f = math.Ldexp(mant, -24)
	case 31:
		if f = math.Inf(1); mant != 0 {
			f = math.NaN()
		}
	default:
		f = math.Ldexp(mant+1024, exp-25)
	}
	if bits&0x8000 != 0 {
		f = -f
	}
	return f
}
