package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Everything stored begins with a magic word, the version of its format and a checksum of what follows.
const (
	magic         = "afrs"
	version       = 1
	envelopeBytes = len(magic) + 1 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("damaged")

func seal(payload []byte) []byte {
	out := make([]byte, 0, envelopeBytes+len(payload))
	out = append(append(out, magic...), version)
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(payload, castagnoli))
	return append(out, payload...)
}

func open(body []byte) ([]byte, error) {
	if len(body) < envelopeBytes || string(body[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: not a snapshot", errDamaged)
	}
	if v := body[len(magic)]; v != version {
		return nil, fmt.Errorf("%w: version %d, want %d", errDamaged, v, version)
	}
	payload := body[envelopeBytes:]
	if crc := binary.LittleEndian.Uint32(body[len(magic)+1:]); crc != crc32.Checksum(payload, castagnoli) {
		return nil, fmt.Errorf("%w: checksum", errDamaged)
	}
	return payload, nil
}

// checksum is of a whole body, envelope included: it ties a chunk to the manifest that names it.
func checksum(body []byte) uint32 { return crc32.Checksum(body, castagnoli) }
