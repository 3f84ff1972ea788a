package store

import (
	"fmt"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func anIncident(id string) fleet.Incident {
	return fleet.Incident{ID: id, Tenant: "demo", State: fleet.IncidentOpen, Problem: "washer-drain", Model: "washer-w7", Firmware: "2.1", OpenedAt: t0, By: "rules",
		Title: "title", News: fleet.Words{"en": "news", "de": "Neues"}, NextAt: t0.Add(time.Hour), Severity: fleet.Due, Devices: 100, Affected: 12,
		Window: 7 * 24 * time.Hour, Expected: 1.25, Chance: 3e-9}
}

func TestAnIncidentIsReadBackAsWritten(t *testing.T) {
	s := open(t)
	i := anIncident("i1")
	ch := fleet.IncidentChange{Incident: i, Audit: []fleet.Audit{{CaseID: "i1", At: t0, Actor: "rules", Action: "opened", Detail: "12 of 100"}},
		Outbox: []fleet.OutboxRow{{ID: "n1", Kind: fleet.OutboxNotify, Tenant: "demo", Ref: "i1", Topic: "incident", Body: []byte("{}"), DueAt: t0}}}
	must(t, s.CommitIncident(t.Context(), ch))
	i.Version = 1
	got, err := s.Incident(t.Context(), "demo", "i1")
	must(t, err)
	same(t, *got, i)
	_, err = s.Incident(t.Context(), "rival", "i1")
	wantCode(t, err, fleet.CodeNotFound)

	// Another one of the same group, and a second writer, meet a conflict and leave nothing behind.
	ch.Incident.ID, ch.Outbox[0].ID = "i2", "n2"
	wantCode(t, s.CommitIncident(t.Context(), ch), fleet.CodeConflict)
	ch.Incident.ID, ch.Expected = "i1", 2
	wantCode(t, s.CommitIncident(t.Context(), ch), fleet.CodeConflict)
	rows, err := s.LeaseOutbox(t.Context(), fleet.OutboxNotify, t0, time.Minute, 10)
	must(t, err)
	audit, err := s.IncidentAudit(t.Context(), "demo", "i1")
	must(t, err)
	if len(rows) != 1 || rows[0].ID != "n1" || len(audit) != 1 || audit[0].Detail != "12 of 100" {
		t.Fatalf("rows %+v, history %+v", rows, audit)
	}

	i.State, i.FixedAt = fleet.IncidentFixed, t0.Add(2*time.Hour)
	must(t, s.CommitIncident(t.Context(), fleet.IncidentChange{Incident: i, Expected: 1}))
	next := anIncident("i2")
	next.OpenedAt = t0.Add(3 * time.Hour)
	must(t, s.CommitIncident(t.Context(), fleet.IncidentChange{Incident: next}))
	list := func(f func() ([]fleet.Incident, error)) (ids string) {
		all, err := f()
		must(t, err)
		for _, x := range all {
			ids += x.ID + " "
		}
		return ids
	}
	for want, f := range map[string]func() ([]fleet.Incident, error){
		"i2 i1 ": func() ([]fleet.Incident, error) {
			return s.Incidents(t.Context(), fleet.IncidentFilter{Tenant: "demo"})
		},
		"i2 ": func() ([]fleet.Incident, error) {
			return s.Incidents(t.Context(), fleet.IncidentFilter{Tenant: "demo", States: []fleet.IncidentState{fleet.IncidentOpen}})
		},
		"": func() ([]fleet.Incident, error) {
			return s.Incidents(t.Context(), fleet.IncidentFilter{Tenant: "rival"})
		},
	} {
		if got := list(f); got != want {
			t.Errorf("incidents %q, want %q", got, want)
		}
	}
	if got := list(func() ([]fleet.Incident, error) { return s.OpenIncidents(t.Context(), t0) }); got != "i2 i1 " {
		t.Errorf("open or fixed lately: %q", got)
	}
	if got := list(func() ([]fleet.Incident, error) { return s.OpenIncidents(t.Context(), t0.Add(2*time.Hour)) }); got != "i2 " {
		t.Errorf("open: %q", got)
	}
}

// groupCase is a case of a device that is registered with firmware 2.1 and batch A.
func groupCase(t *testing.T, s *Store, serial string, at time.Time, do func(*fleet.Case)) {
	t.Helper()
	d := fleet.Device{Key: fleet.DeviceKey{Tenant: "demo", Serial: serial}, Model: "washer-w7", Category: "washing-machine", Firmware: "2.1", Batch: "A"}
	must(t, s.SaveRegistry(t.Context(), []fleet.Device{d}, nil, nil))
	c := aCase(fmt.Sprint("c-", serial, at.UnixMilli()), serial, fleet.Due, at)
	c.Firmware, c.Batch = "2.1", "A"
	if do != nil {
		do(&c)
	}
	must(t, s.Commit(t.Context(), fleet.Change{Case: c}))
}

func TestGroupCounts(t *testing.T) {
	s := open(t)
	day := 24 * time.Hour
	first, err := s.FirstCase(t.Context(), "demo")
	must(t, err)
	if !first.IsZero() {
		t.Errorf("first case at %v, there is none", first)
	}
	gone := func(c *fleet.Case) { c.State, c.Outcome = fleet.CaseClosed, fleet.OutcomeCleared }
	groupCase(t, s, "W1", t0, gone)
	groupCase(t, s, "W1", t0.Add(time.Hour), nil) // a device counts once in a week
	groupCase(t, s, "W2", t0, func(c *fleet.Case) { c.Kind, c.Severity = fleet.KindFault, fleet.Danger })
	groupCase(t, s, "W3", t0, func(c *fleet.Case) { c.Firmware = "2.0" })       // updated since
	groupCase(t, s, "W4", t0.Add(-7*day), nil)                                  // before the window
	groupCase(t, s, "W5", t0.Add(7*day), nil)                                   // after it
	groupCase(t, s, "W6", t0, func(c *fleet.Case) { c.Live = false })           // uploaded past
	groupCase(t, s, "W7", t0, func(c *fleet.Case) { c.Kind = fleet.KindUsage }) // a tip
	groupCase(t, s, "W8", t0, func(c *fleet.Case) { c.State, c.Outcome = fleet.CaseClosed, fleet.OutcomeFalseAlarm })
	groupCase(t, s, "W9", t0, func(c *fleet.Case) { c.CauseRule = "washer-inlet" })
	groupCase(t, s, "W10", t0, func(c *fleet.Case) { c.IncidentID = "i0" })
	groupCase(t, s, "W11", t0, func(c *fleet.Case) { c.Severity = fleet.Info })

	got, err := s.GroupCounts(t.Context(), "demo", t0, t0.Add(7*day), 7*day)
	must(t, err)
	same(t, got, []fleet.GroupCount{
		{Model: "washer-w7", Problem: "washer-drain", Firmware: "2.0", Batch: "A", Affected: 1, Severity: fleet.Due},
		{Model: "washer-w7", Problem: "washer-drain", Firmware: "2.1", Batch: "A", Affected: 2, Present: 2, Hard: 1, Severity: fleet.Danger}})
	weeks, err := s.GroupCounts(t.Context(), "demo", t0.Add(-7*day), t0.Add(14*day), 7*day)
	must(t, err)
	if weeks[1].Affected != 4 {
		t.Errorf("device-weeks %+v, want W1, W2, W4, W5", weeks)
	}
	other, err := s.GroupCounts(t.Context(), "rival", t0, t0.Add(7*day), 7*day)
	must(t, err)
	if len(other) != 0 {
		t.Errorf("another tenant's groups %+v", other)
	}
	onsets, err := s.Onsets(t.Context(), "demo", "washer-w7", "washer-drain", t0, t0.Add(7*day))
	must(t, err)
	if len(onsets) != 4 || onsets[3].Serial != "W1" || !onsets[3].OpenedAt.Equal(t0.Add(time.Hour)) || onsets[0].Batch != "A" {
		t.Errorf("onsets %+v", onsets)
	}
	if first, err = s.FirstCase(t.Context(), "demo"); err != nil || !first.Equal(t0.Add(-7*day)) {
		t.Errorf("first case %v, %v", first, err)
	}
}

func TestStraysAndChildren(t *testing.T) {
	s := open(t)
	i := anIncident("i1")
	must(t, s.CommitIncident(t.Context(), fleet.IncidentChange{Incident: i}))
	groupCase(t, s, "W1", t0, nil)
	groupCase(t, s, "W2", t0, func(c *fleet.Case) { c.Firmware = "2.0" })
	groupCase(t, s, "W3", t0, func(c *fleet.Case) { c.State = fleet.CaseResolved })
	groupCase(t, s, "W4", t0, func(c *fleet.Case) { c.IncidentID = "i1" })
	groupCase(t, s, "W5", t0.Add(time.Hour), func(c *fleet.Case) { c.IncidentID, c.State = "i1", fleet.CaseClosed })
	groupCase(t, s, "W6", t0, func(c *fleet.Case) { c.Model = "washer-w9" })
	serials := func(list []fleet.Case, err error) (out string) {
		must(t, err)
		for _, c := range list {
			out += c.Device.Serial + " "
		}
		return out
	}
	if got := serials(s.IncidentStrays(t.Context(), &i, 10)); got != "W1 " {
		t.Errorf("strays %q", got)
	}
	i.Firmware = ""
	if got := serials(s.IncidentStrays(t.Context(), &i, 10)); got != "W1 W2 " {
		t.Errorf("strays of any firmware %q", got)
	}
	if got := serials(s.IncidentCases(t.Context(), "demo", "i1", 10)); got != "W5 W4 " {
		t.Errorf("children %q", got)
	}
	if got := serials(s.IncidentOpenCases(t.Context(), "demo", "i1", 10)); got != "W4 " {
		t.Errorf("open children %q", got)
	}
}

func TestWhoWasToldOfAnIncident(t *testing.T) {
	s := open(t)
	for n, d := range []fleet.Delivery{
		{PersonID: "anna", CaseID: "c2", Topic: fleet.EventIncident, State: "sent", Channel: "push"},
		{PersonID: "anna", CaseID: "c1", Topic: fleet.EventIncident, State: "sent", Channel: "inbox"},
		{PersonID: "ben", CaseID: "c3", Topic: fleet.EventIncident, State: "skipped"},
		{PersonID: "cleo", CaseID: "c4", Topic: fleet.EventIncidentFixed, State: "sent"},
		{PersonID: "dora", CaseID: "c5", Topic: fleet.EventIncident, State: "merged"},
	} {
		id := fmt.Sprint("m", n)
		must(t, s.AddOutbox(t.Context(), []fleet.OutboxRow{{ID: id, Kind: fleet.OutboxMessage, Tenant: "demo", Ref: "i1", DueAt: t0}}))
		d.Ref, d.At = "i1", t0
		must(t, s.Deliver(t.Context(), id, nil, d, nil))
	}
	told, err := s.IncidentTold(t.Context(), "demo", "i1", fleet.EventIncident)
	must(t, err)
	same(t, told, []fleet.Told{{PersonID: "anna", CaseID: "c1"}, {PersonID: "dora", CaseID: "c5"}})
}
