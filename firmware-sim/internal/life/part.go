package life

import "aftercare/firmware-sim/internal/signal"

// part is a component that every device of a model wears out. From one share of its life on it is due, at another it does harm;
// when it is replaced is up to the owner.
type part struct {
	kind      *Kind
	component string
	life      float64 // in the unit of its counter
	used      float64
	due, over float64 // shares of the life
	swap      float64 // share at which the owner replaces it
	late      float64 // or days after it began to do harm
	n         int64
	onset     int64
	failed    int64
}

// newPart adds a part with some of its life used; the shares are those of a part that lasts a little beyond its life.
func (l *Life) newPart(kind, component string, life, used float64) *part {
	p := &part{kind: kindOf(kind), component: component, life: life, used: used, due: 0.8, over: 1.1, n: int64(len(l.parts)) * 1000}
	l.parts = append(l.parts, p)
	p.draw(l)
	return p
}

// limits sets other shares and draws the owner's patience anew.
func (p *part) limits(l *Life, due, over float64) *part {
	p.due, p.over = due, over
	p.draw(l)
	return p
}

// draw decides when the owner will replace it: 6 in 10 do before it does harm, the others some days to weeks after.
func (p *part) draw(l *Life) {
	p.n++
	p.swap, p.late = 99, l.seed.Between(962, p.n, 1, 25)
	if l.seed.U(960, p.n) < 0.6 {
		p.swap = l.seed.Between(961, p.n, p.due+0.15*(p.over-p.due), p.over)
	}
}

func (p *part) share() float64 { return p.used / p.life }

// spend wears the part and replaces it when its time has come.
func (p *part) spend(l *Life, x float64) {
	p.used += x
	share := p.share()
	if p.onset == 0 && share >= p.due {
		p.onset = l.at
	}
	if p.failed == 0 && share >= p.over {
		p.failed = l.at
	}
	day, hour := signal.LocalDay(l.at)
	now := share >= p.swap || p.failed != 0 && float64(l.at-p.failed) > p.late*signal.Day
	if !now || hour < 9 || hour > 19 || l.work(day) == 0 {
		return
	}
	p.renew(l)
	l.m.renewed(l, p.kind.Name)
}

// renew puts a new part in.
func (p *part) renew(l *Life) {
	if p.onset != 0 {
		l.Conditions = append(l.Conditions, p.condition(l.at))
	}
	p.used, p.onset, p.failed = 0, 0, 0
	p.draw(l)
	l.service(p.component)
}

func (p *part) condition(end int64) Condition {
	return Condition{Kind: p.kind.Name, Component: p.component, Onset: p.onset, Failure: p.failed, End: end}
}
