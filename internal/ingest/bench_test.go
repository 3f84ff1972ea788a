package ingest

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

// reference is the payload that figures are quoted for: 8 keys in 127 bytes. The model names all of its fields.
const reference = `{"ts":%d,"boot":3,"seq":%d,"drain_temp_c":41.52,"spin_rpm":1180.5,"vib_mm_s":2.31,"cycles":812,"program":"cotton"}`

var referenceModel = fleet.Model{ID: "w7", Fields: []fleet.FieldSpec{{Name: "drain_temp_c", Min: -40, Max: 120, HasMin: true, HasMax: true}, {Name: "spin_rpm", Max: 2000, HasMax: true},
	{Name: "vib_mm_s"}, {Name: "cycles", Type: fleet.Integer, Required: true}, {Name: "program", Type: fleet.String}}}

func referencePayloads(t testing.TB) (out [][]byte) {
	now := time.Now().UnixMilli()
	for i := range 1000 {
		out = append(out, fmt.Appendf(nil, reference, now+int64(i), 1000+i))
	}
	if len(out[0]) != 127 {
		t.Fatalf("the reference payload has %d bytes", len(out[0]))
	}
	return out
}

// BenchmarkReference is authorise, decode, check, track and encode of the reference payload: everything that Submit does but
// queueing.
func BenchmarkReference(b *testing.B) {
	in := New(DefaultConfig(), Deps{Journal: &log{}, Devices: known, Models: []fleet.Model{referenceModel}, Log: obs.Discard(), Metrics: prometheus.NewRegistry(), Presence: nobody{}})
	payloads := referencePayloads(b)
	w := newWorker(in)
	m := &wire.Inbound{Door: "gateway", Speaker: washer, Topic: "devices/demo/w7/WM-1/telemetry"}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Payload = payloads[i%len(payloads)]
		w.take(m)
	}
	if w.stored != 1 || len(w.aside) != 0 {
		b.Fatalf("stored %d, put aside %v", w.stored, w.aside)
	}
}

type nobody struct{}

func (nobody) Heard(*fleet.Device, time.Time)                  {}
func (nobody) Reported(*fleet.Device, bool, string, time.Time) {}

// TestReferenceAllocates at most twice a message.
func TestReferenceAllocates(t *testing.T) {
	in := New(DefaultConfig(), Deps{Journal: &log{}, Devices: known, Models: []fleet.Model{referenceModel}, Log: obs.Discard(), Metrics: prometheus.NewRegistry(), Presence: nobody{}})
	payloads := referencePayloads(t)
	w := newWorker(in)
	i := 0
	n := testing.AllocsPerRun(500, func() {
		w.take(&wire.Inbound{Door: "gateway", Speaker: washer, Topic: "devices/demo/w7/WM-1/telemetry", Payload: payloads[i%len(payloads)]})
		i++
	})
	if n > 2 {
		t.Errorf("%v allocations a message, at most 2", n)
	}
}
