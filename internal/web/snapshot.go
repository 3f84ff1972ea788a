package web

import (
	"context"
	"sort"
	"sync"
	"time"

	"aftercare/internal/chart"
	"aftercare/internal/fleet"
)

const (
	snapshotAge   = 3 * time.Second // how old the view of the fleet may be when nothing happened
	staleAge      = 300 * time.Millisecond
	seenAge       = 20 * time.Second // how old the answer to "last heard" may be
	seenPatience  = 2 * time.Second  // how long a page waits for it
	seenAgain     = 5 * time.Second  // how long the others do without when it did not come
	silentAtLeast = 30 * time.Minute // no shorter pause is called silence
	silentMissed  = 3                // intervals missed
	// A fleet beyond these will want its counts and filters in SQL instead.
	snapshotDevices = 50_000
	snapshotCases   = 10_000
)

var openStates = fleet.OpenStates()

// state is how a device is, worst first where several hold.
type state = chart.Symbol

// stateOrder is the order of lists and summaries.
var stateOrder = []state{chart.Danger, chart.Fault, chart.Due, chart.Watch, chart.Silent, chart.Good}

func severityState(s fleet.Severity) state {
	switch s {
	case fleet.Danger:
		return chart.Danger
	case fleet.Fault:
		return chart.Fault
	case fleet.Due:
		return chart.Due
	case fleet.Watch:
		return chart.Watch
	default:
		return chart.Info
	}
}

// snapshot is the whole fleet of the tenant at one moment: devices, open cases and when each was last heard.
type snapshot struct {
	at      time.Time
	devices []fleet.Device // by name, then serial
	index   map[string]int // serial to place in devices
	open    []fleet.Case   // most severe first, then newest
	worst   map[string]state
	seen    map[string]time.Time
	// seenErr is why nobody knows when devices were last heard: then none is called silent.
	seenErr error
	models  Models
}

func (s *snapshot) device(serial string) *fleet.Device {
	if i, ok := s.index[serial]; ok {
		return &s.devices[i]
	}
	return nil
}

// state of one device: the worst open case, else silence, else good.
func (s *snapshot) state(d *fleet.Device) state {
	if w, ok := s.worst[d.Key.Serial]; ok && w != chart.Info {
		return w
	}
	if s.silent(d) {
		return chart.Silent
	}
	return chart.Good
}

func (s *snapshot) silent(d *fleet.Device) bool {
	return s.seenErr == nil && s.quiet(d, s.seen[d.Key.Serial])
}

// quiet says whether a device that was last heard at seen is silent by now.
func (s *snapshot) quiet(d *fleet.Device, seen time.Time) bool {
	allowed := silentAtLeast
	if m, ok := s.models.Model(d.Model); ok {
		allowed = max(allowed, silentMissed*m.Interval)
	}
	return s.at.Sub(seen) > allowed
}

// snapshots keeps the latest snapshot for a few seconds, so that many viewers cost one look at the database.
type snapshots struct {
	deps   *Deps
	tenant string
	now    func() time.Time

	loading sync.Mutex // held while loading: the others wait for the one that loads
	seen    map[string]time.Time
	seenErr error
	seenAt  time.Time // of the answer, or of its failure

	mu    sync.Mutex // never held while anything is asked: who tells of news must not wait
	last  *snapshot
	stale bool
	turn  int // how often last was forgotten: what was begun before that is not kept
}

func (f *snapshots) get(ctx context.Context) (*snapshot, error) {
	f.loading.Lock()
	defer f.loading.Unlock()
	s, turn := f.fresh()
	if s != nil {
		return s, nil
	}
	s, err := f.load(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.turn == turn {
		f.last = s
	}
	return s, nil
}

// fresh returns the last snapshot if it is young enough. If not, one is about to be loaded.
func (f *snapshots) fresh() (*snapshot, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	allowed := snapshotAge
	if f.stale {
		allowed = staleAge
	}
	if now := f.now(); f.last != nil && now.Sub(f.last.at) < allowed && !now.Before(f.last.at) {
		return f.last, f.turn
	}
	f.stale = false // before loading: what happens meanwhile may be missed by it
	return nil, f.turn
}

// outdate says that something happened since. The script asks for it 400 ms later, so a snapshot younger than staleAge at that
// time was taken after it; a storm of notices costs no more than a few looks a second.
func (f *snapshots) outdate() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stale = true
}

// forget makes the next get look again at once: after an agent's action the page must show it.
func (f *snapshots) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = nil
	f.turn++
}

func (f *snapshots) load(ctx context.Context) (*snapshot, error) {
	s := &snapshot{at: f.now(), models: f.deps.Models, index: map[string]int{}, worst: map[string]state{}}
	var err error
	if s.devices, _, err = f.deps.Devices.Devices(ctx, fleet.DeviceFilter{Tenant: f.tenant, Limit: snapshotDevices}); err != nil {
		return nil, err
	}
	if s.open, err = f.deps.Cases.Cases(ctx, fleet.CaseFilter{Tenant: f.tenant, States: openStates, Limit: snapshotCases}); err != nil {
		return nil, err
	}
	s.seen, s.seenErr = f.heard(ctx, s)
	sort.SliceStable(s.devices, func(i, j int) bool {
		a, b := s.devices[i], s.devices[j]
		if a.Category != b.Category {
			return a.Category < b.Category
		}
		return a.Key.Serial < b.Key.Serial
	})
	for i := range s.devices {
		s.index[s.devices[i].Key.Serial] = i
	}
	sortCases(s.open)
	for i := len(s.open) - 1; i >= 0; i-- { // mildest first, so that the worst stays
		s.worst[s.open[i].Device.Serial] = severityState(s.open[i].Severity)
	}
	return s, nil
}

// heard asks when each device was last heard of, less often than for the rest: silence is a matter of half an hour, and the
// question goes through all series.
func (f *snapshots) heard(ctx context.Context, s *snapshot) (map[string]time.Time, error) {
	allowed := seenAge
	if f.seenErr != nil {
		allowed = seenAgain
	}
	if (f.seen != nil || f.seenErr != nil) && s.at.Sub(f.seenAt) < allowed && !s.at.Before(f.seenAt) {
		return f.seen, f.seenErr
	}
	var models []string
	have := map[string]bool{}
	for i := range s.devices {
		if m := s.devices[i].Model; !have[m] {
			have[m] = true
			models = append(models, m)
		}
	}
	tctx, cancel := context.WithTimeout(ctx, seenPatience)
	defer cancel()
	seen, err := f.deps.History.LastSeen(tctx, f.tenant, models)
	if ctx.Err() != nil {
		return nil, ctx.Err() // the viewer left, the next one asks anew
	}
	if err != nil {
		seen = nil
	}
	f.seen, f.seenErr, f.seenAt = seen, err, s.at
	return seen, err
}

// sortCases puts the most severe first, then the one that changed last.
func sortCases(cs []fleet.Case) {
	sort.SliceStable(cs, func(i, j int) bool {
		a, b := &cs[i], &cs[j]
		if a.State.Open() != b.State.Open() {
			return a.State.Open()
		}
		if !a.State.Open() {
			return a.UpdatedAt.After(b.UpdatedAt)
		}
		if a.Severity != b.Severity {
			return a.Severity > b.Severity
		}
		return a.OpenedAt.After(b.OpenedAt)
	})
}

// categoryCount is one line of the fleet at a glance.
type categoryCount struct {
	Category string
	Label    string
	Total    int
	States   map[state]int
}

func (s *snapshot) categories(l lang) []categoryCount {
	by := map[string]*categoryCount{}
	var names []string
	for i := range s.devices {
		d := &s.devices[i]
		c := by[d.Category]
		if c == nil {
			c = &categoryCount{Category: d.Category, Label: s.categoryLabel(d, l), States: map[state]int{}}
			by[d.Category] = c
			names = append(names, d.Category)
		}
		c.Total++
		c.States[s.state(d)]++
	}
	out := make([]categoryCount, 0, len(names))
	for _, n := range names {
		out = append(out, *by[n])
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Label < out[j].Label })
	return out
}

// categoryLabel is what the category's first device is called by its profile.
func (s *snapshot) categoryLabel(d *fleet.Device, l lang) string {
	if m, ok := s.models.Model(d.Model); ok && m.Label.In(string(l)) != "" {
		return upperFirst(m.Label.In(string(l)))
	}
	return upperFirst(humanise(d.Category))
}
