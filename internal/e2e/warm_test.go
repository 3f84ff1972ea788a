package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"aftercare/internal/history/embedded"
	"aftercare/internal/journal"
	"aftercare/internal/wire"
)

// pack writes a rule pack for one model into folder; each rule is an id and the rest of its YAML in flow style, without texts.
func pack(t testing.TB, folder, name, model string, rules ...string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "pack: %s\napplies: {models: [%s]}\nrules:\n", name, model)
	for i := 0; i < len(rules); i += 2 {
		fmt.Fprintf(&b, `  - {id: %s, %s, text: {
      en: {what: "{{.Thing}} has %[1]s.", why: It says so., otherwise: It waits., do: Wait., clear: "{{.Thing}} is fine."},
      de: {what: "{{.Thing}} hat %[1]s.", why: Es sagt es., otherwise: Es wartet., do: Warten., clear: "{{.Thing}} ist in Ordnung."}}}
`, rules[i], rules[i+1])
	}
	if err := os.WriteFile(filepath.Join(folder, name+".yaml"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// upload is 45 days of a washer, a reading every six hours, up to six hours ago: it was slow on three of the first days, and
// shakes since two days.
func upload(now time.Time) (payloads []string) {
	const days, each = 45, 4
	batch := make([]string, 0, 60)
	for i := range days * each {
		drain, vibration := 59.0, 1.0
		if i == 10 || i == 12 || i == 14 {
			drain = 71
		}
		if i >= (days-2)*each {
			vibration = 6
		}
		at := now.Add(time.Duration(i-days*each) * 6 * time.Hour)
		batch = append(batch, washed(at, i, drain, vibration))
		if len(batch) == 60 {
			payloads = append(payloads, fmt.Sprintf(`{"boot":1,"readings":[%s]}`, strings.Join(batch, ",")))
			batch = batch[:0]
		}
	}
	return payloads
}

// washed is one reading of a washer, which takes a litre a time.
func washed(at time.Time, seq int, drain, vibration float64) string {
	return fmt.Sprintf(`{"ts":%d,"boot":1,"seq":%d,"cycles":%d,"running":true,"drain_s":%g,"water_l":1,"vibration_mm_s":%g}`, at.UnixMilli(), seq, seq, drain, vibration)
}

// TestStateIsMadeFromHistory: all snapshots of the rules are lost, and the journal's readings with them. What the rules knew comes
// back from history: a window of 14 days, counters that go back further than any window, and an open episode, of which nothing is
// told a second time.
func TestStateIsMadeFromHistory(t *testing.T) {
	if !embedded.Available {
		t.Skip("SKIPPED: a slim build has no history of its own")
	}
	t.Parallel()
	dir, packs := t.TempDir(), t.TempDir()
	h := settle(t, dir, "WU", 1)
	pack(t, packs, "warm", "washer-w7",
		"warm-open", "kind: fault, severity: fault, when: vibration_mm_s > 5, clear: vibration_mm_s < 2",
		"warm-mean", `kind: fault, severity: due, when: 'count(drain_s, "14d") > 50 and avg(drain_s, "14d") > 60'`, // 59 so far, of 53 to 57 values
		"warm-total", "kind: fault, severity: due, when: total(water_l) > 182.5", // 181 so far
		"warm-starts", "kind: fault, severity: due, when: starts(drain_s > 70) > 3.5", // 3 so far, all of more than 30 days ago
		"warm-hours", "kind: fault, severity: due, when: hours(running) > 89.9 and drain_s > 70") // 90 so far: half an hour each, as long as a value lasts
	addr := freePort(t)
	args := []string{"--rules.dir", packs, "--history.embedded.listen", addr}
	p := start(t, dir, nil, args...)
	c := connect(t, p, "WU-001", h.secrets["WU-001"])
	now := time.Now()
	send := func(payload string) {
		t.Helper()
		p.reports(t, c, payload)
	}
	for _, payload := range upload(now) {
		send(payload)
	}
	send(washed(now.Add(-9*time.Minute), 200, 59, 6)) // of the present: from now on people are told
	eventually(t, 20*time.Second, func() error { return p.opened(t, "warm-open") })
	told := p.messagesOf(t, "warm-open", 1)
	db := database(t, dir, addr)
	eventually(t, 20*time.Second, func() error {
		if n := len(db.of("washer-w7", "WU-001")); n != 181 {
			return fmt.Errorf("%d readings in the database", n)
		}
		return hasValues(db.of("finding", "WU-001"), "revision", "0 1")
	})
	eventually(t, 20*time.Second, func() error { // what was counted is in history
		if n := len(db.of("counter", "WU-001")); n < 44 {
			return fmt.Errorf("%d days counted", n)
		}
		return nil
	})
	p.stop(t)
	loseRules(t, filepath.Join(dir, "journal"))

	p = start(t, dir, nil, args...)
	eventually(t, 20*time.Second, func() error {
		if n := strings.Count(p.log.String(), "the rules were made from history"); n != 4 {
			return fmt.Errorf("%d of 4 partitions were made from history\n%s", n, p.log)
		}
		return nil
	})
	if n := p.metric(t, "aftercare_rules_warmed_devices_total", ""); n != 1 {
		t.Errorf("%v devices made from history", n)
	}
	p.knowsAsBefore(t, h, db, now, told)
	p.stop(t)
}

// reports publishes readings of the washer.
func (p *process) reports(t *testing.T, c mqtt.Client, payload string) {
	t.Helper()
	if !publish(c, "WU-001", "telemetry", payload) {
		t.Fatalf("not acknowledged: %.100s\n%s", payload, p.log)
	}
}

// knowsAsBefore sends what only rules that know the past find something in, and ends the episode that was open.
func (p *process) knowsAsBefore(t *testing.T, h household, db influx, now time.Time, told []string) {
	t.Helper()
	c := connect(t, p, "WU-001", h.secrets["WU-001"])
	p.reports(t, c, washed(now, 201, 80, 6))
	eventually(t, 20*time.Second, func() error { return p.opened(t, "warm-hours warm-open warm-starts") })
	p.reports(t, c, washed(now.Add(time.Second), 202, 100, 6))
	eventually(t, 20*time.Second, func() error { return p.opened(t, "warm-hours warm-mean warm-open warm-starts warm-total") })
	if again := p.messagesOf(t, "warm-open", 1); !slices.Equal(again, told) {
		t.Errorf("what was told before, %v, is now %v", told, again)
	}
	p.reports(t, c, washed(now.Add(2*time.Second), 203, 80, 1))
	eventually(t, 20*time.Second, func() error { return p.opened(t, "warm-hours warm-mean warm-starts warm-total") })
	eventually(t, 20*time.Second, func() error {
		var open []map[string]any
		for _, row := range db.of("finding", "WU-001") {
			if row["rule"] == "warm-open" {
				open = append(open, row)
			}
		}
		for _, row := range open {
			if row["id"] != open[0]["id"] {
				t.Fatalf("two episodes of one fault: %v", open)
			}
		}
		return hasValues(open, "phase", "opened updated cleared")
	})
	if again := p.messagesOf(t, "warm-open", 2); len(again) != 2 || !slices.Contains(again, told[0]) { // and that it is over
		t.Errorf("%v was told before, now %v", told, again)
	}
}

// opened reports whether there are open cases of these rules and no others, one of each, which never were resolved.
func (p *process) opened(t *testing.T, rules string) error {
	t.Helper()
	cases := list(t, p, "/cases?limit=1000")
	got := make([]string, 0, len(cases))
	for _, c := range cases {
		got = append(got, fmt.Sprint(c["rule"]))
	}
	slices.Sort(got)
	if s := strings.Join(got, " "); s != rules {
		return fmt.Errorf("open cases of %q, want %q\n%s", s, rules, p.log)
	}
	return nil
}

// messagesOf returns the ids of what was told about the one case there ever was of a rule, once it is at least so much.
func (p *process) messagesOf(t *testing.T, rule string, least int) (ids []string) {
	t.Helper()
	var of []any
	for _, c := range list(t, p, "/cases?state=all&limit=1000") {
		if c["rule"] == rule {
			of = append(of, c["id"])
			if c["count"] != 1.0 {
				t.Errorf("%v episodes of %s", c["count"], rule)
			}
		}
	}
	if len(of) != 1 {
		t.Fatalf("%d cases of %s", len(of), rule)
	}
	eventually(t, 20*time.Second, func() error {
		ids = ids[:0]
		for _, m := range list(t, p, "/messages?limit=1000") {
			if m["case_id"] == of[0] {
				ids = append(ids, fmt.Sprint(m["id"]))
			}
		}
		if len(ids) < least {
			return errNotYet
		}
		return nil
	})
	slices.Sort(ids)
	return ids
}

// loseRules removes all snapshots of the rules from a stopped server's journal, and the readings that everybody has read.
func loseRules(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	j, closed := opened(t, dir)
	defer closed()
	keys, err := j.SnapshotKeys(ctx, "rules.")
	if err != nil || len(keys) < 4 {
		t.Fatalf("snapshots %v: %v", keys, err)
	}
	for _, key := range keys {
		if err := j.DeleteSnapshot(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := j.Trim(ctx, time.Now().Add(journal.DefaultConfig().Keep+time.Hour)); err != nil { // as if they had lain there for long
		t.Fatal(err)
	}
	left, err := j.Scan(ctx, wire.Readings, 0, 1000)
	if first, _, err2 := j.First(ctx, wire.Readings); err != nil || err2 != nil || first < 5 {
		t.Fatalf("%d records are left, from %d on: %v, %v", len(left), first, err, err2)
	}
	for i := range left { // what came last may have been too new for everybody to have read it
		if body := string(left[i].Body); left[i].Kind == wire.KindReadings && strings.Contains(body, "drain_s") && !strings.Contains(body, "seq=200i") {
			t.Fatalf("readings of the past are left: %s", body)
		}
	}
}
