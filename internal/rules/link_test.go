package rules

import (
	"fmt"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// link steps a change of the device's link, recorded a second later.
func (l *life) link(after time.Duration, online bool, cause string) []fleet.Finding {
	r := fleet.Reading{Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, Model: "washer-w7", Class: fleet.Presence,
		Time: t0.Add(after), Fields: fields(fmt.Sprintf("online=%v cause=%s", online, cause))}
	return l.step(wire.Record{Kind: wire.KindReadings, Received: r.Time.Add(time.Second), Body: wire.AppendReading(nil, &r)})
}

func TestLinkTellsDeviceFieldAndStationApart(t *testing.T) {
	l := newLife(t,
		`field | when: age(drain_s) > 3600 and link.online`,
		`device | when: not link.online and link.cause in ["silent", "lost"] | for: 30m`,
		`station | when: link.cause == "station_lost"`)
	l.send(0, "drain_s=5")
	want(t, l.link(time.Second, true, "heard"))
	l.send(50*minute, "vibration_mm_s=5")
	want(t, l.tick(70*minute), "field opened")
	want(t, l.link(80*minute, false, "silent"), "field cleared")
	want(t, l.tick(109*minute))
	got := l.tick(111 * minute)
	want(t, got, "device opened")
	if f := got[0]; !f.OpenedAt.Equal(t0.Add(110*minute)) || f.Evidence[0].Text != "false" || f.Evidence[1].Text != "silent" || !f.Evidence[0].At.Equal(t0.Add(80*minute)) {
		t.Errorf("%+v", f)
	}
	want(t, l.link(120*minute, true, "heard"), "field opened", "device cleared")
	want(t, l.link(130*minute, false, "station_lost"), "field cleared", "station opened")
	want(t, l.link(90*minute, true, "heard")) // told late: what is known is newer
	want(t, l.link(140*minute, true, "heard"), "field opened", "station cleared")
}

func TestLinkOfADeviceThatNeverSentAnything(t *testing.T) {
	l := newLife(t, `off | when: not link.online | for: 1h`, `aged | when: age(link.online) > 7200`)
	want(t, l.link(0, false, "will"))
	want(t, l.tick(59*minute))
	want(t, l.tick(61*minute), "off opened")
	want(t, l.tick(3*hour), "aged opened")
	want(t, l.send(3*hour+minute, "drain_s=1"))
	want(t, l.link(3*hour+2*minute, true, "heard"), "off cleared", "aged cleared")
}

func TestADeviceCannotSayWhatItsLinkIs(t *testing.T) {
	l := newLife(t, `off | when: not link.online`)
	want(t, l.send(0, "link.online=false link.cause=lost online=false"))
	if n := l.s.Counts().Readings; n != 1 {
		t.Error(n)
	}
}

func TestSilentCountsWhatTheDeviceSends(t *testing.T) {
	l := newLife(t, `silent | when: silent() > 3600`)
	l.send(0, "drain_s=5")
	l.event(30*minute, "E1")
	want(t, l.tick(80*minute))
	got := l.tick(91 * minute)
	want(t, got, "silent opened")
	if at := got[0].OpenedAt.Sub(t0); at != 90*minute+time.Millisecond {
		t.Errorf("opened after %v", at)
	}
	if e := got[0].Evidence[0]; e.Name != "silent()" || e.Unit != "s" || e.Limit != 3600 {
		t.Errorf("%+v", e)
	}
	want(t, l.event(2*hour, "E1"), "silent cleared")
}

func TestPresenceMovesNoTimerOfAnUpload(t *testing.T) {
	l := newLife(t, `held | when: drain_s > 70 | for: 30m`, `off | when: not link.online | for: 1h`)
	l.send(0, "drain_s=1")
	l.lag = 10 * hour
	l.send(5*minute, "drain_s=80") // it uploads what it measured while it was away
	want(t, l.link(10*hour+6*minute, true, "connected"))
	l.lag = 10*hour + 2*minute
	want(t, l.send(15*minute, "drain_s=80"))
	want(t, l.send(25*minute, "drain_s=60"))
	want(t, l.link(10*hour+38*minute, false, "lost"))
	want(t, l.tick(11*hour+37*minute))
	got := l.tick(11*hour + 39*minute) // the upload has ended: now it is what we know that counts
	want(t, got, "off opened")
	if !got[0].OpenedAt.Equal(t0.Add(11*hour + 38*minute)) {
		t.Errorf("%+v", got[0])
	}
}

func TestLinkWordsAreChecked(t *testing.T) {
	_, problems := loadText(packYAML(`a | when: link.cause == "station-lost"`, `b | when: link.up`, `c | when: link.cause in ["lost", "gone"]`))
	if len(problems) != 3 || problems[0].Hint != `did you mean "station_lost"?` || problems[1].Hint != "one of link.online, link.cause" {
		t.Errorf("%v", problems)
	}
}
