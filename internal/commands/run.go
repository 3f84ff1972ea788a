package commands

import (
	"context"
	"encoding/json"
	"time"

	"aftercare/internal/fleet"
)

// justSent is how soon after it was sent a command is not sent again for an arrival: subscription and presence tell of the same one.
const justSent = 2 * time.Second

// arrivedAtOnce is how many devices' commands are asked for in one statement.
const arrivedAtOnce = 500

// breath is the shortest time between two looks at the store: of a herd of devices that arrive one look finds many.
const breath = 50 * time.Millisecond

// Arrived says that a device can take commands now: it subscribed to its topic. It never blocks.
func (c *Commands) Arrived(key fleet.DeviceKey) {
	c.mu.Lock()
	c.arrived[key] = true
	c.mu.Unlock()
	c.nudge()
}

// Reported says that a device said it is online, which it may say as often as it likes: what waits for it is sent, what was sent to
// it already only when that is a while ago. It never blocks.
func (c *Commands) Reported(key fleet.DeviceKey) {
	c.mu.Lock()
	if _, known := c.arrived[key]; !known {
		c.arrived[key] = false
	}
	c.mu.Unlock()
	c.nudge()
}

func (c *Commands) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run sends what is due or whose device has come, and ends what has expired, until ctx ends, and returns nil. Other
// processes may add commands to the store.
func (c *Commands) Run(ctx context.Context) error {
	tick := time.NewTicker(c.cfg.Poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		next := time.Now().Add(breath)
		err := c.pass(ctx)
		if err != nil && ctx.Err() == nil {
			c.metrics.failures.Inc()
			c.log.Warn("commands not sent, trying again", "err", err)
		}
		wake := c.wake
		if err != nil {
			wake = nil // at the pace of the poll while the store is away
		}
		select {
		case <-ctx.Done():
		case <-wake:
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(next)):
			}
		case <-tick.C:
		}
	}
	return nil
}

// pass does all there is to do now. What it could not do stays to be done.
func (c *Commands) pass(ctx context.Context) error {
	if err := c.acknowledge(ctx); err != nil {
		return err
	}
	if err := c.welcome(ctx); err != nil {
		return err
	}
	for {
		due, err := c.d.Store.DueCommands(ctx, time.Now(), c.cfg.BatchSize)
		if err != nil {
			return err
		}
		for i := range due {
			if err := c.deliver(ctx, &due[i]); err != nil {
				return err
			}
		}
		if len(due) < c.cfg.BatchSize {
			return nil
		}
	}
}

func (c *Commands) acknowledge(ctx context.Context) error {
	c.mu.Lock()
	acked := c.acked
	c.acked = nil
	c.mu.Unlock()
	for i, id := range acked {
		_, _, _, err := c.apply(ctx, id, nil, event{kind: evAcked, at: time.Now()})
		if err != nil {
			c.mu.Lock()
			c.acked = append(acked[i:len(acked):len(acked)], c.acked...)
			c.mu.Unlock()
			return err
		}
	}
	return nil
}

// welcome sends the open commands of devices that have come.
func (c *Commands) welcome(ctx context.Context) error {
	c.mu.Lock()
	arrived := c.arrived
	c.arrived = map[fleet.DeviceKey]bool{}
	c.mu.Unlock()
	byTenant := map[string][]string{}
	for key := range arrived {
		byTenant[key.Tenant] = append(byTenant[key.Tenant], key.Serial)
	}
	for tenant, serials := range byTenant {
		for len(serials) > 0 {
			n := min(len(serials), arrivedAtOnce)
			if err := c.welcomeSome(ctx, tenant, serials[:n], arrived); err != nil {
				c.again(arrived)
				return err
			}
			serials = serials[n:]
		}
	}
	return nil
}

func (c *Commands) welcomeSome(ctx context.Context, tenant string, serials []string, arrived map[fleet.DeviceKey]bool) error {
	open, err := c.d.Store.OpenCommands(ctx, tenant, serials)
	if err != nil {
		return err
	}
	for i := range open {
		k, now, pause := &open[i], time.Now(), justSent
		if !arrived[k.Device] {
			pause = c.cfg.RetryMin
		}
		if now.Sub(k.SentAt) < pause || (k.State == fleet.CommandNotNow && k.DueAt.After(now)) {
			continue
		}
		if err := c.deliver(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

func (c *Commands) again(arrived map[fleet.DeviceKey]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, subscribed := range arrived {
		c.arrived[key] = c.arrived[key] || subscribed
	}
}

// toDevice is what a device gets.
type toDevice struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Args       json.RawMessage `json:"args,omitempty"`
	ExpiresMS  int64           `json:"expires_ms"`
	Disruptive bool            `json:"disruptive,omitempty"`
}

// deliver sends a command, or ends it, and writes that down. It is sent first: after a crash in between it is sent again, which
// the device recognises; the other way round it might never be.
func (c *Commands) deliver(ctx context.Context, k *fleet.Command) error {
	id, now := commandID{k.Device.Tenant, k.ID}, time.Now()
	e := event{kind: evTime, at: now}
	d, ok := c.d.Devices.Device(k.Device)
	switch {
	case !now.Before(c.cfg.end(k)):
	case !ok || d.Revoked:
		e.kind = evGone
	default:
		payload, err := json.Marshal(toDevice{ID: k.ID, Name: k.Name, Args: k.Args, ExpiresMS: k.ExpiresAt.UnixMilli(), Disruptive: k.Disruptive})
		if err != nil {
			return err
		}
		e.kind = evAway
		if c.d.Sender.Send(d, payload, func() { c.puback(id) }) {
			e.kind = evSent
			c.metrics.sends.Inc()
		}
	}
	_, _, _, err := c.apply(ctx, id, k, e)
	return err
}

func (c *Commands) puback(id commandID) {
	c.mu.Lock()
	c.acked = append(c.acked, id)
	c.mu.Unlock()
	c.nudge()
}
