package incidents

import (
	"context"
	"time"

	"aftercare/internal/fleet"
)

// ageHistory is how far back devices of an age are looked for.
const ageHistory = 3 * 365 * 24 * time.Hour

// minAge is how many device-windows there must be of other devices of an age to say what is normal at it.
const minAge = 20

// atTheirAge is the share of a group's devices that would have the problem in the window if those of each age had it as often as
// other devices of that age. Ages that no other device was observed at, or that are not known, are "always".
func (n *Incidents) atTheirAge(ctx context.Context, tenant string, p problemOf, of place, b baseline, now time.Time) (float64, error) {
	from := now.Add(-ageHistory)
	if b.first.After(from) {
		from = b.first
	}
	onsets, err := n.deps.Evidence.Onsets(ctx, tenant, p.model, p.problem, from, now.Add(time.Millisecond))
	if err != nil {
		return 0, err
	}
	a := ages{of: of, step: n.cfg.Window, group: map[int]int{}, others: map[int]int{}, had: map[int]int{}}
	installed := map[string]time.Time{}
	for d := range n.deps.Devices.Devices {
		if d.Key.Tenant == tenant && d.Model == p.model && !d.Revoked {
			installed[d.Key.Serial] = d.InstalledAt
			a.add(d, from, now)
		}
	}
	for _, o := range onsets {
		if at := installed[o.Serial]; !at.IsZero() && !of.has(place{o.Firmware, o.Batch}) {
			a.had[a.class(at, o.OpenedAt)]++
		}
	}
	return a.rate(), nil
}

// ages are devices by class of age: as wide as the window, because what is due is due at one age.
type ages struct {
	of     place
	step   time.Duration
	group  map[int]int // devices of the group, as old as they are now; class -1: not known
	others map[int]int // device-windows of the others
	had    map[int]int // of these, those with the problem
}

// class is the age of a device that was installed at a time, at another; negative ages are one class.
func (a *ages) class(installed, at time.Time) int {
	return int(max(at.Sub(installed), 0) / a.step)
}

func (a *ages) add(d *fleet.Device, from, now time.Time) {
	inside := a.of.has(place{d.Firmware, d.Batch})
	switch {
	case inside && d.InstalledAt.IsZero():
		a.group[-1]++
	case inside:
		a.group[a.class(d.InstalledAt, now)]++
	case !d.InstalledAt.IsZero():
		for at := now; at.After(from) && at.After(d.InstalledAt); at = at.Add(-a.step) {
			a.others[a.class(d.InstalledAt, at)]++
		}
	}
}

// rate is the mean over the group of the upper bounds of the rates at each age; of a class of age and its neighbours the highest
// counts.
func (a *ages) rate() float64 {
	sum, n := 0.0, 0
	for c, devices := range a.group {
		r := 1.0
		if c >= 0 && a.others[c] >= minAge {
			r = 0
			for x := c - 1; x <= c+1; x++ {
				if a.others[x] >= minAge {
					r = max(r, upper(min(a.had[x], a.others[x]), a.others[x]))
				}
			}
		}
		sum, n = sum+r*float64(devices), n+devices
	}
	if n == 0 {
		return 1
	}
	return sum / float64(n)
}
