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

// TestREL10KilledWhileSending: the server is killed when the receiver has a message and has not answered yet, so that nothing says that
// it was sent. It comes again under its id, once; then it is sent, in the case and for everybody to see.
func TestREL10KilledWhileSending(t *testing.T) {
	t.Parallel()
	dir, release := t.TempDir(), make(chan struct{})
	h := newHooks(t, func(_ event, nth int) int {
		if nth == 1 {
			<-release
		}
		return http.StatusNoContent
	})
	t.Cleanup(func() { close(release) }) // before the receiver is closed, which waits for its handlers
	house := settlePeople(t, dir, []fleet.Person{reached(ownerID, h.URL)}, []fleet.Device{washer("RK-1", ownerID)})
	c := newCare(t, dir, []string{h.host()}, "--outreach.send_timeout", "4s", "--outreach.lease", "9s")
	c.connects(house)
	c.says("RK-1", 150, 0)
	first := h.arrived(t, 1)[0]
	c.restart()
	if d := c.caseOf("RK-1", "slow", "new"); slices.ContainsFunc(d.Deliveries, func(d struct{ ID, Person, Channel, State, Reason string }) bool { return d.Channel == "webhook" }) {
		t.Errorf("what was under way is recorded: %+v", d.Deliveries)
	}
	again := h.arrived(t, 2)[1]
	if again.ID != first.ID || again.Type != "case.opened" || again.Data.CaseID != first.Data.CaseID || again.Data.Title != first.Data.Title {
		t.Errorf("sent at first\n%+v\nand again\n%+v", first, again)
	}
	st := c.store()
	eventually(t, 10*time.Second, func() error {
		want := []string{"opened owner-1 inbox sent", "opened owner-1 webhook sent"}
		if got := deliveries(t, st, first.Data.CaseID); !slices.Equal(got, want) {
			return fmt.Errorf("deliveries %q, want %q", got, want)
		}
		return nil
	})
	// It goes on from there: the case is the same, and its end is told to who was told of its beginning.
	c.connects(house)
	c.says("RK-1", 20, 0)
	last := h.arrived(t, 3)[2]
	if last.Type != "case.cleared" || last.Data.CaseID != first.Data.CaseID {
		t.Errorf("at the end came %+v", last)
	}
	if n := len(list(t, c.process, "/cases?state=all")); n != 1 {
		t.Errorf("%d cases of one fault", n)
	}
	c.conserved(t)
	if got := h.got(); len(got) != 3 {
		t.Errorf("%d webhooks, want the message twice and its end once: %+v", len(got), got)
	}
}

// deadLetter is what was given up, as the API tells of it.
type deadLetter struct{ ID, Kind, Topic, Person, Channel, Endpoint, Reason string }

func (c *care) deadLetters() []deadLetter {
	c.t.Helper()
	var out struct {
		DeadLetters []deadLetter `json:"dead_letters"`
	}
	c.api(c.t, "/dead-letters", &out)
	return out.DeadLetters
}

// TestREL10WhatIsRefusedIsSeenAndTriedAgain: a receiver that says 400 gets the message once; it is in the list of what was given up, with the
// reason and without the address, and goes under the same id when somebody says so.
func TestREL10WhatIsRefusedIsSeenAndTriedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := newHooks(t, func(_ event, nth int) int {
		if nth == 1 {
			return http.StatusBadRequest
		}
		return http.StatusNoContent
	})
	const path = "/hook/of-ada-alone"
	house := settlePeople(t, dir, []fleet.Person{reached(ownerID, h.URL+path)}, []fleet.Device{washer("RD-1", ownerID)})
	c := newCare(t, dir, []string{h.host()})
	c.connects(house)
	if got := c.deadLetters(); len(got) != 0 {
		t.Errorf("given up before anything was sent: %+v", got)
	}
	c.says("RD-1", 150, 0)
	first := h.arrived(t, 1)[0]
	var dead deadLetter
	eventually(t, 10*time.Second, func() error {
		got := c.deadLetters()
		if len(got) != 1 {
			return fmt.Errorf("given up: %+v", got)
		}
		dead = got[0]
		return nil
	})
	if dead.ID != first.ID || dead.Kind != "message" || dead.Topic != "opened" || dead.Person != ownerID || dead.Channel != "webhook" || dead.Reason != "the receiver answered 400 Bad Request" {
		t.Errorf("given up: %+v, sent was %s", dead, first.ID)
	}
	if _, body := c.get(t, "/api/v1/dead-letters"); strings.Contains(body, path) || strings.Contains(body, hookSecret) {
		t.Errorf("the list tells the address or its secret: %s", body)
	}
	if code, text := c.post(t, "/dead-letters/"+dead.ID+"/retry", nil, nil); code != http.StatusOK {
		t.Fatalf("retry: %d %s", code, text)
	}
	if again := h.arrived(t, 2)[1]; again.ID != first.ID || again.Data.Title != first.Data.Title {
		t.Errorf("sent at first\n%+v\nand again\n%+v", first, again)
	}
	st := c.store()
	eventually(t, 10*time.Second, func() error {
		if got := deliveries(t, st, first.Data.CaseID); !slices.Contains(got, "opened owner-1 webhook sent") {
			return fmt.Errorf("deliveries: %q", got)
		}
		if got := c.deadLetters(); len(got) != 0 {
			return fmt.Errorf("still given up: %+v", got)
		}
		return nil
	})
	if code, _ := c.post(t, "/dead-letters/"+dead.ID+"/retry", nil, nil); code != http.StatusConflict && code != http.StatusNotFound {
		t.Errorf("a second retry of what was sent: %d", code)
	}
	if got := h.got(); len(got) != 2 {
		t.Errorf("%d webhooks, want 2: %+v", len(got), got)
	}
	c.conserved(t)
}
