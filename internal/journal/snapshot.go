package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// SaveSnapshot keeps body under key in place of what was there. Keys are subject tokens, such as "0.g1.c3". On one replica a
// snapshot is not synced: after a power cut an older one, or none, may be found.
func (j *Journal) SaveSnapshot(ctx context.Context, key string, body []byte) error {
	_, err := j.saveSnapshot(ctx, wire.Snapshots, key, body)
	return err
}

// SaveClocks is SaveSnapshot for what has to be as durable as readings: with sync "always" it returns after the fsync.
func (j *Journal) SaveClocks(ctx context.Context, key string, body []byte) error {
	_, err := j.saveSnapshot(ctx, wire.Clocks, key, body)
	return err
}

// LoadClocks returns what SaveClocks kept under key; false when there is nothing.
func (j *Journal) LoadClocks(ctx context.Context, key string) ([]byte, bool, error) {
	body, revision, err := j.loadSnapshot(ctx, wire.Clocks, key)
	return body, revision > 0, err
}

// SwapSnapshot is SaveSnapshot under the condition that the key's revision is still the given one (0: the key does not
// exist). It returns the new revision, or fleet.CodeConflict when somebody else was faster.
func (j *Journal) SwapSnapshot(ctx context.Context, key string, body []byte, revision uint64) (uint64, error) {
	return j.saveSnapshot(ctx, wire.Snapshots, key, body, jetstream.WithExpectLastSequencePerSubject(revision))
}

// LoadSnapshot returns what is kept under key; false when there is nothing.
func (j *Journal) LoadSnapshot(ctx context.Context, key string) ([]byte, bool, error) {
	body, revision, err := j.LoadSnapshotRevision(ctx, key)
	return body, revision > 0, err
}

// LoadSnapshotRevision is LoadSnapshot with the revision that SwapSnapshot wants; 0 when there is nothing.
func (j *Journal) LoadSnapshotRevision(ctx context.Context, key string) ([]byte, uint64, error) {
	return j.loadSnapshot(ctx, wire.Snapshots, key)
}

// SnapshotKeys returns the keys that begin with prefix, which ends with a dot ("rules.p0."), in no order.
func (j *Journal) SnapshotKeys(ctx context.Context, prefix string) ([]string, error) {
	if err := validKey(strings.TrimSuffix(prefix, ".")); err != nil {
		return nil, err
	}
	s, err := j.stream(ctx, wire.Snapshots)
	if err != nil {
		return nil, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(snapshotSubject(wire.Snapshots, prefix)+">"))
	if err != nil {
		return nil, fmt.Errorf("journal: list %q of %s: %w", prefix, wire.Snapshots, err)
	}
	keys := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		keys = append(keys, strings.TrimPrefix(subject, snapshotSubject(wire.Snapshots, "")))
	}
	return keys, nil
}

// DeleteSnapshot removes what is kept under key; nothing there is no error.
func (j *Journal) DeleteSnapshot(ctx context.Context, key string) error {
	if err := validKey(key); err != nil {
		return err
	}
	s, err := j.stream(ctx, wire.Snapshots)
	if err != nil {
		return err
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(snapshotSubject(wire.Snapshots, key))); err != nil {
		return fmt.Errorf("journal: delete %q of %s: %w", key, wire.Snapshots, err)
	}
	return nil
}

func (j *Journal) loadSnapshot(ctx context.Context, stream wire.Stream, key string) ([]byte, uint64, error) {
	if err := validKey(key); err != nil {
		return nil, 0, err
	}
	s, err := j.stream(ctx, stream)
	if err != nil {
		return nil, 0, err
	}
	m, err := s.GetLastMsgForSubject(ctx, snapshotSubject(stream, key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("journal: load %q of %s: %w", key, stream, err)
	}
	return m.Data, m.Sequence, nil
}

func (j *Journal) saveSnapshot(ctx context.Context, stream wire.Stream, key string, body []byte, opts ...jetstream.PublishOpt) (uint64, error) {
	if err := validKey(key); err != nil {
		return 0, err
	}
	l, err := j.current(ctx)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, j.cfg.AckTimeout)
	defer cancel()
	subject := snapshotSubject(stream, key)
	// What sums need to know of it, as decode reads it back.
	r := wire.Record{Kind: kindSnapshot, Partition: partitionOf(subject), Body: body}
	header := nats.Header{headerKind: {string(r.Kind)}}
	if sums := sumsOf(&r); sums != "" {
		header[headerSums] = []string{sums}
	}
	ack, err := l.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Header: header, Data: body}, opts...)
	var api *jetstream.APIError
	if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return 0, fleet.Errorf(fleet.CodeConflict, "journal: %q of %s was changed by somebody else: %w", key, stream, err)
	}
	if err != nil {
		return 0, fmt.Errorf("journal: save %q of %s, %d bytes: %w", key, stream, len(body), err)
	}
	return ack.Sequence, nil
}

const kindSnapshot wire.Kind = "snapshot"

func snapshotSubject(stream wire.Stream, key string) string {
	return subjectRoot + string(stream) + "." + key
}

const keyLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

func validKey(key string) error {
	for token := range strings.SplitSeq(key, ".") {
		if token == "" || strings.Trim(token, keyLetters) != "" {
			return fleet.Errorf(fleet.CodeInvalid, "journal: snapshot key %q: want letters, digits, - and _ in tokens with dots between", key)
		}
	}
	return nil
}
