package outreach

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"aftercare/internal/fleet"
)

func someplan(change func(*plan)) *plan {
	c := DefaultConfig()
	berlin, _ := time.LoadLocation("Europe/Berlin")
	p := &plan{config: &c, zone: berlin, zoneHers: true, known: []string{"ntfy", "webhook"}, now: time.Date(2025, 11, 21, 12, 0, 0, 0, time.UTC),
		row:    fleet.OutboxRow{ID: "msg-1", Kind: fleet.OutboxMessage, Tenant: "demo", CaseID: "case-1", Topic: "opened"},
		kase:   &fleet.Case{ID: "case-1", State: fleet.CaseNew, Kind: fleet.KindMaintenance, Severity: fleet.Due},
		device: &fleet.Device{Key: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, OwnerID: "anna"},
		person: &fleet.Person{ID: "anna", Tenant: "demo", Zone: "Europe/Berlin", Endpoints: []fleet.Endpoint{
			{Channel: "ntfy", Address: "https://ntfy.example/t"}, {Channel: "webhook", Address: "https://hook.example/"}, {Channel: "pigeon", Address: "loft"}}}}
	if change != nil {
		change(p)
	}
	return p
}

func ntfyRow(p *plan) {
	p.row.Channel, p.row.PersonID, p.target.Address = "ntfy", "anna", "https://ntfy.example/t"
}

// heard is a case's inbox messages to Anna, and one to the phone that was left out.
func heard(events ...string) (out []fleet.Delivery) {
	for i, e := range events {
		at := time.Date(2025, 11, 20, 12+i, 0, 0, 0, time.UTC)
		out = append(out, fleet.Delivery{OutboxID: e, PersonID: "anna", Channel: "inbox", Topic: e, State: "sent", At: at})
	}
	for _, c := range []string{"ntfy", "webhook"} {
		for _, e := range events {
			out = append(out, fleet.Delivery{OutboxID: e + c, PersonID: "anna", Channel: c, Topic: e, State: "sent"})
		}
	}
	return out
}

func TestDecide(t *testing.T) {
	night := time.Date(2025, 11, 21, 22, 30, 0, 0, time.UTC) // 23:30 in Berlin
	told := fleet.Delivery{OutboxID: "msg-0", PersonID: "anna", Channel: "inbox", Topic: "opened", State: "sent"}
	cases := []struct {
		name   string
		change func(*plan)
		want   verdict
		reason string
	}{
		{"opened", nil, proceed, ""},
		{"escalated", func(p *plan) { p.row.Topic = "escalated" }, proceed, ""},
		{"an agent has it", func(p *plan) { p.kase.State = fleet.CaseAcked }, proceed, ""},
		{"no case", func(p *plan) { p.kase = nil }, skip, "does not exist"},
		{"over", func(p *plan) { p.kase.State = fleet.CaseResolved }, skip, "resolved before"},
		{"reminder of a case that somebody has, its condition over", func(p *plan) {
			p.row.Topic, p.kase.State = "reminder", fleet.CaseWaiting
			p.kase.Episodes = []fleet.Episode{{FindingID: "f1", OpenedAt: p.now.Add(-time.Hour), ClearedAt: p.now}}
		}, skip, "its condition was over"},
		{"one of two episodes over", func(p *plan) {
			p.kase.Episodes = []fleet.Episode{{FindingID: "f1", OpenedAt: p.now.Add(-time.Hour), ClearedAt: p.now}, {FindingID: "f2", OpenedAt: p.now}}
		}, proceed, ""},
		{"strange topic", func(p *plan) { p.row.Topic = "sung" }, skip, `"sung"`},
		{"cleared", func(p *plan) {
			p.row.Topic, p.kase.State, p.before = "cleared", fleet.CaseResolved, []fleet.Delivery{told}
		}, proceed, ""},
		{"cleared, back", func(p *plan) { p.row.Topic, p.before = "cleared", []fleet.Delivery{told} }, skip, "is back"},
		{"cleared, back in a newer case", func(p *plan) {
			p.row.Topic, p.kase.State, p.before, p.back = "cleared", fleet.CaseClosed, []fleet.Delivery{told}, true
		}, skip, "is back"},
		{"cleared, told that before", func(p *plan) {
			p.row.Topic, p.kase.State, p.before = "cleared", fleet.CaseResolved, heard("opened", "cleared")
		}, skip, "since the last all-clear"},
		{"cleared, nobody told", func(p *plan) { p.row.Topic, p.kase.State = "cleared", fleet.CaseResolved }, skip, "nobody was told"},
		{"cleared, told elsewhere", func(p *plan) {
			ntfyRow(p)
			p.row.Topic, p.kase.State, p.before = "cleared", fleet.CaseResolved, []fleet.Delivery{told}
		}, skip, "nobody was told"},
		{"back, told that it was over", func(p *plan) {
			p.row.Ref, p.kase.Severity, p.before = fleet.RefBack, fleet.Fault, heard("opened", "cleared")
		}, proceed, ""},
		{"back, mild, told before", func(p *plan) { p.row.Ref, p.before = fleet.RefBack, heard("opened", "cleared") }, skip, "no fault"},
		{"back, its all-clear never left", func(p *plan) {
			p.row.Ref, p.kase.Severity, p.before = fleet.RefBack, fleet.Danger, heard("opened")
		}, skip, "no all-clear has left since"},
		{"back, its first message never left", func(p *plan) { p.row.Ref = fleet.RefBack }, proceed, ""},
		{"back, told in the inbox only", func(p *plan) {
			ntfyRow(p)
			p.row.Ref, p.before = fleet.RefBack, heard("opened", "cleared")[:1]
		}, proceed, ""},
		{"no device", func(p *plan) { p.device = nil }, skip, "not registered"},
		{"no owner", func(p *plan) { p.device.OwnerID = "" }, skip, "no owner"},
		{"owner not known", func(p *plan) { p.person = nil }, skip, "not known"},
		{"sold", func(p *plan) { p.row.PersonID, p.person = "bert", &fleet.Person{ID: "bert"} }, skip, "does not own"},
		{"ntfy by day", ntfyRow, proceed, ""},
		{"address gone", func(p *plan) { ntfyRow(p); p.target.Address = "https://old.example/" }, skip, "does not use"},
		{"channel not set up", func(p *plan) { ntfyRow(p); p.known = nil }, skip, "not set up"},
		{"ntfy by night", func(p *plan) { ntfyRow(p); p.now = night }, hold, "quiet hours until 07:00"},
		{"fault by night", func(p *plan) { ntfyRow(p); p.now = night; p.kase.Severity = fleet.Fault }, hold, "quiet hours until 07:00"},
		{"safety by night", func(p *plan) { ntfyRow(p); p.now = night; p.kase.Kind = fleet.KindSafety }, proceed, ""},
		{"inbox by night", func(p *plan) { p.now = night }, proceed, ""},
		{"webhook by night", func(p *plan) {
			p.row.Channel, p.target.Address, p.now = "webhook", "https://hook.example/", night
		}, hold, "quiet"},
		{"a channel that does not ring, by night", func(p *plan) { ntfyRow(p); p.now = night; p.config.QuietChannels = nil }, proceed, ""},
		{"night elsewhere", func(p *plan) { ntfyRow(p); p.now = night; p.zone = time.FixedZone("New York", -5*3600) }, proceed, ""},
		{"zone not known", func(p *plan) { ntfyRow(p); p.now = night; p.zoneHers = false }, hold, "her own is not known"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := someplan(c.change)
			got, reason := p.decide()
			if got != c.want || !strings.Contains(reason, c.reason) || (reason == "") != (c.want == proceed) {
				t.Errorf("decide() = %d %q, want %d with %q", got, reason, c.want, c.reason)
			}
		})
	}
}

// TestRows: danger and news of an end go to all endpoints at once, the rest to the first; the same decision makes the same rows.
func TestRows(t *testing.T) {
	channels := func(change func(*plan)) (out []string) {
		p := someplan(change)
		p.decide()
		again := someplan(change)
		again.decide()
		for i, r := range p.spread() {
			if r.ID != again.spread()[i].ID || r.PersonID != "anna" || strings.Contains(string(r.Body), "secret") {
				t.Errorf("row %+v", r)
			}
			out = append(out, r.Channel)
		}
		return out
	}
	same := func(got, want []string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	same(channels(nil), []string{"ntfy"})
	same(channels(func(p *plan) { p.kase.Kind = fleet.KindSafety }), []string{"ntfy", "webhook"})
	same(channels(func(p *plan) {
		p.row.Topic, p.kase.State, p.before = "cleared", fleet.CaseResolved, heard("opened")
	}), []string{"ntfy", "webhook"})
	same(channels(func(p *plan) {
		p.person.Preferences = []fleet.Preference{{Topic: fleet.TopicMaintenance, Channel: "ntfy", Want: fleet.WantNever}}
	}), []string{"webhook"})
	same(channels(func(p *plan) { p.person.Endpoints = nil }), nil)
}

func TestQuietUntil(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		tm, err := time.ParseInLocation("2006-01-02 15:04", s, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return tm
	}
	for _, c := range []struct{ now, until string }{
		{"2025-11-21 20:59", ""}, {"2025-11-21 21:00", "2025-11-22 07:00"}, {"2025-12-31 23:59", "2026-01-01 07:00"},
		{"2025-11-22 06:59", "2025-11-22 07:00"}, {"2025-11-22 07:00", ""},
		{"2025-10-25 22:00", "2025-10-26 07:00"}, // the night is an hour longer
		{"2026-03-28 22:00", "2026-03-29 07:00"}, // and shorter
	} {
		until, quiet := quietUntil(at(c.now), 21, 7)
		if quiet != (c.until != "") || quiet && !until.Equal(at(c.until)) {
			t.Errorf("%s: %v %v, want %s", c.now, until, quiet, c.until)
		}
	}
	if _, quiet := quietUntil(at("2025-11-21 03:00"), 7, 7); quiet {
		t.Error("equal hours mean never")
	}
	if until, quiet := quietUntil(at("2025-11-21 13:30"), 13, 15); !quiet || until.Hour() != 15 || until.Day() != 21 {
		t.Error("hours within a day")
	}
}

func TestNextTry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.String().Draw(t, "id")
		tries := rapid.IntRange(0, 30).Draw(t, "tries")
		age := time.Duration(rapid.Int64Range(0, int64(200*time.Hour)).Draw(t, "age"))
		after := time.Duration(rapid.Int64Range(0, int64(maxRetryAfter)).Draw(t, "after"))
		wait, more := nextTry(id, tries, age, after)
		again, _ := nextTry(id, tries, age, after)
		switch {
		case more != (tries <= 9 || age < scheduleSpan/2):
			t.Errorf("more = %v", more)
		case !more:
		case wait != again:
			t.Errorf("%v and %v for the same try", wait, again)
		case wait < after:
			t.Errorf("%v, the receiver asked for %v", wait, after)
		case wait < 4*time.Second || wait > 29*time.Hour:
			t.Errorf("wait %v", wait)
		}
	})
}

// TestScheduleLastsForDays (REL-11).
func TestScheduleLastsForDays(t *testing.T) {
	var age time.Duration
	tries := 1
	for ; ; tries++ {
		wait, more := nextTry("dlv-1", tries, age, 0)
		if !more {
			break
		}
		age += wait
	}
	if tries != 10 || age < 60*time.Hour || age > 91*time.Hour {
		t.Errorf("given up after %d tries and %v, want 10 in about three days", tries, age)
	}
}

// TestStatus (REL-11): what each answer means, and how long Retry-After is honoured.
func TestStatus(t *testing.T) {
	now := time.Date(2025, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		code  int
		retry string
		want  string
		wish  time.Duration
	}{
		{200, "", "", 0}, {204, "", "", 0}, {301, "", "never", 0}, {307, "", "never", 0}, {100, "", "never", 0}, {400, "", "never", 0}, {413, "", "never", 0},
		{401, "", "again", 0}, {403, "", "again", 0}, {404, "", "again", 0}, {408, "", "again", 0}, {410, "", "gone", 0},
		{429, "120", "again", 2 * time.Minute}, {503, "Fri, 21 Nov 2025 12:05:00 GMT", "again", 5 * time.Minute},
		{429, "-5", "again", 0}, {429, "soon", "again", 0}, {429, "99999999", "again", maxRetryAfter}, {500, "", "again", 0}, {599, "", "again", 0},
	} {
		err := Status(c.code, c.retry, now)
		if Failed(err) != c.want || Wish(err) != c.wish {
			t.Errorf("Status(%d, %q) is %q after %v, want %q after %v", c.code, c.retry, Failed(err), Wish(err), c.want, c.wish)
		}
	}
	if Failed(errors.New("anything")) != "again" {
		t.Error("an error without a class may pass")
	}
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	err := Config{QuietFrom: 24, Lease: time.Second}.Validate()
	for _, want := range []string{"outreach.poll 0s", "outreach.batch 0", "outreach.lease 1s", "outreach.quiet_from 24", "outreach.workers 0", "outreach.queue 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want it to name %q", err, want)
		}
	}
}
