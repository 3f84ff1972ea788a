package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

func testConfig(t testing.TB) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Dir = t.TempDir()
	return cfg
}

func open(t testing.TB, cfg Config) *Journal {
	t.Helper()
	j, err := Open(t.Context(), cfg, obs.Discard(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(t, j) })
	return j
}

func closeNow(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func reading(partition int, body string) wire.Record {
	return wire.Record{Stream: wire.Readings, Partition: partition, Kind: wire.KindReadings, Received: time.Unix(1700000000, 123), Body: []byte(body)}
}

func appendAll(t testing.TB, j *Journal, records ...wire.Record) {
	t.Helper()
	if err := j.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

func openSource(t testing.TB, j *Journal, partition int, durable string, from uint64) wire.Source {
	t.Helper()
	s, err := j.Open(t.Context(), wire.Readings, partition, durable, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// fetch reads until it has n records.
func fetch(t testing.TB, s wire.Source, n int) []wire.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out []wire.Record
	for len(out) < n {
		r, err := s.Fetch(ctx, n-len(out))
		if err != nil {
			t.Fatalf("after %d of %d records: %v", len(out), n, err)
		}
		out = append(out, r...)
	}
	return out
}

func bodies(records []wire.Record) string {
	b := make([]string, 0, len(records))
	for _, r := range records {
		b = append(b, string(r.Body))
	}
	return strings.Join(b, " ")
}

func expect(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

func commit(t testing.TB, s wire.Source, seq uint64) {
	t.Helper()
	if err := s.Commit(t.Context(), seq); err != nil {
		t.Fatal(err)
	}
}

// REL-03: nothing but sync always opens under strict durability.
func TestStrictRefusesLazySync(t *testing.T) {
	cfg := testConfig(t)
	cfg.Sync = syncInterval
	_, err := Open(t.Context(), cfg, obs.Discard(), prometheus.NewRegistry())
	if err == nil || !strings.Contains(err.Error(), `journal.sync "interval"`) {
		t.Fatalf("got %v, want a refusal that names field and value", err)
	}
	cfg.Durability = durabilityRelaxed
	j := open(t, cfg)
	appendAll(t, j, reading(0, "a"))
}

func TestConfigNamesTheField(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"journal.dir":              func(c *Config) { c.Dir = "" },
		"journal.sync":             func(c *Config) { c.Sync = "sometimes" },
		"journal.durability":       func(c *Config) { c.Durability = "" },
		"journal.partitions":       func(c *Config) { c.Partitions = 0 },
		"journal.replicas":         func(c *Config) { c.Replicas = 3 },
		"journal.findings_bytes":   func(c *Config) { c.FindingsBytes = 1 },
		"journal.quarantine_bytes": func(c *Config) { c.QuarantineBytes = -1 },
		"journal.trim_bytes":       func(c *Config) { c.TrimBytes = c.ReadingsBytes + 1 },
		"journal.keep":             func(c *Config) { c.Keep = 0 },
		"journal.trim_every":       func(c *Config) { c.TrimEvery = 0 },
		"journal.ack_timeout":      func(c *Config) { c.AckTimeout = 0 },
		"journal.min_free":         func(c *Config) { c.MinFree = 5 },
	} {
		cfg := DefaultConfig()
		cfg.Dir = "x"
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	j := open(t, testConfig(t))
	in := wire.Record{Stream: wire.Findings, Partition: 3, Kind: wire.KindFinding, Received: time.Unix(1700000000, 123456789), ID: "find-1.2", Body: []byte("{}")}
	appendAll(t, j, in, reading(2, "a"))
	s, err := j.Open(t.Context(), wire.Findings, -1, "cases", 0)
	if err != nil {
		t.Fatal(err)
	}
	got := fetch(t, s, 1)[0]
	in.Seq = 1
	if !got.Received.Equal(in.Received) {
		t.Fatalf("received %v, want %v", got.Received, in.Received)
	}
	got.Received = in.Received
	expect(t, "record", fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", in))
}

// A tick has no body.
func TestEmptyBody(t *testing.T) {
	j := open(t, testConfig(t))
	appendAll(t, j, wire.Record{Stream: wire.Readings, Kind: wire.KindTick, Received: time.Unix(1, 0)})
	if r := fetch(t, openSource(t, j, 0, "", 0), 1)[0]; r.Kind != wire.KindTick || len(r.Body) != 0 {
		t.Fatalf("got %+v", r)
	}
}

// REL-09, the journal's part: the position is kept, and what is not committed comes again.
func TestPositionSurvivesReopen(t *testing.T) {
	cfg := testConfig(t)
	j := open(t, cfg)
	appendAll(t, j, reading(0, "a"), reading(0, "b"), reading(1, "x"), reading(0, "c"), reading(0, "d"))
	s := openSource(t, j, 0, "history", 0)
	got := fetch(t, s, 4)
	expect(t, "first", bodies(got), "a b c d")
	commit(t, s, got[1].Seq)
	commit(t, s, got[0].Seq) // behind: no effect
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, "opened again", bodies(fetch(t, openSource(t, j, 0, "history", 0), 2)), "c d")
	closeNow(t, j)

	j = open(t, cfg)
	s = openSource(t, j, 0, "history", 0)
	expect(t, "after a restart", bodies(fetch(t, s, 2)), "c d")
	appendAll(t, j, reading(0, "e"))
	expect(t, "new", bodies(fetch(t, s, 1)), "e")
	expect(t, "other partition", bodies(fetch(t, openSource(t, j, 1, "history", 0), 1)), "x")
	expect(t, "all, without memory", bodies(fetch(t, openSource(t, j, -1, "", 2), 5)), "b x c d e")
}

func TestPositionSetByCaller(t *testing.T) {
	j := open(t, testConfig(t))
	appendAll(t, j, reading(0, "a"), reading(0, "b"), reading(0, "c"))
	s := openSource(t, j, 0, "rules", 3)
	expect(t, "forward", bodies(fetch(t, s, 1)), "c")
	_ = s.Close()
	s = openSource(t, j, 0, "rules", 2)
	expect(t, "back", bodies(fetch(t, s, 2)), "b c")
	if err := s.Commit(t.Context(), 4); err == nil {
		t.Fatal("committed what was never given out")
	}
	commit(t, s, 3)
	_ = s.Close()
	appendAll(t, j, reading(0, "d"))
	expect(t, "kept", bodies(fetch(t, openSource(t, j, 0, "rules", 0), 1)), "d")
}

// A Fetch that ends with its context must not lose the record that comes right afterwards.
func TestFetchContextEndsLosesNothing(t *testing.T) {
	j := open(t, testConfig(t))
	s := openSource(t, j, 0, "engine", 0)
	for i := range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := s.Fetch(ctx, 10)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		appendAll(t, j, reading(0, fmt.Sprint(i)))
		expect(t, "record", bodies(fetch(t, s, 1)), fmt.Sprint(i))
	}
}

// REL-08, the journal's part: a second record of one ID is acknowledged and not stored, also after a restart.
func TestDuplicateID(t *testing.T) {
	cfg := testConfig(t)
	j := open(t, cfg)
	r := reading(0, "a")
	r.ID = "find-1.1"
	appendAll(t, j, r, r)
	closeNow(t, j)
	j = open(t, cfg)
	appendAll(t, j, r, reading(0, "b"))
	expect(t, "records", bodies(fetch(t, openSource(t, j, -1, "", 0), 2)), "a b")
	if n := testutil.ToFloat64(j.metrics.duplicates.WithLabelValues("readings")); n != 1 {
		t.Fatalf("%v duplicates counted, want 1", n)
	}
}

func TestPartitionCountIsFixed(t *testing.T) {
	cfg := testConfig(t)
	closeNow(t, open(t, cfg))
	cfg.Partitions, cfg.ReadingsBytes = 32, cfg.ReadingsBytes/2
	cfg.TrimBytes = cfg.ReadingsBytes
	j := open(t, cfg)
	if j.Partitions() != 4 {
		t.Fatalf("%d partitions, want the 4 the streams were made with", j.Partitions())
	}
	s, err := j.stream(t.Context(), wire.Readings)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().Config.MaxBytes; got != cfg.ReadingsBytes {
		t.Fatalf("limit %d, want %d", got, cfg.ReadingsBytes)
	}
	if err := j.Append(t.Context(), []wire.Record{reading(4, "a")}); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Fatalf("partition 4 of 4: %v", err)
	}
}

// The hash must never change: a device's records would be split over two partitions.
func TestPartitionOf(t *testing.T) {
	j := &Journal{partitions: 4}
	got := make([]int, 0, 4)
	for _, s := range []string{"WM-0001", "WM-0002", "RM-0001", "CAR-77"} {
		got = append(got, j.PartitionOf(fleet.DeviceKey{Tenant: "demo", Serial: s}))
	}
	expect(t, "partitions", fmt.Sprint(got), "[2 3 1 1]")
}

// Whatever is appended in whatever cycles, each partition is read in order and complete.
func TestOrderPerPartition(t *testing.T) {
	j := open(t, testConfig(t))
	n, read := 0, 0
	s := openSource(t, j, -1, "order", 0)
	next := map[int]int{}
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(1, 3).Draw(rt, "cycles") {
			partitions := rapid.SliceOfN(rapid.IntRange(0, 3), 1, 12).Draw(rt, "partitions")
			cycle := make([]wire.Record, 0, len(partitions))
			for _, p := range partitions {
				cycle = append(cycle, reading(p, fmt.Sprint(n)))
				n++
			}
			appendAll(t, j, cycle...)
		}
		for read < n {
			records := fetch(t, s, 1)
			for _, r := range records {
				expect(t, "body", string(r.Body), fmt.Sprint(read))
				if int(r.Seq) <= next[r.Partition] {
					rt.Fatalf("sequence %d after %d", r.Seq, next[r.Partition])
				}
				next[r.Partition] = int(r.Seq)
				read++
			}
			if rapid.Bool().Draw(rt, "commit") {
				commit(t, s, records[len(records)-1].Seq)
			}
		}
	})
}

func TestTailAndGet(t *testing.T) {
	j := open(t, testConfig(t))
	for i := range 5 {
		appendAll(t, j, wire.Record{Stream: wire.Quarantine, Kind: wire.KindQuarantine, Body: []byte(fmt.Sprint(i))})
	}
	tail, err := j.Tail(t.Context(), wire.Quarantine, 3)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "tail", bodies(tail), "4 3 2")
	all, err := j.Tail(t.Context(), wire.Quarantine, 100)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "all", bodies(all), "4 3 2 1 0")
	none, err := j.Tail(t.Context(), wire.Changes, 3)
	if err != nil || len(none) != 0 {
		t.Fatalf("got %v, %v from an empty stream", none, err)
	}
	r, err := j.Get(t.Context(), wire.Quarantine, 2)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "get", string(r.Body), "1")
	if _, err := j.Get(t.Context(), wire.Quarantine, 99); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Fatalf("missing: %v", err)
	}
}

func TestClosedJournal(t *testing.T) {
	j := open(t, testConfig(t))
	s := openSource(t, j, 0, "history", 0)
	closeNow(t, j)
	if err := j.Append(t.Context(), []wire.Record{reading(0, "a")}); !errors.Is(err, ErrClosed) {
		t.Fatalf("append: %v", err)
	}
	if _, err := s.Fetch(t.Context(), 1); !errors.Is(err, ErrClosed) {
		t.Fatalf("fetch: %v", err)
	}
	if err := j.Check(t.Context()); err == nil {
		t.Fatal("a closed journal is healthy")
	}
	closeNow(t, j) // a second time does nothing
}
