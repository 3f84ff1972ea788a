package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

var t0 = time.UnixMilli(1_700_000_000_000).UTC()

// memory is the journal, the findings stream and the snapshots of a test, all in memory.
type memory struct {
	mu      sync.Mutex
	records []wire.Record
	trimmed int           // so many of the first are gone
	more    chan struct{} // closed and replaced when a record is appended
	opened  []uint64      // the sequences sources were opened from
	opens   int
	sources []*source
	closed  int
	found   []fleet.Finding
	counted []string
	kept    map[string][]byte
	revs    map[string]uint64
	rev     uint64   // the last one given
	saves   []string // keys of chunks and manifests, in order

	failFetch, failEmit, failSave, failLoad int // so many calls fail
}

func newMemory() *memory {
	return &memory{more: make(chan struct{}), kept: map[string][]byte{}, revs: map[string]uint64{}}
}

var errAway = errors.New("away")

func (m *memory) fails(n *int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if *n > 0 {
		*n--
		return true
	}
	return false
}

func (m *memory) append(rec wire.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec.Seq = uint64(len(m.records) + 1)
	m.records = append(m.records, rec)
	close(m.more)
	m.more = make(chan struct{})
}

// cut loses the records behind the first n, as a damaged stream does: the sequences are given out again, and the sources
// that are open follow.
func (m *memory) cut(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = m.records[:n:n]
	for _, s := range m.sources {
		s.at = min(s.at, uint64(n)+1)
	}
}

// send appends one reading of a device: partition is the last digit of the serial modulo 2.
func (m *memory) send(serial string, seq int64, after time.Duration, drain float64) {
	at := t0.Add(after)
	r := fleet.Reading{
		Device: fleet.DeviceKey{Tenant: "demo", Serial: serial}, Model: "washer-w7", Time: at, Boot: 1, Seq: seq, HasSeq: true,
		Fields: []fleet.Field{{Name: "drain_s", Value: fleet.Value{Float: drain}}},
	}
	m.append(wire.Record{
		Kind: wire.KindReadings, Partition: int(serial[len(serial)-1]) % 2, Received: at, Body: wire.AppendReading(nil, &r),
	})
}

func (m *memory) OpenReadings(_ context.Context, partition int, from uint64) (wire.Source, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opens++
	if partition == 0 {
		m.opened = append(m.opened, from)
	}
	s := &source{m: m, partition: partition, at: min(from, uint64(len(m.records))+1)}
	m.sources = append(m.sources, s)
	return s, nil
}

func (m *memory) First(context.Context) (uint64, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.trimmed == len(m.records) {
		return uint64(m.trimmed) + 1, time.Time{}, nil
	}
	return uint64(m.trimmed) + 1, m.records[m.trimmed].Received, nil
}

func (m *memory) Emit(_ context.Context, _ int, fs []fleet.Finding) error {
	if m.fails(&m.failEmit) {
		return errAway
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.found = append(m.found, fs...)
	return nil
}

func (m *memory) Summarise(_ context.Context, sum fleet.Summary) error {
	if m.fails(&m.failEmit) {
		return errAway
	}
	recs, err := wire.EncodeSummary(2, sum)
	if err != nil {
		return err
	}
	for _, rec := range recs {
		m.append(rec)
	}
	return nil
}

func (m *memory) Save(_ context.Context, key string, body []byte) error {
	if m.fails(&m.failSave) {
		return errAway
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, body)
	return nil
}

func (m *memory) Count(_ context.Context, _ int, _ time.Time, lines []byte) error {
	if m.fails(&m.failEmit) {
		return errAway
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counted = append(m.counted, string(lines))
	return nil
}

func (m *memory) put(key string, body []byte) {
	m.rev++
	m.kept[key], m.revs[key] = slices.Clone(body), m.rev
	if !strings.HasSuffix(key, "owner") {
		m.saves = append(m.saves, key)
	}
}

func (m *memory) Swap(_ context.Context, key string, body []byte, revision uint64) (uint64, error) {
	if m.fails(&m.failSave) {
		return 0, errAway
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.revs[key] != revision {
		return 0, fleet.Errorf(fleet.CodeConflict, "revision %d, not %d", m.revs[key], revision)
	}
	m.put(key, body)
	return m.rev, nil
}

func (m *memory) Load(_ context.Context, key string) ([]byte, uint64, error) {
	if m.fails(&m.failLoad) {
		return nil, 0, errAway
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.kept[key]), m.revs[key], nil
}

func (m *memory) Keys(_ context.Context, prefix string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for k := range m.kept {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	return out, nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	if m.fails(&m.failSave) {
		return errAway
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.kept, key)
	delete(m.revs, key)
	return nil
}

// saved is how many bodies were saved.
func (m *memory) saved() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.saves)
}

// marks is the set of findings and of lines on counters, whatever the repeats.
func (m *memory) marks() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]string, 0, len(m.found))
	for _, f := range m.found {
		out = append(out, fmt.Sprintf("%s %s %s#%d %s %v", f.Rule, f.Device, f.ID, f.Revision, f.Phase, f.Live))
	}
	for _, lines := range m.counted {
		out = append(out, strings.Split(strings.TrimSpace(lines), "\n")...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

type source struct {
	m         *memory
	partition int
	at        uint64
}

func (s *source) Fetch(ctx context.Context, most int) ([]wire.Record, error) {
	if s.m.fails(&s.m.failFetch) {
		return nil, errAway
	}
	for {
		s.m.mu.Lock()
		var out []wire.Record
		for _, r := range s.m.records {
			if r.Seq > uint64(s.m.trimmed) && r.Seq >= s.at && r.Partition == s.partition && len(out) < most {
				out = append(out, r)
			}
		}
		if len(out) > 0 {
			s.at = out[len(out)-1].Seq + 1
		}
		more := s.m.more
		s.m.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (s *source) Commit(context.Context, uint64) error { return nil }

func (s *source) Close() error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.closed++
	return nil
}

// pack writes rules, each an id and the rest of what it says.
func pack(conditions ...string) string {
	pack := "pack: test\napplies: {category: washing-machine}\nrules:\n"
	for i := 0; i < len(conditions); i += 2 {
		pack += fmt.Sprintf("  - {id: %s, kind: fault, severity: due, %s, text: {en: &t {what: w, why: y, otherwise: o, do: d, clear: c}, de: *t}}\n",
			conditions[i], conditions[i+1])
	}
	return pack
}

// activate appends an activation to both partitions.
func (m *memory) activate(t testing.TB, after time.Duration, packs ...string) {
	t.Helper()
	a := wire.Activation{By: "test", Packs: map[string]string{}}
	for i, p := range packs {
		a.Packs[fmt.Sprintf("%d.yaml", i)] = p
	}
	for p := range 2 {
		rec, err := wire.EncodeActivation(p, t0.Add(after), a)
		if err != nil {
			t.Fatal(err)
		}
		m.append(rec)
	}
}

func loadRules(t testing.TB, conditions ...string) *rules.Set {
	t.Helper()
	set, problems := rules.Load(fstest.MapFS{"x.yaml": {Data: []byte(pack(conditions...))}}, []fleet.Model{{
		ID: "washer-w7", Category: "washing-machine", Interval: 10 * time.Minute, Fields: []fleet.FieldSpec{{Name: "drain_s", Unit: "s"}},
	}})
	for _, p := range problems {
		t.Fatal(p)
	}
	return set
}

// run starts an engine and returns how to stop it.
func run(t testing.TB, m *memory, set *rules.Set) (e *Engine, stop func()) {
	t.Helper()
	return runLogged(t, m, set, nil)
}

func runLogged(t testing.TB, m *memory, set *rules.Set, log *slog.Logger) (e *Engine, stop func()) {
	t.Helper()
	e = New(DefaultConfig(), set, Deps{Partitions: 2, Log: m, Findings: m, Snapshots: m, Alone: true, Logger: log})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return e, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// pass lets time go by inside a synctest bubble.
func pass(d time.Duration) { <-time.After(d) }
