package engine

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/journal"
	"aftercare/internal/wire"
)

// stored is a real journal as the engine sees it.
type stored struct{ *journal.Journal }

func openJournal(t testing.TB) stored {
	t.Helper()
	c := journal.DefaultConfig()
	c.Dir, c.Partitions, c.MinFree = t.TempDir(), 2, 0
	j, err := journal.Open(t.Context(), c, discard(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return stored{j}
}

func (s stored) OpenReadings(ctx context.Context, partition int, from uint64) (wire.Source, error) {
	return s.Open(ctx, wire.Readings, partition, "", from)
}

func (s stored) First(ctx context.Context) (uint64, time.Time, error) {
	return s.Journal.First(ctx, wire.Readings)
}

func (s stored) Emit(ctx context.Context, partition int, fs []fleet.Finding) error {
	var recs []wire.Record
	for _, f := range fs {
		r, err := wire.EncodeFinding(partition, f)
		if err != nil {
			return err
		}
		recs = append(recs, r)
	}
	return s.Append(ctx, recs)
}

func (s stored) Count(ctx context.Context, partition int, at time.Time, lines []byte) error {
	return s.Append(ctx, []wire.Record{{Stream: wire.Findings, Partition: partition, Kind: wire.KindCounters, Received: at, Body: lines}})
}

func (s stored) Load(ctx context.Context, key string) ([]byte, uint64, error) {
	return s.LoadSnapshotRevision(ctx, key)
}

func (s stored) Save(ctx context.Context, key string, body []byte) error {
	return s.SaveSnapshot(ctx, key, body)
}

func (s stored) Swap(ctx context.Context, key string, body []byte, revision uint64) (uint64, error) {
	return s.SwapSnapshot(ctx, key, body, revision)
}

func (s stored) Keys(ctx context.Context, prefix string) ([]string, error) {
	return s.SnapshotKeys(ctx, prefix)
}

func (s stored) Delete(ctx context.Context, key string) error { return s.DeleteSnapshot(ctx, key) }

// sends appends records to the readings stream as memory has them.
func (s stored) sends(t testing.TB, recs []wire.Record) {
	t.Helper()
	for _, r := range recs {
		r.Stream = wire.Readings
		if err := s.Append(t.Context(), []wire.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
}

// findings is what the findings stream holds, by id and revision.
func (s stored) findings(t testing.TB) []string {
	t.Helper()
	recs, err := s.Tail(t.Context(), wire.Findings, 1000)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, 0, len(recs))
	for _, r := range recs {
		if r.Kind == wire.KindCounters {
			continue
		}
		f, err := wire.DecodeFinding(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %s %s#%d %s %v", f.Rule, f.Device, f.ID, f.Revision, f.Phase, f.Live))
	}
	slices.Sort(out)
	return out
}

// until waits for what another goroutine brings about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// TestTwoEnginesOnOneJournal: the one that works the partitions stands still before a manifest, the other takes over and ends in
// an orderly way; then the first goes on. Real JetStream, real time.
func TestTwoEnginesOnOneJournal(t *testing.T) {
	set := lifeRules(t)
	m := newMemory()
	for n := range int64(90) {
		m.send(fmt.Sprintf("D%03d%d", n%7, n%2), n, time.Duration(n)*time.Minute, float64(30+n*13%60))
	}
	clean := func() (hash string, findings []string) {
		j := openJournal(t)
		j.sends(t, m.records)
		p := (&process{log: j, found: j, store: j}).start(DefaultConfig(), set, true)
		until(t, "all stepped", func() bool { return p.engine.Stats()[0].Stepped+p.engine.Stats()[1].Stepped == 90+89 })
		p.stop(t)
		return p.hash(), j.findings(t)
	}
	hash, want := clean()
	if len(want) < 10 {
		t.Fatalf("findings %v", want)
	}

	j := openJournal(t)
	cfg := DefaultConfig()
	cfg.OwnerTerm, cfg.SnapshotEvery, cfg.StopTimeout = time.Second, time.Second, 5*time.Second
	a := (&process{log: j, found: j, store: j}).start(cfg, set, false)
	j.sends(t, m.records[:40])
	until(t, "saved by the first", func() bool { return a.engine.Position(0) > 0 || a.engine.Stats()[0].Saved > 0 })
	a.mu.Lock()
	a.stood = true
	a.mu.Unlock()
	b := (&process{log: j, found: j, store: j}).start(cfg, set, false)
	j.sends(t, m.records[40:70])
	until(t, "taken over", func() bool { return b.engine.Stats()[0].Stepped+b.engine.Stats()[1].Stepped == 70+69 })
	close(a.going)
	until(t, "noticed", func() bool { return a.engine.Stats()[0].Devices+a.engine.Stats()[1].Devices == 0 })
	b.stop(t)
	j.sends(t, m.records[70:])
	until(t, "given back", func() bool { return a.engine.Stats()[0].Stepped+a.engine.Stats()[1].Stepped == 90+89 })
	a.stop(t)
	if got := a.hash(); got != hash {
		t.Errorf("state %s, want %s", got, hash)
	}
	if got := j.findings(t); !slices.Equal(got, want) {
		t.Errorf("findings\n%v, want\n%v", got, want)
	}
	keys, err := j.Keys(t.Context(), "rules.p0.")
	if err != nil || len(keys) == 0 || len(keys) > 12 {
		t.Errorf("%v, keys %v", err, keys)
	}
}
