package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

// Scan and Delete let the test's journal be the quarantine.
func (l *log) Scan(_ context.Context, stream wire.Stream, from uint64, limit int) (out []wire.Record, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, r := range l.records {
		if r.Seq = uint64(i + 1); r.Stream == stream && r.Seq >= from && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}

func (l *log) Delete(_ context.Context, _ wire.Stream, seq uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records[seq-1].Stream, l.records[seq-1].Kind = "", ""
	return nil
}

func TestReingestAfterAFix(t *testing.T) { // REL-12
	l := &log{}
	b, a := start(t, l), &acks{}
	const topic = "devices/demo/w7/WM-1/telemetry"
	for i := range 150 {
		b.submit(t, washer, topic, fmt.Sprintf(`{"seq":%d,"boot":1,"cycles":1,"temp_c":500}`, i), a, 0)
	}
	b.submit(t, washer, topic, `{"boot":7,"readings":[{"seq":1,"cycles":1},{"seq":2,"cycles":1,"temp_c":400}]}`, a, 0)
	b.submit(t, washer, topic, `{`, a, 0)
	b.submit(t, drill, "devices/demo/d18/DR-1/telemetry", `{"x":1}`, a, 0)
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	_, aside := l.text(t)
	if len(aside) != 153 {
		t.Fatalf("%d put aside", len(aside))
	}
	fixed := models[0].Fields[0].Max
	models[0].Fields[0].Max = 1000
	defer func() { models[0].Fields[0].Max = fixed }()
	b = start(t, l)
	for _, c := range []struct {
		filter fleet.QuarantineFilter
		want   fleet.Reingest
	}{
		{fleet.QuarantineFilter{Tenant: "other"}, fleet.Reingest{}},
		{fleet.QuarantineFilter{Tenant: "demo", Since: time.Now().Add(time.Hour)}, fleet.Reingest{}},
		{fleet.QuarantineFilter{Tenant: "demo", Reason: "range", Model: "w7", Firmware: "1.2", Serial: "WM-1", Limit: 120}, fleet.Reingest{Tried: 120, Stored: 120, Remaining: 31}},
		{fleet.QuarantineFilter{Tenant: "demo"}, fleet.Reingest{Tried: 33, Stored: 31, StillBad: 2}},
		{fleet.QuarantineFilter{Tenant: "demo"}, fleet.Reingest{Tried: 2, StillBad: 2}},
	} {
		got, err := b.Reingest(t.Context(), l, c.filter)
		if err != nil || got != c.want {
			t.Errorf("%+v: %+v, %v; want %+v", c.filter, got, err, c.want)
		}
	}
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	lines, aside := l.text(t)
	left := make([]string, 0, len(aside))
	for _, q := range aside {
		left = append(left, q.Reason)
	}
	if d := cmp.Diff([]string{"syntax", "unknown_field"}, left); d != "" {
		t.Errorf("left aside: %s", d)
	}
	if strings.Count(lines, "\n") != 152 || !strings.Contains(lines, "temp_c=400,boot=7i,seq=2i") {
		t.Errorf("%d lines stored; the boot counter that readings share is lost", strings.Count(lines, "\n"))
	}
}

// slow is a quarantine that gives one page in time.
type slow struct{ *log }

func (s slow) Scan(ctx context.Context, stream wire.Stream, from uint64, limit int) ([]wire.Record, error) {
	if from > 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.log.Scan(ctx, stream, from, limit)
}

// TestReingestTellsWhatItDidInTime: an error would say that nothing was done, although most of it is.
func TestReingestTellsWhatItDidInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &log{}
		b := start(t, l)
		b.submit(t, washer, "devices/demo/w7/WM-1/telemetry", `{`, &acks{}, 0)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		want := fleet.Reingest{Tried: 1, StillBad: 1, Remaining: 1}
		if got, err := b.Reingest(ctx, slow{l}, fleet.QuarantineFilter{Tenant: "demo"}); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := b.Reingest(ctx, slow{l}, fleet.QuarantineFilter{Tenant: "demo"}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestQualityIsCountedAndFlushed(t *testing.T) { // REL-12
	kept := &sheets{fail: 1}
	l := &log{}
	in := New(DefaultConfig(), Deps{Journal: l, Devices: known, Models: models, Log: obs.Discard(), Metrics: prometheus.NewRegistry(), Quality: kept, Now: func() time.Time { return at("12:00:00") }})
	for _, p := range []string{`{"seq":1,"boot":1,"cycles":1,"extra":1}`, `{"ts":5,"seq":2,"boot":1,"cycles":1,"extra":1}`, `{"cycles":1}`, `{"cycles":"x"}`, `[{"cycles":1,"extra":2},{"cycles":2`} {
		if err := in.Submit(t.Context(), wire.Inbound{Speaker: washer, Topic: "devices/demo/w7/WM-1/telemetry", Payload: []byte(p)}); err != nil {
			t.Fatal(err)
		}
	}
	in.flush(t.Context()) // fails, and nothing is lost
	in.flush(t.Context())
	in.flush(t.Context())
	want := map[string]int64{"": 5, "unknown_kept extra": 2, "clock_corrected": 1, "unidentifiable": 1, "wrong_type cycles": 1, "syntax": 1}
	got := map[string]int64{}
	for _, r := range kept.rows {
		got[strings.TrimSpace(r.Reason+" "+r.Field)] += r.N
		if r.Tenant != "demo" || r.Model != "w7" || r.Firmware != "1.2" || !r.Day.Equal(at("00:00:00")) || !r.LastAt.Equal(at("12:00:00")) || r.Reason == "wrong_type" && r.Example == "" {
			t.Errorf("%+v", r)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestQualityIsBounded(t *testing.T) {
	q := newQuality()
	for i := range 1000 {
		s := q.open(sheetKey{tenant: "demo", model: "w7", firmware: fmt.Sprint(i), day: 1})
		for j := range 1000 {
			s.note(fleet.QualityUnknownKept, fmt.Sprint("f", i%7*1000+j), "", 1, at("12:00:00"))
		}
	}
	rows, n := q.rows(at("12:00:00")), int64(0)
	for _, r := range rows {
		n += r.N
	}
	if n != 1_000_000 || len(rows) > (maxFirmwares+1)*(maxRows+1) {
		t.Errorf("%d rows count %d", len(rows), n)
	}
}

// sheets keep rows; the first calls fail.
type sheets struct {
	fail int
	rows []fleet.Quality
}

func (s *sheets) SaveQuality(_ context.Context, rows []fleet.Quality) error {
	if s.fail--; s.fail >= 0 {
		return context.DeadlineExceeded
	}
	s.rows = append(s.rows, rows...)
	return nil
}
