package rules

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// cell is what a function other than a window keeps of a device: some numbers and times in its store, or an object, under the
// name of the call it stands for, such as ewma(drain_s, 2h). All rules that name the same call share it. Cells are updated at an in-order
// reading, after fields and windows took it in and before conditions are evaluated, inner calls before outer ones.
//
// A number is NaN until it is set, and while the first number of a cell is NaN its other numbers and times mean nothing.
type cell struct {
	name   string
	f, nf  int // numbers
	t, nt  int // times, ms
	obj    int // object; -1: none
	slots  []int
	always bool // updated at every telemetry reading: it depends on time
	code   bool // updated at events
	fresh  func() memo
	bytes  int // of an object that is full, about
	step   func(*env)
	late   func(d *device, t int64, v float64) // takes a late value of its field; nil: late values are nothing to it
}

// memo is what a cell keeps when numbers and times are not enough. It is nil until there is something in it.
type memo interface {
	append(b []byte) []byte
	read(b []byte) bool // of what append wrote; false: damaged, or of another version
}

// memo returns a cell's object, made when it is not there yet.
func (d *device) memo(c *cell) memo {
	if d.x == nil {
		d.x = &extra{}
	}
	if d.x.memos == nil {
		d.x.memos = make([]memo, d.p.nmemo)
	}
	o := &d.x.memos[c.obj]
	if *o == nil {
		*o = c.fresh()
	}
	return *o
}

// peek returns a cell's object, nil when there is none yet.
func (d *device) peek(c *cell) memo {
	if d.x == nil || d.x.memos == nil {
		return nil
	}
	return d.x.memos[c.obj]
}

// forget drops a cell's memo.
func (d *device) forget(c *cell) {
	if d.peek(c) != nil {
		d.x.memos[c.obj] = nil
	}
}

// cell returns the cell of that name. A new one has its numbers and times and is to be filled in by the caller.
func (b *builder) cell(name string, nf, nt int, use usage) (c *cell, made bool) {
	k := slices.IndexFunc(b.p.cells, func(c cell) bool { return c.name == name })
	if k >= 0 {
		return &b.p.cells[k], false
	}
	b.p.cells = append(b.p.cells, cell{
		name: name, f: b.nums(nf), nf: nf, t: b.times(nt), nt: nt, obj: -1,
		slots: slices.Clone(use.slots), always: use.sliding, code: use.onEvent,
	})
	return &b.p.cells[len(b.p.cells)-1], true
}

// remembers gives a cell a memo of about so many bytes when it is full.
func (b *builder) remembers(c *cell, fresh func() memo, bytes int) {
	c.obj, c.fresh, c.bytes = b.p.nmemo, fresh, bytes
	b.p.nmemo++
}

// cellNumber is where the cell of a name is.
func (b *builder) cellNumber(name string) int {
	return slices.IndexFunc(b.p.cells, func(c cell) bool { return c.name == name })
}

// cellOf is the cell that has a number.
func (p *program) cellOf(f int) int {
	return slices.IndexFunc(p.cells, func(c cell) bool { return c.nf > 0 && f >= c.f && f < c.f+c.nf })
}

// takesLate makes a cell take late values of a field.
func (b *builder) takesLate(c *cell, slot int, late func(*device, int64, float64)) {
	c.late = late
	b.p.slots[slot].late = append(b.p.slots[slot].late, b.cellNumber(c.name))
}

// indexCells fixes the index from fields to cells.
func (p *program) indexCells() {
	if len(p.cells) == 0 {
		return
	}
	words := (len(p.cells) + 63) / 64
	p.always, p.codeCells = make(ruleset, words), make(ruleset, words)
	for i := range p.slots {
		p.slots[i].cells = make(ruleset, words)
	}
	for i := range p.cells {
		for _, s := range p.cells[i].slots {
			p.slots[s].cells.add(i)
		}
		if p.cells[i].always {
			p.always.add(i)
		}
		if p.cells[i].code {
			p.codeCells.add(i)
		}
	}
}

// beginCells prepares for a telemetry reading; a program without cells pays nothing.
func (s *State) beginCells(p *program) {
	if len(p.cells) == 0 {
		return
	}
	s.cells = append(s.cells[:0], p.always...)
	s.came = slices.Grow(s.came[:0], (len(p.slots)+63)/64)[:(len(p.slots)+63)/64]
	clear(s.came)
}

// touched notes that a field came with the reading.
func (s *State) touched(p *program, slot int) {
	s.came.add(slot)
	s.cells.union(p.slots[slot].cells)
}

func (s *State) updateCells(p *program) {
	if len(p.cells) == 0 {
		return
	}
	s.env.came, s.env.cells = s.came, s.cells
	for i := s.cells.next(0); i >= 0; i = s.cells.next(i + 1) {
		p.cells[i].step(&s.env)
	}
}

// eventCells updates what changes with the event in s.env.
func (s *State) eventCells(p *program) {
	for i := p.codeCells.next(0); i >= 0; i = p.codeCells.next(i + 1) {
		p.cells[i].step(&s.env)
	}
}

// cellLayout says how a cell was encoded. Another shape under the same name is another cell: it begins anew.
type cellLayout struct {
	Name   string `json:"name"`
	Nums   int    `json:"nums,omitempty"`
	Times  int    `json:"times,omitempty"`
	Object bool   `json:"object,omitempty"`
}

func (c *cell) layout() cellLayout {
	return cellLayout{Name: c.name, Nums: c.nf, Times: c.nt, Object: c.obj >= 0}
}

// appendCell writes 0 for a cell that knows nothing yet, else what it knows; times as their distance from base.
func appendCell(b []byte, d *device, c *cell, base int64) []byte {
	known := c.nf > 0 && !math.IsNaN(d.num(c.f))
	var o memo
	if c.obj >= 0 {
		o = d.peek(c)
	}
	b = append(b, flag(known)|flag(o != nil)<<1)
	if known {
		for i := range c.nf {
			b = appendFloat(b, d.num(c.f+i))
		}
		for i := range c.nt {
			b = binary.AppendVarint(b, base-d.time(c.t+i))
		}
	}
	if o != nil {
		body := o.append(nil)
		b = append(binary.AppendUvarint(b, uint64(len(body))), body...)
	}
	return b
}

func (r *decoder) cell(d *device, base int64, l cellLayout, to int) {
	f := r.byte()
	if f&1 != 0 {
		for i := range l.Nums {
			if v := r.float(); to >= 0 {
				d.setNum(d.p.cells[to].f+i, v)
			}
		}
		for i := range l.Times {
			if t := base - r.varint(); to >= 0 {
				d.setTime(d.p.cells[to].t+i, t)
			}
		}
	}
	if f&2 == 0 {
		return
	}
	body := r.bytes(r.uvarint())
	if to < 0 || r.err != nil {
		return
	}
	c := &d.p.cells[to]
	if c.obj < 0 {
		r.fail()
	} else if o := d.memo(c); !o.read(body) {
		d.x.memos[c.obj] = nil // it begins anew
	}
}

// Bounds of what all rules of one model may keep of a device.
const (
	maxCells = 500
	maxState = 48 << 10 // bytes, about
)

// cost is about how many bytes of a device the program's functions and windows take when all of it is in use.
func (p *program) cost() int {
	n := 8*len(p.blank) + 8*p.ns
	for i := range p.cells {
		if p.cells[i].fresh != nil {
			n += p.cells[i].bytes
		}
	}
	return n
}

// over says what is too much when other is added to the program; empty: nothing.
func (p *program) over(other *program) string {
	if n := len(p.cells) + len(other.cells); n > maxCells {
		return fmt.Sprintf("with it the rules of model %s use %d calls that keep something, at most %d", p.model, n, maxCells)
	}
	if n := p.cost() + other.cost(); n > maxState {
		return fmt.Sprintf("with it the rules of model %s keep %d KiB of each device, at most %d", p.model, n>>10, maxState>>10)
	}
	return ""
}
