package rules

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// TestHeldFiresBetweenReadings: held is compared with a fixed number at the moment it passes it, as `for` is.
func TestHeldFiresBetweenReadings(t *testing.T) {
	l := newLife(t, `a | when: held(drain_s > 70) > 900`)
	want(t, l.send(0, "drain_s=80"))
	want(t, l.tick(14*time.Minute))
	found := l.tick(16 * time.Minute)
	want(t, found, "a opened")
	if at := t0.Add(15*time.Minute + time.Millisecond); len(found) == 1 && !found[0].At.Equal(at) {
		t.Errorf("opened at %v, want %v", found[0].At, at)
	}
	want(t, l.send(20*time.Minute, "drain_s=60"), "a cleared")
}

// TestHeldWaitsInSilence: a value is not taken to last for ever.
func TestHeldWaitsInSilence(t *testing.T) {
	l := newLife(t, `a | when: held(drain_s > 70) > 7200`)
	l.send(0, "drain_s=80")
	want(t, l.tick(3*time.Hour))
	want(t, l.send(3*time.Hour, "drain_s=80"), "a opened")
}

// TestSinceAnEvent: a rule about how long ago an event was is no event rule: it is evaluated on readings, and may have a `for`.
func TestSinceAnEvent(t *testing.T) {
	l := newLife(t, `a | when: since(code == "E18") < 3600 and drain_s > 70 | for: 5m`)
	l.send(0, "drain_s=80")
	want(t, l.event(time.Minute, "E18"))
	want(t, l.send(7*time.Minute, "drain_s=81"), "a opened")
	want(t, l.send(30*time.Minute, "drain_s=82"))
	want(t, l.send(62*time.Minute, "drain_s=83"), "a cleared")
}

// TestCodesFireAtTheEvent: the third event of a kind opens the episode itself.
func TestCodesFireAtTheEvent(t *testing.T) {
	l := newLife(t, `a | when: codes("E18", "1d") >= 3`)
	l.send(0, "drain_s=5")
	want(t, l.event(1*time.Hour, "E18"))
	want(t, l.event(2*time.Hour, "E19"))
	want(t, l.event(3*time.Hour, "E18"))
	want(t, l.event(4*time.Hour, "E18"), "a opened")
	want(t, l.send(20*time.Hour, "drain_s=5"))
	want(t, l.send(27*time.Hour, "drain_s=5"), "a cleared")
}

// TestCellsAreShared: the same call in two rules is kept once, however it is written.
func TestCellsAreShared(t *testing.T) {
	p := loadPack(t, `a | when: ewma(drain_s, "2h") > 1`, `b | when: ewma(drain_s, "120m") > 2 and held(drain_s>1) > 3`,
		`c | when: held( drain_s > 1 ) > 4`).programs["washer-w7"]
	if len(p.cells) != 2 {
		t.Errorf("%d cells, want 2", len(p.cells))
	}
}

// TestCellsLiveOnUnderOtherRules: what a call keeps goes by its name over a restart with other rules.
func TestCellsLiveOnUnderOtherRules(t *testing.T) {
	l := newLife(t, `a | when: starts(drain_s > 70) > 3`, `b | when: total(drain_s) > 1000`)
	for i := range 6 {
		l.send(time.Duration(i)*10*time.Minute, []string{"drain_s=10", "drain_s=80"}[i%2])
	}
	s := l.s
	chunks := s.Save(1<<20, func() uint32 { return 1 })
	l.s, _, _ = Restore(loadPack(t, `x | when: ewma(drain_s, "1h") > 500 and total(drain_s) > 2000`, `y | when: starts(drain_s > 70) > 3`), s.Header(), s.set.Layout(), chunks)
	want(t, l.send(time.Hour, "drain_s=10"))
	want(t, l.send(70*time.Minute, "drain_s=80"), "y opened")
}

// TestTooMuchState: what the rules of a model keep of a device is bounded, and the rule that goes beyond is named.
func TestTooMuchState(t *testing.T) {
	rules := make([]string, 0, 60)
	for i := range 60 {
		w := time.Duration(60+i) * time.Minute
		rules = append(rules, `r`+strings.Repeat("x", i)+` | when: `+`'avg(drain_s, "`+formatDuration(w)+`") + min(drain_s, "`+formatDuration(w)+`") + max(drain_s, "`+formatDuration(w)+`") > 5000'`)
	}
	for range 6 {
		for i := range 60 {
			rules = append(rules, strings.ReplaceAll(strings.Replace(rules[i], "r", "s"+strings.Repeat("y", len(rules)/60), 1), "drain_s", "vibration_mm_s"))
		}
	}
	set, problems := Load(fstest.MapFS{"x.yaml": {Data: []byte(packYAML(rules...))}}, testModels())
	if len(problems) == 0 || !strings.Contains(problems[0].Message, "KiB of each device") {
		t.Fatalf("problems %v", problems)
	}
	if n := len(set.Rules()); n < 60 || n >= len(rules) {
		t.Errorf("%d rules are in the set", n)
	}
}
