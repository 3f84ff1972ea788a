package outreach

import (
	"fmt"
	"slices"

	"aftercare/internal/fleet"
)

// whom skips what has nobody to hear it. Only the present owner's household hears, and nothing of the time before.
func whom(p *plan) (verdict, string) {
	if p.device == nil && p.row.CaseID == "" { // of an incident: to somebody who was told of it
		if p.person == nil {
			return skip, "the person is not known"
		}
		return proceed, "was told of the incident"
	}
	switch {
	case p.device == nil:
		return skip, "the device is not registered"
	case p.device.OwnerID == "":
		return skip, "no owner"
	case !p.row.About.IsZero() && p.row.About.Before(p.device.OwnedSince):
		return skip, "it is about the time before the device was hers"
	case p.person == nil && p.row.PersonID != "" && p.row.PersonID != p.device.OwnerID:
		return skip, "the person does not own the device any more"
	case p.person == nil:
		return skip, "the owner is not known"
	case p.person.ID == p.device.OwnerID:
		return proceed, "the owner"
	case slices.ContainsFunc(p.household, func(m fleet.Person) bool { return m.ID == p.person.ID }):
		return proceed, "of the owner's household"
	}
	return skip, "the person does not own the device any more"
}

// entitled works out who pays, which decides what the message offers: see offers. It skips the reminder of a cover that ends
// soon when it does not, or would not pay.
func entitled(p *plan) (verdict, string) {
	says := "who pays is not known"
	switch c := &p.cover; {
	case c.Kind == "":
	case c.Days < 0 || c.Kind == "none":
		says = "no cover any more"
	case !c.Pays:
		says = fmt.Sprintf("%s cover of %d more days does not pay for this", c.Kind, c.Days)
	default:
		says = fmt.Sprintf("%s pays, %d days left", c.Name, c.Days)
	}
	if p.row.Topic == fleet.EventWarranty {
		soon := float64(p.cover.Days) <= p.config.WarrantyDue.Hours()/24
		if p.cover.Kind == "" || !p.cover.Pays || p.cover.Days < 0 || !soon {
			return skip, says + ": not a cover that ends soon"
		}
	}
	return proceed, says
}

// offers are the answers a message has buttons for, the first one first.
func (p *plan) offers() []fleet.Verdict {
	if p.kase == nil || p.row.CaseID == "" {
		return []fleet.Verdict{fleet.VerdictStop}
	}
	switch p.row.Topic {
	case fleet.EventOpened, fleet.EventEscalated, fleet.EventReminder, fleet.EventWarranty:
	case fleet.EventIncident, fleet.EventIncidentNews:
		return []fleet.Verdict{fleet.VerdictNotTrue, fleet.VerdictStop}
	default:
		return []fleet.Verdict{fleet.VerdictStop}
	}
	out := []fleet.Verdict{fleet.VerdictFixed}
	c := p.kase
	repair := p.topic == fleet.TopicSafety || p.topic == fleet.TopicFault || p.topic == fleet.TopicWarranty
	under := c.OrderID != "" && c.State == fleet.CaseWaiting // somebody is sent already
	switch incident := p.incident != nil && p.incident.State == fleet.IncidentOpen; {
	case incident || under:
	case repair:
		out = append([]fleet.Verdict{fleet.VerdictBook}, out...)
	case p.topic == fleet.TopicMaintenance && p.cover.Pays: // who pays brings the part
		out = append(out, fleet.VerdictBook)
	case p.topic == fleet.TopicMaintenance:
		out = append(out, fleet.VerdictOrder)
	}
	if p.topic != fleet.TopicSafety {
		out = append(out, fleet.VerdictNotNow)
	}
	return append(out, fleet.VerdictNotTrue, fleet.VerdictStop)
}

// consented lets pass what serves the owner of the device, and asks for a consent that holds for the rest.
func consented(p *plan) (verdict, string) {
	purpose := map[fleet.Topic]fleet.Purpose{fleet.TopicTip: fleet.PurposeTips, fleet.TopicReview: fleet.PurposeReview}[p.topic]
	if purpose == "" {
		return proceed, "service: her own device"
	}
	for _, c := range p.person.Consents {
		if c.Purpose == purpose && !c.GivenAt.After(p.now) && (c.WithdrawnAt.IsZero() || c.WithdrawnAt.After(p.now)) {
			return proceed, fmt.Sprintf("consent to %s of %s", purpose, c.GivenAt.UTC().Format("2006-01-02"))
		}
	}
	return skip, fmt.Sprintf("no consent to %s", purpose)
}

// preferred asks how the person wants to hear of the topic on the channel. Danger always comes, and at once, to the inbox at least.
func preferred(p *plan) (verdict, string) {
	p.want = p.wish(p.channel())
	switch {
	case p.want != fleet.WantNever:
		return proceed, fmt.Sprintf("%s: %s", p.topic, p.want)
	case p.outside():
		p.elsewise = true
		return skip, fmt.Sprintf("does not want to hear of %s here", p.topic)
	}
	return proceed, fmt.Sprintf("%s not in the list of messages", p.topic)
}

// wish is how the person wants to hear of the topic on a channel: what she said of both, else of the topic, else the installation's.
func (p *plan) wish(channel string) fleet.Want {
	want := fleet.WantNow
	if slices.Contains(p.config.DigestTopics, string(p.topic)) {
		want = fleet.WantDigest
	}
	for _, exact := range []string{"", channel} { // the exact one last: it counts
		for _, w := range p.person.Preferences {
			if w.Topic == p.topic && w.Channel == exact {
				want = w.Want
			}
		}
	}
	if p.topic == fleet.TopicSafety && (want == fleet.WantDigest || channel == inbox) {
		return fleet.WantNow
	}
	return want
}
