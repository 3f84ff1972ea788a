package presence

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
)

// naive is the rules again, one device at a time and looking at everything each time: what Tracker must agree with.
type naive struct {
	devices []*naiveDevice
}

type naiveDevice struct {
	d         *fleet.Device
	interval  time.Duration
	known     bool
	online    bool
	connected bool
	waits     bool
	cause     string
	heard     time.Time
	base      time.Time
	since     time.Time
}

func (n *naive) of(serial string) *naiveDevice {
	for _, d := range n.devices {
		if d.d.Key.Serial == serial {
			return d
		}
	}
	return nil
}

func (n *naive) to(d *naiveDevice, isOnline bool, cause string, at time.Time) {
	if d.known && !at.After(d.since) {
		at = d.since.Add(time.Millisecond)
	}
	d.known, d.online, d.cause, d.since, d.waits = true, isOnline, cause, at, false
	for _, k := range n.devices { // what happens to a station happens to its children
		switch {
		case k.d.Parent != d.d.Key.Serial:
		case isOnline:
			if k.cause == fleet.CauseStation {
				k.waits = true
			}
			if k.online || k.waits {
				k.base = at
			}
		case k.online && !k.connected && !k.heard.After(at):
			n.to(k, false, fleet.CauseStation, at)
		default:
			k.waits = false
		}
	}
}

func (n *naive) sign(d *naiveDevice, cause string, at time.Time) {
	d.heard = at
	d.waits = false
	if !d.online {
		n.to(d, true, cause, at)
	}
}

func (n *naive) deadline(d *naiveDevice) (time.Time, bool) {
	from := d.heard
	if d.base.After(from) {
		from = d.base
	}
	return from.Add(3 * d.interval), d.known && (d.online || d.waits) && d.interval > 0
}

func (n *naive) look(now time.Time) {
	for pass := range 2 { // stations, then the others
		for _, d := range n.devices {
			station := d.d.Parent == ""
			if station != (pass == 0) {
				continue
			}
			for _, k := range n.devices {
				if station && k.d.Parent == d.d.Key.Serial && k.online && !k.connected && k.heard.After(d.heard) {
					if at, ok := n.deadline(d); ok && !at.After(now) {
						d.heard = k.heard
					}
				}
			}
			at, ok := n.deadline(d)
			if !ok || at.After(now) {
				continue
			}
			st := n.of(d.d.Parent)
			switch {
			case st == nil || !st.known || st.online:
				n.to(d, false, fleet.CauseSilent, at)
			case d.waits:
				d.waits = false
			default:
				n.to(d, false, fleet.CauseStation, at)
			}
		}
	}
}

// Against the naive model, for any order of events: the same states, and what was recorded is each device's changes in order,
// with rising times, ending in its state.
func TestTrackerAgreesWithTheNaiveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.UnixMilli(1_770_000_000_000).UTC()
		reg := &registry{devices: map[fleet.DeviceKey]*fleet.Device{}}
		n := &naive{}
		for _, x := range [][3]string{{"st1", "minute", ""}, {"st2", "never", ""}, {"a", "minute", "st1"}, {"b", "minute", "st1"},
			{"c", "never", "st2"}, {"d", "minute", "st2"}, {"e", "minute", ""}} {
			d := reg.add(x[0], x[1], x[2])
			m, _ := reg.Model(x[1])
			n.devices = append(n.devices, &naiveDevice{d: d, interval: m.Interval})
		}
		said := map[string][]fleet.Reading{}
		cfg := DefaultConfig()
		cfg.FlapLimit = 250
		tr := New(cfg, Deps{Devices: reg, Models: reg, Log: obs.Discard(), Metrics: prometheus.NewRegistry(),
			Record: func(_ context.Context, rs []fleet.Reading) error {
				if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
					return fmt.Errorf("away")
				}
				for _, r := range rs {
					said[r.Device.Serial] = append(said[r.Device.Serial], r)
				}
				return nil
			}, Now: func() time.Time { return now }})
		causes := []string{fleet.CauseLost, fleet.CauseDisconnected, fleet.CauseWill}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 60_000).Draw(t, "ms")) * time.Millisecond)
			d := rapid.SampledFrom(n.devices).Draw(t, "device")
			cause := rapid.SampledFrom(causes).Draw(t, "cause")
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				tr.Heard(d.d, now)
				n.sign(d, fleet.CauseHeard, now)
			case 2:
				tr.Connected(d.d.Key, now)
				n.sign(d, fleet.CauseConnected, now)
				d.connected = true
			case 3:
				tr.Disconnected(d.d.Key, cause, now)
				d.connected = false
				if d.online {
					n.to(d, false, cause, now)
				}
			case 4:
				tr.Reported(d.d, false, cause, now)
				if cause == fleet.CauseDisconnected {
					d.heard = now
				} // else somebody else speaks for it
				if d.online || !d.known || d.cause == fleet.CauseSilent || d.cause == fleet.CauseStation {
					n.to(d, false, cause, now)
				}
			case 5:
				now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "seconds")) * time.Second)
			}
			tr.cascade()
			tr.scan(now.UnixMilli())
			n.look(now)
			tr.emit(context.Background())
			for _, d := range n.devices {
				l, ok := tr.State(d.d.Key)
				if ok != d.known || (ok && (l.Online != d.online || l.Connected != d.connected || l.Cause != d.cause || !l.Since.Equal(d.since))) {
					t.Fatalf("%s is %+v (%v), the model says known %v online %v connected %v cause %q since %v", d.d.Key.Serial, l, ok,
						d.known, d.online, d.connected, d.cause, d.since)
				}
			}
		}
		for !tr.emit(context.Background()) {
			continue
		}
		for _, d := range n.devices {
			rs := said[d.d.Key.Serial]
			if d.known != (len(rs) > 0) {
				t.Fatalf("%s: known %v, %d readings", d.d.Key.Serial, d.known, len(rs))
			}
			if !slices.IsSortedFunc(rs, func(a, b fleet.Reading) int { return a.Time.Compare(b.Time) }) {
				t.Fatalf("%s: out of order", d.d.Key.Serial)
			}
			if d.known && (rs[len(rs)-1].Fields[1].Value.Str != d.cause || !rs[len(rs)-1].Time.Equal(d.since)) {
				t.Fatalf("%s: recorded %v, is %s since %v", d.d.Key.Serial, rs[len(rs)-1], d.cause, d.since)
			}
		}
	})
}
