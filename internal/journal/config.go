package journal

import (
	"fmt"
	"time"

	"aftercare/internal/wire"
)

// Config says where the log lives and how much of it is kept. Sizes are bytes.
type Config struct {
	// Dir holds the files of the embedded server. URL names an external NATS server instead; Creds is its credentials
	// file, which may be empty.
	Dir   string `mapstructure:"dir" help:"folder of the journal's files; empty: journal in the data folder. Put it on the disk with the fastest fsync"`
	URL   string `mapstructure:"url" help:"address of a NATS server with JetStream to keep the journal in, such as nats://host:4222; empty: in this process"`
	Creds string `mapstructure:"creds" help:"credentials file for journal.url; empty: none"`

	// Sync is "always" (fsync before each answer) or "interval" (JetStream's own default of two minutes). Durability
	// "strict" refuses to open with anything but "always"; "relaxed" only warns.
	Sync       string `mapstructure:"sync" help:"always (fsync before each acknowledgement) or interval (every two minutes: a power cut loses acknowledged readings)"`
	Durability string `mapstructure:"durability" help:"strict allows journal.sync always only; relaxed allows anything and warns"`

	// Partitions is used when the streams are made; afterwards the streams' own count holds. Replicas is 1 unless URL names
	// a cluster.
	Partitions int `mapstructure:"partitions" help:"parts that readings are spread over by device; counts when the journal is made, later changes are ignored"`
	Replicas   int `mapstructure:"replicas" help:"copies in a NATS cluster (journal.url); in this process only 1"`

	// The bytes each stream may take; a full stream takes no more (quarantine forgets its oldest instead).
	ReadingsBytes   int64 `mapstructure:"readings_bytes" help:"most bytes of readings on disk; when full of unread ones nothing more is acknowledged: it decides how long the database may be away"`
	FindingsBytes   int64 `mapstructure:"findings_bytes" help:"most bytes of findings on disk"`
	ChangesBytes    int64 `mapstructure:"changes_bytes" help:"most bytes of changes of cases, messages and commands on disk"`
	QuarantineBytes int64 `mapstructure:"quarantine_bytes" help:"most bytes of payloads put aside; the oldest are forgotten when it is full"`
	SnapshotsBytes  int64 `mapstructure:"snapshots_bytes" help:"most bytes of the kept state of rules, clocks and presence"`

	Keep      time.Duration `mapstructure:"keep" help:"readings that everybody has read are purged when older"`
	TrimBytes int64         `mapstructure:"trim_bytes" help:"readings that everybody has read are purged when the stream is larger, oldest first"`
	TrimEvery time.Duration `mapstructure:"trim_every" help:"how often to look for readings to purge"`

	MinFree    float64       `mapstructure:"min_free" help:"share of the disk (0 to 1) that stays free: below it nothing is acknowledged until there is room; 0: no check"`
	AckTimeout time.Duration `mapstructure:"ack_timeout" help:"an answer that takes longer means the journal is broken: what waits is not acknowledged, and it is opened again"`
}

// DefaultConfig is the embedded server with strict durability. Dir is left for the caller to set.
func DefaultConfig() Config {
	const gib = 1 << 30
	return Config{
		Sync: syncAlways, Durability: durabilityStrict, Partitions: 4, Replicas: 1,
		ReadingsBytes: 8 * gib, FindingsBytes: gib, ChangesBytes: gib, QuarantineBytes: gib / 2, SnapshotsBytes: gib / 2,
		Keep: 7 * 24 * time.Hour, TrimBytes: 6 * gib, TrimEvery: time.Minute,
		MinFree: 0.05, AckTimeout: 10 * time.Second,
	}
}

const (
	syncAlways        = "always"
	syncInterval      = "interval"
	durabilityStrict  = "strict"
	durabilityRelaxed = "relaxed"
	maxPartitions     = 1024
)

// Validate names the field and the value of what is wrong.
func (c Config) Validate() error {
	if c.Dir == "" && c.URL == "" {
		return fmt.Errorf("journal.dir %q: a directory is needed (or journal.url)", c.Dir)
	}
	if c.Sync != syncAlways && c.Sync != syncInterval {
		return fmt.Errorf("journal.sync %q: want always or interval", c.Sync)
	}
	if c.Durability != durabilityStrict && c.Durability != durabilityRelaxed {
		return fmt.Errorf("journal.durability %q: want strict or relaxed", c.Durability)
	}
	if c.Sync != syncAlways && c.Durability == durabilityStrict {
		return fmt.Errorf("journal.sync %q: with journal.durability strict only always is allowed, "+
			"because a reading would be acknowledged before it is on disk", c.Sync)
	}
	if c.Partitions < 1 || c.Partitions > maxPartitions {
		return fmt.Errorf("journal.partitions %d: want 1 to %d", c.Partitions, maxPartitions)
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		return fmt.Errorf("journal.replicas %d: want 1 to 5", c.Replicas)
	}
	if c.Replicas > 1 && c.URL == "" {
		return fmt.Errorf("journal.replicas %d: the embedded server keeps one copy, want 1", c.Replicas)
	}
	for _, s := range streams {
		if n := c.bytesOf(s); n < 1<<20 {
			return fmt.Errorf("journal.%s_bytes %d: want at least 1048576", s, n)
		}
	}
	if c.TrimBytes < 1 || c.TrimBytes > c.ReadingsBytes {
		return fmt.Errorf("journal.trim_bytes %d: want 1 to journal.readings_bytes (%d)", c.TrimBytes, c.ReadingsBytes)
	}
	if c.Keep < time.Minute {
		return fmt.Errorf("journal.keep %s: want at least 1m", c.Keep)
	}
	if c.TrimEvery < time.Second {
		return fmt.Errorf("journal.trim_every %s: want at least 1s", c.TrimEvery)
	}
	if c.AckTimeout < 100*time.Millisecond {
		return fmt.Errorf("journal.ack_timeout %s: want at least 100ms", c.AckTimeout)
	}
	if !(c.MinFree >= 0 && c.MinFree < 1) {
		return fmt.Errorf("journal.min_free %v: want a share from 0 to below 1", c.MinFree)
	}
	return nil
}

func (c Config) bytesOf(s wire.Stream) int64 {
	switch s {
	case wire.Readings:
		return c.ReadingsBytes
	case wire.Findings:
		return c.FindingsBytes
	case wire.Changes:
		return c.ChangesBytes
	case wire.Quarantine:
		return c.QuarantineBytes
	default:
		return c.SnapshotsBytes
	}
}
