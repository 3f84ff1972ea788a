package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// facts steps a record of facts of the life's device.
func (l *life) facts(after time.Duration, f fleet.Facts) []fleet.Finding {
	l.t.Helper()
	f.Device, f.At = fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, t0.Add(after)
	if f.Model == "" {
		f.Model = "washer-w7"
	}
	rec, err := wire.EncodeFacts(0, t0.Add(after), f)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.step(rec)
}

func TestRangesOfVersions(t *testing.T) {
	for text, versions := range map[string]string{
		">=2.1 <3":      "2.1 2.1.0 v2.10 2.999.1-rc3 2.1.0.0",
		"=2.1":          "2.1 2.1.0 V2.1+build7",
		"!=2.1 >2":      "2.0.1 2.2 3",
		"<=1.9":         "0 1.9 1.9.0 1.8.77",
		">=2024.06.01 ": "2024.6.1 2024.12",
	} {
		bounds, err := parseRange(text)
		if err != nil || impossible(bounds) {
			t.Errorf("%q: %v, impossible %v", text, err, impossible(bounds))
		}
		s := Scope{Firmware: text, bounds: bounds}
		for _, v := range strings.Fields(versions) {
			if !s.holds(&kindFacts{firmware: v}) {
				t.Errorf("%q does not hold %s", text, v)
			}
		}
		for _, v := range []string{"", "rc", "beta2", "-1"} {
			if s.holds(&kindFacts{firmware: v}) {
				t.Errorf("%q holds %q", text, v)
			}
		}
	}
	for text, versions := range map[string]string{">=2.1 <3": "3 3.0-rc1 2.0.9 1", "=2.1": "2.1.1 2", "!=2.1 >2": "2.1.0 2 1.9", "<=1.9": "1.9.1 1.10"} {
		bounds, _ := parseRange(text)
		for _, v := range strings.Fields(versions) {
			if (&Scope{bounds: bounds}).holds(&kindFacts{firmware: v}) {
				t.Errorf("%q holds %s", text, v)
			}
		}
	}
	for _, text := range []string{"", "2.1", ">", ">=x", "~>2", ">=2.1rc1", ">=2.", "=>2", ">= 2"} {
		if b, err := parseRange(text); err == nil {
			t.Errorf("%q is read as %+v", text, b)
		}
	}
	for _, text := range []string{">3 <2", ">=2 <2", "=1 !=1.0", ">2 <=2.0", "<0"} {
		if b, err := parseRange(text); err != nil || !impossible(b) {
			t.Errorf("%q: %v; want a range that no version is in", text, err)
		}
	}
}

func TestRegionsHoldTheirSubdivisions(t *testing.T) {
	s := Scope{Region: []string{"DE", "AT-9"}}
	for region, in := range map[string]bool{"DE": true, "DE-BY": true, "AT-9": true, "AT": false, "AT-91": false, "D": false, "": false, "DEX": false} {
		if s.holds(&kindFacts{region: region}) != in {
			t.Errorf("%q: want %v", region, in)
		}
	}
}

func TestRuleOfAScopeAppliesToDevicesKnownToBeInIt(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`, `old | when: drain_s > 70 | applies: {firmware: "<2.3", hardware: [A, B], region: [DE]}`)
	want(t, l.send(0, "drain_s=80"), "slow opened")
	want(t, l.facts(minute, fleet.Facts{Firmware: "2.2.9", Hardware: "B"})) // its region is not known
	want(t, l.send(2*minute, "drain_s=80"))
	want(t, l.facts(3*minute, fleet.Facts{Firmware: "2.2.9", Hardware: "B", Region: "DE-BY"}))
	want(t, l.send(4*minute, "drain_s=80"), "old opened")
	got := l.facts(5*minute, fleet.Facts{Firmware: "2.3", Hardware: "B", Region: "DE-BY"})
	want(t, got, "old cleared")
	if f := got[0]; f.Revision != 1 || f.At.Before(t0.Add(4*minute)) || !f.Received.Equal(t0.Add(5*minute)) || f.Evidence != nil {
		t.Errorf("%+v", f)
	}
	want(t, l.facts(6*minute, fleet.Facts{Firmware: "2.3", Hardware: "B", Region: "DE-BY"}))
	want(t, l.facts(4*minute, fleet.Facts{Firmware: "2.2", Hardware: "B", Region: "DE"})) // told late: what is known is newer
	want(t, l.send(7*minute, "drain_s=80"))
}

func TestScopeOfAPackAndARuleBothHold(t *testing.T) {
	pack := strings.Replace(packYAML(`r | when: drain_s > 70 | applies: {batch: [b7]}`, `all | when: drain_s > 70`),
		"{category: washing-machine}", `{category: washing-machine, firmware: ">=2"}`, 1)
	set, problems := loadText(pack)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	l := &life{t: t, s: NewState(set), lag: time.Second}
	want(t, l.facts(0, fleet.Facts{Firmware: "1.9", Batch: "b7"}))
	want(t, l.send(minute, "drain_s=80"))
	want(t, l.facts(2*minute, fleet.Facts{Firmware: "2.0", Batch: "b6"}))
	want(t, l.send(3*minute, "drain_s=80"), "all opened")
	want(t, l.facts(4*minute, fleet.Facts{Firmware: "2.0", Batch: "b7"}))
	want(t, l.send(5*minute, "drain_s=80"), "r opened")
}

func TestFactsBeforeAnyReading(t *testing.T) {
	l := newLife(t, `old | when: drain_s > 70 | applies: {firmware: "<2"}`)
	want(t, l.facts(0, fleet.Facts{Firmware: "1.0"}))
	want(t, l.facts(time.Second, fleet.Facts{Model: "toaster", Firmware: "1.0"})) // the model of the registry does not matter any more
	want(t, l.send(minute, "drain_s=80"), "old opened")
	if c := l.s.Counts(); c.Facts != 2 || l.s.Devices() != 1 {
		t.Errorf("%+v", c)
	}
	rec, _ := wire.EncodeFacts(0, t0, fleet.Facts{Device: fleet.DeviceKey{Tenant: "demo", Serial: "X"}, Model: "toaster", At: t0})
	rec.Body = append(rec.Body, "rubbish\n"...)
	l.step(rec)
	if c := l.s.Counts(); c.UnknownModel != 1 || c.BadLines != 1 || l.s.Devices() != 1 {
		t.Errorf("%+v", c)
	}
}

func TestRevokedDeviceHasNoEpisodes(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`, `wait | when: drain_s > 70 | for: 20m`)
	want(t, l.send(0, "drain_s=80"), "slow opened")
	want(t, l.facts(minute, fleet.Facts{Revoked: true}), "slow cleared")
	want(t, l.send(2*minute, "drain_s=80"))
	want(t, l.tick(25*minute))
	want(t, l.facts(26*minute, fleet.Facts{}))
	want(t, l.send(27*minute, "drain_s=80"), "slow opened")
}

func TestNamedLimitAndADevicesOwn(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > limits.slow + 10 and drain_s > limits.slow | limits: {slow: {value: 70, unit: s}}`)
	got := l.send(0, "drain_s=81")
	want(t, got, "slow opened")
	if e := got[0].Evidence; len(e) != 1 || e[0].Limit != 80 || !e[0].HasLimit {
		t.Errorf("evidence %+v", e)
	}
	want(t, l.send(minute, "drain_s=80"), "slow cleared")
	l.facts(2*minute, fleet.Facts{Limits: map[string]float64{"slow.slow": 40, "slow.gone": 1, "other.slow": 2}})
	got = l.send(3*minute, "drain_s=60")
	want(t, got, "slow opened")
	if e := got[0].Evidence[0]; e.Limit != 50 {
		t.Errorf("evidence %+v", e)
	}
	if c := l.s.Counts(); c.UnknownLimits != 2 {
		t.Errorf("%+v", c)
	}
	l.facts(4*minute, fleet.Facts{})
	want(t, l.send(5*minute, "drain_s=60"), "slow cleared")
}

func TestFactsSurviveASnapshotAndAreNotForgotten(t *testing.T) {
	rule := `old | when: drain_s > limits.x | limits: {x: {value: 90}} | applies: {batch: [b1]}`
	set := loadPack(t, rule)
	l := &life{t: t, s: NewState(set), lag: time.Second}
	l.facts(0, fleet.Facts{Batch: "b1", Firmware: "2", Hardware: "h", Region: "DE", Limits: map[string]float64{"old.x": 50},
		Stored: []fleet.Span{{From: t0, To: t0.Add(hour)}}, Maintenance: []fleet.Span{{From: t0.Add(10 * hour)}},
		Services: []fleet.Service{{Component: "pump", At: t0}, {Component: "pump", At: t0.Add(-hour)}}})
	m := newStored(set)
	m.save(l.s, 1)
	l.s, _ = m.restore(t)
	want(t, l.send(minute, "drain_s=60"), "old opened")
	for _, d := range l.s.devices.sorted() {
		if d.servicedAt("pump") != t0.UnixMilli() || d.servicedAt("belt") != never || d.facts.more.maintenance[0].to != later {
			t.Errorf("%+v", d.facts.more)
		}
	}
	m.save(l.s, 2)
	other := loadPack(t, `old | when: drain_s > limits.x | limits: {x: {value: 90}} | applies: {batch: [b2]}`)
	s, ended, err := Restore(other, m.header, set.Layout(), m.chunks)
	if err != nil {
		t.Fatal(err)
	}
	want(t, ended, "old cleared")
	l.s = s
	want(t, l.send(2*minute, "drain_s=60"))
}

func TestDevicesOfAKindShareWhatTheyHaveInCommon(t *testing.T) {
	l := newLife(t, `old | when: drain_s > 70 | applies: {firmware: "<2"}`)
	for i, serial := range []string{"A", "B", "C"} {
		rec, _ := wire.EncodeFacts(0, t0, fleet.Facts{Device: fleet.DeviceKey{Tenant: "demo", Serial: serial}, Model: "washer-w7",
			Firmware: []string{"1.0", "1.0", "2.0"}[i], At: t0})
		l.step(rec)
	}
	kind := func(serial string) *kindFacts {
		return l.s.devices.get(fleet.DeviceKey{Tenant: "demo", Serial: serial}).facts.kind
	}
	if kind("A") != kind("B") || kind("A") == kind("C") || kind("A").out != nil || kind("C").out == nil {
		t.Errorf("%p %p %p", kind("A"), kind("B"), kind("C"))
	}
}

func TestKindsThatNoDeviceIsOfAreForgotten(t *testing.T) {
	l := newLife(t, `old | when: drain_s > 70 | applies: {firmware: "<2"}`)
	for i := range 5000 {
		l.facts(time.Duration(i)*time.Second, fleet.Facts{Firmware: fmt.Sprintf("1.%d", i)})
	}
	if n := len(l.s.kinds); n > 2*rosterBlock {
		t.Errorf("%d kinds of one device", n)
	}
	want(t, l.send(2*hour, "drain_s=80"), "old opened")
	want(t, l.facts(3*hour, fleet.Facts{Firmware: "2.0"}), "old cleared")
}
