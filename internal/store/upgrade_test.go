package store

import (
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"aftercare/internal/fleet"
)

// TestCasesOfTheVersionBefore: an update keeps cases with their outcomes, whose a device is and what was heard.
func TestCasesOfTheVersionBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	s := openAt(t, path)
	d := device("WM-0001")
	d.OwnerID = "anna"
	must(t, s.SaveRegistry(t.Context(), []fleet.Device{d}, nil, nil))
	c := aCase("c1", "WM-0001", fleet.Due, t0)
	c.Device = d.Key
	ch := change(c, 0)
	ch.Outbox = []fleet.OutboxRow{{ID: "row-1", Kind: fleet.OutboxMessage, Tenant: d.Key.Tenant, CaseID: "c1", Topic: fleet.EventOpened, DueAt: t0}}
	must(t, s.Commit(t.Context(), ch))
	must(t, s.Deliver(t.Context(), "row-1", nil, fleet.Delivery{OutboxID: "row-1", CaseID: "c1", PersonID: "anna", Channel: "inbox", State: "sent", At: t0}, nil))
	dir, err := fs.Sub(migrations, "migrations")
	must(t, err)
	p, err := goose.NewProvider(goose.DialectSQLite3, s.w.DB, dir)
	must(t, err)
	_, err = p.DownTo(t.Context(), 5)
	must(t, err)
	_, err = s.w.DB.ExecContext(t.Context(), "INSERT INTO cases SELECT tenant, 'c2', version, 'WM-0002', model, category, problem, rule, kind, severity, 'resolved', "+
		"opened_at, updated_at, 1, episode_count, live, told, told_any, all_clear, back_at, seen_until, 'no fault found', assignee, episodes FROM cases")
	must(t, err)
	s = openAt(t, path) // migrates
	for id, want := range map[string]fleet.Case{"c1": {State: fleet.CaseNew}, "c2": {State: fleet.CaseResolved, Outcome: fleet.OutcomeNoFault}} {
		k, err := s.Case(t.Context(), d.Key.Tenant, id)
		must(t, err)
		if k.State != want.State || k.Outcome != want.Outcome || !k.OpenedAt.Equal(c.OpenedAt) {
			t.Errorf("%s: %+v", id, k)
		}
	}
	owners, err := s.Ownerships(t.Context(), d.Key, "")
	must(t, err)
	if len(owners) != 1 || owners[0].PersonID != "anna" || !owners[0].To.IsZero() {
		t.Errorf("%+v", owners)
	}
	sent, err := s.CaseDeliveries(t.Context(), d.Key.Tenant, "c1")
	must(t, err)
	if tell, why := fleet.LastHeard(sent, "anna", "inbox").TellAgain(fleet.Fault); tell {
		t.Error(why)
	}
	if len(sent) != 1 || !sent[0].At.Equal(t0.Truncate(time.Millisecond)) {
		t.Errorf("%+v", sent)
	}
}
