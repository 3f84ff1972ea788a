package rules

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// anyLife makes the records of a device that sends whatever it likes: numbers of any size, gaps, late readings, resends, events,
// presence, services, summaries and ticks.
func anyLife(seed uint64, n int) (out []wire.Record) {
	rng := rand.New(rand.NewPCG(11, seed))
	now, key := t0, fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}
	number := func() float64 {
		return []float64{0, 1, -1, rng.Float64() * 100, rng.NormFloat64(), 1e300, -1e300, 1e-300, float64(rng.IntN(5))}[rng.IntN(9)]
	}
	for i := range n {
		now = now.Add(time.Duration(rng.IntN(5)*rng.IntN(5)*rng.IntN(200)) * time.Minute)
		rec := wire.Record{Kind: wire.KindReadings, Received: now.Add(time.Second)}
		r := fleet.Reading{
			Device: key, Model: "washer-w7", Time: now.Add(-time.Duration(rng.IntN(3)*rng.IntN(20)) * time.Minute), Boot: 1,
			Seq: int64(i - rng.IntN(2)), HasSeq: rng.IntN(9) > 0,
		}
		switch rng.IntN(12) {
		case 0:
			rec.Kind = wire.KindTick
		case 1:
			rec.Kind = wire.KindFacts
			rec.Body = fmt.Appendf(nil, `{"device":{"tenant":"demo","serial":"WM-1"},"at":%q,"model":"washer-w7","services":[{"component":"drain-pump","at":%q}]}`+"\n",
				now.Format(time.RFC3339), now.Format(time.RFC3339))
		case 2:
			rec.Kind = wire.KindSummary
			rec.Body = []byte(`{"peers":[{"tenant":"demo","model":"washer-w7","value":"drain_s","devices":20,"at":[0,1,1,5]}]}`)
		case 3:
			r.Class, r.Fields = fleet.Event, fields("code="+[]string{"E18", "E19", "OK"}[rng.IntN(3)])
		case 4:
			r.Class, r.Fields = fleet.Presence, fields("online=true cause=connected")
		default:
			r.Fields = fields(fmt.Sprintf("cycles=%di door_open=%v mode=%s", rng.IntN(3000), rng.IntN(2) == 0, []string{"eco", "cotton"}[rng.IntN(2)]))
			for _, name := range []string{"drain_s", "vibration_mm_s", "motor.temp"} {
				if rng.IntN(3) > 0 {
					r.Fields = append(r.Fields, fleet.Field{Name: name, Value: fleet.Value{Type: fleet.Float, Float: number()}})
				}
			}
		}
		if rec.Kind == wire.KindReadings {
			rec.Body = wire.AppendReading(nil, &r)
		}
		out = append(out, rec)
	}
	return out
}

// FuzzExpression: whatever stands behind `when` is refused or runs: no panic, no more of a device than is allowed, and a state that
// is the same when it was saved and restored.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{
		`drain_s > 70`, `avg(drain_s, "24h") > 1.4 * avg(drain_s, "14d") and count(drain_s, "24h") >= 3`, `code == "E18" or codes("E18", "7d") > 2`,
		`held(drain_s > 50) > 900 or since(code == "E18") < 60`, `times(door_open, "1d") + starts(door_open) > 3`, `share(mode == "eco", "1h") > 0.5`,
		`hours(door_open) > 2 and total(drain_s) / cycles > 3`, `quantile(drain_s, 0.9, "50 cycles") > stddev(drain_s, "20 cycles")`,
		`slope(drain_s, "7d") > 3 or ewma(drain_s, "2h") < 1`, `used("drain-pump") / life("drain-pump") > 0.9`, `eta(used("drain-pump"), life("drain-pump")) < 100`,
		`eta(drain_s, 100, "10d") < 72`, `anomaly(drain_s) > 0.5 or anomaly(drain_s, vibration_mm_s) > 0.5`, `peers(drain_s) > 0.9 and fleet_rate("a") > 0.1`,
		`age(drain_s) > 3600 or silent() > 60`, `link.online and link.cause in ["lost"]`, `avg(where(drain_s, door_open), "1d") > rate(drain_s)`,
		`held(held(held(held(door_open) > 1) > 1) > 1) > 1`, `finding("a") ? true : not changed(mode)`, `prev(drain_s) ** delta(drain_s) % 0 > -motor.temp`,
	} {
		f.Add(s, uint64(1))
	}
	models := testModels()
	f.Fuzz(func(t *testing.T, when string, seed uint64) {
		quoted, err := json.Marshal(when)
		if err != nil {
			return
		}
		set, _ := Load(fstest.MapFS{"x.yaml": {Data: []byte(strings.Replace(packYAML("a | when: 1"), "when: 1", "when: "+string(quoted), 1))}}, models)
		if len(set.Rules()) == 0 {
			return
		}
		for _, p := range set.programs {
			if p.cost() > maxState || len(p.cells) > maxCells {
				t.Fatalf("%d bytes and %d cells of a device", p.cost(), len(p.cells))
			}
		}
		s := NewState(set)
		recs := anyLife(seed, 120)
		for i := range recs {
			s.Step(&recs[i], nil)
		}
		s.Aggregate()
		again, _, err := Restore(set, s.Header(), set.Layout(), s.Save(1<<20, func() uint32 { return 1 }))
		if err != nil || again.Hash() != s.Hash() {
			t.Fatalf("restored another state: %v", err)
		}
	})
}
