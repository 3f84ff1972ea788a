package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"aftercare/internal/fleet"
)

func message(id string, due time.Time) fleet.OutboxRow {
	return fleet.OutboxRow{ID: id, Kind: fleet.OutboxMessage, Tenant: "demo", CaseID: "case-1", Topic: "opened", DueAt: due, Cause: t0}
}

func lease(t *testing.T, s *Store, now time.Time) []string {
	t.Helper()
	rows, err := s.LeaseOutbox(t.Context(), fleet.OutboxMessage, now, time.Minute, 10)
	must(t, err)
	ids := make([]string, 0, len(rows))
	for _, r := range rows {
		ids = append(ids, fmt.Sprintf("%s/%d", r.ID, r.Attempts))
	}
	return ids
}

func TestLeaseIsExclusiveUntilItEnds(t *testing.T) {
	s := open(t)
	rec := message("rec", t0)
	rec.Kind, rec.Body = fleet.OutboxRecord, []byte(`{"a":1}`)
	must(t, s.AddOutbox(t.Context(), []fleet.OutboxRow{message("b", t0), message("a", t0), message("later", t0.Add(time.Hour)), rec}))
	must(t, s.AddOutbox(t.Context(), []fleet.OutboxRow{message("b", t0)})) // again: nothing
	same(t, lease(t, s, t0.Add(-time.Second)), []string{})
	same(t, lease(t, s, t0), []string{"b/0", "a/0"})
	same(t, lease(t, s, t0.Add(59*time.Second)), []string{})
	same(t, lease(t, s, t0.Add(time.Minute)), []string{"b/0", "a/0"})

	must(t, s.FinishOutbox(t.Context(), "b", ""))
	must(t, s.RetryOutbox(t.Context(), "a", t0.Add(2*time.Minute), "503"))
	must(t, s.RetryOutbox(t.Context(), "b", t0, "too late: it is done")) // stays done
	same(t, lease(t, s, t0.Add(2*time.Minute-1*time.Millisecond)), []string{})
	same(t, lease(t, s, t0.Add(2*time.Minute)), []string{"a/1"})
	must(t, s.DeadOutbox(t.Context(), "a", "no such topic"))
	same(t, lease(t, s, t0.Add(time.Hour)), []string{"later/0"})

	dead, err := s.DeadLetters(t.Context(), "demo", 0)
	must(t, err)
	if len(dead) != 1 || dead[0].ID != "a" || dead[0].LastErr != "no such topic" || dead[0].Attempts != 1 || !dead[0].Cause.Equal(t0) {
		t.Fatalf("dead letters: %+v", dead)
	}
	depth, err := s.OutboxDepth(t.Context())
	must(t, err)
	same(t, depth, []fleet.OutboxCount{{Kind: "message", State: "dead", N: 1, Oldest: t0.Add(2 * time.Minute)},
		{Kind: "message", State: "leased", N: 1, Oldest: t0.Add(time.Hour)}, {Kind: "record", State: "pending", N: 1, Oldest: t0}})
	wantCode(t, s.FinishOutbox(t.Context(), "none", ""), fleet.CodeNotFound)
	wantCode(t, s.RetryOutbox(t.Context(), "none", t0, ""), fleet.CodeNotFound)
}

func TestTriesAreCountedNotLeases(t *testing.T) {
	s := open(t)
	must(t, s.AddOutbox(t.Context(), []fleet.OutboxRow{message("m", t0)}))
	now := t0
	next := func() fleet.OutboxRow {
		t.Helper()
		rows, err := s.LeaseOutbox(t.Context(), fleet.OutboxMessage, now, time.Minute, 10)
		must(t, err)
		now = now.Add(time.Minute)
		if len(rows) != 1 {
			t.Fatalf("%d rows", len(rows))
		}
		return rows[0]
	}
	want := func(attempts int, lastErr string) {
		t.Helper()
		r := next()
		same(t, []any{r.Attempts, r.LastErr}, []any{attempts, lastErr})
	}
	want(0, "")
	want(0, takenOver) // and so it stays when it is given back
	must(t, s.PutOffOutbox(t.Context(), "m", now, takenOver))
	want(0, takenOver)
	must(t, s.RetryOutbox(t.Context(), "m", now, "503"))
	want(1, "503")
	want(1, "503")
	must(t, s.PutOffOutbox(t.Context(), "m", now, "night"))
	want(1, "night")
	must(t, s.RetryOutbox(t.Context(), "m", now, "500"))
	want(2, "500")
	must(t, s.Deliver(t.Context(), "m", nil, fleet.Delivery{CaseID: "case-1", Channel: "ntfy", State: "dead", Reason: "410", At: t0, Attempts: 3}, nil))
	must(t, s.PutOffOutbox(t.Context(), "m", now, "too late: it is dead"))
	dead, err := s.DeadLetters(t.Context(), "demo", 0)
	must(t, err)
	if len(dead) != 1 || dead[0].Attempts != 3 {
		t.Errorf("dead letters %+v", dead)
	}
	wantCode(t, s.PutOffOutbox(t.Context(), "none", t0, ""), fleet.CodeNotFound)
}

func TestManyWorkersLeaseEachRowOnce(t *testing.T) {
	s := open(t)
	rows := make([]fleet.OutboxRow, 0, 200)
	for i := range 200 {
		rows = append(rows, message(fmt.Sprint("m", i), t0))
	}
	must(t, s.AddOutbox(t.Context(), rows))
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				rows, err := s.LeaseOutbox(t.Context(), fleet.OutboxMessage, t0, time.Minute, 7)
				if err != nil || len(rows) == 0 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				for _, r := range rows {
					got[r.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(got) != 200 {
		t.Fatalf("%d rows leased", len(got))
	}
	for id, n := range got {
		if n != 1 {
			t.Errorf("%s leased %d times", id, n)
		}
	}
}

func TestDeliverIsOneTransactionAndHappensOnce(t *testing.T) {
	s := open(t)
	must(t, s.AddOutbox(t.Context(), []fleet.OutboxRow{message("m", t0)}))
	lease(t, s, t0)
	m := fleet.Message{ID: "m", Tenant: "demo", CaseID: "case-1", Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-0001"},
		PersonID: "p1", Channel: "inbox", Topic: "opened", Kind: fleet.KindFault, Severity: fleet.Fault, Locale: "de",
		Title: "Pumpe verstopft", Body: "a\n\nb", At: t0}
	d := fleet.Delivery{OutboxID: "m", CaseID: "case-1", PersonID: "p1", Channel: "inbox", State: "sent", At: t0, Attempts: 1}
	rec := fleet.OutboxRow{ID: "r", Kind: fleet.OutboxRecord, Tenant: "demo", Body: []byte("{}"), DueAt: t0}
	must(t, s.Deliver(t.Context(), "m", &m, d, []fleet.OutboxRow{rec}))

	again := d
	again.Reason = "second worker"
	other := rec
	other.ID = "r2"
	must(t, s.Deliver(t.Context(), "m", &m, again, []fleet.OutboxRow{other}))

	inbox, err := s.Inbox(t.Context(), "demo", "p1", 10)
	must(t, err)
	same(t, inbox, []fleet.Message{m})
	ds, err := s.CaseDeliveries(t.Context(), "demo", "case-1")
	must(t, err)
	same(t, ds, []fleet.Delivery{d})
	recent, err := s.RecentDeliveries(t.Context(), "demo", 10)
	must(t, err)
	same(t, recent, ds)
	rows, err := s.LeaseOutbox(t.Context(), fleet.OutboxRecord, t0, time.Minute, 10)
	must(t, err)
	if len(rows) != 1 || rows[0].ID != "r" || string(rows[0].Body) != "{}" {
		t.Fatalf("records %+v", rows)
	}
	wantCode(t, s.Deliver(t.Context(), "none", nil, d, nil), fleet.CodeNotFound)
}

func TestDeliverOfADeadLetter(t *testing.T) {
	s := open(t)
	must(t, s.AddOutbox(t.Context(), []fleet.OutboxRow{message("m", t0)}))
	must(t, s.Deliver(t.Context(), "m", nil, fleet.Delivery{CaseID: "case-1", Channel: "ntfy", State: "dead", Reason: "410", At: t0}, nil))
	dead, err := s.DeadLetters(t.Context(), "demo", 0)
	must(t, err)
	if len(dead) != 1 || dead[0].LastErr != "410" {
		t.Fatalf("%+v", dead)
	}
	if dead, err := s.DeadLetters(t.Context(), "rival", 0); err != nil || len(dead) != 0 {
		t.Fatalf("another tenant sees %v, %v", dead, err)
	}
}

func TestInbox(t *testing.T) {
	s := open(t)
	for i, id := range []string{"a", "b"} {
		must(t, s.SaveInbox(t.Context(), fleet.Message{ID: id, Tenant: "demo", PersonID: "p" + id,
			Device: fleet.DeviceKey{Tenant: "demo", Serial: "x"}, Title: id, At: t0.Add(time.Duration(i) * time.Hour)}))
	}
	must(t, s.SaveInbox(t.Context(), fleet.Message{ID: "a", Tenant: "demo", Title: "changed"}))
	must(t, s.MarkRead(t.Context(), "demo", "pa", "a", t0.Add(time.Minute)))
	must(t, s.MarkRead(t.Context(), "demo", "pa", "a", t0.Add(2*time.Minute)))
	wantCode(t, s.MarkRead(t.Context(), "demo", "pb", "a", t0), fleet.CodeNotFound)
	all, err := s.RecentMessages(t.Context(), "demo", 10)
	must(t, err)
	got := make([]string, 0, len(all))
	for _, m := range all {
		got = append(got, m.ID+"="+m.Title+" "+m.ReadAt.Format("15:04"))
	}
	if d := cmp.Diff([]string{"b=b 00:00", "a=a 10:01"}, got); d != "" {
		t.Error(d)
	}
}
