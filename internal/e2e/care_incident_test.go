package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// incidentRow is an incident as the API tells of it.
type incidentRow struct{ ID, State, Model, Batch, By string }

// TestREL11IncidentIsToldOnce: all twelve devices of one batch get the same fault within minutes. One incident opens; from then on each
// owner hears of it once, that it is known and no visit is needed; and when it is fixed all who were told hear so.
func TestREL11IncidentIsToldOnce(t *testing.T) {
	t.Parallel()
	const n, before = 12, 6 // the first six have the fault before anybody can know that it is one of many
	dir, h := t.TempDir(), newHooks(t, nil)
	people, devices := make([]fleet.Person, n), make([]fleet.Device, 0, 200)
	for i := range n {
		people[i] = reached(fmt.Sprintf("owner-%02d", i), h.URL)
		d := washer(fmt.Sprintf("IN-%02d", i), people[i].ID)
		d.Batch = "2026-40"
		devices = append(devices, d)
	}
	for i := range 100 { // of another batch, and well
		d := washer(fmt.Sprintf("OK-%02d", i), "")
		d.Batch = "2026-39"
		devices = append(devices, d)
	}
	house := settlePeople(t, dir, people, devices)
	c := newCare(t, dir, []string{h.host()}, "--incidents.every", "1s", "--incidents.poll", "200ms")
	for _, d := range devices[:n] {
		c.lines[d.Key.Serial] = connect(t, c.process, d.Key.Serial, house.secrets[d.Key.Serial])
	}
	for _, d := range devices[:before] {
		c.says(d.Key.Serial, 150, 0)
	}
	i := c.incident("open")
	if i.Batch != "2026-40" || i.Model != "washer-w7" || i.By != "rules" {
		t.Errorf("the incident is %+v", i)
	}
	for _, d := range devices[before:n] {
		c.says(d.Key.Serial, 150, 0)
	}
	heard := h.of(t, "case.incident", n)
	for who, es := range heard {
		if strings.Contains(es[0].Data.Title, "known") && strings.Contains(es[0].Data.Body, "You need not book a repair.") && es[0].Data.Ref == i.ID && !offersVisit(es[0]) {
			continue
		}
		t.Errorf("%s heard %+v", who, es[0])
	}
	for _, d := range devices[:n] {
		c.caseOf(d.Key.Serial, "slow", "new")
	}
	if code, text := c.post(t, fmt.Sprintf("/incidents/%s/%s/fix", tenant, i.ID), map[string]any{"why": "firmware 2.2 is out"}, nil); code != http.StatusOK {
		t.Fatalf("fix: %d %s", code, text)
	}
	for who, es := range h.of(t, "case.incident_fixed", n) {
		if !strings.Contains(es[0].Data.Title, "solved") || es[0].Data.Ref != i.ID {
			t.Errorf("%s heard %+v", who, es[0])
		}
	}
	c.incident("fixed")
	for _, e := range h.got() {
		switch {
		case e.Type == "case.opened" && e.Data.PersonID >= people[before].ID:
			t.Errorf("%s was told of a case of the incident: %+v", e.Data.PersonID, e)
		case e.Type != "case.opened" && offersVisit(e):
			t.Errorf("a visit is offered: %+v", e)
		}
	}
	c.conserved(t)
}

func offersVisit(e event) bool {
	return slices.ContainsFunc(e.Data.Actions, func(a struct{ Verdict fleet.Verdict }) bool {
		return a.Verdict == fleet.VerdictBook || a.Verdict == fleet.VerdictOrder
	})
}

// of waits until webhooks of a type came for so many people, and returns them by person; each has one.
func (h *hooks) of(t testing.TB, kind string, people int) map[string][]event {
	t.Helper()
	var out map[string][]event
	eventually(t, 30*time.Second, func() error {
		out = map[string][]event{}
		for _, e := range h.got() {
			if e.Type == kind {
				out[e.Data.PersonID] = append(out[e.Data.PersonID], e)
			}
		}
		if len(out) < people {
			return fmt.Errorf("%s came for %d people of %d", kind, len(out), people)
		}
		return nil
	})
	for who, es := range out {
		if len(es) != 1 {
			t.Errorf("%s heard %s %d times", who, kind, len(es))
		}
	}
	return out
}

// incident waits until there is one, in a state.
func (c *care) incident(state string) (out incidentRow) {
	c.t.Helper()
	eventually(c.t, 30*time.Second, func() error {
		var got struct{ Incidents []incidentRow }
		if c.api(c.t, "/incidents?state=all", &got); len(got.Incidents) != 1 || got.Incidents[0].State != state {
			return fmt.Errorf("incidents: %+v", got.Incidents)
		}
		out = got.Incidents[0]
		return nil
	})
	return out
}
