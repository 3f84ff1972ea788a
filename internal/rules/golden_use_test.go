package rules

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
)

// obviousUsed is the use of the drain pump: all that the counter gained since the service, or since it was reset.
func obviousUsed(c *chronicle, _ int64) float64 {
	use, last, applied := math.NaN(), math.NaN(), int64(0)
	for _, h := range c.readings() {
		v, came := h.came["cycles"]
		if !came {
			continue
		}
		serviced := h.served > applied && h.t >= h.served
		if serviced {
			applied = h.served
		}
		switch {
		case math.IsNaN(last) && serviced:
			use = 0
		case math.IsNaN(last):
			use = v
		case v < last/2:
			use = v
		default:
			gain := max(v-last, 0)
			if serviced {
				use = 0
			}
			use += gain
		}
		last = v
	}
	return use
}

// obviousOpenings counts how often the door was seen to open.
func obviousOpenings(c *chronicle, _ int64) float64 {
	n, was := math.NaN(), 1.0
	for _, h := range c.readings() {
		v, known := h.have["door_open"]
		if !known {
			continue
		}
		if math.IsNaN(n) {
			n, was = 0, 1
		}
		if v == 1 && was == 0 {
			n++
		}
		was = v
	}
	return n
}

// TestUseAgainstTheObviousVersion: with services, counters that are reset, late facts and facts of the future.
func TestUseAgainstTheObviousVersion(t *testing.T) {
	against(t, 1e-9, map[string]func(*chronicle, int64) float64{
		`used("drain-pump")`:                      obviousUsed,
		`used("drain-pump") / life("drain-pump")`: func(c *chronicle, at int64) float64 { return obviousUsed(c, at) / 3000 },
		`used("door-lock")`:                       obviousOpenings, // never serviced: all there was
	})
}

// TestServiceClears: a rule about the use of a part opens at its life, and the service ends it, for counters of ours too.
func TestServiceClears(t *testing.T) {
	tr := newTrial(t, `used("light")`)
	l := newLife(t, `a | when: used("light") > 2`, `b | when: 'eta(used("drain-pump"), life("drain-pump"), "10d") < 150'`)
	tr.life = l
	cycles, opened := 2000, ""
	for i := range 4 * 24 * 40 {
		after := time.Duration(i) * 15 * time.Minute
		fs := "door_open=" + map[bool]string{true: "true", false: "false"}[i%96 < 1]
		if i%4 == 0 {
			cycles++
		}
		for _, f := range l.send(after, fs+" cycles="+strconv.Itoa(cycles)+"i") {
			opened += f.Rule + " " + string(f.Phase) + "; "
			if f.Rule == "b" && f.Phase == "opened" {
				if ev := f.Evidence[0]; !ev.HasRange || ev.Value < 140 || ev.Value > 150 || ev.Low > ev.Value || ev.High < ev.Value {
					t.Errorf("evidence %+v", ev)
				}
				tr.service("drain-pump", t0.Add(after).UnixMilli())
			}
			if f.Rule == "a" && f.Phase == "opened" {
				tr.service("light", t0.Add(after).UnixMilli())
			}
		}
	}
	if want := strings.Repeat("a opened; a cleared; ", 4) + "b opened; b cleared; "; opened != want {
		t.Errorf("found %s", opened)
	}
}
