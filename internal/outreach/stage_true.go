package outreach

import (
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// stillTrue skips what is not true any more: a fault that is over, an all-clear for a fault that is back.
func stillTrue(p *plan) (verdict, string) {
	if p.row.CaseID != "" && p.kase == nil {
		return skip, "the case does not exist any more"
	}
	if p.kase == nil && p.incident == nil {
		return skip, "there is no case and no incident"
	}
	p.topic = p.subject()
	switch p.row.Topic {
	case fleet.EventOpened, fleet.EventEscalated, fleet.EventReminder, fleet.EventWarranty:
		return p.stillOpen()
	case fleet.EventCleared:
		if p.back || p.kase.State.Open() {
			return skip, "the problem is back"
		}
		return p.onlyTold()
	case fleet.EventIncident, fleet.EventIncidentNews, fleet.EventIncidentFixed:
		return p.incidentTrue()
	case fleet.EventVisit:
		return p.visitTrue()
	case fleet.EventConfirmedFixed:
		if p.back || p.kase.State.Open() || !p.kase.Proof.Clean {
			return skip, "the repair is not proven any more"
		}
		return p.onlyTold()
	case fleet.EventReview:
		if p.back || p.kase.State.Open() || !p.kase.Proof.Clean || !p.kase.Proof.Back.IsZero() {
			return skip, "nobody is asked for a review of a repair that is not proven"
		}
		return proceed, "the repair is proven"
	}
	return skip, fmt.Sprintf("there is no message for %q", p.row.Topic)
}

// subject is what the message is about, as wishes, consents and the budget see it.
func (p *plan) subject() fleet.Topic {
	switch p.row.Topic {
	case fleet.EventReview:
		return fleet.TopicReview
	case fleet.EventWarranty:
		return fleet.TopicWarranty
	case fleet.EventVisit: // she waits for it
		return fleet.TopicFault
	}
	if p.kase == nil {
		return fleet.TopicFault
	}
	t := fleet.TopicOf(p.kase.Kind, p.kase.Severity)
	switch {
	case t != fleet.TopicSafety && p.aboutIncident():
		return fleet.TopicFault
	case t == "" && p.kase.Kind == fleet.KindUsage:
		return fleet.TopicTip
	case t == "" && p.row.Topic != fleet.EventOpened && p.row.Topic != fleet.EventEscalated:
		return fleet.TopicMaintenance // it was told when it was more
	}
	return t
}

// tellAgain says whether a message that a problem is back has anything new where it is going; one for the person, whether it has in the
// inbox or at an endpoint it would go to.
func (p *plan) tellAgain() (tell bool, why string) {
	channels := []string{p.channel()}
	person := p.row.PersonID
	if person == "" && p.device != nil {
		person = p.device.OwnerID
	}
	if !p.outside() && p.person != nil {
		for i, e := range p.route() {
			if i == 0 || p.atOnce() {
				channels = append(channels, e.Channel)
			}
		}
	}
	for _, c := range channels {
		if tell, why = fleet.LastHeard(p.before, person, c).TellAgain(p.kase.Severity); tell {
			return true, why
		}
	}
	return false, why
}

// stillOpen is for what tells of a problem.
func (p *plan) stillOpen() (verdict, string) {
	c := p.kase
	switch {
	case !c.State.Open():
		return skip, "the case was resolved before the message left"
	case ended(c): // somebody has the case still, and may want to know why
		return skip, "its condition was over before the message left"
	case p.topic == "":
		return skip, fmt.Sprintf("owners do not hear of %s at severity %s", c.Kind, c.Severity)
	case p.row.Topic == fleet.EventOpened && p.row.Ref == fleet.RefBack:
		if tell, why := p.tellAgain(); !tell {
			return skip, why
		}
	}
	switch {
	case p.topic == fleet.TopicSafety && p.target.Instead == 0:
		return proceed, "the case is open"
	case c.CauseRule != "":
		return skip, "it is a symptom of " + c.CauseRule
	case c.Snooze.Holds(p.now, c.Severity) && c.Snooze.Until.IsZero():
		return skip, "the case is snoozed until it gets worse"
	case c.Snooze.Holds(p.now, c.Severity):
		p.until = c.Snooze.Until
		return hold, "the case is snoozed"
	case p.target.Instead > 0:
		return p.unanswered()
	}
	return proceed, "the case is open"
}

// ended reports whether nothing that was found holds any more.
func ended(c *fleet.Case) bool {
	return len(c.Episodes) > 0 && !slices.ContainsFunc(c.Episodes, func(e fleet.Episode) bool { return e.ClearedAt.IsZero() })
}

// unanswered is for what goes to another person because nobody opened it.
func (p *plan) unanswered() (verdict, string) {
	if p.kase.State == fleet.CaseAcked || p.kase.State == fleet.CaseInProgress || p.kase.State == fleet.CaseWaiting {
		return skip, "somebody takes care of the case"
	}
	if !p.links { // nobody can say that it was opened: what a channel took counts
		if i := slices.IndexFunc(p.before, func(d fleet.Delivery) bool { return taken(&d) && !d.At.Before(p.target.Since) }); i >= 0 {
			return skip, fmt.Sprintf("%s took it for %s, and without links nothing more is known", p.before[i].Channel, p.before[i].PersonID)
		}
		return proceed, "no channel took it"
	}
	if i := slices.IndexFunc(p.before, func(d fleet.Delivery) bool { return seenSince(&d, p.target.Since) }); i >= 0 {
		return skip, p.before[i].PersonID + " has opened it"
	}
	return proceed, "nobody has opened it"
}

// taken says whether a channel took a message that tells of the problem.
func taken(d *fleet.Delivery) bool {
	return d.Channel != inbox && (d.State == stateSent || d.State == stateMerged) && !ends(d.Topic)
}

func seenSince(d *fleet.Delivery, t time.Time) bool {
	return !d.OpenedAt.IsZero() && !d.OpenedAt.Before(t) || !d.ActedAt.IsZero() && !d.ActedAt.Before(t)
}

// onlyTold lets news of an end only where the beginning arrived.
func (p *plan) onlyTold() (verdict, string) {
	if !slices.ContainsFunc(p.before, p.told) {
		if p.sending.After(p.now) {
			p.until = p.sending
			return hold, "a message of the problem is under way"
		}
		if p.row.Topic == fleet.EventCleared && fleet.LastHeard(p.before, p.row.PersonID, p.channel()).Event == fleet.EventCleared {
			return skip, "nobody was told of the problem here since the last all-clear"
		}
		return skip, "nobody was told of the problem here"
	}
	return proceed, "it was told here"
}

// told says whether an earlier message of the case arrived where this one is going, and no all-clear after it.
func (p *plan) told(d fleet.Delivery) bool {
	if !p.arrived(&d) || toPartner(&d) || ends(d.Topic) || p.row.PersonID != "" && d.PersonID != p.row.PersonID || p.outside() && !p.here(&d) {
		return false
	}
	if p.row.Topic != fleet.EventCleared {
		return true
	}
	return !slices.ContainsFunc(p.before, func(e fleet.Delivery) bool {
		return e.Topic == fleet.EventCleared && p.arrived(&e) && e.PersonID == d.PersonID && e.Channel == d.Channel && e.Endpoint == d.Endpoint && !e.At.Before(d.At)
	})
}

// arrived says whether another message than this one was sent.
func (p *plan) arrived(d *fleet.Delivery) bool {
	return (d.State == stateSent || d.State == stateMerged) && d.OutboxID != p.row.ID && !slices.Contains(p.target.Before, d.OutboxID)
}

// here says whether a delivery went to the row's endpoint.
func (p *plan) here(d *fleet.Delivery) bool {
	return d.Channel == p.row.Channel && (d.Endpoint == "" || d.Endpoint == label(p.own()))
}

// ends says whether an event tells of an end: who has heard only that was not told of the problem.
func ends(topic string) bool {
	return topic == fleet.EventCleared || topic == fleet.EventConfirmedFixed || topic == fleet.EventReview || topic == fleet.EventIncidentFixed
}

// incidentTrue is for what tells of an incident.
func (p *plan) incidentTrue() (verdict, string) {
	i := p.incident
	switch {
	case i == nil:
		return skip, "the incident does not exist any more"
	case p.row.Topic == fleet.EventIncidentFixed && i.State == fleet.IncidentOpen:
		return skip, "the incident is open again"
	case p.row.Topic == fleet.EventIncidentFixed:
		return proceed, "the incident is over"
	case i.State != fleet.IncidentOpen:
		return skip, "the incident is over"
	case p.row.Topic == fleet.EventIncident && p.kase != nil && p.row.CaseID != "" && !p.kase.State.Open():
		return skip, "the case was resolved before the message left"
	}
	return proceed, "the incident is open"
}

// covered skips what an open incident says for all: of one case and the repair of it only danger is told.
func covered(p *plan) (verdict, string) {
	switch p.row.Topic {
	case fleet.EventOpened, fleet.EventEscalated, fleet.EventReminder, fleet.EventWarranty:
	case fleet.EventIncident:
		if slices.ContainsFunc(p.before, p.toldOfIncident) {
			return skip, "told of the incident before"
		}
		return proceed, "the first message about it"
	default:
		return proceed, "of another kind"
	}
	switch {
	case p.incident == nil || p.incident.State != fleet.IncidentOpen:
		return proceed, "no incident"
	case p.topic == fleet.TopicSafety:
		return proceed, "danger is told in an incident too"
	}
	return skip, "covered by incident " + p.incident.ID
}

// toldOfIncident says whether the person has, or will have, an earlier message about the incident.
func (p *plan) toldOfIncident(d fleet.Delivery) bool {
	return d.Topic == fleet.EventIncident && !p.outside() && d.OutboxID != p.row.ID && p.person != nil && d.PersonID == p.person.ID && d.State != stateSkipped && d.State != stateDead
}
