package dispatch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// actorSystem is who acts when no person does.
const actorSystem = "system"

// What errands are for: Topic of their rows.
const (
	errandTell   = "tell"   // bring to the case what became of the order
	errandExpire = "expire" // the offer was not answered in time
	errandOver   = fleet.ErrandOver
)

// MaxNote bounds what partners write, in bytes.
const MaxNote = 2000

// choose returns the partner who is asked: the one wished for; the one who has been there before, because it is the same problem again;
// else the best who has not declined or let an offer run out.
func choose(candidates []*fleet.Partner, k *fleet.Case, past []fleet.Order, wished string) (*fleet.Partner, error) {
	if wished != "" {
		if i := slices.IndexFunc(candidates, func(p *fleet.Partner) bool { return p.ID == wished }); i >= 0 {
			return candidates[i], nil
		}
		return nil, fleet.Errorf(fleet.CodeNotFound, "partner %q does not serve this device there", wished)
	}
	refused := map[string]bool{}
	for _, o := range past {
		if o.State == fleet.OrderDeclined {
			refused[o.PartnerID] = true
		}
	}
	candidates = slices.DeleteFunc(slices.Clone(candidates), func(p *fleet.Partner) bool { return refused[p.ID] })
	for _, p := range candidates {
		if p.ID == k.PartnerID {
			return p, nil
		}
	}
	if len(candidates) == 0 {
		if len(refused) > 0 {
			return nil, fleet.Errorf(fleet.CodeNotFound, "no partner is left for case %q: %d declined", k.ID, len(refused))
		}
		return nil, fleet.Errorf(fleet.CodeNotFound, "no partner serves model %q there", k.Model)
	}
	return candidates[0], nil
}

// offer is the order that a partner gets; n counts the case's earlier ones.
func (c Config) offer(k *fleet.Case, d *fleet.Device, p *fleet.Partner, w Wish, n int, cover fleet.Cover, contact string) fleet.Order {
	from, to := w.From, w.To
	if from.IsZero() {
		from = c.propose(w.At, p.Zone)
	}
	if !to.After(from) {
		to = from.Add(c.Visit)
	}
	return fleet.Order{ID: fleet.ID("order", k.Device.Tenant, k.ID, fmt.Sprint(n)), Tenant: k.Device.Tenant, CaseID: k.ID, Device: d.Key, PartnerID: p.ID,
		State: fleet.OrderOffered, Problem: k.Problem, Part: w.Part, Cover: cover, From: from.UTC(), To: to.UTC(), Contact: contact, Note: cut(w.Note),
		Version: 1, CreatedAt: w.At, UpdatedAt: w.At, By: w.By}
}

// propose is eight in the morning, by the partner's clocks, of the first working day that is far enough away.
func (c Config) propose(at time.Time, zone string) time.Time {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		loc = time.UTC
	}
	t := at.Add(c.Notice).In(loc)
	day := time.Date(t.Year(), t.Month(), t.Day(), 8, 0, 0, 0, loc)
	if day.Before(t) {
		day = day.AddDate(0, 0, 1)
	}
	for day.Weekday() == time.Saturday || day.Weekday() == time.Sunday {
		day = day.AddDate(0, 0, 1)
	}
	return day
}

// offered is the change that makes the order: the partner is told, the case hears, and the offer ends.
func (c Config) offered(o fleet.Order, at time.Time) fleet.OrderChange {
	return fleet.OrderChange{Order: o, Outbox: []fleet.OutboxRow{partnerRow(&o, "offered", at), errand(&o, errandTell, at),
		errand(&o, errandExpire, at.Add(c.OfferFor))}}
}

func accept(o fleet.Order, from, to, at time.Time) (fleet.OrderChange, error) {
	if !o.State.Open() {
		return fleet.OrderChange{}, over(&o)
	}
	if from.IsZero() {
		from, to = o.From, o.To
	}
	from, to = from.UTC().Truncate(time.Minute), to.UTC().Truncate(time.Minute)
	if !from.After(at) || !to.After(from) || to.Sub(from) > 24*time.Hour {
		return fleet.OrderChange{}, fleet.Errorf(fleet.CodeInvalid, "a visit from %s to %s: want a time to come, of at most a day",
			from.Format("2006-01-02 15:04"), to.Format("15:04"))
	}
	if o.State == fleet.OrderAccepted && from.Equal(o.From) && to.Equal(o.To) {
		return fleet.OrderChange{}, nil
	}
	o.State, o.From, o.To = fleet.OrderAccepted, from, to
	return next(o, at, ownerRow(&o, at), partnerRow(&o, "accepted", at)), nil
}

func decline(o fleet.Order, reason string, at time.Time) (fleet.OrderChange, error) {
	if !o.State.Open() {
		return fleet.OrderChange{}, over(&o)
	}
	agreed := o.State == fleet.OrderAccepted
	o.State, o.Reason = fleet.OrderDeclined, cut(reason)
	if agreed { // the owner expects somebody
		return next(o, at, ownerRow(&o, at)), nil
	}
	return next(o, at), nil
}

// Report is what a partner did.
type Report struct {
	Outcome fleet.Outcome
	Cause   string
	Part    string
	Note    string
}

// PartnerOutcomes are those that a partner may report.
func PartnerOutcomes() []fleet.Outcome {
	return []fleet.Outcome{fleet.OutcomeRepaired, fleet.OutcomePart, fleet.OutcomeUpdated, fleet.OutcomeNoFault}
}

func report(o fleet.Order, r Report, at time.Time) (fleet.OrderChange, error) {
	switch {
	case o.State == fleet.OrderDone && o.Outcome == r.Outcome:
		return fleet.OrderChange{}, nil
	case o.State != fleet.OrderAccepted:
		return fleet.OrderChange{}, over(&o)
	case !slices.Contains(PartnerOutcomes(), r.Outcome):
		return fleet.OrderChange{}, fleet.Errorf(fleet.CodeInvalid, "outcome %.40q: want one of %q", r.Outcome, PartnerOutcomes())
	case (r.Outcome == fleet.OutcomePart || r.Outcome == fleet.OutcomeUpdated) && strings.TrimSpace(r.Part) == "":
		return fleet.OrderChange{}, fleet.Errorf(fleet.CodeInvalid, "say which part was replaced, or which version installed")
	case r.Outcome == fleet.OutcomeRepaired && strings.TrimSpace(r.Cause+r.Note) == "":
		return fleet.OrderChange{}, fleet.Errorf(fleet.CodeInvalid, "say what it was that was repaired")
	}
	o.State, o.Outcome, o.FixCause, o.FixPart, o.Note = fleet.OrderDone, r.Outcome, cut(r.Cause), cut(r.Part), cut(r.Note)
	return next(o, at), nil
}

func cancel(o fleet.Order, by, reason string, at time.Time) (fleet.OrderChange, error) {
	if !o.State.Open() {
		return fleet.OrderChange{}, over(&o)
	}
	agreed := o.State == fleet.OrderAccepted
	o.State, o.Reason, o.By = fleet.OrderCancelled, cut(reason), by
	rows := []fleet.OutboxRow{partnerRow(&o, "cancelled", at)}
	if agreed {
		rows = append(rows, ownerRow(&o, at))
	}
	return next(o, at, rows...), nil
}

// expire ends an offer that nobody answered; the next partner is asked as after a no. An accepted order is left alone.
func expire(o fleet.Order, at time.Time) (fleet.OrderChange, error) {
	if o.State != fleet.OrderOffered {
		return fleet.OrderChange{}, nil
	}
	ch, err := decline(o, fleet.ReasonNoAnswer, at)
	if err == nil {
		ch.Outbox = append(ch.Outbox, partnerRow(&ch.Order, "expired", at))
	}
	return ch, err
}

// pointless calls off the visit for a case that is over.
func pointless(o fleet.Order, at time.Time) (fleet.OrderChange, error) {
	if !o.State.Open() {
		return fleet.OrderChange{}, nil
	}
	return cancel(o, actorSystem, fleet.ReasonOver, at)
}

// next closes a decision: the case hears of it as well.
func next(o fleet.Order, at time.Time, rows ...fleet.OutboxRow) fleet.OrderChange {
	expected := o.Version
	o.Version, o.UpdatedAt = expected+1, at
	for i := range rows { // their ids name the version that caused them
		rows[i].ID = fleet.ID("ord", o.ID, rows[i].ID, fmt.Sprint(o.Version))
	}
	return fleet.OrderChange{Order: o, Expected: expected, Outbox: append(rows, errand(&o, errandTell, at))}
}

func over(o *fleet.Order) error {
	return fleet.Errorf(fleet.CodeConflict, "the work order is %s already", o.State)
}

// partnerRow tells the partner; what is decided by outreach when it is due.
func partnerRow(o *fleet.Order, what string, due time.Time) fleet.OutboxRow {
	return fleet.OutboxRow{ID: fleet.ID("ord", o.ID, what), Kind: fleet.OutboxOrder, Tenant: o.Tenant, CaseID: o.CaseID, Topic: what, Ref: o.ID, DueAt: due,
		About: due, Cause: due}
}

// ownerRow tells the owner that a visit was agreed, moved or called off.
func ownerRow(o *fleet.Order, due time.Time) fleet.OutboxRow {
	return fleet.OutboxRow{ID: "visit", Kind: fleet.OutboxMessage, Tenant: o.Tenant, CaseID: o.CaseID, Topic: fleet.EventVisit, Ref: o.ID, DueAt: due,
		About: due, Cause: due}
}

// errand names the version it was made for: one that the order has left behind has nothing to tell.
func errand(o *fleet.Order, what string, due time.Time) fleet.OutboxRow {
	return fleet.OutboxRow{ID: fleet.ID("ern", o.ID, what, fmt.Sprint(o.Version)), Kind: fleet.OutboxErrand, Tenant: o.Tenant, CaseID: o.CaseID, Topic: what,
		Ref: o.ID, Body: strconv.AppendInt(nil, o.Version, 10), DueAt: due, About: due, Cause: due}
}

// cut bounds what somebody wrote, at a character's end.
func cut(s string) string {
	s = strings.TrimSpace(s)
	if len(s) <= MaxNote {
		return s
	}
	return strings.ToValidUTF8(s[:MaxNote], "")
}
