//go:build !slim

package engine

import (
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/fleet"
	"aftercare/internal/history"
	"aftercare/internal/history/embedded"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

// fullSource gives some records once.
type fullSource struct {
	recs []wire.Record
	end  context.CancelFunc
}

func (f *fullSource) Fetch(ctx context.Context, n int) ([]wire.Record, error) {
	if len(f.recs) == 0 {
		f.end()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	out := f.recs[:min(n, len(f.recs))]
	f.recs = f.recs[len(out):]
	return out, nil
}

func (f *fullSource) Commit(context.Context, uint64) error { return nil }
func (f *fullSource) Close() error                         { return nil }

// kept is a real history with what a memory's journal and findings held, and the facts of its devices.
type kept struct {
	*history.History
	facts []fleet.Facts
}

func (k *kept) Facts(_ context.Context, partition int, each func(fleet.Facts) error) error {
	for _, f := range k.facts {
		if int(f.Device.Serial[len(f.Device.Serial)-1])%2 == partition {
			if err := each(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func keep(t *testing.T, m *memory) *kept {
	t.Helper()
	c := embedded.DefaultConfig()
	c.Dir = t.TempDir()
	db, err := embedded.Start(t.Context(), c, obs.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	hc := history.DefaultConfig()
	hc.URL, hc.Token = db.URL(), fleet.Secret(db.Token())
	h, err := history.New(hc, history.Deps{Log: obs.Discard(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	k := &kept{History: h}
	for _, serial := range []string{"A2", "B1", "C4"} {
		k.facts = append(k.facts, fleet.Facts{Device: fleet.DeviceKey{Tenant: "demo", Serial: serial}, Model: "washer-w7", At: t0.Add(-time.Hour)})
	}
	found := make([]wire.Record, 0, len(m.found)+len(m.counted))
	for _, f := range m.found {
		r, err := wire.EncodeFinding(0, f)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, r)
	}
	for _, lines := range m.counted {
		found = append(found, wire.Record{Kind: wire.KindCounters, Body: []byte(lines)})
	}
	for run, recs := range map[string][]wire.Record{"readings": m.records, "findings": found} {
		ctx, cancel := context.WithCancel(t.Context())
		f := map[string]func(context.Context, wire.Source) error{"readings": h.RunReadings, "findings": h.RunFindings}[run]
		if err := f(ctx, &fullSource{slices.Clone(recs), cancel}); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	return k
}

// year is 400 days of three devices: a reading every six hours, one device worse from day 385 on, one bad until day 410.
func year(m *memory, from, to int) {
	for n := from; n < to; n++ {
		at := time.Duration(n)*6*time.Hour + time.Minute
		drain := 40 + float64(n%7)
		if n >= 385*4 {
			drain += 50
		}
		m.send("A2", int64(n), at, drain)
		if n < 410*4 {
			m.send("B1", int64(n), at+time.Second, 95)
		} else {
			m.send("B1", int64(n), at+time.Second, 30)
		}
		m.send("C4", int64(n), at+2*time.Second, 20+float64(n%100))
	}
}

// TestWarmUp: all snapshots and all of the journal but its last two days are gone. Made from history, the state goes on as the
// one that saw everything: the same windows, the same counters, the same episodes under the same ids, and nothing is found twice.
func TestWarmUp(t *testing.T) {
	set := loadRules(t, "mean", `when: 'avg(drain_s, "14d") > 60'`, "slow", "when: drain_s > 90, clear: drain_s < 41, clear_for: 30m",
		"worn", "when: hours(drain_s > 70) > 400", "much", "when: total(drain_s) > 155500")
	const trimmed, end = 398 * 4, 400 * 4
	whole := newMemory()
	year(whole, 0, end)
	p := (&process{log: whole, found: whole, store: whole}).start(DefaultConfig(), set, true)
	stepped := func(p *process, n int) func() bool {
		return func() bool { return p.engine.Stats()[0].Stepped+p.engine.Stats()[1].Stepped == uint64(n+n-1) }
	}
	until(t, "a year stepped", stepped(p, 3*end))
	before := len(whole.found)
	h := keep(t, whole)

	lost := newMemory()
	lost.records, lost.trimmed = slices.Clone(whole.records), 3*trimmed
	lost.found = slices.Clone(whole.found)
	again := &process{log: lost, found: lost, store: lost, past: h}
	again.start(DefaultConfig(), set, true)
	until(t, "warmed up", stepped(again, 3*end))
	year(whole, end, end+80)
	year(lost, end, end+80)
	until(t, "went on", stepped(p, 3*(end+80)))
	until(t, "went on", stepped(again, 3*(end+80)))
	p.stop(t)
	again.stop(t)
	whole.counted, lost.counted = nil, nil // what the past told is not told again
	want, got := whole.marks(), lost.marks()
	if !slices.Equal(got, want) || len(lost.found) != len(whole.found) {
		t.Errorf("findings\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	late := map[string]int{}
	for _, f := range lost.found[before:] {
		late[f.Rule]++
	}
	for _, rule := range []string{"mean", "slow", "worn", "much"} { // what rests on windows, on episodes, on counters
		if late[rule] == 0 {
			t.Errorf("nothing came of %s afterwards: %v", rule, late)
		}
	}
	if n := testutil.ToFloat64(again.engine.metrics.warmed); n != 3 {
		t.Errorf("%v devices warmed up", n)
	}
	if len(lost.opened) != 1 || lost.opened[0] != 3*trimmed+1 {
		t.Errorf("journal read from %v", lost.opened)
	}
}

// away is a past that fails so many times.
type away struct {
	mu    sync.Mutex
	n     int
	fails int
}

func (a *away) try() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n++; a.n <= a.fails {
		return errAway
	}
	return nil
}

func (a *away) tries() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}

func (a *away) Facts(_ context.Context, partition int, each func(fleet.Facts) error) error {
	if err := a.try(); err != nil || partition != 0 {
		return err
	}
	return each(fleet.Facts{Device: fleet.DeviceKey{Tenant: "demo", Serial: "A2"}, Model: "washer-w7"})
}

func (a *away) Readings(_ context.Context, key fleet.DeviceKey, model string, from, to time.Time, each func(*fleet.Reading) error) error {
	tries := a.tries()
	for n := range int64(4) { // fails in between: it goes on where it was
		if err := each(&fleet.Reading{Device: key, Model: model, Time: from.Add(time.Hour), Boot: 1, Seq: int64(tries)*4 + n, HasSeq: true,
			Fields: []fleet.Field{{Name: "drain_s", Value: fleet.Value{Float: 80}}}}); err != nil {
			return err
		}
	}
	return a.try()
}

func (a *away) Counters(context.Context, fleet.DeviceKey, time.Time) (at time.Time, values map[string]float64, err error) {
	return at, nil, a.try()
}

func (a *away) Findings(context.Context, fleet.DeviceKey, time.Time) ([]fleet.Finding, error) {
	return nil, a.try()
}

// TestWarmUpWaitsForHistory: nothing is stepped before the past is known; readiness says so.
func TestWarmUpWaitsForHistory(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.readings(0, 30, 80)
		m.trimmed = 20
		a := &away{fails: 12}
		p := &process{log: m, found: m, store: m, past: a}
		p.start(DefaultConfig(), set, true)
		pass(3 * time.Second)
		if err := p.engine.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "away") || p.engine.Stats()[0].Stepped != 0 {
			t.Errorf("while it is away: %v, stepped %d", err, p.engine.Stats()[0].Stepped)
		}
		pass(5 * time.Minute)
		if err := p.engine.Check(t.Context()); err != nil || p.engine.Stats()[0].Stepped != 30 {
			t.Errorf("when it is back: %v, stepped %d", err, p.engine.Stats()[0].Stepped)
		}
		p.stop(t)
		if got := m.marks(); len(got) != 1 { // it is open, and nobody was told
			t.Errorf("findings %v", got)
		}
	})
}

// oddFacts are facts that cannot be encoded.
type oddFacts struct{ *away }

func (oddFacts) Facts(_ context.Context, partition int, each func(fleet.Facts) error) error {
	return each(fleet.Facts{Device: fleet.DeviceKey{Tenant: "demo", Serial: "A2"}, Model: "washer-w7", Limits: map[string]float64{"slow.top": math.NaN()}})
}

// TestWarmUpIsNotStoppedByOneDevice: no partition stands still because something about one device is broken.
func TestWarmUpIsNotStoppedByOneDevice(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.readings(0, 30, 80)
		m.trimmed = 20
		p := &process{log: m, found: m, store: m, past: oddFacts{&away{}}}
		p.start(DefaultConfig(), set, true)
		pass(time.Minute)
		if got := p.engine.Stats()[0].Stepped; got != 30 {
			t.Errorf("stepped %d", got)
		}
		p.stop(t)
	})
}

// TestWhenItWarmsUp: only when something is missing, or when it is told to.
func TestWhenItWarmsUp(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70")
	for name, c := range map[string]struct {
		mode          string
		trimmed, past bool
		snapshot      bool
		want          bool
	}{
		"nothing is missing":  {warmAuto, false, true, false, false},
		"the journal's start": {warmAuto, true, true, false, true},
		"a snapshot is whole": {warmAuto, true, true, true, false},
		"always":              {warmAlways, false, true, true, true},
		"off":                 {warmOff, true, true, false, false},
		"no history":          {warmAuto, true, false, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			m.readings(0, 30, 60)
			m.send("B1", 1, 30*time.Minute, 60)
			if c.snapshot {
				p := start(m, set, true, 0, stall)
				synctest.Wait()
				p.stop(t)
			}
			if c.trimmed {
				m.trimmed = 20
			}
			p := &process{log: m, found: m, store: m}
			a := &away{}
			if c.past {
				p.past = a
			}
			cfg := DefaultConfig()
			cfg.WarmUp = c.mode
			p.start(cfg, set, true)
			synctest.Wait()
			if p.engine.Stats()[0].Stepped != 30 || a.tries() > 0 != c.want {
				t.Errorf("%s: stepped %d, asked %d times", name, p.engine.Stats()[0].Stepped, a.tries())
			}
			p.stop(t)
		})
	}
}
