package outreach

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// notification is what outreach keeps in the body of the row for one address of the operators. The address and its secret stay in the
// configuration.
type notification struct {
	Operation fleet.Operation `json:"operation"`
	Address   string          `json:"address"`
	From      time.Time       `json:"from"`
}

// notify handles a row for the operators: spread over their addresses, or sent to one. There are no wishes and no quiet hours.
func (o *Outreach) notify(ctx context.Context, row fleet.OutboxRow, now time.Time) error {
	p := &plan{row: row, now: now, config: &o.config, known: o.names}
	if row.Channel != "" {
		return o.operate(ctx, p)
	}
	p.row.Channel = "operations"
	var op fleet.Operation
	if err := json.Unmarshal(row.Body, &op); err != nil {
		return o.end(ctx, p, stateDead, fmt.Sprintf("not an operation: %v", err), nil)
	}
	if reason, err := o.moot(ctx, row, op); err != nil || reason != "" {
		if err != nil {
			return err
		}
		return o.end(ctx, p, stateSkipped, reason, nil)
	}
	var follow []fleet.OutboxRow
	for _, to := range o.config.Operations {
		b, err := json.Marshal(notification{op, to.Address, now})
		if err != nil {
			return fmt.Errorf("encode operation %q: %w", row.ID, err)
		}
		r := row
		r.ID, r.Channel, r.Body, r.DueAt, r.Attempts, r.LastErr = fleet.ID("ops", row.ID, to.Channel, to.Address), to.Channel, b, now, 0, ""
		follow = append(follow, r)
	}
	if len(follow) == 0 {
		return o.end(ctx, p, stateSkipped, "outreach.operations names nobody", nil)
	}
	defer o.Wake()
	return o.end(ctx, p, stateSent, fmt.Sprintf("to %d addresses", len(follow)), nil, follow...)
}

// moot says why operators need not hear any more that nobody opened a message; empty: they need.
func (o *Outreach) moot(ctx context.Context, row fleet.OutboxRow, op fleet.Operation) (string, error) {
	if row.Topic != eventUnopened {
		return "", nil
	}
	c, err := found(o.deps.Cases.Case(ctx, row.Tenant, row.CaseID))
	if err != nil {
		return "", fmt.Errorf("operation %q: load case %q: %w", row.ID, row.CaseID, err)
	}
	if c == nil || !c.State.Open() {
		return "the case is over", nil
	}
	p := &plan{kase: c, target: target{Since: op.At}, links: o.linked()}
	if p.before, err = o.deps.Cases.CaseDeliveries(ctx, row.Tenant, row.CaseID); err != nil {
		return "", fmt.Errorf("operation %q: %w", row.ID, err)
	}
	if v, reason := p.unanswered(); v == skip {
		return reason, nil
	}
	return "", nil
}

// diedRow tells operators that messages die on a channel: one row for each tenant, channel and hour, with the first reason. What they were
// to be told themselves is not told again.
func (o *Outreach) diedRow(p *plan, reason string) []fleet.OutboxRow {
	if len(o.config.Operations) == 0 || p.row.Kind == fleet.OutboxNotify {
		return nil
	}
	hour := p.now.UTC().Truncate(time.Hour)
	op := fleet.Operation{Name: "dead_letter", Severity: "warning", Summary: fmt.Sprintf("Messages to %s are given up", p.channel()),
		Detail: "The first of this hour: " + reason + ". All are among the dead letters.", At: p.now,
		Labels: map[string]string{"tenant": p.row.Tenant, "channel": p.channel()}}
	b, err := json.Marshal(op)
	if err != nil {
		panic(fmt.Sprintf("encode an operation: %v", err)) // texts and times of sane years
	}
	return []fleet.OutboxRow{{ID: fleet.ID("died", p.row.Tenant, p.channel(), hour.Format(time.RFC3339)), Kind: fleet.OutboxNotify, Tenant: p.row.Tenant,
		Topic: op.Name, Body: b, DueAt: p.now}}
}

// operate sends an operation to one address, and tries again as for any other message.
func (o *Outreach) operate(ctx context.Context, p *plan) error {
	var n notification
	if err := json.Unmarshal(p.row.Body, &n); err != nil {
		return o.end(ctx, p, stateDead, fmt.Sprintf("not an operation: %v", err), nil)
	}
	i := slices.IndexFunc(o.config.Operations, func(to Operations) bool { return to.Channel == p.row.Channel && to.Address == n.Address })
	channel := o.channels[p.row.Channel]
	if i < 0 || channel == nil {
		return o.end(ctx, p, stateSkipped, "outreach.operations does not name it any more, or the channel is not set up", nil)
	}
	p.target = target{Address: n.Address, From: n.From}
	to := fleet.Endpoint{Channel: p.row.Channel, Address: n.Address, Secret: string(o.config.Operations[i].Secret)}
	p.row.Attempts++
	sctx, cancel := linger(ctx, o.config.SendTimeout)
	defer cancel()
	var err error
	if op, ok := o.tellers[p.row.Channel]; ok {
		err = op.Operate(sctx, n.Operation, to)
	} else {
		err = channel.Send(sctx, operationMessage(p, n.Operation), to)
	}
	if err == nil {
		return o.end(ctx, p, stateSent, "", nil)
	}
	return o.failedHere(ctx, p, err)
}

// failedHere records a try that failed of what has no other way to go.
func (o *Outreach) failedHere(ctx context.Context, p *plan, cause error) error {
	rctx, cancel := linger(ctx, recordTime)
	defer cancel()
	kind, after := classify(cause)
	wait, more := nextTry(p.row.ID, p.row.Attempts, p.now.Sub(p.target.From), after)
	if kind != again || !more {
		return o.end(rctx, p, stateDead, cause.Error(), nil)
	}
	o.count(p, "retried")
	return o.deps.Outbox.RetryOutbox(rctx, p.row.ID, p.now.Add(wait), cause.Error())
}

// operationMessage says an operation on a channel that has no form of its own for it.
func operationMessage(p *plan, op fleet.Operation) fleet.Message {
	severity := map[string]fleet.Severity{"warning": fleet.Fault, "critical": fleet.Danger}[op.Severity]
	return fleet.Message{ID: p.row.ID, Tenant: p.row.Tenant, CaseID: p.row.CaseID, Channel: p.row.Channel, Topic: op.Name, Kind: fleet.KindFault,
		Severity: severity, Locale: "en", Title: op.Summary, Body: op.Detail, URL: op.URL, At: op.At}
}
