package commands

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"aftercare/internal/fleet"
)

// Whatever happens in whatever order: a final state stays, and there is at most one; every open command is due not later than
// it ends; what is not written is not changed; only an answer says done, failed or refused.
func TestDecideInAnyOrder(t *testing.T) {
	cfg := DefaultConfig()
	statuses := []string{"running", "done", "failed", "refused", "not_now", "", "nonsense"}
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
		k := fleet.Command{ID: "k", State: fleet.CommandWaiting, CreatedAt: now, ExpiresAt: now.Add(24 * time.Hour), DueAt: now}
		finals := 0
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 7200).Draw(t, "seconds")) * time.Second)
			e := event{kind: eventKind(rapid.IntRange(0, int(evCancel)).Draw(t, "kind")), at: now, by: "x"}
			if e.kind == evReply {
				e.reply = fleet.CommandReply{ID: "k", Status: rapid.SampledFrom(statuses).Draw(t, "status"), RetryS: rapid.Int64().Draw(t, "retry")}
				e.at = now.Add(-time.Duration(rapid.IntRange(0, 3600).Draw(t, "late")) * time.Second)
			}
			next, act, _ := cfg.decide(k, e)
			if k.State.Final() && (act != actNothing || next.State != k.State) {
				t.Fatalf("%s became %s by %+v", k.State, next.State, e)
			}
			if act == actNothing && (next.State != k.State || !next.DueAt.Equal(k.DueAt) || next.Attempts != k.Attempts) {
				t.Fatalf("changed, and not written: %+v to %+v", k, next)
			}
			if act == actKeep && next.State != k.State {
				t.Fatalf("%s to %s is told to nobody", k.State, next.State)
			}
			if !next.State.Final() && (next.DueAt.IsZero() || next.DueAt.After(cfg.end(&next))) {
				t.Fatalf("due %v, ends %v: its expiry would be missed", next.DueAt, cfg.end(&next))
			}
			if !next.State.Final() && act != actNothing && e.kind != evReply && e.kind != evAcked && !next.DueAt.After(e.at) {
				t.Fatalf("due %v at %v: it would be sent without an end", next.DueAt, e.at)
			}
			said := next.State == fleet.CommandDone || next.State == fleet.CommandFailed || next.State == fleet.CommandRefused
			if said && act != actNothing && e.kind != evReply {
				t.Fatalf("nobody said %s", next.State)
			}
			if next.State.Final() && !k.State.Final() {
				finals++
			}
			again, act2, _ := cfg.decide(next, e)
			if e.kind == evReply && (act2 != actNothing || again.State != next.State) {
				t.Fatalf("the same answer twice: %s to %s", next.State, again.State)
			}
			k = next
		}
		end, _, _ := cfg.decide(k, event{kind: evTime, at: cfg.end(&k)})
		if !end.State.Final() || finals > 1 {
			t.Fatalf("at its end it is %s, %d ends", end.State, finals)
		}
	})
}
