package rules

import (
	"fmt"
	"math"
	"strings"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// What is counted over a device's whole life cannot be made again from the readings that are kept. So it goes to history, too:
// once a day of the device's own clock (UTC), with the first reading of that day, and when a part was serviced.

// lifelong reports whether a cell counts over the whole life of a device, or since a service.
func (c *cell) lifelong() bool {
	for _, name := range []string{"hours(", "starts(", "total(", "used("} {
		if strings.HasPrefix(c.name, name) {
			return c.nf > 0
		}
	}
	return false
}

// lifelong returns the cells that go to history.
func (p *program) lifelong() []int {
	var out []int
	for i := range p.cells {
		if p.cells[i].lifelong() {
			out = append(out, i)
		}
	}
	return out
}

// Counters returns what the last Step has to tell of how much devices were used: line protocol, to be appended to the findings
// stream (wire.KindCounters) before the record counts as done. It is valid until the next Step. A record that is stepped again
// gives the same lines.
func (s *State) Counters() []byte { return s.counted }

// count tells what was counted of a device up to t, the time of its newest reading, which is in it.
func (s *State) count(d *device, t int64) {
	c := wire.Counters{Device: d.key, Model: d.p.model, At: moment(t)}
	for _, i := range d.p.counters {
		c.Values = d.p.cells[i].values(d, t, c.Values)
	}
	s.counted = wire.AppendCounters(s.counted, &c)
}

// values appends all that a cell knows. Its first number has the cell's name and, where it is a time, is in hours. The others say
// how it was going on: "name #1" are numbers, "name @0" is how many ms before t a time was.
func (c *cell) values(d *device, t int64, out []wire.Counter) []wire.Counter {
	if math.IsNaN(d.num(c.f)) {
		return out
	}
	out = append(out, wire.Counter{Name: c.name, Value: d.num(c.f) / c.scale()})
	for i := 1; i < c.nf; i++ {
		if v := d.num(c.f + i); v != 0 {
			out = append(out, wire.Counter{Name: fmt.Sprintf("%s #%d", c.name, i), Value: v})
		}
	}
	for i := range c.nt {
		if v := t - d.time(c.t+i); v != 0 {
			out = append(out, wire.Counter{Name: fmt.Sprintf("%s @%d", c.name, i), Value: float64(v)})
		}
	}
	return out
}

// scale is what a cell's first number is divided by for history: hours are kept as ms.
func (c *cell) scale() float64 {
	if strings.HasPrefix(c.name, "hours(") {
		return msPerHour
	}
	return 1
}

// restore sets a cell to what values told of it; without its first number it is left alone.
func (c *cell) restore(d *device, t int64, known map[string]float64) {
	v, ok := known[wire.CounterField(c.name)]
	if !ok {
		return
	}
	if s := c.scale(); s != 1 {
		v = math.Round(v * s)
	}
	d.setNum(c.f, v)
	for i := 1; i < c.nf; i++ {
		d.setNum(c.f+i, known[wire.CounterField(fmt.Sprintf("%s #%d", c.name, i))])
	}
	for i := range c.nt {
		d.setTime(c.t+i, t-int64(known[wire.CounterField(fmt.Sprintf("%s @%d", c.name, i))]))
	}
}

// known returns the device's state, made when there is none; nil for a model without rules.
func (s *State) known(key fleet.DeviceKey, model string) *device {
	p := s.set.programs[model]
	d := s.devices.get(key)
	if d == nil && (p == nil || len(p.rules) == 0) {
		return nil
	}
	if d == nil {
		d = s.devices.add(newDevice(s.devices.own(key), p, s.words(p)))
	}
	s.touch(d)
	return d
}

// Recount sets a device's counters to what history knows of them (by wire.CounterField) as of the reading of time c.At. It is
// for a state that is warmed up: what counted the readings up to then did not see all of the device's life.
func (s *State) Recount(key fleet.DeviceKey, model string, at int64, known map[string]float64) {
	d := s.known(key, model)
	if d == nil {
		return
	}
	for _, i := range d.p.counters {
		d.p.cells[i].restore(d, at, known)
	}
}
