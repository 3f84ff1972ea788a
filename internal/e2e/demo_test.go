package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestDemo is `make run` as a visitor sees it: a fleet with a past, cases, messages that arrive while one looks, nothing that is
// reachable from elsewhere, an end on the first Ctrl-C, and a second start that goes on. (SEC-01, SEC-18, SEC-22, REL-08)
func TestDemo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	began := time.Now()
	admin := freePort(t)
	p := demo(t, dir, "--log.admin", admin)
	desk, owner := p.follow(t, "/live"), p.follow(t, "/live?person=owner-001")
	visitorSees(t, p, began, desk, owner)
	historyWithoutMessage(t, p, began)
	guarded(t, p, admin)
	onlyLoopback(t, p)
	secretsKept(t, dir, p)
	cases, messages := list(t, p, "/cases?state=all&limit=1000"), list(t, p, "/messages?limit=1000")
	p.endsAtOnce(t)

	again := time.Now()
	p = demo(t, dir)
	goesOn(t, p, again, cases, messages)
	historyWithoutMessage(t, p, began) // nor was anybody told later
	p.endsAtOnce(t)
}

// TestDemoSecretsAreItsOwn: nothing that opens anything is the same in two installations; and Ctrl-C ends a demo that is still
// uploading its past, too. (SEC-01)
func TestDemoSecretsAreItsOwn(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "data")
	for _, dir := range []string{first, second} {
		p := demo(t, dir)
		eventually(t, 20*time.Second, func() error { // the upload is on
			if p.metric(t, "aftercare_readings_stored_total", "") < 1000 {
				return errNotYet
			}
			return nil
		})
		p.endsAtOnce(t)
	}
	for _, name := range []string{"link.token", "registry.key", "influxdb/token"} {
		if a, b := read(t, filepath.Join(first, name)), read(t, filepath.Join(second, name)); a == b {
			t.Errorf("%s is the same in two installations", name)
		} else if len(strings.TrimSpace(a)) < 16 {
			t.Errorf("%s holds %d bytes only", name, len(a))
		}
	}
	seen := map[string]string{}
	for _, dir := range []string{first, second} {
		for serial, secret := range deviceSecrets(t, dir) {
			if other, twice := seen[secret]; twice {
				t.Errorf("%s and %s have the same secret", serial, other)
			}
			if seen[secret] = serial; len(secret) < 22 { // 128 bits in base 64
				t.Errorf("the secret of %s has %d characters", serial, len(secret))
			}
		}
	}
	if len(seen) < 400-2*60 { // tools speak through their base stations
		t.Errorf("%d secrets in two fleets", len(seen))
	}
}

// demo runs `aftercare demo` with its data in dir on free ports.
func demo(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	line := append([]string{program(t, "aftercare"), "demo", "--data", dir, "--owner.listen", "127.0.0.1:0", "--web.listen", "127.0.0.1:0", "--gateway.listen", "127.0.0.1:0"}, args...)
	return launch(t, dir, line)
}

// endsAtOnce presses Ctrl-C once: server and simulator end within 5 s and leave nobody behind.
func (p *process) endsAtOnce(t *testing.T) {
	t.Helper()
	if took := p.stop(t); took > 5*time.Second {
		t.Errorf("stopping took %v\n%s", took, p.log)
	}
	for _, pid := range groupMembers(t, p.cmd.Process.Pid) {
		t.Errorf("process %d (%s) is still there", pid, commandLine(pid))
	}
}

// visitorSees waits for what a visitor is promised within 60 s of the start.
func visitorSees(t *testing.T, p *process, began time.Time, desk, owner *feed) {
	t.Helper()
	left := func() time.Duration { return max(time.Until(began.Add(60*time.Second)), time.Millisecond) }
	var fleet struct {
		Devices    int
		Categories map[string]int
	}
	if p.api(t, "/fleet", &fleet); fleet.Devices < 200 || len(fleet.Categories) < 6 {
		t.Errorf("the fleet: %+v", fleet)
	}
	eventually(t, left(), func() error {
		_, page := p.get(t, "/?lang=en")
		open := list(t, p, "/cases?limit=1000")
		for _, kind := range []string{"fault", "maintenance", "safety"} {
			ofKind := slices.DeleteFunc(slices.Clone(open), func(c map[string]any) bool { return c["kind"] != kind })
			if len(ofKind) == 0 {
				return fmt.Errorf("no open case of kind %s", kind)
			}
			if !slices.ContainsFunc(ofKind, func(c map[string]any) bool { return strings.Contains(page, fmt.Sprintf("/cases/demo/%s", c["id"])) }) {
				return fmt.Errorf("no case of kind %s on the first page", kind)
			}
		}
		return nil
	})
	eventually(t, left(), func() error {
		_, page := p.get(t, "/people/demo/owner-001")
		page = html.UnescapeString(page)
		for _, m := range list(t, p, "/messages?limit=1000") {
			if title, _ := m["title"].(string); m["person"] == "owner-001" && title != "" && strings.Contains(page, title) {
				return nil
			}
		}
		return errors.New("no message on the page of owner-001")
	})
	for name, f := range map[string]*feed{"the desk": desk, "owner-001": owner} {
		eventually(t, left(), func() error {
			if f.has(func(e liveEvent) bool { return e.Type == "message" && e.Action == "sent" && e.Case != "" }) {
				return nil
			}
			return fmt.Errorf("no message over the live feed of %s: %v", name, f.all())
		})
	}
	if owner.has(func(e liveEvent) bool { return e.Type == "message" && e.Person != "owner-001" }) {
		t.Errorf("the feed of owner-001 tells of others' messages: %v", owner.all())
	}
	seen := time.Since(began)
	caughtUp(t, p, left())
	t.Logf("a visitor has seen everything after %v, the past of %v readings was uploaded after %v", seen.Round(100*time.Millisecond),
		p.metric(t, "aftercare_readings_stored_total", ""), time.Since(began).Round(100*time.Millisecond))
	if n := p.metric(t, "aftercare_readings_stored_total", ""); n < 200_000 { // 200 devices, 14 days, most report each 10 minutes
		t.Errorf("a past of %v readings is not a fortnight's", n)
	}
}

// historyWithoutMessage: what was over before the upload ended is history of cases; nobody was told.
func historyWithoutMessage(t *testing.T, p *process, began time.Time) {
	t.Helper()
	over := 0
	for _, c := range list(t, p, "/cases?state=resolved&limit=1000") {
		var d struct {
			Episodes []struct {
				ClearedAt time.Time `json:"cleared_at"`
			}
			Deliveries []map[string]any
		}
		p.api(t, fmt.Sprintf("/cases/demo/%s", c["id"]), &d)
		if len(d.Episodes) == 0 || !d.Episodes[len(d.Episodes)-1].ClearedAt.Before(began) {
			continue
		}
		over++
		if len(d.Deliveries) > 0 {
			t.Errorf("case %s of %s was over before the demo began, but somebody was told: %v", c["id"], c["serial"], d.Deliveries)
		}
	}
	if over == 0 {
		t.Error("there is no case that was over before")
	}
}

// goesOn asserts that a second start has what the first had, uploads no second past and tells nobody anything twice.
func goesOn(t *testing.T, p *process, again time.Time, cases, messages []map[string]any) {
	t.Helper()
	caughtUp(t, p, 30*time.Second)
	if n := p.metric(t, "aftercare_readings_stored_total", ""); n > 5000 {
		t.Errorf("the second start stored %v readings: it uploaded its past again", n)
	}
	now := map[string]map[string]any{}
	for _, c := range list(t, p, "/cases?state=all&limit=1000") {
		now[fmt.Sprint(c["id"])] = c
	}
	for _, c := range cases {
		id := fmt.Sprint(c["id"])
		if now[id] == nil {
			t.Errorf("case %s of %s is gone", id, c["serial"])
		}
		delete(now, id)
	}
	for id, c := range now { // the faults go on, too: something may have happened since
		if at, err := time.Parse(time.RFC3339, fmt.Sprint(c["opened_at"])); err != nil || at.Before(again.Add(-time.Minute)) {
			t.Errorf("case %s is new, but of before: %v", id, c)
		}
	}
	told := map[string]bool{}
	ids := map[any]bool{}
	for _, m := range list(t, p, "/messages?limit=1000") {
		ids[m["id"]] = true
		key := fmt.Sprintf("%s of case %s to %s", m["topic"], m["case_id"], m["person"])
		if told[key] {
			t.Errorf("told twice: %s", key)
		}
		told[key] = true
	}
	for _, m := range messages {
		if !ids[m["id"]] {
			t.Errorf("message %v is gone", m)
		}
	}
}

// caughtUp waits until the simulator says that all devices have uploaded what they had stored.
func caughtUp(t *testing.T, p *process, within time.Duration) {
	t.Helper()
	eventually(t, within, func() error {
		if !strings.Contains(p.log.String(), "Live from now on") {
			return fmt.Errorf("the simulator has not caught up\n%s", p.log)
		}
		return nil
	})
}

// guarded goes round the house and tries the doors.
func guarded(t *testing.T, p *process, admin string) {
	t.Helper()
	ask := func(method, url string, header map[string]string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			req.Header.Set(k, v)
		}
		req.Host = header["Host"]
		resp, err := noRedirect.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	want := func(code int, method, url string, header map[string]string) {
		t.Helper()
		if got := ask(method, url, header); got != code {
			t.Errorf("%s %s with %v: %d, want %d", method, url, header, got, code)
		}
	}
	key := "Bearer " + p.token
	id := fmt.Sprint(list(t, p, "/cases?state=all")[0]["id"])
	for _, path := range []string{"/", "/devices", "/cases", "/cases/demo/" + id, "/people/demo/owner-001", "/messages", "/quarantine", "/live",
		"/api/v1/cases", "/api/v1/messages", "/api/v1/openapi.json"} {
		want(401, "GET", p.web+path, nil)
		want(401, "GET", p.web+path, map[string]string{"Authorization": "Bearer wrong"})
		want(421, "GET", p.web+path, map[string]string{"Authorization": key, "Host": "evil.example"})
	}
	want(401, "GET", p.web+"/?token=wrong", nil)
	want(303, "GET", p.web+"/?token="+p.token, nil)
	for _, path := range []string{"/cases/demo/" + id + "/acknowledge", "/api/v1/cases/demo/" + id + "/acknowledge"} {
		want(401, "POST", p.web+path, map[string]string{"Origin": p.web})
		for _, foreign := range []map[string]string{{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}} {
			foreign["Authorization"] = key
			want(403, "POST", p.web+path, foreign)
		}
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		want(200, "GET", p.web+path, nil)
		want(421, "GET", p.web+path, map[string]string{"Host": "evil.example"})
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/vars"} {
		want(404, "GET", p.web+path, map[string]string{"Authorization": key})
		want(401, "GET", p.web+path, nil)
	}
	want(200, "GET", "http://"+admin+"/debug/pprof/", nil)
	want(404, "GET", "http://"+admin+"/metrics", nil)
}

var noRedirect = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// secretsKept: what opens something is for its owner's eyes only, and lies nowhere else.
func secretsKept(t *testing.T, dir string, p *process) {
	t.Helper()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the data folder: %v, %v", info.Mode(), err)
	}
	for _, name := range []string{"demo-fleet.json", "link.token", "registry.key", "influxdb/token", "aftercare.db"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: want mode 0600: %v, %v", name, info, err)
		}
	}
	secrets := []string{p.token}
	for _, s := range deviceSecrets(t, dir) {
		if secrets = append(secrets, s); len(secrets) == 5 {
			break
		}
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "demo-fleet.json" || d.Name() == "link.token" {
			return ignoreGone(err)
		}
		text, err := os.ReadFile(path)
		for _, s := range secrets {
			if strings.Contains(string(text), s) {
				t.Errorf("%s holds a secret in the clear", path)
			}
		}
		return ignoreGone(err)
	})
	if err != nil {
		t.Error(err)
	}
	for _, s := range secrets[1:] {
		if strings.Contains(p.log.String(), s) {
			t.Error("the output holds a device's secret")
		}
	}
}

// ignoreGone: the server is running, its files come and go.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// deviceSecrets reads what the simulator is given: secrets by serial.
func deviceSecrets(t *testing.T, dir string) map[string]string {
	t.Helper()
	var f struct {
		Devices []struct{ Serial, Secret string }
	}
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "demo-fleet.json"))), &f); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, d := range f.Devices {
		if d.Secret != "" {
			out[d.Serial] = d.Secret
		}
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// liveEvent is what a page is told.
type liveEvent struct{ Type, Action, Device, Case, Person string }

// feed is an open page: it hears what happens.
type feed struct {
	mu     sync.Mutex
	events []liveEvent
}

// follow opens a live feed until the test ends.
func (p *process) follow(t *testing.T, path string) *feed {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.web+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	opened, f := make(chan error), &feed{}
	go func() {
		defer close(done)
		f.read(req, opened)
	}()
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
	return f
}

// read does the request, says on opened how it began and takes what comes until the end.
func (f *feed) read(req *http.Request, opened chan<- error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		opened <- err
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		opened <- fmt.Errorf("%s: %s, %s", req.URL.Path, resp.Status, resp.Header.Get("Content-Type"))
		return
	}
	opened <- nil
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		var e liveEvent
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && json.Unmarshal([]byte(data), &e) == nil {
			f.mu.Lock()
			f.events = append(f.events, e)
			f.mu.Unlock()
		}
	}
}

func (f *feed) all() []liveEvent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events)
}

func (f *feed) has(what func(liveEvent) bool) bool { return slices.ContainsFunc(f.all(), what) }
