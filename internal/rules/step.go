package rules

import (
	"math"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Counts is what a state has done since it was made; it is not part of the state.
type Counts struct {
	Readings      uint64 // lines stepped
	Evaluations   uint64 // conditions evaluated
	Duplicates    uint64 // resends left out
	Late          uint64 // older than the allowed lateness: for history only
	OutOfOrder    uint64 // within the lateness: counted in windows, not as current values
	UnknownModel  uint64
	BadLines      uint64
	Activations   uint64 // changes of the rules
	Refused       uint64 // activations that could not be followed
	Facts         uint64 // devices' facts taken in
	UnknownLimits uint64 // of these, own limits of no rule that runs for the device
}

// State is what the rules know of the devices of one partition. It is not safe for concurrent use.
type State struct {
	set        *Set
	sets       []*Set // by number: all since devices were last known to be of the newest, which is set
	cfg        Config
	devices    roster
	slabs      map[*program][]uint64 // what is left of memory for stores
	clock      int64                 // highest receipt time, ms
	gap        int64                 // ms of receipt time in which we did not receive: they count for nothing
	wakes      wakeHeap
	epoch      uint32          // grows with every snapshot that begins: see device.epoch
	saving     *Saving         // the snapshot that is being made; nil: none
	held       map[uint32]int  // bytes of each chunk that are the newest copy of a device
	again      map[uint32]bool // chunks whose devices the next snapshot writes again
	moves      map[move]*mapping
	anew       bool   // the next snapshot writes all devices
	activation []byte // body of the record that led to set; nil: it is the one the state began with
	refused    error
	counts     Counts

	kinds map[kindKey]*kindFacts // what devices have in common

	fleet    *fleetTables // the last summary; nil: none yet
	env      env
	bits     ruleset
	pass     ruleset // rules that are still to be looked at
	cells    ruleset // that are to be updated at the reading
	came     ruleset // slots that came with it
	reading  fleet.Reading
	out      []fleet.Finding
	rec      *wire.Record
	received time.Time // of the record
	counted  []byte    // see Counters
}

// NewState returns the empty state of a partition.
func NewState(set *Set) *State {
	return &State{
		set: set, sets: []*Set{set}, cfg: set.cfg, devices: newRoster(), slabs: map[*program][]uint64{}, clock: never, epoch: 1,
		held: map[uint32]int{}, again: map[uint32]bool{}, moves: map[move]*mapping{}, kinds: map[kindKey]*kindFacts{},
	}
}

// Counts returns what was counted so far.
func (s *State) Counts() Counts { return s.counts }

// Devices returns how many devices the state knows.
func (s *State) Devices() int { return s.devices.n }

// Now returns the partition's clock: the highest receipt time of a record.
func (s *State) Now() time.Time {
	if s.clock == never {
		return time.Time{}
	}
	return time.UnixMilli(s.clock)
}

// Step takes in one record of the readings stream and appends what it found to out. What it does depends on the
// state and the record alone.
//
// First the clock goes on to the record's receipt time, which runs timers of devices that were not heard from: they can
// open an episode (`for` has passed, age(f) is above its limit) and never clear one. Then each reading is stepped.
func (s *State) Step(rec *wire.Record, out []fleet.Finding) []fleet.Finding {
	s.rec, s.out, s.received, s.counted = rec, out, rec.Received.UTC(), s.counted[:0]
	received := rec.Received.UnixMilli()
	if rec.Kind == wire.KindStart && s.clock != never {
		s.gap += max(received-s.clock, 0)
	}
	s.clock = max(s.clock, received)
	s.runWakes()
	switch rec.Kind {
	case wire.KindActivation:
		s.activate(rec)
	case wire.KindSummary:
		if s.SetSummary(rec.Body) != nil {
			s.counts.BadLines++
		}
	case wire.KindFacts:
		s.learn(rec.Body)
	case wire.KindReadings:
		for batch := rec.Body; len(batch) > 0; {
			rest, err := wire.NextLine(batch, &s.reading)
			batch = rest
			if err != nil {
				s.counts.BadLines++
				continue
			}
			s.step(&s.reading)
		}
	}
	out = s.out
	s.rec, s.out = nil, nil
	return out
}

// partition is receipt time without the gaps in which we did not receive.
func (s *State) partition() int64 { return s.clock - s.gap }

func (s *State) step(r *fleet.Reading) {
	s.counts.Readings++
	if r.Class != fleet.Telemetry && r.Class != fleet.Event && r.Class != fleet.Presence {
		return // status is no measurement: it does not fire, clear or end an upload
	}
	p := s.set.programs[r.Model]
	if p == nil {
		s.counts.UnknownModel++
		return
	}
	d := s.devices.get(r.Device)
	if d == nil && len(p.rules) == 0 || r.Class == fleet.Presence && p.link < 0 {
		return // nothing can ever be found: no state
	}
	if d == nil {
		d = s.devices.add(newDevice(s.devices.own(r.Device), p, s.words(p)))
		d.gen = s.gen()
	}
	s.touch(d)
	if d.p != p {
		s.rebind(d, p)
	}
	t := r.Time.UnixMilli()
	if t <= 0 || t > s.rec.Received.UnixMilli()+s.cfg.MaxAhead.Milliseconds() {
		t = s.rec.Received.UnixMilli() // no clock, or a wrong one
	}
	if r.Class == fleet.Presence {
		s.presence(d, r, t)
		return
	}
	s.take(d, r, t)
}

// take sorts out resends and what is out of order, and evaluates the rest.
func (s *State) take(d *device, r *fleet.Reading, t int64) {
	newest := d.newest[r.Class]
	tooOld := t < newest-s.cfg.Lateness.Milliseconds()
	if r.HasSeq {
		switch d.dedupe(r.Class).seen(r.Boot, r.Seq) {
		case resend:
			s.counts.Duplicates++
			return
		case unsure:
			if t > newest {
				d.dedupe(r.Class).restart(r.Boot, r.Seq)
			} else if !tooOld {
				s.counts.Duplicates++
				return
			}
		}
	}
	switch {
	case tooOld:
		s.counts.Late++
		return
	case t < newest:
		s.counts.OutOfOrder++
	default:
		d.newest[r.Class] = t
		d.upload = s.rec.Received.UnixMilli()-t > s.cfg.CatchUp.Milliseconds()
		d.heard = s.partition()
	}
	if r.Class == fleet.Event {
		s.hear(d, t)
		s.event(d, r, t)
	} else {
		s.telemetry(d, r, t, t < newest)
		if len(d.p.counters) > 0 && floorDiv(t, msPerDay) > floorDiv(newest, msPerDay) {
			s.count(d, t)
		}
	}
	s.caughtUp(d, t)
	s.runDue(d)
}

// event evaluates the rules that read a code. An event within the lateness is evaluated at its own time.
func (s *State) event(d *device, r *fleet.Reading, t int64) {
	s.env = s.look(d, t)
	for i := range r.Fields {
		if f := &r.Fields[i]; f.Name == codeName && f.Value.Type == fleet.String {
			s.env.code, s.env.hasCode = f.Value.Str, true
		}
	}
	s.eventCells(d.p)
	bits := s.scratch(d.p)
	copy(bits, d.p.onCode)
	for i := range d.active {
		if e := &d.active[i]; d.p.rules[e.rule].clearCode && (e.open || d.p.rules[e.rule].event) {
			bits.add(e.rule)
		}
	}
	s.evaluate(d, bits)
	s.env.hasCode, s.env.code = false, ""
}

func (s *State) telemetry(d *device, r *fleet.Reading, t int64, late bool) {
	p := d.p
	if late {
		for i := range r.Fields {
			if k, ok := p.byName[r.Fields[i].Name]; ok && p.slots[k].fits(&r.Fields[i].Value) {
				n := numberOf(&r.Fields[i].Value)
				for _, a := range p.slots[k].aggs {
					p.aggs[a].add(d, t, n)
				}
				for _, c := range p.slots[k].late {
					p.cells[c].late(d, t, n)
				}
			}
		}
		return
	}
	if d.due < t {
		s.advance(d, t)
	}
	bits := s.scratch(p)
	copy(bits, p.sliding)
	s.beginCells(p)
	for i := range r.Fields {
		f := &r.Fields[i]
		k, ok := p.byName[f.Name]
		if !ok || !p.slots[k].fits(&f.Value) {
			continue
		}
		sl := &p.slots[k]
		if d.set(sl, &f.Value, t, !r.HasSeq) && len(p.cells) > 0 {
			s.touched(p, k)
		}
		bits.union(sl.rules)
	}
	for i := range d.active {
		bits.add(d.active[i].rule)
	}
	d.clock, d.heardT = t, s.partition()
	s.env = s.look(d, t)
	s.updateCells(p)
	s.evaluate(d, bits)
}

func (s *State) scratch(p *program) ruleset {
	if cap(s.bits) < p.words {
		s.bits = make(ruleset, p.words)
	}
	return s.bits[:p.words]
}

// caughtUp makes the episodes that are still open live once the device's readings are of the present.
func (s *State) caughtUp(d *device, t int64) {
	if s.uploading(d) {
		return
	}
	for i := range d.active {
		if e := &d.active[i]; e.open && !e.live {
			e.live = true
			e.told++
			s.emit(d, e, fleet.Updated, t, e.evidence)
		}
	}
}

// uploading reports whether a device is sending its past: its last reading was old and not long ago.
func (s *State) uploading(d *device) bool { return s.uploadingAt(d, s.partition()) }

func (s *State) uploadingAt(d *device, partition int64) bool {
	return d.upload && partition-d.heard < s.cfg.Quiet.Milliseconds()
}

// advance runs the device's timers that are due before t, each at its exact time, so that a timer does not depend on when
// somebody looked.
func (s *State) advance(d *device, t int64) {
	for d.due < t {
		at := d.due
		bits := s.scratch(d.p)
		clear(bits)
		for i := range d.active {
			if d.episodeDue(&d.active[i]) == at {
				bits.add(d.active[i].rule)
			}
		}
		d.clock = at
		s.env = s.look(d, at)
		if d.p.hasAge {
			d.crossed(bits, at)
		}
		s.timers(d, bits, at)
		d.due = nextDue(d)
	}
}

// crossed adds the rules in which a comparison with age(f) or silent() changes at a moment.
func (d *device) crossed(bits ruleset, at int64) {
	for i := range d.p.rules {
		for _, c := range d.p.rules[i].crossings {
			if from, ok := d.since(c); ok && from+c.off == at {
				bits.add(i)
			}
		}
	}
}

// since is the moment a crossing counts from.
func (d *device) since(c crossing) (int64, bool) {
	if c.f < 0 {
		at := d.spoke()
		return at, at != never
	}
	return d.time(c.t), !math.IsNaN(d.num(c.f))
}

// nextDue returns the next moment after the device's clock at which a timer may change something.
func nextDue(d *device) int64 {
	due := int64(later)
	for i := range d.active {
		if at := d.episodeDue(&d.active[i]); at > d.clock && at < due {
			due = at
		}
	}
	if d.p.hasAge {
		for i := range d.p.rules {
			for _, c := range d.p.rules[i].crossings {
				if from, ok := d.since(c); ok && from+c.off > d.clock && from+c.off < due {
					due = from + c.off
				}
			}
		}
	}
	return due
}

// episodeDue is when an episode may open or become more severe without a reading: when its `for` has passed, or when what bars
// it ends.
func (d *device) episodeDue(e *episode) int64 {
	rule := &d.p.rules[e.rule]
	due := int64(later)
	switch {
	case e.ladder != nil:
		due = e.ladder.due(rule, e.open, d.clock)
	case !e.open && e.since+rule.forMs > d.clock:
		due = e.since + rule.forMs
	}
	if !e.open && due == later {
		if until, barred := d.barred(rule, rule.severity(e), d.clock); barred {
			due = until
		}
	}
	return due
}
