package rules

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
	"pgregory.net/rapid"
)

// fleetOf steps one reading of each of some devices of a state and returns their values.
func fleetOf(t testing.TB, s *State, n, from int, value func(int) float64) (values []float64) {
	t.Helper()
	var body []byte
	for i := range n {
		v := value(i)
		values = append(values, v)
		r := fleet.Reading{
			Device: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("WM-%05d", from+i)}, Model: "washer-w7", Time: t0, Boot: 1, HasSeq: true,
			Fields: []fleet.Field{{Name: "drain_s", Value: fleet.Value{Type: fleet.Float, Float: v}}},
		}
		body = wire.AppendReading(body, &r)
	}
	s.Step(&wire.Record{Kind: wire.KindReadings, Received: t0, Body: body}, nil)
	return values
}

func summaryRecord(t testing.TB, sum fleet.Summary) *wire.Record {
	t.Helper()
	recs, err := wire.EncodeSummary(1, sum)
	if err != nil {
		t.Fatal(err)
	}
	return &recs[0]
}

const peersRule = `a | when: 'peers(drain_s) > 0.5 and vibration_mm_s > 1e9' | evidence: ['peers(drain_s)', 'fleet_rate("hot")']`

// TestPeersAgainstTheObviousVersion: with any spread over any partitions the share is that of counting all devices, within the
// width of a table's step.
func TestPeersAgainstTheObviousVersion(t *testing.T) {
	set := loadPack(t, peersRule)
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(5, rapid.Uint64().Draw(rt, "seed")))
		shape := rapid.SampledFrom([]func() float64{
			rng.NormFloat64, rng.ExpFloat64, func() float64 { return math.Floor(rng.Float64() * 8) }, func() float64 { return 3 },
		}).Draw(rt, "shape")
		states := make([]*State, rapid.IntRange(1, 3).Draw(rt, "partitions"))
		parts, all := make([]Aggregate, 0, len(states)), make([]float64, 0, 2100)
		for i := range states {
			states[i] = NewState(set)
			all = append(all, fleetOf(t, states[i], rapid.IntRange(0, 700).Draw(rt, "devices"), 1000*i, func(int) float64 { return shape() })...)
			parts = append(parts, states[i].Aggregate())
		}
		sum := MergeSummaries(parts, t0)
		slices.Reverse(parts)
		if again := MergeSummaries(parts, t0); fmt.Sprint(again) != fmt.Sprint(sum) {
			rt.Fatal("the order of the partitions counts")
		}
		for _, s := range states {
			s.Step(summaryRecord(t, sum), nil)
			for i := range min(s.devices.n, 20) {
				d := s.devices.at(i)
				e := s.look(d, t0.UnixMilli())
				got := d.p.rules[0].evidence[0].value.num(&e)
				if len(all) < minPeers {
					if !math.IsNaN(got) {
						rt.Fatalf("%v among %d devices", got, len(all))
					}
					continue
				}
				x, smaller, notLarger := d.num(d.p.slots[0].f), 0.0, 0.0
				for k := range d.p.slots {
					if d.p.slots[k].spec.Name == "drain_s" {
						x = d.num(d.p.slots[k].f)
					}
				}
				for _, v := range all {
					if v < x {
						smaller++
					}
					if v <= x {
						notLarger++
					}
				}
				step := 1.0/(tablePoints-1) + 1.0/(maxSample-1) + 1/float64(len(all))
				if n := float64(len(all)); got < smaller/n-step || got > notLarger/n+step {
					rt.Fatalf("%v of %d devices are below %v, it says %v", smaller/n, len(all), x, got)
				}
			}
		}
	})
}

// TestFleetRates: devices of one firmware and batch that have a finding, over partitions, and what a rule sees of it.
func TestFleetRates(t *testing.T) {
	set := loadPack(t, `hot | when: drain_s > 100`, peersRule)
	parts, states := make([]Aggregate, 0, 2), make([]*State, 0, 2)
	for p := range 2 {
		s := NewState(set)
		fleetOf(t, s, 50, 100*p, func(i int) float64 { return float64(i * 3) }) // 16 above 100
		for i := range 50 {
			f := fleet.Facts{Device: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("WM-%05d", 100*p+i)}, Model: "washer-w7", At: t0, Firmware: "2.1", Batch: "B7"}
			if i%2 == 1 {
				f.Firmware = "2.0"
			}
			body, err := json.Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			s.Step(&wire.Record{Kind: wire.KindFacts, Received: t0, Body: append(body, '\n')}, nil)
		}
		parts, states = append(parts, s.Aggregate()), append(states, s)
	}
	sum := MergeSummaries(parts, t0)
	if len(sum.Rates) != 2 || sum.Rates[0].Devices != 50 || sum.Rates[0].Affected+sum.Rates[1].Affected != 32 {
		t.Fatalf("%+v", sum.Rates)
	}
	before := states[0].Hash()
	states[0].Step(summaryRecord(t, sum), nil)
	if states[0].Hash() == before {
		t.Error("a summary is no part of the state")
	}
	chunks := states[0].Save(1<<20, func() uint32 { return 1 })
	s, _, err := Restore(set, states[0].Header(), set.Layout(), chunks)
	if err != nil || s.Hash() != states[0].Hash() {
		t.Fatalf("restored: %v", err)
	}
	d := s.devices.at(0)
	e := s.look(d, t0.UnixMilli())
	at := slices.IndexFunc(d.p.rules, func(r compiled) bool { return r.ID == "a" })
	firmware, _ := d.build()
	for _, r := range sum.Rates {
		if got := d.p.rules[at].evidence[1].value.num(&e); r.Firmware == firmware && got != float64(r.Affected)/50 {
			t.Errorf("rate %v, want %d of 50", got, r.Affected)
		}
	}
}

// TestSilentDevicesAreNoPeers: who was not heard of for a week is not compared with, and aggregates change nothing.
func TestSilentDevicesAreNoPeers(t *testing.T) {
	s := NewState(loadPack(t, peersRule))
	fleetOf(t, s, 20, 0, func(i int) float64 { return float64(i) })
	before := s.Hash()
	if a := s.Aggregate(); a.Peers[0].Devices != 20 || s.Hash() != before {
		t.Errorf("%+v", a)
	}
	s.Step(&wire.Record{Kind: wire.KindTick, Received: t0.Add(8 * 24 * time.Hour)}, nil)
	if a := s.Aggregate(); len(a.Peers) != 0 {
		t.Errorf("%+v", a)
	}
	if err := s.SetSummary([]byte("{")); err == nil {
		t.Error("a damaged summary is taken")
	}
}
