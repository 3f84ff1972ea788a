package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
)

func aCase(id, serial string, sev fleet.Severity, opened time.Time) fleet.Case {
	return fleet.Case{ID: id, Device: fleet.DeviceKey{Tenant: "demo", Serial: serial}, Model: "washer-w7", Category: "washing-machine",
		Problem: "washer-drain", Rule: "washer-drain-slow", Kind: fleet.KindMaintenance, Severity: sev, State: fleet.CaseNew,
		OpenedAt: opened, UpdatedAt: opened, Count: 1, Live: true, Told: sev, ToldAny: true, AllClear: true, BackAt: t0.Add(time.Minute), SeenUntil: t0.Add(-time.Hour),
		Episodes: []fleet.Episode{{FindingID: "f-" + id, Rule: "washer-drain-slow", Kind: fleet.KindMaintenance, Severity: sev, OpenedAt: opened,
			Evidence: []fleet.Evidence{{Name: "drain_s", Value: 55.2, Unit: "s", At: opened}}}}}
}

func change(c fleet.Case, expected int64) fleet.Change {
	return fleet.Change{Case: c, Expected: expected,
		Audit: []fleet.Audit{{CaseID: c.ID, At: t0, Actor: "rules", Action: "opened", Detail: fmt.Sprint("from ", expected)}},
		Outbox: []fleet.OutboxRow{{ID: "msg-" + c.ID, Kind: fleet.OutboxMessage, Tenant: "demo", CaseID: c.ID, Topic: "opened", DueAt: t0},
			{ID: fmt.Sprintf("rec-%s-%d", c.ID, expected), Kind: fleet.OutboxRecord, Tenant: "demo", CaseID: c.ID, Body: []byte("{}"), DueAt: t0}}}
}

func TestCaseIsReadBackAsWritten(t *testing.T) {
	s := open(t)
	c := aCase("c1", "WM-0001", fleet.Due, t0)
	must(t, s.Commit(t.Context(), change(c, 0)))
	c.Version = 1
	got, err := s.Case(t.Context(), "demo", "c1")
	must(t, err)
	same(t, *got, c)
	got, err = s.LatestCase(t.Context(), c.Device, "washer-drain")
	must(t, err)
	same(t, *got, c)
	got, err = s.LatestCase(t.Context(), c.Device, "other")
	if got != nil || err != nil {
		t.Fatalf("%v, %v", got, err)
	}
	_, err = s.Case(t.Context(), "rival", "c1")
	wantCode(t, err, fleet.CodeNotFound)
}

func TestCommitMeetsConflicts(t *testing.T) {
	s := open(t)
	c := aCase("c1", "WM-0001", fleet.Due, t0)
	must(t, s.Commit(t.Context(), change(c, 0)))
	wantCode(t, s.Commit(t.Context(), change(c, 0)), fleet.CodeConflict)
	wantCode(t, s.Commit(t.Context(), change(c, 2)), fleet.CodeConflict)
	must(t, s.Commit(t.Context(), change(c, 1)))

	// A second open case of the same problem is a conflict too, made new or reopened.
	wantCode(t, s.Commit(t.Context(), change(aCase("c2", "WM-0001", fleet.Due, t0.Add(time.Hour)), 0)), fleet.CodeConflict)
	c.State = fleet.CaseResolved
	must(t, s.Commit(t.Context(), change(c, 2)))
	must(t, s.Commit(t.Context(), change(aCase("c2", "WM-0001", fleet.Due, t0.Add(time.Hour)), 0)))
	c.State = fleet.CaseNew
	wantCode(t, s.Commit(t.Context(), change(c, 3)), fleet.CodeConflict)

	audit, err := s.CaseAudit(t.Context(), "demo", "c1")
	must(t, err)
	if len(audit) != 3 || audit[2].Detail != "from 2" {
		t.Fatalf("a refused commit left a trace, or one is missing: %+v", audit)
	}
	rows, err := s.LeaseOutbox(t.Context(), fleet.OutboxMessage, t0, time.Minute, 10)
	must(t, err)
	if len(rows) != 2 { // one of each case, though c1 was committed three times
		t.Fatalf("messages %+v", rows)
	}
	latest, err := s.LatestCase(t.Context(), c.Device, "washer-drain")
	must(t, err)
	if latest.ID != "c2" {
		t.Fatalf("latest is %s", latest.ID)
	}
}

func TestRecordsLeaveInTheOrderOfTheVersions(t *testing.T) {
	s := open(t)
	c := aCase("c1", "WM-0001", fleet.Due, t0)
	for v := range int64(12) {
		must(t, s.Commit(t.Context(), change(c, v)))
	}
	rows, err := s.LeaseOutbox(t.Context(), fleet.OutboxRecord, t0, time.Minute, 100)
	must(t, err)
	for i, r := range rows {
		if want := fmt.Sprintf("rec-c1-%d", i); r.ID != want {
			t.Fatalf("row %d is %s, want %s", i, r.ID, want)
		}
	}
}

func TestConflictingWritersLoseNothing(t *testing.T) {
	s := open(t)
	must(t, s.Commit(t.Context(), change(aCase("c1", "WM-0001", fleet.Due, t0), 0)))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for done := 0; done < 10; {
				c, err := s.Case(t.Context(), "demo", "c1")
				if err != nil {
					t.Error(err)
					return
				}
				c.Count++
				switch err := s.Commit(t.Context(), change(*c, c.Version)); fleet.CodeOf(err) {
				case "":
					done++
				case fleet.CodeConflict:
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	c, err := s.Case(t.Context(), "demo", "c1")
	must(t, err)
	if c.Count != 41 || c.Version != 41 {
		t.Fatalf("count %d at version %d, want 41", c.Count, c.Version)
	}
}

func TestReadersSeeWholeTransactionsWhileOneWrites(t *testing.T) {
	s := open(t)
	const n = 60
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := s.Case(t.Context(), "demo", "c1")
				if fleet.CodeOf(err) == fleet.CodeNotFound {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				audit, err := s.CaseAudit(t.Context(), "demo", "c1")
				if err != nil || int64(len(audit)) < c.Version {
					t.Errorf("case at version %d with %d lines of history: %v", c.Version, len(audit), err)
					return
				}
			}
		})
	}
	c := aCase("c1", "WM-0001", fleet.Due, t0)
	for v := range int64(n) {
		must(t, s.Commit(t.Context(), change(c, v)))
	}
	close(stop)
	wg.Wait()
}

func TestCasesAreListedBySeverityThenAge(t *testing.T) {
	s := open(t)
	add := func(id, serial string, sev fleet.Severity, opened time.Time, state fleet.CaseState) {
		c := aCase(id, serial, sev, opened)
		c.State = state
		must(t, s.Commit(t.Context(), change(c, 0)))
	}
	add("due-new", "A", fleet.Due, t0.Add(time.Hour), fleet.CaseNew)
	add("due-old", "B", fleet.Due, t0, fleet.CaseAcked)
	add("danger", "C", fleet.Danger, t0.Add(2*time.Hour), fleet.CaseNew)
	add("over", "A", fleet.Fault, t0.Add(-time.Hour), fleet.CaseResolved)
	unresolved := []fleet.CaseState{fleet.CaseNew, fleet.CaseAcked}
	ids := func(f fleet.CaseFilter) (out []string) {
		f.Tenant = "demo"
		cs, err := s.Cases(t.Context(), f)
		must(t, err)
		for _, c := range cs {
			out = append(out, c.ID)
		}
		return out
	}
	same(t, ids(fleet.CaseFilter{States: unresolved}), []string{"danger", "due-old", "due-new"})
	same(t, ids(fleet.CaseFilter{ByTime: true}), []string{"danger", "due-new", "due-old", "over"})
	same(t, ids(fleet.CaseFilter{Device: "A", ByTime: true}), []string{"due-new", "over"})
	same(t, ids(fleet.CaseFilter{Kind: fleet.KindSafety}), []string(nil))
	for _, byTime := range []bool{false, true} {
		f := fleet.CaseFilter{ByTime: byTime, Limit: 1}
		var paged []string
		for page := ids(f); len(page) == 1; page = ids(f) {
			paged = append(paged, page[0])
			f.After = page[0]
		}
		same(t, paged, ids(fleet.CaseFilter{ByTime: byTime}))
	}
	by, err := s.OpenCasesByDevice(t.Context(), "demo")
	must(t, err)
	same(t, by, map[string]fleet.Severity{"A": fleet.Due, "B": fleet.Due, "C": fleet.Danger})
	counts, err := s.CaseCounts(t.Context())
	must(t, err)
	same(t, counts, []fleet.CaseCount{{State: "acknowledged", Kind: "maintenance", N: 1},
		{State: "new", Kind: "maintenance", N: 2}, {State: "resolved", Kind: "maintenance", N: 1}})
}

func BenchmarkCommit(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Path = b.TempDir() + "/x.db"
	s, err := Open(b.Context(), cfg, obs.Discard())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for i := 0; b.Loop(); i++ {
		if err := s.Commit(b.Context(), change(aCase(fmt.Sprint("c", i), fmt.Sprint("WM-", i), fleet.Due, t0), 0)); err != nil {
			b.Fatal(err)
		}
	}
}
