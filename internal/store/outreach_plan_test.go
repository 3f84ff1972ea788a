package store

import (
	"strings"
	"testing"
)

// TestWhatIsAskedOftenHasAnIndex: a receipt, a message of an incident and a look at its children read no more than they are about.
func TestWhatIsAskedOftenHasAnIndex(t *testing.T) {
	s := open(t)
	for _, c := range []struct{ query, index string }{
		{"UPDATE deliveries SET acted = '' WHERE " + itself, "sqlite_autoindex_deliveries_1 (tenant=? AND outbox_id=?)"},
		{"UPDATE deliveries SET acted = '' WHERE " + alongside, "deliveries_person (tenant=? AND person_id=?)"},
		{"SELECT * FROM deliveries WHERE " + byRef + " ORDER BY at, outbox_id", "deliveries_ref (tenant=? AND ref=?)"},
		{"SELECT * FROM cases WHERE " + ofIncident + " ORDER BY opened_at", "cases_incident (tenant=? AND incident_id=?)"},
	} {
		if plan := planOf(t, s, c.query, []any{"a", "b", "c", "d"}[:strings.Count(c.query, "?")]...); !strings.Contains(plan, c.index) {
			t.Errorf("%s: %s", c.query, plan)
		}
	}
}
