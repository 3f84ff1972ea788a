package rules

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"aftercare/internal/fleet"
)

func (l *life) counted() string { return string(l.s.Counters()) }

// TestCountersAreToldOnceADay: with the first reading of a day of the device's clock, and by no other record.
func TestCountersAreToldOnceADay(t *testing.T) {
	l := newLife(t, `a | when: hours(drain_s > 70) > 1000 or starts(drain_s > 70) > 1000 or total(drain_s) > 100000`)
	midnight := time.Date(2023, 11, 15, 0, 0, 0, 0, time.UTC).Sub(t0) // t0 is in the evening before
	l.send(0, "drain_s=80")
	if got := l.counted(); !strings.HasPrefix(got, "counter,model=washer-w7,serial=") || strings.Count(got, "\n") != 1 {
		t.Errorf("at the first reading: %q", got)
	}
	for _, at := range []time.Duration{10 * time.Minute, 20 * time.Minute, midnight - time.Minute} {
		l.send(at, "drain_s=80")
		if got := l.counted(); got != "" {
			t.Errorf("within the day: %q", got)
		}
	}
	l.tick(midnight + time.Second)
	if got := l.counted(); got != "" {
		t.Errorf("at a tick: %q", got)
	}
	l.send(midnight+2*time.Second, "drain_s=60")
	got := l.counted()
	for _, want := range []string{`hours(drain_s\ >\ 70)=0.`, `starts(drain_s\ >\ 70)=`, `total(drain_s)=380`} {
		if !strings.Contains(got, want) {
			t.Errorf("at the new day: %q, want %s", got, want)
		}
	}
	l.send(midnight-5*time.Second, "drain_s=60") // late, of the day before
	if got := l.counted(); got != "" {
		t.Errorf("at a late reading: %q", got)
	}
}

// TestRecountIsExact: a device whose counters are lost and set to what was told of them counts on as if nothing had happened.
func TestRecountIsExact(t *testing.T) {
	rule := `a | when: hours(drain_s > 70) > 1 or starts(drain_s > 70 and mode == "a,b=c\\d") > 1 or total(drain_s) > 1e9 or starts(code == "E1") > 9`
	rapid.Check(t, func(rt *rapid.T) {
		type step struct {
			gap   time.Duration
			drain float64
		}
		steps := make([]step, 0, 40)
		for range rapid.IntRange(2, 40).Draw(rt, "steps") {
			steps = append(steps, step{time.Duration(rapid.IntRange(1, 9000).Draw(rt, "gap")) * time.Second, rapid.Float64Range(1, 140).Draw(rt, "drain")})
		}
		at := rapid.IntRange(0, len(steps)-2).Draw(rt, "lost")
		whole, lost := newLife(t, rule), newLife(t, rule)
		send := func(l *life, now time.Duration, s step) {
			l.send(now, "drain_s="+strconv.FormatFloat(s.drain, 'g', -1, 64)+` mode=a,b=c\d`)
		}
		var now time.Duration
		for i, s := range steps {
			now += s.gap
			send(whole, now, s)
			if i < at {
				continue
			}
			send(lost, now, s) // it saw nothing of what was before
			if i > at {
				continue
			}
			d := whole.s.known(device1, "washer-w7")
			known := map[string]float64{}
			for _, k := range d.p.counters {
				for _, v := range d.p.cells[k].values(d, now.Milliseconds()+t0.UnixMilli(), nil) {
					known[v.Name] = v.Value
				}
			}
			for name, v := range known { // as history names them
				if strings.Contains(name, `\`) {
					delete(known, name)
					known[strings.ReplaceAll(name, `\`, "%5C")] = v
				}
			}
			lost.s.Recount(device1, "washer-w7", now.Milliseconds()+t0.UnixMilli(), known)
		}
		a, b := whole.s.known(device1, "washer-w7"), lost.s.known(device1, "washer-w7")
		if n := a.num(a.p.cells[a.p.counters[2]].f); n < 1 { // the total
			rt.Errorf("nothing was counted: %v", n)
		}
		for _, k := range a.p.counters {
			c := &a.p.cells[k]
			for i := range c.nf {
				if x, y := a.num(c.f+i), b.num(c.f+i); !(math.Abs(x-y) <= 1e-6) && !(math.IsNaN(x) && math.IsNaN(y)) {
					rt.Errorf("%s #%d: %v, want %v", c.name, i, y, x)
				}
			}
			for i := range c.nt {
				if x, y := a.time(c.t+i), b.time(c.t+i); x != y {
					rt.Errorf("%s @%d: %v, want %v", c.name, i, y, x)
				}
			}
		}
	})
}

var device1 = fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}
