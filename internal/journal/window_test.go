package journal

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

// TestAppendOfVeryManyRecords: one call may hold more records than the client lets be unanswered.
func TestAppendOfVeryManyRecords(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Dir = t.TempDir()
	j, err := Open(t.Context(), cfg, obs.Discard(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	const n = 4500
	records := make([]wire.Record, n)
	for i := range records {
		records[i] = wire.Record{Stream: wire.Quarantine, Partition: i % 4, Kind: wire.KindQuarantine, Received: time.UnixMilli(1), Body: []byte("{}")}
	}
	if err := j.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	last, err := j.Tail(t.Context(), wire.Quarantine, 1)
	if err != nil || len(last) != 1 || last[0].Seq != n {
		t.Fatalf("the last record is %+v, %v; want sequence %d", last, err, n)
	}
}

func TestWindowOf(t *testing.T) {
	records := make([]wire.Record, 3*windowRecords)
	if n := len(windowOf(records)); n != windowRecords {
		t.Errorf("small records: %d", n)
	}
	for i := range records {
		records[i].Body = make([]byte, 3<<20)
	}
	if n := len(windowOf(records)); n != 5 {
		t.Errorf("3 MiB records: %d", n)
	}
	if n := len(windowOf([]wire.Record{{Body: make([]byte, 20<<20)}, {}})); n != 1 {
		t.Errorf("a record beyond the bound: %d", n)
	}
}
