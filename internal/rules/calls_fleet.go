package rules

import (
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"aftercare/internal/wire"
	"github.com/expr-lang/expr/ast"
)

// minPeers is how many devices a comparison with others needs: of fewer a share says nothing.
const minPeers = 10

// fleetTables is what the last summary said, by what rules ask for. It does not change.
type fleetTables struct {
	at    time.Time
	body  []byte // the record's, for snapshots
	peers map[peerKey][]float64
	rates map[rateKey]float64
}

type peerKey struct{ tenant, model, value string }

type rateKey struct{ tenant, model, firmware, batch, rule string }

// SetSummary makes conditions compare with a new summary of the fleet: the body of a record of kind summary. Rules that look at it
// are evaluated at the next reading of each device. One that cannot be read changes nothing, and is an error. Neither does one that is
// older than what is known: it comes from a process that stood still.
func (s *State) SetSummary(body []byte) error {
	sum, err := wire.DecodeSummary(body)
	if err != nil {
		return err
	}
	if s.fleet != nil && sum.At.Before(s.fleet.at) {
		return nil
	}
	t := &fleetTables{at: sum.At, body: slices.Clone(body), peers: map[peerKey][]float64{}, rates: map[rateKey]float64{}}
	for _, p := range sum.Peers {
		if p.Devices >= minPeers && len(p.At) > 1 && sort.Float64sAreSorted(p.At) {
			t.peers[peerKey{p.Tenant, p.Model, p.Value}] = p.At
		}
	}
	for _, r := range sum.Rates {
		if r.Devices >= minPeers {
			t.rates[rateKey{r.Tenant, r.Model, r.Firmware, r.Batch, r.Rule}] = float64(r.Affected) / float64(r.Devices)
		}
	}
	s.fleet = t
	return nil
}

// Summary returns of when the last summary of the fleet is and its size in bytes, compressed; no time: there was none.
func (s *State) Summary() (at time.Time, size int) {
	if s.fleet == nil {
		return time.Time{}, 0
	}
	return s.fleet.at, len(s.fleet.body)
}

// look is what conditions see of a device at a moment.
func (s *State) look(d *device, now int64) env { return env{d: d, now: now, fleet: s.fleet} }

// peer is an expression that rules compare with other devices of the model.
type peer struct {
	name string
	num  numFn
}

// peers compiles the share of the devices of the same model whose value of an expression is smaller, from the last summary.
// What lies between two of its points is taken to be spread evenly.
func (c *compiler) peers(n *ast.CallNode) value {
	arg := n.Arguments[0]
	v, inner := c.apart(arg)
	switch {
	case v.kind == bad:
		return value{slot: -1}
	case v.kind != number || len(inner.slots) == 0:
		return c.fail(arg, `peers(avg(drain_s, "7d"))`, "peers wants a number that devices have, found %s", clip(arg.String()))
	case inner.age || inner.silent || inner.code || inner.finding || inner.limits || inner.fleet:
		return c.fail(arg, `peers(avg(drain_s, "7d"))`, "%s is nothing to compare devices by", clip(arg.String()))
	}
	c.use.join(inner)
	c.use.sliding, c.use.fleet = true, true // the others change too
	name, num := arg.String(), v.num
	if !slices.ContainsFunc(c.b.p.peers, func(p peer) bool { return p.name == name }) {
		c.b.p.peers = append(c.b.p.peers, peer{name: name, num: num})
	}
	return value{kind: number, slot: v.slot, num: func(e *env) float64 {
		if e.fleet == nil {
			return math.NaN()
		}
		x := num(e)
		at := e.fleet.peers[peerKey{e.d.key.Tenant, e.d.p.model, name}]
		if at == nil || x != x {
			return math.NaN()
		}
		return shareBelow(at, x)
	}}
}

// shareBelow is the share of what a table describes that is smaller than x.
func shareBelow(at []float64, x float64) float64 {
	i := sort.SearchFloat64s(at, x) // the first that is not smaller
	switch i {
	case 0:
		return 0
	case len(at):
		return 1
	}
	return (float64(i-1) + (x-at[i-1])/(at[i]-at[i-1])) / float64(len(at)-1)
}

// fleetRate compiles the share of devices of the same model, firmware and batch that have a finding, from the last summary.
func (c *compiler) fleetRate(n *ast.CallNode) value {
	rule, ok := c.quoted(n, 0, `fleet_rate("rule-id")`, "fleet_rate wants the id of a rule in quotes")
	if !ok {
		return value{slot: -1}
	}
	if !validID(rule) {
		return c.fail(n.Arguments[0], idHint, "%q is not the id of a rule", clip(rule))
	}
	rule = strings.TrimSpace(rule)
	c.use.sliding, c.use.fleet = true, true
	if !contains(c.b.p.rates, rule) {
		c.b.p.rates = append(c.b.p.rates, rule)
	}
	return value{kind: number, slot: -1, num: func(e *env) float64 {
		if e.fleet == nil {
			return math.NaN()
		}
		key := rateKey{tenant: e.d.key.Tenant, model: e.d.p.model, rule: rule}
		key.firmware, key.batch = e.d.build()
		if v, ok := e.fleet.rates[key]; ok {
			return v
		}
		return math.NaN()
	}}
}

// build is which firmware and batch a device is of; empty: not known.
func (d *device) build() (firmware, batch string) {
	if d.facts == nil {
		return "", ""
	}
	return d.facts.kind.firmware, d.facts.kind.batch
}
