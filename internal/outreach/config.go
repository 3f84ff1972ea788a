package outreach

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Config bounds the loop and holds the installation's rules of when and how often people are written to.
type Config struct {
	Poll        time.Duration `mapstructure:"poll" help:"how often to look for messages that are due"`
	Batch       int           `mapstructure:"batch" help:"messages taken at once for each channel"`
	Lease       time.Duration `mapstructure:"lease" help:"after so long a message that a killed process was sending is sent by another; at least outreach.send_timeout and a margin"`
	SendTimeout time.Duration `mapstructure:"send_timeout" help:"longest time of one try"`
	Workers     int           `mapstructure:"workers" help:"sends at once on each channel"`
	Queue       int           `mapstructure:"queue" help:"messages taken that wait on each channel"`
	// QuietFrom and QuietUntil are full hours in the person's zone between which what is not about safety is held on the
	// QuietChannels. Equal hours: never.
	QuietFrom     int      `mapstructure:"quiet_from" help:"full hour, in the person's time zone, from which nothing rings but what is about safety"`
	QuietUntil    int      `mapstructure:"quiet_until" help:"full hour at which that ends; the same as quiet_from: never quiet"`
	QuietChannels []string `mapstructure:"quiet_channels" help:"channels that stay quiet then; the inbox rings for nobody"`
	Zone          string   `mapstructure:"zone" help:"time zone of a person of whom none is known, such as Europe/Berlin"`
	// What a household is written at most, all its members together. Zero: no limit.
	BudgetDay     int `mapstructure:"budget_day" help:"most messages to a household in 24 hours; the others wait and go with the next; what is about safety is not held; 0: no limit"`
	BudgetWeek    int `mapstructure:"budget_week" help:"most messages to a household in seven days; 0: no limit"`
	BudgetReserve int `mapstructure:"budget_reserve" help:"further messages in either time that a fault may use"`
	// Topics of the digest, and when it goes if the person has not said: DigestDay is 0 for Sunday.
	DigestTopics []string `mapstructure:"digest_topics" help:"topics that wait for the weekly digest unless the person wishes otherwise"`
	DigestDay    int      `mapstructure:"digest_day" help:"day of the digest of who has not chosen one, 0 for Sunday"`
	DigestHour   int      `mapstructure:"digest_hour" help:"full hour of the digest, in the person's time zone, of who has not chosen one"`
	// When the next endpoint, the next person and the operators hear of what nobody looks at.
	FailOver    time.Duration `mapstructure:"fail_over" help:"after so long a fault that has not arrived goes to the person's next endpoint; 0: never"`
	Escalate    time.Duration `mapstructure:"escalate" help:"after so long a fault or danger that nobody has opened goes to the next of the household, then to the operators; 0: never"`
	WarrantyDue time.Duration `mapstructure:"warranty_due" help:"how long before the end of the cover its owner is told of what is open and covered"`
	// The circuit of a receiver: so many failures in a row and it is left alone for a while.
	CircuitAfter int           `mapstructure:"circuit_after" help:"failures in a row after which a receiver's host is left alone for a while"`
	CircuitWait  time.Duration `mapstructure:"circuit_wait" help:"how long it is left alone"`
	LinkLife     time.Duration `mapstructure:"link_life" help:"how long the links of a message work"`
	Operations   []Operations  `mapstructure:"operations" help:"where operators and agents are told of incidents, of cases that nobody takes on and of messages that died"`
	// URL is the public address of the owner pages; empty: messages have no links, no buttons and no receipts. App sets it.
	URL string `mapstructure:"-"`
}

// Operations is one address of operators.
type Operations struct {
	Channel string       `mapstructure:"channel" help:"alertmanager, webhook, email or ntfy"`
	Address string       `mapstructure:"address" help:"as of a person's endpoint on that channel"`
	Secret  fleet.Secret `mapstructure:"secret" help:"as of a person's endpoint on that channel"`
}

// DefaultConfig writes a household at most twice a day and five times a week, not from 21 to 7, tips on Saturdays at ten.
func DefaultConfig() Config {
	return Config{Poll: time.Second, Batch: 256, Lease: 45 * time.Second, SendTimeout: 20 * time.Second, Workers: 64, Queue: 256,
		QuietFrom: 21, QuietUntil: 7, QuietChannels: []string{"push", "fcm", "ntfy", "email", "webhook"}, Zone: "UTC",
		BudgetDay: 2, BudgetWeek: 5, BudgetReserve: 1, DigestTopics: []string{string(fleet.TopicTip)}, DigestDay: int(time.Saturday), DigestHour: 10,
		FailOver: 30 * time.Minute, Escalate: 2 * time.Hour, WarrantyDue: 30 * 24 * time.Hour,
		CircuitAfter: 5, CircuitWait: time.Minute, LinkLife: 90 * 24 * time.Hour}
}

// Validate names the field and the value of everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("outreach."+format, args...))
		}
	}
	hour := func(name string, h int) { bad(h < 0 || h > 23, "%s %d: want an hour, 0 to 23", name, h) }
	bad(c.Poll <= 0, "poll %v: want more than 0", c.Poll)
	bad(c.Batch < 1, "batch %d: want at least 1", c.Batch)
	bad(c.SendTimeout <= 0, "send_timeout %v: want more than 0", c.SendTimeout)
	bad(c.Lease < c.SendTimeout+leaseMargin, "lease %v: want at least %v, the time of one try and a margin", c.Lease, c.SendTimeout+leaseMargin)
	bad(c.Workers < 1, "workers %d: want at least 1", c.Workers)
	bad(c.Queue < 1, "queue %d: want at least 1", c.Queue)
	hour("quiet_from", c.QuietFrom)
	hour("quiet_until", c.QuietUntil)
	hour("digest_hour", c.DigestHour)
	bad(c.DigestDay < 0 || c.DigestDay > 6, "digest_day %d: want 0 (Sunday) to 6", c.DigestDay)
	for _, t := range c.DigestTopics {
		bad(!slices.Contains(fleet.Topics(), fleet.Topic(t)) || t == string(fleet.TopicSafety), "digest_topics %q: want topics other than safety", t)
	}
	_, err := time.LoadLocation(c.Zone)
	bad(err != nil, "zone %q: there is no such time zone", c.Zone)
	bad(c.BudgetDay < 0 || c.BudgetWeek < 0 || c.BudgetReserve < 0, "budget %d, %d, %d: want 0 or more", c.BudgetDay, c.BudgetWeek, c.BudgetReserve)
	bad(c.FailOver < 0 || c.Escalate < 0, "fail_over %v, escalate %v: want 0 or more", c.FailOver, c.Escalate)
	bad(c.WarrantyDue < 0, "warranty_due %v: want 0 or more", c.WarrantyDue)
	bad(c.CircuitAfter < 1 || c.CircuitWait <= 0, "circuit_after %d, circuit_wait %v: want more than 0", c.CircuitAfter, c.CircuitWait)
	bad(c.LinkLife <= 0, "link_life %v: want more than 0", c.LinkLife)
	for i, to := range c.Operations {
		bad(to.Channel == "" || to.Address == "", "operations[%d] %q: want a channel and an address", i, to.Channel)
	}
	return errors.Join(errs...)
}

// host is what a circuit is of: a receiver's host, or the channel when the address names none.
func host(channel, address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		return channel + " " + u.Host
	}
	if _, domain, ok := strings.Cut(address, "@"); ok {
		return channel + " " + domain
	}
	return channel
}
