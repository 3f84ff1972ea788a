package cases_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/cases"
	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/store"
)

var t0 = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openStore(t *testing.T) *store.Store {
	t.Helper()
	cfg := store.DefaultConfig()
	cfg.Path = filepath.Join(t.TempDir(), "x.db")
	s, err := store.Open(t.Context(), cfg, obs.Discard())
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func newCases(s cases.Store) (*cases.Cases, *prometheus.Registry) {
	reg := prometheus.NewRegistry()
	return cases.New(cases.DefaultConfig(), cases.Deps{Store: s, Log: obs.Discard(), Registerer: reg}), reg
}

func finding(serial, rule string, revision int, phase fleet.Phase, sev fleet.Severity, opened, at time.Time) fleet.Finding {
	return fleet.Finding{ID: fleet.ID("find", "demo", serial, rule, fmt.Sprint(opened.UnixMilli())), Revision: revision, Phase: phase,
		Device: fleet.DeviceKey{Tenant: "demo", Serial: serial}, Model: "washer-w7", Category: "washing-machine", Rule: rule,
		Version: "h1", Problem: "drain", Kind: fleet.KindFault, Severity: sev, OpenedAt: opened, At: at,
		Received: at.Add(time.Second + 300*time.Microsecond), Live: true, Evidence: []fleet.Evidence{{Name: "drain_s", Value: 55, At: at}}}
}

// outbox returns the topics of all rows of a kind, in order.
func outbox(t *testing.T, s *store.Store, kind fleet.OutboxKind) string {
	t.Helper()
	rows, err := s.LeaseOutbox(t.Context(), kind, t0.AddDate(1, 0, 0), time.Second, 1000)
	must(t, err)
	topics := make([]string, 0, len(rows))
	for _, r := range rows {
		topics = append(topics, r.Topic)
	}
	return strings.Join(topics, " ")
}

func theCase(t *testing.T, s *store.Store, serial string) *fleet.Case {
	t.Helper()
	c, err := s.LatestCase(t.Context(), fleet.DeviceKey{Tenant: "demo", Serial: serial}, "drain")
	must(t, err)
	if c == nil {
		t.Fatalf("no case of %s", serial)
	}
	return c
}

func TestApplyTwiceIsApplyOnce(t *testing.T) {
	s := openStore(t)
	c, reg := newCases(s)
	for range 3 { // with times finer than the store keeps
		opened := t0.Add(1234567 * time.Nanosecond)
		must(t, c.Apply(t.Context(), finding("WM-1", "slow", 0, fleet.Opened, fleet.Due, opened, opened), t0))
		must(t, c.Apply(t.Context(), finding("WM-1", "slow", 1, fleet.Cleared, fleet.Due, opened, opened.Add(time.Minute)), t0.Add(time.Minute)))
	}
	k := theCase(t, s, "WM-1")
	audit, err := s.CaseAudit(t.Context(), "demo", k.ID)
	must(t, err)
	if k.State != fleet.CaseResolved || k.Count != 1 || k.Version != 2 || len(audit) != 2 {
		t.Errorf("%+v with %d lines of history", k, len(audit))
	}
	if got := outbox(t, s, fleet.OutboxMessage); got != "cleared" { // nobody had sent the other one: it was taken back
		t.Errorf("messages %s", got)
	}
	if got := outbox(t, s, fleet.OutboxRecord); got != "opened cleared" {
		t.Errorf("records %s", got)
	}
	expectMetrics(t, reg, "aftercare_case_findings_skipped_total", `aftercare_case_findings_skipped_total{reason="applied_before"} 4`)
	expectMetrics(t, reg, "aftercare_case_changes_total", `aftercare_case_changes_total{action="cleared"} 1
aftercare_case_changes_total{action="opened"} 1`)
	col := prometheus.NewRegistry()
	col.MustRegister(cases.NewCollector(s, obs.Discard()))
	expectMetrics(t, col, "aftercare_cases", `aftercare_cases{kind="fault",state="resolved"} 1`)
}

func expectMetrics(t *testing.T, g prometheus.Gatherer, name, want string) {
	t.Helper()
	families, err := g.Gather()
	must(t, err)
	head := ""
	for _, f := range families {
		if f.GetName() == name {
			head = fmt.Sprintf("# HELP %s %s\n# TYPE %s %s\n", name, f.GetHelp(), name, strings.ToLower(f.GetType().String()))
		}
	}
	if err := testutil.GatherAndCompare(g, strings.NewReader(head+want+"\n"), name); err != nil {
		t.Error(err)
	}
}

// Four processes get the same findings at once: as when a consumer is taken over while its old owner is still at work.
func TestConflictingWritersAgree(t *testing.T) {
	s := openStore(t)
	findings := make([]fleet.Finding, 0, 24)
	for i := range 12 {
		opened := t0.Add(time.Duration(i) * time.Hour)
		findings = append(findings, finding("WM-1", "slow", 0, fleet.Opened, fleet.Due, opened, opened),
			finding("WM-1", "slow", 1, fleet.Cleared, fleet.Due, opened, opened.Add(time.Minute)))
	}
	regs := make([]*prometheus.Registry, 4)
	var wg sync.WaitGroup
	for i := range regs {
		var c *cases.Cases
		c, regs[i] = newCases(s)
		wg.Go(func() {
			for _, f := range findings {
				if err := c.Apply(t.Context(), f, f.At); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all, err := s.Cases(t.Context(), fleet.CaseFilter{Tenant: "demo"})
	must(t, err)
	if len(all) != 1 || all[0].Count != 12 || all[0].Version != 24 || all[0].State != fleet.CaseResolved {
		t.Fatalf("%d cases, %+v", len(all), all[0])
	}
	if got := outbox(t, s, fleet.OutboxMessage); got != "cleared" { // no message left before the end, so all but the all-clear were taken back
		t.Errorf("messages %s", got)
	}
	if got := len(strings.Fields(outbox(t, s, fleet.OutboxRecord))); got != 24 {
		t.Errorf("records %d", got)
	}
}

func TestAgentActions(t *testing.T) {
	s := openStore(t)
	c, _ := newCases(s)
	must(t, c.Apply(t.Context(), finding("WM-1", "slow", 0, fleet.Opened, fleet.Due, t0, t0), t0))
	id := theCase(t, s, "WM-1").ID
	do := func(minutes int, note string) cases.Action {
		return cases.Action{Tenant: "demo", CaseID: id, Actor: "agent:eve", Note: note, At: t0.Add(time.Duration(minutes) * time.Minute)}
	}
	must(t, c.Acknowledge(t.Context(), do(1, "")))
	must(t, c.Acknowledge(t.Context(), do(2, ""))) // once more: nothing
	must(t, c.Comment(t.Context(), do(3, "called the owner")))
	must(t, c.Apply(t.Context(), finding("WM-1", "slow", 1, fleet.Cleared, fleet.Due, t0, t0.Add(4*time.Minute)), t0.Add(4*time.Minute)))
	if k := theCase(t, s, "WM-1"); k.State != fleet.CaseAcked || k.Assignee != "agent:eve" {
		t.Errorf("%+v", k)
	}
	must(t, c.Resolve(t.Context(), do(5, "cleaned the filter"), fleet.OutcomeRepaired))
	wantCode(t, c.Resolve(t.Context(), do(6, ""), fleet.OutcomeRepaired), fleet.CodeConflict)
	wantCode(t, c.Acknowledge(t.Context(), do(6, "")), fleet.CodeConflict)
	must(t, c.Comment(t.Context(), do(7, "late remark")))

	audit, err := s.CaseAudit(t.Context(), "demo", id)
	must(t, err)
	lines := make([]string, 0, len(audit))
	for _, a := range audit {
		lines = append(lines, a.Actor+" "+a.Action+" "+a.Detail)
	}
	want := []string{"rules opened slow, due", "agent:eve acknowledged ", "agent:eve comment called the owner",
		"rules cleared slow is over; the case stays with agent:eve", "agent:eve resolved repaired: cleaned the filter", "agent:eve comment late remark"}
	if strings.Join(lines, "|") != strings.Join(want, "|") {
		t.Errorf("history\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if got := outbox(t, s, fleet.OutboxMessage); got != "cleared" { // it comes with the resolution, which takes the other one back
		t.Errorf("messages %s", got)
	}
	if got := outbox(t, s, fleet.OutboxRecord); got == "" || strings.Count(got, " ") != 5 {
		t.Errorf("records %s", got)
	}
	// The symptom is back: the same case, and the owner is told.
	later := t0.Add(48 * time.Hour)
	must(t, c.Apply(t.Context(), finding("WM-1", "slow", 0, fleet.Opened, fleet.Due, later, later), later))
	if k := theCase(t, s, "WM-1"); k.ID != id || k.State != fleet.CaseReopened || k.Count != 2 || !k.ToldAny {
		t.Errorf("%+v", k)
	}
}

func wantCode(t *testing.T, err error, code fleet.Code) {
	t.Helper()
	if fleet.CodeOf(err) != code {
		t.Errorf("code %q (%v), want %q", fleet.CodeOf(err), err, code)
	}
}

func TestAgentMistakes(t *testing.T) {
	s := openStore(t)
	c, _ := newCases(s)
	must(t, c.Apply(t.Context(), finding("WM-1", "slow", 0, fleet.Opened, fleet.Due, t0, t0), t0))
	id := theCase(t, s, "WM-1").ID
	ok := cases.Action{Tenant: "demo", CaseID: id, Actor: "agent:eve", At: t0}
	rival, nobody, long := ok, ok, ok
	rival.Tenant, nobody.Actor, long.Note = "rival", "", strings.Repeat("x", 5000)
	wantCode(t, c.Acknowledge(t.Context(), rival), fleet.CodeNotFound)
	wantCode(t, c.Acknowledge(t.Context(), nobody), fleet.CodeInvalid)
	wantCode(t, c.Comment(t.Context(), long), fleet.CodeInvalid)
	wantCode(t, c.Comment(t.Context(), ok), fleet.CodeInvalid)
	wantCode(t, c.Resolve(t.Context(), ok, "fixed"), fleet.CodeInvalid)
	wantCode(t, c.Resolve(t.Context(), ok, "cleared"), fleet.CodeInvalid)
	if k := theCase(t, s, "WM-1"); k.Version != 1 {
		t.Errorf("a mistake was written: %+v", k)
	}
}

func TestAgentsWhoActAtOnce(t *testing.T) {
	s := openStore(t)
	c, _ := newCases(s)
	must(t, c.Apply(t.Context(), finding("WM-1", "slow", 0, fleet.Opened, fleet.Due, t0, t0), t0))
	id := theCase(t, s, "WM-1").ID
	var resolved atomic.Int32
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			a := cases.Action{Tenant: "demo", CaseID: id, Actor: fmt.Sprint("agent:", i), Note: "hello", At: t0}
			if err := c.Comment(t.Context(), a); err != nil {
				t.Error(err)
			}
			switch err := c.Resolve(t.Context(), a, fleet.OutcomeRepaired); fleet.CodeOf(err) {
			case "":
				resolved.Add(1)
			case fleet.CodeConflict:
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	audit, err := s.CaseAudit(t.Context(), "demo", id)
	must(t, err)
	if resolved.Load() != 1 || len(audit) != 1+6+1 {
		t.Errorf("resolved %d times, %d lines of history", resolved.Load(), len(audit))
	}
}

// away is the real store, unreachable for the first few commits.
type away struct {
	*store.Store
	failures atomic.Int32
}

func (a *away) Commit(ctx context.Context, ch ...fleet.Change) error {
	if a.failures.Add(-1) >= 0 {
		return errors.New("disk full")
	}
	return a.Store.Commit(ctx, ch...)
}

// list is a source with one batch.
type list struct {
	findings  []fleet.Finding
	committed chan struct{}
	given     bool
}

func (l *list) Next(ctx context.Context) ([]fleet.Finding, func(context.Context) error, error) {
	if l.given {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	l.given = true
	return l.findings, func(context.Context) error { close(l.committed); return nil }, nil
}

func TestRunTriesAgainAndLeavesOutWhatIsUnusable(t *testing.T) {
	s := openStore(t)
	broken := &away{Store: s}
	broken.failures.Store(8)
	c, reg := newCases(broken)
	unusable := finding("WM-2", "slow", 0, fleet.Opened, fleet.Due, t0, t0)
	unusable.Problem = ""
	src := &list{findings: []fleet.Finding{unusable, finding("WM-1", "slow", 0, fleet.Opened, fleet.Due, t0, t0)}}
	synctest.Test(t, func(t *testing.T) {
		src.committed = make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx, src) }()
		<-src.committed
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if k := theCase(t, s, "WM-1"); k.State != fleet.CaseNew {
		t.Errorf("%+v", k)
	}
	expectMetrics(t, reg, "aftercare_case_retries_total", "aftercare_case_retries_total 8")
	expectMetrics(t, reg, "aftercare_case_findings_skipped_total", `aftercare_case_findings_skipped_total{reason="invalid"} 1`)
}

func TestRunReturnsWhatItsSourceCannotMend(t *testing.T) {
	c, _ := newCases(openStore(t))
	if err := c.Run(t.Context(), failing{}); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Next(context.Context) ([]fleet.Finding, func(context.Context) error, error) {
	return nil, nil, errors.New("gone")
}

func BenchmarkApply(b *testing.B) {
	cfg := store.DefaultConfig()
	cfg.Path = filepath.Join(b.TempDir(), "x.db")
	s, err := store.Open(b.Context(), cfg, obs.Discard())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	c, _ := newCases(s)
	for i := 0; b.Loop(); i++ {
		if err := c.Apply(b.Context(), finding(fmt.Sprint("WM-", i), "slow", 0, fleet.Opened, fleet.Due, t0, t0), t0); err != nil {
			b.Fatal(err)
		}
	}
}
