package rules

import (
	"cmp"
	"slices"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// A state is warmed up when its snapshots are lost and the journal does not reach back: the same Step runs over what history keeps,
// device by device, and what it finds is forgotten. Devices have nothing to do with each other but for the clock of their partition,
// so each one begins with Rewind. What history cannot tell as readings comes by Recount and Settle.

// Reach is how far back any window looks.
func (s *State) Reach() time.Duration { return s.cfg.MaxWindow }

// Rewind sets the partition's clock, which no record turns back: the next device's past begins.
func (s *State) Rewind(to time.Time) { s.clock = to.UnixMilli() }

// Relive steps one reading of the past, received when it was made, and forgets what it finds.
func (s *State) Relive(r *fleet.Reading) {
	rec := wire.Record{Kind: wire.KindReadings, Received: r.Time, Body: wire.AppendReading(nil, r)}
	s.Step(&rec, nil)
}

// Settle makes a device's episodes agree with the findings that were told, of which there is the newest of each rule, as of the
// moment from which the journal goes on, and appends what nobody was told of yet. Of a finding ID, Revision, Phase, Rule, Live,
// OpenedAt (of one that is not cleared) and At count, and what it takes to end it when its rule is gone.
//
// What was told counts: an episode that is open goes on under its id and revision, whether or not the past as it is known now
// opened it at the same moment or at all: the next readings decide whether it is over. One that was cleared is over.
// What is open and was never told is told now: a rule that is new, or a finding that was lost.
func (s *State) Settle(key fleet.DeviceKey, told []fleet.Finding, now time.Time, out []fleet.Finding) []fleet.Finding {
	d := s.devices.get(key)
	if d == nil {
		return out
	}
	s.touch(d)
	s.out, s.received = out, now.UTC()
	known := map[int]bool{}
	for i := range told {
		f := &told[i]
		rule := slices.IndexFunc(d.p.rules, func(r compiled) bool { return r.ID == f.Rule })
		gone := rule < 0 || f.Phase != fleet.Cleared && d.findingID(f.Rule, f.OpenedAt.UnixMilli()) != f.ID // nobody could end it
		switch at := d.find(rule); {
		case gone && f.Phase != fleet.Cleared:
			end := *f
			end.Category, end.Phase, end.Revision, end.At, end.Received = d.p.category, fleet.Cleared, f.Revision+1, now.UTC(), now.UTC()
			s.out = append(s.out, end)
		case gone:
		case f.Phase != fleet.Cleared:
			known[rule] = true
			s.goOn(d, rule, f)
		case at >= 0 && d.active[at].open && d.active[at].openedAt <= f.At.UnixMilli():
			d.drop(at)
		}
	}
	for i := range d.active {
		if e := &d.active[i]; e.open && !known[e.rule] {
			e.told, e.live = 0, true
			s.emit(d, e, fleet.Opened, e.openedAt, e.evidence)
		}
	}
	slices.SortStableFunc(d.active, func(a, b episode) int { return cmp.Compare(a.rule, b.rule) })
	s.schedule(d)
	out, s.out = s.out, nil
	return out
}

// goOn makes a rule's episode the one that was told.
func (s *State) goOn(d *device, rule int, f *fleet.Finding) {
	r, opened := &d.p.rules[rule], f.OpenedAt.UnixMilli()
	at := d.find(rule)
	if at < 0 {
		d.active = append(d.active, episode{rule: rule, since: opened, clearing: never, cause: -1})
		at = len(d.active) - 1
		if r.levels != nil {
			d.active[at].ladder = newLadder(len(r.levels))
		}
	}
	e := &d.active[at]
	if !e.open {
		e.lastTrue = opened
		for k := range r.levels {
			if r.levels[k].severity == f.Severity {
				e.ladder.at = k
			}
		}
	}
	e.open, e.openedAt, e.told, e.live = true, opened, f.Revision, f.Live
}
