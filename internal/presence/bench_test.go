package presence

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
)

func fleetOf(n int) (*registry, []*fleet.Device) {
	reg := &registry{devices: make(map[fleet.DeviceKey]*fleet.Device, n)}
	ds := make([]*fleet.Device, n)
	for i := range ds {
		ds[i] = reg.add(fmt.Sprintf("WM-%08d", i), "minute", "")
	}
	return reg, ds
}

func tracker(reg *registry) *Tracker {
	return New(DefaultConfig(), Deps{Devices: reg, Models: reg, Log: obs.Discard(), Metrics: prometheus.NewRegistry(),
		Record: func(context.Context, []fleet.Reading) error { return nil }})
}

func BenchmarkHeard(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			reg, ds := fleetOf(n)
			tr := tracker(reg)
			now := time.Now()
			for _, d := range ds {
				tr.Heard(d, now)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				tr.Heard(ds[i], now)
				if i++; i == n {
					i = 0
				}
			}
		})
	}
}

func BenchmarkScan(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			reg, ds := fleetOf(n)
			tr := tracker(reg)
			now := time.Now()
			for _, d := range ds {
				tr.Heard(d, now)
			}
			for !tr.emit(context.Background()) || tr.owes() {
				tr.scan(now.UnixMilli())
			}
			for b.Loop() {
				tr.scan(now.UnixMilli())
			}
		})
	}
}

// owes reports whether any state is still to be recorded.
func (t *Tracker) owes() bool {
	for i := range t.shards {
		s := &t.shards[i]
		for _, id := range s.index {
			if e := s.entry(id); e.flags&owed != 0 || e.pending > 0 {
				return true
			}
		}
	}
	return false
}

// A device costs at most 100 bytes beside what the registry has of it.
func TestMemoryPerDevice(t *testing.T) {
	const n = 200_000
	reg, ds := fleetOf(n)
	tr := tracker(reg)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	now := time.Now()
	before := heap()
	for _, d := range ds {
		tr.Heard(d, now)
	}
	for !tr.emit(t.Context()) || tr.owes() {
		tr.scan(now.Add(time.Minute).UnixMilli())
	}
	each := float64(heap()-before) / n
	t.Logf("%.1f bytes a device", each)
	if each > 100 {
		t.Errorf("%.1f bytes a device: want at most 100", each)
	}
	if a := testing.AllocsPerRun(1000, func() { tr.Heard(ds[5], now) }); a != 0 {
		t.Errorf("Heard allocates %v times", a)
	}
	runtime.KeepAlive(reg)
	runtime.KeepAlive(tr)
}
