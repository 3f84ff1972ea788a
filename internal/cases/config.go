package cases

import (
	"errors"
	"fmt"
	"time"

	"aftercare/internal/fleet"
)

// Config says when something is the same case again, what is promised, and who hears when a promise is not kept. The durations
// of the first group are between event times, the others by the clock.
type Config struct {
	ReopenWithin      time.Duration `mapstructure:"reopen_within" help:"a problem that comes back so soon after it went away by itself is the same case; then that is closed"`
	ReopenFixedWithin time.Duration `mapstructure:"reopen_fixed_within" help:"a problem that comes back so soon after somebody resolved it is the same case: it was not fixed; then that is closed"`
	// RetellAfter: a fault or danger that comes back after its all-clear is told again when it was away for so long, or when
	// it is still there so long after the all-clear; till then it may be flapping. What is milder is not told again in
	// the same case at all unless it is worse than before, or the first message never left.
	RetellAfter time.Duration `mapstructure:"retell_after" help:"a fault that comes back after its all-clear is told again if it was away, or is there again, for so long; shorter may be flapping"`
	// LateAfter: an all-clear from a reading that arrived so late waits for SettleFor before it is sent, because what the
	// device uploads next may say that the problem is back.
	LateAfter time.Duration `mapstructure:"late_after" help:"an all-clear from a reading that arrived so late waits for cases.settle_for"`
	SettleFor time.Duration `mapstructure:"settle_for" help:"how long such an all-clear waits for what the device uploads next"`

	StillAfter   time.Duration `mapstructure:"still_after" help:"a case that was resolved while its condition held opens again when the device has been heard for so long since and the condition has not ended"`
	NotNow       time.Duration `mapstructure:"not_now" help:"for how long an owner's \"not now\" keeps a case quiet; then it is said once more"`
	WarrantyLead time.Duration `mapstructure:"warranty_lead" help:"how long before the end of its cover the owner of a device with an open case is told; 0: never"`
	SLA          []Promise     `mapstructure:"sla" help:"what is promised by severity, such as \"fault acknowledge 24h resolve 168h\"; the clocks stand still while a case waits for the owner or is snoozed"`
	Escalation   []Step        `mapstructure:"escalation" help:"who hears when nobody takes a case on, such as \"fault after 24h to operators repeat 24h\"; \"until resolved\" goes on when somebody has"`
	Proof        ProofConfig   `mapstructure:"proof"`
	Poll         time.Duration `mapstructure:"poll" help:"how often to look for clocks that have run out"`
}

// DefaultConfig is a day for what went away by itself, a month for repairs; a danger is to be taken on within an hour, a fault
// within a day.
func DefaultConfig() Config {
	return Config{ReopenWithin: 24 * time.Hour, ReopenFixedWithin: 30 * 24 * time.Hour, RetellAfter: time.Hour,
		LateAfter: 15 * time.Minute, SettleFor: 2 * time.Minute, StillAfter: 72 * time.Hour, NotNow: 72 * time.Hour, WarrantyLead: 30 * 24 * time.Hour,
		SLA:        []Promise{{fleet.Danger, time.Hour, 24 * time.Hour}, {fleet.Fault, 24 * time.Hour, 7 * 24 * time.Hour}},
		Escalation: []Step{{Severity: fleet.Danger, After: 30 * time.Minute, To: "operators", Repeat: 4 * time.Hour}, {Severity: fleet.Fault, After: 24 * time.Hour, To: "operators"}},
		Proof:      DefaultProof(), Poll: time.Second}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	for _, f := range []struct {
		name string
		v    time.Duration
	}{{"reopen_within", c.ReopenWithin}, {"reopen_fixed_within", c.ReopenFixedWithin}, {"retell_after", c.RetellAfter},
		{"late_after", c.LateAfter}, {"settle_for", c.SettleFor}, {"still_after", c.StillAfter}, {"not_now", c.NotNow}, {"warranty_lead", c.WarrantyLead}} {
		if f.v < 0 {
			errs = append(errs, fmt.Errorf("cases.%s %v: must not be negative", f.name, f.v))
		}
	}
	if c.Poll <= 0 {
		errs = append(errs, fmt.Errorf("cases.poll %v: want more than 0", c.Poll))
	}
	errs = append(errs, c.Proof.validate()...)
	seen := map[Promise]bool{}
	for _, p := range c.SLA {
		if p.Acknowledge < 0 || p.Resolve < 0 || p.Acknowledge == 0 && p.Resolve == 0 {
			errs = append(errs, fmt.Errorf("cases.sla %q: want a time to acknowledge, to resolve, or both, above 0", p))
		}
		if one := (Promise{Severity: p.Severity}); seen[one] {
			errs = append(errs, fmt.Errorf("cases.sla %q: there is one for this severity already", p))
		} else {
			seen[one] = true
		}
	}
	for _, s := range c.Escalation {
		if s.After < 0 || s.Repeat < 0 || s.Repeat > 0 && s.Repeat < time.Minute {
			errs = append(errs, fmt.Errorf("cases.escalation %q: times must not be negative, and it repeats at most once a minute", s))
		}
	}
	return errors.Join(errs...)
}
