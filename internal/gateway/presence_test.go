package gateway

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
)

// diary keeps what Presence was told.
type diary struct {
	mu  sync.Mutex
	got []string
}

func (d *diary) Connected(k fleet.DeviceKey, _ time.Time) { d.add(k.String() + " connected") }

func (d *diary) Disconnected(k fleet.DeviceKey, cause string, _ time.Time) {
	d.add(k.String() + " " + cause)
}

func (d *diary) add(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, s)
}

func (d *diary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.got
	d.got = nil
	return out
}

func TestPresence(t *testing.T) {
	const own = "devices/demo/washer-w7/A1/status"
	var p diary
	r := start(t, newInbox(false), func(_ *Config, d *Deps) { d.Presence = &p })
	over := func(n float64) {
		t.Helper()
		eventually(t, "connection over", func() bool { return r.metric("connections", "") == n })
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if got := p.take(); !slices.Equal(got, want) {
			t.Errorf("%s: told %q, want %q", what, got, want)
		}
	}
	bye := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}}
	d := r.device(t, 4, "A1", withWill(own, 0, false))
	d.ping()
	expect("first", "demo/A1 connected")
	d.send(bye)
	over(0)
	expect("good-bye", "demo/A1 disconnected")

	d = r.device(t, 4, "A1")
	_ = d.c.Close()
	over(0)
	expect("lost", "demo/A1 connected", "demo/A1 lost")

	d = r.device(t, 4, "A1", withWill(own, 0, false))
	_ = d.c.Close()
	over(0)
	expect("will", "demo/A1 connected", "demo/A1 will")

	d = r.device(t, 5, "A1")
	for range 3 { // take-overs
		d2 := r.device(t, 5, "A1")
		d.closed()
		d = d2
	}
	over(1)
	second := r.dial(t, 4)
	second.connect("demo/A1", "pw-A1", "A1-second")
	second.ping()
	_ = d.c.Close()
	over(1)
	expect("two sessions", "demo/A1 connected")
	_ = second.c.Close()
	over(0)
	expect("the last one", "demo/A1 lost")

	d = r.device(t, 5, "A1", withWill(own, 0, false))
	d.ping()
	r.Disconnect(a1)
	d.closed()
	over(0)
	expect("revoked", "demo/A1 connected", "demo/A1 revoked")

	r.dial(t, 4).connect("demo/A1", "wrong", "A1")
	d = r.device(t, 5, "A2")
	d.ping()
	r.stop()
	expect("shutdown", "demo/A2 connected")
}
