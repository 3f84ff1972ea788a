package engine

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"aftercare/internal/rules"
)

// life is what the tests of crashes and stalls let happen: a device that gets worse and better, one that stays well, and time
// for some snapshots, over a midnight. between is called after each reading.
func life(m *memory, between func(n int)) {
	for n := range int64(17) {
		m.send("A2", n, time.Duration(n)*7*time.Minute, float64(30+n%5*17))
		if n%3 == 0 {
			m.send("B1", n, time.Duration(n)*7*time.Minute, 40)
		}
		pass(13 * time.Second)
		synctest.Wait()
		between(int(n))
	}
}

func lifeRules(t testing.TB) *rules.Set {
	return loadRules(t, "slow", "when: drain_s > 70", "held", "when: drain_s > 60, for: 5m, clear: drain_s < 40, clear_for: 10m",
		"mean", `when: 'avg(drain_s, "1h") > 55'`, "worn", "when: hours(drain_s > 70) > 1000 or total(drain_s) > 1e9")
}

// undisturbed is what comes of life when nothing happens: the hash of the state, the findings, and how many operations there were.
func undisturbed(t *testing.T, set *rules.Set, alone bool) (hash string, marks []string, ops int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		p := start(m, set, alone, 0, stall)
		life(m, func(int) {})
		p.stop(t)
		hash, marks, ops = p.hash(), m.marks(), p.n
	})
	counted := 0
	for _, m := range marks {
		if strings.HasPrefix(m, "counter,") {
			counted++
		}
	}
	if len(marks) < 9 || counted != 3 { // two devices, of one the next day, too
		t.Fatalf("only %d findings and counters, %d of these: %v", len(marks), counted, marks)
	}
	return hash, marks, ops
}

// TestKilledAtAnyOperation (REL-09): before or after any operation, the state that comes of it has the same hash and the findings
// are the same ones.
func TestKilledAtAnyOperation(t *testing.T) {
	set := lifeRules(t)
	for _, alone := range []bool{true, false} {
		hash, marks, ops := undisturbed(t, set, alone)
		for at := 1; at <= ops; at++ {
			for _, f := range []fault{killBefore, killAfter, answerLost} {
				synctest.Test(t, func(t *testing.T) {
					m := newMemory()
					p := start(m, set, alone, at, f)
					life(m, func(int) {
						if p.isDead() {
							p.stop(t)
							p = start(m, set, alone, 0, f)
						}
					})
					pass(time.Minute) // a term, when the last reading was the last
					dead := p.isDead()
					p.stop(t)
					if dead { // by the last snapshot
						p = start(m, set, alone, 0, f)
						pass(time.Minute)
						p.stop(t)
					}
					if got := p.hash(); got != hash {
						t.Errorf("alone %v, fault %d at %d: state %s, want %s", alone, f, at, got, hash)
					}
					if got := m.marks(); !slices.Equal(got, marks) {
						t.Errorf("alone %v, fault %d at %d: findings\n%v, want\n%v", alone, f, at, got, marks)
					}
					m.wantTidy(t, set)
				})
			}
		}
		t.Logf("alone %v: %d operations", alone, ops)
	}
}

// TestKilledAgainAndAgain is the same with several kills at random operations.
func TestKilledAgainAndAgain(t *testing.T) {
	set := lifeRules(t)
	hash, marks, ops := undisturbed(t, set, true)
	rapid.Check(t, func(rt *rapid.T) {
		alone := rapid.Bool().Draw(rt, "alone")
		next := func() (int, fault) {
			return rapid.IntRange(1, ops).Draw(rt, "operation"), fault(rapid.IntRange(0, 1).Draw(rt, "fault"))
		}
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			at, f := next()
			p := start(m, set, alone, at, f)
			life(m, func(int) {
				if p.isDead() {
					p.stop(t)
					at, f = next()
					p = start(m, set, alone, at, f)
				}
			})
			for range 2 {
				p.stop(t)
				p = start(m, set, alone, 0, f)
				pass(time.Minute)
			}
			p.stop(t)
			if got := p.hash(); got != hash || !slices.Equal(m.marks(), marks) {
				rt.Fatalf("state %s, want %s\nfindings %v, want\n%v", got, hash, m.marks(), marks)
			}
			m.wantTidy(t, set)
		})
	})
}
