package rules

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// BenchmarkMarginalRule reports what one more threshold rule on a field of the reading costs: (120 rules - 20 rules) / 100.
func BenchmarkMarginalRule(b *testing.B) {
	cost := map[int]float64{}
	for _, n := range []int{20, 120} {
		set := benchSet(b, sameField(n)...)
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			benchStep(b, set)
			cost[n] = float64(b.Elapsed().Nanoseconds()) / float64(b.N) / benchDevices
			if cost[20] > 0 && n == 120 {
				b.ReportMetric((cost[120]-cost[20])/100, "ns/rule")
			}
		})
	}
}

// sameField makes threshold rules that all read one field, so that every reading evaluates all of them.
func sameField(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("r%d | when: drain_s > %d", i, 700+i))
	}
	return out
}

// heap returns the bytes that are in use, garbage excluded.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// fill sends rounds of one reading of each of n devices, ten minutes apart, and keeps nothing but the state.
func fill(s *State, n, rounds int) {
	var r fleet.Reading
	fs := fields("drain_s=55.2 vibration_mm_s=3.1 cycles=812i door_open=false motor.temp=41.5")
	for round := range rounds {
		at := t0.Add(time.Duration(round) * 10 * time.Minute)
		var body []byte
		for i := range n {
			r = fleet.Reading{
				Device: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("WM-%07d", i)}, Model: "washer-w7",
				Time: at, Boot: 3, Seq: int64(round), HasSeq: true, Fields: fs,
			}
			body = wire.AppendReading(body, &r)
			if i%500 == 499 || i == n-1 {
				s.Step(&wire.Record{Kind: wire.KindReadings, Received: at.Add(time.Second), Body: body}, nil)
				body = body[:0]
			}
		}
	}
}

// BenchmarkStatePerDevice gives the memory of a device in a large fleet with 20 rules of which four use windows. The
// readings reach over the short windows, so that all of their parts are in use.
func BenchmarkStatePerDevice(b *testing.B) {
	set := benchSet(b, mixed()...)
	const n = 20_000
	for b.Loop() {
		before := heap()
		s := NewState(set)
		fill(s, n, 8)
		b.ReportMetric((heap()-before)/n, "B/device")
		runtime.KeepAlive(s)
	}
}

// BenchmarkMillionDevices keeps the state of a million devices in one partition and makes a snapshot of all of them, in slices
// as the engine does; then it changes the rules: to others, and to some of which all devices wait for something. RSS is of the whole process, before the snapshot and at its highest. Run it with -benchtime 1x.
func BenchmarkMillionDevices(b *testing.B) {
	if free := available(); free < 4<<30 {
		b.Skipf("%d MiB of memory are free; this wants 4 GiB", free>>20)
	}
	set := benchSet(b, mixed()...)
	const n = 1_000_000
	for b.Loop() {
		before := heap()
		s := NewState(set)
		fill(s, n, 2)
		b.ReportMetric(status("VmRSS")/(1<<30), "RSS-GiB")
		b.ReportMetric((heap()-before)/(1<<30), "heap-GiB")
		id := uint32(0)
		save := func() (begin, worst time.Duration) {
			at := time.Now()
			sv := s.BeginSave(1<<20, func() uint32 { id++; return id })
			begin = time.Since(at)
			for done := false; !done; {
				at = time.Now()
				done = sv.Go(64)
				worst = max(worst, time.Since(at))
			}
			return begin, worst
		}
		_, worst := save()
		s.Resave()
		begin, again := save()
		b.ReportMetric(float64(begin.Microseconds())/1000, "begin-ms")
		b.ReportMetric(float64(max(worst, again).Microseconds())/1000, "slice-ms")
		b.ReportMetric(status("VmHWM")/(1<<30), "peak-GiB")
		activate := func(name string, rules ...string) {
			rec := activation(b, t0.Add(hour), packYAML(rules...))
			at := time.Now()
			s.Step(&rec, nil)
			b.ReportMetric(float64(time.Since(at).Microseconds())/1000, name)
		}
		activate("activate-ms", mixed()[1:]...)
		activate("activate-with-age-ms", append(mixed(), "silent | when: age(drain_s) > 86400")...)
		runtime.KeepAlive(s)
	}
}

// status returns a number of bytes that the system tells of this process, 0 where it does not.
func status(name string) float64 {
	return float64(memory("/proc/self/status", name))
}

// available returns the bytes of memory the machine can still give, 0 where it does not say.
func available() uint64 { return memory("/proc/meminfo", "MemAvailable") }

func memory(file, name string) (kib uint64) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, name+": %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}
