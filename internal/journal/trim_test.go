package journal

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/wire"
)

func trim(t *testing.T, j *Journal, now time.Time, want uint64) {
	t.Helper()
	got, err := j.Trim(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("purged %d records, want %d", got, want)
	}
}

func TestTrimByAgeNeverPastReaders(t *testing.T) {
	cfg := testConfig(t)
	j := open(t, cfg)
	later := time.Now().Add(cfg.Keep + time.Hour)
	trim(t, j, later, 0)
	appendAll(t, j, reading(0, "1"), reading(1, "2"), reading(0, "3"), reading(1, "4"), reading(0, "5"))
	trim(t, j, time.Now(), 0)

	slow, fast := openSource(t, j, 0, "slow", 0), openSource(t, j, 1, "fast", 0)
	r := fetch(t, fast, 2)
	commit(t, fast, r[1].Seq)
	trim(t, j, later, 0) // slow has committed nothing
	r = fetch(t, slow, 3)
	commit(t, slow, r[1].Seq)
	trim(t, j, later, 3) // the sequence slow has committed
	commit(t, slow, r[2].Seq)
	j.Protect(func() map[int]uint64 { return map[int]uint64{0: 4, 1: 100} })
	trim(t, j, later, 1) // what Protect says
	j.Protect(nil)
	appendAll(t, j, reading(1, "6"))
	trim(t, j, later, 0) // fast has committed 4 and not read 6
	commit(t, fast, fetch(t, fast, 1)[0].Seq)
	appendAll(t, j, reading(1, "7"))
	trim(t, j, later, 2) // slow, whose partition is idle and behind fast's, holds nothing back
	expect(t, "left", bodies(fetch(t, openSource(t, j, -1, "", 0), 1)), "7")
}

func TestTrimKeepsTheYoung(t *testing.T) {
	cfg := testConfig(t)
	j := open(t, cfg)
	appendAll(t, j, reading(0, "old"), reading(0, "old"))
	s, err := j.stream(t.Context(), "readings")
	if err != nil {
		t.Fatal(err)
	}
	border := s.CachedInfo().State.LastTime.Add(time.Nanosecond)
	appendAll(t, j, reading(0, "young"), reading(0, "young"))
	trim(t, j, border.Add(cfg.Keep), 2)
}

// TestTrimFindings: they go as readings do, but nobody's absence lets them go.
func TestTrimFindings(t *testing.T) {
	for _, stream := range []wire.Stream{wire.Findings, wire.Changes} {
		cfg := testConfig(t)
		j := open(t, cfg)
		later := time.Now().Add(cfg.Keep + time.Hour)
		for range 3 {
			appendAll(t, j, wire.Record{Stream: stream, Kind: wire.KindFinding, Received: time.Now(), Body: []byte("{}")})
		}
		trim(t, j, later, 0) // nobody reads them yet
		s, err := j.Open(t.Context(), stream, -1, "cases", 0)
		if err != nil {
			t.Fatal(err)
		}
		trim(t, j, later, 0)
		commit(t, s, fetch(t, s, 3)[1].Seq)
		j.Protect(func() map[int]uint64 { return map[int]uint64{0: 0} }) // is about readings
		trim(t, j, time.Now(), 0)
		trim(t, j, later, 2)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTrimBySize(t *testing.T) {
	cfg := testConfig(t)
	cfg.TrimBytes = 500_000
	j := open(t, cfg)
	body := string(make([]byte, 100_000))
	for range 10 {
		appendAll(t, j, reading(0, body))
	}
	trim(t, j, time.Now(), 6)
	s, err := j.stream(t.Context(), "readings")
	if err != nil {
		t.Fatal(err)
	}
	if b := s.CachedInfo().State.Bytes; b > 500_000 {
		t.Fatalf("%d bytes left", b)
	}
}

func TestLagAndSize(t *testing.T) {
	j := open(t, testConfig(t))
	appendAll(t, j, reading(0, "1"), reading(0, "2"), reading(0, "3"))
	s := openSource(t, j, 0, "history", 0)
	check := func(want float64) {
		t.Helper()
		if err := j.measure(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := testutil.ToFloat64(j.metrics.lag.WithLabelValues("readings", "history-p0")); got != want {
			t.Fatalf("lag %v, want %v", got, want)
		}
	}
	check(3)
	r := fetch(t, s, 3)
	check(3) // given out is not done
	commit(t, s, r[1].Seq)
	check(1)
	if testutil.ToFloat64(j.metrics.size.WithLabelValues("readings")) == 0 {
		t.Fatal("no size")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	j := open(t, testConfig(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := j.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
