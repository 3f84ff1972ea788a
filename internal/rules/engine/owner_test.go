package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/rules"
)

// TestStalledAnywhere: a process stands still before any of its operations, another one takes over, and the first one goes on
// in the belief that nothing has happened.
func TestStalledAnywhere(t *testing.T) {
	set := lifeRules(t)
	hash, marks, ops := undisturbed(t, set, false)
	stalled := 0
	for at := 1; at <= ops; at++ {
		for _, resume := range []int{9, 30} { // while the other one works; after it has ended
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
				life(m, func(n int) {
					if n >= resume {
						goOn()
					}
				})
				pass(time.Minute)
				if resume == 30 {
					b.stop(t)
					goOn()
					pass(time.Minute)
				} else {
					goOn()
					pass(time.Minute)
					b.stop(t)
				}
				a.stop(t)
				if resumed {
					stalled++
				}
				c := start(m, set, false, 0, stall)
				pass(time.Minute)
				c.stop(t)
				if got := c.hash(); got != hash {
					t.Errorf("stalled at %d: state %s, want %s", at, got, hash)
				}
				if got := m.marks(); !slices.Equal(got, marks) {
					t.Errorf("stalled at %d: findings %v, want %v", at, got, marks)
				}
				m.wantTidy(t, set)
			})
		}
	}
	if stalled < ops {
		t.Errorf("only %d stalls, of %d operations", stalled, ops)
	}
}

// TestStalledWorkerIsFenced looks at one stall closely: just before a manifest.
func TestStalledWorkerIsFenced(t *testing.T) {
	set := lifeRules(t)
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		a := start(m, set, false, 0, stall)
		m.readings(0, 4, 80)
		pass(31 * time.Second)
		synctest.Wait()
		b := start(m, set, false, 0, stall)
		pass(2 * time.Minute)
		if b.engine.Stats()[0].Stepped != 0 || b.engine.Position(0) != 0 {
			t.Fatalf("two at a time: %+v", b.engine.Stats())
		}
		m.readings(4, 6, 40)
		pass(31 * time.Second)
		synctest.Wait()
		if got := b.engine.Position(0); got != 4 {
			t.Errorf("a waiting process lets the journal be trimmed to %d, want 4", got)
		}
		a.mu.Lock()
		a.at, a.stood = a.n, true // every operation from here
		a.mu.Unlock()
		m.readings(6, 8, 80)
		pass(16 * time.Second) // one term since it was renewed last, and a poll
		synctest.Wait()
		if got := b.engine.Stats()[0].Stepped; got != 8 {
			t.Fatalf("not taken over: stepped %d", got)
		}
		pass(time.Minute)
		m.mu.Lock()
		before := maps.Clone(m.kept)
		m.mu.Unlock()
		close(a.going)
		pass(time.Second)
		synctest.Wait()
		m.mu.Lock()
		after := maps.Clone(m.kept)
		m.mu.Unlock()
		for k, body := range before {
			if now, ok := after[k]; !strings.HasSuffix(k, "owner") && (!ok || string(now) != string(body)) {
				t.Errorf("%s was changed by the stalled process", k)
			}
		}
		a.mu.Lock()
		writes := slices.Clone(a.writes)
		a.mu.Unlock()
		for _, k := range writes {
			if epochOf(0, k) != 1 && epochOf(1, k) != 1 {
				t.Errorf("the stalled process wrote %s", k)
			}
		}
		pass(time.Minute)
		if n := testutil.ToFloat64(a.engine.metrics.lost); n != 2 {
			t.Errorf("%v partitions lost, want 2", n)
		}
		if n := testutil.ToFloat64(b.engine.metrics.takeovers); n != 2 {
			t.Errorf("%v partitions taken over, want 2", n)
		}
		b.stop(t)
		pass(5 * time.Second)
		synctest.Wait()
		m.readings(8, 9, 40)
		pass(time.Second)
		if got := a.engine.Stats()[0].Stepped; got != 9 {
			t.Errorf("given back and not taken: stepped %d", got)
		}
		a.stop(t)
		m.wantTidy(t, set)
	})
}

// TestStopsAtTheEndOfItsTerm: the snapshots stream is away for longer than a term. Nothing is stepped meanwhile; as nobody
// else took the partition, its state goes on.
func TestStopsAtTheEndOfItsTerm(t *testing.T) {
	set := lifeRules(t)
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		p := start(m, set, false, 0, stall)
		m.readings(0, 2, 80)
		pass(time.Second)
		m.set(&m.failSave, 1<<30)
		m.readings(2, 4, 80)
		pass(time.Second)
		if got := p.engine.Stats()[0].Stepped; got != 4 {
			t.Errorf("within the term: stepped %d", got)
		}
		pass(20 * time.Second)
		m.readings(4, 6, 80)
		m.send("B1", 1, 0, 10) // nothing is found in it
		pass(time.Minute)
		if s := p.engine.Stats(); s[0].Stepped != 4 || s[1].Stepped != 0 {
			t.Errorf("after the term: %+v", s)
		}
		m.set(&m.failSave, 0)
		pass(20 * time.Second)
		if got := p.engine.Stats()[0].Stepped; got != 6 {
			t.Errorf("when it is back: stepped %d", got)
		}
		p.stop(t)
		if n := testutil.ToFloat64(p.engine.metrics.lost); n != 0 || m.opened[len(m.opened)-1] != 1 {
			t.Errorf("%v lost, opened %v", n, m.opened)
		}
	})
}

// TestNoWaitAfterAnOrderlyStop: the next process begins at once.
func TestNoWaitAfterAnOrderlyStop(t *testing.T) {
	set := lifeRules(t)
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.readings(0, 3, 80)
		p := start(m, set, false, 0, stall)
		synctest.Wait()
		p.stop(t)
		began := time.Now()
		p = start(m, set, false, 0, stall)
		m.readings(3, 4, 80)
		synctest.Wait()
		if got := p.engine.Stats()[0].Stepped; got != 4 || time.Since(began) > 0 {
			t.Errorf("stepped %d after %v", got, time.Since(began))
		}
		p.stop(t)
	})
}

// TestSnapshotsFromBeforeThereWereEpochs are loaded, and go when they are not needed any more.
func TestSnapshotsFromBeforeThereWereEpochs(t *testing.T) {
	set := lifeRules(t)
	for _, alone := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			p := start(m, set, true, 0, stall)
			life(m, func(int) {})
			p.stop(t)
			hash := p.hash()
			m.asBefore(t)
			p = start(m, set, alone, 0, stall)
			synctest.Wait()
			opened := m.opened[len(m.opened)-1]
			p.stop(t)
			if p.hash() != hash || opened != uint64(len(m.records)) && opened != uint64(len(m.records))+1 {
				t.Errorf("alone %v: state %s, want %s; opened %d of %d", alone, p.hash(), hash, opened, len(m.records))
			}
			p = start(m, set, alone, 0, stall)
			for n := range int64(3) {
				m.send("A2", 100+n, 10*time.Hour+time.Duration(n)*time.Minute, 30)
				m.send("B1", 100+n, 10*time.Hour+time.Duration(n)*time.Minute, 30)
				pass(31 * time.Second)
			}
			p.stop(t)
			for k := range m.kept {
				if strings.Contains(k, "chunk") && epochOf(int(k[7]-'0'), k) == 0 {
					t.Errorf("alone %v: %s is still there", alone, k)
				}
			}
			m.wantTidy(t, set)
		})
	}
}

// TestDamagedOwnerRecord: nothing is known of the owner but that it has a term to show itself.
func TestDamagedOwnerRecord(t *testing.T) {
	set := lifeRules(t)
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		p := start(m, set, false, 0, stall)
		m.readings(0, 3, 80)
		pass(31 * time.Second)
		p.stop(t)
		m.kept["rules.p0.owner"][12] ^= 1
		p = start(m, set, false, 0, stall)
		m.readings(3, 4, 80)
		pass(14 * time.Second)
		if got := p.engine.Stats()[0].Stepped; got != 0 {
			t.Errorf("stepped %d before a term was over", got)
		}
		pass(4 * time.Second)
		if got, epoch := p.engine.Stats()[0].Stepped, p.engine.workers[0].lease.epoch(); got != 4 || epoch != 2 {
			t.Errorf("stepped %d in epoch %d", got, epoch)
		}
		p.stop(t)
	})
}

func (m *memory) set(n *int, to int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*n = to
}

// asBefore makes what is stored look as if it was written before there were epochs.
func (m *memory) asBefore(t *testing.T) {
	t.Helper()
	delete(m.kept, "rules.p0.owner")
	delete(m.kept, "rules.p1.owner")
	for k, body := range maps.Clone(m.kept) {
		if epoch := epochOf(int(k[7]-'0'), k); epoch > 0 {
			_ = m.Delete(t.Context(), k)
			m.put(strings.Replace(k, fmt.Sprintf("chunk.%d.", epoch), "chunk.", 1), body)
			continue
		}
		payload, err := open(body)
		if err != nil {
			t.Fatal(err)
		}
		text := string(payload)
		for e := range 9 {
			text = strings.ReplaceAll(text, fmt.Sprintf(`"epoch":%d,`, e), "")
		}
		m.put(k, seal([]byte(text)))
	}
}

// wantTidy wants the manifests whole, with all chunks they name, and at most one snapshot's worth of others.
func (m *memory) wantTidy(t *testing.T, set *rules.Set) {
	t.Helper()
	named := map[string]bool{}
	for p := range 2 {
		s := &snapshotter{cfg: DefaultConfig(), store: m, metrics: newMetrics(nil), partition: p, log: discard()}
		s.reset((&owners{alone: true, metrics: s.metrics}).lease(99))
		gens, damaged, err := s.manifests(t.Context())
		if err != nil || damaged > 0 {
			t.Errorf("partition %d: %d manifests damaged, %v", p, damaged, err)
		}
		for _, g := range gens {
			if _, err := s.chunks(t.Context(), g); err != nil {
				t.Errorf("partition %d, generation %d: %v", p, g.Generation, err)
			}
			for _, k := range s.keysOf(g) {
				named[k] = true
			}
		}
	}
	others := 0
	for k := range m.kept {
		if strings.Contains(k, "chunk") && !named[k] {
			others++
		}
	}
	if others > 4 {
		t.Errorf("%d chunks that nobody names: %v", others, slices.Sorted(maps.Keys(m.kept)))
	}
}
