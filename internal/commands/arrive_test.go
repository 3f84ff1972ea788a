package commands

import (
	"fmt"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func TestAHerdIsNoStormOfQueries(t *testing.T) { // REL-13
	run(t, func(b *bed) {
		b.took(time.Second)
		b.set(func() { b.looks = 0 })
		for i := range 2000 {
			b.c.Arrived(fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprint("D-", i)})
			time.Sleep(time.Millisecond)
		}
		b.took(time.Second)
		if most := int(3*time.Second/breath) + 1; b.looks > most {
			t.Errorf("the store was asked %d times in 3 s, want at most %d", b.looks, most)
		}
		b.set(func() { b.here = true })
		b.ask("report", "one")
		if got := b.took(0); len(got) != 1 {
			t.Errorf("sent %v: who asks alone does not wait", got)
		}
	})
}

// TestADeviceThatSaysItIsOnlineAllTheTime gets what waits for it at once, and nothing over and over.
func TestADeviceThatSaysItIsOnlineAllTheTime(t *testing.T) {
	run(t, func(b *bed) {
		b.ask("report", "one")
		b.took(time.Minute)
		b.set(func() { b.here = true })
		b.c.Reported(washer)
		if got := b.took(time.Second); len(got) != 1 {
			t.Fatalf("sent %v: it waited", got)
		}
		var got []string
		for range 12 {
			b.c.Reported(washer)
			got = append(got, b.took(5*time.Second)...)
		}
		if len(got) > 2 {
			t.Errorf("sent %d times in a minute", len(got))
		}
		b.c.Arrived(washer)
		if got := b.took(time.Second); len(got) != 1 {
			t.Errorf("sent %v when it subscribed again", got)
		}
	})
}
