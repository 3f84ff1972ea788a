package commands

import (
	"errors"
	"fmt"
	"time"
)

// Config says how long a command is tried and how often.
type Config struct {
	Poll      time.Duration `mapstructure:"poll" help:"how often to look for commands that are due"`
	Expires   time.Duration `mapstructure:"expires" help:"how long a command is tried if its sender says nothing"`
	RetryMin  time.Duration `mapstructure:"retry_min" help:"pause before an unanswered command is sent again; it doubles"`
	RetryMax  time.Duration `mapstructure:"retry_max" help:"longest pause between tries; also how often a running command is asked after"`
	NotNow    time.Duration `mapstructure:"not_now" help:"pause before a device that said not_now is asked again, if it names no time"`
	RunLimit  time.Duration `mapstructure:"run_limit" help:"how long after its expiry a running command may still be answered"`
	MaxOpen   int           `mapstructure:"max_open" help:"commands of one device that may be open at once"`
	BatchSize int           `mapstructure:"batch_size" help:"due commands taken at once"`
	Keep      time.Duration `mapstructure:"keep" help:"how long commands are kept after they ended"`
}

// MaxExpires is the longest a command can be tried.
const MaxExpires = 30 * 24 * time.Hour

// DefaultConfig tries for a day.
func DefaultConfig() Config {
	return Config{Poll: time.Second, Expires: 24 * time.Hour, RetryMin: 30 * time.Second, RetryMax: 15 * time.Minute,
		NotNow: 5 * time.Minute, RunLimit: time.Hour, MaxOpen: 20, BatchSize: 200, Keep: 90 * 24 * time.Hour}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		name     string
		v        time.Duration
		min, max time.Duration
	}{{"poll", c.Poll, 10 * time.Millisecond, time.Minute}, {"expires", c.Expires, time.Minute, MaxExpires},
		{"retry_min", c.RetryMin, time.Second, time.Hour}, {"retry_max", c.RetryMax, c.RetryMin, 24 * time.Hour},
		{"not_now", c.NotNow, time.Second, 24 * time.Hour}, {"run_limit", c.RunLimit, 0, 7 * 24 * time.Hour},
		{"keep", c.Keep, 24 * time.Hour, 10 * 365 * 24 * time.Hour}} {
		if f.v < f.min || f.v > f.max {
			errs = append(errs, fmt.Errorf("commands.%s %v: want %v to %v", f.name, f.v, f.min, f.max))
		}
	}
	if c.MaxOpen < 1 || c.MaxOpen > 1000 {
		errs = append(errs, fmt.Errorf("commands.max_open %d: want 1 to 1000", c.MaxOpen))
	}
	if c.BatchSize < 1 || c.BatchSize > 5000 {
		errs = append(errs, fmt.Errorf("commands.batch_size %d: want 1 to 5000", c.BatchSize))
	}
	return errors.Join(errs...)
}
