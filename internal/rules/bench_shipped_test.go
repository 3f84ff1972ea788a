package rules_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

// usual is what a healthy device of each shipped model sends at every interval.
var usual = map[string][]fleet.Field{
	"washer-w7":      numbers("power_w", 2, "water_temp_c", 21.5, "cycles", 812, "drain_s", 55.2, "vibration_mm_s", 6.1),
	"fridge-f3":      numbers("fridge_c", 5.1, "freezer_c", -18.4, "ambient_c", 22, "compressor_w", 65, "compressor_duty", 38, "door_s", 0, "freezer_door_s", 0, "filter_l", 120),
	"ev-charger-e11": numbers("power_kw", 7.2, "energy_kwh", 1200, "plug_c", 41, "residual_ma", 0.4, "mains_v", 231, "relay_cycles", 900),
	"laptop-l4":      numbers("charge_pct", 71, "battery_health_pct", 93, "battery_cycles", 80, "battery_c", 31, "cpu_c", 52, "fan_rpm", 2100, "disk_wear_pct", 4),
	"drill-d18":      numbers("charge_pct", 71, "pack_c", 25, "motor_h", 50, "motor_c", 40, "gear_mm_s", 3, "capacity_pct", 97, "pack_cycles", 70),
	"printer-p5":     numbers("pages", 9000, "toner_pct", 55, "drum_pct", 80, "jams", 12, "fuser_c", 190, "power_w", 30, "waste_pct", 20),
	"base-b4":        numbers("temp_c", 33, "fan_rpm", 1500, "mains_v", 230, "link_dbm", -60, "tools", 4, "charging", 2),
	"mower-m2":       numbers("battery_pct", 65, "battery_c", 28, "blade_h", 12, "blade_rpm", 0, "tilt_deg", 2, "mowed_m2", 9000, "outside_c", 18, "contact_ohm", 1),
}

// numbers makes fields of name, value pairs.
func numbers(kv ...any) (out []fleet.Field) {
	for i := 0; i < len(kv); i += 2 {
		var v float64
		switch n := kv[i+1].(type) {
		case int:
			v = float64(n)
		case float64:
			v = n
		}
		out = append(out, fleet.Field{Name: kv[i].(string), Value: fleet.Value{Type: fleet.Float, Float: v}})
	}
	return out
}

// shipped loads the rule packs and models of the configs folder.
func shipped(b *testing.B) (*rules.Set, []fleet.Model) {
	b.Helper()
	models, problems := registry.LoadModels(os.DirFS("../../configs/models"))
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	set, bad := rules.Load(os.DirFS("../../configs/rules"), models)
	if len(bad) > 0 {
		b.Fatal(bad)
	}
	return set, models
}

// BenchmarkBatchShippedPacks steps batches of 500 readings of 500 devices of all shipped models with the shipped rules: from
// a record of the journal to its findings, on one core. The devices have been in use for a month, so that all windows are
// full, and their values wander by a percent.
func BenchmarkBatchShippedPacks(b *testing.B) {
	set, models := shipped(b)
	const devices, size, month = 500, 500, 30 * 24 * 6
	var known []string
	for _, m := range models {
		if usual[m.ID] != nil {
			known = append(known, m.ID)
		}
	}
	draw := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // values of a benchmark
	fields := make([]fleet.Field, 0, 16)
	batch := func(at time.Time, seq, from int, body []byte) wire.Record {
		for n := from; n < from+size; n++ {
			model := known[n%len(known)]
			fields = append(fields[:0], usual[model]...)
			for i := range fields {
				if v := fields[i].Value.Float; v != math.Trunc(v) || v > 10 {
					fields[i].Value.Float = math.Round(v*(1+0.01*draw.NormFloat64())*100) / 100
				}
			}
			r := fleet.Reading{
				Device: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("D-%05d", n)}, Model: model,
				Time: at, Boot: 1, Seq: int64(seq), HasSeq: true, Fields: fields,
			}
			body = wire.AppendReading(body, &r)
		}
		return wire.Record{Kind: wire.KindReadings, Received: at.Add(time.Second), Body: body}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := rules.NewState(set)
	found := 0
	var body []byte
	at, seq := time.UnixMilli(1_700_000_000_000), 0
	for ; seq < month; seq++ {
		for from := 0; from < devices; from += size {
			rec := batch(at, seq, from, body[:0])
			body = rec.Body
			s.Step(&rec, nil)
		}
		at = at.Add(10 * time.Minute)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	from := 0
	for b.Loop() {
		b.StopTimer()
		rec := batch(at, seq, from, body[:0])
		body = rec.Body
		b.StartTimer()
		found += len(s.Step(&rec, nil))
		if from += size; from == devices {
			at, seq, from = at.Add(10*time.Minute), seq+1, 0
		}
	}
	b.ReportMetric(float64(b.N)*size/b.Elapsed().Seconds(), "readings/s")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/devices, "B/device")
	b.ReportMetric(float64(found)/float64(b.N*size), "findings/reading")
}
