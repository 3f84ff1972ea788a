package engine

import (
	"fmt"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

// BenchmarkSnapshot100k makes snapshots of 100,000 devices of which all changed, while readings go on to come in. It reports
// how long a snapshot takes until its last byte is handed over, and the longest time evaluation stood still for it.
func BenchmarkSnapshot100k(b *testing.B) {
	const n, size = 100_000, 500
	set := loadRules(b, "slow", `when: 'drain_s > 700'`, "mean", `when: 'avg(drain_s, "24h") > 1.4 * avg(drain_s, "14d") and max(drain_s, "1h") > 600'`)
	m := newMemory()
	cfg := DefaultConfig()
	deps := Deps{Partitions: 1, Alone: true, Log: m, Findings: m, Snapshots: m, Logger: discard()}
	e := New(cfg, set, deps)
	w := e.workers[0]
	alone, err := w.owners.only(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	w.snaps.reset(alone)
	w.state = rules.NewState(set)
	at, round := time.UnixMilli(1_700_000_000_000), int64(0)
	send := func(from, to int) {
		var body []byte
		for i := from; i < to; i++ {
			body = wire.AppendReading(body, &fleet.Reading{
				Device: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("WM-%07d", i)}, Model: "washer-w7",
				Time: at, Boot: 3, Seq: round, HasSeq: true,
				Fields: []fleet.Field{{Name: "drain_s", Value: fleet.Value{Type: fleet.Float, Float: 55.5}}},
			})
		}
		w.seq++
		w.state.Step(&wire.Record{Seq: w.seq, Kind: wire.KindReadings, Received: at.Add(time.Second), Body: body}, nil)
	}
	var longest, total time.Duration
	for b.Loop() {
		b.StopTimer()
		at, round = at.Add(10*time.Minute), round+1
		for i := 0; i < n; i += size {
			send(i, i+size)
		}
		b.StartTimer()
		begin := time.Now()
		longest = max(longest, snapshotPauses(b, w, func() { send(0, 50) }))
		total += time.Since(begin)
	}
	b.ReportMetric(longest.Seconds()*1000, "pause-ms")
	b.ReportMetric(total.Seconds()/float64(b.N), "s/snapshot")
}

// snapshotPauses takes a snapshot as the worker does, with records stepped in between, and returns the longest time it kept
// the worker from them.
func snapshotPauses(b *testing.B, w *worker, step func()) (longest time.Duration) {
	b.Helper()
	timed := func(f func()) {
		start := time.Now()
		f()
		longest = max(longest, time.Since(start))
	}
	timed(func() { w.snaps.begin(w) })
	for w.snaps.making != nil {
		step()
		timed(func() { w.snaps.work(b.Context(), w, slice) })
	}
	<-w.snaps.flight
	return longest
}
