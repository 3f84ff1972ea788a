package journal

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"strconv"

	"aftercare/internal/wire"
)

// JetStream keeps one hash a record. It tells that a record is damaged, not where. So every record that is larger than a chunk
// carries sums of our own: with them a flipped bit is found and turned back, and what is whole of a record that cannot be
// repaired is saved. The first sum is of what says whose record it is, the others of the chunks of the body, in order.
const (
	headerSums = "Aftercare-Sums" // base64 of the sums, 4 bytes each
	sumChunk   = 4096             // 5.3 bytes of text for 4096: 0.13 %
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumsOf returns the text of the header, empty for a body that is not larger than a chunk: any bit of such a record can be found
// with the record's hash alone.
func sumsOf(r *wire.Record) string {
	if len(r.Body) <= sumChunk {
		return ""
	}
	sums := make([]byte, 0, 4*(2+len(r.Body)/sumChunk))
	sums = binary.BigEndian.AppendUint32(sums, labelSum(r))
	for off := 0; off < len(r.Body); off += sumChunk {
		sums = binary.BigEndian.AppendUint32(sums, crc32.Checksum(r.Body[off:min(off+sumChunk, len(r.Body))], castagnoli))
	}
	return base64.RawStdEncoding.EncodeToString(sums)
}

func labelSum(r *wire.Record) uint32 {
	b := make([]byte, 0, 64)
	b = strconv.AppendInt(append(append(b, r.Kind...), ' '), int64(r.Partition), 10)
	b = strconv.AppendInt(append(b, ' '), r.Received.UnixNano(), 10)
	return crc32.Checksum(b, castagnoli)
}

// chunkSums reads the header back: the label's sum and those of the chunks; false when the text is not that of a body of size n.
func chunkSums(text string, n int) (label uint32, chunks []uint32, ok bool) {
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(raw) != 4*(1+(n+sumChunk-1)/sumChunk) {
		return 0, nil, false
	}
	for off := 4; off < len(raw); off += 4 {
		chunks = append(chunks, binary.BigEndian.Uint32(raw[off:]))
	}
	return binary.BigEndian.Uint32(raw), chunks, true
}

// badChunks returns the numbers of the chunks of body whose sums differ.
func badChunks(body []byte, sums []uint32) (bad []int) {
	for i, want := range sums {
		if crc32.Checksum(body[i*sumChunk:min((i+1)*sumChunk, len(body))], castagnoli) != want {
			bad = append(bad, i)
		}
	}
	return bad
}

// unflip turns the one bit back that makes chunk have the sum want, and reports whether there is one. A CRC is linear: the
// difference of the sums depends only on where the flipped bit is, and differs for every place in a chunk.
func unflip(chunk []byte, want uint32) bool {
	diff := crc32.Checksum(chunk, castagnoli) ^ want
	var place [8]uint32 // what a flip of each bit of the byte at i does to the sum
	for bit := range place {
		place[bit] = castagnoli[1<<bit]
	}
	for i := len(chunk) - 1; i >= 0; i-- {
		for bit, d := range place {
			if d == diff {
				chunk[i] ^= 1 << bit
				return true
			}
			place[bit] = castagnoli[d&0xff] ^ d>>8
		}
	}
	return false
}
