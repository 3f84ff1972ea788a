package rules

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

const (
	heardLately = 7 * 24 * time.Hour // devices that were not heard of for longer are no peers
	maxSample   = 256                // values that stand for all devices of a partition
	tablePoints = 33                 // of a summary's table
)

// Aggregate is what the devices of a partition contribute to a summary of the fleet. It is bounded by the number of tenants, models,
// firmwares, batches and rules, not by that of devices.
type Aggregate struct {
	Peers []PeerSample      `json:"peers,omitempty"`
	Rates []fleet.FleetRate `json:"rates,omitempty"`
}

// PeerSample is some values that stand for those of all devices of a model, from the smallest to the largest.
type PeerSample struct {
	Tenant  string    `json:"tenant"`
	Model   string    `json:"model"`
	Value   string    `json:"value"` // the expression
	Devices int       `json:"devices"`
	At      []float64 `json:"at"` // each stands for as many devices as the next
}

// Aggregating is an aggregate in the making: as a snapshot it is made piece by piece, between records.
type Aggregating struct {
	s      *State
	next   int
	values map[peerKey][]float64
	rates  map[rateKey]*fleet.FleetRate
}

// BeginAggregate begins to look at all devices of the partition.
func (s *State) BeginAggregate() *Aggregating {
	return &Aggregating{s: s, values: map[peerKey][]float64{}, rates: map[rateKey]*fleet.FleetRate{}}
}

// Go looks at up to n more devices and reports whether it has seen all. It changes nothing in the state.
func (a *Aggregating) Go(n int) (done bool) {
	s := a.s
	for ; n > 0 && a.next < s.devices.n; n-- {
		d := s.devices.at(a.next)
		a.next++
		if s.partition()-d.heard < heardLately.Milliseconds() && d.spoke() != never && (d.facts == nil || !d.facts.revoked) {
			a.add(d)
		}
	}
	return a.next >= s.devices.n
}

func (a *Aggregating) add(d *device) {
	now := max(a.s.at(d), d.newest[fleet.Telemetry])
	e := a.s.look(d, now)
	for i := range d.p.peers {
		p := &d.p.peers[i]
		if v := p.num(&e); finite(v) {
			k := peerKey{d.key.Tenant, d.p.model, p.name}
			a.values[k] = append(a.values[k], v)
		}
	}
	firmware, batch := d.build()
	for i := range d.p.rules {
		rule := d.p.rules[i].ID
		open := d.isOpen(i) || d.openedLately(i, now)
		k := rateKey{d.key.Tenant, d.p.model, firmware, batch, rule}
		r := a.rates[k]
		if r == nil {
			r = &fleet.FleetRate{Tenant: k.tenant, Model: k.model, Firmware: firmware, Batch: batch, Rule: rule}
			a.rates[k] = r
		}
		r.Devices++
		if open {
			r.Affected++
		}
	}
}

// openedLately reports whether a rule opened not longer ago than its flapping looks back.
func (d *device) openedLately(rule int, now int64) bool {
	o := d.openings(rule)
	return o != nil && d.p.rules[rule].Flapping.Times > 0 && now-o.at[len(o.at)-1] < d.p.rules[rule].lookback()
}

// Result is the aggregate, once Go has reported that all devices were seen. Rates of rules that no device has are left out unless a rule
// asks for them.
func (a *Aggregating) Result() Aggregate {
	var out Aggregate
	for _, k := range slices.SortedFunc(maps.Keys(a.values), peerKey.compare) {
		v := a.values[k]
		slices.Sort(v)
		out.Peers = append(out.Peers, PeerSample{Tenant: k.tenant, Model: k.model, Value: k.value, Devices: len(v), At: thinned(v)})
	}
	for _, k := range slices.SortedFunc(maps.Keys(a.rates), rateKey.compare) {
		p := a.s.set.programs[k.model]
		if r := a.rates[k]; r.Affected > 0 || p != nil && contains(p.rates, k.rule) {
			out.Rates = append(out.Rates, *r)
		}
	}
	return out
}

// Aggregate is BeginAggregate and all of Go at once.
func (s *State) Aggregate() Aggregate {
	a := s.BeginAggregate()
	a.Go(s.devices.n)
	return a.Result()
}

func (k peerKey) compare(o peerKey) int {
	return cmp.Or(cmp.Compare(k.tenant, o.tenant), cmp.Compare(k.model, o.model), cmp.Compare(k.value, o.value))
}

func (k rateKey) compare(o rateKey) int {
	return cmp.Or(cmp.Compare(k.tenant, o.tenant), cmp.Compare(k.model, o.model), cmp.Compare(k.firmware, o.firmware),
		cmp.Compare(k.batch, o.batch), cmp.Compare(k.rule, o.rule))
}

// thinned keeps at most maxSample of sorted values, evenly spaced, with the smallest and the largest.
func thinned(v []float64) []float64 {
	if len(v) <= maxSample {
		return v
	}
	out := make([]float64, maxSample)
	for i := range out {
		out[i] = v[i*(len(v)-1)/(maxSample-1)]
	}
	return out
}

// weighted is a value of a sample with how many devices it stands for.
type weighted struct{ v, n float64 }

// MergeSummaries makes the summary of the whole fleet from the aggregates of its partitions, in any order. A share in it is
// off by at most half a step of a partition's sample (1/510) and half a step of the table (1/64).
func MergeSummaries(parts []Aggregate, at time.Time) fleet.Summary {
	out := fleet.Summary{At: at.UTC()}
	samples, devices := map[peerKey][]weighted{}, map[peerKey]int{}
	rates := map[rateKey]fleet.FleetRate{}
	for i := range parts {
		for _, p := range parts[i].Peers {
			k := peerKey{p.Tenant, p.Model, p.Value}
			devices[k] += p.Devices
			for _, v := range p.At {
				samples[k] = append(samples[k], weighted{v: v, n: float64(p.Devices) / float64(len(p.At))})
			}
		}
		for _, r := range parts[i].Rates {
			k := rateKey{r.Tenant, r.Model, r.Firmware, r.Batch, r.Rule}
			r.Devices += rates[k].Devices
			r.Affected += rates[k].Affected
			rates[k] = r
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(samples), peerKey.compare) {
		out.Peers = append(out.Peers, fleet.PeerTable{Tenant: k.tenant, Model: k.model, Value: k.value, Devices: devices[k], At: table(samples[k])})
	}
	for _, k := range slices.SortedFunc(maps.Keys(rates), rateKey.compare) {
		out.Rates = append(out.Rates, rates[k])
	}
	return out
}

// table is the values at evenly spaced shares of what a sample stands for.
func table(list []weighted) []float64 {
	slices.SortFunc(list, func(a, b weighted) int { return cmp.Or(cmp.Compare(a.v, b.v), cmp.Compare(a.n, b.n)) })
	total := 0.0
	for _, w := range list {
		total += w.n
	}
	out, before, k := make([]float64, tablePoints), 0.0, 0
	for i := range out {
		want := total * float64(i) / (tablePoints - 1)
		for k < len(list)-1 && before+list[k].n <= want {
			before += list[k].n
			k++
		}
		out[i] = list[k].v
	}
	return out
}
