package ingest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

// memory is a place for snapshots.
type memory struct {
	mu     sync.Mutex
	bodies map[string][]byte
	fail   error
}

func (m *memory) Save(_ context.Context, key string, body []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	if m.bodies == nil {
		m.bodies = map[string][]byte{}
	}
	m.bodies[key] = slices.Clone(body)
	return nil
}

func (m *memory) Load(_ context.Context, key string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.bodies[key]
	return b, ok, nil
}

func at(hhmm string) time.Time {
	t, err := time.Parse("15:04:05", hhmm)
	if err != nil {
		panic(err)
	}
	return time.Date(2026, 5, 4, t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

var testLimits = DefaultConfig().Clock.limits()

// tell lets a clock judge one reading and returns the corrected time.
func (c *clock) tell(boot, seq int64, sent, received time.Time) time.Time {
	r := &fleet.Reading{Boot: boot, Seq: seq, HasSeq: true, Time: sent}
	return sent.Add(-time.Duration(c.judge(r, received.UnixMilli(), false, testLimits).off) * time.Millisecond)
}

func TestAWrongClockIsCorrected(t *testing.T) {
	c := &clock{}
	check := func(what string, got, want time.Time) {
		t.Helper()
		if !got.Equal(want) {
			t.Errorf("%s: stored at %v, want %v", what, got.UTC(), want.UTC())
		}
	}
	noon := at("12:00:00")
	check("right", c.tell(1, 1, at("11:59:59"), noon), at("11:59:59"))
	check("late by a day, seq of before", c.tell(1, 0, noon.AddDate(0, 0, -1), noon), noon.AddDate(0, 0, -1))
	check("little ahead", c.tell(1, 2, at("12:01:59"), noon), at("12:01:59"))
	reset := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	check("reset clock", c.tell(2, 1, reset, noon), noon)
	check("the reading behind it keeps its distance", c.tell(2, 2, reset.Add(10*time.Second), at("12:00:30")), at("12:00:10"))
	check("a resend", c.tell(2, 1, reset, at("13:00:00")), noon)
	check("set right in the same boot", c.tell(2, 3, at("12:01:00"), at("12:01:01")), at("12:01:00"))
	check("a resend of before", c.tell(2, 2, reset.Add(10*time.Second), at("13:00:00")), at("12:00:10"))
	check("and goes on right", c.tell(2, 4, at("12:02:00"), at("12:02:01")), at("12:02:00"))

	check("an hour ahead", c.tell(3, 1, at("13:00:00"), noon), noon)
	check("by the same offset, though not ahead any more", c.tell(3, 2, at("13:10:00"), at("13:20:00")), at("12:10:00"))
	check("resent when it is not ahead any more", c.tell(3, 1, at("13:00:00"), at("15:00:00")), noon)

	check("before", c.tell(4, 10, at("15:00:00"), at("15:00:00")), at("15:00:00"))
	check("falls back while seq goes on", c.tell(4, 11, at("03:00:00"), at("15:00:10")), at("15:00:10"))
	check("a resend of it", c.tell(4, 11, at("03:00:00"), at("16:00:00")), at("15:00:10"))
	check("what lies behind", c.tell(4, 12, at("03:00:05"), at("15:01:00")), at("15:00:15"))
	check("what lay before", c.tell(4, 10, at("15:00:00"), at("17:00:00")), at("15:00:00"))
}

func TestAnOffsetThatLeadsAheadIsReplaced(t *testing.T) {
	c := &clock{}
	year := func(h string) time.Time { return at(h).AddDate(1, 0, 0) }
	c.tell(1, 1, year("10:00:00"), at("12:00:00")) // two hours late, which the offset swallows
	if got := c.tell(1, 2, year("12:00:00"), at("12:00:01")); !got.Equal(at("12:00:01")) {
		t.Errorf("stored at %v, which is ahead of receipt", got.UTC())
	}
	if got := c.tell(1, 1, year("10:00:00"), at("12:30:00")); !got.Equal(at("12:00:00")) {
		t.Errorf("a resend of the first moved to %v", got.UTC())
	}
}

// TestAClockForgetsLittle: what a resend becomes is what the first became, whatever comes between and in whatever order.
func TestAClockForgetsLittle(t *testing.T) { // REL-08
	rapid.Check(t, func(t *rapid.T) {
		c := &clock{}
		now := at("12:00:00")
		type sent struct {
			boot, seq int64
			at        time.Time
		}
		offset := map[sent]time.Time{}
		var known []sent
		boots := map[[2]int64]bool{}
		for range rapid.IntRange(1, 25).Draw(t, "n") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "pause")) * time.Second)
			x := sent{boot: rapid.Int64Range(1, 3).Draw(t, "boot"), seq: rapid.Int64Range(0, 30).Draw(t, "seq")}
			if boots[[2]int64{x.boot, x.seq}] && len(known) > 0 {
				x = rapid.SampledFrom(known).Draw(t, "resend")
			} else {
				x.at = rapid.SampledFrom([]time.Time{now, now.Add(-2 * time.Hour), now.Add(time.Hour), now.AddDate(1, 0, 0), time.Unix(0, 0).Add(now.Sub(at("00:00:00")))}).Draw(t, "time")
				boots[[2]int64{x.boot, x.seq}] = true
				known = append(known, x)
			}
			got := c.tell(x.boot, x.seq, x.at, now)
			if got.After(now.Add(2 * time.Minute)) {
				t.Fatalf("%+v received %v is stored ahead of receipt: %v", x, now, got)
			}
			if want, ok := offset[x]; ok && !want.Equal(got) {
				t.Fatalf("%+v first became %v, resent at %v it becomes %v; %+v", x, want, now, got, c)
			}
			offset[x] = got
		}
	})
}

func TestWrongClocksAreBounded(t *testing.T) {
	c := &clock{}
	for boot := range int64(20) {
		for seq := int64(1000); seq > 0; seq -= 2 { // backwards with gaps: a span each
			c.tell(boot, seq, time.Unix(seq, 0), at("12:00:00").Add(time.Duration(seq*7919%1000)*time.Hour))
		}
	}
	if len(c.wrong) > maxBoots {
		t.Errorf("%d boots", len(c.wrong))
	}
	for _, b := range c.wrong {
		if len(b.Spans) > maxSpans+2 {
			t.Errorf("%d spans", len(b.Spans))
		}
	}
}

type fixture struct {
	mu     sync.Mutex
	now    time.Time
	clocks *memory
	log    *log
}

func (f *fixture) time() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// run takes messages in with one Ingest from start to stop, and returns the lines.
func (f *fixture) run(t interface {
	Fatal(...any)
	Helper()
}, payloads ...string) string {
	t.Helper()
	f.log = &log{}
	in := New(DefaultConfig(), Deps{Journal: f.log, Devices: known, Models: models, Log: obs.Discard(), Metrics: prometheus.NewRegistry(), Clocks: f.clocks, Now: f.time})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	for _, p := range payloads {
		if err := in.Submit(ctx, wire.Inbound{Door: "gateway", Speaker: washer, Topic: "devices/demo/w7/WM-1/telemetry", Payload: []byte(p)}); err != nil {
			t.Fatal(err)
		}
		f.mu.Lock()
		f.now = f.now.Add(time.Second)
		f.mu.Unlock()
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var lines string
	for _, r := range f.log.records {
		if r.Kind == wire.KindReadings {
			lines += string(r.Body)
		}
	}
	return lines
}

func TestACorrectionOutlivesARestart(t *testing.T) { // REL-08
	f := &fixture{now: at("12:00:00"), clocks: &memory{}}
	first := f.run(t, `{"ts":5000,"boot":1,"seq":1,"cycles":7}`)
	f.now = at("18:00:00")
	again := f.run(t, `{"ts":5000,"boot":1,"seq":1,"cycles":7}`, `{"ts":"2027-01-01T00:00:00Z","cycles":8}`)
	want := fmt.Sprintf("w7,serial=WM-1,tenant=demo cycles=7i,clock_off_ms=%di,boot=1i,seq=1i %d\n", 5000-at("12:00:00").UnixMilli(), at("12:00:00").UnixNano()+wire.Fold(1, 1))
	if first != want {
		t.Errorf("stored\n%s, want\n%s", first, want)
	}
	if !strings.HasPrefix(again, want) {
		t.Errorf("resent after a restart it is\n%s, want\n%s", again, want)
	}
	if !strings.Contains(again, "cycles=8i,clock_off_ms=") || !strings.HasSuffix(again, fmt.Sprintf(" %d\n", at("18:00:01").UnixNano())) {
		t.Errorf("without seq: %s", again)
	}
}

// TestOurClockWasSet: devices' clocks that seemed wrong because ours was are right from then on; those that are wrong stay as wrong
// as they were; what was stored before stays the same point.
func TestOurClockWasSet(t *testing.T) { // REL-08
	tr, wrong := newTracks(), &clock{}
	k := fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}
	truth := at("12:00:00")
	ours := truth.Add(-72 * time.Hour) // a machine that does not know the time yet
	judge := func(c *clock, seq int64, device, ours time.Time) int64 {
		return c.judge(&fleet.Reading{HasSeq: true, Boot: 1, Seq: seq, Time: device}, ours.UnixMilli(), false, testLimits).off
	}
	c := &tr.get(k).clocks[0]
	day := 24 * time.Hour
	if off := judge(c, 1, truth, ours); off != (72 * time.Hour).Milliseconds() {
		t.Fatalf("off by %d", off)
	}
	first := judge(wrong, 1, truth.Add(5*day), ours)
	tr.changed(k, tr.get(k))
	tr.doubt()
	wrong.doubt()
	truth = truth.Add(time.Minute)
	if off := judge(c, 2, truth, truth); off != 0 {
		t.Errorf("the device's clock is right, and is corrected by %d", off)
	}
	if off := judge(c, 1, truth.Add(-time.Minute), truth); off != (72 * time.Hour).Milliseconds() {
		t.Errorf("the first one again is corrected by %d", off)
	}
	second := judge(wrong, 2, truth.Add(5*day), truth)
	if second != (5*day).Milliseconds() || second == first {
		t.Errorf("a wrong clock is corrected by %d after %d", second, first)
	}
	for range 100 { // a machine that sleeps and wakes: its own clock was right
		wrong.doubt()
		if off := judge(wrong, wrong.seq+1, truth.Add(5*day+time.Second), truth); off != second {
			t.Fatalf("a clock that is as wrong as before is corrected by %d after %d", off, second)
		}
	}
	if n := len(wrong.wrong[0].Spans); n != 2 {
		t.Errorf("%d spans", n)
	}
}

// TestNothingIsCommittedBeforeItsOffsetIsSaved: else a crash between the two would let a resend become another point.
func TestNothingIsCommittedBeforeItsOffsetIsSaved(t *testing.T) { // REL-08
	clocks := &memory{fail: errors.New("no space")}
	l := &log{}
	in := New(DefaultConfig(), Deps{Journal: l, Devices: known, Models: models, Log: obs.Discard(), Metrics: prometheus.NewRegistry(), Clocks: clocks})
	close(in.ready)
	a := &acks{}
	if err := in.Submit(t.Context(), wire.Inbound{Speaker: washer, Topic: "devices/demo/w7/WM-1/telemetry", Payload: []byte(`{"ts":5000,"boot":1,"seq":1,"cycles":7}`), Ack: a}); err != nil {
		t.Fatal(err)
	}
	c := in.swap(newCycle(4))
	if err := in.append(t.Context(), c.records(time.Now())); err == nil || l.calls != 0 {
		t.Errorf("appended %d times with %v", l.calls, err)
	}
	clocks.fail = nil
	if err := in.append(t.Context(), c.records(time.Now())); err != nil || l.calls != 1 || len(clocks.bodies) != 1 {
		t.Errorf("appended %d times with %v, %d snapshots", l.calls, err, len(clocks.bodies))
	}
}

// TestEachMessageThreeTimes: whatever is sent again, in any order, adds no point and changes none.
func TestEachMessageThreeTimes(t *testing.T) { // REL-08
	rapid.Check(t, func(t *rapid.T) {
		msgs := messages(t)
		f := &fixture{now: at("12:00:00"), clocks: &memory{}}
		samePoints(t, len(msgs), f.run(t, rapid.Permutation(slices.Concat(msgs, msgs, msgs)).Draw(t, "order")...))
	})
}

// TestEachMessageAgainAfterARestart: neither does what is sent again after a restart, in the order of before, as MQTT wants it.
func TestEachMessageAgainAfterARestart(t *testing.T) { // REL-08
	rapid.Check(t, func(t *rapid.T) {
		msgs := messages(t)
		f := &fixture{now: at("12:00:00"), clocks: &memory{}}
		first := f.run(t, msgs[:rapid.IntRange(0, len(msgs)).Draw(t, "restart")]...)
		again := f.run(t, slices.Concat(msgs, msgs)...)
		samePoints(t, len(msgs), first+again+f.run(t, msgs...))
	})
}

// messages draws readings of two boots in order, some of them by clocks that are wrong.
func messages(t *rapid.T) (msgs []string) {
	base := at("12:00:00")
	for boot := range 2 {
		for i := range rapid.IntRange(1, 5).Draw(t, "n") {
			clock := rapid.SampledFrom([]time.Time{base, base.Add(6 * time.Hour), base.Add(-3 * time.Hour), time.Unix(86400, 0)}).Draw(t, "clock")
			msgs = append(msgs, fmt.Sprintf(`{"ts":%d,"boot":%d,"seq":%d,"cycles":%d}`, clock.Add(time.Duration(len(msgs))*time.Second).UnixMilli(), boot+1, i, len(msgs)))
		}
	}
	return msgs
}

// samePoints wants n points in a batch, whatever occurs again being the same.
func samePoints(t *rapid.T, n int, batch string) {
	points := map[string]string{}
	for line := range strings.SplitSeq(strings.TrimSpace(batch), "\n") {
		cut := strings.LastIndexByte(line, ' ')
		series, fields, _ := strings.Cut(line[:cut], " ")
		key := series + line[cut:]
		if old, ok := points[key]; ok && old != fields {
			t.Fatalf("%s is %s and %s", key, old, fields)
		}
		points[key] = fields
	}
	if len(points) != n {
		t.Fatalf("%d points of %d messages:\n%s", len(points), n, batch)
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	tr, m := newTracks(), &memory{}
	now := at("12:00:00")
	for i := range 500 {
		k := fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprint("D-", i)}
		x := tr.get(k)
		x.clocks[i%2].tell(1, 1, time.Unix(int64(i), 0), now)
		tr.changed(k, x)
	}
	if err := tr.save(t.Context(), m, now); err != nil {
		t.Fatal(err)
	}
	back := newTracks()
	if err := back.load(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		k := fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprint("D-", i)}
		was, is := tr.get(k).clocks[i%2].wrong, back.get(k).clocks[i%2].wrong
		if d := cmp.Diff(was, is, cmpopts.IgnoreFields(bootClock{}, "Class")); d != "" || len(is) != 1 || is[0].Spans[0].To != math.MaxInt64 {
			t.Fatalf("%v: %s", k, d)
		}
	}
	m.bodies[clocksKey(3)] = []byte("{")
	if err := newTracks().load(t.Context(), m); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("a broken snapshot: %v", err)
	}
}

func BenchmarkJudge(b *testing.B) {
	c := &clock{}
	r := &fleet.Reading{HasSeq: true, Boot: 1, Time: time.Now()}
	now := r.Time.UnixMilli()
	b.ReportAllocs()
	for b.Loop() {
		r.Seq++
		c.judge(r, now, false, testLimits)
	}
}
