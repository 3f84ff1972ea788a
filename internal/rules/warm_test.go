package rules

import (
	"testing"
	"time"

	"aftercare/internal/fleet"
)

// TestSettle: what was told decides about episodes, and what was not told is told now.
func TestSettle(t *testing.T) {
	key := fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}
	told := func(rule string, opened time.Duration, revision int, phase fleet.Phase, at time.Duration) fleet.Finding {
		d := device{key: key}
		return fleet.Finding{ID: d.findingID(rule, t0.Add(opened).UnixMilli()), Device: key, Rule: rule, Revision: revision, Phase: phase, Live: true,
			OpenedAt: t0.Add(opened), At: t0.Add(at)}
	}
	orphan := told("a", 0, 1, fleet.Updated, 0)
	orphan.OpenedAt = time.Time{}
	for name, c := range map[string]struct {
		told   []fleet.Finding
		send   string // at 10m, before it is settled; a opens above 70
		now    string // what settling finds
		after  string // what a reading of 5 at 30m finds
		opened time.Duration
		rev    int
	}{
		"as it was":             {[]fleet.Finding{told("a", 10*time.Minute, 3, fleet.Updated, 0)}, "80", "", "a cleared", 10 * time.Minute, 4},
		"opened earlier":        {[]fleet.Finding{told("a", -time.Hour, 0, fleet.Opened, 0)}, "80", "", "a cleared", -time.Hour, 1},
		"open, but not here":    {[]fleet.Finding{told("a", -time.Hour, 2, fleet.Opened, 0)}, "60", "", "a cleared", -time.Hour, 3},
		"cleared, but not here": {[]fleet.Finding{told("a", 10*time.Minute, 1, fleet.Cleared, 11*time.Minute)}, "80", "", "", 0, 0},
		"cleared long ago":      {[]fleet.Finding{told("a", -time.Hour, 1, fleet.Cleared, -time.Minute)}, "80", "a opened", "a cleared", 10 * time.Minute, 1},
		"never told":            {nil, "80", "a opened", "a cleared", 10 * time.Minute, 1},
		"nothing at all":        {nil, "60", "", "", 0, 0},
		"its rule is gone":      {[]fleet.Finding{told("gone", 0, 5, fleet.Opened, 0)}, "60", "gone cleared", "", 0, 0},
		"opening unknown":       {[]fleet.Finding{orphan}, "60", "a cleared", "", 0, 0},
	} {
		l := newLife(t, "a | when: drain_s > 70")
		r := l.reading(fleet.Telemetry, 10*time.Minute, "drain_s="+c.send)
		l.s.Relive(&r)
		t.Log(name)
		found := l.s.Settle(key, c.told, t0.Add(15*time.Minute), nil)
		want(t, found, words(c.now)...)
		after := l.send(30*time.Minute, "drain_s=5")
		want(t, after, words(c.after)...)
		for _, f := range after {
			if !f.OpenedAt.Equal(t0.Add(c.opened)) || f.Revision != c.rev {
				t.Errorf("%s: opened %v, revision %d, want %v and %d", name, f.OpenedAt, f.Revision, t0.Add(c.opened), c.rev)
			}
		}
		for _, f := range found {
			if f.Phase == fleet.Cleared && f.Revision != c.told[0].Revision+1 {
				t.Errorf("%s: revision %d", name, f.Revision)
			}
		}
	}
}

func words(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
