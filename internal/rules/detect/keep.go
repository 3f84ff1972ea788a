package detect

import (
	"encoding/binary"
	"math"
)

// Forms of encoded state: another form is not read.
const (
	anomalyForm = 'A'
	multiForm   = 'M'
)

// AppendState encodes what was learnt: about 90 bytes, and one or two for each transition and each class of surprise; at most 700.
func (a *Anomaly) AppendState(b []byte) []byte {
	b = append(appendNumbers(b, anomalyForm, a.numbers()), a.level)
	for _, counts := range [][]uint32{a.steps[:], a.past[:]} {
		for _, c := range counts {
			b = binary.AppendUvarint(b, uint64(c))
		}
	}
	return b
}

// ReadState takes over what AppendState encoded and returns what follows. Nothing is changed when it fails.
func (a *Anomaly) ReadState(b []byte) ([]byte, error) {
	var next Anomaly
	b, err := readNumbers(b, anomalyForm, next.numbers())
	if err != nil || len(b) == 0 || b[0] >= anomalyLevels {
		return nil, errState
	}
	next.level, b = b[0], b[1:]
	for _, counts := range [][]uint32{next.steps[:], next.past[:]} {
		for i := range counts {
			v, n := binary.Uvarint(b)
			if n <= 0 || v > math.MaxUint32 {
				return nil, errState
			}
			counts[i], b = uint32(v), b[n:]
		}
	}
	*a = next
	return b, nil
}

func (a *Anomaly) numbers() []*float64 {
	return []*float64{&a.n, &a.mean, &a.dev, &a.short, &a.low, &a.high, &a.norm, &a.variance, &a.hot}
}

// AppendState encodes what was learnt, not the configuration: 33 bytes a channel, and while it is still learning 8 for each value it
// has seen.
func (m *Multi) AppendState(b []byte) []byte {
	b = append(b, multiForm)
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(len(m.channels))), uint64(m.alarmed)) //nolint:gosec // it counts up
	if m.learning != nil {
		b = binary.AppendUvarint(b, uint64(len(m.learning))+1)
		for _, v := range m.learning {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
		return b
	}
	b = append(b, 0)
	for i := range m.channels {
		c := &m.channels[i]
		if !c.hasTraining {
			b = append(b, 0)
			continue
		}
		b = append(b, 1)
		for _, v := range []float64{c.fast, c.slow, c.width, c.floor} {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
	}
	return b
}

// ReadState takes over what AppendState encoded of a detector with as many channels, and returns what follows. Nothing is changed
// when it fails.
func (m *Multi) ReadState(b []byte) ([]byte, error) {
	r := stateReader{b: b}
	if r.byte() != multiForm || r.uvarint() != uint64(len(m.channels)) {
		return nil, errState
	}
	next := Multi{cfg: m.cfg, channels: make([]chart, len(m.channels)), alarmed: int(min(r.uvarint(), math.MaxInt32))} //nolint:gosec // bounded
	most := m.cfg.Train * m.cfg.Channels
	if n := r.uvarint(); n > 0 {
		if n > uint64(most) || (n-1)%uint64(len(m.channels)) != 0 { //nolint:gosec // positive
			return nil, errState
		}
		next.learning = make([]float64, 0, most)
		for range n - 1 {
			next.learning = append(next.learning, r.float())
		}
	} else {
		for i := range next.channels {
			c := &next.channels[i]
			if c.hasTraining = r.byte() == 1; !c.hasTraining {
				continue
			}
			for _, v := range []*float64{&c.fast, &c.slow, &c.width, &c.floor} {
				if *v = r.float(); !finite(*v) {
					return nil, errState
				}
			}
			if !(c.width > 0) || !(c.floor > 0) {
				return nil, errState
			}
		}
	}
	if r.short {
		return nil, errState
	}
	*m = next
	return r.b, nil
}

// stateReader reads numbers until there are none left; short says that it has gone on after that.
type stateReader struct {
	b     []byte
	short bool
}

func (r *stateReader) take(n int) []byte {
	if n > len(r.b) {
		r.short, r.b = true, nil
		return make([]byte, 8)
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *stateReader) byte() byte { return r.take(1)[0] }
func (r *stateReader) float() float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(r.take(8)))
}

func (r *stateReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.short, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
