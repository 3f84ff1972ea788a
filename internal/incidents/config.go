package incidents

import (
	"errors"
	"fmt"
	"time"
)

// Config says when many cases are one incident.
type Config struct {
	Every       time.Duration `mapstructure:"every" help:"how often the cases of the fleet are looked at for incidents; 0: never, agents declare them"`
	Poll        time.Duration `mapstructure:"poll" help:"how often to look for incidents that another process opened or ended"`
	Window      time.Duration `mapstructure:"window" help:"cases opened in this time are compared with what is normal"`
	History     time.Duration `mapstructure:"history" help:"what is normal is taken from so long before the window, too"`
	MinDevices  int           `mapstructure:"min_devices" help:"fewer devices of a model, firmware and batch are no group"`
	MinAffected int           `mapstructure:"min_affected" help:"fewer devices with the problem are no incident"`
	Alpha       float64       `mapstructure:"alpha" help:"most probability, over all groups of a tenant that are looked at, that one is taken for an incident by chance"`
	Ratio       float64       `mapstructure:"ratio" help:"the problem must be at least so many times as frequent as is normal"`
	WholeRatio  float64       `mapstructure:"whole_ratio" help:"the same when all devices of a model are concerned: a season is no incident"`
	Floor       float64       `mapstructure:"floor" help:"share of devices with a problem in the window that is always normal, also for a rule that was never seen before"`
	QuietAfter  time.Duration `mapstructure:"quiet_after" help:"agents are asked whether an incident is fixed when no case came for so long; 0: never"`
}

// DefaultConfig looks at seven days once a minute and wants to be sure.
func DefaultConfig() Config {
	return Config{Every: time.Minute, Poll: 5 * time.Second, Window: 7 * 24 * time.Hour, History: 12 * 7 * 24 * time.Hour, MinDevices: 10, MinAffected: 5,
		Alpha: 1e-4, Ratio: 3, WholeRatio: 10, Floor: 0.002, QuietAfter: 7 * 24 * time.Hour}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("incidents."+format, args...))
		}
	}
	bad(c.Every < 0, "every %v: must not be negative", c.Every)
	bad(c.Poll < 100*time.Millisecond || c.Poll > 10*time.Minute, "poll %v: want 100ms to 10m", c.Poll)
	bad(c.Window < time.Hour, "window %v: want at least 1h", c.Window)
	bad(c.History < 0 || c.History > 5*365*24*time.Hour, "history %v: want 0 to five years (43800h)", c.History)
	bad(c.MinDevices < 2, "min_devices %d: want at least 2", c.MinDevices)
	bad(c.MinAffected < 2, "min_affected %d: want at least 2", c.MinAffected)
	bad(!(c.Alpha > 0 && c.Alpha < 1), "alpha %v: want more than 0 and less than 1", c.Alpha)
	bad(!(c.Ratio >= 1), "ratio %v: want at least 1", c.Ratio)
	bad(!(c.WholeRatio >= c.Ratio), "whole_ratio %v: want at least incidents.ratio (%v)", c.WholeRatio, c.Ratio)
	bad(!(c.Floor > 0 && c.Floor < 1), "floor %v: want more than 0 and less than 1", c.Floor)
	bad(c.QuietAfter < 0, "quiet_after %v: must not be negative", c.QuietAfter)
	return errors.Join(errs...)
}
