package presence

import (
	"errors"
	"fmt"
	"time"
)

// Config says when a device counts as gone.
type Config struct {
	Missed        int           `mapstructure:"missed" help:"a device is silent after so many of its model's intervals without a word"`
	MinGrace      time.Duration `mapstructure:"min_grace" help:"shortest silence that counts, however short the interval"`
	Reconnect     time.Duration `mapstructure:"reconnect" help:"after our start: how long a device of a model without an interval has to come back before it counts as lost"`
	Every         time.Duration `mapstructure:"every" help:"how often silence is looked for and changes are recorded"`
	FlapLimit     int           `mapstructure:"flap_limit" help:"changes of one device recorded in a minute; more are counted, and the last state is recorded a minute later"`
	MaxPending    int           `mapstructure:"max_pending" help:"changes that wait to be recorded; beyond them only the latest state of a device is"`
	SnapshotEvery time.Duration `mapstructure:"snapshot_every" help:"how often the state is kept for the next start"`
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
