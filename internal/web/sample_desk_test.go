package web

import (
	"context"
	"fmt"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// deskSample is what agents work with, beside the fleet.
type deskSample struct {
	answers   []fleet.Answer
	files     []fleet.Attachment
	orders    []fleet.Order
	incidents []fleet.Incident
	refs      []fleet.Delivery
	partners  []*fleet.Partner
	orderErr  error
	dead      []fleet.DeadLetter
}

func (s *sample) byID(id string) *fleet.Case {
	for i := range s.cases {
		if s.cases[i].ID == id {
			return &s.cases[i]
		}
	}
	panic("no case " + id)
}

// addDesk adds a case that is watched after a repair, one that waits for a partner, a symptom, one that was merged, and incidents.
func (s *sample) addDesk() {
	at := func(ago time.Duration) time.Time { return friday.Add(-ago) }
	line := func(c *fleet.Case, ago time.Duration, actor, action, detail string) {
		s.audit[c.ID] = append(s.audit[c.ID], fleet.Audit{CaseID: c.ID, At: at(ago), Actor: actor, Action: action, Detail: detail})
	}
	name := func(c *fleet.Case, id string) *fleet.Case {
		s.audit[id] = s.audit[c.ID]
		c.ID = id
		return c
	}
	s.cases[1].AckBy, s.cases[1].ResolveBy = at(20*time.Minute), at(-3*24*time.Hour) // the freezer is late
	s.cases[0].AckBy = at(-38 * time.Minute)

	c := name(s.addCase("WM-0005", "washer-drain-slow", fleet.KindMaintenance, fleet.Due, 12*24*time.Hour, fleet.Evidence{Name: "drain_s", Value: 91, Unit: "s", Limit: 77, HasLimit: true}), "case-watched")
	c.State, c.Outcome, c.Assignee, c.FixPart, c.ClosedAt = fleet.CaseWatching, fleet.OutcomePart, "agent:ruth", "drain pump", at(50*time.Hour)
	c.Episodes[0].ClearedAt = c.ClosedAt
	c.Proof = fleet.Proof{Since: at(50 * time.Hour), Unit: "cycles", Need: 10, Seen: 3}
	line(c, 11*24*time.Hour, "agent:desk", "assigned", "to agent:ruth: knows these pumps")
	line(c, 10*24*time.Hour, "agent:ruth", "attached", "pump.png: the old one")
	line(c, 50*time.Hour, "agent:ruth", "resolved", "part_replaced: drain pump: worn")
	s.desk.files = []fleet.Attachment{{ID: "att-1", Name: "pump.png", Type: "image/png", Size: 48_213, At: at(10 * 24 * time.Hour), By: "agent:ruth", Body: []byte("\x89PNG\r\n\x1a\nnot really")}}

	c = name(s.addCase("WM-0008", "washer-vibrates", fleet.KindFault, fleet.Fault, 4*24*time.Hour, fleet.Evidence{Name: "vibration_mm_s", Value: 14, Unit: "mm/s", Limit: 11, HasLimit: true}), "case-waits")
	c.State, c.WaitingFor, c.Assignee, c.OrderID, c.PartnerID = fleet.CaseWaiting, fleet.WaitPartner, "agent:desk", "ord-1", "kundendienst"
	c.ResolveBy, c.AckedAt = at(-40*time.Hour), at(90*time.Hour)
	c.Episodes = append(c.Episodes, fleet.Episode{FindingID: "f2", Rule: "washer-leaks", RuleHash: "11", Severity: fleet.Watch, OpenedAt: at(30 * time.Hour)})
	line(c, 90*time.Hour, "agent:desk", "waiting", "for the owner: away until Thursday")
	line(c, 80*time.Hour, "agent:desk", "snoozed", "until 2025-11-19 07:00 UTC or until it gets worse: holiday")
	line(c, 72*time.Hour, "agent:desk", "maintenance", "from 2025-11-19 07:00 UTC until 2025-11-19 09:00 UTC")
	line(c, 30*time.Hour, "clock", "reminded", "to operators: it is not resolved for 24h")
	line(c, 20*time.Hour, "partner:kundendienst", "order", "ord-1 accepted: with a colleague")
	s.desk.orders = []fleet.Order{{ID: "ord-1", Tenant: "demo", CaseID: c.ID, Device: c.Device, PartnerID: "kundendienst", State: fleet.OrderAccepted, Part: "shock absorber", From: at(-20 * time.Hour), To: at(-24 * time.Hour),
		CreatedAt: at(26 * time.Hour), UpdatedAt: at(20 * time.Hour), By: "agent:desk", Cover: fleet.Cover{Kind: "manufacturer", Text: fleet.Words{"en": "The maker pays until 14 December.", "de": "Der Hersteller zahlt bis 14. Dezember."}}}}
	s.desk.answers = []fleet.Answer{{Tenant: "demo", MessageID: "m", CaseID: c.ID, PersonID: "p-berger", Verdict: fleet.VerdictBook, Note: "after 5 pm please", At: at(27 * time.Hour)}}
	line(c, 27*time.Hour, "owner:p-berger", "answered", "book: after 5 pm please")
	id := fleet.ID("msg", c.ID, "push")
	s.sent = append(s.sent, fleet.Delivery{OutboxID: id, CaseID: c.ID, PersonID: "p-berger", Channel: "push", Endpoint: "push: Chrome on Android", Topic: "opened", State: "sent", At: at(95 * time.Hour),
		DeliveredAt: at(95*time.Hour - time.Second), OpenedAt: at(94 * time.Hour), ActedAt: at(27 * time.Hour), Acted: fleet.VerdictBook,
		Trace: []fleet.Step{{Stage: "still true", Verdict: "go", Reason: "the condition holds"}, {Stage: "quiet hours", Verdict: "hold", Reason: "quiet until 07:00"}, {Stage: "quiet hours", Verdict: "go"}, {Stage: "channel", Verdict: "go", Reason: "push, the person's first"}}},
		fleet.Delivery{OutboxID: "m-withdrawn", CaseID: c.ID, PersonID: "p-berger", Channel: "email", Endpoint: "email: a***@example.org", Topic: "escalated", State: "skipped", Reason: "the case was resolved before the message left", At: at(70 * time.Hour)},
		fleet.Delivery{OutboxID: "m-merged", CaseID: c.ID, PersonID: "p-berger", Channel: "email", Topic: "reminder", State: "merged", Reason: "went with another message", At: at(60 * time.Hour)})

	c = name(s.addCase("WM-0008", "washer-slow-spin", fleet.KindMaintenance, fleet.Watch, 3*24*time.Hour), "case-symptom")
	c.CauseRule = "washer-vibrates"
	c.Snooze = fleet.Snooze{Worse: true, By: "agent:desk", Severity: fleet.Watch}
	c = name(s.addCase("WM-0008", "washer-noise", fleet.KindMaintenance, fleet.Watch, 5*24*time.Hour), "case-merged")
	c.State, c.Outcome, c.MergedInto, c.ClosedAt = fleet.CaseClosed, fleet.OutcomeDuplicate, "case-waits", at(3*24*time.Hour)
	line(c, 3*24*time.Hour, "agent:desk", "merged", "into case-waits: the same bearing")

	c = name(s.addCase("RM-0009", "mower-blade", fleet.KindFault, fleet.Fault, 20*time.Hour, fleet.Evidence{Name: "blade_h", Value: 12, Unit: "h"}), "case-child")
	c.IncidentID, c.Batch, c.Firmware = "inc-open", "2024-31", "1.3.2"
	line(c, 19*time.Hour, "incidents", "adopt", "inc-open: the same firmware")
	s.desk.incidents = []fleet.Incident{
		{ID: "inc-open", Tenant: "demo", Version: 3, State: fleet.IncidentOpen, Problem: "mower-blade", Model: "mower-r2", Firmware: "1.3.2", OpenedAt: at(19 * time.Hour), By: "rules", Title: "Mowers with 1.3.2 stop their blades",
			News: fleet.Words{"en": "A new version is being tested.", "de": "Eine neue Fassung wird getestet."}, NextAt: at(-40 * time.Hour), Severity: fleet.Fault, Devices: 18, Affected: 7, Window: 7 * 24 * time.Hour, Expected: 0.4, Chance: 0.0000031},
		{ID: "inc-fixed", Tenant: "demo", Version: 5, State: fleet.IncidentFixed, Problem: "drill-warm", Model: "drill-d5", Batch: "2024-31", OpenedAt: at(9 * 24 * time.Hour), FixedAt: at(3 * 24 * time.Hour), By: "agent:desk", Devices: 36, Affected: 3, Severity: fleet.Watch}}
	s.audit["inc-open"] = []fleet.Audit{{CaseID: "inc-open", At: at(19 * time.Hour), Actor: "rules", Action: "opened", Detail: "7 of 18 devices"}, {CaseID: "inc-open", At: at(10 * time.Hour), Actor: "agent:desk", Action: "edited", Detail: "the maker answered"}}
	s.desk.refs = []fleet.Delivery{{OutboxID: "r1", CaseID: "case-child", Ref: "inc-open", PersonID: "p-hughes", Channel: "inbox", Topic: "incident", State: "sent", At: at(19 * time.Hour), OpenedAt: at(18 * time.Hour)},
		{OutboxID: "r2", Ref: "inc-open", PersonID: "p-00", Channel: "email", Topic: "incident", State: "held", Reason: "quiet hours until 07:00", At: at(19 * time.Hour)}}
	s.desk.dead = []fleet.DeadLetter{{Row: fleet.OutboxRow{ID: "dead-1", Kind: fleet.OutboxMessage, CaseID: s.cases[1].ID, PersonID: "p-lindqvist", Channel: "webhook", Topic: "opened", Attempts: 12}, Endpoint: "webhook: help desk",
		Reason: "the address answers 410 Gone since 18 November", At: at(3 * time.Hour)},
		{Row: fleet.OutboxRow{ID: "dead-2", Kind: fleet.OutboxNotify, Channel: "email", Topic: "case_late"}, Reason: "the server does not know the address", At: at(30 * time.Hour)}}
	s.desk.partners = []*fleet.Partner{{ID: "kundendienst", Tenant: "demo", Name: "Kundendienst Huber"}, {ID: "nord", Tenant: "demo", Name: "Nordservice"}}
}

func (s *sample) CaseAnswers(_ context.Context, _, id string) (out []fleet.Answer, _ error) {
	for _, a := range s.desk.answers {
		if a.CaseID == id {
			out = append(out, a)
		}
	}
	return out, nil
}

func (s *sample) Attachments(_ context.Context, _, id string) ([]fleet.Attachment, error) {
	if id != "case-watched" {
		return nil, nil
	}
	return s.desk.files, nil
}

func (s *sample) Attachment(_ context.Context, _, caseID, id string) (fleet.Attachment, error) {
	for _, f := range s.desk.files {
		if f.ID == id && caseID == "case-watched" {
			return f, nil
		}
	}
	return fleet.Attachment{}, fleet.Errorf(fleet.CodeNotFound, "no file %q", id)
}

func (s *sample) HouseholdOf(tenant, person string) (fleet.Household, bool) {
	if person != "p-berger" {
		return fleet.Household{}, false
	}
	return fleet.Household{Tenant: tenant, ID: "h1", Members: []fleet.Person{s.people["p-berger"], s.people["p-00"]}}, true
}

func (s *sample) Cover(d *fleet.Device, at time.Time, c *fleet.Case) fleet.Cover {
	if d.Key.Serial != "WM-0008" || c == nil {
		return fleet.Cover{}
	}
	return fleet.Cover{Kind: "manufacturer", By: "maker", Until: at.AddDate(0, 0, 23), Days: 23, Pays: true, Text: fleet.Words{"en": "The maker pays until 14 December, 23 days.", "de": "Der Hersteller zahlt bis 14. Dezember, noch 23 Tage."}}
}

func (s *sample) PartnersFor(*fleet.Device) []*fleet.Partner { return s.desk.partners }

func (s *sample) Partner(_, id string) (*fleet.Partner, bool) {
	for _, p := range s.desk.partners {
		if p.ID == id {
			return p, true
		}
	}
	return nil, false
}

// Do notes what agents did.
func (s *sample) Do(_ context.Context, a fleet.CaseAct) error {
	s.acts = append(s.acts, a)
	if s.agentErr != nil {
		return s.agentErr
	}
	c, err := s.Case(context.Background(), a.Tenant, a.CaseID)
	if err == nil && !s.Can(c.State, a.Do) {
		return fleet.Errorf(fleet.CodeConflict, "the case is %s", c.State)
	}
	return err
}

// Can is the table in short.
func (s *sample) Can(st fleet.CaseState, v fleet.CaseVerb) bool {
	ended := st == fleet.CaseResolved || st == fleet.CaseWatching
	switch v {
	case fleet.VerbComment, fleet.VerbAttach, fleet.VerbMaintain:
		return true
	case fleet.VerbClose, fleet.VerbReopen:
		return ended
	case fleet.VerbMerge:
		return st != fleet.CaseClosed
	case fleet.VerbResume:
		return st == fleet.CaseWaiting
	}
	return st.Open()
}

func (s *sample) Book(_ context.Context, v Visit) (fleet.Order, error) {
	s.done = append(s.done, fmt.Sprint("book ", v.CaseID, " ", v.PartnerID, " ", v.Part, " ", v.From.Format(formTime), " ", v.Note, " ", v.By))
	return fleet.Order{}, s.desk.orderErr
}

func (s *sample) Cancel(_ context.Context, _, id, by, reason string, _ time.Time) error {
	s.done = append(s.done, "cancel "+id+" "+by+" "+reason)
	return s.desk.orderErr
}

func (s *sample) Orders(_ context.Context, f fleet.OrderFilter) (out []fleet.Order, _ error) {
	for _, o := range s.desk.orders {
		if o.CaseID == f.CaseID {
			out = append(out, o)
		}
	}
	return out, nil
}

func (s *sample) Incidents(_ context.Context, f fleet.IncidentFilter) (out []fleet.Incident, _ error) {
	for _, i := range s.desk.incidents {
		if len(f.States) == 0 || slices.Contains(f.States, i.State) {
			out = append(out, i)
		}
	}
	return out, nil
}

func (s *sample) Incident(_ context.Context, _, id string) (*fleet.Incident, error) {
	for _, i := range s.desk.incidents {
		if i.ID == id {
			return &i, nil
		}
	}
	return nil, fleet.Errorf(fleet.CodeNotFound, "no incident %q", id)
}

func (s *sample) IncidentAudit(_ context.Context, _, id string) ([]fleet.Audit, error) {
	return s.audit[id], nil
}

func (s *sample) IncidentCases(_ context.Context, _, id string, _ int) (out []fleet.Case, _ error) {
	for _, c := range s.cases {
		if c.IncidentID == id {
			out = append(out, c)
		}
	}
	return out, nil
}

func (s *sample) RefDeliveries(_ context.Context, _, ref string) (out []fleet.Delivery, _ error) {
	for _, d := range s.desk.refs {
		if d.Ref == ref {
			out = append(out, d)
		}
	}
	return out, nil
}

func (s *sample) DeclareIncident(_ context.Context, i fleet.Incident, actor, why string) (*fleet.Incident, error) {
	s.done = append(s.done, fmt.Sprintf("declare %s %s %q %q %s %s %s", i.Problem, i.Model, i.Firmware, i.Batch, i.News["en"], actor, why))
	i.ID = "inc-open"
	return &i, s.agentErr
}

func (s *sample) EditIncident(_ context.Context, _, id string, version int64, e fleet.IncidentEdit, _, why string) error {
	s.done = append(s.done, fmt.Sprint("edit ", id, " ", version, " ", *e.Title, " ", e.News["en"], " ", e.News["de"], " ", e.NextAt.Format(formTime), " ", why))
	return s.agentErr
}

func (s *sample) FixIncident(_ context.Context, _, id string, version int64, _, why string) error {
	s.done = append(s.done, fmt.Sprint("fix ", id, " ", version, " ", why))
	return s.agentErr
}

func (s *sample) CloseIncident(_ context.Context, _, id string, version int64, _, why string) error {
	s.done = append(s.done, fmt.Sprint("close ", id, " ", version, " ", why))
	return s.agentErr
}

func (s *sample) DeadLetterList(context.Context, string, int) ([]fleet.DeadLetter, error) {
	return s.desk.dead, nil
}

func (s *sample) RetryDead(_ context.Context, _, id string, _ time.Time) error {
	if !slices.ContainsFunc(s.desk.dead, func(d fleet.DeadLetter) bool { return d.Row.ID == id }) {
		return fleet.Errorf(fleet.CodeNotFound, "no %q", id)
	}
	s.done = append(s.done, "retry "+id)
	return s.agentErr
}
