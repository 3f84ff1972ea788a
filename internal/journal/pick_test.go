package journal

import (
	"fmt"
	"testing"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

func aside(i int) wire.Record {
	return wire.Record{Stream: wire.Quarantine, Partition: i % 4, Kind: wire.KindQuarantine, Body: fmt.Appendf(nil, "q%d", i)}
}

// What was put aside can be gone through page by page and taken out, also after a restart; the rest keeps its sequences.
func TestScanAndDelete(t *testing.T) {
	cfg := testConfig(t)
	j := open(t, cfg)
	if got, err := j.Scan(t.Context(), wire.Quarantine, 0, 10); err != nil || len(got) != 0 {
		t.Fatalf("an empty stream: %v, %v", got, err)
	}
	for i := range 10 {
		appendAll(t, j, aside(i+1))
	}
	for _, seq := range []uint64{1, 4, 5, 10} {
		if err := j.Delete(t.Context(), wire.Quarantine, seq); err != nil {
			t.Fatal(err)
		}
	}
	for _, seq := range []uint64{4, 99} {
		if err := j.Delete(t.Context(), wire.Quarantine, seq); fleet.CodeOf(err) != fleet.CodeNotFound {
			t.Fatalf("delete %d: %v", seq, err)
		}
	}
	for range 2 {
		all := ""
		for from := uint64(0); ; {
			page, err := j.Scan(t.Context(), wire.Quarantine, from, 2)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, r := range page {
				all += fmt.Sprintf("%d:%s/%d ", r.Seq, r.Body, r.Partition)
			}
			from = page[len(page)-1].Seq + 1
		}
		expect(t, "pages", all, "2:q2/2 3:q3/3 6:q6/2 7:q7/3 8:q8/0 9:q9/1 ")
		closeNow(t, j)
		j = open(t, cfg)
	}
}

// What was put aside is kept for seven days, also in a stream that was made with another age.
func TestQuarantineIsKeptSevenDays(t *testing.T) {
	j := open(t, testConfig(t))
	s, err := j.stream(t.Context(), wire.Quarantine)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().Config.MaxAge; got.Hours() != 7*24 {
		t.Fatalf("kept for %v, want seven days", got)
	}
}
