package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

// log is a journal of which the test decides when it takes a cycle. (The real one is behind the gateway in the end-to-end tests.)
type log struct {
	mu      sync.Mutex
	records []wire.Record
	refuse  error         // what Append answers instead of taking
	gate    chan struct{} // when not nil, Append waits for it
	calls   int
}

func (l *log) Append(ctx context.Context, rs []wire.Record) error {
	l.mu.Lock()
	l.calls++
	gate, err := l.gate, l.refuse
	l.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range rs {
		r.Body = append([]byte(nil), r.Body...)
		l.records = append(l.records, r)
	}
	return nil
}

func (l *log) Partitions() int { return 4 }

func (l *log) PartitionOf(k fleet.DeviceKey) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(k.String()))
	return int(h.Sum32() % 4)
}

// text returns the lines and the quarantine records taken so far.
func (l *log) text(t *testing.T) (lines string, aside []fleet.Quarantined) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		switch r.Kind {
		case wire.KindReadings:
			lines += string(r.Body)
		case wire.KindQuarantine:
			var q fleet.Quarantined
			if err := json.Unmarshal(r.Body, &q); err != nil {
				t.Fatal(err)
			}
			aside = append(aside, q)
		}
	}
	return lines, aside
}

type devices map[fleet.DeviceKey]*fleet.Device

func (d devices) Device(k fleet.DeviceKey) (*fleet.Device, bool) { v, ok := d[k]; return v, ok }

func (d devices) SpeaksFor(id fleet.DeviceKey, serial string) bool {
	if id.Serial == serial {
		return true
	}
	c, ok := d[fleet.DeviceKey{Tenant: id.Tenant, Serial: serial}]
	return ok && c.Parent == id.Serial
}

var (
	washer = fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}
	drill  = fleet.DeviceKey{Tenant: "demo", Serial: "DR-1"}
	base   = fleet.DeviceKey{Tenant: "demo", Serial: "BS-1"}
	gone   = fleet.DeviceKey{Tenant: "demo", Serial: "WM-2"}
	known  = devices{
		washer: {Key: washer, Model: "w7", Firmware: "1.2"}, drill: {Key: drill, Model: "d18", Parent: "BS-1"},
		base: {Key: base, Model: "b4"}, gone: {Key: gone, Model: "w7", Revoked: true},
	}
	models = []fleet.Model{
		{ID: "w7", Fields: []fleet.FieldSpec{{Name: "temp_c", Unit: "°C", Min: -40, Max: 120, HasMin: true, HasMax: true}, {Name: "cycles", Type: fleet.Integer, Required: true},
			{Name: "door", Type: fleet.Boolean}, {Name: "phase", Type: fleet.String}}},
		{ID: "d18", Unknown: fleet.RefuseUnknown, Fields: []fleet.FieldSpec{{Name: "charge"}}},
		{ID: "b4", Unknown: fleet.DropUnknown, Fields: []fleet.FieldSpec{{Name: "volt"}}},
	}
)

// acks collects outcomes in the order they are heard.
type acks struct {
	mu  sync.Mutex
	got []string
}

func (a *acks) Done(ticket uint64, o wire.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got = append(a.got, fmt.Sprintf("%d:%d", ticket, o))
}

type bench struct {
	*Ingest
	log  *log
	reg  *prometheus.Registry
	stop func() error
}

func start(t *testing.T, l *log) *bench {
	t.Helper()
	reg := prometheus.NewRegistry()
	in := New(DefaultConfig(), Deps{Journal: l, Devices: known, Models: models, Log: obs.Discard(), Metrics: reg})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	var once sync.Once
	var err error
	b := &bench{Ingest: in, log: l, reg: reg, stop: func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}}
	t.Cleanup(func() { _ = b.stop() })
	return b
}

func (b *bench) submit(t *testing.T, who fleet.DeviceKey, topic, payload string, a wire.Acker, ticket uint64) {
	t.Helper()
	if err := b.Submit(t.Context(), wire.Inbound{Door: "gateway", Speaker: who, Topic: topic, Payload: []byte(payload), Ack: a, Ticket: ticket}); err != nil {
		t.Fatal(err)
	}
}

func TestWhatBecomesOfAMessage(t *testing.T) { // REL-12
	now := time.Now().UnixMilli()
	ts := fmt.Sprintf(`"ts":%d`, now)
	const wm = "devices/demo/w7/WM-1/telemetry"
	for name, c := range map[string]struct {
		who            fleet.DeviceKey
		topic, payload string
		want           wire.Outcome
		line, reason   string
	}{
		"good":              {washer, wm, `{` + ts + `,"boot":1,"seq":2,"temp_c":41.50,"cycles":7.0,"door":1,"phase":"spin"}`, wire.Stored, `temp_c=41.50,cycles=7i,door=true,phase="spin",boot=1i,seq=2i`, ""},
		"unknown kept":      {washer, wm, `{` + ts + `,"cycles":7,"extra":9}`, wire.Stored, "cycles=7i,extra=9 ", ""},
		"unknown refused":   {drill, "devices/demo/d18/DR-1/telemetry", `{` + ts + `,"x":1}`, wire.Quarantined, "", "unknown_field"},
		"unknown dropped":   {base, "devices/demo/b4/BS-1/telemetry", `{` + ts + `,"volt":5,"x":1}`, wire.Stored, "demo volt=5 ", ""},
		"station for child": {base, "devices/demo/d18/DR-1/telemetry", `{` + ts + `,"charge":55}`, wire.Stored, "d18,serial=DR-1,tenant=demo charge=55 ", ""},
		"event":             {washer, "devices/demo/w7/WM-1/event", `{` + ts + `,"code":"E18","noise":[]}`, wire.Quarantined, "", "array_value"},
		"event code":        {washer, "devices/demo/w7/WM-1/event", `{` + ts + `,"code":18,"noise":1}`, wire.Stored, `event,model=w7,serial=WM-1,tenant=demo code="18" `, ""},
		"status":            {washer, "devices/demo/w7/WM-1/status", `{"online":false,"reason":"will"}`, wire.Stored, `status,model=w7,serial=WM-1,tenant=demo online=false,reason="will" `, ""},
		"malformed":         {washer, wm, `{"cycles":7`, wire.Quarantined, "", "syntax"},
		"no field":          {washer, wm, `{` + ts + `}`, wire.Quarantined, "", "no_field"},
		"missing":           {washer, wm, `{` + ts + `,"temp_c":4}`, wire.Quarantined, "", "missing_field"},
		"range":             {washer, wm, `{` + ts + `,"cycles":1,"temp_c":400}`, wire.Quarantined, "", "range"},
		"type":              {washer, wm, `{` + ts + `,"cycles":1.5}`, wire.Quarantined, "", "wrong_type"},
		"absurd past":       {washer, wm, `{"ts":5,"cycles":1}`, wire.Stored, "cycles=1i,clock_off_ms=-1", ""},
		"absurd future":     {washer, wm, fmt.Sprintf(`{"ts":%d,"cycles":1}`, now+90_000_000), wire.Stored, "cycles=1i,clock_off_ms=", ""},
		"before 1970":       {washer, wm, `{"ts":-1,"cycles":1}`, wire.Quarantined, "", "timestamp"},
		"after 2262":        {washer, wm, `{"ts":"2263-01-01T00:00:00Z","cycles":1}`, wire.Quarantined, "", "timestamp"},
		"the mark itself":   {washer, wm, `{"cycles":1,"clock_off_ms":5}`, wire.Quarantined, "", "field_name"},
		"wrong model":       {washer, "devices/demo/b4/WM-1/telemetry", `{"volt":1}`, wire.Quarantined, "", "wrong_model"},
		"foreign":           {washer, "devices/demo/b4/BS-1/telemetry", `{"volt":1}`, wire.Refused, "", RefusedForeign},
		"child for station": {drill, "devices/demo/b4/BS-1/telemetry", `{"volt":1}`, wire.Refused, "", RefusedForeign},
		"other tenant":      {washer, "devices/evil/w7/WM-1/telemetry", `{"cycles":1}`, wire.Refused, "", RefusedForeign},
		"no device topic":   {washer, "devices/demo/#", `{"cycles":1}`, wire.Refused, "", RefusedTopic},
		"unknown device":    {fleet.DeviceKey{Tenant: "demo", Serial: "X"}, "devices/demo/w7/X/telemetry", `{"cycles":1}`, wire.Refused, "", RefusedUnknown},
		"revoked":           {gone, "devices/demo/w7/WM-2/telemetry", `{"cycles":1}`, wire.Refused, "", RefusedRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			b, a := start(t, &log{}), &acks{}
			b.submit(t, c.who, c.topic, c.payload, a, 9)
			if err := b.stop(); err != nil {
				t.Fatal(err)
			}
			if want := []string{fmt.Sprintf("9:%d", c.want)}; !cmp.Equal(a.got, want) {
				t.Fatalf("heard %v, want %v", a.got, want)
			}
			lines, aside := b.log.text(t)
			if !strings.Contains(lines, c.line) || c.line == "" && lines != "" {
				t.Errorf("lines %q, want %q", lines, c.line)
			}
			if c.want == wire.Quarantined && (len(aside) != 1 || aside[0].Reason != c.reason || string(aside[0].Payload) != c.payload) {
				t.Errorf("put aside %+v, want %s", aside, c.reason)
			}
			if _, by := b.Refusals(); c.want == wire.Refused && by[c.reason] != 1 {
				t.Errorf("refusals %v, want %s", by, c.reason)
			}
			b.conserved(t, 1)
		})
	}
}

// conserved asserts in = stored + quarantined + refused.
func (b *bench) conserved(t *testing.T, want float64) {
	t.Helper()
	sum := func(name string) (n float64) {
		families, err := b.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if f.GetName() == name {
					n += m.GetCounter().GetValue()
				}
			}
		}
		return n
	}
	in, out := sum("aftercare_readings_in_total"), sum("aftercare_readings_stored_total")+sum("aftercare_readings_quarantined_total")+sum("aftercare_readings_refused_total")
	if in != want || out != want {
		t.Errorf("in %v, stored + quarantined + refused %v, want %v", in, out, want)
	}
}

func TestABadReadingOfABatchCostsNoOther(t *testing.T) {
	b, a := start(t, &log{}), &acks{}
	b.submit(t, washer, "devices/demo/w7/WM-1/telemetry", `{"readings":[{"seq":1,"cycles":1},{"seq":2},{"seq":3,"cycles":3}]}`, a, 1)
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	lines, aside := b.log.text(t)
	if strings.Count(lines, "\n") != 2 || len(aside) != 1 || string(aside[0].Payload) != `{"seq":2}` {
		t.Errorf("lines %q, aside %+v", lines, aside)
	}
	b.conserved(t, 3)
}

// TestOneMessageCannotFloodTheJournal: what one message can make of records and bytes is bounded, and counted in full.
func TestOneMessageCannotFloodTheJournal(t *testing.T) {
	b, a := start(t, &log{}), &acks{}
	b.submit(t, washer, "devices/demo/w7/WM-1/telemetry", "["+strings.Repeat(`{"x":1},`, 7999)+`{"x":1}]`, a, 1)
	b.submit(t, washer, "devices/demo/w7/WM-1/telemetry", strings.Repeat("x", maxPayload+1), a, 2)
	b.submit(t, washer, "devices/demo/w7/WM-1/telemetry", "["+strings.Repeat(fmt.Sprintf(`{"cycles":1,"%s":1},`, strings.Repeat("n", 60)), 9000)+`{"cycles":1}]`, a, 3)
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	_, aside := b.log.text(t)
	if len(aside) != maxAside+2 {
		t.Errorf("%d records put aside, want %d", len(aside), maxAside+2)
	}
	if q := aside[maxAside]; q.Reason != reasonSize || len(q.Payload) != keptRaw || q.Cut != maxPayload+1 {
		t.Errorf("put aside for %s with %d bytes of %d", q.Reason, len(q.Payload), q.Cut)
	}
	if q := aside[maxAside+1]; q.Reason != reasonSize || len(q.Payload) < 700_000 || q.Cut != 0 {
		t.Errorf("put aside for %s with %d bytes, cut from %d: it fits", q.Reason, len(q.Payload), q.Cut)
	}
	if want := []string{"1:1", "2:1", "3:1"}; !cmp.Equal(a.got, want) {
		t.Errorf("heard %v, want %v", a.got, want)
	}
	b.conserved(t, 8002)
}

func TestNobodyHearsBeforeTheJournalHasIt(t *testing.T) { // REL-01, REL-02
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		b, a := start(t, l), &acks{}
		synctest.Wait()
		l.mu.Lock()
		l.refuse = errors.New("no space")
		l.mu.Unlock()
		for i := range uint64(5) {
			b.submit(t, washer, "devices/demo/w7/WM-1/telemetry", `{"cycles":1}`, a, i)
		}
		time.Sleep(time.Minute) // of the bubble's clock: the journal goes on refusing
		a.mu.Lock()
		if len(a.got) != 0 {
			t.Errorf("heard %v of what is not stored", a.got)
		}
		a.mu.Unlock()
		l.mu.Lock()
		l.refuse = nil
		l.mu.Unlock()
		time.Sleep(10 * time.Second)
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		if want := []string{"0:0", "1:0", "2:0", "3:0", "4:0"}; !cmp.Equal(a.got, want) {
			t.Errorf("heard %v, want %v", a.got, want)
		}
	})
}

func TestFullQueueMakesDoorsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		b, a := start(t, l), &acks{}
		b.cfg.QueueBytes = 1 // whatever is pending fills it
		synctest.Wait()
		gate := make(chan struct{})
		l.mu.Lock()
		l.gate = gate
		l.mu.Unlock()
		b.submit(t, washer, "devices/demo/w7/WM-1/telemetry", `{"cycles":1}`, a, 1) // is being committed
		synctest.Wait()
		b.submit(t, washer, "devices/demo/w7/WM-1/telemetry", `{"cycles":2}`, a, 2) // is pending
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.Submit(ctx, wire.Inbound{Speaker: washer, Topic: "devices/demo/w7/WM-1/telemetry", Payload: []byte(`{"cycles":3}`), Ack: a, Ticket: 3})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the third came back with %v", err)
		}
		close(gate)
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		if want := []string{"1:0", "2:0"}; !cmp.Equal(a.got, want) {
			t.Errorf("heard %v, want %v", a.got, want)
		}
		if err := b.Submit(t.Context(), wire.Inbound{Speaker: washer, Topic: "x"}); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestMarksStartTickStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		b := start(t, l)
		time.Sleep(12 * time.Second)
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		n := map[wire.Kind]int{}
		for _, r := range l.records {
			n[r.Kind]++
		}
		if n[wire.KindStart] != 4 || n[wire.KindStop] != 4 || n[wire.KindTick] != 4 {
			t.Errorf("marks %v: want 4 starts, 4 stops and a tick for each partition that was idle a whole interval", n)
		}
	})
}

func TestPulseCountsTheLastMinute(t *testing.T) {
	m := newMeter(prometheus.NewRegistry())
	at := time.Unix(1_700_000_000, 0)
	for i := range 120 { // two minutes, one reading a second
		m.cycle(&cycle{stored: 1}, at.Add(time.Duration(i)*time.Second), 0)
	}
	last := at.Add(119 * time.Second)
	for _, c := range []struct {
		after time.Duration
		want  float64
	}{{0, 60}, {30 * time.Second, 30}, {time.Hour, 0}} {
		after, want := c.after, c.want
		if n, l := m.pulse(last.Add(after)); n != want || !l.Equal(last) {
			t.Errorf("%v after the last: %v a minute, last %v; want %v", after, n, l, want)
		}
	}
}

func TestConfigNamesFieldAndValue(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Fatal(err)
	}
	err := Config{QueueBytes: 5, RecordBytes: 1 << 30, TickEvery: time.Minute, Clock: ClockConfig{MaxAhead: time.Minute, Earliest: "soon"}}.Validate()
	for _, want := range []string{"queue_bytes 5", "record_bytes 1073741824", `earliest "soon"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestCountersByDoor(t *testing.T) {
	b := start(t, &log{})
	b.Refuse(fleet.Refusal{Door: "gateway", Reason: "oversize"})
	if n := testutil.ToFloat64(b.meter.refused.WithLabelValues("gateway", "oversize")); n != 1 {
		t.Errorf("counted %v", n)
	}
	b.conserved(t, 1)
}

func BenchmarkSubmit(b *testing.B) {
	in := New(DefaultConfig(), Deps{Journal: &log{}, Devices: known, Models: models, Log: obs.Discard(), Metrics: prometheus.NewRegistry()})
	payload := []byte(`{"ts":` + fmt.Sprint(time.Now().UnixMilli()) + `,"boot":3,"seq":1044,"temp_c":41.5,"cycles":812,"door":false,"phase":"spin","a":55.2,"b":3.1}`)
	m := wire.Inbound{Door: "gateway", Speaker: washer, Topic: "devices/demo/w7/WM-1/telemetry", Payload: payload, Ack: &acks{}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%1000 == 0 {
			in.pending.reset()
		}
		if err := in.Submit(b.Context(), m); err != nil {
			b.Fatal(err)
		}
	}
}
