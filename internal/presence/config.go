package presence

import (
	"errors"
	"fmt"
	"time"
)

// Config says when a device counts as gone.
type Config struct {
	// Missed is how many of its model's intervals may pass without a word before a device is silent.
	Missed int `mapstructure:"missed"`
	// MinGrace is the shortest time after which a device is silent, however short its interval is.
	MinGrace time.Duration `mapstructure:"min_grace"`
	// Reconnect is how long after our own start a device without an interval has to come back if it was connected before.
	Reconnect time.Duration `mapstructure:"reconnect"`
	// Every is how often silence is looked for and changes are recorded.
	Every time.Duration `mapstructure:"every"`
	// FlapLimit is how many changes of one device are recorded in a minute; the others are counted, and the state it ends in
	// is recorded in the next minute.
	FlapLimit int `mapstructure:"flap_limit"`
	// MaxPending bounds the changes that wait to be recorded. Beyond it only the latest state of a device is.
	MaxPending int `mapstructure:"max_pending"`
	// SnapshotEvery is how often the states that changed are kept for the next start.
	SnapshotEvery time.Duration `mapstructure:"snapshot_every"`
}

// DefaultConfig is three intervals, at least a minute, looked at once a second.
func DefaultConfig() Config {
	return Config{Missed: 3, MinGrace: time.Minute, Reconnect: 10 * time.Minute, Every: time.Second, FlapLimit: 6,
		MaxPending: 100_000, SnapshotEvery: time.Minute}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		name     string
		v        int
		min, max int
	}{{"missed", c.Missed, 1, 1000}, {"flap_limit", c.FlapLimit, 2, 250}, {"max_pending", c.MaxPending, shardCount, 10_000_000}} {
		if f.v < f.min || f.v > f.max {
			errs = append(errs, fmt.Errorf("presence.%s %d: want %d to %d", f.name, f.v, f.min, f.max))
		}
	}
	for _, f := range []struct {
		name     string
		v        time.Duration
		min, max time.Duration
	}{{"min_grace", c.MinGrace, time.Second, 24 * time.Hour}, {"reconnect", c.Reconnect, time.Second, 24 * time.Hour},
		{"every", c.Every, 10 * time.Millisecond, time.Minute}, {"snapshot_every", c.SnapshotEvery, time.Second, 24 * time.Hour}} {
		if f.v < f.min || f.v > f.max {
			errs = append(errs, fmt.Errorf("presence.%s %v: want %v to %v", f.name, f.v, f.min, f.max))
		}
	}
	return errors.Join(errs...)
}
