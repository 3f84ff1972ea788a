package incidents

import (
	"cmp"
	"slices"

	"aftercare/internal/fleet"
)

// A problem of a whole model is compared with nothing but its past: there must be enough of it.
const minPast = 4 // windows

// convincing is how much better (logarithm of the likelihood) a more specific group must explain the cases to be named instead of a
// less specific one: by a factor of 150.
const convincing = 5

// maxFound bounds how many groups of one problem are found in one pass.
const maxFound = 5

// place is what devices are grouped by within a model; an empty member is not known.
type place struct{ firmware, batch string }

// cell is the devices of one place with one problem.
type cell struct {
	place
	devices  int
	affected int // in the window, and still of this place
	hard     int // of these, with a fault or danger
	before   int // device-windows with the problem, before the window
}

// sample is what is known of one problem of a model.
type sample struct {
	cells    []cell
	moved    int     // device-windows with the problem, before the window, in places that no device is in any more
	past     float64 // device-windows that were observed before the window
	tests    int     // how many groups are tested in this pass, over all problems
	severity fleet.Severity
}

// group is a set of cells that one firmware, one batch, or both name; neither is the whole model.
type group struct {
	place
	devices, affected, hard, before int
}

// specific is how many of firmware and batch a group names.
func (g *group) specific() (n int) {
	if g.firmware != "" {
		n++
	}
	if g.batch != "" {
		n++
	}
	return n
}

func (p place) has(c place) bool {
	return (p.firmware == "" || p.firmware == c.firmware) && (p.batch == "" || p.batch == c.batch)
}

// outbreak is a group in which a problem is more frequent than is normal.
type outbreak struct {
	group
	normal float64 // rate per window
	chance float64
	gain   float64 // logarithm of the likelihood ratio: how well the group explains the cases
}

// groups returns the groups of a sample that are large enough, the least specific first. One with the same devices as a less
// specific one is left out, and of a firmware and a batch with the same devices the batch is.
func (c Config) groups(s *sample) []group {
	sum := map[place]*group{}
	for _, x := range s.cells {
		for _, p := range []place{{}, {firmware: x.firmware}, {batch: x.batch}, x.place} {
			if sum[p] == nil {
				sum[p] = &group{place: p}
			}
		}
		seen := map[place]bool{}
		for _, p := range []place{{}, {firmware: x.firmware}, {batch: x.batch}, x.place} {
			if !seen[p] { // a cell without a batch is named by its firmware alone
				seen[p] = true
				g := sum[p]
				g.devices, g.affected, g.hard, g.before = g.devices+x.devices, g.affected+x.affected, g.hard+x.hard, g.before+x.before
			}
		}
	}
	if len(sum) == 0 {
		return nil
	}
	all := *sum[place{}]
	out := []group{all}
	for p, g := range sum {
		same := func(o place) bool { return sum[o].devices == g.devices }
		switch {
		case g.devices < c.MinDevices || g.specific() == 0 || g.devices == all.devices:
		case g.specific() == 2 && (same(place{firmware: p.firmware}) || same(place{batch: p.batch})):
		case g.specific() == 1 && p.firmware == "" && onlyOne(s.cells, p.batch, sum, g.devices):
		default:
			out = append(out, *g)
		}
	}
	slices.SortFunc(out, func(a, b group) int {
		return cmp.Or(a.specific()-b.specific(), -cmp.Compare(a.firmware, b.firmware), cmp.Compare(a.batch, b.batch))
	})
	return out
}

// onlyOne reports whether a batch has the same devices as a firmware.
func onlyOne(cells []cell, batch string, sum map[place]*group, devices int) bool {
	for i := range cells {
		if x := &cells[i]; x.batch == batch && x.devices > 0 {
			return x.firmware != "" && sum[x.place].devices == devices && sum[place{firmware: x.firmware}].devices == devices
		}
	}
	return false
}

// find returns the groups in which the problem is more frequent than is normal, with the one group that explains it best for
// each of them: what it explains is set aside before the next is looked for. usual says, of maintenance that is due, which rate is
// normal for devices of that age; below 0: it cannot be told.
func (c Config) find(s sample, usual func(group) float64) (found []outbreak) {
	for len(found) < maxFound {
		best, ok := c.best(&s, usual)
		if !ok {
			return found
		}
		found = append(found, best)
		all := 0
		for _, x := range s.cells {
			all += x.devices
		}
		s.past *= float64(all-best.devices) / float64(max(all, 1))
		s.cells = slices.DeleteFunc(slices.Clone(s.cells), func(x cell) bool { return best.has(x.place) })
	}
	return found
}

// best returns the group that explains the cases best among those that pass the test.
func (c Config) best(s *sample, usual func(group) float64) (best outbreak, ok bool) {
	groups := c.groups(s)
	if len(groups) == 0 || groups[0].devices < c.MinDevices {
		return best, false
	}
	better := func(o outbreak) bool {
		return o.gain > best.gain+convincing*float64(max(0, o.specific()-best.specific()))
	}
	for _, g := range groups {
		if o, significant := c.test(s, groups[0], g, usual); significant && (!ok || better(o)) {
			best, ok = o, true
		}
	}
	if !ok || best.specific() > 0 {
		return best, ok
	}
	// The model is worse than it was before. That a part of it explains this need not be proven against the rest of it.
	for _, g := range groups[1:] {
		o := outbreak{group: g, gain: gain(s, groups[0], g), normal: best.normal}
		if c.exceeds(&o, c.WholeRatio, s.tests) && g.affected >= c.MinAffected && better(o) {
			best = o
		}
	}
	return best, ok
}

// test compares a group with what is normal: see the package's comment.
func (c Config) test(s *sample, all, g group, usual func(group) float64) (outbreak, bool) {
	o := outbreak{group: g}
	if g.affected < c.MinAffected {
		return o, false
	}
	ratio, past, whole := c.Ratio, int(s.past), g.devices == all.devices
	if whole {
		ratio = c.WholeRatio
		if past < minPast*all.devices || all.before+s.moved == 0 || g.hard < c.MinAffected {
			return o, false
		}
	}
	o.normal = c.Floor
	if past > 0 {
		o.normal = max(o.normal, upper(min(all.before+s.moved, past), past))
		if own := past * g.devices / max(all.devices, 1); own > 0 {
			o.normal = max(o.normal, upper(min(g.before, own), own))
		}
	}
	if !whole {
		o.normal = max(o.normal, upper(all.affected-g.affected, all.devices-g.devices))
	}
	if !c.exceeds(&o, ratio, s.tests) {
		return o, false
	}
	if g.hard < c.MinAffected {
		rate := usual(g)
		if rate < 0 {
			return o, false
		}
		o.normal = max(o.normal, rate)
		if !c.exceeds(&o, ratio, s.tests) {
			return o, false
		}
	}
	o.gain = gain(s, all, g)
	return o, true
}

// exceeds applies the test at the group's normal rate.
func (c Config) exceeds(o *outbreak, ratio float64, tests int) bool {
	if o.normal >= 1 || float64(o.affected) < ratio*o.normal*float64(o.devices) {
		return false
	}
	o.chance = tail(o.affected, o.devices, o.normal)
	return o.chance*float64(max(tests, 1)) <= c.Alpha
}

// gain is the logarithm of the likelihood ratio of two rates, one in the group and one elsewhere and before, against one rate for
// all: Kulldorff's statistic (A spatial scan statistic, Communications in Statistics 26(6), 1997), with groups in the place of circles.
func gain(s *sample, all, g group) float64 {
	k, n := float64(g.affected), float64(g.devices)
	total, of := float64(all.affected+all.before+s.moved), float64(all.devices)+s.past
	return likelihood(k, n) + likelihood(total-k, of-n) - likelihood(total, of)
}
