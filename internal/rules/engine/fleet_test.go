package engine

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

func fleetRules(t testing.TB) *rules.Set {
	return loadRules(t, "hot", "when: drain_s > 100", "unlike", "when: peers(drain_s) > 0.9",
		"many", `when: 'fleet_rate("hot") > 0.4', evidence: ['fleet_rate("hot")']`)
}

// fleetOf sends one reading of each of 24 devices of both partitions: 0, 10, 20 ... 230 s.
func fleetOf(m *memory, seq int64, after time.Duration) {
	for i := range 24 {
		m.send(fmt.Sprintf("F%d", 100+i), seq, after, float64(10*i))
	}
}

// summaries is the summaries in the journal, by partition.
func (m *memory) summaries() (out [2][]time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.records {
		if r.Kind == wire.KindSummary {
			out[r.Partition] = append(out[r.Partition], r.Received)
		}
	}
	return out
}

// replayed steps the journal anew: the hash of the states and the findings that come of it.
func (m *memory) replayed(set *rules.Set) (hash string, marks []string) {
	again := newMemory()
	states := []*rules.State{rules.NewState(set), rules.NewState(set)}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.records {
		again.found = states[m.records[i].Partition].Step(&m.records[i], again.found)
	}
	return states[0].Hash() + " " + states[1].Hash(), again.marks()
}

// openedBy is the serials of devices on which a rule has opened.
func (m *memory) openedBy(rule string) (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.found {
		if f.Rule == rule && f.Phase == fleet.Opened {
			out = append(out, f.Device.Serial)
		}
	}
	slices.Sort(out)
	return out
}

// TestSummaryOfTheFleet: right after the next interval both partitions know where a device stands among all devices, and how many have a
// finding; when nothing comes nothing is made; a restart keeps it; a replay of the journal gives the same state and findings.
func TestSummaryOfTheFleet(t *testing.T) {
	set := fleetRules(t)
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		p := start(m, set, true, 0, stall)
		fleetOf(m, 1, 0)
		pass(time.Minute)
		if got := m.summaries(); len(got[0]) != 0 {
			t.Fatalf("a summary before the interval ended: %v", got)
		}
		fleetOf(m, 2, 16*time.Minute)
		pass(2 * time.Second)
		if got := m.summaries(); len(got[0]) != 1 || len(got[1]) != 1 || !got[0][0].Equal(t0.Add(16*time.Minute)) {
			t.Fatalf("summaries %v, want one of %v", got, t0.Add(16*time.Minute))
		}
		if got := append(m.openedBy("unlike"), m.openedBy("many")...); len(got) != 0 {
			t.Fatalf("found before anything was known: %v", got)
		}
		fleetOf(m, 3, 17*time.Minute)
		synctest.Wait()
		if got := m.openedBy("unlike"); !slices.Equal(got, []string{"F122", "F123"}) {
			t.Errorf("above nine of ten: %v", got)
		}
		if got := m.openedBy("many"); len(got) != 24 {
			t.Errorf("%d devices know how many are hot", len(got))
		}
		for _, f := range m.found {
			if f.Rule == "many" && math.Abs(f.Evidence[0].Value-13.0/24) > 1e-9 {
				t.Errorf("%s: rate %v, want 13 of 24", f.Device, f.Evidence[0].Value)
			}
		}
		pass(3 * time.Hour)
		if got := m.summaries(); len(got[0]) != 1 {
			t.Errorf("nothing came, and yet: %v", got)
		}
		stats := p.engine.Stats()
		p.stop(t)
		marks := m.marks()
		if hash, found := m.replayed(set); hash != p.hash() || !slices.Equal(found, marks) {
			t.Errorf("replayed: state %s, want %s\n%v, want\n%v", hash, p.hash(), found, marks)
		}
		again := start(m, set, true, 0, stall)
		pass(time.Second)
		for i, s := range again.engine.Stats() {
			if !s.Summary.Equal(t0.Add(16*time.Minute)) || !s.Summary.Equal(stats[i].Summary) {
				t.Errorf("partition %d: summary of %v after a restart", i, s.Summary)
			}
		}
		again.stop(t)
		if again.hash() != p.hash() || !slices.Equal(m.marks(), marks) {
			t.Error("a restart changed something")
		}
	})
}

// TestSummaryThatSaysTheSame is not said again, for a day; the same devices with other values are.
func TestSummaryThatSaysTheSame(t *testing.T) {
	set := fleetRules(t)
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		p := start(m, set, true, 0, stall)
		tick := func(after time.Duration) {
			for i := range 2 {
				m.append(wire.Record{Kind: wire.KindTick, Partition: i, Received: t0.Add(after)})
			}
			pass(2 * time.Minute)
		}
		fleetOf(m, 1, 0)
		pass(time.Second)
		for n := range 20 {
			tick(time.Duration(n+1) * 15 * time.Minute)
		}
		if got := m.summaries(); len(got[0]) != 1 {
			t.Errorf("ticks alone: %v", got)
		}
		m.send("F100", 2, 5*time.Hour, 500)
		tick(6 * time.Hour)
		if got := m.summaries(); len(got[0]) != 2 {
			t.Errorf("another value: %v", got)
		}
		tick(31 * time.Hour)
		if got := m.summaries(); len(got[1]) != 3 {
			t.Errorf("after a day: %v", got)
		}
		p.stop(t)
	})
}

// TestSummaryWithoutAPartition: the part of a partition that nobody works is waited for, then taken as it was, and left out after two
// intervals; one that cannot be read is left out.
func TestSummaryWithoutAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		f := &fleetStep{every: 15 * time.Minute, parts: 3, store: m, log: discard()}
		m.kept[f.key(2)], m.revs[f.key(2)] = []byte("damaged"), 1
		for _, c := range []struct {
			age   time.Duration
			parts int
			waits time.Duration
		}{{time.Second, 2, gatherFor}, {29 * time.Minute, 2, gatherFor}, {31 * time.Minute, 1, gatherFor}} {
			now := t0.Add(5 * time.Minute)
			m.kept[f.key(1)], m.revs[f.key(1)] = seal(encode(rules.Aggregate{At: now.Add(-c.age), Left: 7})), 1
			start := time.Now()
			got := f.gather(t.Context(), rules.Aggregate{At: now})
			if len(got) != c.parts || c.parts == 2 && got[1].Left != 7 || time.Since(start) != c.waits {
				t.Errorf("%v old: %d parts after %v", c.age, len(got), time.Since(start))
			}
		}
		go func() {
			pass(10 * time.Second)
			for p := range 2 {
				_ = m.Save(t.Context(), f.key(p+1), seal(encode(rules.Aggregate{At: t0})))
			}
		}()
		start := time.Now()
		if got := f.gather(t.Context(), rules.Aggregate{At: t0}); len(got) != 3 || time.Since(start) > 11*time.Second {
			t.Errorf("%d parts after %v", len(got), time.Since(start))
		}
	})
}

// TestNoSummaries: without a rule that compares, or switched off, nothing is made or stored.
func TestNoSummaries(t *testing.T) {
	for name, off := range map[string]func(*Config) *rules.Set{
		"no rule":      func(*Config) *rules.Set { return loadRules(t, "hot", "when: drain_s > 100") },
		"switched off": func(c *Config) *rules.Set { c.FleetEvery = 0; return fleetRules(t) },
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			cfg := DefaultConfig()
			set := off(&cfg)
			p := (&process{log: m, found: m, store: m}).start(cfg, set, true)
			for n := range int64(5) {
				fleetOf(m, n, time.Duration(n)*16*time.Minute)
				pass(time.Minute)
			}
			p.stop(t)
			if got := m.summaries(); len(got[0]) > 0 || m.kept["rules.p0.aggregate"] != nil {
				t.Errorf("%s: %v", name, got)
			}
		})
	}
}

// fleetLife is three intervals of a fleet, one device getting worse.
func fleetLife(m *memory, between func(n int)) {
	for n := range int64(10) {
		after := time.Duration(n) * 7 * time.Minute
		if n%4 == 0 {
			fleetOf(m, n, after)
		} else {
			m.send("F100", n, after, float64(30*n))
			m.send("F101", n, after, 95)
		}
		pass(13 * time.Second)
		synctest.Wait()
		between(int(n))
	}
}

// TestFleetKilledAtAnyOperation (REL-09): wherever a process is killed, also while it makes a summary, what the next one comes to is what the
// journal says, and a summary is in it.
func TestFleetKilledAtAnyOperation(t *testing.T) {
	set, ops := fleetRules(t), 0
	for _, alone := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			p := start(m, set, alone, 0, stall)
			fleetLife(m, func(int) {})
			p.stop(t)
			ops = p.n
			if got := m.summaries(); len(got[0]) < 3 || len(m.openedBy("many")) == 0 {
				t.Fatalf("nothing to kill: %v", got)
			}
		})
		for at := 1; at <= ops; at++ {
			for _, f := range []fault{killBefore, killAfter, answerLost} {
				synctest.Test(t, func(t *testing.T) {
					m := newMemory()
					p := start(m, set, alone, at, f)
					fleetLife(m, func(int) {
						if p.isDead() {
							p.stop(t)
							p = start(m, set, alone, 0, f)
						}
					})
					pass(time.Minute)
					if p.isDead() {
						p.stop(t)
						p = start(m, set, alone, 0, f)
						pass(time.Minute)
					}
					p.stop(t)
					if p.isDead() { // by the last snapshot
						p = start(m, set, alone, 0, f)
						pass(time.Minute)
						p.stop(t)
					}
					m.wantReplay(t, set, p, fmt.Sprintf("alone %v, fault %d at %d", alone, f, at))
				})
			}
		}
		t.Logf("alone %v: %d operations", alone, ops)
	}
}

// TestFleetStalledAnywhere: a process stands still, another takes over, and the first goes on.
func TestFleetStalledAnywhere(t *testing.T) {
	set := fleetRules(t)
	for at := 1; at <= 118; at++ {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			a := start(m, set, false, at, stall)
			synctest.Wait()
			b := start(m, set, false, 0, stall)
			resumed := false
			goOn := func() {
				if a.hasStood() && !resumed {
					resumed = true
					close(a.going)
				}
			}
			fleetLife(m, func(n int) {
				if n >= 8 {
					goOn()
				}
			})
			pass(time.Minute)
			goOn()
			pass(time.Minute)
			a.stop(t)
			pass(time.Minute)
			b.stop(t)
			c := start(m, set, false, 0, stall)
			pass(time.Minute)
			c.stop(t)
			m.wantReplay(t, set, c, fmt.Sprintf("stalled at %d", at))
		})
	}
}

// wantReplay checks that what came of the processes is what the journal says.
func (m *memory) wantReplay(t *testing.T, set *rules.Set, p *process, what string) {
	t.Helper()
	hash, marks := m.replayed(set)
	if got := p.hash(); got != hash {
		t.Errorf("%s: state %s, replayed %s", what, got, hash)
	}
	if got := m.marks(); !slices.Equal(got, marks) {
		t.Errorf("%s: findings\n%s\nreplayed\n%s", what, strings.Join(got, "\n"), strings.Join(marks, "\n"))
	}
	if got := m.summaries(); len(got[0]) == 0 || len(got[1]) == 0 || len(m.openedBy("many")) == 0 {
		t.Errorf("%s: summaries %v", what, got)
	}
}

// TestNoSummaryBeforeAllFollowed: right after an activation devices that wait for something are of the new rules and others are not. The
// first summary counts all of them.
func TestNoSummaryBeforeAllFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		p := start(m, loadRules(t, "hot", "when: drain_s > 100"), true, 0, stall)
		fleetOf(m, 1, 0)
		pass(time.Second)
		m.activate(t, time.Minute, pack("hot", "when: drain_s > 100", "many", `when: 'fleet_rate("hot") > 0.4'`))
		m.send("F100", 2, 16*time.Minute, 1)
		m.send("F101", 2, 16*time.Minute, 1)
		pass(25 * time.Second)
		if got := m.summaries(); len(got[0]) != 0 {
			t.Errorf("a summary of devices that have not followed: %v", got)
		}
		pass(time.Minute) // a snapshot
		m.send("F100", 3, 31*time.Minute, 1)
		m.send("F101", 3, 31*time.Minute, 1)
		pass(2 * time.Minute)
		if got := m.summaries(); len(got[0]) != 1 {
			t.Fatalf("summaries %v", got)
		}
		p.stop(t)
		for _, r := range m.records {
			if r.Kind != wire.KindSummary {
				continue
			}
			if sum, err := wire.DecodeSummary(r.Body); err != nil || len(sum.Rates) != 1 || sum.Rates[0].Devices != 24 || sum.Rates[0].Affected != 13 {
				t.Errorf("%+v, %v", sum, err)
			}
		}
	})
}
