package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"aftercare/internal/fleet"
)

const (
	maxTries = 20  // conflicts in a row; each means that somebody else made progress
	maxTold  = 200 // changes of one command that its history tells; the final one always is
)

// apply decides an event and commits, again as long as somebody else was first. k is what was seen of the command, nil to load.
func (c *Commands) apply(ctx context.Context, id commandID, k *fleet.Command, e event) (fleet.Command, action, string, error) {
	for try := 1; ; try++ {
		if k == nil {
			var err error
			if k, err = c.d.Store.Command(ctx, id.tenant, id.id); err != nil {
				return fleet.Command{}, actNothing, "", err
			}
		}
		next, act, why := c.cfg.decide(*k, e)
		if act == actNothing {
			return next, act, why, nil
		}
		ch := c.change(*k, next, e.at, actor(e, next.State), why)
		if act == actKeep {
			ch.Audit, ch.Outbox = nil, nil
		}
		err := c.d.Store.CommitCommand(ctx, ch, c.cfg.MaxOpen)
		if err == nil {
			c.committed(&ch)
			return ch.Command, act, why, nil
		}
		if fleet.CodeOf(err) != fleet.CodeConflict || try == maxTries {
			return *k, actNothing, "", fmt.Errorf("command %q: %w", id.id, err)
		}
		c.metrics.conflicts.Inc()
		k = nil
	}
}

func actor(e event, s fleet.CommandState) string {
	switch {
	case e.kind == evCancel && s == fleet.CommandCancelled:
		return e.by
	case e.kind == evReply, e.kind == evAcked && s == fleet.CommandDelivered:
		return "device"
	default:
		return "system"
	}
}

// change is what is written when a command goes from one state to the next.
func (c *Commands) change(before, k fleet.Command, at time.Time, by, detail string) fleet.CommandChange {
	k.Version = before.Version + 1
	ch := fleet.CommandChange{Command: k, Expected: before.Version}
	if k.Version > maxTold && !k.State.Final() {
		return ch
	}
	ch.Audit = []fleet.CommandAudit{{At: at, Actor: by, Action: string(k.State), Detail: detail}}
	n := fleet.Notice{ID: fleet.ID("ntc", k.Device.Tenant, "command", k.ID, fmt.Sprint(k.Version)), Type: "command", Device: k.Device,
		Model: k.Model, Action: string(k.State), Actor: by, Detail: detail, At: at, CommandID: k.ID, Command: k.Name}
	body, err := json.Marshal(n)
	if err != nil { // strings and times of sane years: it cannot fail
		panic(fmt.Sprintf("encode notice %s: %v", n.ID, err))
	}
	ch.Outbox = []fleet.OutboxRow{{ID: fleet.ID("rec", n.ID), Kind: fleet.OutboxRecord, Tenant: k.Device.Tenant, Topic: n.Action,
		Body: body, DueAt: at, Cause: at}}
	return ch
}

func (c *Commands) committed(ch *fleet.CommandChange) {
	if len(ch.Audit) > 0 {
		c.metrics.changes.WithLabelValues(string(ch.Command.State)).Inc()
	}
	if len(ch.Outbox) > 0 && c.d.Wake != nil {
		c.d.Wake()
	}
}

// RunReplies applies what the source gives until ctx ends, and then returns nil. While the store is away it tries again and
// marks nothing as done. An error of the source is returned.
func (c *Commands) RunReplies(ctx context.Context, src Source) error {
	for {
		replies, commit, err := src.Next(ctx)
		for i := 0; err == nil && i < len(replies); i++ {
			err = c.replyUntilDone(ctx, replies[i])
		}
		if err == nil {
			err = commit(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // told to stop: whatever failed, failed of that
		case err != nil:
			return fmt.Errorf("apply answers to commands: %w", err)
		}
	}
}

// replyUntilDone returns an error only when ctx ended.
func (c *Commands) replyUntilDone(ctx context.Context, r fleet.DeviceReply) error {
	for gap := 100 * time.Millisecond; ; gap = min(2*gap, 5*time.Second) {
		err := c.Reply(ctx, r.Device, r.At, r.Reply)
		if err == nil {
			return nil
		}
		c.log.Warn("answer to a command not applied, trying again", "device", r.Device.String(), "command", r.Reply.ID, "after", gap, "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(gap):
		}
	}
}

// Reply applies a device's answer that arrived at a time. Applying it again does nothing. The topic it came on was the
// device's (ingest saw to that): an answer to another device's command, to none that exists, after the end or with an
// unknown status is counted and changes nothing, without an error. Errors are the store's and worth another try.
func (c *Commands) Reply(ctx context.Context, device fleet.DeviceKey, at time.Time, r fleet.CommandReply) error {
	count := func(outcome string) {
		c.metrics.replies.WithLabelValues(outcome).Inc()
		c.log.Debug("answer to a command", "device", device.String(), "command", r.ID, "status", r.Status, "outcome", outcome)
	}
	k, err := c.d.Store.Command(ctx, device.Tenant, r.ID)
	switch {
	case fleet.CodeOf(err) == fleet.CodeNotFound:
		count("unknown_command")
		return nil
	case err != nil:
		return err
	case k.Device != device:
		count("foreign")
		return nil
	}
	_, act, why, err := c.apply(ctx, commandID{device.Tenant, r.ID}, k, event{kind: evReply, at: at, reply: r})
	switch {
	case err != nil:
		return err
	case act == actNothing:
		count(why)
	default:
		count("applied")
	}
	return nil
}
