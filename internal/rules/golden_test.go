package rules

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
	"pgregory.net/rapid"
)

// This file is the slow obvious version of the functions: it keeps every reading that ever came and goes through all of
// them each time it is asked. golden_*_test.go compare the functions with it.

// happening is a reading that counted: not a resend, not too old.
type happening struct {
	t       int64
	inOrder bool
	event   bool
	code    string
	came    map[string]float64 // what was in it
	have    map[string]float64 // all last values after it
	served  int64              // when the drain pump was serviced last, as far as was known
}

// chronicle is all that a device sent.
type chronicle struct {
	all    []happening
	newest [2]int64
	sent   [2]map[int64]bool
	hold   int64
	served int64
}

func newChronicle(hold int64) *chronicle {
	return &chronicle{newest: [2]int64{never, never}, sent: [2]map[int64]bool{{}, {}}, hold: hold}
}

const allowedLateness = 600_000

func (c *chronicle) take(r *fleet.Reading) {
	t := r.Time.UnixMilli()
	if c.sent[r.Class][r.Seq] {
		return
	}
	c.sent[r.Class][r.Seq] = true
	if t < c.newest[r.Class]-allowedLateness {
		return
	}
	h := happening{served: c.served, t: t, inOrder: t >= c.newest[r.Class], event: r.Class == fleet.Event, came: map[string]float64{}, have: map[string]float64{}}
	if n := len(c.all); n > 0 {
		for k, v := range c.all[n-1].have {
			h.have[k] = v
		}
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		if f.Name == "code" {
			h.code = f.Value.Str
			continue
		}
		v := f.Value.Float
		if f.Value.Type != fleet.Float {
			v = float64(f.Value.Int)
		}
		h.came[f.Name] = v
		if h.inOrder {
			h.have[f.Name] = v
		}
	}
	if h.inOrder {
		c.newest[r.Class] = t
	}
	c.all = append(c.all, h)
}

// readings are the telemetry readings that were in order.
func (c *chronicle) readings() (out []happening) {
	for _, h := range c.all {
		if !h.event && h.inOrder {
			out = append(out, h)
		}
	}
	return out
}

// values are all values of a field, late ones too.
func (c *chronicle) values(field string) (out []point) {
	for _, h := range c.all {
		if v, ok := h.came[field]; ok {
			out = append(out, point{t: h.t, v: v})
		}
	}
	return out
}

// begin is since when a window of length ms counts, at a time: the begin of the fifteenth bucket before the running one.
func begin(at, ms int64) int64 {
	width := ms / buckets
	return (floorDiv(at, width) - buckets + 1) * width
}

// trial is a device and its chronicle, and expressions that are worked out at any time.
type trial struct {
	life  *life
	c     *chronicle
	exprs map[string]int

	at     int64 // of the newest facts
	cycles int   // where the counter of a drawn life stands
}

// anything is what the obvious version answers when the answer is not exact: it is tested elsewhere.
var anything = math.Inf(1)

func newTrial(t testing.TB, exprs ...string) *trial {
	t.Helper()
	tr := &trial{life: newLife(t, `r | when: vibration_mm_s > 1e9 | evidence: ['`+strings.Join(exprs, "', '")+`']`), exprs: map[string]int{}}
	p := tr.life.s.set.programs["washer-w7"]
	for i, e := range exprs {
		tr.exprs[e] = i
	}
	tr.c = newChronicle(p.hold)
	return tr
}

func (tr *trial) send(r fleet.Reading) {
	tr.c.take(&r)
	tr.life.s.Step(&wire.Record{Kind: wire.KindReadings, Received: r.Time.Add(tr.life.lag), Body: wire.AppendReading(nil, &r)}, nil)
}

// service tells that a component was serviced at a time (ms), for which the facts come at once.
func (tr *trial) service(component string, at int64) {
	tr.c.served = max(tr.c.served, at)
	tr.at++
	f := fleet.Facts{
		Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, Model: "washer-w7", At: moment(tr.at),
		Services: []fleet.Service{{Component: component, At: moment(tr.c.served)}},
	}
	body, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	tr.life.s.Step(&wire.Record{Kind: wire.KindFacts, Received: t0, Body: append(body, '\n')}, nil)
}

func (tr *trial) device() *device { return tr.life.s.devices.at(0) }

// value works out one of the expressions at a time.
func (tr *trial) value(expr string, at int64) float64 {
	i, ok := tr.exprs[expr]
	if !ok {
		panic("not among the trial's expressions: " + expr)
	}
	d := tr.device()
	return d.p.rules[0].evidence[i].value.num(&env{d: d, now: at})
}

// same compares two values, unknown being equal to unknown.
func same(got, want, tolerance float64) bool {
	if want == anything {
		return true
	}
	if math.IsNaN(got) || math.IsNaN(want) {
		return math.IsNaN(got) == math.IsNaN(want)
	}
	return math.Abs(got-want) <= tolerance*max(1, math.Abs(want))
}

// restored replaces the state by what a snapshot of it holds.
func (tr *trial) restored(t interface{ Fatal(...any) }) {
	s := tr.life.s
	s.Resave()
	var id uint32
	chunks := s.Save(1<<20, func() uint32 { id++; return id })
	again, _, err := Restore(s.set, s.Header(), s.set.Layout(), chunks)
	if err != nil {
		t.Fatal(err)
	}
	if s.Hash() != again.Hash() {
		t.Fatal("the restored state is another one")
	}
	tr.life.s = again
}

// drawn is the next reading of a life with gaps, late and very late readings, resends and events.
func (tr *trial) drawn(t *rapid.T, now *int64, seq *[2]int64, old *[]fleet.Reading) fleet.Reading {
	if len(*old) > 0 && rapid.IntRange(0, 9).Draw(t, "resend") == 0 {
		return rapid.SampledFrom(*old).Draw(t, "which")
	}
	*now += rapid.SampledFrom([]int64{0, 60_000, 600_000, 600_000, 5_400_000, 40_000_000}).Draw(t, "pause")
	at := *now - rapid.SampledFrom([]int64{0, 0, 0, 0, 120_000, 599_000, 7_200_000}).Draw(t, "back")
	r := fleet.Reading{Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, Model: "washer-w7", Time: moment(at), Boot: 1, HasSeq: true}
	if rapid.IntRange(0, 4).Draw(t, "class") == 0 {
		r.Class = fleet.Event
		r.Fields = fields("code=" + rapid.SampledFrom([]string{"E18", "E19", "OK"}).Draw(t, "code"))
	} else {
		fs := ""
		if rapid.IntRange(0, 3).Draw(t, "has") > 0 {
			fs += fmt.Sprintf(" drain_s=%d", rapid.IntRange(0, 100).Draw(t, "v"))
		}
		if rapid.Bool().Draw(t, "door") {
			fs += fmt.Sprintf(" door_open=%v", rapid.Bool().Draw(t, "open"))
		}
		if rapid.IntRange(0, 2).Draw(t, "counts") > 0 {
			tr.cycles += rapid.SampledFrom([]int{0, 1, 1, 2, 9}).Draw(t, "cycles")
			if rapid.IntRange(0, 19).Draw(t, "reset") == 0 {
				tr.cycles = rapid.IntRange(0, 3).Draw(t, "from")
			}
			fs += fmt.Sprintf(" cycles=%di", tr.cycles)
		}
		r.Fields = fields(fs + " vibration_mm_s=1")
	}
	seq[r.Class]++
	r.Seq = seq[r.Class]
	*old = append(*old, r)
	return r
}

// against draws lives and compares expressions with their obvious versions after each reading and some time later.
func against(t *testing.T, tolerance float64, obvious map[string]func(c *chronicle, at int64) float64) {
	t.Helper()
	exprs := make([]string, 0, len(obvious))
	for e := range obvious {
		exprs = append(exprs, e)
	}
	rapid.Check(t, func(rt *rapid.T) {
		tr := newTrial(t, exprs...)
		now := t0.UnixMilli()
		var seq [2]int64
		var old []fleet.Reading
		for range rapid.IntRange(1, 90).Draw(rt, "n") {
			r := tr.drawn(rt, &now, &seq, &old)
			if rapid.IntRange(0, 9).Draw(rt, "service") == 0 {
				tr.service("drain-pump", now-rapid.SampledFrom([]int64{0, 0, 3_600_000, -3_600_000}).Draw(rt, "ago"))
			}
			tr.send(r)
			if rapid.IntRange(0, 15).Draw(rt, "restore") == 0 {
				tr.restored(rt)
			}
			at := max(now, tr.c.newest[0]) + rapid.SampledFrom([]int64{0, 0, 1000, 1_500_000, 90_000_000}).Draw(rt, "look")
			for e, slow := range obvious {
				if got, want := tr.value(e, at), slow(tr.c, at); !same(got, want, tolerance) {
					rt.Fatalf("%s is %v, want %v", e, got, want)
				}
			}
		}
	})
}
