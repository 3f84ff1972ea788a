package rules

import (
	"encoding/binary"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"aftercare/internal/fleet"
)

// severities lists "phase severity" of findings.
func severitiesOf(got []fleet.Finding) (out []string) {
	for _, f := range got {
		out = append(out, string(f.Phase)+" "+f.Severity.String())
	}
	return out
}

func wantSeverities(t *testing.T, got []fleet.Finding, expect ...string) {
	t.Helper()
	have := severitiesOf(got)
	if len(have) != len(expect) {
		t.Errorf("findings %v, want %v", have, expect)
		return
	}
	for i := range have {
		if have[i] != expect[i] {
			t.Errorf("findings %v, want %v", have, expect)
		}
	}
}

const ladderRule = `hot | levels: [{severity: watch, when: drain_s > 50}, {severity: due, when: drain_s > 70, for: 30m}, {severity: danger, when: drain_s > 90}]`

// ladderPack is packYAML for rules that say their severities themselves.
func ladderPack(t *testing.T, rules ...string) *life {
	t.Helper()
	set, problems := loadText(packYAML(rules...))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return &life{t: t, s: NewState(set), lag: time.Second}
}

func TestLevelsClimbAndStepDown(t *testing.T) {
	l := ladderPack(t, ladderRule+` | step_down: 20m`)
	got := l.send(0, "drain_s=60")
	wantSeverities(t, got, "opened watch")
	if e := got[0].Evidence[0]; e.Limit != 50 {
		t.Errorf("%+v", e)
	}
	wantSeverities(t, l.send(10*minute, "drain_s=80"))
	wantSeverities(t, l.send(35*minute, "drain_s=85"))
	got = l.tick(41 * minute) // at the moment itself, without a reading
	wantSeverities(t, got, "updated due")
	if f := got[0]; f.Revision != 1 || !f.At.Equal(t0.Add(40*minute)) || f.Evidence[0].Limit != 70 || f.Evidence[0].Value != 85 {
		t.Errorf("%+v", f)
	}
	wantSeverities(t, l.send(50*minute, "drain_s=95"), "updated danger")
	wantSeverities(t, l.send(60*minute, "drain_s=85"))
	wantSeverities(t, l.tick(90*minute)) // silence is no improvement
	wantSeverities(t, l.send(91*minute, "drain_s=60"), "updated watch")
	wantSeverities(t, l.send(92*minute, "drain_s=91"), "updated danger")
	got = l.send(93*minute, "drain_s=40")
	wantSeverities(t, got, "cleared danger")
	if got[0].Revision != 5 {
		t.Errorf("%+v", got[0])
	}
	wantSeverities(t, l.send(94*minute, "drain_s=99"), "opened danger")
}

func TestLevelsWithTheirOwnClear(t *testing.T) {
	l := ladderPack(t, ladderRule+` | clear: drain_s < 30 | clear_for: 10m`)
	wantSeverities(t, l.send(0, "drain_s=95"), "opened danger")
	wantSeverities(t, l.send(minute, "drain_s=55"), "updated watch")
	wantSeverities(t, l.send(2*minute, "drain_s=40"))
	wantSeverities(t, l.send(3*minute, "drain_s=20"))
	wantSeverities(t, l.send(12*minute, "drain_s=20"))
	wantSeverities(t, l.send(13*minute, "drain_s=20"), "cleared watch")
}

func TestLevelWaitsForItsTimeBeforeItOpens(t *testing.T) {
	l := ladderPack(t, `hot | levels: [{severity: watch, when: drain_s > 50, for: 1h}, {severity: danger, when: drain_s > 90, for: 10m}]`)
	wantSeverities(t, l.send(0, "drain_s=95"))
	wantSeverities(t, l.tick(11*minute), "opened danger")
	wantSeverities(t, l.send(12*minute, "drain_s=1"), "cleared danger")
	wantSeverities(t, l.send(20*minute, "drain_s=60"))
	wantSeverities(t, l.send(50*minute, "drain_s=60"))
	wantSeverities(t, l.send(79*minute, "drain_s=60"))
	wantSeverities(t, l.tick(81*minute), "opened watch")
}

func TestMinHold(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70 | min_hold: 30m`)
	want(t, l.send(0, "drain_s=80"), "slow opened")
	want(t, l.send(29*minute, "drain_s=1"))
	want(t, l.tick(40*minute))
	want(t, l.send(41*minute, "vibration_mm_s=1"), "slow cleared")
}

// TestClearDecidesAloneWhenItIsSaid: an author who says when it is over means that, whatever a long mean still holds; and it does
// not open again as long as that is so.
func TestClearDecidesAloneWhenItIsSaid(t *testing.T) {
	l := newLife(t, `slow | when: avg(drain_s, "3d") > 75 | clear: drain_s < 70 | clear_for: 1h`)
	want(t, l.send(0, "drain_s=100"), "slow opened")
	want(t, l.send(hour, "drain_s=100"))
	want(t, l.send(2*hour, "drain_s=60"))
	want(t, l.send(3*hour, "drain_s=60"), "slow cleared")
	want(t, l.send(4*hour, "drain_s=65")) // the mean is still above 75
	want(t, l.send(5*hour, "drain_s=200"), "slow opened")
}

func TestSeasonBarsOpeningAndEndsWithATimer(t *testing.T) {
	// t0 is 14 November 2023, 22:13:20 UTC.
	l := newLife(t, `frost | when: drain_s > 70 | season: "11-15..03-31"`)
	want(t, l.send(0, "drain_s=80"))
	want(t, l.send(100*minute, "drain_s=80"))
	got := l.tick(107 * minute)
	want(t, got, "frost opened")
	if f := got[0]; f.OpenedAt.Format(time.RFC3339) != "2023-11-15T00:00:00Z" {
		t.Errorf("%+v", f)
	}
	want(t, l.send(150*day, "drain_s=80")) // it was open before its season ended
	want(t, l.send(151*day, "drain_s=1"), "frost cleared")
	want(t, l.send(152*day, "drain_s=80"))
}

func TestSeasons(t *testing.T) {
	at := func(s string) int64 {
		v, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		return v.UnixMilli()
	}
	for _, c := range []struct{ season, now, begins string }{
		{"04-01..10-31", "2026-04-01 00:00", ""},
		{"04-01..10-31", "2026-10-31 23:59", ""},
		{"04-01..10-31", "2026-11-01 00:00", "2027-04-01 00:00"},
		{"04-01..10-31", "2026-03-31 23:59", "2026-04-01 00:00"},
		{"11-01..03-31", "2026-12-31 23:59", ""},
		{"11-01..03-31", "2026-01-01 00:00", ""},
		{"11-01..03-31", "2026-04-01 00:00", "2026-11-01 00:00"},
		{"02-29..02-29", "2024-02-29 12:00", ""},
		{"02-29..03-02", "2025-02-28 12:00", "2025-03-01 00:00"},
		{"12-24..12-24", "2026-12-25 00:00", "2027-12-24 00:00"},
	} {
		s, err := parseSeason(c.season)
		if err != nil {
			t.Fatal(err)
		}
		begins, outside := s.begins(at(c.now))
		if outside != (c.begins != "") || outside && begins != at(c.begins) {
			t.Errorf("%+v: %v %v", c, outside, moment(begins))
		}
	}
	for _, s := range []string{"", "04-01", "04-01..", "4-1..5-1", "13-01..14-01", "02-30..03-01", "01-01..12-31", "05-01..04-30", "04-01...10-31"} {
		if v, err := parseSeason(s); err == nil {
			t.Errorf("%q is read as %+v", s, v)
		}
	}
}

func TestMaintenanceBarsAllButSafety(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`, `e18 | when: code == "E18"`, `e19 | when: code == "E19" | clear: code == "OK"`,
		`e20 | when: code == "E20" | clear: code == "OK"`, `safe | when: drain_s > 75 | applies: {}`)
	for _, r := range l.s.set.rules {
		if r.ID == "safe" {
			r.Kind = fleet.KindSafety
		}
	}
	want(t, l.send(0, "drain_s=1"))
	l.facts(minute, fleet.Facts{Maintenance: []fleet.Span{{From: t0.Add(2 * minute), To: t0.Add(hour)}}})
	want(t, l.send(2*minute, "drain_s=80"), "safe opened")
	want(t, l.event(3*minute, "E18"))
	want(t, l.event(4*minute, "E19"))
	want(t, l.event(4*minute+1, "E20"))
	want(t, l.event(4*minute+2, "OK"))
	want(t, l.event(5*minute, "E19"))
	want(t, l.send(40*minute, "drain_s=80"))
	got := l.tick(61 * minute) // both still hold: nobody has said that all is clear; E18 was a moment
	want(t, got, "slow opened", "e19 opened")
	if f := got[1]; !f.OpenedAt.Equal(t0.Add(hour)) || len(f.Evidence) != 1 || f.Evidence[0].Text != "E19" || !f.Evidence[0].At.Equal(t0.Add(5*minute)) {
		t.Errorf("%+v", f)
	}
	want(t, l.facts(62*minute, fleet.Facts{Maintenance: []fleet.Span{{From: t0.Add(hour)}}})) // what is open stays
	want(t, l.send(63*minute, "drain_s=1"), "slow cleared", "safe cleared")
	want(t, l.send(64*minute, "drain_s=80"), "safe opened")
	want(t, l.facts(65*minute, fleet.Facts{}), "slow opened") // the work ended earlier than it was said
}

func TestStorageExcusesSilenceOnly(t *testing.T) {
	l := newLife(t, `lost | when: age(drain_s) > 3600`, `theft | when: age(drain_s) > 3600 | in_storage: true`, `slow | when: drain_s > 70`)
	l.facts(0, fleet.Facts{Stored: []fleet.Span{{From: t0, To: t0.Add(day)}}})
	want(t, l.send(minute, "drain_s=80"), "slow opened")
	want(t, l.tick(3*hour), "theft opened")
	want(t, l.tick(day-minute))
	got := l.tick(day + minute)
	want(t, got, "lost opened")
	if !got[0].OpenedAt.Equal(t0.Add(day)) {
		t.Errorf("%+v", got[0])
	}
}

func TestFlappingIsKeptOpenUntilItIsQuiet(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70`, `free | when: drain_s > 70 | flapping: off`, `few | when: drain_s > 70 | flapping: {times: 2, within: 1h, quiet: 10m}`)
	at := time.Duration(0)
	send := func(v string) []fleet.Finding {
		at += 20 * minute
		return l.send(at, "drain_s="+v)
	}
	for range 3 {
		send("80")
		send("60")
	}
	got := send("80")
	want(t, got, "slow opened", "free opened") // few opened for the second time 40 minutes ago, and is still kept open
	if !got[0].Flapping || got[1].Flapping {
		t.Errorf("%+v", got)
	}
	want(t, send("60"), "free cleared")
	want(t, send("60"), "few cleared") // it was quiet for 10 minutes
	for range 3 {
		got = send("80")
	}
	want(t, got)
	for range 18 {
		got = send("60")
	}
	want(t, got)
	got = send("60")
	want(t, got, "slow cleared")
	if !got[0].Flapping {
		t.Errorf("%+v", got)
	}
	at += 24 * hour
	if got = send("80"); got[0].Flapping || got[0].Rule != "slow" {
		t.Errorf("%+v", got)
	}
	for _, o := range *l.s.devices.at(0).opened {
		if len(o.at) != 1 { // what is too old to count is forgotten
			t.Errorf("%+v", o)
		}
	}
}

func TestCauseKeepsItsSymptomQuiet(t *testing.T) {
	l := newLife(t, `slow | when: drain_s > 70 | cause: [power, door]`, `power | when: vibration_mm_s > 5`, `door | when: door_open`)
	want(t, l.send(0, "vibration_mm_s=6"), "power opened")
	want(t, l.send(minute, "drain_s=80"))
	want(t, l.send(2*minute, "vibration_mm_s=1"), "power cleared", "slow opened")
	got := l.send(3*minute, "door_open=true")
	want(t, got, "door opened", "slow updated")
	if f := got[1]; f.Cause != "door" || f.Revision != 1 || f.Severity != fleet.Due {
		t.Errorf("%+v", f)
	}
	got = l.send(4*minute, "vibration_mm_s=6") // the author's order counts
	want(t, got, "power opened", "slow updated")
	if got[1].Cause != "power" {
		t.Errorf("%+v", got[1])
	}
	want(t, l.send(5*minute, "vibration_mm_s=1 drain_s=81"), "power cleared", "slow updated")
	got = l.send(6*minute, "door_open=false")
	want(t, got, "door cleared", "slow updated")
	if got[1].Cause != "" || got[1].Revision != 4 {
		t.Errorf("%+v", got[1])
	}
	want(t, l.send(7*minute, "door_open=true drain_s=1"), "door opened", "slow cleared")
	want(t, l.send(8*minute, "door_open=false drain_s=1"), "door cleared")
}

func TestFindingOfAnotherRule(t *testing.T) {
	l := newLife(t, `both | when: finding("slow") and finding("e18") and not finding("elsewhere") | for: 10m`, `slow | when: drain_s > 70`,
		`e18 | when: code == "E18" | clear: code == "OK"`, `elsewhere | when: drain_s > 800`, `chain | when: finding("both")`)
	want(t, l.send(0, "drain_s=80"), "slow opened")
	want(t, l.event(minute, "E18"), "e18 opened")
	want(t, l.tick(12*minute), "both opened", "chain opened")
	got := l.event(13*minute, "OK")
	want(t, got, "e18 cleared", "both cleared", "chain cleared")
	if e := got[1].Evidence; e[0].Text != "true" || e[1].Text != "false" {
		t.Errorf("%+v", e)
	}
}

func TestCausesAndFindingsThatCannotBe(t *testing.T) {
	_, problems := loadText(packYAML(`a | when: drain_s > 1 | cause: [b]`, `b | when: finding("c")`, `c | when: drain_s > 2 and finding("a")`,
		`d | when: drain_s > 3 | cause: [slowe, d]`, `slow | when: drain_s > 4`, `e | when: finding("slov")`, `f | when: finding(drain_s)`))
	got := ""
	for _, p := range problems {
		got += p.String() + "\n"
	}
	expect := `test.yaml:19: rules[2].when: rules that look at each other in a circle: a, b, c, a
test.yaml:25: rules[3].cause[1]: want the id of another rule, found "d"
test.yaml:25: rules[3].cause[0]: unknown rule "slowe" (did you mean "slow"?)
test.yaml:35: rules[5].when: unknown rule "slov" (did you mean "slow"?)
test.yaml:40: rules[6].when: finding wants the id of a rule in quotes (finding("rule-id"))
`
	if got != expect {
		t.Errorf("problems\n%swant\n%s", got, expect)
	}
}

func TestARuleOfOtherModelsIsNoCause(t *testing.T) {
	other := strings.Replace(packYAML(`cold | when: temp_c < 1`), "washing-machine", "refrigerator", 1)
	set, problems := Load(fstest.MapFS{"a.yaml": {Data: []byte(other)}, "b.yaml": {Data: []byte(packYAML(`slow | when: drain_s > 70 | cause: [cold]`))}}, testModels())
	if len(problems) != 1 || problems[0].String() != `b.yaml:9: rules[0].cause[0]: rule "cold" runs for none of these models` || len(set.Rules()) != 1 {
		t.Errorf("%v", problems)
	}
}

// TestAnEpisodeOfAnEarlierFormatIsRead: what was written before there were levels, causes and flapping reads as it was meant.
func TestAnEpisodeOfAnEarlierFormatIsRead(t *testing.T) {
	b := []byte{0, 3, 2} // the first rule, open and live, told twice
	for _, at := range []int64{5, 6, 7, never} {
		b = binary.AppendVarint(b, at)
	}
	b = appendString(b, `[{"name":"drain_s","value":80,"at":"2026-01-01T00:00:00Z"}]`)
	r := decoder{b: b}
	e := r.episode()
	if r.err != nil || len(r.b) > 0 || !e.open || !e.live || e.told != 2 || e.flapping || e.cause != -1 || e.ladder != nil || e.openedAt != 6 || e.clearing != never || len(e.evidence) != 1 {
		t.Errorf("%+v %v", e, r.err)
	}
}

// TestEpisodesOfOneMoment: a device whose clock stands still has one episode after the other, none under the id of another.
func TestEpisodesOfOneMoment(t *testing.T) {
	for _, rule := range []string{`slow | when: drain_s > 70`, `slow | when: drain_s > 70 | flapping: off`} {
		l := newLife(t, rule)
		type told struct {
			id       string
			revision int
		}
		seen := map[told]int{}
		for range 3 {
			for _, f := range append(l.send(0, "drain_s=80"), l.send(0, "drain_s=1")...) {
				seen[told{f.ID, f.Revision}]++
			}
		}
		if len(seen) != 6 || len(l.all) != 6 {
			t.Errorf("%s: %d findings, want 6 that differ: %v", rule, len(l.all), seen)
		}
	}
}
