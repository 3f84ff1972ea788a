package store

import (
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func TestRetryDeadKeepsTheKeyAndTheHistory(t *testing.T) {
	s := open(t)
	row := onChannel("m", "ntfy", t0)
	row.Body = []byte(`{"address":"https://example.org","from":"2026-03-01T10:00:00Z"}`)
	must(t, s.AddOutbox(t.Context(), []fleet.OutboxRow{row, message("other", t0)}))
	die := func(reason string) {
		t.Helper()
		must(t, s.Deliver(t.Context(), "m", nil, fleet.Delivery{CaseID: "case-1", PersonID: "p1", Channel: "ntfy", Endpoint: "ntfy: phone", State: "dead", Reason: reason, At: t0, Attempts: 10}, nil))
	}
	retry := func(tenant, id string) error { return s.RetryDead(t.Context(), tenant, id, t0.Add(time.Hour)) }
	wantCode(t, retry("demo", "m"), fleet.CodeConflict)
	wantCode(t, retry("demo", "none"), fleet.CodeNotFound)
	for _, reason := range []string{"503", "410"} {
		die(reason)
		list, err := s.DeadLetterList(t.Context(), "demo", 10)
		must(t, err)
		if len(list) != 1 || list[0].Row.ID != "m" || list[0].Reason != reason || list[0].Endpoint != "ntfy: phone" || list[0].Row.Attempts != 10 || list[0].At.IsZero() {
			t.Fatalf("%+v", list)
		}
		if list, err := s.DeadLetterList(t.Context(), "rival", 10); err != nil || len(list) != 0 {
			t.Fatalf("another tenant sees %v, %v", list, err)
		}
		wantCode(t, retry("rival", "m"), fleet.CodeNotFound)
		must(t, retry("demo", "m"))
	}
	wantCode(t, retry("demo", "m"), fleet.CodeConflict)
	same(t, leaseOn(t, s, "ntfy", t0.Add(59*time.Minute), 10), []string{})
	rows, err := s.LeaseChannel(t.Context(), "ntfy", t0.Add(time.Hour), time.Minute, 10)
	must(t, err)
	if len(rows) != 1 || rows[0].ID != "m" || rows[0].Attempts != 0 || string(rows[0].Body) != `{"address":"https://example.org","from":"2026-03-01T11:00:00Z"}` {
		t.Fatalf("%+v", rows)
	}
	must(t, s.Deliver(t.Context(), "m", nil, fleet.Delivery{CaseID: "case-1", PersonID: "p1", Channel: "ntfy", State: "sent", At: t0.Add(time.Hour), Attempts: 1}, nil))
	ds, err := s.CaseDeliveries(t.Context(), "demo", "case-1")
	must(t, err)
	got := map[string]string{}
	for _, d := range ds {
		got[d.OutboxID] = d.State + " " + d.Reason
	}
	same(t, got, map[string]string{"m": "sent ", "m~1": "dead 503; tried again by hand at 2026-03-01T11:00:00Z", "m~2": "dead 410; tried again by hand at 2026-03-01T11:00:00Z"})
}

func TestPurgeDeletesWhatIsDoneAlone(t *testing.T) {
	s := open(t)
	must(t, s.AddOutbox(t.Context(), []fleet.OutboxRow{message("a", t0), message("b", t0), message("c", t0), message("due", t0), message("leased", t0), message("dead", t0)}))
	must(t, s.FinishAllOutbox(t.Context(), []string{"a", "b"}))
	must(t, s.Deliver(t.Context(), "c", nil, fleet.Delivery{CaseID: "case-1", Channel: "ntfy", State: "sent", At: t0}, nil))
	must(t, s.DeadOutbox(t.Context(), "dead", "why"))
	now := time.Now()
	purge := func(before time.Time, limit, want int) {
		t.Helper()
		n, err := s.PurgeOutbox(t.Context(), before, limit)
		must(t, err)
		same(t, n, want)
	}
	purge(now.Add(-time.Hour), 10, 0)
	purge(now.Add(time.Hour), 2, 2)
	purge(now.Add(time.Hour), 2, 1)
	purge(now.Add(time.Hour), 2, 0)
	same(t, outboxIDs(t, s), []string{"dead", "due", "leased"})
	ds, err := s.CaseDeliveries(t.Context(), "demo", "case-1")
	must(t, err)
	same(t, len(ds), 1)
}

func TestPurgeCommands(t *testing.T) {
	s := open(t)
	for id, c := range map[string]fleet.Command{"old": {State: fleet.CommandDone, ExpiresAt: t0, AnsweredAt: t0}, "answered-late": {State: fleet.CommandDone, ExpiresAt: t0, AnsweredAt: t0.Add(2 * time.Hour)},
		"open": {State: fleet.CommandSent, ExpiresAt: t0}, "new": {State: fleet.CommandExpired, ExpiresAt: t0.Add(2 * time.Hour)}} {
		c.ID, c.Device = id, fleet.DeviceKey{Tenant: "demo", Serial: "x"}
		must(t, s.CommitCommand(t.Context(), fleet.CommandChange{Command: c, Audit: []fleet.CommandAudit{{At: t0, Actor: "a", Action: "b"}}}, 10))
	}
	n, err := s.PurgeCommands(t.Context(), t0.Add(time.Hour), 10)
	must(t, err)
	same(t, n, 1)
	left, err := s.Commands(t.Context(), fleet.CommandFilter{Tenant: "demo"})
	must(t, err)
	same(t, len(left), 3)
	audit, err := s.CommandAudit(t.Context(), "demo", "old")
	must(t, err)
	same(t, len(audit), 0)
}
