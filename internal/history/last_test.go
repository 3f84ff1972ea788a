//go:build !slim

package history

import (
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func TestLast(t *testing.T) {
	h := open(t)
	_, to := day(t, h)
	h.store(t, lineOf(reading(washer, to, 2000, number("drain_s", 7)))) // a newer reading without the others
	for field, want := range map[string]fleet.Point{"drain_s": {At: to, Value: 7}, "cycles": {At: to.Add(-time.Minute), Value: 2439}, "door": {At: to.Add(-time.Minute), Value: 1}} {
		got, ok, err := h.Last(t.Context(), washer, model, field)
		if err != nil || !ok || !got.At.Truncate(time.Millisecond).Equal(want.At) || got.Value != want.Value {
			t.Errorf("%s: %v, %v, %v, want %v", field, got, ok, err, want)
		}
	}
	if got, ok, err := h.Last(t.Context(), washer, model, "nothing"); err != nil || ok {
		t.Errorf("a field that was never sent: %v, %v, %v", got, ok, err)
	}
	if got, ok, err := h.Last(t.Context(), fleet.DeviceKey{Tenant: "demo", Serial: "nobody"}, model, "cycles"); err != nil || ok {
		t.Errorf("a device that was never heard: %v, %v, %v", got, ok, err)
	}
	if _, _, err := h.Last(t.Context(), washer, model, "a\"b"); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("a field that is none: %v", err)
	}
}
