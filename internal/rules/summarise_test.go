package rules

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
	"pgregory.net/rapid"
)

const ratedRule = `b | when: 'fleet_rate("hot") > 0.9'`

// TestRateCountsSevenDays: an episode counts for seven days after it opened, whatever its flapping looks back, over a restart too; of rules
// whose rate nobody asks for nothing more is kept.
func TestRateCountsSevenDays(t *testing.T) {
	for _, flapping := range []string{"", " | flapping: off", " | flapping: {times: 2, within: 1h, quiet: 10m}"} {
		l := newLife(t, `hot | when: drain_s > 100`+flapping, `other | when: drain_s > 100`, ratedRule)
		want(t, l.send(0, "drain_s=120"), "hot opened", "other opened")
		want(t, l.send(minute, "drain_s=20"), "hot cleared", "other cleared")
		affected := func() int {
			a := l.s.Aggregate()
			if len(a.Rates) != 1 || a.Rates[0].Rule != "hot" || a.Rates[0].Devices != 1 {
				t.Fatalf("%q: %+v", flapping, a.Rates)
			}
			return a.Rates[0].Affected
		}
		for day := range 9 {
			if got := affected(); (got == 1) != (day < 7) {
				t.Errorf("%q: day %d: %d affected", flapping, day, got)
			}
			before := l.s.Hash()
			s, _, err := Restore(l.s.set, l.s.Header(), l.s.set.Layout(), l.s.Save(1<<20, func() uint32 { return 1 }))
			if err != nil || s.Hash() != before {
				t.Fatalf("%q: day %d: restored: %v", flapping, day, err)
			}
			l.s = s
			l.send(time.Duration(day+1)*24*hour+2*minute, "drain_s=20")
		}
		l.send(10*24*hour, "drain_s=120")
		if d := l.s.devices.at(0); len(*d.opened) != 2 || len((*d.opened)[0].at) != 1 {
			t.Errorf("%q: %+v", flapping, *d.opened)
		}
	}
}

// TestRatedRulesFlapAlike: that openings are kept for a rate changes nothing of what flaps.
func TestRatedRulesFlapAlike(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rule := fmt.Sprintf(`hot | when: drain_s > 100 | flapping: {times: %d, within: %dm, quiet: 30m}`,
			rapid.IntRange(2, 5).Draw(rt, "times"), rapid.IntRange(30, 600).Draw(rt, "within"))
		plain, rated := newLife(t, rule), newLife(t, rule, ratedRule)
		at := time.Duration(0)
		for range rapid.IntRange(1, 40).Draw(rt, "readings") {
			at += time.Duration(rapid.IntRange(1, 180).Draw(rt, "minutes")) * minute
			v := fmt.Sprintf("drain_s=%d", rapid.SampledFrom([]int{20, 120}).Draw(rt, "value"))
			a, b := plain.send(at, v), rated.send(at, v)
			if len(a) != len(b) || len(a) > 0 && (a[0].Phase != b[0].Phase || a[0].Flapping != b[0].Flapping || a[0].ID != b[0].ID) {
				rt.Fatalf("at %v: %+v, without a rate %+v", at, b, a)
			}
		}
	})
}

// TestOlderSummaryIsNotTaken: what a process writes that stood still.
func TestOlderSummaryIsNotTaken(t *testing.T) {
	s := NewState(loadPack(t, peersRule))
	sum := func(after time.Duration, devices int) {
		s.Step(summaryRecord(t, fleet.Summary{At: t0.Add(after), Rates: []fleet.FleetRate{{Tenant: "demo", Rule: "hot", Devices: devices}}}), nil)
	}
	sum(hour, 20)
	hash := s.Hash()
	sum(0, 30)
	if at, size := s.Summary(); s.Hash() != hash || !at.Equal(t0.Add(hour)) || size == 0 || s.counts.BadLines > 0 {
		t.Errorf("summary of %v", at)
	}
	sum(hour, 30)
	if s.Hash() == hash {
		t.Error("a newer one is not taken")
	}
}

// TestAggregateInSlices: made piece by piece it is the same.
func TestAggregateInSlices(t *testing.T) {
	s := NewState(loadPack(t, `hot | when: drain_s > 100`, peersRule))
	fleetOf(t, s, 300, 0, func(i int) float64 { return float64(i * 7 % 301) })
	rapid.Check(t, func(rt *rapid.T) {
		a := s.BeginAggregate()
		for !a.Go(rapid.IntRange(1, 100).Draw(rt, "devices")) {
		}
		if got, want := a.Result(), s.Aggregate(); !reflect.DeepEqual(got, want) || len(got.Peers) != 1 || len(got.Rates) != 1 {
			rt.Fatalf("%+v, want %+v", got, want)
		}
	})
}

// TestGathered: of more values than are kept, what is kept is spread evenly, and all are counted.
func TestGathered(t *testing.T) {
	for _, n := range []int{maxValues, maxValues + 1, 5*maxValues + 7} {
		g := gathered{step: 1}
		for i := range n {
			g.add(float64(i))
		}
		if g.n != n || len(g.v) > maxValues || len(g.v) < maxValues/2 {
			t.Errorf("%d: %d kept of %d", n, len(g.v), g.n)
		}
		for i, v := range g.v {
			if v != float64(i*g.step) {
				t.Fatalf("%d: value %d is %v, want each %dth", n, i, v, g.step)
			}
		}
	}
}

// TestSummaryIsBounded: however many groups there are, and whatever devices call their firmware, a summary has its bounds; the largest
// groups are in it and the others are counted.
func TestSummaryIsBounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(7, rapid.Uint64().Draw(rt, "seed")))
		tables, rates := rapid.IntRange(0, 400).Draw(rt, "tables"), rapid.IntRange(0, 1500).Draw(rt, "rates")
		a := NewState(loadPack(t, peersRule)).BeginAggregate()
		for i := range tables {
			g := &gathered{step: 1}
			for range minPeers + rng.IntN(60) {
				g.add(rng.NormFloat64())
			}
			a.values[peerKey{"demo", fmt.Sprint("m", i), "drain_s"}] = g
		}
		for i := range rates {
			k := rateKey{"demo", "m", fmt.Sprint(i, "\"\n"), "b", "hot"}
			a.rates[k] = &fleet.FleetRate{Tenant: k.tenant, Model: k.model, Firmware: k.firmware, Batch: k.batch, Rule: k.rule, Devices: minPeers + rng.IntN(1000)}
		}
		part := a.Result()
		stored, err := json.Marshal(part)
		if err != nil || len(stored) > 960<<10 {
			rt.Fatalf("an aggregate of %d bytes, %v", len(stored), err)
		}
		sum, left := Summarise([]Aggregate{part}, t0)
		body, err := json.Marshal(sum)
		if err != nil || len(body) > 256<<10+200 {
			rt.Fatalf("a summary of %d bytes, %v", len(body), err)
		}
		if got := len(sum.Peers) + len(sum.Rates) + left; got != tables+rates {
			rt.Fatalf("%d tables, %d rates and %d left out, of %d and %d", len(sum.Peers), len(sum.Rates), left, tables, rates)
		}
		least, all := 1<<30, make([]int, 0, rates)
		for _, r := range sum.Rates {
			least = min(least, r.Devices)
		}
		for _, r := range a.rates {
			all = append(all, r.Devices)
		}
		slices.Sort(all)
		if n := len(all) - len(sum.Rates); n > 0 && least < all[n-1] {
			rt.Fatalf("a group of %d devices is in it, one of %d is not", least, all[n-1])
		}
	})
}

// TestFirmwaresWithoutEnd: devices that each call their firmware something else are counted and cost a bounded amount.
func TestFirmwaresWithoutEnd(t *testing.T) {
	s := NewState(loadPack(t, `hot | when: drain_s > 100`, ratedRule))
	const n = maxRates + 50
	fleetOf(t, s, n, 100_000, func(int) float64 { return 1 })
	var body []byte
	for i := range n {
		line, err := json.Marshal(fleet.Facts{Device: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("WM-%05d", 100_000+i)}, Model: "washer-w7", At: t0, Firmware: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		body = append(append(body, line...), '\n')
	}
	s.Step(&wire.Record{Kind: wire.KindFacts, Received: t0, Body: body}, nil)
	if a := s.Aggregate(); len(a.Rates)+a.Left != n || a.Left < 50 {
		t.Errorf("%d rates, %d left out", len(a.Rates), a.Left)
	}
}
