package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// TestFactsShareRecordsInOrder: as few records as their size allows, each of one partition, and of one device the newest last.
func TestFactsShareRecordsInOrder(t *testing.T) {
	facts := make([]fleet.Facts, 0, 9000)
	for i := range 9000 {
		facts = append(facts, fleet.Facts{Device: fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprint(i % 6000)}, Model: "washer-w7",
			Batch: strings.Repeat("b", 100), Region: fmt.Sprint(i)})
	}
	partitionOf := func(k fleet.DeviceKey) int { return len(k.Serial) % 3 }
	records, err := factsRecords(facts, time.Unix(1, 0), partitionOf)
	if err != nil {
		t.Fatal(err)
	}
	last, n, bytes := map[string]string{}, 0, 0
	for _, r := range records {
		bytes += len(r.Body)
		if len(r.Body) > 512<<10 || r.Kind != wire.KindFacts || r.Stream != wire.Readings {
			t.Errorf("a %s record of %d bytes in %s", r.Kind, len(r.Body), r.Stream)
		}
		for body := r.Body; len(body) > 0; {
			f, rest, err := wire.NextFacts(body)
			if err != nil {
				t.Fatal(err)
			}
			if p := partitionOf(f.Device); p != r.Partition {
				t.Fatalf("%s is in partition %d, want %d", f.Device, r.Partition, p)
			}
			last[f.Device.Serial], body = f.Region, rest
			n++
		}
	}
	if n != len(facts) || len(last) != 6000 || last["2999"] != "8999" || last["3000"] != "3000" {
		t.Errorf("%d facts of %d devices, the newest of two are %s and %s", n, len(last), last["2999"], last["3000"])
	}
	if most := bytes/factsBytes + 3 + 1; len(records) > most {
		t.Errorf("%d records for %d bytes, want at most %d", len(records), bytes, most)
	}
}
