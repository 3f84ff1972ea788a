package outreach_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/outreach"
)

// TestSecretsStayInTheRegistry looks for the signing secret and the addresses' paths wherever else they could end up.
func TestSecretsStayInTheRegistry(t *testing.T) {
	hook, phone := receive(t, status(500), status(400)), receive(t, status(301))
	b := newBench(t, map[string]*receiver{"webhook": hook, "ntfy": phone})
	var log strings.Builder
	b.deps.Log, b.deps.Registerer = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), prometheus.NewRegistry()
	o := outreach.New(outreach.DefaultConfig(), b.deps)
	b.change(t, fleet.CaseNew, "opened", noon)
	must(t, o.Pass(t.Context(), noon))
	must(t, o.Pass(t.Context(), noon.Add(time.Second)))
	rows, err := b.store.LeaseOutbox(t.Context(), fleet.OutboxMessage, noon.Add(time.Minute), time.Second, 10)
	must(t, err)
	must(t, o.Pass(t.Context(), noon.Add(time.Hour)))
	records, err := b.store.LeaseOutbox(t.Context(), fleet.OutboxRecord, noon.Add(2*time.Hour), time.Second, 10)
	must(t, err)
	dead, err := b.store.DeadLetters(t.Context(), "demo", 10)
	must(t, err)
	same(t, []int{len(rows), len(records), len(dead)}, []int{1, 3, 2})
	all := log.String() + strings.Join(b.fates(t), "\n")
	for _, r := range slices.Concat(rows, records, dead) {
		all += r.LastErr
		if r.Kind == fleet.OutboxRecord {
			all += string(r.Body)
		} else if strings.Contains(string(r.Body), secret) {
			t.Errorf("row %s holds the signing secret", r.ID)
		}
	}
	for _, canary := range []string{secret, "/x"} {
		if strings.Contains(all, canary) {
			t.Errorf("%q got out: %s", canary, all)
		}
	}
}

func TestMetrics(t *testing.T) {
	b := newBench(t, map[string]*receiver{"webhook": receive(t, status(500), status(200))})
	reg := prometheus.NewRegistry()
	b.deps.Registerer = reg
	o := outreach.New(outreach.DefaultConfig(), b.deps)
	b.change(t, fleet.CaseNew, "opened", noon)
	must(t, o.Pass(t.Context(), noon))
	must(t, o.Pass(t.Context(), noon.Add(time.Minute)))
	families, err := reg.Gather()
	must(t, err)
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue()
			if h := m.GetHistogram(); h != nil {
				got[name] = float64(h.GetSampleCount())
				if m.GetLabel()[0].GetValue() == "inbox" && (h.GetSampleSum() < 1 || h.GetSampleSum() > 3) {
					t.Errorf("the inbox message took %v s, want a little more than 1", h.GetSampleSum())
				}
			}
		}
	}
	same(t, got, map[string]float64{"aftercare_outreach_messages_total inbox sent maintenance": 1, "aftercare_outreach_messages_total webhook retried maintenance": 1,
		"aftercare_outreach_messages_total webhook sent maintenance": 1, "aftercare_telemetry_to_message_seconds inbox": 1, "aftercare_telemetry_to_message_seconds webhook": 1,
		"aftercare_outreach_errors_total": 0, "aftercare_outreach_budget_holds_total": 0, "aftercare_outreach_circuits_open": 0, "aftercare_message_fallbacks_total": 3})
}

// stream is a changes stream that fails when told to.
type stream struct {
	fail bool
	got  []fleet.Notice
}

func (s *stream) Append(_ context.Context, ns []fleet.Notice) error {
	if s.fail {
		return errors.New("journal is full")
	}
	s.got = append(s.got, ns...)
	return nil
}

func TestRelay(t *testing.T) {
	b := newBench(t, nil)
	b.change(t, fleet.CaseNew, "opened", noon)
	must(t, b.o.Pass(t.Context(), noon))
	must(t, b.store.AddOutbox(t.Context(), []fleet.OutboxRow{{ID: "rec-bad", Kind: fleet.OutboxRecord, Tenant: "demo", CaseID: "case-1", Body: []byte("{"), DueAt: noon}}))
	s := &stream{fail: true}
	r := outreach.NewRelay(b.store, s, time.Second, obs.Discard())
	if err := r.Pass(t.Context(), noon); err == nil {
		t.Fatal("want the journal's error")
	}
	s.fail = false
	must(t, r.Pass(t.Context(), noon.Add(time.Minute)))
	must(t, r.Pass(t.Context(), noon.Add(time.Hour)))
	if len(s.got) != 1 {
		t.Fatalf("%d notices, want 1", len(s.got))
	}
	n := s.got[0]
	same(t, []string{n.Type, n.Action, n.Channel, n.PersonID, n.CaseID, n.Device.Serial, n.Detail}, []string{"message", "sent", "inbox", "anna", "case-1", "WM-1", "opened"})
	dead, err := b.store.DeadLetters(t.Context(), "demo", 10)
	must(t, err)
	if len(dead) != 1 || dead[0].ID != "rec-bad" {
		t.Errorf("dead letters %+v", dead)
	}
}
