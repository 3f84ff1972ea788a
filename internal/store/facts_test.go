package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func washers(n int) (out []fleet.Device) {
	for i := range n {
		out = append(out, fleet.Device{Key: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("W-%04d", i)}, Model: "washer-w7", Parent: "B-1", Batch: "b1"})
	}
	return out
}

// unsent pages through what has changed after a mark.
func unsent(t *testing.T, s *Store, after fleet.FactsMark, page int) (out []fleet.Facts, last fleet.FactsMark) {
	t.Helper()
	for last = after; ; {
		list, next, err := s.UnsentFacts(t.Context(), last, page)
		must(t, err)
		out, last = append(out, list...), next
		if len(list) < page {
			return out, last
		}
	}
}

func TestFactsKeepWhatWasSaid(t *testing.T) {
	s := open(t)
	d := washers(2)
	must(t, s.SaveRegistry(t.Context(), d, nil, nil))
	want := fleet.Facts{Device: d[0].Key, Model: "washer-w7", Batch: "b1", Station: "B-1", Limits: map[string]float64{"washer-drain.slow": 90.5},
		Maintenance: []fleet.Span{{From: t0, To: t0.Add(time.Hour)}, {From: t0.Add(2 * time.Hour)}}, Stored: []fleet.Span{{From: t0}},
		Services: []fleet.Service{{Component: "drain-pump", At: t0, By: "owner"}, {Component: "seal", At: t0}}}
	must(t, s.EditFacts(t.Context(), d[0].Key, func(f *fleet.Facts) error { *f = want; return nil }, fleet.SecurityEvent{Tenant: "demo", Action: "x", Subject: d[0].Key.Serial}))
	got, err := s.DeviceFacts(t.Context(), d[0].Key)
	must(t, err)
	same(t, got, want)
	// A later service is what counts; an earlier one that is noted afterwards is not.
	for _, at := range []time.Time{t0.Add(5 * time.Hour), t0.Add(-time.Hour)} {
		must(t, s.EditFacts(t.Context(), d[0].Key, func(f *fleet.Facts) error {
			f.Services = append(f.Services, fleet.Service{Component: "drain-pump", At: at, By: "partner"})
			return nil
		}))
	}
	want.Services[0] = fleet.Service{Component: "drain-pump", At: t0.Add(5 * time.Hour), By: "partner"}
	got, err = s.DeviceFacts(t.Context(), d[0].Key)
	must(t, err)
	same(t, got, want)
	// Nothing of it went to the neighbour, and both come with the page.
	all, _ := unsent(t, s, fleet.FactsMark{}, 10)
	if len(all) != 2 || all[0].Limits != nil || all[0].Services != nil {
		t.Fatalf("facts %+v", all)
	}
	same(t, all[1], want)
	if evs, err := s.SecurityEvents(t.Context(), fleet.SecurityFilter{Tenant: "demo"}); err != nil || len(evs) != 1 {
		t.Errorf("events %v, %v", evs, err)
	}
}

func TestEditFactsChangesNothingAfterAnError(t *testing.T) {
	s := open(t)
	d := washers(1)
	must(t, s.SaveRegistry(t.Context(), d, nil, nil))
	_, mark := unsent(t, s, fleet.FactsMark{}, 10)
	no := errors.New("no")
	err := s.EditFacts(t.Context(), d[0].Key, func(f *fleet.Facts) error { f.Stored = []fleet.Span{{From: t0}}; return no })
	if !errors.Is(err, no) {
		t.Fatalf("error %v", err)
	}
	if list, _ := unsent(t, s, mark, 10); len(list) != 0 {
		t.Errorf("changed: %+v", list)
	}
	wantCode(t, s.EditFacts(t.Context(), fleet.DeviceKey{Tenant: "demo", Serial: "none"}, func(*fleet.Facts) error { return nil }), fleet.CodeNotFound)
	_, err = s.DeviceFacts(t.Context(), fleet.DeviceKey{Tenant: "demo", Serial: "none"})
	wantCode(t, err, fleet.CodeNotFound)
}

func TestUnsentFactsComeByPagesInTheOrderOfChange(t *testing.T) {
	s := open(t)
	d := washers(23)
	must(t, s.SaveRegistry(t.Context(), d, nil, nil))
	must(t, s.SetFirmware(t.Context(), map[fleet.DeviceKey]string{d[3].Key: "2.0"}))
	must(t, s.SetFirmware(t.Context(), map[fleet.DeviceKey]string{d[1].Key: "2.1"}))
	for _, page := range []int{1, 5, 23, 24} {
		list, last := unsent(t, s, fleet.FactsMark{}, page)
		var serials []string
		for _, f := range list {
			serials = append(serials, f.Device.Serial)
		}
		if len(list) != 23 || !slices.Equal(serials[21:], []string{d[3].Key.Serial, d[1].Key.Serial}) || list[22].Firmware != "2.1" || last.Rev != 3 {
			t.Fatalf("pages of %d: %v, %+v", page, serials, last)
		}
		if again, _ := unsent(t, s, fleet.FactsMark{Rev: last.Rev + 1}, page); len(again) != 0 {
			t.Fatalf("sent again: %v", again)
		}
	}
	must(t, s.MarkFactsSent(t.Context(), 3))
	must(t, s.MarkFactsSent(t.Context(), 2)) // never back
	if rev, err := s.FactsSent(t.Context()); err != nil || rev != 3 {
		t.Errorf("sent up to %d, %v", rev, err)
	}
	must(t, s.ResendFacts(t.Context()))
	if rev, err := s.FactsSent(t.Context()); err != nil || rev != 0 {
		t.Errorf("sent up to %d, %v", rev, err)
	}
}

// TestUnsentFactsAreFoundWithoutSorting: a page of a large import must not cost the rest of it.
func TestUnsentFactsAreFoundWithoutSorting(t *testing.T) {
	s := open(t)
	rows, err := s.r.QueryContext(t.Context(), `EXPLAIN QUERY PLAN SELECT * FROM devices WHERE (rev, tenant, serial) > (1, 'a', 'b') ORDER BY rev, tenant, serial LIMIT 10`)
	must(t, err)
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var text string
		must(t, rows.Scan(&id, &parent, &unused, &text))
		plan = append(plan, text)
	}
	must(t, rows.Err())
	if len(plan) != 1 || plan[0] != "SEARCH devices USING INDEX devices_rev ((rev,tenant,serial)>(?,?,?))" {
		t.Errorf("plan %q", plan)
	}
}

func TestTheNewestActivationIsTheActiveOne(t *testing.T) {
	s := open(t)
	if _, ok, err := s.ActiveRules(t.Context()); ok || err != nil {
		t.Fatalf("active: %v, %v", ok, err)
	}
	a := fleet.RuleActivation{N: 1, At: t0, By: "start", Set: "abc", Packs: map[string]string{"a.yaml": "x: 1\n"}}
	must(t, s.ActivateRules(t.Context(), a))
	wantCode(t, s.ActivateRules(t.Context(), a), fleet.CodeConflict)
	b := a
	b.N, b.Set = 2, "def"
	must(t, s.ActivateRules(t.Context(), b))
	must(t, s.MarkRulesSent(t.Context(), 2))
	b.Sent = true
	got, ok, err := s.ActiveRules(t.Context())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	same(t, got, b)
}
