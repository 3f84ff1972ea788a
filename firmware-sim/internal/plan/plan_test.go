package plan

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"aftercare/firmware-sim/internal/device"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func demoFleet(t *testing.T) []Member {
	t.Helper()
	text, err := os.ReadFile("../../../configs/demo/fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Devices []struct{ Serial, Model string }
	}
	if err := yaml.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	out := make([]Member, 0, len(f.Devices))
	for _, d := range f.Devices {
		out = append(out, Member{d.Serial, d.Model})
	}
	return out
}

func shippedPlan(t *testing.T) *File {
	t.Helper()
	f, err := Shipped()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestShippedPlanFitsTheDemoFleet(t *testing.T) {
	fleet := demoFleet(t)
	model := map[string]string{}
	for _, m := range fleet {
		model[m.Serial] = m.Model
	}
	f := shippedPlan(t)
	check := func(serial, kind string) {
		t.Helper()
		if k, ok := device.FaultOf(kind); !ok || model[serial] != k.Model {
			t.Errorf("%s is a %q and cannot have %q", serial, model[serial], kind)
		}
	}
	open := map[string]bool{}
	for _, h := range f.History {
		check(h.Serial, h.Kind)
		if h.Until == nil {
			open[h.Kind] = true
		} else if *h.Until <= h.From {
			t.Errorf("%s %s ends before it begins", h.Serial, h.Kind)
		}
	}
	for _, l := range f.Live {
		check(l.Serial, l.Kind)
	}
	for _, kind := range []string{"drain-slow", "compressor-start", "residual"} { // maintenance, fault, safety
		if !open[kind] {
			t.Errorf("nothing has %q at the end of the past", kind)
		}
	}
}

func TestFaultGrowsAndEnds(t *testing.T) {
	f, err := Parse([]byte("history:\n  - {serial: WM-1, kind: drain-slow, from: -2d, until: 12h, grow: 1d}\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := New(f, 1, []Member{{"WM-1", "washer-w7"}}, start)
	for _, c := range []struct {
		at   time.Duration
		want string
	}{
		{-49 * time.Hour, "[]"},
		{-36 * time.Hour, "[{drain-slow 0.5 12h0m0s}]"},
		{0, "[{drain-slow 1 48h0m0s}]"},
		{12 * time.Hour, "[]"},
	} {
		if got := fmt.Sprint(p.Effects(nil, "WM-1", start.Add(c.at))); got != c.want {
			t.Errorf("at %v: %s, want %s", c.at, got, c.want)
		}
	}
}

func TestLiveFaultsComeAtAGentlePace(t *testing.T) {
	p := New(shippedPlan(t), 1, demoFleet(t), start)
	if p.Active(start) != 0 {
		t.Error("live faults before going live")
	}
	p.GoLive(start, 1)
	began, longest := 0, 0*time.Second
	last := start
	active := map[string]bool{}
	for at := start; at.Before(start.Add(2 * time.Hour)); at = at.Add(5 * time.Second) {
		now := map[string]bool{}
		for serial, faults := range *p.live.Load() {
			for i, f := range faults {
				if _, ok := f.at(at); ok {
					now[fmt.Sprint(serial, i)] = true
				}
			}
		}
		for k := range now {
			if !active[k] {
				began++
				longest = max(longest, at.Sub(last))
				last = at
			}
		}
		active = now
	}
	if began < 60 || began > 110 {
		t.Errorf("%d faults in two hours", began)
	}
	if longest > 5*time.Minute {
		t.Errorf("nothing new for %v", longest)
	}
	if n := p.Active(start.Add(15 * time.Second)); n != 1 {
		t.Errorf("%d faults after 15 s, want the first one", n)
	}
}

func TestPlanMistakesAreNamed(t *testing.T) {
	for _, text := range []string{
		"history: [{serial: A, kind: nothing, from: -1d}]",
		"history: [{serial: A, kind: leak, from: soon}]",
		"histroy: []",
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
