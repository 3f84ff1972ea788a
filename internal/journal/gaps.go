package journal

import (
	"os"

	"aftercare/internal/wire"
)

// settle writes the damaged files of a stream anew, and fills what is missing from its middle and its end.
func (in *inspector) settle(stream wire.Stream, blocks []*block) (damages []Damage, err error) {
	dense := stream == wire.Readings || stream == wire.Findings || stream == wire.Changes
	last := uint64(0)
	for i, b := range blocks {
		if b.skip {
			last = 0
			continue
		}
		next := uint64(0) // the first of the next file
		newest := i == len(blocks)-1
		if !newest {
			next = blocks[i+1].first
		}
		if d := in.fill(b, stream, dense, last, next, newest); d != nil {
			damages = append(damages, *d)
		}
		for k := range b.pieces {
			damages = append(damages, *b.pieces[k].damage)
		}
		if in.mend && len(b.pieces) > 0 {
			if err := in.rewrite(stream, b); err != nil {
				return damages, err
			}
		}
		last = max(last, b.last)
	}
	return damages, nil
}

// fill says which sequences are lost with each damage, and adds those that are missing at the end of the newest file.
func (in *inspector) fill(b *block, stream wire.Stream, dense bool, last, next uint64, newest bool) *Damage {
	f, err := newFormat(string(stream), b.number)
	if err != nil {
		return nil
	}
	at := 0
	var when int64
	seen := func(upTo int) {
		for at < upTo {
			r, ok := f.read(b.data[at:])
			if !ok {
				break
			}
			if at += len(r.raw); r.seq > last {
				last, when = r.seq, r.time
			}
		}
	}
	for i := range b.pieces {
		p := &b.pieces[i]
		seen(p.off)
		if p.damage.Outcome == OutcomeTorn && !newest {
			p.damage.Outcome = OutcomeLost
		}
		at = p.end
		if p.damage.Outcome == OutcomeRepaired {
			if r, ok := f.read(p.raw); ok && r.seq > last {
				last, when = r.seq, r.time
			}
			continue
		}
		follows := in.follows(f, b, i, next)
		switch {
		case dense && last > 0 && follows > last+1:
			p.first, p.last = last+1, follows-1
		case p.damage.Seq > last:
			p.first, p.last = p.damage.Seq, p.damage.Seq
		}
		if p.first == 0 || p.last-p.first >= maxFill {
			continue
		}
		p.damage.Seq, p.damage.Records = p.first, int(p.last-p.first)+1 //nolint:gosec // at most maxFill
		p.raw = nil
		for seq := p.first; seq <= p.last; seq++ {
			p.raw = f.erased(p.raw, seq, when)
		}
		last = p.last
	}
	if b.data == nil {
		last, when = max(last, b.last), b.time
	} else {
		seen(len(b.data))
	}
	return in.fillEnd(f, b, stream, dense, last, next, when, newest)
}

// maxFill bounds the stand-ins for records that are missing in one place: more than a file holds.
const maxFill = 300_000

// follows returns the sequence of the first whole record behind a damage; 0 when there is none that tells.
func (in *inspector) follows(f *format, b *block, i int, next uint64) uint64 {
	if i+1 < len(b.pieces) && b.pieces[i+1].off == b.pieces[i].end {
		p := &b.pieces[i+1]
		if p.damage.Outcome == OutcomeRepaired || p.damage.Seq > 0 {
			return p.damage.Seq
		}
		return 0 // the next one's first is not known: it takes all
	}
	for at := b.pieces[i].end; at < len(b.data); {
		r, ok := f.read(b.data[at:])
		if !ok {
			return 0
		}
		if !r.tomb {
			return r.seq
		}
		at += len(r.raw)
	}
	return next
}

// fillEnd notices records that are not there at all behind the last one of a file, whose readers and writers know better.
func (in *inspector) fillEnd(f *format, b *block, stream wire.Stream, dense bool, last, next uint64, when int64, newest bool) *Damage {
	end := in.acked[stream]
	if !newest {
		end = max(next, 1) - 1
	}
	if !dense || last == 0 || end <= last || end-last > maxFill {
		return nil
	}
	d := &Damage{Stream: stream, File: b.path, Offset: int(b.stamp.size), Seq: last + 1, Records: int(end - last), Outcome: OutcomeMissing} //nolint:gosec // at most maxFill
	if !in.mend {
		return d
	}
	if b.data == nil {
		data, err := os.ReadFile(b.path)
		if err != nil {
			return d
		}
		b.data = data
	}
	p := piece{off: len(b.data), end: len(b.data), damage: &Damage{}}
	for seq := last + 1; seq <= end; seq++ {
		p.raw = f.erased(p.raw, seq, when)
	}
	b.last = end
	if n := len(b.pieces); n > 0 { // one report for one place
		b.pieces[n-1].raw = append(b.pieces[n-1].raw, p.raw...)
		return d
	}
	*p.damage = *d
	b.pieces = append(b.pieces, p)
	return nil
}
