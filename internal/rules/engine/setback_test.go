package engine

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// readings sends those of A2 with the device's numbers in [from, to): one a minute.
func (m *memory) readings(from, to int64, drain float64) {
	for n := from; n < to; n++ {
		m.send("A2", n, time.Duration(n)*time.Minute, drain)
	}
}

// kill stops an engine without a last snapshot.
func (m *memory) kill(stop func()) {
	m.mu.Lock()
	m.failSave = 1 << 30
	m.mu.Unlock()
	stop()
	m.failSave = 0
}

// TestStreamSetBackAtStart: the snapshot holds sequence 30, the stream was cut to 20 and goes on with other readings.
func TestStreamSetBackAtStart(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	for name, damage := range map[string]bool{"newest snapshot": false, "older snapshot": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				_, stop := run(t, m, set)
				m.readings(0, 30, 60)
				synctest.Wait()
				stop()
				m.cut(20)

				var lines bytes.Buffer
				e, stop := runLogged(t, m, set, slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelError})))
				synctest.Wait()
				m.readings(30, 31, 80)
				synctest.Wait()
				if got := m.marks(); len(got) != 1 || !strings.HasPrefix(got[0], "slow demo/A2") {
					t.Fatalf("findings %v", got)
				}
				if s := e.Stats()[0]; s.Stepped != 21 || s.Saved != 21 || e.Position(0) != 20 {
					t.Errorf("stats %+v, position %d: want a snapshot at once", s, e.Position(0))
				}
				m.readings(31, 35, 80)
				m.readings(25, 30, 80) // resends
				m.readings(35, 46, 60)
				synctest.Wait()
				if n := testutil.ToFloat64(e.metrics.setBack); n != 1 {
					t.Errorf("%v counted", n)
				}
				if n := testutil.ToFloat64(e.metrics.duplicates); n != 5 {
					t.Errorf("%v resends left out", n)
				}
				if got := m.marks(); len(got) != 2 {
					t.Errorf("findings %v", got)
				}
				m.kill(stop)
				if strings.Count(lines.String(), "SET BACK") != 1 || !strings.Contains(lines.String(), "sequence=21 before=30") {
					t.Errorf("log %s", &lines)
				}

				// The stream has grown beyond 30. The next start passes nothing over, from whichever snapshot.
				want := uint64(22)
				if damage {
					b := m.kept["rules.p0.manifest.0"]
					b[len(b)-3] ^= 1
					want = 21
				}
				before := m.marks()
				_, stop = run(t, m, set)
				synctest.Wait()
				stop()
				if got := m.opened[len(m.opened)-1]; got != want {
					t.Errorf("read from %d, want %d", got, want)
				}
				if got := m.marks(); len(got) != len(before) {
					t.Errorf("findings %v, before %v", got, before)
				}
			})
		})
	}
}

// TestStreamSetBackUnderASource: the journal is opened again while a snapshot from before is being written.
func TestStreamSetBackUnderASource(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	for _, to := range []int{31, 20} { // 31: the sequence that comes is the one stepped last
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			e, stop := run(t, m, set)
			m.readings(0, 30, 60)
			pass(31 * time.Second)
			m.readings(30, 31, 60)
			pass(31 * time.Second)
			synctest.Wait()
			if e.Position(0) != 30 {
				t.Fatalf("position %d", e.Position(0))
			}
			m.mu.Lock()
			m.failSave = 1 << 30
			m.mu.Unlock()
			m.readings(31, 32, 60)
			pass(31 * time.Second)
			m.cut(to)
			m.readings(32, 33, 80)
			synctest.Wait()
			if n := testutil.ToFloat64(e.metrics.setBack); len(m.marks()) != 1 || n != 1 || e.Position(0) != min(30, uint64(to)) {
				t.Errorf("findings %v, counted %v, position %d", m.marks(), n, e.Position(0))
			}
			m.mu.Lock()
			m.failSave = 0
			m.mu.Unlock()
			pass(25 * time.Second)
			synctest.Wait()
			if s := e.Stats()[0]; s.Saved != uint64(to)+1 || e.Position(0) != uint64(to) {
				t.Errorf("saved %d, position %d, want %d behind it", s.Saved, e.Position(0), to)
			}
			stop()
			if m.opens != 2 {
				t.Errorf("%d sources opened", m.opens)
			}
		})
	}
}

// TestStreamSetBackAndFindingsAway: at the stop the findings of the new records are not handed over.
func TestStreamSetBackAndFindingsAway(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, stop := run(t, m, set)
		m.readings(0, 30, 60)
		synctest.Wait()
		stop()
		m.cut(20)
		_, stop = run(t, m, set)
		synctest.Wait()
		m.mu.Lock()
		m.failEmit = 1 << 30
		m.mu.Unlock()
		m.readings(30, 31, 80)
		pass(time.Minute)
		stop()
		m.failEmit = 0
		m.readings(31, 45, 60)
		_, stop = run(t, m, set)
		synctest.Wait()
		stop()
		if got := m.opened[len(m.opened)-1]; got != 21 || len(m.marks()) != 2 {
			t.Errorf("read from %d, findings %v", got, m.marks())
		}
	})
}

// TestReopenedSourceIsNotSetBack: a source that failed is opened again behind what was stepped.
func TestReopenedSourceIsNotSetBack(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		e, stop := run(t, m, set)
		for n := range int64(10) {
			m.readings(n, n+1, 60)
			synctest.Wait()
			m.mu.Lock()
			m.failFetch = 2
			m.mu.Unlock()
		}
		pass(time.Minute)
		stop()
		if n := testutil.ToFloat64(e.metrics.setBack); n != 0 || e.Stats()[0].Stepped != 10 || m.opens < 4 {
			t.Errorf("counted %v, stats %+v, %d opened", n, e.Stats(), m.opens)
		}
	})
}
