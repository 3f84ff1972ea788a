package app

import (
	"context"
	"testing"
	"time"

	"aftercare/internal/fleet"
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
