package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aftercare/internal/rules"
	"aftercare/internal/wire"
	"pgregory.net/rapid"
)

func TestFindsSavesAndGoesOn(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		e, stop := run(t, m, set)
		m.send("A2", 1, 0, 80)
		m.send("B1", 1, 0, 60)
		synctest.Wait()
		if got := m.marks(); len(got) != 1 || !strings.HasPrefix(got[0], "slow demo/A2") {
			t.Fatalf("findings %v", got)
		}
		if n := m.saved(); e.Position(0) != 0 || n != 0 {
			t.Errorf("%d saved before it was time", n)
		}
		pass(31 * time.Second)
		synctest.Wait()
		if s := e.Stats(); s[0].Saved != 1 || s[1].Saved != 2 || s[0].Devices != 1 || !s[0].Received.Equal(t0) {
			t.Errorf("stats %+v", s)
		}
		m.send("A2", 2, time.Minute, 81)
		pass(31 * time.Second)
		synctest.Wait()
		if e.Position(0) != 1 || e.Stats()[0].Saved != 3 {
			t.Errorf("position %d, stats %+v: want the older snapshot", e.Position(0), e.Stats())
		}
		m.send("A2", 3, 2*time.Minute, 60)
		synctest.Wait()
		stop()
		if n := len(m.marks()); n != 2 {
			t.Errorf("%d findings", n)
		}
		if e.Stats()[0].Saved != 4 {
			t.Errorf("no snapshot at stop: %+v", e.Stats())
		}

		before := len(m.found)
		e, stop = run(t, m, set)
		synctest.Wait()
		stop()
		if m.opened[1] != 5 || len(m.found) != before || e.Stats()[0].Devices != 1 {
			t.Errorf("opened from %v, findings %d, stats %+v", m.opened, len(m.found), e.Stats())
		}
	})
}

func TestRetriesWhatIsAway(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.failFetch, m.failEmit, m.failSave, m.failLoad = 3, 4, 5, 3
		e, stop := run(t, m, set)
		m.send("A2", 1, 0, 80)
		pass(2 * time.Minute)
		synctest.Wait()
		if len(m.marks()) != 1 || e.Stats()[0].Saved != 1 {
			t.Errorf("found %v, stats %+v", m.marks(), e.Stats())
		}
		stop()
		if m.opens != m.closed {
			t.Errorf("%d sources opened, %d closed", m.opens, m.closed)
		}
	})
}

// TestNoSnapshotCoversAFindingThatWasNotHandedOver: the findings stream is away when the process stops.
func TestNoSnapshotCoversAFindingThatWasNotHandedOver(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.failEmit = 1 << 30
		_, stop := run(t, m, set)
		m.send("A2", 1, 0, 80)
		pass(5 * time.Minute)
		stop()
		if len(m.saves) != 0 {
			t.Errorf("saved %v", m.saves)
		}
		m.failEmit = 0
		_, stop = run(t, m, set)
		synctest.Wait()
		stop()
		if len(m.found) != 1 {
			t.Errorf("found %v", m.found)
		}
	})
}

func TestStopIsBoundedWhenSnapshotsAreAway(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.failSave = 1 << 30
		_, stop := run(t, m, set)
		m.send("A2", 1, 0, 80)
		pass(time.Minute)
		begin := time.Now()
		stop()
		if d := time.Since(begin); d > 2*DefaultConfig().StopTimeout {
			t.Errorf("stopping took %v", d)
		}
	})
}

// TestDamagedSnapshots: each damage falls back as far as it must, and the findings stay the same.
func TestDamagedSnapshots(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70", "mean", `when: 'avg(drain_s, "1h") > 50'`)
	life := func(m *memory) {
		for i := range int64(6) {
			m.send("A2", i+1, time.Duration(i)*10*time.Minute, float64(40+i*9))
			pass(31 * time.Second)
			synctest.Wait()
		}
	}
	last := func(m *memory) { m.send("A2", 9, 2*time.Hour, 20) }
	var whole []string
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, stop := run(t, m, set)
		life(m)
		last(m)
		synctest.Wait()
		stop()
		whole = m.marks()
	})
	flip := func(b []byte) { b[len(b)-3] ^= 1 }
	for name, c := range map[string]struct {
		damage func(*memory)
		from   uint64
	}{
		"none":            {func(*memory) {}, 7},
		"newest manifest": {func(m *memory) { flip(m.kept["rules.p0.manifest.0"]) }, 6},
		"older manifest":  {func(m *memory) { flip(m.kept["rules.p0.manifest.1"]) }, 7},
		"both manifests":  {func(m *memory) { flip(m.kept["rules.p0.manifest.0"]); flip(m.kept["rules.p0.manifest.1"]) }, 1},
		"newest chunk":    {func(m *memory) { flip(m.kept[newestChunk(m)]) }, 6},
		"lost chunk":      {func(m *memory) { _ = m.Delete(context.Background(), newestChunk(m)) }, 6},
		"all chunks": {func(m *memory) {
			for k := range m.kept {
				if strings.Contains(k, "chunk") {
					flip(m.kept[k])
				}
			}
		}, 1},
		"another version": {func(m *memory) { m.kept["rules.p0.manifest.0"][4] = 9 }, 6},
		"cut short":       {func(m *memory) { m.kept["rules.p0.manifest.0"] = m.kept["rules.p0.manifest.0"][:6] }, 6},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				_, stop := run(t, m, set)
				life(m)
				stop()
				c.damage(m)
				_, stop = run(t, m, set)
				last(m)
				pass(31 * time.Second)
				synctest.Wait()
				stop()
				if m.opened[1] != c.from {
					t.Errorf("read from %d, want %d", m.opened[1], c.from)
				}
				if got := m.marks(); !slices.Equal(got, whole) {
					t.Errorf("findings %v, want %v", got, whole)
				}
				opened := len(m.opened)
				_, stop = run(t, m, set) // what was damaged is replaced
				synctest.Wait()
				stop()
				if m.opened[opened] != 8 {
					t.Errorf("then read from %d, want 8", m.opened[opened])
				}
			})
		})
	}
}

func newestChunk(m *memory) string {
	for _, k := range slices.Backward(m.saves) {
		if strings.HasPrefix(k, "rules.p0.chunk") {
			return k
		}
	}
	return ""
}

func TestOtherRulesKeepTheState(t *testing.T) {
	one := loadRules(t, "slow", "when: drain_s > 70", "gone", "when: drain_s > 75")
	two := loadRules(t, "slow", "when: drain_s > 70", "more", `when: 'count(drain_s, "1h") > 1'`)
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, stop := run(t, m, one)
		m.send("A2", 1, 0, 80)
		synctest.Wait()
		stop()
		for range 2 {
			_, stop = run(t, m, two)
			synctest.Wait()
			stop()
		}
		_, stop = run(t, m, two)
		m.send("A2", 2, time.Minute, 60)
		synctest.Wait()
		stop()
		got := make([]string, 0, len(m.found))
		for _, f := range m.found {
			got = append(got, fmt.Sprintf("%s#%d %s", f.Rule, f.Revision, f.Phase))
		}
		// Ended once: the state saved with the new rules does not hold the old one any more.
		if want := "slow#0 opened, gone#0 opened, gone#1 cleared, slow#1 cleared"; strings.Join(got, ", ") != want {
			t.Errorf("findings %v, want %s", got, want)
		}
	})
}

// TestCrashAnywhere: kills without a last snapshot, at random moments and around changes of the rules, change nothing about
// the findings.
func TestCrashAnywhere(t *testing.T) {
	first := []string{"slow", "when: drain_s > 70", "held", "when: drain_s > 60, for: 15m, clear: drain_s < 40, clear_for: 20m",
		"mean", `when: 'avg(drain_s, "1h") > 55'`}
	set := loadRules(t, first...)
	eras := []string{"", "", "", "", "", "no pack", pack(first[:4]...), pack(first[2:]...), pack(first...)}
	rapid.Check(t, func(rt *rapid.T) {
		type step struct {
			rules  string
			serial string
			drain  float64
			crash  bool
			pause  time.Duration
		}
		steps := make([]step, 0, 25)
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			steps = append(steps, step{
				rapid.SampledFrom(eras).Draw(rt, "rules"), rapid.SampledFrom([]string{"A2", "B1", "C4"}).Draw(rt, "device"), float64(rapid.IntRange(0, 100).Draw(rt, "drain")),
				rapid.IntRange(0, 4).Draw(rt, "crash") == 0, time.Duration(rapid.IntRange(0, 40).Draw(rt, "pause")) * time.Second,
			})
		}
		var results [2][]string
		for i, crashes := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				_, stop := run(t, m, set)
				for n, s := range steps {
					if s.rules != "" {
						m.activate(t, time.Duration(n)*7*time.Minute, s.rules)
					}
					m.send(s.serial, int64(n), time.Duration(n)*7*time.Minute, s.drain)
					pass(s.pause)
					synctest.Wait()
					if crashes && s.crash {
						m.mu.Lock()
						m.failSave = 1 << 30 // what is stored stays as it was at the moment of the crash
						m.mu.Unlock()
						stop()
						m.failSave = 0
						_, stop = run(t, m, set)
					}
				}
				synctest.Wait()
				stop()
				results[i] = m.marks()
			})
		}
		if !slices.Equal(results[0], results[1]) {
			rt.Fatalf("without crashes %v\nwith %v", results[0], results[1])
		}
	})
}

// TestCompaction: the same devices saved again and again do not pile up.
func TestCompaction(t *testing.T) {
	set := loadRules(t, "slow", `when: 'avg(drain_s, "24h") > 1000'`)
	cfg := DefaultConfig()
	m := newMemory()
	w := &worker{
		cfg: cfg, set: set, deps: Deps{Log: m, Findings: m, Snapshots: m}, metrics: newMetrics(nil), log: discard(), state: rules.NewState(set),
		snaps: &snapshotter{cfg: cfg, store: m, metrics: newMetrics(nil), log: discard()},
	}
	w.lease = (&owners{alone: true, metrics: w.metrics}).lease(1)
	w.snaps.reset(w.lease)
	for round := range 40 {
		for n := range 4000 {
			if round == 0 || n%3 == round%3 {
				m.send(fmt.Sprintf("D%05d2", n), int64(round), time.Duration(round)*time.Hour, 5)
			}
		}
		if err := w.process(context.Background(), m.records); err != nil {
			t.Fatal(err)
		}
		m.records = nil
		w.seq = uint64(round + 1)
		w.snaps.begin(w)
		w.snaps.work(context.Background(), w, time.Hour)
		<-w.snaps.flight
	}
	w.snaps.busy()
	live, stored := 0, 0
	for _, n := range w.state.Held() {
		live += n
	}
	for _, b := range m.kept {
		stored += len(b)
	}
	if stored > 4*live+3*slack {
		t.Errorf("%d bytes stored for %d that count", stored, live)
	}
	state, seq, _, err := w.snaps.load(context.Background(), set)
	if err != nil || seq != 40 || state.Hash() != w.state.Hash() {
		t.Errorf("loaded %d devices at %d: %v", state.Devices(), seq, err)
	}
	t.Logf("%d bytes that count, %d stored, position %d", live, stored, w.snaps.position.Load())
}

func TestConfigNamesFieldAndValue(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		"engine.snapshot_every 1ms": func(c *Config) { c.SnapshotEvery = time.Millisecond },
		"engine.fetch_max 0":        func(c *Config) { c.FetchMax = 0 },
		"engine.chunk_bytes 5":      func(c *Config) { c.ChunkBytes = 5 },
		"engine.stop_timeout -1s":   func(c *Config) { c.StopTimeout = -time.Second },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

var _ wire.Source = (*source)(nil)

// TestCountersAreHandedOverInPieces: of whole lines, however long one is.
func TestCountersAreHandedOverInPieces(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	m := newMemory()
	w := New(DefaultConfig(), set, Deps{Partitions: 1, Log: m, Findings: m, Snapshots: m, Alone: true}).workers[0]
	w.lease, w.state = w.owners.lease(1), rules.NewState(set)
	var lines strings.Builder
	for _, n := range []int{10, countedBytes - 20, 300, 2 * countedBytes, 7, countedBytes - 1, 1} {
		lines.WriteString(strings.Repeat("x", n) + "\n")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.count(ctx, []byte(lines.String())); err != nil {
		t.Fatal(err)
	}
	for _, part := range m.counted {
		if !strings.HasSuffix(part, "\n") || len(part) > countedBytes && strings.Count(part, "\n") > 1 {
			t.Errorf("a piece of %d bytes", len(part))
		}
	}
	if strings.Join(m.counted, "") != lines.String() {
		t.Error("the pieces are not what was counted")
	}
}
