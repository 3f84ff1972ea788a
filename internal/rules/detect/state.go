package detect

import (
	"encoding/binary"
	"errors"
	"math"
)

// errState says that what was read is not the state of that detector.
var errState = errors.New("detector: the state that was kept is damaged")

// appendNumbers encodes numbers, 8 bytes each, behind a byte that says which form of state it is and one with their number.
func appendNumbers(b []byte, form byte, numbers []*float64) []byte {
	b = append(b, form, byte(len(numbers)))
	for _, x := range numbers {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(*x))
	}
	return b
}

// readNumbers is its reverse; it returns what follows. Nothing is changed when it fails.
func readNumbers(b []byte, form byte, numbers []*float64) ([]byte, error) {
	if len(b) < 2+8*len(numbers) || b[0] != form || int(b[1]) != len(numbers) {
		return nil, errState
	}
	b = b[2:]
	for i := range numbers {
		if v := math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:])); math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, errState
		}
	}
	for _, x := range numbers {
		*x = math.Float64frombits(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	return b, nil
}
