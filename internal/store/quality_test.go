package store

import (
	"fmt"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func TestQualityAddsUp(t *testing.T) { // REL-12
	s := open(t)
	day := t0.Truncate(24 * time.Hour)
	row := func(firmware, reason, field string, n int64, example string, at time.Time) fleet.Quality {
		return fleet.Quality{Tenant: "demo", Model: "w7", Firmware: firmware, Day: at.Truncate(24 * time.Hour), Reason: reason, Field: field, N: n, Example: example, LastAt: at}
	}
	must(t, s.SaveQuality(t.Context(), nil))
	must(t, s.SaveQuality(t.Context(), []fleet.Quality{row("1.0", "", "", 5, "", t0), row("1.0", "range", "temp_c", 2, "first", t0), row("1.0", "range", "temp_c", 1, "second", t0.Add(time.Second))}))
	must(t, s.SaveQuality(t.Context(), []fleet.Quality{row("1.0", "", "", 7, "", t0.Add(time.Minute)), row("1.0", "range", "temp_c", 1, "late", t0.Add(-time.Minute)),
		row("1.1", "", "", 1, "", t0), {Tenant: "other", Model: "w7", Day: day, N: 9, LastAt: t0}}))
	got, err := s.Quality(t.Context(), "demo", "w7", t0.Add(-time.Hour))
	must(t, err)
	same(t, got, []fleet.Quality{row("1.0", "", "", 12, "", t0.Add(time.Minute)), row("1.0", "range", "temp_c", 4, "second", t0.Add(time.Second)), row("1.1", "", "", 1, "", t0)})
	got, err = s.Quality(t.Context(), "demo", "", t0.Add(24*time.Hour))
	must(t, err)
	same(t, got, []fleet.Quality{})

	later := t0.Add(QualityKept + 25*time.Hour)
	must(t, s.SaveQuality(t.Context(), []fleet.Quality{row("1.0", "", "", 1, "", later)}))
	got, err = s.Quality(t.Context(), "demo", "", time.Unix(0, 0))
	must(t, err)
	same(t, got, []fleet.Quality{row("1.0", "", "", 1, "", later)})
}

func TestQualityTakesManyRowsAtOnce(t *testing.T) {
	s := open(t)
	rows := make([]fleet.Quality, 3*qualityRows+7)
	for i := range rows {
		rows[i] = fleet.Quality{Tenant: "demo", Model: "w7", Day: t0.Truncate(24 * time.Hour), Reason: "range", Field: fmt.Sprint("f", i), N: 1, LastAt: t0}
	}
	for range 2 {
		must(t, s.SaveQuality(t.Context(), rows))
	}
	got, err := s.Quality(t.Context(), "demo", "w7", t0)
	must(t, err)
	if len(got) != len(rows) || got[0].N != 2 {
		t.Errorf("%d rows, the first counts %d", len(got), got[0].N)
	}
}
