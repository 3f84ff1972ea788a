package store

import (
	"fmt"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func aCommand(id, serial string, at time.Time) fleet.Command {
	return fleet.Command{ID: id, Device: fleet.DeviceKey{Tenant: "demo", Serial: serial}, Model: "washer-w7", Name: "reboot",
		Args: []byte(`{"delay_s":5}`), Disruptive: true, State: fleet.CommandWaiting, CreatedAt: at, ExpiresAt: at.Add(time.Hour), DueAt: at,
		SentAt: at, AnsweredAt: at, Attempts: 3, By: "agent:ana", Reason: "why", Result: []byte(`{"ok":true}`)}
}

func commandChange(k fleet.Command, expected int64) fleet.CommandChange {
	return fleet.CommandChange{Command: k, Expected: expected,
		Audit:  []fleet.CommandAudit{{At: t0, Actor: "agent:ana", Action: string(k.State), Detail: fmt.Sprint("from ", expected)}},
		Outbox: []fleet.OutboxRow{{ID: fmt.Sprintf("rec-%s-%d", k.ID, expected), Kind: fleet.OutboxRecord, Tenant: "demo", Body: []byte("{}"), DueAt: t0}}}
}

func TestCommandIsReadBackAsWritten(t *testing.T) {
	s := open(t)
	k := aCommand("k1", "WM-0001", t0)
	must(t, s.CommitCommand(t.Context(), commandChange(k, 0), 2))
	k.Version = 1
	got, err := s.Command(t.Context(), "demo", "k1")
	must(t, err)
	same(t, *got, k)
	_, err = s.Command(t.Context(), "rival", "k1")
	wantCode(t, err, fleet.CodeNotFound)
	audit, err := s.CommandAudit(t.Context(), "demo", "k1")
	must(t, err)
	same(t, audit, []fleet.CommandAudit{{At: t0, Actor: "agent:ana", Action: "waiting", Detail: "from 0"}})
	rows, err := s.LeaseOutbox(t.Context(), fleet.OutboxRecord, t0, time.Minute, 10)
	must(t, err)
	if len(rows) != 1 || rows[0].ID != "rec-k1-0" {
		t.Errorf("records %+v", rows)
	}
}

func TestCommitCommandMeetsConflictsAndTheLimit(t *testing.T) {
	s := open(t)
	k := aCommand("k1", "WM-0001", t0)
	must(t, s.CommitCommand(t.Context(), commandChange(k, 0), 1))
	wantCode(t, s.CommitCommand(t.Context(), commandChange(k, 0), 1), fleet.CodeConflict) // not busy: it is the same one
	wantCode(t, s.CommitCommand(t.Context(), commandChange(k, 2), 1), fleet.CodeConflict)
	wantCode(t, s.CommitCommand(t.Context(), commandChange(aCommand("k2", "WM-0001", t0), 0), 1), fleet.CodeBusy)
	_, err := s.Command(t.Context(), "demo", "k2")
	wantCode(t, err, fleet.CodeNotFound)
	must(t, s.CommitCommand(t.Context(), commandChange(aCommand("k2", "WM-0002", t0), 0), 1))
	k.State = fleet.CommandDone
	must(t, s.CommitCommand(t.Context(), commandChange(k, 1), 1))
	must(t, s.CommitCommand(t.Context(), commandChange(aCommand("k3", "WM-0001", t0), 0), 1))
	counts, err := s.CommandCounts(t.Context())
	must(t, err)
	same(t, counts, []fleet.CommandCount{{State: fleet.CommandDone, N: 1}, {State: fleet.CommandWaiting, N: 2}})
}

func TestWhichCommandsAreFound(t *testing.T) {
	s := open(t)
	for i, serial := range []string{"a", "b", "a", "c"} {
		k := aCommand(fmt.Sprint("k", i), serial, t0.Add(time.Duration(i)*time.Minute))
		if serial == "b" {
			k.State = fleet.CommandExpired
		}
		must(t, s.CommitCommand(t.Context(), commandChange(k, 0), 5))
	}
	ids := func(cs []fleet.Command, err error) (out []string) {
		t.Helper()
		must(t, err)
		for _, c := range cs {
			out = append(out, c.ID)
		}
		return out
	}
	same(t, ids(s.DueCommands(t.Context(), t0.Add(2*time.Minute), 10)), []string{"k0", "k2"})
	same(t, ids(s.DueCommands(t.Context(), t0.Add(time.Hour), 1)), []string{"k0"})
	same(t, ids(s.OpenCommands(t.Context(), "demo", []string{"a", "b"})), []string{"k0", "k2"})
	same(t, ids(s.OpenCommands(t.Context(), "rival", []string{"a"})), []string(nil))
	same(t, ids(s.OpenCommands(t.Context(), "demo", nil)), []string(nil))
	same(t, ids(s.Commands(t.Context(), fleet.CommandFilter{Tenant: "demo"})), []string{"k3", "k2", "k1", "k0"})
	same(t, ids(s.Commands(t.Context(), fleet.CommandFilter{Tenant: "demo", Device: "a", Limit: 1})), []string{"k2"})
	same(t, ids(s.Commands(t.Context(), fleet.CommandFilter{Tenant: "demo", Open: true, Device: "b"})), []string(nil))
	same(t, ids(s.Commands(t.Context(), fleet.CommandFilter{Tenant: "rival"})), []string(nil))
}
