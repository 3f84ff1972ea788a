package wire

import (
	"bytes"
	"compress/gzip"
	"reflect"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func TestSummaryThereAndBack(t *testing.T) {
	sum := fleet.Summary{
		At:    time.UnixMilli(1_700_000_000_000).UTC(),
		Peers: []fleet.PeerTable{{Tenant: "demo", Model: "washer-w7", Value: `avg(drain_s, "7d")`, Devices: 12, At: []float64{-1, 0.1, 1e300}}},
		Rates: []fleet.FleetRate{{Tenant: "demo", Model: "washer-w7", Firmware: "2.1 \"x\"\n", Rule: "hot", Devices: 30, Affected: 2}},
	}
	recs, err := EncodeSummary(3, sum)
	if err != nil || len(recs) != 3 {
		t.Fatal(recs, err)
	}
	ids := map[string]bool{}
	for p, r := range recs {
		got, err := DecodeSummary(r.Body)
		if err != nil || !reflect.DeepEqual(got, sum) {
			t.Errorf("%+v, %v", got, err)
		}
		if ids[r.ID] = true; r.Partition != p || r.Kind != KindSummary || !r.Received.Equal(sum.At) {
			t.Errorf("%+v", r)
		}
	}
	if len(ids) != 3 {
		t.Errorf("ids %v", ids)
	}
	for n := range recs[0].Body {
		if _, err := DecodeSummary(recs[0].Body[:n]); err == nil {
			t.Errorf("%d of %d bytes are taken for a summary", n, len(recs[0].Body))
		}
	}
}

// TestSummaryThatUnpacksWithoutEnd is refused before it takes the memory.
func TestSummaryThatUnpacksWithoutEnd(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(`{"peers":[{"tenant":"` + strings.Repeat("a", maxSummary) + `"}]}`))
	_ = z.Close()
	if sum, err := DecodeSummary(b.Bytes()); err == nil {
		t.Errorf("%d tables", len(sum.Peers))
	}
}
