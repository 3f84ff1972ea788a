package score

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

var t0 = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func day(n float64) time.Time { return t0.Add(time.Duration(n * 24 * float64(time.Hour))) }

// found is a finding's record; opened and at are days.
func found(device, rule string, opened, at float64, change ...func(*fleet.Finding)) fleet.Finding {
	f := fleet.Finding{ID: fmt.Sprint(device, rule, opened), Phase: fleet.Opened, Device: fleet.DeviceKey{Tenant: "demo", Serial: device}, Rule: rule, Problem: rule,
		Kind: fleet.KindMaintenance, Severity: fleet.Due, OpenedAt: day(opened), At: day(at), Received: day(at).Add(time.Second), Live: true}
	if at != opened {
		f.Phase, f.Revision = fleet.Updated, 1
	}
	for _, c := range change {
		c(&f)
	}
	return f
}

func as(s fleet.Severity) func(*fleet.Finding) { return func(f *fleet.Finding) { f.Severity = s } }
func of(k fleet.Kind) func(*fleet.Finding)     { return func(f *fleet.Finding) { f.Kind = k } }
func past(f *fleet.Finding)                    { f.Live = false }
func over(f *fleet.Finding)                    { f.Phase = fleet.Cleared }

var testMap = Map{Faults: map[string][]string{"washer/clog": {"slow", "blocked"}, "washer/leak": {"leak"}, "washer/new": {"gone"}},
	Habits: map[string][]string{"washer/cold": {"habit"}}, Mishaps: map[string][]string{"washer/caught": {"blocked"}}, Due: []string{"washer/new"}}

func judged(truth []Condition, findings ...fleet.Finding) Result {
	return Judge(Input{Span: Span{Devices: 10, From: t0, To: day(daysPerMonth)}, Truth: truth, Findings: findings, Map: testMap, Rules: []string{"slow", "blocked", "leak", "habit", "idle"}})
}

// TestWarning: one condition from day 10, failing on day 20 and over on day 22.
func TestWarning(t *testing.T) {
	clog := Condition{Device: "A", Kind: "washer/clog", Onset: day(10), Failure: day(20), End: day(22)}
	for name, c := range map[string]struct {
		found []fleet.Finding
		want  string // warned late missed early, false
	}{
		"nothing":                       {nil, "0 0 1 0, 0"},
		"in time":                       {[]fleet.Finding{found("A", "slow", 12, 12)}, "1 0 0 0, 0"},
		"a clock that is behind":        {[]fleet.Finding{found("A", "slow", 9.995, 9.995)}, "1 0 0 0, 0"},
		"at the onset":                  {[]fleet.Finding{found("A", "slow", 10, 10)}, "1 0 0 0, 0"},
		"twice in time":                 {[]fleet.Finding{found("A", "slow", 12, 12), found("A", "blocked", 13, 13)}, "1 0 0 0, 0"},
		"after the failure":             {[]fleet.Finding{found("A", "blocked", 20, 20)}, "0 1 0 0, 0"},
		"after the end":                 {[]fleet.Finding{found("A", "blocked", 23, 23)}, "0 0 1 0, 1"},
		"too early":                     {[]fleet.Finding{found("A", "slow", 9, 9)}, "0 0 1 1, 1"},
		"too early and over":            {[]fleet.Finding{found("A", "slow", 8, 8), found("A", "slow", 8, 9, over)}, "0 0 1 0, 1"},
		"too early, then worse in time": {[]fleet.Finding{found("A", "slow", 9, 9), found("A", "slow", 9, 12, as(fleet.Fault))}, "1 0 0 0, 1"},
		"the same again is no telling":  {[]fleet.Finding{found("A", "slow", 9, 9), found("A", "slow", 9, 12)}, "0 0 1 1, 1"},
		"milder again is no telling":    {[]fleet.Finding{found("A", "slow", 9, 9, as(fleet.Fault)), found("A", "slow", 9, 12)}, "0 0 1 1, 1"},
		"another device":                {[]fleet.Finding{found("B", "slow", 12, 12)}, "0 0 1 0, 1"},
		"another rule":                  {[]fleet.Finding{found("A", "leak", 12, 12)}, "0 0 1 0, 1"},
		"too mild for the owner":        {[]fleet.Finding{found("A", "slow", 12, 12, as(fleet.Info))}, "0 0 1 0, 0"},
		"mild first, then in time":      {[]fleet.Finding{found("A", "slow", 12, 12, as(fleet.Info)), found("A", "slow", 12, 13)}, "1 0 0 0, 0"},
		"not for owners, and counts":    {[]fleet.Finding{found("A", "slow", 12, 12, of(fleet.KindExperience), as(fleet.Info))}, "1 0 0 0, 0"},
		"not for owners, and false":     {[]fleet.Finding{found("A", "leak", 12, 12, of(fleet.KindUsage))}, "0 0 1 0, 0"},
		"of the past, nobody hears":     {[]fleet.Finding{found("A", "slow", 12, 12, past)}, "0 0 1 0, 0"},
		"of the past, live in time":     {[]fleet.Finding{found("A", "slow", 12, 12, past), found("A", "slow", 12, 15)}, "1 0 0 0, 0"},
		"of the past, live too late":    {[]fleet.Finding{found("A", "slow", 12, 12, past), found("A", "slow", 12, 30)}, "0 1 0 0, 0"},
		"an end tells nothing":          {[]fleet.Finding{found("A", "slow", 12, 12, over)}, "0 0 1 0, 0"},
	} {
		t.Run(name, func(t *testing.T) {
			r := judged([]Condition{clog}, c.found...)
			k := r.Kinds[0]
			if got := fmt.Sprintf("%d %d %d %d, %d", k.Warned, k.Late, k.Missed, k.Early, r.False); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if r.All.Conditions != 1 || r.Signed.Warned != k.Warned || len(r.Missed) != 1-k.Warned {
				t.Errorf("groups: %+v %+v, missed %v", r.All, r.Signed, r.Missed)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	r := judged([]Condition{
		{Device: "A", Kind: "washer/clog", Onset: day(1), Failure: day(5), End: day(6)},
		{Device: "B", Kind: "washer/clog", Onset: day(1), Failure: day(9), End: day(9)},
		{Device: "C", Kind: "washer/clog", Onset: day(1), Failure: day(40)}, // not failed yet
		{Device: "A", Kind: "washer/leak", Onset: day(8), Failure: day(8), End: day(9), Abrupt: true},
		{Device: "B", Kind: "washer/cold", Onset: day(2), End: day(12)},
		{Device: "C", Kind: "washer/clog", Onset: day(11), End: day(12)}, // mended before
		{Device: "C", Kind: "service", Onset: day(12), End: day(12)},
		{Device: "A", Kind: "washer/caught", Onset: day(3), End: day(3.01)}, // while it clogs
		{Device: "D", Kind: "washer/caught", Onset: day(9), End: day(9.01)},
		{Device: "D", Kind: "washer/new", Onset: day(20), Failure: day(21)},
		{Device: "D", Kind: "washer/odd", Onset: day(2), Failure: day(3)},
		{Device: "E", Kind: "healthy/party", Onset: day(2), End: day(4)},
		{Device: "F", Kind: "healthy/party", Onset: day(2), End: day(4)},
	}, found("A", "slow", 2, 2), found("B", "slow", 3, 3), found("C", "slow", 3, 3), found("A", "leak", 8, 8),
		found("B", "habit", 5, 5, of(fleet.KindUsage), as(fleet.Info)), found("E", "slow", 3, 3), found("F", "slow", 5, 5),
		found("A", "blocked", 3, 3), found("D", "blocked", 9, 9))
	for _, c := range []struct {
		what string
		got  any
		want any
	}{
		{"kinds", len(r.Kinds), 4},
		{"clogs", fmt.Sprint(r.Kinds[0].Conditions, r.Kinds[0].Warned, r.Kinds[0].Share), "2 2 1"},
		{"lead", fmt.Sprintf("%.0f", r.Kinds[0].LeadHours), "[72 144 144]"},
		{"signed", fmt.Sprint(r.Signed.Warned, " of ", r.Signed.Conditions), "2 of 4"},
		{"wear and due", fmt.Sprint(r.Wear.Conditions, r.Due.Conditions, r.Due.Missed), "3 1 1"},
		{"abrupt", fmt.Sprint(r.Abrupt.Warned, r.Abrupt.Late, " of ", r.Abrupt.Conditions), "0 1 of 1"},
		{"all", fmt.Sprint(r.All.Warned, " of ", r.All.Conditions), "2 of 5"},
		{"habits", fmt.Sprint(r.Habits[0].Warned, " of ", r.Habits[0].Conditions), "1 of 1"},
		{"unfinished", fmt.Sprint(r.UnfinishedTold, " of ", r.Unfinished), "1 of 2"},
		{"false", fmt.Sprintf("%d %.3f", r.False, r.FalsePerUnit), "2 0.200"},
		{"mishaps", fmt.Sprintf("%d %.3f", r.Mishaps, r.MishapsPerUnit), "1 0.100"},
		{"oddity", fmt.Sprint(r.Oddities[0]), "{healthy/party 2 1 [slow]}"},
		{"unknown", fmt.Sprint(r.UnknownRules, r.RulesWithoutKind, r.KindsWithoutRule), "[gone] [idle] [washer/odd]"},
		{"first rule", fmt.Sprint(r.Rules[0].Rule, r.Rules[0].False, r.Rules[0].True, r.Rules[0].Devices), "slow2 3 2"},
		{"around", r.Rules[0].Examples[0].Around + "; " + r.Rules[0].Examples[1].Around, "during healthy/party; 24.0h after healthy/party"},
	} {
		if fmt.Sprint(c.got) != fmt.Sprint(c.want) {
			t.Errorf("%s: got %v, want %v", c.what, c.got, c.want)
		}
	}
	var b strings.Builder
	if err := r.Print(&b, true); err != nil || !strings.Contains(b.String(), "false to owners: 2, 0.2000 a device-month") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestMessages(t *testing.T) {
	in := Input{Span: Span{Devices: 1, From: t0, To: day(daysPerMonth)}, Map: testMap,
		Truth:    []Condition{{Device: "A", Kind: "washer/clog", Onset: day(10), Failure: day(20), End: day(22)}},
		Findings: []fleet.Finding{found("A", "slow", 5, 5), found("A", "slow", 5, 6, over), found("A", "slow", 12, 12)}}
	say := func(at float64, channel, state, detail string) Message {
		return Message{At: day(at), Device: "A", Problem: "slow", Channel: channel, State: state, Detail: detail}
	}
	in.Messages = []Message{say(5.1, "inbox", "sent", "opened"), say(5.1, "ntfy", "held", "opened: quiet"), say(5.4, "ntfy", "sent", "opened"), say(6.1, "inbox", "sent", "cleared"),
		say(12.1, "inbox", "sent", "opened"), say(12.1, "ntfy", "skipped", "opened: no"), say(1, "inbox", "sent", "opened")}
	got := *Judge(in).Messages
	if want := (Told{Problems: 3, AllClears: 1, Rings: 1, Held: 1, Skipped: 1, PerUnit: 3, False: 2, FalsePerUnit: 2}); fmt.Sprintf("%.6v", got) != fmt.Sprintf("%.6v", want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestReadFindings(t *testing.T) {
	line, _ := json.Marshal(found("A", "slow", 12, 12))
	report := `{"replay":{"devices":3,"from":"2026-01-05T00:00:00Z","to":"2026-01-06T00:00:00Z"}}`
	fs, s, err := ReadFindings(strings.NewReader(string(line) + "\n\n" + report + "\n"))
	if err != nil || len(fs) != 1 || fs[0].Rule != "slow" || !fs[0].Live || s.Devices != 3 {
		t.Errorf("%v %v %v", fs, s, err)
	}
	for text, want := range map[string]string{
		string(line):                          "not whole",
		report + "\n" + string(line):          "behind the report",
		`{"replay":{"devices":3}}`:            "nothing to judge",
		"{}\n{":                               "line 2",
		`{"severity":"very"}` + "\n" + report: "severity",
	} {
		if _, _, err := ReadFindings(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestReadTruth(t *testing.T) {
	cs, err := ReadTruth(strings.NewReader(`{"device":"A","model":"m","kind":"washer/clog","component":"pump","onset":"2026-01-05T00:00:00Z","failure":"2026-01-06T00:00:00Z","end":"2026-01-07T00:00:00Z","abrupt":true}`))
	if err != nil || len(cs) != 1 || !cs[0].Abrupt || cs[0].Component != "pump" || cs[0].Failure.IsZero() {
		t.Errorf("%+v %v", cs, err)
	}
	for _, text := range []string{`{}`, `{"device":"A","kind":"k"}`, `[]`, `{"device":"A","kind":"k","onset":"2026-01-05T00:00:00Z","failure":"2026-01-04T00:00:00Z"}`,
		`{"device":"A","kind":"k","onset":"2026-01-05T00:00:00Z","end":"2026-01-04T00:00:00Z"}`} {
		if _, err := ReadTruth(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func TestReadMap(t *testing.T) {
	m, err := ReadMap([]byte("faults:\n  washer/clog: [slow, blocked]\nhabits:\n  washer/cold: []\n"))
	if err != nil || !slices.Equal(m.of("washer/clog"), []string{"slow", "blocked"}) {
		t.Errorf("%v %v", m, err)
	}
	for _, text := range []string{"faults: {healthy/party: [slow]}", "faults: {a: b}", "- a", `habits: {a: [""]}`, "", "a: [b]", "faults: {a: [b]}\nhabits: {a: [b]}", "due: [a]"} {
		if _, err := ReadMap([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
