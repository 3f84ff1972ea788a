package e2e

import (
	"encoding/json"
	"fmt"
	"html"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// aside is what the API shows of a payload in quarantine.
type aside struct {
	At                                       time.Time
	Serial, Model, Firmware, Reason, Payload string
	Detail                                   string
}

func (p *process) quarantined(t testing.TB) []aside {
	t.Helper()
	var answer struct{ Quarantined []aside }
	p.api(t, "/quarantine", &answer)
	return answer.Quarantined
}

// TestMendedProfile: a mistake in a model's profile puts reports aside. They are listed with reason, firmware and bytes, by API, command line
// and page; when the profile is mended they are tried again: stored with the time they came or were made, and gone from quarantine, while
// what is bad in itself stays. (SEC-08, REL-12)
func TestMendedProfile(t *testing.T) {
	t.Parallel()
	dir, models := t.TempDir(), filepath.Join(t.TempDir(), "models")
	shipped(t, "models", models)
	profile := filepath.Join(models, "washer-w7.yaml")
	right := read(t, profile)
	write(t, profile, strings.Replace(right, "power_w: {type: float, unit: W, min: 0, max: 3000,", "power_w: {type: float, unit: W, min: 0, max: 300,", 1))
	h := settle(t, dir, "MP", 1)
	addr := freePort(t)
	args := []string{"--history.embedded.listen", addr, "--models", models}
	p := start(t, dir, nil, args...)
	c := connect(t, p, "MP-001", h.secrets["MP-001"])
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	send := func(class, payload string) {
		t.Helper()
		if !publish(c, "MP-001", class, payload) {
			t.Fatalf("not acknowledged: %s", payload)
		}
	}
	reading := func(seq int, watts float64) string {
		return fmt.Sprintf(`{"ts":%d,"boot":1,"seq":%d,"cycles":1,"power_w":%v}`, at.Add(time.Duration(seq)*time.Second).UnixMilli(), seq, watts)
	}
	send("status", `{"online":true,"firmware":"1.2.3"}`)
	send("telemetry", reading(1, 200))
	send("telemetry", reading(2, 2000))
	send("telemetry", "["+reading(3, 100)+","+reading(4, 2100)+","+reading(5, 2200)+"]")
	send("telemetry", `{"boot":1,"seq":6,"cycles":1,"power_w":1500}`) // its time is the one it came
	send("telemetry", `{"cycles":`)

	list := p.quarantined(t)
	if len(list) != 5 || list[0].Reason != "syntax" || list[4].Reason != "range" || list[4].Firmware != "1.2.3" || !strings.Contains(list[4].Detail, "power_w") {
		t.Fatalf("put aside: %+v", list)
	}
	came := list[1].At
	if time.Since(came) > time.Minute {
		t.Errorf("the report without a time came at %v", came)
	}
	db := database(t, dir, addr)
	eventually(t, 15*time.Second, func() error { return hasValues(db.of("washer-w7", "MP-001"), "seq", "1 3") })
	p.shows(t, "A value is outside what is possible", "MP-001", "1.2.3")
	if out := p.must(t, "quarantine", "list", "--reason", "range", "--payload"); strings.Count(out, "MP-001") != 4 || !strings.Contains(out, `2000`) || strings.Contains(out, "syntax") {
		t.Errorf("quarantine list:\n%s", out)
	}
	if out := p.must(t, "quarantine", "retry"); !strings.Contains(out, "stored 0, still bad 5") {
		t.Errorf("retry before the profile is mended: %s", out)
	}
	p.conserved(t)
	p.stop(t)

	write(t, profile, right)
	p = start(t, dir, nil, args...)
	p.reported(t)
	if out := p.must(t, "quarantine", "retry", "--model", "washer-w7", "--since", "2h"); !strings.Contains(out, "stored 4, still bad 1, not tried 0") {
		t.Errorf("retry: %s", out)
	}
	if list = p.quarantined(t); len(list) != 1 || list[0].Reason != "syntax" {
		t.Errorf("still put aside: %+v", list)
	}
	if _, page := p.get(t, "/quarantine?lang=en&reason=range"); strings.Contains(html.UnescapeString(page), "seq\":2,") {
		t.Error("the page still shows what was stored")
	}
	eventually(t, 15*time.Second, func() error {
		rows := db.of("washer-w7", "MP-001")
		if err := hasValues(rows, "seq", "1 2 3 4 5 6"); err != nil {
			return err
		}
		return hasValues(rows, "power_w", "200 2000 100 2100 2200 1500")
	})
	for i, row := range db.of("washer-w7", "MP-001") {
		ns, _ := row["time"].(json.Number).Int64()
		want := at.Add(time.Duration(i+1) * time.Second)
		if i == 5 {
			want = came
		}
		if got := time.Unix(0, ns); got.UnixMilli() != want.UnixMilli() {
			t.Errorf("reading %d is stored at %v, want %v", i+1, got, want)
		}
	}
	if out := p.must(t, "quarantine", "retry"); !strings.Contains(out, "stored 0, still bad 1") {
		t.Errorf("retry again: %s", out)
	}
	p.conserved(t)
}

// reported asserts that the report of payload quality names the firmware and the field, by command line and API.
func (p *process) reported(t *testing.T) {
	t.Helper()
	var answer struct {
		Quality []struct {
			Model, Firmware, Reason, Field string
			N                              int64
		}
	}
	p.api(t, "/quality", &answer)
	var bad, all int64
	for _, q := range answer.Quality {
		switch {
		case q.Model == "washer-w7" && q.Firmware == "1.2.3" && q.Reason == "range" && q.Field == "power_w":
			bad += q.N
		case q.Model == "washer-w7" && q.Firmware == "1.2.3" && q.Reason == "":
			all += q.N
		}
	}
	if bad != 4 || all < 7 {
		t.Errorf("the report: %d of %d out of range: %+v", bad, all, answer.Quality)
	}
	out := p.must(t, "quarantine", "report", "--model", "washer-w7")
	for line := range strings.Lines(out) {
		if w := strings.Fields(line); len(w) > 5 && w[1] == "1.2.3" && w[3] == "4" && w[4] == "range" && w[5] == "power_w" {
			return
		}
	}
	t.Errorf("quarantine report:\n%s", out)
}
