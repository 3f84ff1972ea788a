package score

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"aftercare/internal/fleet"
)

// Result is what a comparison showed.
type Result struct {
	Span   Span    `json:"span"`
	Months float64 `json:"device_months"`

	Kinds  []KindScore `json:"kinds"` // of conditions that fail, sorted by name
	Wear   KindScore   `json:"wear"`
	Due    KindScore   `json:"due"`
	Signed KindScore   `json:"signed"` // wear and due
	Abrupt KindScore   `json:"abrupt"`
	All    KindScore   `json:"all"`
	Habits []KindScore `json:"habits"`
	// Conditions that did not fail: mended before, or the simulation ended.
	Unfinished     int `json:"unfinished"`
	UnfinishedTold int `json:"unfinished_told"`

	Rules        []RuleScore `json:"rules"` // sorted by false tellings, most first
	False        int         `json:"false"`
	FalsePerUnit float64     `json:"false_per_device_month"`
	// Tellings that are true of mishaps only, and reach the owner: not false, and how many they are is worth knowing.
	Mishaps        int      `json:"mishaps"`
	MishapsPerUnit float64  `json:"mishaps_per_device_month"`
	Worst          []Moment `json:"worst"` // false tellings of the devices with most of them
	Missed         []Miss   `json:"missed"`

	Oddities []Oddity `json:"oddities"`
	Messages *Told    `json:"messages,omitempty"`

	UnknownRules     []string `json:"unknown_rules,omitempty"`      // named in the map, and not there
	RulesWithoutKind []string `json:"rules_without_kind,omitempty"` // there, and not in the map
	KindsWithoutRule []string `json:"kinds_without_rule,omitempty"` // in the truth, and not in the map
}

// KindScore is how conditions of one kind, or of a group of kinds, were told.
type KindScore struct {
	Kind       string   `json:"kind"`
	Abrupt     bool     `json:"abrupt,omitempty"`
	Conditions int      `json:"conditions"`
	Warned     int      `json:"warned"` // of a habit: noticed
	Share      float64  `json:"share"`
	Late       int      `json:"late"`
	Missed     int      `json:"missed"`
	Early      int      `json:"early,omitempty"` // of the late and the missed: an episode had been open since before the onset
	LeadHours  Quartile `json:"lead_hours"`      // from the warning to the failure
	Rules      []string `json:"rules,omitempty"` // that warned first, most often first

	leads []float64
	first map[string]int
}

// Quartile is a quarter, half and three quarters of the values, in order.
type Quartile [3]float64

// RuleScore is what one rule told.
type RuleScore struct {
	Rule         string     `json:"rule"`
	Kind         fleet.Kind `json:"kind"`
	Episodes     int        `json:"episodes"`
	Reach        int        `json:"reach"` // tellings that reach the owner
	True         int        `json:"true"`
	False        int        `json:"false"`
	FalsePerUnit float64    `json:"false_per_device_month"`
	Devices      int        `json:"devices"` // with a false one
	Warned       int        `json:"warned"`  // conditions it was the first to warn of
	Examples     []Moment   `json:"examples,omitempty"`
}

// Moment is one false telling.
type Moment struct {
	Device   string         `json:"device"`
	Model    string         `json:"model"`
	Rule     string         `json:"rule"`
	Severity fleet.Severity `json:"severity"`
	At       time.Time      `json:"at"`
	Evidence string         `json:"evidence"`
	Around   string         `json:"around,omitempty"` // what else was the matter
}

// Miss is a condition that nobody was warned of in time.
type Miss struct {
	Condition
	Told time.Time `json:"told,omitzero"` // when it was told too late; zero: never
}

// Oddity is how oddities of one kind were taken.
type Oddity struct {
	Kind    string   `json:"kind"`
	Times   int      `json:"times"`
	Alarmed int      `json:"alarmed"` // with a false telling while it lasted
	Rules   []string `json:"rules,omitempty"`
}

const maxExamples = 5

// conditions judges those that fail, and habits.
func (j *judge) conditions(r *Result) {
	told := map[*Condition][]*telling{}
	for _, t := range j.tellings {
		for _, c := range t.of {
			told[c] = append(told[c], t)
		}
	}
	kinds, habits := map[string]*KindScore{}, map[string]*KindScore{}
	r.Wear, r.Due, r.Signed = newKind("wear"), newKind("due"), newKind("with a sign: wear and due")
	r.Abrupt, r.All = newKind("abrupt"), newKind("all")
	for i := range j.in.Truth {
		c := &j.in.Truth[i]
		_, habit := j.in.Map.Habits[c.Kind]
		_, mishap := j.in.Map.Mishaps[c.Kind]
		switch {
		case c.Healthy() || c.note() || mishap:
		case habit:
			j.count(c, told[c], j.until(c), r, kindOf(habits, c))
		case c.Failure.IsZero() || c.Failure.After(j.in.Span.To): // nobody knows whether it would have been told in time
			r.Unfinished++
			if len(told[c]) > 0 {
				r.UnfinishedTold++
			}
		case c.Abrupt:
			j.count(c, told[c], c.Failure, r, kindOf(kinds, c), &r.Abrupt, &r.All)
		case slices.Contains(j.in.Map.Due, c.Kind):
			j.count(c, told[c], c.Failure, r, kindOf(kinds, c), &r.Due, &r.Signed, &r.All)
		default:
			j.count(c, told[c], c.Failure, r, kindOf(kinds, c), &r.Wear, &r.Signed, &r.All)
		}
	}
	for _, k := range r.groups() {
		k.close()
	}
	r.Kinds, r.Habits = closed(kinds), closed(habits)
}

func (r *Result) groups() []*KindScore {
	return []*KindScore{&r.Wear, &r.Due, &r.Signed, &r.Abrupt, &r.All}
}

func newKind(name string) KindScore { return KindScore{Kind: name, first: map[string]int{}} }

func kindOf(m map[string]*KindScore, c *Condition) *KindScore {
	k := m[c.Kind]
	if k == nil {
		fresh := newKind(c.Kind)
		fresh.Abrupt = c.Abrupt
		k = &fresh
		m[c.Kind] = k
	}
	return k
}

func closed(m map[string]*KindScore) (out []KindScore) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		m[name].close()
		out = append(out, *m[name])
	}
	return out
}

// count adds a condition to its kind and groups.
func (j *judge) count(c *Condition, tellings []*telling, before time.Time, r *Result, to ...*KindScore) {
	var warned, late *telling
	for _, t := range tellings {
		if !t.reaches && fleet.TellsOwner(t.f.Kind, fleet.Danger) {
			continue // of a kind that owners hear of, and too mild for it
		}
		switch {
		case t.f.Received.Before(c.Onset.Add(-slack)):
		case t.f.Received.Before(before):
			if warned == nil || t.f.Received.Before(warned.f.Received) {
				warned = t
			}
		case late == nil:
			late = t
		}
	}
	for _, k := range to {
		k.Conditions++
		switch {
		case warned != nil:
			k.Warned++
			k.first[warned.f.Rule]++
			k.leads = append(k.leads, before.Sub(warned.f.Received).Hours())
			continue
		case late != nil:
			k.Late++
		default:
			k.Missed++
		}
		if j.wasOpen(c) {
			k.Early++
		}
	}
	if warned == nil {
		m := Miss{Condition: *c}
		if late != nil {
			m.Told = late.f.Received
		}
		r.Missed = append(r.Missed, m)
	}
}

func (k *KindScore) close() {
	if k.Conditions > 0 {
		k.Share = float64(k.Warned) / float64(k.Conditions)
	}
	slices.Sort(k.leads)
	for i, q := range []float64{0.25, 0.5, 0.75} {
		if n := len(k.leads); n > 0 {
			k.LeadHours[i] = k.leads[int(q*float64(n-1)+0.5)]
		}
	}
	k.Rules = slices.SortedFunc(maps.Keys(k.first), func(a, b string) int {
		return cmp.Or(cmp.Compare(k.first[b], k.first[a]), strings.Compare(a, b))
	})
}

// rules counts by rule, and collects the moments that were false.
func (j *judge) rules(r *Result) {
	scores := map[string]*RuleScore{}
	devices := map[string]map[string]int{}
	perDevice := map[string]int{}
	var moments []Moment
	for _, t := range j.tellings {
		s := scores[t.f.Rule]
		if s == nil {
			s = &RuleScore{Rule: t.f.Rule, Kind: t.f.Kind}
			scores[t.f.Rule], devices[t.f.Rule] = s, map[string]int{}
		}
		if t.first {
			s.Episodes++
		}
		switch {
		case t.isFalse():
			s.Reach++
			s.False++
			devices[t.f.Rule][t.f.Device.Serial]++
			perDevice[t.f.Device.Serial]++
			m := Moment{Device: t.f.Device.Serial, Model: t.f.Model, Rule: t.f.Rule, Severity: t.f.Severity, At: t.f.At.UTC(), Evidence: evidence(t.f),
				Around: j.around(t.f.Device.Serial, t.f.At)}
			moments = append(moments, m)
			if devices[t.f.Rule][t.f.Device.Serial] == 1 && len(s.Examples) < maxExamples { // of different devices
				s.Examples = append(s.Examples, m)
			}
		case t.reaches:
			s.Reach++
			s.True++
			if j.mishap(t) {
				r.Mishaps++
			}
		case len(t.of) > 0:
			s.True++
		}
	}
	for rule, s := range scores {
		s.Devices, s.FalsePerUnit = len(devices[rule]), perMonth(s.False, r.Months)
		r.False += s.False
		for _, k := range r.Kinds {
			s.Warned += k.first[rule]
		}
		for _, k := range r.Habits {
			s.Warned += k.first[rule]
		}
		r.Rules = append(r.Rules, *s)
	}
	slices.SortFunc(r.Rules, func(a, b RuleScore) int {
		return cmp.Or(cmp.Compare(b.False, a.False), strings.Compare(a.Rule, b.Rule))
	})
	r.FalsePerUnit, r.MishapsPerUnit = perMonth(r.False, r.Months), perMonth(r.Mishaps, r.Months)
	slices.SortStableFunc(moments, func(a, b Moment) int {
		return cmp.Or(cmp.Compare(perDevice[b.Device], perDevice[a.Device]), strings.Compare(a.Device, b.Device), a.At.Compare(b.At))
	})
	r.Worst = moments[:min(len(moments), 40)]
}

// mishap reports whether a telling is true of nothing but mishaps.
func (j *judge) mishap(t *telling) bool {
	return !slices.ContainsFunc(t.of, func(c *Condition) bool { _, ok := j.in.Map.Mishaps[c.Kind]; return !ok })
}

func perMonth(n int, months float64) float64 {
	if months <= 0 {
		return 0
	}
	return float64(n) / months
}

// oddities counts those that alarmed.
func (j *judge) oddities(r *Result) {
	type odd struct {
		Oddity
		rules map[string]bool
	}
	kinds := map[string]*odd{}
	for i := range j.in.Truth {
		c := &j.in.Truth[i]
		if !c.Healthy() {
			continue
		}
		o := kinds[c.Kind]
		if o == nil {
			o = &odd{Oddity: Oddity{Kind: c.Kind}, rules: map[string]bool{}}
			kinds[c.Kind] = o
		}
		o.Times++
		alarmed := false
		for _, t := range j.tellings {
			if t.f.Device.Serial == c.Device && t.isFalse() && !t.f.At.Before(c.Onset) && !t.f.At.After(j.until(c)) {
				alarmed, o.rules[t.f.Rule] = true, true
			}
		}
		if alarmed {
			o.Alarmed++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		o := kinds[name]
		o.Rules = slices.Sorted(maps.Keys(o.rules))
		r.Oddities = append(r.Oddities, o.Oddity)
	}
}

// gaps says where the map, the rules and the truth do not fit together.
func (j *judge) gaps() (unknown, idle, silent []string) {
	if j.in.Rules != nil {
		for rule := range j.speaks {
			if !slices.Contains(j.in.Rules, rule) {
				unknown = append(unknown, rule)
			}
		}
		for _, rule := range j.in.Rules {
			if j.speaks[rule] == nil {
				idle = append(idle, rule)
			}
		}
	}
	seen := map[string]bool{}
	for i := range j.in.Truth {
		c := &j.in.Truth[i]
		if !c.Healthy() && !c.note() && !seen[c.Kind] && len(j.in.Map.of(c.Kind)) == 0 {
			silent = append(silent, c.Kind)
		}
		seen[c.Kind] = true
	}
	slices.Sort(unknown)
	slices.Sort(idle)
	slices.Sort(silent)
	return unknown, idle, silent
}
