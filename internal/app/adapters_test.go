package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/journal"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

// listed is a source of the records in it.
type listed struct {
	records   []wire.Record
	committed uint64
}

func (l *listed) Fetch(context.Context, int) ([]wire.Record, error) { return l.records, nil }
func (l *listed) Commit(_ context.Context, seq uint64) error        { l.committed = seq; return nil }
func (l *listed) Close() error                                      { return nil }

// TestFoundPassesOverWhatIsNoFinding: counters lie in the same stream, for history.
func TestFoundPassesOverWhatIsNoFinding(t *testing.T) {
	f, err := wire.EncodeFinding(0, fleet.Finding{ID: "find-1", Received: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	f.Seq = 2
	l := &listed{records: []wire.Record{
		{Stream: wire.Findings, Seq: 1, Kind: wire.KindCounters, Body: []byte("counter,serial=a x=1 1\n")}, f,
		{Stream: wire.Findings, Seq: 3, Kind: wire.KindFinding, Body: []byte("{broken")},
		{Stream: wire.Findings, Seq: 4, Kind: wire.KindCounters, Body: []byte("counter,serial=a x=1 1\n")},
	}}
	lines := &logLines{}
	got, done, err := found{l, obs.Logger(obs.DefaultConfig(), lines)}.Next(t.Context())
	if err != nil || len(got) != 1 || got[0].ID != "find-1" || lines.n != 1 {
		t.Fatalf("%v, %v, %d lines logged", got, err, lines.n)
	}
	if err := done(t.Context()); err != nil || l.committed != 4 {
		t.Errorf("committed %d: %v", l.committed, err)
	}
}

type logLines struct{ n int }

func (l *logLines) Write(b []byte) (int, error) { l.n++; return len(b), nil }

// TestSummaryGoesToEveryPartition: once, however often it is handed over.
func TestSummaryGoesToEveryPartition(t *testing.T) {
	c := journal.DefaultConfig()
	c.Dir, c.Partitions, c.MinFree = t.TempDir(), 3, 0
	j, err := journal.Open(t.Context(), c, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	at := time.UnixMilli(1_700_000_000_000).UTC()
	for range 2 {
		if err := (readings{j}).Summarise(t.Context(), fleet.Summary{At: at}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := j.Tail(t.Context(), wire.Readings, 10)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d records, %v", len(got), err)
	}
	for _, r := range got {
		if uint64(r.Partition)+1 != r.Seq || r.Kind != wire.KindSummary || !r.Received.Equal(at) {
			t.Errorf("%+v", r)
		}
		if sum, err := wire.DecodeSummary(r.Body); err != nil || !sum.At.Equal(at) {
			t.Errorf("%+v, %v", sum, err)
		}
	}
}

// TestReplayKnowsPeers: on simulated time a device is compared with the others once an interval is over.
func TestReplayKnowsPeers(t *testing.T) {
	const texts = `{en: &t {what: w, why: y, otherwise: o, do: d, clear: c}, de: *t}`
	dir := t.TempDir()
	pack := "pack: washing-machine\napplies: {category: washing-machine}\nrules:\n" +
		"  - {id: unlike, kind: fault, severity: due, when: peers(drain_s) > 0.95, text: " + texts + "}\n"
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(pack), 0o600); err != nil {
		t.Fatal(err)
	}
	list, lines := written(16, 1)
	report, findings, _, err := replayedWith(t, func(c *config.Config) { c.Rules.Dir = dir }, list, lines)
	if err != nil || report.Messages == 0 {
		t.Fatal(report, err)
	}
	first, _, _ := strings.Cut(findings, "\n")
	var f fleet.Finding
	if err := json.Unmarshal([]byte(first), &f); err != nil {
		t.Fatal(err)
	}
	if at := f.At.Sub(replayStart); f.Rule != "unlike" || at < 15*time.Minute || at > 45*time.Minute {
		t.Errorf("first finding: %s", first)
	}
}

// TestFindingThatCannotBeWritten: those beside it are told all the same.
func TestFindingThatCannotBeWritten(t *testing.T) {
	var got []wire.Record
	lines := &logLines{}
	to := findings{func(_ context.Context, records []wire.Record) error { got = records; return nil }, obs.Logger(obs.DefaultConfig(), lines)}
	odd := fleet.Finding{ID: "find-1", Evidence: []fleet.Evidence{{Value: math.NaN()}}}
	if err := to.Emit(t.Context(), 3, []fleet.Finding{odd, {ID: "find-2"}}); err != nil || len(got) != 1 || got[0].ID != "find-2.0" || got[0].Partition != 3 || lines.n != 1 {
		t.Errorf("%v, %+v, %d lines logged", err, got, lines.n)
	}
}
