package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/minio/highwayhash"

	"aftercare/internal/wire"
)

// positions looks at what the server keeps of each consumer of a stream. With a damaged description it takes the whole stream out
// of service, with a damaged position it refuses the consumer. Such a consumer is taken away here; it is made again and reads all
// that is kept once more, which every reader can bear. last is the stream's highest sequence, 0 when it is not known.
//
// A position has no checksum: a flipped bit in it is noticed here only when it makes no sense. See committed.go for the others.
func (in *inspector) positions(stream wire.Stream, last uint64) ([]Damage, error) {
	dirs, err := filepath.Glob(filepath.Join(in.dir, "jetstream", "*", "streams", string(stream), "obs", "*"))
	if err != nil {
		return nil, err
	}
	var damages []Damage
	for _, dir := range dirs {
		what, err := brokenConsumer(dir, stream, last)
		if err != nil {
			return damages, err
		}
		if what == "" {
			continue
		}
		damages = append(damages, Damage{Stream: stream, File: filepath.Join(dir, what), Outcome: OutcomePosition})
		if !in.mend {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return damages, err
		}
	}
	return damages, nil
}

// brokenConsumer returns the name of the file that is damaged, empty when none is.
func brokenConsumer(dir string, stream wire.Stream, last uint64) (string, error) {
	description, err := os.ReadFile(filepath.Join(dir, "meta.inf"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil // being made or taken away: the server passes it over
	}
	if err != nil {
		return "", err
	}
	sum, err := os.ReadFile(filepath.Join(dir, "meta.sum"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s/%s", stream, filepath.Base(dir)))
	hash := highwayhash.Sum64(description, key[:])
	if string(sum) != hex.EncodeToString(binary.LittleEndian.AppendUint64(nil, hash)) {
		return "meta.inf", nil
	}
	position, err := os.ReadFile(filepath.Join(dir, "o.dat"))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil || plausiblePosition(position, last) {
		return "", err
	}
	return "o.dat", nil
}

// plausiblePosition reads a consumer's position as the server does: a magic number, a version, how far was acknowledged and delivered
// (each as number of the delivery and sequence), then what was delivered and not acknowledged, and what was delivered again.
func plausiblePosition(data []byte, last uint64) bool {
	if len(data) < 2 || data[0] != 22 || data[1] != 2 {
		return false
	}
	r := bytes.NewReader(data[2:])
	var n [5]uint64 // the last one is the number of entries that follow
	for i := range n {
		v, err := binary.ReadUvarint(r)
		if err != nil {
			return false
		}
		n[i] = v
	}
	acked, delivered := n[1], n[3]
	if n[0] > n[2] || acked > delivered || last > 0 && acked > last || n[4] > uint64(len(data)) {
		return false
	}
	if n[4] > 0 {
		if _, err := binary.ReadVarint(r); err != nil {
			return false
		}
	}
	for range n[4] {
		_, err1 := binary.ReadUvarint(r)
		_, err2 := binary.ReadUvarint(r)
		_, err3 := binary.ReadVarint(r)
		if errors.Join(err1, err2, err3) != nil {
			return false
		}
	}
	again, err := binary.ReadUvarint(r)
	if err != nil || again > uint64(len(data)) {
		return false
	}
	for range 2 * again {
		if _, err := binary.ReadUvarint(r); err != nil {
			return false
		}
	}
	return r.Len() == 0
}
