package presence

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"aftercare/internal/fleet"
)

// A snapshot is one body per shard, split into parts when it grows, and a manifest that says whether the end was orderly.
//
//	body:  version, more (1: another part follows), entries..., CRC-32 of all before
//	entry: tenant and serial (length, bytes), flags, cause, since and heard (uvarint milliseconds)
const (
	snapVersion = 1
	maxBody     = 900 << 10
	keyManifest = "presence.manifest"
)

// What of the flags is kept. Owed is also what was on its way to Record.
const keptFlags = online | connected | owed

func bodyKey(shard, part int) string { return fmt.Sprintf("presence.%d.%d", shard, part) }

// save keeps the shards that changed, at the end all of them with the time each was last heard.
func (t *Tracker) save(ctx context.Context, clean bool) {
	if t.snaps == nil {
		return
	}
	for i := range t.shards {
		if err := t.saveShard(ctx, i, clean); err != nil {
			t.metrics.failures.WithLabelValues("save").Inc()
			t.log.Warn("presence not kept, trying again", "err", err)
			return
		}
	}
	if !clean {
		return
	}
	if err := t.snaps.Save(ctx, keyManifest, []byte{snapVersion, 1}); err != nil {
		t.metrics.failures.WithLabelValues("save").Inc()
		t.log.Warn("presence kept, but not that the end was orderly", "err", err)
	}
}

func (t *Tracker) saveShard(ctx context.Context, i int, all bool) error {
	s := &t.shards[i]
	s.mu.Lock()
	if !s.dirty && (!all || len(s.index) == 0) {
		s.mu.Unlock()
		return nil
	}
	s.dirty = false
	parts := s.encode()
	s.mu.Unlock()
	for p, body := range parts {
		if err := t.snaps.Save(ctx, bodyKey(i, p), body); err != nil {
			s.mu.Lock()
			s.dirty = true
			s.mu.Unlock()
			return err
		}
	}
	return nil
}

func (s *shard) encode() (parts [][]byte) {
	body := []byte{snapVersion, 0}
	for _, id := range s.index {
		e := s.entry(id)
		if e.cause == causeNone {
			continue
		}
		if len(body) > maxBody {
			body[1] = 1
			parts = append(parts, seal(body))
			body = []byte{snapVersion, 0}
		}
		flags := e.flags & keptFlags
		if e.pending > 0 {
			flags |= owed
		}
		if e.flags&wasConn != 0 {
			flags |= connected
		}
		for _, name := range []string{e.dev.Key.Tenant, e.dev.Key.Serial} {
			body = append(binary.AppendUvarint(body, uint64(len(name))), name...)
		}
		body = append(body, flags, byte(e.cause))
		body = binary.AppendUvarint(binary.AppendUvarint(body, uint64(e.since)), uint64(e.heard)) //nolint:gosec // after 1970
	}
	return append(parts, seal(body))
}

func seal(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(body, crc32.ChecksumIEEE(body))
}

// load reads what was kept. What cannot be read is left out, loudly: those devices are not known until they are heard. An
// error is the journal's, and worth another try.
func (t *Tracker) load(ctx context.Context) error {
	if t.snaps == nil {
		return nil
	}
	manifest, _, err := t.snaps.Load(ctx, keyManifest)
	if err != nil {
		return fmt.Errorf("load %s: %w", keyManifest, err)
	}
	t.resaid = len(manifest) != 2 || manifest[1] != 1
	now := t.now().UnixMilli()
	for i := range t.shards {
		for part, more := 0, true; more; part++ {
			body, ok, err := t.snaps.Load(ctx, bodyKey(i, part))
			if err != nil {
				return fmt.Errorf("load %s: %w", bodyKey(i, part), err)
			}
			if !ok {
				break
			}
			list, again, err := decode(body)
			if err != nil {
				t.metrics.failures.WithLabelValues("load").Inc()
				t.log.Error("PRESENCE OF SOME DEVICES CANNOT BE READ; they are unknown until they are heard", "key", bodyKey(i, part), "err", err)
				break
			}
			more = again
			for _, k := range list {
				t.restore(k, now)
			}
		}
	}
	if err := t.snaps.Save(ctx, keyManifest, []byte{snapVersion, 0}); err != nil {
		return fmt.Errorf("save %s: %w", keyManifest, err)
	}
	return nil
}

// kept is an entry as a snapshot has it.
type kept struct {
	key          fleet.DeviceKey
	flags        uint8
	cause        cause
	since, heard int64
}

var errCut = errors.New("it is cut short or damaged")

func decode(body []byte) (list []kept, more bool, err error) {
	if len(body) < 6 {
		return nil, false, errCut
	}
	rest, sum := body[:len(body)-4], binary.LittleEndian.Uint32(body[len(body)-4:])
	if crc32.ChecksumIEEE(rest) != sum {
		return nil, false, errCut
	}
	if rest[0] != snapVersion {
		return nil, false, fmt.Errorf("it is of version %d: want %d", rest[0], snapVersion)
	}
	more, rest = rest[1] == 1, rest[2:]
	for len(rest) > 0 {
		var k kept
		var ok [4]bool
		k.key.Tenant, rest, ok[0] = cutName(rest)
		k.key.Serial, rest, ok[1] = cutName(rest)
		if !ok[0] || !ok[1] || len(rest) < 2 || rest[1] >= byte(causeCount) {
			return nil, false, errCut
		}
		k.flags, k.cause, rest = rest[0]&keptFlags, cause(rest[1]), rest[2:]
		k.since, rest, ok[2] = cutTime(rest)
		k.heard, rest, ok[3] = cutTime(rest)
		if !ok[2] || !ok[3] || k.cause == causeNone {
			return nil, false, errCut
		}
		list = append(list, k)
	}
	return list, more, nil
}

func cutName(b []byte) (s string, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return "", nil, false
	}
	end := w + int(n) //nolint:gosec // within b
	return string(b[w:end]), b[end:], true
}

func cutTime(b []byte) (ms int64, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > 1<<62 {
		return 0, nil, false
	}
	return int64(n), b[w:], true //nolint:gosec // bounded
}

// restore brings back the state of a device that is still registered. What was seen of it since the start is newer.
func (t *Tracker) restore(k kept, now int64) {
	d, ok := t.devices.Device(k.key)
	if !ok {
		return
	}
	h := hash(k.key)
	s := &t.shards[h>>shardShift]
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.index[h]; ok || d.Revoked {
		return
	}
	e := t.add(s, h, d)
	if e == nil {
		return
	}
	e.flags, e.cause, e.since, e.heard, e.base = k.flags&(online|owed)|loaded, k.cause, k.since, k.heard, now
	if k.flags&connected != 0 {
		e.flags |= wasConn
	}
	if k.cause == causeStation {
		e.flags |= waiting // unless its station is down, which scan looks at
	}
	t.metrics.count(e, 1)
}
