package rules

import (
	"fmt"
	"runtime"
	"testing"
	"testing/fstest"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

const benchDevices = 1000

// benchBatches makes rounds of one reading of every device, ten minutes apart, as batches of 500 lines.
func benchBatches(rounds int) (out [][]wire.Record) {
	for round := range rounds {
		at := t0.Add(time.Duration(round) * 10 * time.Minute)
		var recs []wire.Record
		for n := range benchDevices {
			if n%500 == 0 {
				recs = append(recs, wire.Record{Kind: wire.KindReadings, Received: at.Add(time.Second)})
			}
			r := fleet.Reading{
				Device: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("WM-%04d", n)}, Model: "washer-w7",
				Time: at, Boot: 3, Seq: int64(round), HasSeq: true,
				Fields: fields("drain_s=55.2 vibration_mm_s=3.1 cycles=812i door_open=false mode=eco motor.temp=41.5"),
			}
			last := &recs[len(recs)-1]
			last.Body = wire.AppendReading(last.Body, &r)
		}
		out = append(out, recs)
	}
	return out
}

func benchStep(b *testing.B, set *Set) {
	const rounds = 64
	batches := benchBatches(rounds)
	s := NewState(set)
	var found []fleet.Finding
	round := 0
	one := func() {
		if round == rounds {
			round = 0
			s = NewState(set)
			for i := range batches[0] {
				found = s.Step(&batches[0][i], found[:0])
			}
			round = 1
		}
		for i := range batches[round] {
			found = s.Step(&batches[round][i], found[:0])
			if len(found) > 0 {
				b.Fatal("a finding in the steady state")
			}
		}
		round++
	}
	one()
	b.ReportAllocs()
	for b.Loop() {
		if round == rounds {
			b.StopTimer()
			one()
			b.StartTimer()
		}
		one()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchDevices, "ns/reading")
}

func thresholds(n int) (out []string) {
	names := []string{"drain_s", "vibration_mm_s", "cycles", "motor.temp"}
	for i := range n {
		out = append(out, fmt.Sprintf("r%d | when: %s > %d", i, names[i%len(names)], 820+i))
	}
	return out
}

func benchSet(b *testing.B, rules ...string) *Set {
	set, problems := Load(fstest.MapFS{"x.yaml": {Data: []byte(packYAML(rules...))}}, testModels())
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	return set
}

// BenchmarkStep gives the cost of one reading with 0, 1, 10 and 20 threshold rules, the line's parsing included.
func BenchmarkStep(b *testing.B) {
	for _, n := range []int{0, 1, 10, 20} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) { benchStep(b, benchSet(b, thresholds(n)...)) })
	}
	b.Run("rules=16+4windows", func(b *testing.B) { benchStep(b, benchSet(b, mixed()...)) })
}

func mixed() []string {
	return append(thresholds(16),
		`w1 | when: avg(drain_s, "24h") > 1.4 * avg(drain_s, "14d")`,
		`w2 | when: max(motor.temp, "1h") > 90 | for: 10m`,
		`w3 | when: count(drain_s, "24h") > 900`,
		`w4 | when: avg(vibration_mm_s, "24h") > 11`)
}

// BenchmarkParse is the part of BenchmarkStep that reads the lines.
func BenchmarkParse(b *testing.B) {
	batch := benchBatches(1)[0][0].Body
	var r fleet.Reading
	for b.Loop() {
		for rest := batch; len(rest) > 0; {
			var err error
			if rest, err = wire.NextLine(rest, &r); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/reading")
}

// BenchmarkState gives the memory of a device with 20 rules of which four use windows, and the time to encode it.
func BenchmarkState(b *testing.B) {
	batches := benchBatches(64)
	set := benchSet(b, mixed()...)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	s := NewState(set)
	for _, recs := range batches {
		for i := range recs {
			s.Step(&recs[i], nil)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perDevice := (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / benchDevices
	var bytes int
	for b.Loop() {
		s.Resave()
		bytes = 0
		id := uint32(0)
		for _, c := range s.Save(1<<20, func() uint32 { id++; return id }) {
			bytes += len(c.Body)
		}
	}
	b.ReportMetric(perDevice, "B/device")
	b.ReportMetric(float64(bytes)/benchDevices, "saved-B/device")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchDevices, "ns/device")
	runtime.KeepAlive(s)
	runtime.KeepAlive(batches)
}

// TestSteadyStateAllocatesNothing guards what the benchmarks measure.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	set := loadPack(t, mixed()...)
	batches := benchBatches(30)
	s := NewState(set)
	var found []fleet.Finding
	round := 0
	next := func() {
		for i := range batches[round] {
			found = s.Step(&batches[round][i], found[:0])
		}
		for i := range s.devices.n {
			s.devices.at(i).epoch = 0
		}
		round++
	}
	next()
	next()
	if n := testing.AllocsPerRun(20, next); n > 0 {
		t.Errorf("%v allocations in a round of %d readings", n, benchDevices)
	}
}

// BenchmarkQuantile reads the median of a window that is full.
func BenchmarkQuantile(b *testing.B) {
	s := newSketch().(*sketch) //nolint:forcetypeassert // as newSketch made it
	for i := range int64(20_000) {
		s.add(i, 1000, float64(i*7919%1000))
	}
	for b.Loop() {
		s.quantile(0.5, 19_999, 1000)
	}
}
