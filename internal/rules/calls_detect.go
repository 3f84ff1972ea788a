package rules

import (
	"math"
	"slices"
	"strings"

	"aftercare/internal/rules/detect"
	"github.com/expr-lang/expr/ast"
)

// multiTraining is how many readings several channels are learnt from.
const multiTraining = 250

// single is the memo of anomaly(f): about 630 bytes of a device.
type single struct{ detect.Anomaly }

func (m *single) append(b []byte) []byte { return m.AppendState(b) }

func (m *single) read(b []byte) bool {
	rest, err := m.ReadState(b)
	return err == nil && len(rest) == 0
}

// several is the memo of anomaly(f, g): 50 bytes a channel, and 2 KB a channel while it learns from the first 250 readings.
type several struct {
	*detect.Multi
	row []float64 // of one reading, only while it is taken in
}

func (m *several) append(b []byte) []byte { return m.AppendState(b) }

func (m *several) read(b []byte) bool {
	rest, err := m.ReadState(b)
	return err == nil && len(rest) == 0
}

func newSeveral(channels int) func() memo {
	return func() memo {
		cfg := detect.DefaultMulti(channels)
		cfg.Train = multiTraining
		m, err := detect.NewMulti(cfg)
		if err != nil {
			panic("rules: " + err.Error()) // the configuration is ours: cannot happen
		}
		return &several{Multi: m, row: make([]float64, channels)}
	}
}

// anomaly compiles how unusual a device's last reading was against its own past: 0 as always, towards 1 as never. For several
// fields it is score/(1+score) of detect.Multi, which is 0.5 where that alarms. It is 0 while it learns, and unknown before the
// first reading that has a field of it. Late readings are left out: the detectors look at values in order.
func (c *compiler) anomaly(n *ast.CallNode) value {
	slots, names := make([]int, 0, len(n.Arguments)), make([]string, 0, len(n.Arguments))
	for _, arg := range n.Arguments {
		one := *n
		one.Arguments = []ast.Node{arg}
		i, ok := c.takes(&one, "anomaly")
		if !ok {
			return value{slot: -1}
		}
		if slices.Contains(slots, i) {
			return c.fail(arg, "", "%s is here twice", clip(arg.String()))
		}
		slots, names = append(slots, i), append(names, c.b.p.slots[i].spec.Name)
	}
	cl, made := c.b.cell("anomaly("+strings.Join(names, ", ")+")", 1, 0, usage{slots: slots})
	f, k := cl.f, c.b.cellNumber(cl.name)
	out := value{kind: number, slot: slots[0], num: func(e *env) float64 { return e.d.num(f) }}
	switch {
	case !made:
	case len(slots) == 1:
		c.b.remembers(cl, func() memo { return &single{} }, 640)
		cur := c.b.p.slots[slots[0]].f
		cl.step = func(e *env) {
			m := e.d.memo(&e.d.p.cells[k]).(*single) //nolint:forcetypeassert // as it was made
			e.d.setNum(f, m.Step(e.d.num(cur)))
		}
	default:
		c.b.remembers(cl, newSeveral(len(slots)), len(slots)*(64+8*multiTraining))
		cur := make([]int, len(slots))
		for i, s := range slots {
			cur[i] = c.b.p.slots[s].f
		}
		cl.step = func(e *env) {
			m := e.d.memo(&e.d.p.cells[k]).(*several) //nolint:forcetypeassert // as it was made
			for i, s := range slots {
				if m.row[i] = math.NaN(); e.came.has(s) {
					m.row[i] = e.d.num(cur[i])
				}
			}
			score := m.Next(m.row).Score
			e.d.setNum(f, score/(1+score))
		}
	}
	if len(slots) > 1 {
		out.slot = -1
	}
	return out
}
