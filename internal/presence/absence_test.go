package presence

import (
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// TestOurOwnAbsenceIsNoSilence: a machine that slept, a clock that was set, and a journal that stood still are no reason to call a
// fleet silent; from then on its silence counts again.
func TestOurOwnAbsenceIsNoSilence(t *testing.T) {
	for name, absence := range map[string]func(b *bed){
		"sleep":          func(b *bed) { b.set(func() { b.ahead += 2 * time.Hour }) },
		"clock set back": func(b *bed) { b.set(func() { b.ahead -= 2 * time.Hour }) },
		"journal away":   func(b *bed) { b.set(func() { b.away = true }); time.Sleep(time.Hour); b.set(func() { b.away = false }) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bed) {
				st := b.reg.add("st", "minute", "")
				for _, d := range []*fleet.Device{st, b.reg.add("a", "minute", ""), b.reg.add("kid", "minute", "st")} {
					b.tr.Heard(d, b.now())
				}
				b.want(time.Minute, "st online heard", "a online heard", "kid online heard")
				absence(b)
				b.want(2 * time.Minute)
				b.want(time.Minute+3*time.Second, "a offline silent", "kid offline station_lost", "st offline silent")
			})
		})
	}
}
