package fleet

import (
	"testing"
	"time"
)

func TestQuarantineFilterSelects(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	q := Quarantined{At: at, Device: DeviceKey{"demo", "A"}, Model: "m", Firmware: "1", Reason: "range"}
	for _, x := range []struct {
		f    QuarantineFilter
		want bool
	}{
		{QuarantineFilter{Tenant: "demo"}, true},
		{QuarantineFilter{}, false},
		{QuarantineFilter{Tenant: "other"}, false},
		{QuarantineFilter{Tenant: "demo", Model: "m", Serial: "A", Firmware: "1", Reason: "range", Since: at}, true},
		{QuarantineFilter{Tenant: "demo", Model: "n"}, false},
		{QuarantineFilter{Tenant: "demo", Serial: "B"}, false},
		{QuarantineFilter{Tenant: "demo", Firmware: "2"}, false},
		{QuarantineFilter{Tenant: "demo", Reason: "syntax"}, false},
		{QuarantineFilter{Tenant: "demo", Since: at.Add(1)}, false},
	} {
		if got := x.f.Selects(&q); got != x.want {
			t.Errorf("%+v selects: %v", x.f, got)
		}
	}
}
