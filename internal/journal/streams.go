package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"aftercare/internal/wire"
)

// streams in the order of the data path. The first one's metadata holds the number of partitions.
var streams = []wire.Stream{wire.Readings, wire.Findings, wire.Changes, wire.Quarantine, wire.Snapshots, wire.Clocks}

const (
	subjectRoot    = "aftercare."
	metaPartitions = "aftercare_partitions"
	quarantineKeep = 7 * 24 * time.Hour
	dedupeWindow   = 2 * time.Minute
)

func subjectOf(s wire.Stream, partition int) string {
	return subjectRoot + string(s) + "." + strconv.Itoa(partition)
}

func subjectAll(s wire.Stream) string { return subjectRoot + string(s) + ".>" }

// partitionOf reads the partition back from a subject; -1 when it holds none.
func partitionOf(subject string) int {
	n, err := strconv.Atoi(subject[strings.LastIndexByte(subject, '.')+1:])
	if err != nil {
		return -1
	}
	return n
}

func streamConfig(cfg Config, s wire.Stream, partitions int) jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: string(s), Subjects: []string{subjectAll(s)}, Storage: jetstream.FileStorage, Replicas: cfg.Replicas,
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxBytes: cfg.bytesOf(s),
		Duplicates: dedupeWindow, AllowDirect: true,
		Metadata: map[string]string{metaPartitions: strconv.Itoa(partitions)},
	}
	switch s {
	case wire.Quarantine:
		c.Discard, c.MaxAge = jetstream.DiscardOld, quarantineKeep
	case wire.Clocks:
		c.MaxMsgsPerSubject = 1
	case wire.Snapshots:
		c.MaxMsgsPerSubject = 1
		if cfg.Replicas == 1 {
			// A snapshot lost in a power cut costs a longer replay, nothing else; syncing each chunk would cost every cycle.
			c.PersistMode = jetstream.AsyncPersistMode
		}
	}
	return c
}

// ensureStreams makes what is missing and brings the limits up to date. The number of partitions is fixed when the streams
// are made, because a device's records would otherwise be split over two partitions.
func ensureStreams(ctx context.Context, js jetstream.JetStream, cfg Config, log *slog.Logger) (int, error) {
	partitions := cfg.Partitions
	for _, s := range streams {
		old, err := js.Stream(ctx, string(s))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			if _, err = js.CreateStream(ctx, streamConfig(cfg, s, partitions)); err != nil {
				return 0, fmt.Errorf("journal: make stream %q: %w", s, err)
			}
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("journal: look up stream %q: %w", s, err)
		}
		have := old.CachedInfo().Config
		if s == streams[0] {
			n, err := strconv.Atoi(have.Metadata[metaPartitions])
			if err != nil || n < 1 {
				return 0, fmt.Errorf("journal: stream %q has %s=%q in its metadata: not made by this program",
					s, metaPartitions, have.Metadata[metaPartitions])
			}
			if n != partitions {
				log.Warn("journal: the streams keep the number of partitions they were made with", "configured", partitions, "used", n)
			}
			partitions = n
		}
		want := streamConfig(cfg, s, partitions)
		if have.MaxBytes == want.MaxBytes && have.MaxAge == want.MaxAge && have.Replicas == want.Replicas {
			continue
		}
		have.MaxBytes, have.MaxAge, have.Replicas = want.MaxBytes, want.MaxAge, want.Replicas
		if _, err := js.UpdateStream(ctx, have); err != nil {
			return 0, fmt.Errorf("journal: change the limits of stream %q: %w", s, err)
		}
	}
	return partitions, nil
}
