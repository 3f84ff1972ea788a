package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// An activation is a record with rule packs in it that count from there on, in every partition. The state compiles them for
// the models and with the configuration of the set it began with, so a step still depends on nothing but state and record.
//
// What the devices know is taken over by name, as at a start with other rules. That is work for every device; those that
// wait for nothing new are taken over when they change next or are saved. Nothing shows which of them were: a device goes from
// set to set, never past one, for what a set in between does not keep is lost.

// maker compiles rule packs for the same models and with the same configuration. Partitions share what it made.
type maker struct {
	cfg    Config
	models []fleet.Model
	mu     sync.Mutex
	recent []made
}

type made struct {
	key [sha256.Size]byte
	set *Set
	err error
}

// maxPacked bounds the packs of an activation, compressed: they go through the journal as one message and lie in snapshots.
const maxPacked = 512 << 10

// keepMade is how many activations are remembered: all partitions come to the same one at about the same time.
const keepMade = 8

// ReadActivation reads the rule packs under fsys, as Load does, as an activation for this set's models. by says who wants it.
// It returns the set that the activation leads to beside it, and every mistake; with a mistake it must not be activated.
func (s *Set) ReadActivation(fsys fs.FS, by string) (wire.Activation, *Set, []fleet.Problem) {
	files, problems := readPacks(fsys)
	next, more := s.maker.cfg.compile(files, s.maker.models)
	next.maker = s.maker
	problems = append(problems, more...)
	a := wire.Activation{Set: next.hash, By: by, Packs: files}
	if rec, err := wire.EncodeActivation(0, time.Time{}, a); err != nil {
		problems = append(problems, fleet.Problem{Message: err.Error()})
	} else if n := len(rec.Body); n > maxPacked {
		problems = append(problems, fleet.Problem{Message: fmt.Sprintf("the rule packs are too large: %d KiB compressed, want at most %d", n>>10, maxPacked>>10)})
	}
	return a, next, problems
}

// Activated returns the set of an activation, compiled for this set's models. Any mistake in a pack is an error.
func (s *Set) Activated(a wire.Activation) (*Set, error) {
	key := packsKey(a.Packs)
	c := s.maker
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.recent {
		if m.key == key {
			return m.set, m.err
		}
	}
	m := made{key: key}
	switch next, problems := c.cfg.compile(a.Packs, c.models); {
	case len(a.Packs) == 0:
		m.err = errors.New("no rule packs in it")
	case len(problems) > 0:
		m.err = fmt.Errorf("%d mistakes, first: %s", len(problems), problems[0])
	default:
		next.maker = c
		next.adopt(s)
		m.set = next
	}
	c.recent = append(c.recent, m)
	c.recent = c.recent[max(0, len(c.recent)-keepMade):]
	return m.set, m.err
}

func packsKey(packs map[string]string) (key [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(packs)) {
		fmt.Fprintf(h, "%d %s %d %s", len(name), name, len(packs[name]), packs[name])
	}
	h.Sum(key[:0])
	return key
}

// adopt takes over the programs that are the same in another set: devices of these models need not be taken over.
func (s *Set) adopt(old *Set) {
	for id, p := range s.programs {
		q := old.programs[id]
		if q == nil {
			continue
		}
		a, errA := json.Marshal(p.layout())
		b, errB := json.Marshal(q.layout())
		if errA == nil && errB == nil && bytes.Equal(a, b) {
			s.programs[id] = q
		}
	}
}

// Set returns the rules that count now: those the state was made with or those activated last.
func (s *State) Set() *Set { return s.set }

// Refused says why the last activation was not followed; nil: there was none, or it was.
func (s *State) Refused() error { return s.refused }

// gen is the number of the set that counts now.
func (s *State) gen() uint16 { return uint16(len(s.sets) - 1) } //nolint:gosec // activate sees to it

// activate goes over to the rules of an activation. One that cannot be followed is counted, and the rules stay as they are.
func (s *State) activate(rec *wire.Record) {
	a, err := wire.DecodeActivation(rec)
	var next *Set
	if err == nil {
		next, err = s.set.Activated(a)
	}
	if s.refused = err; err != nil {
		s.counts.Refused++
		return
	}
	s.counts.Activations++
	s.activation = bytes.Clone(rec.Body)
	if s.switchTo(next) {
		s.Resave() // the numbers in what is saved mean something else now
	}
}

// switchTo makes a set the one that counts and reports whether any device may have to be taken over.
func (s *State) switchTo(next *Set) (other bool) {
	for id, p := range s.set.programs {
		other = other || next.programs[id] != p
	}
	s.set = next
	if !other {
		s.sets[s.gen()] = next
		return false
	}
	if s.gen() == math.MaxUint16 {
		s.settle()
	}
	s.sets = append(s.sets, next)
	var now []*device
	sooner := map[move]bool{}
	for i := range s.devices.n {
		d := s.devices.at(i)
		if len(d.active) > 0 {
			now = append(now, d) // what it finds comes in the order of keys
			continue
		}
		p := next.programs[d.p.model]
		if p == d.p || !p.hasAge {
			continue
		}
		m := move{d.p, p}
		needs, known := sooner[m]
		if !known {
			needs = p.looksSooner(d.p)
			sooner[m] = needs
		}
		if needs {
			s.touch(d)
			s.schedule(d)
		}
	}
	slices.SortFunc(now, func(a, b *device) int { return compareKeys(a.key, b.key) })
	for _, d := range now {
		s.touch(d)
		s.schedule(d)
	}
	return true
}

// looksSooner reports whether p may want to look at a device without a reading before old does: when it compares with a time that
// old does not compare with.
func (p *program) looksSooner(old *program) bool {
	had := old.moments()
	for m := range p.moments() {
		if !had[m] {
			return true
		}
	}
	return false
}

// moments names all crossings, alike in all programs of a model.
func (p *program) moments() map[string]bool {
	out := map[string]bool{}
	for i := range p.rules {
		for _, c := range p.rules[i].crossings {
			name := "silent()"
			for k := range p.slots {
				if p.slots[k].f == c.f {
					name = "age(" + p.slots[k].spec.Name + ")"
				}
			}
			if k := p.cellOf(c.f); c.f >= 0 && k >= 0 {
				name = p.cells[k].name
			}
			out[fmt.Sprint(name, c.off)] = true
		}
	}
	return out
}

// bring takes a device over into the set of a number, through all sets on the way.
func (s *State) bring(d *device, gen uint16) {
	moved := false
	for d.gen < gen {
		d.gen++
		if p := s.sets[d.gen].programs[d.p.model]; p != nil && p != d.p {
			s.rebind(d, p)
			moved = true
		}
	}
	if moved && (len(d.active) > 0 || d.p.hasAge) {
		d.due = nextDue(d) // its wake is not later
	}
}

// settle takes all devices over and begins to count sets anew.
func (s *State) settle() {
	for i := range s.devices.n {
		d := s.devices.at(i)
		s.touch(d)
		d.gen = 0
	}
	s.sets = append([]*Set(nil), s.sets[s.gen()])
}

// forget lets go of all sets but the one that counts, once every device was taken over.
func (s *State) forget() {
	for i := range s.gen() {
		s.sets[i] = nil
	}
	clear(s.moves)
	maps.DeleteFunc(s.slabs, func(p *program, _ []uint64) bool { return s.set.programs[p.model] != p })
	maps.DeleteFunc(s.kinds, func(k kindKey, _ *kindFacts) bool { return s.set.programs[k.p.model] != k.p })
}
