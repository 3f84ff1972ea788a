package journal

import (
	"bytes"
	"fmt"
	"testing"

	"aftercare/internal/wire"
)

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ n, size int }{{1, 200}, {4, 40_000}, {16, 40_000}} {
		b.Run(fmt.Sprintf("%dx%d", c.n, c.size), func(b *testing.B) {
			j := open(b, testConfig(b))
			var cycle []wire.Record
			for i := range c.n {
				r := reading(i%4, "")
				r.Body = bytes.Repeat([]byte("x"), c.size)
				cycle = append(cycle, r)
			}
			b.SetBytes(int64(c.n * c.size))
			for b.Loop() {
				appendAll(b, j, cycle...)
			}
		})
	}
}

// BenchmarkFetch is catching up: records of 200 readings.
func BenchmarkFetch(b *testing.B) {
	cfg := testConfig(b)
	cfg.Sync, cfg.Durability = syncInterval, durabilityRelaxed
	j := open(b, cfg)
	line := []byte("washer-w7,serial=WM-0001,tenant=demo drain_s=55.2,cycles=812i,boot=3i,seq=1044i 1700000000123877903\n")
	const records = 2000 // 400,000 readings
	for range records / 100 {
		cycle := make([]wire.Record, 0, 100)
		for range 100 {
			r := reading(0, "")
			r.Body = bytes.Repeat(line, 200)
			cycle = append(cycle, r)
		}
		appendAll(b, j, cycle...)
	}
	for b.Loop() {
		s := openSource(b, j, 0, "bench", 1)
		for n := 0; n < records; {
			got := fetch(b, s, min(256, records-n))
			n += len(got)
			commit(b, s, got[len(got)-1].Seq)
		}
		_ = s.Close()
	}
	b.ReportMetric(float64(records*200*b.N)/b.Elapsed().Seconds(), "readings/s")
}

func BenchmarkOpenEmpty(b *testing.B) {
	for b.Loop() {
		closeNow(b, open(b, testConfig(b)))
	}
}

// BenchmarkVerify is the look at every record when the journal is opened.
func BenchmarkVerify(b *testing.B) {
	cfg := testConfig(b)
	cfg.Sync, cfg.Durability = syncInterval, durabilityRelaxed
	j := open(b, cfg)
	for range 40 {
		cycle := make([]wire.Record, 0, 100)
		for range 100 {
			r := reading(0, "")
			r.Body = bytes.Repeat([]byte("washer-w7,serial=WM-0001,tenant=demo drain_s=55.2,cycles=812i,boot=3i,seq=1044i 1700000000123877903\n"), 200)
			cycle = append(cycle, r)
		}
		appendAll(b, j, cycle...)
	}
	closeNow(b, j)
	for b.Loop() {
		report, err := Inspect(cfg.Dir)
		if err != nil || len(report.Damages) > 0 || report.Records != 4000 {
			b.Fatalf("%+v, %v", report, err)
		}
		b.SetBytes(report.Bytes)
	}
}

func BenchmarkSums(b *testing.B) {
	r := reading(0, string(bytes.Repeat([]byte("x"), 40_000)))
	b.SetBytes(int64(len(r.Body)))
	for b.Loop() {
		_ = sumsOf(&r)
	}
}
