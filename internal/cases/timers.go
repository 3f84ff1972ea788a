package cases

import (
	"context"
	"errors"
	"fmt"
	"time"

	"aftercare/internal/fleet"
)

// TimerClock is the topic of the timers that wake for a case's clocks.
const TimerClock = "clock"

// Timers is where timer rows come from. A leased row belongs to the caller until the lease ends; a row that is not finished by then
// comes again, so what is done with it must bear being done twice.
type Timers interface {
	LeaseOutbox(ctx context.Context, kind fleet.OutboxKind, now time.Time, lease time.Duration, limit int) ([]fleet.OutboxRow, error)
	FinishOutbox(ctx context.Context, id, reason string) error
	PutOffOutbox(ctx context.Context, id string, due time.Time, reason string) error
}

// Alarm is what happens when a timer of a topic fires. An error means again later. It is called for timers that are no longer true,
// and more than once for one that is: it has to look.
type Alarm func(ctx context.Context, row fleet.OutboxRow, now time.Time) error

const (
	timerLease = time.Minute
	timerBatch = 64
	timerAgain = time.Minute // after a failure
)

// On says what happens for timers of a topic. To be called before RunTimers.
func (c *Cases) On(topic string, do Alarm) { c.alarms[topic] = do }

// RunTimers does what is due until ctx ends, and returns nil. Several processes may run it.
func (c *Cases) RunTimers(ctx context.Context) error {
	tick := time.NewTicker(c.cfg.Poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := c.TimersPass(ctx, time.Now()); err != nil && ctx.Err() == nil {
			c.log.Warn("a timer's work is not done, trying again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// TimersPass handles the timers that are due at now until none is: for who replays the past, and one round of RunTimers. What
// fails is put off; the errors are returned when all others are done.
func (c *Cases) TimersPass(ctx context.Context, now time.Time) error {
	var errs []error
	for {
		rows, err := c.timers.LeaseOutbox(ctx, fleet.OutboxTimer, now, timerLease, timerBatch)
		if err != nil || len(rows) == 0 {
			return errors.Join(append(errs, err)...)
		}
		for _, row := range rows {
			errs = append(errs, c.fire(ctx, row, now))
		}
	}
}

func (c *Cases) fire(ctx context.Context, row fleet.OutboxRow, now time.Time) error {
	do, known := c.alarms[row.Topic]
	if !known {
		return c.timers.FinishOutbox(ctx, row.ID, fmt.Sprintf("nobody knows what a timer %q is for", row.Topic))
	}
	if err := do(ctx, row, now); err != nil {
		c.metrics.retries.Inc()
		return errors.Join(fmt.Errorf("timer %q of %s%s: %w", row.Topic, row.CaseID, row.Ref, err),
			c.timers.PutOffOutbox(ctx, row.ID, now.Add(timerAgain), err.Error()))
	}
	return c.timers.FinishOutbox(ctx, row.ID, "")
}

// clock wakes for a case.
func (c *Cases) clock(ctx context.Context, row fleet.OutboxRow, now time.Time) error {
	err := c.deciding(ctx, func() ([]fleet.Change, bool, error) {
		k, err := c.store.Case(ctx, row.Tenant, row.CaseID)
		if err != nil {
			return nil, false, err
		}
		e := c.edit(k, actorClock, now)
		var heard time.Time
		if !k.State.Open() && c.links != nil {
			link, _ := c.links.State(k.Device)
			heard = later(k.ClosedAt, link.Heard)
		}
		if !e.tick(heard) {
			return nil, false, nil
		}
		if len(e.audited) == 0 {
			e.audit(actNoted, "the device was not heard for long enough to say whether it is over")
		}
		return []fleet.Change{e.finish(now, "version", fmt.Sprint(e.before.Version))}, true, nil
	})
	if fleet.CodeOf(err) == fleet.CodeNotFound {
		return nil
	}
	return err
}
