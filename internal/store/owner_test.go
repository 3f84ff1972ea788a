package store

import (
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// TestAMessageIsFoundByItsCopiesToo: links name a message; receipts name the copy that went out on one channel.
func TestAMessageIsFoundByItsCopiesToo(t *testing.T) {
	s := open(t)
	ch := change(aCase("c1", "WM-0001", fleet.Due, t0), 0)
	ch.Outbox = []fleet.OutboxRow{about("parent", "opened", t0), about("copy", "opened", t0), about("later", "escalated", t0), about("strange", "opened", t0)}
	must(t, s.Commit(t.Context(), ch))
	keep := func(id, person, inbox string, at time.Time) {
		t.Helper()
		var m *fleet.Message
		channel := "push"
		if inbox != "" {
			channel = "inbox"
			m = &fleet.Message{ID: inbox, Tenant: "demo", CaseID: "c1", Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-0001"}, PersonID: person, Channel: channel, Title: inbox, At: at}
		}
		must(t, s.Deliver(t.Context(), id, m, fleet.Delivery{OutboxID: id, CaseID: "c1", PersonID: person, Channel: channel, State: "sent", At: at}, nil))
	}
	keep("parent", "anna", "parent", t0)
	keep("copy", "anna", "", t0.Add(time.Second))
	keep("later", "anna", "later", t0.Add(time.Hour))
	keep("strange", "bert", "", t0.Add(time.Hour))
	for _, x := range []struct{ person, id, want string }{{"anna", "parent", "parent"}, {"anna", "copy", "parent"}, {"anna", "later", "later"}, {"bert", "parent", ""},
		{"bert", "copy", ""}, {"bert", "strange", ""}, {"anna", "none", ""}} {
		m, err := s.Message(t.Context(), "demo", x.person, x.id)
		switch {
		case x.want == "" && fleet.CodeOf(err) != fleet.CodeNotFound:
			t.Errorf("%s gets %s: %+v, %v", x.person, x.id, m, err)
		case x.want != "" && (err != nil || m.ID != x.want):
			t.Errorf("%s asks for %s: %+v, %v", x.person, x.id, m, err)
		}
	}
	if _, err := s.Message(t.Context(), "rival", "anna", "parent"); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("another tenant gets it: %v", err)
	}
}

func TestAnswersOfOnePersonToOneMessage(t *testing.T) {
	s := open(t)
	ch := change(aCase("c1", "WM-0001", fleet.Due, t0), 0)
	give := func(message, person string, v fleet.Verdict, at time.Time) fleet.Answer {
		return fleet.Answer{Tenant: "demo", MessageID: message, CaseID: "c1", PersonID: person, Verdict: v, Rule: "r", RuleHash: "h", Topic: fleet.TopicFault, Note: "n", At: at}
	}
	want := give("m1", "anna", fleet.VerdictNotNow, t0)
	ch.Answers = []fleet.Answer{give("m1", "anna", fleet.VerdictFixed, t0.Add(time.Hour)), want, give("m2", "anna", fleet.VerdictBook, t0), give("m1", "bert", fleet.VerdictStop, t0)}
	must(t, s.Commit(t.Context(), ch))
	got, err := s.AnswersTo(t.Context(), "demo", "anna", "m1")
	if err != nil || len(got) != 2 || got[0] != want || got[1].Verdict != fleet.VerdictFixed {
		t.Errorf("%+v, %v", got, err)
	}
}
