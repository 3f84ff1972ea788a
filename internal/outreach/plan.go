package outreach

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// verdict is what a stage says about a message.
type verdict uint8

const (
	proceed verdict = iota
	skip            // it is not sent, for good
	hold            // not before plan.until
)

// plan is one message row at sending time: what was loaded for it, then what the stages decided. Stages are pure.
type plan struct {
	row    fleet.OutboxRow
	now    time.Time
	config *Config
	known  []string // channels that are set up

	kase   *fleet.Case // nil when there is none
	before []fleet.Delivery
	device *fleet.Device // nil when it is not registered
	person *fleet.Person // nil when there is none, or not known
	target target        // of a row for one channel

	endpoint fleet.Endpoint   // how: a row for one channel
	fan      []fleet.Endpoint // how: a row that has yet to be spread over the channels
	until    time.Time        // when: the end of a hold
}

// target is what the row of a single channel keeps in its body. The endpoint's secret stays in the registry.
type target struct {
	Address string    `json:"address"`
	From    time.Time `json:"from"`           // since when it has been due: what giving up is measured from
	Held    bool      `json:"held,omitempty"` // it waited for the morning: not counted as slow
}

// inbox is the channel name of what the core saves itself.
const inbox = "inbox"

// channel names where the row goes, for records and metrics.
func (p *plan) channel() string {
	if p.row.Channel == "" {
		return inbox
	}
	return p.row.Channel
}

// stages run in this order until one does not proceed.
var stages = []func(*plan) (verdict, string){stillHolds, mayWe, whom, how, when}

// decide runs the stages and returns the verdict with the reason that people read.
func (p *plan) decide() (verdict, string) {
	for _, stage := range stages {
		if v, reason := stage(p); v != proceed {
			return v, reason
		}
	}
	return proceed, ""
}

// stillHolds skips what is not true any more: a fault that is over, an all-clear for a fault that is back.
func stillHolds(p *plan) (verdict, string) {
	if p.kase == nil {
		return skip, "the case does not exist any more"
	}
	over := !p.kase.State.Open()
	switch p.row.Topic {
	case "opened", "escalated":
		if over {
			return skip, "the case was resolved before the message left"
		}
		if p.row.Topic == fleet.EventOpened && p.row.Ref == fleet.RefBack {
			if tell, why := p.tellAgain(); !tell {
				return skip, why
			}
		}
	case "cleared":
		if !over {
			return skip, "the problem is back"
		}
		switch fleet.LastHeard(p.before, p.listener(), p.channel()).Event {
		case "":
			return skip, "nobody was told of the problem here"
		case fleet.EventCleared:
			return skip, "nobody was told of the problem here since the last all-clear"
		}
	default:
		return skip, fmt.Sprintf("there is no message for %q", p.row.Topic)
	}
	return proceed, ""
}

// tellAgain says whether a message that a problem is back has anything new where it is going; one for all channels, whether it has
// on any of them.
func (p *plan) tellAgain() (tell bool, why string) {
	channels := []string{p.channel()}
	if p.row.Channel == "" && p.person != nil {
		for _, e := range p.person.Endpoints {
			if slices.Contains(p.known, e.Channel) {
				channels = append(channels, e.Channel)
			}
		}
	}
	for _, c := range channels {
		if tell, why = fleet.LastHeard(p.before, p.listener(), c).TellAgain(p.kase.Severity); tell {
			return true, why
		}
	}
	return false, why
}

// listener is the person whom the message is for.
func (p *plan) listener() string {
	if p.row.PersonID == "" && p.device != nil {
		return p.device.OwnerID
	}
	return p.row.PersonID
}

// mayWe is where consent and preferences decide. All messages there are today are service messages about the person's own
// device, which need none.
func mayWe(*plan) (verdict, string) { return proceed, "" }

// whom skips what has nobody to hear it. Only the present owner hears: not the one who has sold the device meanwhile.
func whom(p *plan) (verdict, string) {
	switch {
	case p.device == nil:
		return skip, "the device is not registered"
	case p.device.OwnerID == "":
		return skip, "no owner"
	case p.row.PersonID != "" && p.row.PersonID != p.device.OwnerID:
		return skip, "the person does not own the device any more"
	case p.person == nil:
		return skip, "the owner is not known"
	}
	return proceed, ""
}

// how chooses the endpoints: all the person has for a row that is not for one channel yet; the one it is for, if the person
// still has it.
func how(p *plan) (verdict, string) {
	if p.row.Channel == "" {
		for _, e := range p.person.Endpoints {
			if slices.Contains(p.known, e.Channel) {
				p.fan = append(p.fan, e)
			}
		}
		return proceed, ""
	}
	i := slices.IndexFunc(p.person.Endpoints, func(e fleet.Endpoint) bool {
		return e.Channel == p.row.Channel && e.Address == p.target.Address
	})
	if i < 0 {
		return skip, "the person does not use this address any more"
	}
	if !slices.Contains(p.known, p.row.Channel) {
		return skip, "the channel is not set up"
	}
	p.endpoint = p.person.Endpoints[i]
	return proceed, ""
}

// when holds what may wait over the night, on channels that ring. The inbox does not ring; faults and safety do not wait.
func when(p *plan) (verdict, string) {
	if !slices.Contains(p.config.QuietChannels, p.row.Channel) || p.kase.Severity >= fleet.Fault || p.kase.Kind == fleet.KindSafety {
		return proceed, ""
	}
	zone, err := time.LoadLocation(p.person.Zone)
	if err != nil {
		zone = time.UTC
	}
	until, quiet := quietUntil(p.now.In(zone), p.config.QuietFrom, p.config.QuietUntil)
	if !quiet {
		return proceed, ""
	}
	p.until = until
	return hold, "quiet hours until " + until.Format("15:04")
}

// quietUntil says whether local time t lies within the hours [from, until), and when they end.
func quietUntil(t time.Time, from, until int) (time.Time, bool) {
	h := t.Hour()
	quiet := from < until && h >= from && h < until || from > until && (h >= from || h < until)
	if !quiet {
		return time.Time{}, false
	}
	day := t.Day()
	if h >= until { // the hours run over midnight and it is still the evening
		day++
	}
	return time.Date(t.Year(), t.Month(), day, until, 0, 0, 0, t.Location()), true
}

// children are the rows of the single channels that follow from a row for all of them.
func (p *plan) children() ([]fleet.OutboxRow, error) {
	var out []fleet.OutboxRow
	for _, e := range p.fan {
		body, err := json.Marshal(target{Address: e.Address, From: p.now})
		if err != nil {
			return nil, fmt.Errorf("row for channel %q: %w", e.Channel, err)
		}
		out = append(out, fleet.OutboxRow{ID: fleet.ID("dlv", p.row.ID, e.Channel, e.Address), Kind: fleet.OutboxMessage, Tenant: p.row.Tenant,
			CaseID: p.row.CaseID, PersonID: p.person.ID, Channel: e.Channel, Topic: p.row.Topic, Ref: p.row.Ref, About: p.row.About, Body: body, DueAt: p.now, Cause: p.row.Cause})
	}
	return out, nil
}

// later is the row that takes the place of one that is held. Nothing was sent under the old id, so a new one is no second
// message; the old row keeps the record of the hold.
func (p *plan) later() (fleet.OutboxRow, error) {
	t := p.target
	t.Held, t.From = true, p.until
	body, err := json.Marshal(t)
	if err != nil {
		return fleet.OutboxRow{}, fmt.Errorf("row for the morning: %w", err)
	}
	r := p.row
	r.ID, r.Body, r.DueAt, r.Attempts, r.LastErr = fleet.ID("dlv", p.row.ID, "held"), body, p.until, 0, ""
	return r, nil
}

// record is the row that puts what became of the message on the changes stream.
func (p *plan) record(action, reason string) (fleet.OutboxRow, error) {
	n := fleet.Notice{ID: fleet.ID("ntc", p.row.ID, action), Type: "message", CaseID: p.row.CaseID, Action: action, Channel: p.channel(),
		PersonID: p.row.PersonID, Actor: "outreach", Detail: p.row.Topic, At: p.now}
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
	return fleet.OutboxRow{ID: fleet.ID("rec", p.row.ID, action), Kind: fleet.OutboxRecord, Tenant: p.row.Tenant, CaseID: p.row.CaseID,
		Topic: action, Body: body, DueAt: p.now, Cause: p.row.Cause}, nil
}

// delivery is what became of the row.
func (p *plan) delivery(state, reason string) fleet.Delivery {
	d := fleet.Delivery{OutboxID: p.row.ID, CaseID: p.row.CaseID, PersonID: p.row.PersonID, Channel: p.channel(), Topic: p.row.Topic, State: state, Reason: reason,
		At: p.now, Attempts: p.row.Attempts}
	if p.person != nil {
		d.PersonID = p.person.ID
	}
	return d
}
