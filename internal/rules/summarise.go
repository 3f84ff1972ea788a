package rules

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"aftercare/internal/fleet"
)

// How many bytes of JSON the parts of an aggregate and of a summary take at most. A summary is a record in every partition, and in the
// header of every snapshot; compressed there.
const (
	aggregatePeers = 512 << 10
	aggregateRates = 256 << 10
	summaryPeers   = 160 << 10
	summaryRates   = 96 << 10
)

// LooksAtFleet reports whether a rule compares devices with others: without one nobody needs a summary.
func (s *Set) LooksAtFleet() bool { return s.fleet }

// Settled reports whether all devices are known to be of the rules that count now. After an activation they are once all were saved; an
// aggregate made before that would count more of those that have something than of the others.
func (s *State) Settled() bool { return s.gen() == 0 || s.sets[s.gen()-1] == nil }

// Summarise makes the summary of the fleet from the aggregates of partitions, in any order. at is when, by the clock of the partitions.
// What does not fit, of the groups with the fewest devices, is left out: left says how much, the aggregates' own included.
func Summarise(parts []Aggregate, at time.Time) (sum fleet.Summary, left int) {
	sum = MergeSummaries(parts, at)
	var peers, rates int
	sum.Peers, peers = fit(sum.Peers, func(p *fleet.PeerTable) int { return p.Devices }, summaryPeers)
	sum.Rates, rates = fit(sum.Rates, func(r *fleet.FleetRate) int { return r.Devices }, summaryRates)
	for i := range parts {
		left += parts[i].Left
	}
	return sum, left + peers + rates
}

// fit keeps those of a list that stand for the most devices, as many as take no more than limit bytes of JSON, in their order.
func fit[T any](list []T, devices func(*T) int, limit int) (kept []T, left int) {
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(devices(&list[b]), devices(&list[a])) })
	size, n := 0, 0
	for ; n < len(order); n++ {
		b, err := json.Marshal(&list[order[n]])
		if err != nil {
			panic("rules: summary: " + err.Error()) // all numbers in it are finite
		}
		if size += len(b) + 1; size > limit {
			break
		}
	}
	if n == len(list) {
		return list, 0
	}
	slices.Sort(order[:n])
	for _, i := range order[:n] {
		kept = append(kept, list[i])
	}
	return kept, len(list) - n
}

// weighted is a value of a sample with how many devices it stands for.
type weighted struct{ v, n float64 }

// MergeSummaries makes the summary of the whole fleet from the aggregates of its partitions, in any order. A share in it is
// off by at most half a step of a partition's sample (1/510; 1/64 in a fleet of more than a hundred tables) and half a step of the
// table (1/64). Groups of fewer devices than a comparison needs are not in it.
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
		if devices[k] < minPeers {
			continue
		}
		out.Peers = append(out.Peers, fleet.PeerTable{Tenant: k.tenant, Model: k.model, Value: k.value, Devices: devices[k], At: table(samples[k])})
	}
	for _, k := range slices.SortedFunc(maps.Keys(rates), rateKey.compare) {
		if rates[k].Devices >= minPeers {
			out.Rates = append(out.Rates, rates[k])
		}
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
