package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"aftercare/internal/fleet"
)

func about(id, event string, due time.Time) fleet.OutboxRow {
	return fleet.OutboxRow{ID: id, Kind: fleet.OutboxMessage, Tenant: "demo", CaseID: "c1", Topic: event, DueAt: due}
}

// TestWithdrawnMessagesDoNotLeave: what nobody can have sent ends as skipped with the reason; what may have been sent stays to be
// decided by who sends.
func TestWithdrawnMessagesDoNotLeave(t *testing.T) {
	s := open(t)
	c := aCase("c1", "WM-0001", fleet.Due, t0)
	ch := change(c, 0)
	ch.Outbox = []fleet.OutboxRow{about("waits", "opened", t0.Add(time.Hour)), about("tried", "opened", t0), about("leased", "opened", t0),
		about("other event", "cleared", t0.Add(time.Hour)), about("by id", "visit", t0.Add(time.Hour)),
		{ID: "timer", Kind: fleet.OutboxTimer, Tenant: "demo", CaseID: "c1", Topic: "opened", DueAt: t0.Add(time.Hour)}}
	must(t, s.Commit(t.Context(), ch))
	rows, err := s.LeaseOutbox(t.Context(), fleet.OutboxMessage, t0, time.Minute, 10)
	must(t, err)
	if len(rows) != 2 {
		t.Fatalf("%d rows are due", len(rows))
	}
	must(t, s.RetryOutbox(t.Context(), "tried", t0.Add(time.Hour), "503"))
	ch = change(c, 1)
	ch.Outbox = []fleet.OutboxRow{about("new", "opened", t0.Add(time.Hour))}
	ch.Withdraw, ch.Why = []string{"opened", "by id"}, "it is over"
	must(t, s.Commit(t.Context(), ch))

	sent, err := s.CaseDeliveries(t.Context(), "demo", "c1")
	must(t, err)
	if len(sent) != 2 || sent[0].OutboxID != "by id" || sent[1].OutboxID != "waits" {
		t.Fatalf("%+v", sent)
	}
	for _, d := range sent {
		if d.State != "skipped" || d.Reason != "it is over" || d.Channel != "inbox" || !d.At.Equal(t0) {
			t.Errorf("%+v", d)
		}
	}
	left, err := s.LeaseOutbox(t.Context(), fleet.OutboxMessage, t0.Add(2*time.Hour), time.Minute, 10)
	must(t, err)
	ids := map[string]bool{}
	for _, r := range left {
		ids[r.ID] = true
	}
	if len(ids) != 4 || !ids["tried"] || !ids["leased"] || !ids["other event"] || !ids["new"] {
		t.Errorf("still to be sent: %v", ids)
	}
	if timers, _ := s.LeaseOutbox(t.Context(), fleet.OutboxTimer, t0.Add(2*time.Hour), time.Minute, 10); len(timers) != 1 {
		t.Errorf("%d timers", len(timers))
	}
}

func TestAnswersCountOnceAndMarkTheirMessage(t *testing.T) {
	s := open(t)
	c := aCase("c1", "WM-0001", fleet.Due, t0)
	must(t, s.Commit(t.Context(), change(c, 0)))
	must(t, s.Deliver(t.Context(), "msg-c1", nil, fleet.Delivery{OutboxID: "msg-c1", CaseID: "c1", PersonID: "anna", Channel: "inbox", State: "sent", At: t0}, nil))
	a := fleet.Answer{Tenant: "demo", MessageID: "msg-c1", CaseID: "c1", PersonID: "anna", Verdict: fleet.VerdictFixed, Rule: "r", RuleHash: "h", Topic: fleet.TopicFault,
		Note: "the filter", At: t0.Add(time.Minute)}
	for v := range int64(2) {
		ch := change(c, 1+v)
		ch.Answers, ch.Record = []fleet.Answer{a}, []fleet.RuleRecord{{Tenant: "demo", Rule: "r", RuleHash: "h", What: "fixed", N: 1 + v}}
		must(t, s.Commit(t.Context(), ch))
	}
	got, err := s.CaseAnswers(t.Context(), "demo", "c1")
	must(t, err)
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	same(t, got[0], a)
	sent, err := s.CaseDeliveries(t.Context(), "demo", "c1")
	must(t, err)
	if len(sent) != 1 || sent[0].Acted != fleet.VerdictFixed || !sent[0].ActedAt.Equal(a.At) {
		t.Errorf("%+v", sent)
	}
	records, err := s.RuleRecords(t.Context(), "demo", "r")
	must(t, err)
	if len(records) != 1 || records[0].N != 3 {
		t.Errorf("%+v", records)
	}
	for _, x := range []struct {
		a    fleet.Answer
		want bool
	}{{a, true}, {fleet.Answer{Tenant: "demo", MessageID: "msg-c1", PersonID: "bert", Verdict: fleet.VerdictFixed}, false},
		{fleet.Answer{Tenant: "rival", MessageID: "msg-c1", PersonID: "anna", Verdict: fleet.VerdictFixed}, false}} {
		if before, err := s.Answered(t.Context(), x.a); before != x.want || err != nil {
			t.Errorf("answered %v %v", before, err)
		}
	}
}

func TestAttachmentsAreReadBack(t *testing.T) {
	s := open(t)
	ch := change(aCase("c1", "WM-0001", fleet.Due, t0), 0)
	f := fleet.Attachment{ID: "a1", Name: "pump.png", Type: "image/png", Size: 4, At: t0, By: "agent:eve", Body: []byte("\x00\xff\x01\n")}
	ch.Files = []fleet.Attachment{f}
	must(t, s.Commit(t.Context(), ch))
	got, err := s.Attachment(t.Context(), "demo", "c1", "a1")
	must(t, err)
	same(t, got, f)
	list, err := s.Attachments(t.Context(), "demo", "c1")
	must(t, err)
	f.Body = nil
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	same(t, list[0], f)
	for _, ids := range [][3]string{{"rival", "c1", "a1"}, {"demo", "c2", "a1"}, {"demo", "c1", "a2"}} {
		_, err := s.Attachment(t.Context(), ids[0], ids[1], ids[2])
		wantCode(t, err, fleet.CodeNotFound)
	}
}

// TestSeveralCasesAreOneTransaction: when one of them is not as expected, none is written.
func TestSeveralCasesAreOneTransaction(t *testing.T) {
	s := open(t)
	a, b := aCase("c1", "WM-0001", fleet.Due, t0), aCase("c2", "WM-0002", fleet.Due, t0)
	must(t, s.Commit(t.Context(), change(a, 0), change(b, 0)))
	a.Count, b.Count = 7, 7
	wantCode(t, s.Commit(t.Context(), change(a, 1), change(b, 5)), fleet.CodeConflict)
	for _, id := range []string{"c1", "c2"} {
		c, err := s.Case(t.Context(), "demo", id)
		must(t, err)
		if c.Count != 1 || c.Version != 1 {
			t.Errorf("%+v", c)
		}
	}
}

// TestTheNewestDeliveriesOfACase: of a case that was told of very often the end is what decides whom an all-clear is for.
func TestTheNewestDeliveriesOfACase(t *testing.T) {
	s := open(t)
	must(t, s.write(t.Context(), "fill", func(tx bun.Tx) error {
		for i := range 1005 {
			id := fmt.Sprintf("row-%04d", i)
			if err := saveDelivery(t.Context(), tx, "demo", id, fleet.Delivery{OutboxID: id, CaseID: "c1", PersonID: "anna", Channel: "inbox", State: "sent", At: time.UnixMilli(int64(i + 1))}); err != nil {
				return err
			}
		}
		return nil
	}))
	sent, err := s.CaseDeliveries(t.Context(), "demo", "c1")
	must(t, err)
	if n := len(sent); n != 1000 || sent[0].OutboxID != "row-0005" || sent[n-1].OutboxID != "row-1004" {
		t.Errorf("%d, from %q", n, sent[0].OutboxID)
	}
}
