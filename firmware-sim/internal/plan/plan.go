// Package plan says which device has which fault when: in the uploaded past, right after going live, and from then on at a
// gentle pace. It is a function of the plan file, the seed and two moments; it keeps no other state.
//
// It does no input or output beyond its embedded file. Only firmware-sim imports it.
package plan

import (
	"bytes"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v3"

	"aftercare/firmware-sim/internal/device"
	"aftercare/firmware-sim/internal/signal"
)

//go:embed plan.yaml
var shipped []byte

// Span is a duration in a plan file: Go's units and d for days, "-9d4h", "90s".
type Span time.Duration

// UnmarshalYAML reads a span.
func (s *Span) UnmarshalYAML(n *yaml.Node) error {
	text, neg := strings.CutPrefix(n.Value, "-")
	var total time.Duration
	if days, rest, ok := strings.Cut(text, "d"); ok {
		d, err := strconv.Atoi(days)
		if err != nil {
			return fmt.Errorf("line %d: %q is no span of time", n.Line, n.Value)
		}
		total, text = time.Duration(d)*24*time.Hour, rest
	}
	if text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("line %d: %q is no span of time: %w", n.Line, n.Value, err)
		}
		total += d
	}
	if neg {
		total = -total
	}
	*s = Span(total)
	return nil
}

// File is a plan as written.
type File struct {
	History []struct {
		Serial, Kind string
		From         Span
		Until        *Span
		Grow         Span
	}
	Live []struct {
		Serial, Kind string
		After, Lasts Span
	}
	Recurring struct {
		Start, Every, Shortest, Longest Span
		Kinds                           []string
	}
}

// Shipped returns the plan that belongs to the demo fleet.
func Shipped() (*File, error) { return Parse(shipped) }

// Parse reads a plan; unknown keys and kinds of faults are errors.
func Parse(text []byte) (*File, error) {
	var f File
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("read fault plan: %w", err)
	}
	var kinds []string
	for _, h := range f.History {
		kinds = append(kinds, h.Kind)
	}
	for _, l := range f.Live {
		kinds = append(kinds, l.Kind)
	}
	for _, k := range append(kinds, f.Recurring.Kinds...) {
		if _, ok := device.FaultOf(k); !ok {
			return nil, fmt.Errorf("read fault plan: no such kind of fault %q", k)
		}
	}
	return &f, nil
}

// Fault is one fault of one device.
type Fault struct {
	Kind  string
	From  time.Time
	Until time.Time // zero: it stays
	Grow  time.Duration
}

func (f Fault) at(t time.Time) (device.Effect, bool) {
	if t.Before(f.From) || !f.Until.IsZero() && !t.Before(f.Until) {
		return device.Effect{}, false
	}
	age := t.Sub(f.From)
	level := 1.0
	if f.Grow > 0 {
		level = min(1, max(1e-3, float64(age)/float64(f.Grow)))
	}
	return device.Effect{Kind: f.Kind, Level: level, Age: age}, true
}

// Member is a device as the plan needs to know it.
type Member struct{ Serial, Model string }

// Plan answers which faults a device has at a moment. Many goroutines may use it.
type Plan struct {
	file    *File
	seed    signal.Seed
	fleet   []Member
	history map[string][]Fault
	live    atomic.Pointer[map[string][]Fault]
}

// horizon is how far ahead the recurring faults are drawn. A simulator that runs longer goes on without new ones.
const horizon = 14 * 24 * time.Hour

// New makes the plan of a fleet whose simulation first started at start. Faults of serials outside the fleet are left out.
func New(file *File, seed uint64, fleet []Member, start time.Time) *Plan {
	p := &Plan{file: file, seed: signal.NewSeed(seed, "plan"), fleet: fleet, history: map[string][]Fault{}}
	model := map[string]string{}
	for _, m := range fleet {
		model[m.Serial] = m.Model
	}
	for _, h := range file.History {
		kind, _ := device.FaultOf(h.Kind)
		if model[h.Serial] != kind.Model {
			continue
		}
		f := Fault{Kind: h.Kind, From: start.Add(time.Duration(h.From)), Grow: time.Duration(h.Grow)}
		if h.Until != nil {
			f.Until = start.Add(time.Duration(*h.Until))
		}
		p.history[h.Serial] = append(p.history[h.Serial], f)
	}
	return p
}

// GoLive lets the live faults begin: at is the moment all devices are live, pace how fast one follows another (1 as
// written, 2 twice as fast).
func (p *Plan) GoLive(at time.Time, pace float64) {
	live := map[string][]Fault{}
	scaled := func(s Span) time.Duration { return time.Duration(float64(s) / pace) }
	for _, l := range p.file.Live {
		if i := p.find(l.Serial); i < 0 || !p.suits(p.fleet[i], l.Kind) {
			continue
		}
		from := at.Add(scaled(l.After))
		live[l.Serial] = append(live[l.Serial], Fault{Kind: l.Kind, From: from, Until: from.Add(scaled(l.Lasts))})
	}
	r := p.file.Recurring
	if len(r.Kinds) == 0 || r.Every <= 0 {
		p.live.Store(&live)
		return
	}
	// The seed alone would repeat the same days after every start.
	run := p.seed ^ signal.Seed(uint64(at.Unix()))
	for n := int64(0); ; n++ {
		after := scaled(r.Start) + time.Duration((float64(n)+run.Between(1, n, -0.3, 0.3))*float64(scaled(r.Every)))
		if after > horizon {
			break
		}
		kind := r.Kinds[int(run.U(2, n)*float64(len(r.Kinds)))]
		serial, ok := p.pick(kind, run.U(3, n))
		if !ok {
			continue
		}
		from := at.Add(max(0, after))
		lasts := time.Duration(run.Between(4, n, float64(scaled(r.Shortest)), float64(scaled(r.Longest))))
		if last := live[serial]; len(last) > 0 && from.Before(last[len(last)-1].Until.Add(time.Minute)) {
			continue // it still has its last fault
		}
		live[serial] = append(live[serial], Fault{Kind: kind, From: from, Until: from.Add(lasts)})
	}
	p.live.Store(&live)
}

func (p *Plan) find(serial string) int {
	for i, m := range p.fleet {
		if m.Serial == serial {
			return i
		}
	}
	return -1
}

func (p *Plan) suits(m Member, kind string) bool {
	f, ok := device.FaultOf(kind)
	return ok && f.Model == m.Model
}

// pick draws a device for a recurring fault: of the right model, and without a lasting fault of its own.
func (p *Plan) pick(kind string, u float64) (string, bool) {
	var fit []string
	for _, m := range p.fleet {
		if p.suits(m, kind) && !p.lasting(m.Serial) {
			fit = append(fit, m.Serial)
		}
	}
	if len(fit) == 0 {
		return "", false
	}
	return fit[int(u*float64(len(fit)))], true
}

func (p *Plan) lasting(serial string) bool {
	for _, f := range p.history[serial] {
		if f.Until.IsZero() {
			return true
		}
	}
	return false
}

// Effects appends the faults a device has at a moment.
func (p *Plan) Effects(dst device.Effects, serial string, at time.Time) device.Effects {
	for _, f := range p.history[serial] {
		if e, ok := f.at(at); ok {
			dst = append(dst, e)
		}
	}
	if live := p.live.Load(); live != nil {
		for _, f := range (*live)[serial] {
			if e, ok := f.at(at); ok {
				dst = append(dst, e)
			}
		}
	}
	return dst
}

// Active counts the live faults that are going on at a moment.
func (p *Plan) Active(at time.Time) int {
	n := 0
	if live := p.live.Load(); live != nil {
		for _, faults := range *live {
			for _, f := range faults {
				if _, ok := f.at(at); ok {
					n++
				}
			}
		}
	}
	return n
}
