package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/history"
	"aftercare/internal/history/embedded"
	"aftercare/internal/obs"
)

// away is how a database goes away and how much load goes on meanwhile.
type away struct {
	name        string
	leave, back func(*gate) error
	connections int
	rate        int // readings a second
	before      time.Duration
	outage      time.Duration
	after       time.Duration // one load after another of this length until history has caught up
}

// ways are the two kinds of outage.
var ways = []away{
	{name: "refuse", leave: func(g *gate) error { g.refuse(); return nil }, back: (*gate).listen},
	{name: "stall", leave: func(g *gate) error { g.stall(); return nil }, back: func(g *gate) error { g.flow(); return nil }},
}

// phase is what was measured before, during or after an outage.
type phase struct {
	load     loadResult // the slowest p99 when there was more than one load
	rss      float64    // MB, highest
	rulesLag float64    // readings, most
	waiting  float64    // lines that history holds in memory, most
	backlog  float64    // records in the journal that history has not committed, most
}

// outcome is what an outage did.
type outcome struct {
	before, during, after phase
	acked                 map[string]bool
	caughtUp              time.Duration // from the return until history is less than 2 s behind the live readings
	written               float64       // readings a second that the database took until then
	message               time.Duration // from a fault's PUBACK, in the outage, to the message in its owner's inbox
	page                  time.Duration // how long the owner's page took in the outage
	bytes                 float64       // journal on disk a reading, files of the readings stream
}

// suffer runs the real server with its database behind a gate through an outage, under load, with a fault reported in the middle
// of it. It checks what holds whatever the rate: no acknowledgement missing, no connection lost, everything in the database once,
// every reading accounted for.
func suffer(t testing.TB, a away) (out outcome) {
	t.Helper()
	dir := t.TempDir()
	h := settle(t, dir, "OU", a.connections+1)
	faulty := fmt.Sprintf("OU-%03d", a.connections+1)
	db := ownInflux(t, filepath.Join(dir, "elsewhere"))
	g := newGate(t, strings.TrimPrefix(db.URL(), "http://"))
	p := start(t, dir, nil, append([]string{"--log.level", "warn", "--history.url", "http://" + g.addr, "--history.token", db.Token()}, unlimited...)...)
	w := p.watch(t)
	s := &sender{a: a, fleet: h.fleet, file: filepath.Join(dir, "acked")}

	s.run(t, p, a.before, nil)
	out.before = w.phase(s.take())
	empty := filesOf(t, dir)
	stored := p.metric(t, "aftercare_readings_stored_total", "")

	s.run(t, p, a.outage+2*time.Second, func() { // it goes while readings come, and comes back while they do
		time.Sleep(time.Second)
		if err := a.leave(g); err != nil {
			t.Error(err)
		}
		began := time.Now()
		out.message, out.page = p.faultMeanwhile(t, h, faulty)
		time.Sleep(time.Until(began.Add(a.outage)))
	})
	out.during = w.phase(s.take())
	out.bytes = float64(filesOf(t, dir)-empty) / (p.metric(t, "aftercare_readings_stored_total", "") - stored)

	if err := a.back(g); err != nil {
		t.Fatal(err)
	}
	returned, points := time.Now(), p.metric(t, "aftercare_history_points_total", `"readings"`)
	for out.caughtUp == 0 {
		s.run(t, p, a.after, func() {
			for end := time.Now().Add(a.after); out.caughtUp == 0 && time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
				if p.metric(t, "aftercare_history_lag_seconds", `"readings"`) < 2 && p.metric(t, "aftercare_history_waiting_lines", "") == 0 {
					out.caughtUp = time.Since(returned)
					out.written = (p.metric(t, "aftercare_history_points_total", `"readings"`) - points) / out.caughtUp.Seconds()
				}
			}
		})
		if time.Since(returned) > 10*time.Minute {
			t.Fatalf("history has not caught up after 10 minutes\n%s", p.log)
		}
	}
	out.after = w.phase(s.take())

	out.acked = map[string]bool{}
	readAcked(t, s.file, out.acked)
	sameIn(t, db.URL(), db.Token(), out.acked, 0)
	p.conserved(t)
	if ended := p.metric(t, "aftercare_gateway_disconnects_total", "") - float64(s.ended); ended > 1 { // the faulty device's
		t.Errorf("%v connections ended that nobody wanted to end\n%s", ended, p.log)
	}
	p.stop(t)
	return out
}

// ownInflux starts an InfluxDB in this process: what it needs of memory is not the server's.
func ownInflux(t testing.TB, dir string) *embedded.Server {
	t.Helper()
	cfg := embedded.DefaultConfig()
	cfg.Dir = dir
	db, err := embedded.Start(t.Context(), cfg, obs.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// faultMeanwhile reports a fault and returns how long its owner waited for the message, and then for the page.
func (p *process) faultMeanwhile(t testing.TB, h household, serial string) (message, page time.Duration) {
	t.Helper()
	c := connect(t, p, serial, h.secrets[serial])
	if !publish(c, serial, "event", fmt.Sprintf(`{"ts":%d,"boot":1,"seq":1,"code":"E18"}`, time.Now().UnixMilli())) {
		t.Fatal("the fault was not acknowledged")
	}
	began := time.Now()
	oneCaseOneMessage(t, p, serial)
	message = time.Since(began)
	began = time.Now()
	if code, body := p.get(t, "/people/"+tenant+"/owner-1"); code != http.StatusOK || !strings.Contains(body, "washing machine in the cellar") {
		t.Errorf("the owner's page says %d", code)
	}
	return message, time.Since(began)
}

// sender runs one load after another with the same devices and adds up what they say.
type sender struct {
	a           away
	fleet, file string
	first       int // running number of each device's next message
	ended       int // connections that ended because their load did
	results     []loadResult
}

// run sends for d and calls meanwhile; it returns when both have ended.
func (s *sender) run(t testing.TB, p *process, d time.Duration, meanwhile func()) {
	t.Helper()
	line := []string{"load", "--json", "--broker", "tcp://" + p.mqtt, "--fleet", s.fleet, "--connections", strconv.Itoa(s.a.connections), "--inflight", "1000",
		"--rate", strconv.Itoa(s.a.rate), "--duration", d.String(), "--first-seq", strconv.Itoa(1 + s.first), "--acked", s.file}
	s.first += 1_000_000
	s.ended += s.a.connections
	ctx, cancel := context.WithTimeout(t.Context(), d+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, "firmware-sim"), line...)
	var said syncBuffer
	cmd.Stderr = &said
	type answer struct {
		out []byte
		err error
	}
	done := make(chan answer, 1)
	go func() {
		out, err := cmd.Output()
		done <- answer{out, err}
	}()
	if meanwhile != nil {
		meanwhile()
	}
	got := <-done
	var r loadResult
	if err := errors.Join(got.err, json.Unmarshal(got.out, &r)); err != nil {
		t.Fatalf("the load: %v\n%s\n%s", err, said.String(), p.log)
	}
	if r.Unacked != 0 || r.Broken != 0 || r.UnexpectedAck != 0 || r.Acked != r.Sent {
		t.Errorf("%+v\n%s\n%s", r, said.String(), p.log)
	}
	s.results = append(s.results, r)
}

// take returns what the loads since the last call measured.
func (s *sender) take() (all loadResult) {
	for _, r := range s.results {
		all.Acked += r.Acked
		all.TookNs += r.TookNs
		all.P50, all.P99 = max(all.P50, r.P50), max(all.P99, r.P99)
	}
	if all.TookNs > 0 {
		all.PerSecond = float64(all.Acked) / all.TookNs.Seconds()
	}
	s.results = nil
	return all
}

// watcher looks at a process several times a second until the test ends.
type watcher struct {
	mu   sync.Mutex
	most phase
}

func (p *process) watch(t testing.TB) *watcher {
	t.Helper()
	w := &watcher{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		every := time.NewTicker(500 * time.Millisecond)
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.done:
				return
			case <-every.C:
			}
			w.look(ctx, p)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return w
}

// look takes one sample; a server that ends meanwhile gives none.
func (w *watcher) look(ctx context.Context, p *process) {
	var now phase
	now.rss = p.resident()
	values, err := p.scrape(ctx)
	if err != nil {
		return
	}
	now.rulesLag = values("aftercare_readings_stored_total", "") - values("aftercare_rules_readings_total", "")
	now.waiting = values("aftercare_history_waiting_lines", `"readings"`)
	now.backlog = values("aftercare_journal_lag", `consumer="history",stream="readings"`)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.most.rss = max(w.most.rss, now.rss)
	w.most.rulesLag = max(w.most.rulesLag, now.rulesLag)
	w.most.waiting = max(w.most.waiting, now.waiting)
	w.most.backlog = max(w.most.backlog, now.backlog)
}

// phase returns the highest since the last call.
func (w *watcher) phase(r loadResult) phase {
	w.mu.Lock()
	defer w.mu.Unlock()
	most := w.most
	w.most, most.load = phase{}, r
	return most
}

// resident is the process's resident memory now, in MB; 0 where there is no /proc.
func (p *process) resident() float64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

// filesOf adds up the journal's files of readings.
func filesOf(t testing.TB, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "journal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, "/readings/") {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return ignoreGone(err)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestOutageOfTheDatabase: InfluxDB is away for a while under load, refusing connections and then not answering. Readings are
// acknowledged all the time, as fast as before; nobody is disconnected; what waits is in the journal and not in memory; a fault
// reported meanwhile becomes a message at once; and afterwards everything is there once. (REL-04, REL-08, REL-12)
func TestOutageOfTheDatabase(t *testing.T) {
	if !embedded.Available {
		t.Skip("SKIPPED: a slim build has no database to take away")
	}
	for _, a := range ways {
		t.Run(a.name, func(t *testing.T) {
			a.connections, a.rate, a.before, a.outage, a.after = 50, 2000, 3*time.Second, 10*time.Second, 3*time.Second
			r := suffer(t, a)
			t.Logf("acknowledged: p99 %v before, %v during, %v after; %.0f, %.0f, %.0f MB; backlog %.0f records, %.0f B a reading, %.0f lines waited; caught up after %v; message after %v, page after %v",
				r.before.load.P99, r.during.load.P99, r.after.load.P99, r.before.rss, r.during.rss, r.after.rss, r.during.backlog, r.bytes, r.during.waiting, r.caughtUp, r.message, r.page)
			if want := 0.95 * float64(a.rate); r.during.load.PerSecond < want {
				t.Errorf("%.0f a second are acknowledged in the outage, %d are sent", r.during.load.PerSecond, a.rate)
			}
			if r.during.load.P99 > 2*time.Second {
				t.Errorf("acknowledgements take %v in the outage", r.during.load.P99)
			}
			if r.during.backlog == 0 {
				t.Error("nothing waited in the journal: the database was not away")
			}
			if c := history.DefaultConfig(); r.during.waiting > float64(c.Writers*c.BatchLines) {
				t.Errorf("%.0f lines wait in memory, at most %d writes of %d may", r.during.waiting, c.Writers, c.BatchLines)
			}
			if grown := r.during.rss - r.before.rss; grown > 100 {
				t.Errorf("the server grew by %.0f MB in the outage", grown)
			}
			if r.message > 10*time.Second || r.page > 5*time.Second {
				t.Errorf("the owner waited %v for the message and %v for the page", r.message, r.page)
			}
		})
	}
}

// sameIn is sameAsInflux for a database anywhere.
func sameIn(t testing.TB, url, token string, acked map[string]bool, inflight int) {
	t.Helper()
	cfg := history.DefaultConfig()
	cfg.URL, cfg.Token, cfg.QueryTimeout = url, fleet.Secret(token), 5*time.Minute
	db, err := history.New(cfg, history.Deps{Log: obs.Discard(), Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n, twice int
	eventually(t, 90*time.Second, func() error { // history catches up with the journal in its own time; what is lost never comes
		var missing int
		if n, twice, missing = compare(t, db, acked); missing > 0 {
			return fmt.Errorf("%d readings were acknowledged and are not in the database", missing)
		}
		return nil
	})
	t.Logf("acknowledged %d, stored %d", len(acked), n)
	if twice > 0 {
		t.Errorf("%d readings are there twice", twice)
	}
	if extra := n - len(acked); extra > inflight {
		t.Errorf("%d readings are stored that nobody was told of: more than were in flight", extra)
	}
}
