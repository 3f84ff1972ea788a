package cases

import (
	"errors"
	"fmt"
	"time"
)

// Config says when something is the same case again. All durations are between event times.
type Config struct {
	ReopenWithin      time.Duration `mapstructure:"reopen_within" help:"a problem that comes back so soon after it went away by itself is the same case"`
	ReopenFixedWithin time.Duration `mapstructure:"reopen_fixed_within" help:"a problem that comes back so soon after somebody resolved it is the same case: it was not fixed"`
	// RetellAfter: a fault or danger that comes back after its all-clear is told again when it was away for so long, or when
	// it is still there so long after the all-clear; till then it may be flapping. What is milder is not told again in
	// the same case at all unless it is worse than before.
	RetellAfter time.Duration `mapstructure:"retell_after" help:"a fault that comes back after its all-clear is told again if it was away, or is there again, for so long; shorter may be flapping"`
	// LateAfter: an all-clear from a reading that arrived so late waits for SettleFor before it is sent, because what the
	// device uploads next may say that the problem is back.
	LateAfter time.Duration `mapstructure:"late_after" help:"an all-clear from a reading that arrived so late waits for cases.settle_for"`
	SettleFor time.Duration `mapstructure:"settle_for" help:"how long such an all-clear waits for what the device uploads next"`
}

// DefaultConfig is a day for what went away by itself, a month for repairs.
func DefaultConfig() Config {
	return Config{ReopenWithin: 24 * time.Hour, ReopenFixedWithin: 30 * 24 * time.Hour, RetellAfter: time.Hour,
		LateAfter: 15 * time.Minute, SettleFor: 2 * time.Minute}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		name string
		v    time.Duration
	}{{"reopen_within", c.ReopenWithin}, {"reopen_fixed_within", c.ReopenFixedWithin}, {"retell_after", c.RetellAfter},
		{"late_after", c.LateAfter}, {"settle_for", c.SettleFor}} {
		if f.v < 0 {
			errs = append(errs, fmt.Errorf("cases.%s %v: must not be negative", f.name, f.v))
		}
	}
	return errors.Join(errs...)
}
