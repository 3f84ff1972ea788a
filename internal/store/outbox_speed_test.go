package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func onChannel(id, channel string, due time.Time) fleet.OutboxRow {
	r := message(id, due)
	r.Channel = channel
	return r
}

func leaseOn(t *testing.T, s *Store, channel string, now time.Time, limit int) []string {
	t.Helper()
	rows, err := s.LeaseChannel(t.Context(), channel, now, time.Minute, limit)
	must(t, err)
	ids := make([]string, 0, len(rows))
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestAChannelLeasesItsOwnRowsAlone(t *testing.T) {
	s := open(t)
	notify, record, timer := onChannel("notify", "email", t0), message("record", t0), message("timer", t0)
	notify.Kind, record.Kind, timer.Kind = fleet.OutboxNotify, fleet.OutboxRecord, fleet.OutboxTimer
	must(t, s.AddOutbox(t.Context(), []fleet.OutboxRow{onChannel("push-2", "push", t0.Add(time.Second)), onChannel("push-1", "push", t0), onChannel("push-3", "push", t0.Add(time.Hour)),
		message("inbox", t0), notify, record, timer, onChannel("stray", "fax", t0)}))
	names, err := s.OutboxChannels(t.Context())
	must(t, err)
	same(t, fmt.Sprint(names), "[ email fax push]")
	now := t0.Add(time.Minute)
	same(t, leaseOn(t, s, "push", now, 1), []string{"push-1"})
	same(t, leaseOn(t, s, "push", now, 10), []string{"push-2"})
	same(t, leaseOn(t, s, "push", now, 10), []string{})
	same(t, leaseOn(t, s, "email", now, 10), []string{})
	same(t, leaseOn(t, s, "", now, 10), []string{"inbox"})
	same(t, leaseOn(t, s, "push", now.Add(time.Minute), 10), []string{"push-1", "push-2"}) // its lease has ended
	rows, err := s.LeaseOutbox(t.Context(), fleet.OutboxRecord, now, time.Minute, 10)
	must(t, err)
	same(t, len(rows), 1)
}

func TestFinishAll(t *testing.T) {
	s := open(t)
	must(t, s.AddOutbox(t.Context(), []fleet.OutboxRow{message("a", t0), message("b", t0), message("c", t0), message("dead", t0)}))
	must(t, s.DeadOutbox(t.Context(), "dead", "why"))
	must(t, s.FinishAllOutbox(t.Context(), []string{"a", "c", "dead", "none"}))
	must(t, s.FinishAllOutbox(t.Context(), nil))
	same(t, lease(t, s, t0), []string{"b/0"})
	dead, err := s.DeadLetters(t.Context(), "demo", 0)
	must(t, err)
	same(t, len(dead), 1)
}

// TestLeasesUseTheIndexOfWhatIsDue looks at how SQLite would find the rows: a scan, or a sort of all that is due, would make each
// lease as slow as the outbox is long.
func TestLeasesUseTheIndexOfWhatIsDue(t *testing.T) {
	s := open(t)
	for _, c := range []struct{ query, index string }{
		{leaseQuery("kind = ?"), "outbox_due (kind=? AND due_at<?)"},
		{leaseQuery(toPeople + " AND channel = ?"), "outbox_channel (channel=? AND due_at<?)"},
	} {
		all := planOf(t, s, c.query, 0, "", "x", 0, 0, 10, "x", 0, 0)
		if !strings.Contains(all, "USING INDEX "+c.index) || strings.Contains(all, "SCAN") || strings.Contains(all, "TEMP B-TREE") {
			t.Errorf("%s\n%s", c.query, all)
		}
	}
}

// planOf is how SQLite would run a statement.
func planOf(t *testing.T, s *Store, query string, args ...any) string {
	t.Helper()
	rows, err := s.r.DB.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	must(t, err)
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		must(t, rows.Scan(&id, &parent, &unused, &detail))
		plan = append(plan, detail)
	}
	must(t, rows.Err())
	return strings.Join(plan, "\n")
}

// TestADevicesCasesAreFoundByTheDevice because that is asked for each finding that opens a case.
func TestADevicesCasesAreFoundByTheDevice(t *testing.T) {
	s := open(t)
	all := planOf(t, s, "SELECT * FROM cases WHERE tenant = 'demo' AND serial = 'WM-1' ORDER BY opened_at DESC, id LIMIT 100")
	if !strings.Contains(all, "USING INDEX cases_device (tenant=? AND serial=?)") {
		t.Errorf("%s", all)
	}
}
