//go:build !slim

package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	httpapi "github.com/influxdata/influxdb-client-go/v2/api/http"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/fleet"
	"aftercare/internal/history/embedded"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

func TestAResendCountsOnce(t *testing.T) {
	h := open(t)
	bodies := make([][]byte, 0, 100)
	for i := range 100 {
		bodies = append(bodies, lineOf(reading(washer, t0.Add(time.Duration(i)*time.Second), int64(i), number("drain_s", float64(i)))))
	}
	h.store(t, bodies...)
	h.store(t, bodies...)
	h.wantCount(t, 100)
	h.wantRejected(t)
}

func TestTwoReadingsOfOneMillisecondStay(t *testing.T) {
	h := open(t)
	h.store(t,
		lineOf(reading(washer, t0, 1, number("drain_s", 1))),
		lineOf(reading(washer, t0, 2, number("drain_s", 2))))
	h.wantCount(t, 2)
	points, err := h.Series(t.Context(), washer, model, "drain_s", t0.Add(-time.Second), t0.Add(time.Second), 0)
	if err != nil || len(points) != 2 || points[0].Value+points[1].Value != 3 {
		t.Errorf("points %v, %v", points, err)
	}
}

func TestOtherKindsAreCommittedAndNotWritten(t *testing.T) {
	h := open(t)
	recs := records(wire.Readings, wire.KindReadings, lineOf(reading(washer, t0, 1, number("drain_s", 1))), nil, nil)
	recs[1].Kind, recs[2].Kind = wire.KindTick, wire.KindStop
	recs[2].Body = []byte("not a line")
	runAll(t, h.RunReadings, &feed{recs: recs})
	h.wantCount(t, 1)
	h.wantRejected(t)
}

func TestBadLinesDoNotBlockTheOthers(t *testing.T) {
	h := open(t)
	good := func(i int) []byte {
		return lineOf(reading(washer, t0.Add(time.Duration(i)*time.Second), int64(i), number("drain_s", 1)))
	}
	bad := []string{
		"no fields at all",
		`washer-w7,serial=WM-0001,tenant=demo drain_s="a string where a float is",seq=7i 1700000009000000000`,
		`washer-w7,serial=WM-0001,tenant=demo drain_s=1.0.0 1700000009000000000`,
		`washer-w7,serial=WM-0001,tenant=demo drain_s=1 99999999999999999999`,
		`washer-w7,serial=` + strings.Repeat("x", 70_000) + `,tenant=demo drain_s=1 1700000009000000000`,
	}
	h.store(t, good(0)) // fixes the type of drain_s
	bodies := [][]byte{bytes.Join([][]byte{good(1), []byte(bad[0] + "\n"), good(2)}, nil)}
	for i := range 300 {
		bodies = append(bodies, good(10+i))
		if i%100 == 50 {
			bodies = append(bodies, []byte(bad[1+i/100]+"\n"))
		}
	}
	bodies = append(bodies, []byte(bad[4]), good(1000))
	h.store(t, bodies...)
	h.wantCount(t, 304)
	h.wantRejected(t, bad...)
	for reason, want := range map[string]float64{reasonParse: 4, reasonType: 1} {
		if got := testutil.ToFloat64(h.m.rejected.WithLabelValues("readings", reason)); got != want {
			t.Errorf("%v lines rejected as %s, want %v", got, reason, want)
		}
	}
	if got := testutil.ToFloat64(h.m.points.WithLabelValues("readings")); got != 304 {
		t.Errorf("%v points counted, want 304", got)
	}
}

// When the first write that a measurement ever sees contradicts itself, the server stores nothing of it and says so with
// other words.
func TestTypesThatConflictWithinOneWrite(t *testing.T) {
	h := open(t)
	a := "m,serial=A,tenant=demo v=1,seq=1i 1700000000000000001"
	b := `m,serial=A,tenant=demo v="one",seq=2i 1700000000000000002`
	c := "m,serial=A,tenant=demo v=3,seq=3i 1700000000000000003"
	h.store(t, []byte(a+"\n"+b+"\n"+c+"\n"))
	h.wantRejected(t, b)
	if n, err := h.Count(t.Context(), "demo", []string{"m"}); err != nil || n != 2 {
		t.Errorf("%d stored, %v", n, err)
	}
}

func TestLinesBeyondRetentionAreRejected(t *testing.T) {
	h := open(t)
	if err := h.ask(t.Context(), http.MethodPost, "CREATE DATABASE "+quoteIdent(h.cfg.Database)+" WITH DURATION 30d", func(*series) error { return nil }); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	old := make([]string, 0, 200)
	var body []byte
	for i := range 200 {
		body = append(body, lineOf(reading(washer, now.Add(-time.Duration(i)*time.Second), int64(i), number("drain_s", 1)))...)
		l := lineOf(reading(washer, t0.Add(time.Duration(i)*time.Second), int64(1000+i), number("drain_s", 1)))
		old = append(old, strings.TrimSpace(string(l)))
		body = append(body, l...)
	}
	h.store(t, body)
	h.wantCount(t, 200)
	h.wantRejected(t, old...)
}

func TestRejectIsTriedAgain(t *testing.T) {
	fails := 3
	h := open(t, func(_ *Config, d *Deps) {
		d.Reject = func(context.Context, []byte, string) error {
			if fails--; fails >= 0 {
				return errors.New("the quarantine is away")
			}
			return nil
		}
	})
	h.store(t, []byte("bad line\n"), lineOf(reading(washer, t0, 1, number("drain_s", 1))))
	if fails != -1 {
		t.Errorf("Reject was called %d times, want 4", 3-fails)
	}
	h.wantCount(t, 1)
}

// TestAServerThatStopsLosesNothing stops the database between two writes and starts it again, at the same address, when the
// first failure is seen.
func TestAServerThatStopsLosesNothing(t *testing.T) {
	c, server := ownServer(t)
	restarted := make(chan error, 1)
	failed, back := 0, 0
	var h *setup
	h = open(t, func(hc *Config, d *Deps) {
		hc.URL, hc.Token, hc.Fetch = server.URL(), fleet.Secret(server.Token()), 10
		d.Log = watching(func(msg string) {
			switch {
			case strings.HasPrefix(msg, "writes to InfluxDB fail"):
				failed++
				if err := h.Check(context.Background()); err == nil {
					t.Error("healthy while writes fail")
				}
				if testutil.ToFloat64(h.m.waiting.WithLabelValues("readings")) != 10 {
					t.Error("the waiting lines are not counted")
				}
				go func() {
					var err error
					server, err = embedded.Start(context.Background(), c, obs.Discard())
					restarted <- err
				}()
			case strings.HasPrefix(msg, "InfluxDB takes writes again"):
				back++
			}
		})
	})
	f := &feed{}
	for i := range 100 {
		f.recs = append(f.recs, wire.Record{Kind: wire.KindReadings, Seq: uint64(i + 1), Received: t0,
			Body: lineOf(reading(washer, t0.Add(time.Duration(i)*time.Second), int64(i), number("drain_s", 1)))})
	}
	f.before = func(next int) {
		if next == 50 {
			if err := server.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	runAll(t, h.RunReadings, f)
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	if failed != 1 || back != 1 {
		t.Errorf("said %d times that writes fail and %d times that they do again, want once each", failed, back)
	}
	if err := h.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if got := testutil.ToFloat64(h.m.waiting.WithLabelValues("readings")); got != 0 {
		t.Errorf("%v lines still waiting", got)
	}
	h.wantCount(t, 100)
	h.wantRejected(t)
}

// TestADatabaseThatIsDroppedIsMadeAgain covers the answer 404.
func TestADatabaseThatIsDroppedIsMadeAgain(t *testing.T) {
	h := open(t)
	h.store(t, lineOf(reading(washer, t0, 1, number("drain_s", 1))))
	if err := h.ask(t.Context(), http.MethodPost, "DROP DATABASE "+quoteIdent(h.cfg.Database), func(*series) error { return nil }); err != nil {
		t.Fatal(err)
	}
	h.store(t, lineOf(reading(washer, t0, 2, number("drain_s", 1))))
	h.wantCount(t, 1)
	if got := testutil.ToFloat64(h.m.failures.WithLabelValues("readings", string(missing))); got != 1 {
		t.Errorf("%v failures of class missing, want 1", got)
	}
}

// TestAServerThatRefusesEverythingIsNoReasonToReject: what stands in front of the database answers 400 to all.
func TestAServerThatRefusesEverythingIsNoReasonToReject(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "go away", http.StatusBadRequest)
	}))
	defer proxy.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := open(t, func(c *Config, d *Deps) {
		c.URL = proxy.URL
		d.Log = watching(func(msg string) {
			if strings.HasPrefix(msg, "writes to InfluxDB fail") {
				cancel()
			}
		})
	})
	h.prepared = true
	f := &feed{recs: records(wire.Readings, wire.KindReadings, lineOf(reading(washer, t0, 1, number("drain_s", 1)))), drained: cancel}
	if err := h.RunReadings(ctx, f); err != nil {
		t.Fatal(err)
	}
	if f.committed != 0 {
		t.Error("committed what no server has taken")
	}
	h.wantRejected(t)
}

func TestAWrongTokenIsNoReasonToReject(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := open(t, func(c *Config, d *Deps) {
		c.Token = "aftercare:wrong"
		d.Log = watching(func(string) { cancel() })
	})
	f := &feed{recs: records(wire.Readings, wire.KindReadings, lineOf(reading(washer, t0, 1, number("drain_s", 1)))), drained: cancel}
	if err := h.RunReadings(ctx, f); err != nil || f.committed != 0 {
		t.Errorf("committed %d, %v", f.committed, err)
	}
	if got := testutil.ToFloat64(h.m.failures.WithLabelValues("readings", string(denied))); got == 0 {
		t.Error("no failure of class denied")
	}
	h.wantRejected(t)
}

func TestRunEndsWithTheSourcesError(t *testing.T) {
	h := open(t)
	broken := errors.New("the journal is gone")
	if err := h.RunReadings(t.Context(), brokenSource{broken}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type brokenSource struct{ err error }

func (s brokenSource) Fetch(context.Context, int) ([]wire.Record, error) { return nil, s.err }
func (s brokenSource) Commit(context.Context, uint64) error              { return s.err }
func (s brokenSource) Close() error                                      { return nil }

func TestClassify(t *testing.T) {
	status := func(code int, msg string) error {
		return fmt.Errorf("write: %w", &httpapi.Error{StatusCode: code, Code: "invalid", Message: msg})
	}
	for _, c := range []struct {
		err     error
		class   class
		dropped int
	}{
		{nil, accepted, 0},
		{context.DeadlineExceeded, away, 0},
		{httpapi.NewError(errors.New("connection refused")), away, 0},
		{status(400, "partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=12"), lines, 12},
		{status(400, "unable to parse 'x': missing fields"), lines, 0},
		{status(422, "unprocessable entity: failure writing points to database: partial write: points beyond retention policy dropped=1"), lines, 1},
		{status(500, "engine: field type conflict"), lines, 0},
		{status(400, "go away"), refused, 0},
		{status(413, "too large"), lines, 0},
		{status(401, "unauthorized"), denied, 0},
		{status(403, "forbidden"), denied, 0},
		{status(404, "database not found"), missing, 0},
		{status(429, "slow down"), busy, 0},
		{status(500, "timeout"), busy, 0},
		{status(503, ""), busy, 0},
	} {
		if v := classify(c.err); v.class != c.class || v.dropped != c.dropped {
			t.Errorf("%v: %q dropped %d, want %q dropped %d", c.err, v.class, v.dropped, c.class, c.dropped)
		}
	}
	if v := classify(&httpapi.Error{StatusCode: 429, RetryAfter: 7}); v.after != 7*time.Second {
		t.Errorf("after %v, want 7s", v.after)
	}
}

func TestJoinKeepsTheLimits(t *testing.T) {
	bodies := make([][]byte, 0, 52)
	for i := range 50 {
		bodies = append(bodies, []byte(strings.Repeat(fmt.Sprintf("line %d\n", i), 1+i%7)))
	}
	bodies = append(bodies, []byte(strings.Repeat("large\n", 100)), []byte("no newline at its end"))
	all := 0
	for _, b := range join(bodies, 20, 500) {
		n := strings.Count(b.body, "\n")
		if n != b.lines || (n > 20 || len(b.body) > 500) && !strings.HasPrefix(b.body, "large") {
			t.Errorf("a batch of %d bytes with %d lines says %d", len(b.body), n, b.lines)
		}
		all += n
	}
	want := 101
	for i := range 50 {
		want += 1 + i%7
	}
	if all != want {
		t.Errorf("%d lines, want %d", all, want)
	}
}

func TestBackoffGrowsToItsLimit(t *testing.T) {
	h := &History{cfg: Config{RetryMin: 100 * time.Millisecond, RetryMax: 10 * time.Second}}
	for attempt, want := range map[int]time.Duration{0: 100 * time.Millisecond, 3: 800 * time.Millisecond, 7: 10 * time.Second, 1000: 10 * time.Second} {
		if got := h.backoff(attempt); got > want || got < want*4/5 {
			t.Errorf("attempt %d: %v, want about %v", attempt, got, want)
		}
	}
}

// TestCounters: they lie beside the findings in the journal, and names that are expressions come back as they were.
func TestCounters(t *testing.T) {
	h := open(t)
	names := []string{`hours(drain_s > 70)`, `starts(mode == "a,b=c\\d" and x)`, "total(water_l)", `used("drain-pump") #1`}
	c := wire.Counters{Device: washer, Model: model, At: t0}
	for i, name := range names {
		c.Values = append(c.Values, wire.Counter{Name: name, Value: 1234567.25 + float64(i)})
	}
	c.Values = append(c.Values, wire.Counter{Name: "total(nothing)", Value: math.NaN()})
	body := wire.AppendCounters(nil, &c)
	c.At = t0.Add(24 * time.Hour)
	c.Values = c.Values[:3]
	body = wire.AppendCounters(body, &c)
	recs := records(wire.Findings, wire.KindCounters, body)
	recs = append(recs, wire.Record{Stream: wire.Findings, Kind: wire.KindTick, Seq: 2})
	runAll(t, h.RunFindings, &feed{recs: recs})
	h.wantRejected(t)

	at, got, err := h.Counters(t.Context(), washer, t0.Add(24*time.Hour))
	if err != nil || !at.Equal(t0) || len(got) != 4 {
		t.Fatalf("%v %v %v", at, got, err)
	}
	for i, name := range names {
		if v := got[wire.CounterField(name)]; v != 1234567.25+float64(i) {
			t.Errorf("%s: %v", name, v)
		}
	}
	if at, got, err = h.Counters(t.Context(), washer, t0.Add(48*time.Hour)); err != nil || !at.Equal(c.At) || len(got) != 3 {
		t.Errorf("the newest: %v %v %v", at, got, err)
	}
	if _, got, err = h.Counters(t.Context(), washer, t0); err != nil || got != nil {
		t.Errorf("before the first: %v, %v", got, err)
	}
	if len(wire.AppendCounters(nil, &wire.Counters{Device: washer, Model: model, At: t0, Values: []wire.Counter{{Name: "x", Value: math.Inf(1)}}})) > 0 {
		t.Error("a line without values")
	}
}

func TestFindingsAndChanges(t *testing.T) {
	h := open(t)
	f := fleet.Finding{ID: "find-1", Phase: fleet.Opened, Device: washer, Model: model, Rule: "washer-drain-slow", Problem: "washer-drain",
		Kind: fleet.KindMaintenance, Severity: fleet.Due, At: t0, Received: t0}
	second := f
	second.Revision, second.Phase, second.Live = 1, fleet.Updated, true // same moment, same series
	recs := make([]wire.Record, 0, 4)
	for _, x := range []fleet.Finding{f, second, f} {
		r, err := wire.EncodeFinding(0, x)
		if err != nil {
			t.Fatal(err)
		}
		r.Seq = uint64(len(recs) + 1)
		recs = append(recs, r)
	}
	recs = append(recs, wire.Record{Stream: wire.Findings, Kind: wire.KindFinding, Seq: 4, Body: []byte("{broken")})
	runAll(t, h.RunFindings, &feed{recs: recs})
	h.wantRejected(t, "{broken")
	got := h.table(t, `SELECT id, revision, phase, live, problem, kind, model, "rule", serial, severity, tenant FROM finding`)
	want := [][]any{
		{"find-1", "0", "opened", false, "washer-drain", "maintenance", model, "washer-drain-slow", "WM-0001", "due", "demo"},
		{"find-1", "1", "updated", true, "washer-drain", "maintenance", model, "washer-drain-slow", "WM-0001", "due", "demo"},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("findings\n%v, want\n%v", got, want)
	}

	n := `{"id":"n1","type":"case","device":{"tenant":"demo","serial":"WM-0001"},"case_id":"case-1","problem":"washer-drain","kind":"maintenance",` +
		`"severity":"due","action":"comment","actor":"agent:Ann","detail":"she said: \"it's\\nslow\"\nsecond line, =x","at":"2023-11-14T22:13:20.123Z"}`
	runAll(t, h.RunChanges, &feed{recs: records(wire.Changes, wire.KindChange, []byte(n), []byte(n))})
	got = h.table(t, `SELECT id, type, "action", channel, severity, serial, case_id, detail, actor, person FROM change`)
	want = [][]any{{"n1", "case", "comment", nil, "due", "WM-0001", "case-1", `she said: "it's\nslow" second line, =x`, "agent:Ann", ""}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("changes\n%v, want\n%v", got, want)
	}
}

// table returns the rows of a query without their times.
func (s *setup) table(t *testing.T, q string) [][]any {
	t.Helper()
	var out [][]any
	if err := s.query(t.Context(), "test", q, func(s *series) error {
		for _, row := range s.Values {
			out = append(out, row[1:])
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}
