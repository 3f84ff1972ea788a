//go:build !slim

package history

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// BenchmarkReadings passes five-field lines of 10,000 devices through RunReadings, in journal records of various sizes. An
// operation is a line; cpu-us/line counts the whole process, InfluxDB included.
func BenchmarkReadings(b *testing.B) {
	const devices = 10_000
	for _, perRecord := range []int{10, 500} {
		for _, batch := range []int{5000, 20_000} {
			b.Run(fmt.Sprintf("record=%d/batch=%d", perRecord, batch), func(b *testing.B) {
				h := open(b, func(c *Config, _ *Deps) { c.BatchLines, c.BatchBytes = batch, 8<<20 })
				h.store(b, lineOf(reading(washer, t0, 1, number("drain_s", 1))))
				recs := benchRecords(b.N, devices, perRecord)
				b.ResetTimer()
				before := cpu(b)
				runAll(b, h.RunReadings, &feed{recs: recs})
				b.StopTimer()
				b.ReportMetric(float64(cpu(b)-before)/float64(time.Microsecond)/float64(b.N), "cpu-us/line")
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
				h.wantCount(b, int64(b.N)+1)
			})
		}
	}
}

func benchRecords(lines, devices, perRecord int) []wire.Record {
	var recs []wire.Record
	var body []byte
	for i := range lines {
		r := fleet.Reading{Device: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("WM-%05d", i%devices)}, Model: model,
			Time: t0.Add(time.Duration(i/devices) * time.Second), Boot: 1, Seq: int64(i), HasSeq: true,
			Fields: []fleet.Field{number("drain_s", 55.2), number("vibration_mm_s", float64(i%70)/10), number("power_w", float64(i%2000))}}
		body = wire.AppendReading(body, &r)
		if (i+1)%perRecord == 0 || i == lines-1 {
			recs = append(recs, wire.Record{Kind: wire.KindReadings, Seq: uint64(len(recs) + 1), Received: t0, Body: body})
			body = nil
		}
	}
	return recs
}

// cpu is the processor time of the process so far.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
