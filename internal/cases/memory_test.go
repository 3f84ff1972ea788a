package cases

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
)

// memory is a store for tests that make thousands of steps. It checks what every commit must hold, and stands for outreach too:
// what is due is told, or left out, by the rules that outreach has.
type memory struct {
	fail    func(format string, args ...any)
	cases   map[string]fleet.Case
	audit   map[string][]fleet.Audit
	rows    map[string]*memoryRow
	order   []string
	heard   map[string][]fleet.Delivery // by case
	answers map[[3]string]bool
	record  map[string]int64
	broken  int // so many commits fail from now on
	links   map[fleet.DeviceKey]fleet.Link
}

type memoryRow struct {
	fleet.OutboxRow
	done bool
	why  string
}

func newMemory(fail func(string, ...any)) *memory {
	return &memory{fail: fail, cases: map[string]fleet.Case{}, audit: map[string][]fleet.Audit{}, rows: map[string]*memoryRow{},
		heard: map[string][]fleet.Delivery{}, answers: map[[3]string]bool{}, record: map[string]int64{}, links: map[fleet.DeviceKey]fleet.Link{}}
}

func (m *memory) use(cfg Config, more func(*Deps)) *Cases {
	d := Deps{Store: m, Timers: m, Log: obs.Discard(), Registerer: prometheus.NewRegistry()}
	if more != nil {
		more(&d)
	}
	return New(cfg, d)
}

func copied(c fleet.Case) *fleet.Case {
	b, _ := json.Marshal(c)
	var out fleet.Case
	_ = json.Unmarshal(b, &out)
	return &out
}

func (m *memory) LatestCase(_ context.Context, key fleet.DeviceKey, problem string) (*fleet.Case, error) {
	var best *fleet.Case
	for _, c := range m.cases {
		if c.Device != key || c.Problem != problem {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(rank(&c), rank(best)), c.OpenedAt.Compare(best.OpenedAt), cmp.Compare(best.ID, c.ID)) > 0 {
			best = copied(c)
		}
	}
	return best, nil
}

func rank(c *fleet.Case) int {
	if c.State.Open() {
		return 1
	}
	return 0
}

func (m *memory) Case(_ context.Context, _, id string) (*fleet.Case, error) {
	c, ok := m.cases[id]
	if !ok {
		return nil, fleet.Errorf(fleet.CodeNotFound, "there is no case %q", id)
	}
	return copied(c), nil
}

func (m *memory) Cases(_ context.Context, f fleet.CaseFilter) (out []fleet.Case, _ error) {
	for _, c := range m.cases {
		if c.Device.Serial == f.Device {
			out = append(out, *copied(c))
		}
	}
	slices.SortFunc(out, func(a, b fleet.Case) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

func (m *memory) Answered(_ context.Context, a fleet.Answer) (bool, error) {
	return m.answers[[3]string{a.MessageID, a.PersonID, string(a.Verdict)}], nil
}

func (m *memory) Commit(_ context.Context, changes ...fleet.Change) error {
	if m.broken > 0 {
		m.broken--
		return fleet.Errorf(fleet.CodeInternal, "disk full")
	}
	for i := range changes {
		ch := &changes[i]
		if have := m.cases[ch.Case.ID].Version; have != ch.Expected {
			return fleet.Errorf(fleet.CodeConflict, "case %s is at version %d", ch.Case.ID, have)
		}
		for _, c := range m.cases {
			if c.ID != ch.Case.ID && c.Device == ch.Case.Device && c.Problem == ch.Case.Problem && c.State.Open() && ch.Case.State.Open() {
				return fleet.Errorf(fleet.CodeConflict, "two open cases of %s", c.Problem)
			}
		}
	}
	for i := range changes {
		m.commit(&changes[i])
	}
	return nil
}

func (m *memory) commit(ch *fleet.Change) {
	was := m.cases[ch.Case.ID]
	measured := was.State == fleet.CaseWatching && ch.Case.State == was.State // how far a proof has come is no history
	if len(ch.Audit) == 0 && !measured || ch.Case.Version != ch.Expected+1 {
		m.fail("%d lines of history, from version %d to %d", len(ch.Audit), ch.Expected, ch.Case.Version)
	}
	if forGood(&was) && ch.Case.State != fleet.CaseClosed && was.Proof.Since.IsZero() {
		m.fail("a closed case became %s: %+v", ch.Case.State, ch.Audit)
	}
	for _, id := range m.order {
		r := m.rows[id]
		if !r.done && r.Kind == fleet.OutboxMessage && r.CaseID == ch.Case.ID && (slices.Contains(ch.Withdraw, r.Topic) || slices.Contains(ch.Withdraw, r.ID)) {
			r.done, r.why = true, ch.Why
		}
	}
	for _, o := range ch.Outbox {
		if _, twice := m.rows[o.ID]; twice {
			if o.Topic != fleet.EventIncident && o.Topic != TimerProof {
				m.fail("row %s %s %s is asked for twice", o.ID, o.Kind, o.Topic)
			}
			continue
		}
		m.rows[o.ID] = &memoryRow{OutboxRow: o}
		m.order = append(m.order, o.ID)
	}
	for _, a := range ch.Answers {
		m.answers[[3]string{a.MessageID, a.PersonID, string(a.Verdict)}] = true
	}
	for _, r := range ch.Record {
		m.record[r.Rule+" "+r.What] += r.N
	}
	m.cases[ch.Case.ID] = *copied(ch.Case)
	m.audit[ch.Case.ID] = append(m.audit[ch.Case.ID], ch.Audit...)
}

func (m *memory) LeaseOutbox(_ context.Context, kind fleet.OutboxKind, now time.Time, _ time.Duration, limit int) (out []fleet.OutboxRow, _ error) {
	for _, id := range m.order {
		if r := m.rows[id]; !r.done && r.Kind == kind && !r.DueAt.After(now) && len(out) < limit {
			out = append(out, r.OutboxRow)
		}
	}
	return out, nil
}

func (m *memory) FinishOutbox(_ context.Context, id, reason string) error {
	m.rows[id].done, m.rows[id].why = true, reason
	return nil
}

func (m *memory) PutOffOutbox(_ context.Context, id string, due time.Time, _ string) error {
	m.rows[id].DueAt = due
	return nil
}

func (m *memory) State(key fleet.DeviceKey) (fleet.Link, bool) { l, ok := m.links[key]; return l, ok }

// send tells the messages that are due, as outreach does.
func (m *memory) send(now time.Time) {
	for _, id := range m.order {
		r := m.rows[id]
		if r.done || r.Kind != fleet.OutboxMessage || r.DueAt.After(now) {
			continue
		}
		r.done = true
		c := m.cases[r.CaseID]
		last := fleet.LastHeard(m.heard[c.ID], "", "inbox")
		tell := c.State.Open()
		switch {
		case r.Topic == fleet.EventCleared:
			tell = !tell && last.Event != "" && last.Event != fleet.EventCleared
		case r.Topic == fleet.EventOpened && r.Ref == fleet.RefBack:
			again, _ := last.TellAgain(c.Severity)
			tell = tell && again
		}
		if tell {
			m.heard[c.ID] = append(m.heard[c.ID], fleet.Delivery{OutboxID: id, CaseID: c.ID, Channel: "inbox", Topic: r.Topic, State: "sent", At: now})
		}
	}
}

// said lists the messages that were heard of a case.
func (m *memory) said(id string) (out []string) {
	for _, d := range m.heard[id] {
		out = append(out, d.Topic)
	}
	return out
}

// next is when the next timer is due; zero: none is.
func (m *memory) next() (t time.Time) {
	for _, r := range m.rows {
		if !r.done && r.Kind == fleet.OutboxTimer && (t.IsZero() || r.DueAt.Before(t)) {
			t = r.DueAt
		}
	}
	return t
}

// notified lists the operations that were asked for.
func (m *memory) notified() (out []string) {
	for _, id := range m.order {
		if r := m.rows[id]; r.Kind == fleet.OutboxNotify {
			out = append(out, r.Topic)
		}
	}
	return out
}
