package detect

import "math"

// The one configuration of Wear.
const (
	wearBlock  = 4 * 60 * 60 * 1000 // ms whose values become one
	wearSlots  = 6                  // blocks of a day, each with a past of its own
	wearMemory = 30                 // days over which a block's usual level forgets
	wearWarm   = 18                 // blocks before anything is said
	wearYoung  = 1.5                // days at which limits are twice as wide, because little is known of what is usual
	wearStep   = 2.5                // usual differences that one block can add at most
	wearAlarm  = 7.0                // usual distances of the climb at which an alarm begins
	wearClear  = 0.5                // share of that below which it ends
	wearDoubt  = 0.3                // share of that from which sizes are not learnt from
	wearClip   = 5.0                // usual sizes that are learnt from at most
	wearSmooth = 3.0                // blocks over which the climb is averaged
	wearAccept = 12.0               // blocks in which a jump becomes usual
	wearSlow   = 4.0                // how much slower the usual level follows in an alarm
)

// Wear finds a channel that climbs slowly above its own past, and keeps quiet about one that has jumped: a machine that was
// moved has a new level at once, one that wears has risen a little again and again.
//
// Values are averaged over blocks of four hours, as logarithms, so that growth counts in parts of the whole; each block
// is compared with what is usual at its time of day (a moving centre line: Montgomery and Mastrangelo, J. Quality Technology
// 23(3), 1991). The differences from block to block, cut at 2.5 of their usual size, are added up: a cumulative sum
// (Page 1954, doi 10.1093/biomet/41.1-2.100) with bounded influence (robust CUSUM: Lucas and Crosier 1982, doi
// 10.2307/1268274), never below nothing and never above the distance there is. A jump counts as one cut step, and what was cut
// becomes usual within two days; a repair brings the sum down at once. Its average over three blocks (EWMA chart: Roberts
// 1959) alarms at seven mean deviations.
//
// Times are those of the readings. A block without values is left out, so that a machine that is used once a day is
// judged use by use. It is silent for the first 18 blocks. What it cannot see: damage that comes at once (see
// Anomaly and Multi), and wear that is small beside the channel's weather over its memory of 30 days.
//
// Measured on thirty made-up healthy years of each kind (noise, wandering, daily, weekly and yearly pattern, wild values; every 10
// minutes and every 8 hours): no alarm; one in some 30 moves is taken for wear. It was made with bearing 1 of IMS test 2 in view.
//
// The zero value is ready, for values above 0 that rise with wear.
type Wear struct {
	Falls bool // wear makes the values fall
	Plain bool // the values are taken as they are, not their logarithms: for those that may be 0 or less

	block  int64 // number of the open block since 1970
	values float64
	before [2]float64 // the last two values
	sum    float64    // of the open block
	count  float64

	blocks  float64            // closed so far
	usual   [wearSlots]float64 // level of each block of the day
	visits  [wearSlots]float64
	all     float64 // level over all
	last    float64 // distance of the last block from what is usual
	jitter  float64 // mean size of the differences from block to block
	width   float64 // mean size of the distance
	jumped  float64 // what was cut from differences and is not usual yet
	climb   float64 // cumulative sum
	smooth  float64 // its average
	alarmed bool
}

// Trend is what a Wear says about a reading.
type Trend struct {
	Score float64 // how far the channel has climbed above its past: 1 where an alarm begins
	Alarm bool
}

// Step takes the next value, measured at a time in Unix milliseconds, and says what is known from the blocks that are over.
// What is no finite number, not above 0 (unless Plain), or belongs to a block that is over teaches nothing. It allocates nothing.
func (w *Wear) Step(ms int64, v float64) Trend {
	if !w.Plain {
		v = math.Log(v) // not above 0: no number, or infinite
	}
	if present(v) {
		if w.Falls {
			v = -v
		}
		n := floorDiv(ms, wearBlock)
		if n > w.block && w.count > 0 {
			w.close()
		}
		if n >= w.block || w.values == 0 {
			w.block = n
			w.add(v)
		}
	}
	if w.blocks < wearWarm {
		return Trend{}
	}
	return Trend{Score: w.score(), Alarm: w.alarmed}
}

// floorDiv is a/b rounded down, also before 1970.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// add puts a value into the open block: the middle one of the last three, which leaves out a single wild one and keeps an edge
// sharp (a mean with outliers cut would smear a jump over blocks, which is how wear looks).
func (w *Wear) add(v float64) {
	if w.values++; w.values <= 2 {
		w.before = [2]float64{v, v}
	}
	a, b := w.before[0], w.before[1]
	w.before = [2]float64{b, v}
	w.sum += max(min(a, b), min(max(a, b), v))
	w.count++
}

// close judges the block that is over and learns from it.
func (w *Wear) close() {
	level := w.sum / w.count
	w.sum, w.count = 0, 0
	if w.blocks++; w.blocks == 1 {
		w.all = level
	}
	slot := w.block - wearSlots*floorDiv(w.block, wearSlots)
	usual := (w.usual[slot]*w.visits[slot] + w.all) / (w.visits[slot] + 1) // what is known of all stands in for a day
	distance := level - usual
	w.judge(distance)

	slower := 1.0
	if w.alarmed {
		slower = wearSlow
	}
	w.visits[slot]++
	w.usual[slot] += (level - w.usual[slot]) / (slower * min(w.visits[slot], wearMemory))
	w.all += (level - w.all) / (slower * min(w.blocks, wearMemory*wearSlots))
	w.width = w.learn(w.width, distance)
}

// judge moves the climb by the difference from the last block.
func (w *Wear) judge(distance float64) {
	difference := distance - w.last
	cut := max(-wearStep*w.jitter, min(wearStep*w.jitter, difference))
	w.last = distance
	if w.blocks > wearSlots {
		w.climb = max(0, min(w.climb+cut, distance))
		w.smooth += (w.climb - w.smooth) / wearSmooth
	}
	if w.blocks > wearWarm {
		w.accept(difference - cut)
	}
	s := w.score()
	w.alarmed = w.blocks >= wearWarm && (s >= 1 || w.alarmed && s > wearClear)
	w.jitter = w.learn(w.jitter, difference)
}

// accept lets what is usual follow what was cut, by and by.
func (w *Wear) accept(cut float64) {
	w.jumped += cut
	part := w.jumped / wearAccept
	for i := range w.usual {
		w.usual[i] += part
	}
	w.all += part
	w.last -= part
	w.jumped -= part
}

// learn moves a mean size by one more, unless what happens may be wear: that is no part of what is usual.
func (w *Wear) learn(size, next float64) float64 {
	if w.blocks >= wearWarm && w.score() > wearDoubt {
		return size
	}
	next = math.Abs(next)
	if size > 0 && w.blocks > wearSlots {
		next = min(next, wearClip*size)
	}
	return size + (next-size)/min(w.blocks, wearMemory*wearSlots)
}

// score is the climb in usual sizes, as a share of those at which an alarm begins.
func (w *Wear) score() float64 {
	if w.smooth <= 0 {
		return 0
	}
	usual := max(w.width, w.jitter) * (1 + wearYoung*wearSlots/w.blocks)
	if rounding := 1e-9 * max(math.Abs(w.all), 1e-3); usual < rounding { // a channel that stands still
		usual = rounding
	}
	return min(w.smooth/(wearAlarm*usual), 1e6)
}

// AppendState encodes what was learnt, not Falls and Plain.
func (w *Wear) AppendState(b []byte) []byte {
	alarmed, block := 0.0, float64(w.block)
	if w.alarmed {
		alarmed = 1
	}
	return appendNumbers(b, 'w', w.numbers(&alarmed, &block))
}

// ReadState takes over what AppendState encoded and returns what follows. Nothing is changed when it fails.
func (w *Wear) ReadState(b []byte) ([]byte, error) {
	var alarmed, block float64
	rest, err := readNumbers(b, 'w', w.numbers(&alarmed, &block))
	if err != nil {
		return nil, err
	}
	w.alarmed, w.block = alarmed != 0, int64(block)
	return rest, nil
}

func (w *Wear) numbers(more ...*float64) []*float64 {
	more = append(more, &w.values, &w.before[0], &w.before[1], &w.sum, &w.count, &w.blocks, &w.all, &w.last, &w.jitter, &w.width, &w.jumped, &w.climb, &w.smooth)
	for i := range w.usual {
		more = append(more, &w.usual[i], &w.visits[i])
	}
	return more
}
