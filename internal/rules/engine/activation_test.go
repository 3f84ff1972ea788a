package engine

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestActivatedRulesOutliveAStart: after an activation the rules are those of the journal, whatever the files say. One that
// cannot be followed leaves them as they are.
func TestActivatedRulesOutliveAStart(t *testing.T) {
	set := loadRules(t, "slow", "when: drain_s > 70", "gone", "when: drain_s > 71")
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, stop := run(t, m, set)
		m.send("A2", 1, 0, 72)
		m.activate(t, time.Minute, pack("slow", "when: drain_s > 70", "low", "when: drain_s < 10"))
		m.activate(t, 2*time.Minute, pack("slow", "when: no_such_field > 70"))
		synctest.Wait()
		stop()
		_, stop = run(t, m, set)
		m.send("A2", 2, 3*time.Minute, 5)
		m.send("B2", 1, 3*time.Minute, 72)
		synctest.Wait()
		stop()
		got := make([]string, 0, len(m.found))
		for _, f := range m.found {
			got = append(got, f.Device.Serial+" "+f.Rule+" "+string(f.Phase))
		}
		if want := []string{"A2 slow opened", "A2 gone opened", "A2 gone cleared", "A2 low opened", "A2 slow cleared", "B2 slow opened"}; !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
			t.Errorf("findings %v, want %v", got, want)
		}
	})
}
