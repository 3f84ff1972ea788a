package rules

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

const (
	heardLately = 7 * 24 * time.Hour // devices that were not heard of for longer are no peers; so long an episode counts for a rate
	maxValues   = 1 << 16            // kept of an expression while an aggregate is made; an even number
	maxRates    = 20_000             // firmwares times batches times rules: devices say of themselves what their firmware is
	maxSample   = 256                // values that stand for all devices of a partition
	tablePoints = 33                 // of a summary's table
)

// Aggregate is what the devices of a partition contribute to a summary of the fleet. It is bounded, whatever the number of devices,
// models, firmwares and rules: what stands for the fewest devices is left out.
type Aggregate struct {
	At    time.Time         `json:"at"` // by the partition's clock
	Peers []PeerSample      `json:"peers,omitempty"`
	Rates []fleet.FleetRate `json:"rates,omitempty"`
	Left  int               `json:"left,omitempty"` // so much was left out: tables, and rates or devices in rates
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
	at     time.Time
	next   int
	left   int
	values map[peerKey]*gathered
	rates  map[rateKey]*fleet.FleetRate
}

// BeginAggregate begins to look at all devices of the partition.
func (s *State) BeginAggregate() *Aggregating {
	return &Aggregating{s: s, at: s.Now().UTC(), values: map[peerKey]*gathered{}, rates: map[rateKey]*fleet.FleetRate{}}
}

// At is the partition's clock when it began.
func (a *Aggregating) At() time.Time { return a.at }

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
			if a.values[k] == nil {
				a.values[k] = &gathered{step: 1}
			}
			a.values[k].add(v)
		}
	}
	firmware, batch := d.build()
	for i := range d.p.rules {
		if !d.p.rules[i].rated {
			continue
		}
		k := rateKey{d.key.Tenant, d.p.model, firmware, batch, d.p.rules[i].ID}
		r := a.rates[k]
		if r == nil {
			if len(a.rates) >= maxRates {
				a.left++
				continue
			}
			r = &fleet.FleetRate{Tenant: k.tenant, Model: k.model, Firmware: firmware, Batch: batch, Rule: k.rule}
			a.rates[k] = r
		}
		r.Devices++
		if d.isOpen(i) || d.openedLately(i, now) {
			r.Affected++
		}
	}
}

// openedLately reports whether an episode of a rule that some rate is about opened in the last seven days before now.
func (d *device) openedLately(rule int, now int64) bool {
	o := d.openings(rule)
	return o != nil && now-o.at[len(o.at)-1] < heardLately.Milliseconds()
}

// gathered is the values of an expression. When they are too many every second is dropped, and of those to come: what is kept is
// spread evenly over the devices, in the order they were heard of first.
type gathered struct {
	v       []float64
	n, step int
}

func (g *gathered) add(x float64) {
	if g.n%g.step == 0 {
		if len(g.v) == maxValues {
			for i := range maxValues / 2 {
				g.v[i] = g.v[2*i]
			}
			g.v = g.v[:maxValues/2]
			g.step *= 2
		}
		g.v = append(g.v, x)
	}
	g.n++
}

// Result is the aggregate, once Go has reported that all devices were seen. It does not look at the state: another goroutine may ask.
func (a *Aggregating) Result() Aggregate {
	out := Aggregate{At: a.at, Left: a.left}
	points := min(maxSample, max(tablePoints, aggregatePeers/(20*max(len(a.values), 1)))) // a number takes about 20 bytes
	for _, k := range slices.SortedFunc(maps.Keys(a.values), peerKey.compare) {
		g := a.values[k]
		slices.Sort(g.v)
		out.Peers = append(out.Peers, PeerSample{Tenant: k.tenant, Model: k.model, Value: k.value, Devices: g.n, At: thinned(g.v, points)})
	}
	for _, k := range slices.SortedFunc(maps.Keys(a.rates), rateKey.compare) {
		out.Rates = append(out.Rates, *a.rates[k])
	}
	var peers, rates int
	out.Peers, peers = fit(out.Peers, func(p *PeerSample) int { return p.Devices }, aggregatePeers)
	out.Rates, rates = fit(out.Rates, func(r *fleet.FleetRate) int { return r.Devices }, aggregateRates)
	out.Left += peers + rates
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

// thinned keeps at most n of sorted values, evenly spaced, with the smallest and the largest.
func thinned(v []float64, n int) []float64 {
	if len(v) <= n {
		return v
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = v[i*(len(v)-1)/(n-1)]
	}
	return out
}
