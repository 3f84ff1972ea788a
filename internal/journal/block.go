package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats.go"

	"aftercare/internal/wire"
)

// The layout of JetStream's message blocks (server/filestore.go of nats-server 2.15), as far as it is needed to find damage:
//
//	length(4, top bit: has a header) sequence(8) time(8) subject length(2) subject [header length(4) header] body hash(8)
//
// all little endian, without compression and encryption. The hash is HighwayHash-64 of sequence, time, subject, header and body under a
// key made of the stream's name and the block's number; the three lengths are not in it. A sequence with erasedBit says that
// it is used and its record gone; one with tombBit that a record in another place was deleted.
const (
	recordHead  = 22
	recordHash  = 8
	emptyRecord = recordHead + recordHash
	recordMax   = 32 << 20

	headerBit = uint32(1) << 31
	erasedBit = uint64(1) << 63
	tombBit   = uint64(1) << 62
	seqBits   = tombBit - 1
)

// format knows the records of one block file.
type format struct {
	hash   *highwayhash.Digest64
	prefix string // of every subject
}

func newFormat(stream string, block int) (*format, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, block))
	h, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return nil, fmt.Errorf("journal: hash of block %d of %q: %w", block, stream, err)
	}
	return &format{hash: h, prefix: subjectRoot + stream + "."}, nil
}

// stored is a record as it lies in a block; its parts point into raw.
type stored struct {
	raw     []byte
	seq     uint64 // without the bits
	time    int64
	tomb    bool
	gone    bool // erased
	subject []byte
	header  []byte
	body    []byte
}

// parse finds the parts of the record that data begins with, without looking whether they are as they were written.
func (f *format) parse(data []byte) (r stored, ok bool) {
	if len(data) < emptyRecord {
		return r, false
	}
	le := binary.LittleEndian
	length := le.Uint32(data)
	hasHeader := length&headerBit != 0
	n, subject := int(length&^headerBit), int(le.Uint16(data[20:]))
	if n < emptyRecord || n > len(data) || n > recordMax || recordHead+subject > n-recordHash {
		return r, false
	}
	raw := le.Uint64(data[4:])
	r = stored{raw: data[:n], seq: raw & seqBits, tomb: raw&tombBit != 0, gone: raw&erasedBit != 0, time: int64(le.Uint64(data[12:])), //nolint:gosec // as written
		subject: data[recordHead : recordHead+subject], body: data[recordHead+subject : n-recordHash]}
	if !hasHeader {
		return r, true
	}
	if len(r.body) < 4 {
		return r, false
	}
	h := int(le.Uint32(r.body))
	if h > len(r.body)-4 {
		return r, false
	}
	r.header, r.body = r.body[4:4+h], r.body[4+h:]
	return r, true
}

var headerEnd = []byte("\r\n\r\n")

// read is parse for a record that is whole: its hash is right, and so are the lengths, which the hash does not cover.
func (f *format) read(data []byte) (stored, bool) {
	r, ok := f.parse(data)
	if !ok || f.sum(&r) != binary.LittleEndian.Uint64(r.raw[len(r.raw)-recordHash:]) {
		return r, false
	}
	if r.header != nil && bytes.Index(r.header, headerEnd) != len(r.header)-len(headerEnd) {
		return r, false
	}
	if r.tomb || r.gone {
		return r, true
	}
	return r, strings.HasPrefix(string(r.subject), f.prefix)
}

func (f *format) sum(r *stored) uint64 {
	f.hash.Reset()
	_, _ = f.hash.Write(r.raw[4:20])
	_, _ = f.hash.Write(r.subject)
	_, _ = f.hash.Write(r.header)
	_, _ = f.hash.Write(r.body)
	return f.hash.Sum64()
}

// next returns where the first whole record behind from begins; len(data) when there is none. Its sequence must be above last: a
// body may hold the bytes of an old record.
func (f *format) next(data []byte, from int, last uint64) int {
	for i := from; i+emptyRecord <= len(data); i++ {
		le := binary.LittleEndian
		n, subject := le.Uint32(data[i:])&^headerBit, le.Uint16(data[i+20:])
		if n < emptyRecord || n > recordMax || uint64(i)+uint64(n) > uint64(len(data)) {
			continue
		}
		if subject == 0 && n != emptyRecord || subject > 0 && !bytes.HasPrefix(data[i+recordHead:], []byte(f.prefix)) {
			continue
		}
		if r, ok := f.read(data[i:]); ok && (r.tomb || r.seq > last) {
			return i
		}
	}
	return len(data)
}

// erased is what stands in for a record that is lost: its sequence is used, so that no other record gets it.
func (f *format) erased(dst []byte, seq uint64, at int64) []byte {
	raw := make([]byte, emptyRecord)
	binary.LittleEndian.PutUint32(raw, emptyRecord)
	binary.LittleEndian.PutUint64(raw[4:], seq|erasedBit)
	binary.LittleEndian.PutUint64(raw[12:], uint64(at)) //nolint:gosec // as read
	r := stored{raw: raw}
	binary.LittleEndian.PutUint64(raw[recordHead:], f.sum(&r))
	return append(dst, raw...)
}

// repair returns what raw was before a bit of it flipped; false when it was more than a bit, or when looking for it would hash more
// than budget bytes. raw is all from the record's beginning to the next record's.
func (f *format) repair(raw []byte, budget *int64) ([]byte, bool) {
	if len(raw) < emptyRecord || len(raw) > recordMax {
		return nil, false
	}
	fixed := bytes.Clone(raw)
	le := binary.LittleEndian
	length := uint32(len(raw)) //nolint:gosec // at most recordMax
	for _, bit := range []uint32{le.Uint32(raw) & headerBit, ^le.Uint32(raw) & headerBit} {
		le.PutUint32(fixed, length|bit)
		if _, ok := f.read(fixed); ok {
			return fixed, true
		}
	}
	le.PutUint32(fixed, length|le.Uint32(raw)&headerBit)
	f.setHeaderLength(fixed)
	if _, ok := f.read(fixed); ok {
		return fixed, true
	}
	r, parsed := f.parse(fixed)
	if parsed && f.repairByParts(&r) {
		return fixed, true
	}
	// What the sums do not tell is small, or in front of the body.
	fixed = bytes.Clone(raw)
	le.PutUint32(fixed, length|le.Uint32(raw)&headerBit)
	head := min(len(fixed), 256)
	if f.flipEach(fixed, 4, head, budget) {
		return fixed, true
	}
	f.setHeaderLength(fixed)
	rest := len(fixed)
	if parsed && r.header != nil && len(r.body) > sumChunk {
		rest = min(max(len(raw)-recordHash-len(r.body), head), rest)
	}
	return fixed, f.flipEach(fixed, head, rest, budget)
}

// setHeaderLength puts right how long the header is: the hash does not cover it, and its end can be seen.
func (f *format) setHeaderLength(raw []byte) {
	le := binary.LittleEndian
	at := recordHead + int(le.Uint16(raw[20:]))
	if le.Uint32(raw)&headerBit == 0 || at+4 > len(raw) {
		return
	}
	if n := bytes.Index(raw[at+4:], headerEnd); n >= 0 {
		le.PutUint32(raw[at:], uint32(n+len(headerEnd))) //nolint:gosec // within a record
	}
}

// repairByParts mends r in place when the flipped bit is in its hash, in its body or in its sums. It leaves r as it was when not.
func (f *format) repairByParts(r *stored) bool {
	stands := r.raw[len(r.raw)-recordHash:]
	was, sum := binary.LittleEndian.Uint64(stands), f.sum(r)
	if bits.OnesCount64(sum^was) == 1 {
		binary.LittleEndian.PutUint64(stands, sum)
		if _, ok := f.read(r.raw); ok {
			return true
		}
		binary.LittleEndian.PutUint64(stands, was)
	}
	return r.header != nil && f.repairBySums(r)
}

// flipEach tries every bit from a byte to another until the record is whole.
func (f *format) flipEach(raw []byte, from, to int, budget *int64) bool {
	if cost := 8 * int64(to-from) * int64(len(raw)); cost > *budget {
		return false
	}
	for i := from; i < to; i++ {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			if _, ok := f.read(raw); ok {
				return true
			}
			raw[i] ^= 1 << bit
			*budget -= int64(len(raw))
		}
	}
	return false
}

// repairBySums mends r in place: a bit of each damaged chunk, or the sum of the one that seems to be. It leaves r as it was
// when that does not help.
func (f *format) repairBySums(r *stored) bool {
	before := bytes.Clone(r.raw)
	at, text := sumsText(r.header)
	_, sums, ok := chunkSums(text, len(r.body))
	if ok {
		bad := badChunks(r.body, sums)
		for _, i := range bad {
			ok = unflip(r.body[i*sumChunk:min((i+1)*sumChunk, len(r.body))], sums[i]) && ok
		}
		if _, whole := f.read(r.raw); ok && whole {
			return true
		}
		copy(r.raw, before)
	}
	// The body may be whole and the damage in the sums.
	w := decodeStored(r)
	if right := sumsOf(&w); at > 0 && len(right) == len(text) {
		copy(r.header[at:], right)
		if _, whole := f.read(r.raw); whole {
			return true
		}
	}
	copy(r.raw, before)
	return false
}

// sumsText returns the text of the sums in a raw header and where it begins; 0 when there is none.
func sumsText(header []byte) (int, string) {
	const name = "\r\n" + headerSums + ": "
	at := bytes.Index(header, []byte(name))
	if at < 0 {
		return 0, ""
	}
	at += len(name)
	n := bytes.Index(header[at:], []byte("\r\n"))
	if n < 0 {
		return 0, ""
	}
	return at, string(header[at : at+n])
}

// decodeStored reads a record of ours from its parts.
func decodeStored(r *stored) wire.Record {
	h, _ := nats.DecodeHeadersMsg(r.header) // damaged: then its fields are missing
	subject := string(r.subject)
	stream := strings.TrimPrefix(subject, subjectRoot)
	stream, _, _ = strings.Cut(stream, ".")
	return decode(wire.Stream(stream), subject, r.seq, h, r.body)
}
