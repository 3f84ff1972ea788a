package api

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func (s *source) DeadLetterList(_ context.Context, tenant string, limit int) ([]fleet.DeadLetter, error) {
	s.done = append(s.done, fmt.Sprint("dead of ", tenant, " ", limit))
	return []fleet.DeadLetter{{Row: fleet.OutboxRow{ID: "m1", Kind: fleet.OutboxMessage, Topic: "opened", CaseID: "case-1", PersonID: "p1", Channel: "ntfy", Attempts: 10}, Endpoint: "ntfy: phone",
		Reason: "503", At: at}}, s.err
}

func (s *source) RetryDead(_ context.Context, tenant, id string, _ time.Time) error {
	if id != "m1" {
		return fleet.Errorf(fleet.CodeNotFound, "there is no message %q", id)
	}
	s.done = append(s.done, "retry "+tenant+" "+id)
	return nil
}

func TestDeadLetters(t *testing.T) {
	f := newFixture(t)
	got, err := json.Marshal(f.call(t, "GET", "/dead-letters?limit=7", "", 200))
	want := `{"dead_letters":[{"at":"2025-11-21T19:00:00Z","attempts":10,"case_id":"case-1","channel":"ntfy","endpoint":"ntfy: phone","id":"m1","kind":"message","person":"p1","reason":"503","topic":"opened"}]}`
	if err != nil || string(got) != want {
		t.Errorf("%s\n%s, %v", got, want, err)
	}
	if out := f.call(t, "POST", "/dead-letters/m1/retry", "", 200); out["id"] != "m1" || out["due_at"] != "2025-11-21T19:00:00Z" {
		t.Errorf("%v", out)
	}
	f.call(t, "POST", "/dead-letters/m2/retry", "", 404)
	if want := "[dead of demo 7 retry demo m1]"; fmt.Sprint(f.done) != want {
		t.Errorf("done %v, want %s", f.done, want)
	}
}
