package outreach

import (
	"encoding/json"
	"fmt"

	"aftercare/internal/fleet"
)

// The states of a delivery.
const (
	stateSent    = "sent"
	stateHeld    = "held"
	stateSkipped = "skipped"
	stateMerged  = "merged"
	stateDead    = "dead"
)

// record is the row that puts what became of the message on the changes stream.
func (p *plan) record(action, reason string) (fleet.OutboxRow, error) {
	n := fleet.Notice{ID: fleet.ID("ntc", p.row.ID, action, fmt.Sprint(p.now.UnixMilli())), Type: "message", CaseID: p.row.CaseID, Action: action,
		Channel: p.channel(), PersonID: p.row.PersonID, Actor: "outreach", Detail: p.row.Topic, At: p.now}
	if action != stateHeld { // it may be held several times, and ends once
		n.ID = fleet.ID("ntc", p.row.ID, action)
	}
	if reason != "" {
		n.Detail += ": " + reason
	}
	n.Device.Tenant = p.row.Tenant
	if p.kase != nil {
		n.Device, n.Model, n.Problem, n.Kind, n.Severity = p.kase.Device, p.kase.Model, p.kase.Problem, p.kase.Kind, p.kase.Severity
	}
	if p.person != nil {
		n.PersonID = p.person.ID
	}
	body, err := json.Marshal(n)
	if err != nil {
		return fleet.OutboxRow{}, fmt.Errorf("record of message %q: %w", p.row.ID, err)
	}
	return fleet.OutboxRow{ID: fleet.ID("rec", n.ID), Kind: fleet.OutboxRecord, Tenant: p.row.Tenant, CaseID: p.row.CaseID,
		Topic: action, Body: body, DueAt: p.now, Cause: p.row.Cause}, nil
}

// delivery is what became of the row.
func (p *plan) delivery(state, reason string) fleet.Delivery {
	d := fleet.Delivery{OutboxID: p.row.ID, CaseID: p.row.CaseID, Ref: p.row.Ref, PersonID: p.row.PersonID, Channel: p.channel(),
		Endpoint: label(p.own()), Topic: p.row.Topic, Subject: p.topic, State: state, Reason: reason, Trace: p.trace, At: p.now, Attempts: p.row.Attempts}
	if p.person != nil {
		d.PersonID = p.person.ID
	}
	return d
}
