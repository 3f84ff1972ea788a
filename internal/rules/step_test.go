package rules

import (
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

const minute, hour, day = time.Minute, time.Hour, 24 * time.Hour

func TestThresholdOpensAndClears(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`)
	want(t, l.send(0, "drain_s=60"))
	got := l.send(10*minute, "drain_s=80")
	want(t, got, "slow opened")
	f := got[0]
	if f.ID != fleet.ID("find", "demo", "WM-1", "slow", "1700000600000") || f.Revision != 0 || !f.Live {
		t.Errorf("finding %+v", f)
	}
	if len(f.Evidence) != 1 {
		t.Fatalf("evidence %+v", f.Evidence)
	}
	if e := f.Evidence[0]; e.Name != "drain_s" || e.Value != 80 || e.Unit != "s" || !e.HasLimit || e.Limit != 70 || !e.At.Equal(t0.Add(10*minute)) {
		t.Errorf("evidence %+v", e)
	}
	want(t, l.send(20*minute, "drain_s=90"))
	got = l.send(30*minute, "drain_s=70")
	want(t, got, "slow cleared")
	if got[0].ID != f.ID || got[0].Revision != 1 || !got[0].OpenedAt.Equal(f.OpenedAt) {
		t.Errorf("cleared %+v", got[0])
	}
	want(t, l.send(40*minute, "drain_s=71"), "slow opened")
}

func TestForNeedsTheConditionToLast(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70 | for: 30m`)
	want(t, l.send(0, "drain_s=80"))
	want(t, l.send(10*minute, "drain_s=60"))
	want(t, l.send(20*minute, "drain_s=80"))
	want(t, l.send(30*minute, "vibration_mm_s=1"))
	want(t, l.send(40*minute, "drain_s=80"))
	got := l.send(51*minute, "drain_s=80")
	want(t, got, "slow opened")
	if !got[0].OpenedAt.Equal(t0.Add(50 * minute)) {
		t.Errorf("opened at %v, want the exact moment", got[0].OpenedAt)
	}
}

func TestForRunsOnTicksButNotThroughSilence(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70 | for: 30m`)
	l.send(0, "drain_s=80")
	want(t, l.tick(29*minute))
	want(t, l.tick(31*minute), "slow opened")

	l = newLife(t, `slow | when: drain_s > 70 | for: 2h`)
	l.send(0, "drain_s=80")
	want(t, l.tick(3*hour)) // the model reports every 10 minutes: after 30 its value says nothing any more
	want(t, l.send(4*hour, "drain_s=80"), "slow opened")
}

func TestClearConditionAndClearFor(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 90 | clear: drain_s < 70 | clear_for: 1h`)
	want(t, l.send(0, "drain_s=95"), "slow opened")
	want(t, l.send(10*minute, "drain_s=80"))
	want(t, l.send(20*minute, "drain_s=60"))
	want(t, l.send(50*minute, "drain_s=75")) // begins anew
	want(t, l.send(60*minute, "drain_s=60"))
	want(t, l.send(119*minute, "drain_s=60"))
	want(t, l.tick(10*hour)) // silence clears nothing
	want(t, l.send(11*hour, "vibration_mm_s=1"), "slow cleared")
}

func TestSilenceNeverClears(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`, `mean | when: avg(drain_s, "1h") > 70`)
	want(t, l.send(0, "drain_s=80"), "slow opened", "mean opened")
	want(t, l.tick(30*day))
	want(t, l.send(31*day, "vibration_mm_s=3")) // the window is empty: unknown, not false
	want(t, l.send(32*day, "drain_s=3"), "slow cleared", "mean cleared")
}

func TestThreeValuedLogic(t *testing.T) {
	for cond, fires := range map[string]bool{
		`drain_s > 1 and vibration_mm_s > 1`:                  false,
		`drain_s > 1 or vibration_mm_s > 1`:                   true,
		`not (vibration_mm_s > 1)`:                            false,
		`vibration_mm_s != 7`:                                 false,
		`vibration_mm_s > 1 ? true : true`:                    false,
		`drain_s / 0 > 1`:                                     false,
		`not (drain_s / 0 > 1)`:                               false,
		`mode in ["eco"] or mode not in ["eco"]`:              false,
		`prev(drain_s) > 0 or not (prev(drain_s) > 0)`:        false,
		`count(vibration_mm_s, "1h") < 1`:                     false,
		`count(drain_s, "1h") == 1`:                           true,
		`age(vibration_mm_s) >= 0`:                            false,
		`age(drain_s) >= 0`:                                   true,
		`door_open or not door_open`:                          false,
		`code == "E1" or code != "E1"`:                        false,
		`drain_s in [4, 5, 6] and not (drain_s in [7])`:       true,
		`drain_s > 4 ? drain_s % 2 == 1 : false`:              true,
		`2 < drain_s < 6 and -drain_s < -4 and 2 ** 3 == 8`:   true,
		`avg(vibration_mm_s, "1h") > 0 and drain_s > 1`:       false,
		`avg(vibration_mm_s, "1h") > 0 and drain_s > 6`:       false,
		`not (avg(vibration_mm_s, "1h") > 0 and drain_s > 6)`: true,
	} {
		l := newLife(t, "r | when: '"+cond+"'")
		if got := len(l.send(0, "drain_s=5")) > 0; got != fires {
			t.Errorf("%s: fired %v", cond, got)
		}
	}
}

func TestFieldsOfAllTypes(t *testing.T) {
	l := newLife(t,
		`door | when: door_open and motor.temp > 40`,
		`eco | when: mode == "eco" and mode startsWith "e" and changed(mode)`,
		`step | when: delta(cycles) >= 2 and prev(cycles) == 5 and rate(cycles) == 12`)
	want(t, l.send(0, "door_open=true motor.temp=50 mode=cotton cycles=5i"), "door opened")
	got := l.send(10*minute, "mode=eco cycles=7i")
	want(t, got, "eco opened", "step opened")
	if e := got[0].Evidence; len(e) != 2 || e[0].Text != "eco" || e[1].Name != "changed(mode)" || e[1].Text != "true" {
		t.Errorf("evidence %+v", e)
	}
	if e := got[1].Evidence; len(e) != 3 || e[2].Unit != "/h" || e[2].Value != 12 || e[2].Limit != 12 {
		t.Errorf("evidence %+v", e)
	}
	want(t, l.send(20*minute, "mode=eco"), "eco cleared")
}

func TestEvidenceWithNormalAndComputedLimit(t *testing.T) {
	l := newLife(t, `slow | when: avg(drain_s, "1h") > 1.4 * avg(drain_s, "14d") | evidence: [drain_s, 'avg(drain_s, "1h")'] | normal: {drain_s: 'avg(drain_s, "14d")'}`)
	for i := range 12 {
		want(t, l.send(time.Duration(i)*6*hour, "drain_s=50"))
	}
	got := l.send(3*day, "drain_s=115")
	want(t, got, "slow opened")
	if e := got[0].Evidence[0]; e.Normal != 55 || !e.HasNormal || e.Value != 115 {
		t.Errorf("%+v", e)
	}
	if e := got[0].Evidence[1]; e.Value != 115 || e.Limit != 77 || e.HasNormal {
		t.Errorf("%+v", e)
	}
}

func TestEventRuleEndsAfterQuietTime(t *testing.T) {
	l := newLife(t, `e18 | when: code == "E18"`)
	want(t, l.send(0, "drain_s=1"))
	want(t, l.event(minute, "E19"))
	got := l.event(2*minute, "E18")
	want(t, got, "e18 opened")
	if e := got[0].Evidence; len(e) != 1 || e[0].Name != "code" || e[0].Text != "E18" || !e[0].At.Equal(t0.Add(2*minute)) {
		t.Errorf("evidence %+v", e)
	}
	want(t, l.event(20*hour, "E18"))
	want(t, l.event(21*hour, "E19"))
	want(t, l.send(25*hour, "drain_s=1"))
	want(t, l.tick(60*hour))
	want(t, l.send(61*hour, "drain_s=1"), "e18 cleared")
}

func TestEventRuleWithClearEvent(t *testing.T) {
	l := newLife(t, `e18 | when: code == "E18" | clear: code == "OK18"`, `e20 | when: code == "E20" | clear: code == "OK20" | clear_for: 1h`,
		`e21 | when: code == "E21" | clear: drain_s < 70`)
	want(t, l.event(0, "E18"), "e18 opened")
	want(t, l.send(30*day, "drain_s=1"))
	want(t, l.event(31*day, "OK18"), "e18 cleared")
	want(t, l.event(32*day, "E20"), "e20 opened")
	l.event(32*day+minute, "OK20")
	want(t, l.event(32*day+2*minute, "E20"))
	want(t, l.send(32*day+2*hour, "drain_s=1"))
	l.event(32*day+3*hour, "OK20")
	want(t, l.send(32*day+5*hour, "drain_s=1"), "e20 cleared")
	want(t, l.event(33*day, "E21"), "e21 opened")
	want(t, l.send(33*day+minute, "drain_s=80"))
	want(t, l.send(33*day+2*minute, "drain_s=60"), "e21 cleared")
}

func TestAgeFiresInSilenceAtTheExactMoment(t *testing.T) {
	l := newLife(t, `lost | when: age(drain_s) > 3600`)
	l.send(0, "drain_s=5")
	l.send(30*minute, "vibration_mm_s=5")
	got := l.tick(5 * hour)
	want(t, got, "lost opened")
	if at := got[0].OpenedAt.Sub(t0); at != hour+time.Millisecond {
		t.Errorf("opened after %v", at)
	}
	want(t, l.tick(50*hour))
	want(t, l.send(51*hour, "vibration_mm_s=5"))
	want(t, l.send(52*hour, "drain_s=5"), "lost cleared")
}

func TestOurOwnGapIsNoAbsence(t *testing.T) {
	l := newLife(t, `lost | when: age(drain_s) > 3600`)
	l.send(0, "drain_s=5")
	l.tick(10 * minute)
	want(t, l.step(wire.Record{Kind: wire.KindStart, Received: t0.Add(10 * hour)}))
	want(t, l.tick(10*hour+30*minute))
	want(t, l.tick(10*hour+51*minute), "lost opened")
}

func TestUploadIsNotLiveUntilCaughtUp(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`, `hot | when: motor.temp > 70`)
	l.lag = 5 * day
	got := l.send(0, "drain_s=80")
	want(t, got, "slow opened")
	if got[0].Live {
		t.Error("live while uploading")
	}
	l.lag -= minute - time.Second // it uploads faster than it lived
	got = l.send(minute, "drain_s=60")
	want(t, got, "slow cleared")
	if got[0].Live {
		t.Error("cleared as live")
	}
	l.lag -= minute - time.Second
	want(t, l.send(2*minute, "drain_s=81 motor.temp=80"), "slow opened", "hot opened")
	l.lag = 10 * time.Second
	got = l.send(5*day+4*time.Second, "drain_s=82")
	want(t, got, "slow updated", "hot updated")
	f := got[0]
	if !f.Live || f.Revision != 1 || f.Evidence[0].Value != 81 || !f.OpenedAt.Equal(t0.Add(2*minute)) {
		t.Errorf("%+v", f)
	}
	got = l.send(5*day+minute, "drain_s=1")
	want(t, got, "slow cleared")
	if !got[0].Live || got[0].Revision != 2 {
		t.Errorf("%+v", got[0])
	}
}

func TestUploadEndsAfterThirtyQuietSeconds(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`)
	l.lag = 5 * day
	want(t, l.send(0, "drain_s=80"), "slow opened")
	want(t, l.tick(5*day+29*time.Second))
	got := l.tick(5*day + 31*time.Second)
	want(t, got, "slow updated")
	if !got[0].Live || !got[0].Received.Equal(t0.Add(5*day+31*time.Second)) {
		t.Errorf("%+v", got[0])
	}
	want(t, l.tick(5*day+3*minute))
}

func TestLateAndOutOfOrderReadings(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`, `many | when: count(drain_s, "1h") >= 4`)
	l.send(hour, "drain_s=1")
	r := l.reading(fleet.Telemetry, 50*minute+time.Second, "drain_s=99") // within the lateness: in the window only
	want(t, l.sendReading(r))
	r = l.reading(fleet.Telemetry, 49*minute, "drain_s=99")
	want(t, l.sendReading(r))
	want(t, l.send(hour+minute, "drain_s=1"))
	want(t, l.send(hour+2*minute, "drain_s=1"), "many opened")
	c := l.s.Counts()
	if c.Late != 1 || c.OutOfOrder != 1 || c.Duplicates != 0 || c.Readings != 5 {
		t.Errorf("%+v", c)
	}
}

func TestWrongClockCountsAsReceipt(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`)
	l.lag = -40 * day // its clock is far ahead
	l.send(100*day, "drain_s=1")
	l.lag = time.Second
	want(t, l.send(60*day+minute, "drain_s=80"), "slow opened")
}

func TestUnknownModelAndBadLinesAreCounted(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`)
	r := l.reading(fleet.Telemetry, 0, "drain_s=80")
	r.Model = "toaster"
	body := append(wire.AppendReading(nil, &r), "rubbish\n"...)
	good := l.reading(fleet.Telemetry, 0, "drain_s=80 other=3")
	body = wire.AppendReading(body, &good)
	status := l.reading(fleet.Status, 0, "online=false")
	body = wire.AppendReading(body, &status)
	want(t, l.step(wire.Record{Kind: wire.KindReadings, Received: t0, Body: body}), "slow opened")
	ruleless := l.reading(fleet.Telemetry, 0, "temp_c=80")
	ruleless.Model, ruleless.Device.Serial = "fridge-f2", "F-1"
	want(t, l.sendReading(ruleless))
	if c := l.s.Counts(); c.UnknownModel != 1 || c.BadLines != 1 || l.s.Devices() != 1 {
		t.Errorf("%+v", c)
	}
}

func TestChangeOfModelKeepsWhatBothKnow(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`, `hot | when: motor.temp > 70`)
	want(t, l.send(0, "drain_s=80 motor.temp=80"), "slow opened", "hot opened")
	r := l.reading(fleet.Telemetry, minute, "drain_s=81")
	r.Model = "washer-w1"
	want(t, l.sendReading(r), "hot cleared")
	r = l.reading(fleet.Telemetry, 2*minute, "drain_s=1")
	r.Model = "washer-w1"
	want(t, l.sendReading(r), "slow cleared")
}

// TestWakesOfADeviceStayFew: a timer that waits for days beside one of minutes that comes and goes.
func TestWakesOfADeviceStayFew(t *testing.T) {
	l := newLife(t, `far | when: drain_s > 70 | for: 14d`, `near | when: vibration_mm_s > 70 | for: 1m | flapping: off`)
	for i := range 5000 {
		at := time.Duration(i) * 4 * minute
		l.send(at, "drain_s=80 vibration_mm_s=80")
		l.send(at+2*minute, "vibration_mm_s=1")
	}
	if n := len(l.s.wakes.list); n > 2*rosterBlock {
		t.Errorf("%d entries for one device", n)
	}
	l.all = nil
	l.send(14*day-minute, "drain_s=80")
	want(t, l.all)
	want(t, l.tick(14*day+minute), "far opened")
}
