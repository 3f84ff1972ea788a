package commands

import (
	"errors"
	"fmt"
	"time"
)

// Config says how long a command is tried and how often.
type Config struct {
	Poll      time.Duration `mapstructure:"poll"`       // how often due commands are looked for
	Expires   time.Duration `mapstructure:"expires"`    // how long a command is tried when its sender says nothing
	RetryMin  time.Duration `mapstructure:"retry_min"`  // before an unanswered command is sent again, doubling
	RetryMax  time.Duration `mapstructure:"retry_max"`  // up to this; also how often one that runs is asked after
	NotNow    time.Duration `mapstructure:"not_now"`    // before a device that said "not now" is asked again if it names no time
	RunLimit  time.Duration `mapstructure:"run_limit"`  // how long after its expiry one that runs may still be answered
	MaxOpen   int           `mapstructure:"max_open"`   // open commands of one device
	BatchSize int           `mapstructure:"batch_size"` // due commands taken at once
}

// MaxExpires is the longest a command can be tried.
const MaxExpires = 30 * 24 * time.Hour

// DefaultConfig tries for a day.
func DefaultConfig() Config {
	return Config{Poll: time.Second, Expires: 24 * time.Hour, RetryMin: 30 * time.Second, RetryMax: 15 * time.Minute,
		NotNow: 5 * time.Minute, RunLimit: time.Hour, MaxOpen: 20, BatchSize: 200}
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
		{"not_now", c.NotNow, time.Second, 24 * time.Hour}, {"run_limit", c.RunLimit, 0, 7 * 24 * time.Hour}} {
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
