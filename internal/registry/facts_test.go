package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/registry"
)

// factsLog is the journal: the newest facts of each device.
type factsLog struct {
	mu    sync.Mutex
	fails int // of the next appends, so many fail after having stored what they were given
	last  map[fleet.DeviceKey]fleet.Facts
	n     int

	stored chan fleet.Facts // nil: nobody listens
}

func (l *factsLog) AppendFacts(_ context.Context, facts []fleet.Facts) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		l.last = map[fleet.DeviceKey]fleet.Facts{}
	}
	for _, f := range facts {
		l.last[f.Device] = f
		l.n++
		if l.stored != nil {
			l.stored <- f
		}
	}
	if l.fails > 0 {
		l.fails--
		return errors.New("no answer")
	}
	return nil
}

func withProfile(d *registry.Deps) {
	d.Models[0].Components = []fleet.Component{{Name: "drain-pump"}, {Name: "seal"}}
}

// TestEveryChangeReachesTheJournal: whatever changes, in whichever process, and wherever the sender fails or dies, in the end
// the journal's newest facts of every device are those in SQL.
func TestEveryChangeReachesTheJournal(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir() // one installation a case
		open := func() process {
			p, err := tryStart(t, dir, nil, withProfile)
			must(t, err)
			return p
		}
		p := open()
		devices := make([]fleet.Device, 0, 5)
		for i := range 5 {
			devices = append(devices, washer(fmt.Sprintf("W-%d", i)))
		}
		_, err := p.Import(t.Context(), devices)
		must(t, err)
		log := &factsLog{}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			k := devices[rapid.IntRange(0, 4).Draw(rt, "device")].Key
			switch rapid.IntRange(0, 6).Draw(rt, "what") {
			case 0:
				err = p.SetLimits(t.Context(), k, map[string]float64{"r.slow": float64(rapid.IntRange(1, 9).Draw(rt, "limit"))}, nil)
			case 1:
				err = p.Serviced(t.Context(), k, fleet.Service{Component: "seal"})
			case 2:
				err = p.AddSpan(t.Context(), k, registry.Storage, fleet.Span{})
			case 3:
				err = p.Revoke(t.Context(), k)
			case 4:
				err = p.SendFacts(t.Context(), log)
			case 5:
				log.fails = 1
				err = p.SendFacts(t.Context(), log)
			case 6:
				p = open() // the process died
			}
			_ = err // what may not be, such as a revoked device, changes nothing
		}
		log.fails = 0
		must(t, p.SendFacts(t.Context(), log))
		for _, d := range devices {
			want, err := p.Facts(t.Context(), d.Key)
			must(t, err)
			if diff := cmp.Diff(want, log.last[d.Key], cmpopts.IgnoreFields(fleet.Facts{}, "At")); diff != "" {
				rt.Fatalf("%s: -want +got\n%s", d.Key, diff)
			}
		}
		sent := log.n
		must(t, p.SendFacts(t.Context(), log))
		if log.n != sent {
			rt.Fatalf("%d facts were sent again without a change", log.n-sent)
		}
	})
}

// TestALargeImportIsSentWhole, and once, also when it fills its pages exactly.
func TestALargeImportIsSentWhole(t *testing.T) {
	for _, n := range []int{2500, 2000} {
		largeImport(t, n)
	}
}

func largeImport(t *testing.T, n int) {
	t.Helper()
	p := start(t, t.TempDir(), nil)
	devices := make([]fleet.Device, 0, n)
	for i := range n {
		d := washer(fmt.Sprintf("W-%d", i))
		d.Batch = strings.Repeat("b", 3000) // no rule can mean it
		devices = append(devices, d)
	}
	_, err := p.Import(t.Context(), devices)
	must(t, err)
	log := &factsLog{}
	must(t, p.SendFacts(t.Context(), log))
	must(t, p.SendFacts(t.Context(), log))
	if len(log.last) != n || log.n != n || len(log.last[key("W-7")].Batch) > 128 {
		t.Errorf("%d devices in %d facts, batch of %d bytes", len(log.last), log.n, len(log.last[key("W-7")].Batch))
	}
}

// TestRunFactsSendsWhatIsNewAndTriesAgain runs on the real clock: SQL does not go together with synctest.
func TestRunFactsSendsWhatIsNewAndTriesAgain(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	_, err := p.Register(t.Context(), washer("W-1"))
	must(t, err)
	log := &factsLog{fails: 1, stored: make(chan fleet.Facts, 10)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.RunFacts(ctx, log) }()
	next := func(serial string) {
		t.Helper()
		if f := <-log.stored; f.Device.Serial != serial {
			t.Fatalf("%s was sent, want %s", f.Device.Serial, serial)
		}
	}
	next("W-1")
	next("W-1") // after the failure
	_, err = p.Register(t.Context(), washer("W-2"))
	must(t, err)
	next("W-2")
	cancel()
	must(t, <-done)
}

func TestSpansOfADevice(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := start(t, t.TempDir(), func() time.Time { return now })
	_, err := p.Register(t.Context(), washer("W-1"))
	must(t, err)
	k := key("W-1")
	span := func(from, to time.Duration) fleet.Span { return fleet.Span{From: now.Add(from), To: now.Add(to)} }
	must(t, p.AddSpan(t.Context(), k, registry.Maintenance, span(-time.Hour, time.Hour)))
	for _, s := range []fleet.Span{span(-2*time.Hour, -30*time.Minute), span(0, time.Minute), {From: now}, {From: now.Add(-24 * time.Hour)}} {
		if err := p.AddSpan(t.Context(), k, registry.Maintenance, s); fleet.CodeOf(err) != fleet.CodeConflict {
			t.Errorf("%s: %v", registry.SpanText(s), err)
		}
	}
	if err := p.AddSpan(t.Context(), k, registry.Maintenance, span(time.Hour, time.Hour)); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("an empty span: %v", err)
	}
	must(t, p.AddSpan(t.Context(), k, registry.Maintenance, span(time.Hour, 2*time.Hour))) // right behind
	must(t, p.AddSpan(t.Context(), k, registry.Storage, fleet.Span{}))                     // of another kind
	must(t, p.EndSpan(t.Context(), k, registry.Maintenance))                               // the running one
	must(t, p.EndSpan(t.Context(), k, registry.Maintenance))                               // the one to come
	if err := p.EndSpan(t.Context(), k, registry.Maintenance); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("a third end: %v", err)
	}
	f, err := p.Facts(t.Context(), k)
	must(t, err)
	want := fleet.Facts{Device: k, Model: "washer-w7", Maintenance: []fleet.Span{span(-time.Hour, 0)}, Stored: []fleet.Span{{From: now}}}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	now = now.Add(60 * 24 * time.Hour) // long over: not among the facts any more
	must(t, p.EndSpan(t.Context(), k, registry.Storage))
	log := &factsLog{}
	must(t, p.SendFacts(t.Context(), log))
	if f := log.last[k]; len(f.Maintenance) != 0 || len(f.Stored) != 1 || !f.At.Equal(now) {
		t.Errorf("facts %+v", f)
	}
}

func TestWhatCannotBeSaidOfADevice(t *testing.T) {
	p, err := tryStart(t, t.TempDir(), nil, withProfile)
	must(t, err)
	_, err = p.Register(t.Context(), washer("W-1"))
	must(t, err)
	k := key("W-1")
	wants := func(err error, code fleet.Code, text string) {
		t.Helper()
		if fleet.CodeOf(err) != code || text != "" && (err == nil || !strings.Contains(err.Error(), text)) {
			t.Errorf("%v: want %s, %q", err, code, text)
		}
	}
	wants(p.Serviced(t.Context(), k, fleet.Service{Component: "pump"}), fleet.CodeInvalid, "drain-pump, seal")
	wants(p.Serviced(t.Context(), k, fleet.Service{Component: "seal", At: time.Now().Add(time.Hour)}), fleet.CodeInvalid, "future")
	wants(p.SetLimits(t.Context(), k, nil, []string{"r.slow"}), fleet.CodeNotFound, "it has none")
	wants(p.EndSpan(t.Context(), k, registry.Storage), fleet.CodeNotFound, "not in storage")
	wants(p.Serviced(t.Context(), key("W-9"), fleet.Service{Component: "seal"}), fleet.CodeNotFound, "not registered")
	must(t, p.Serviced(registry.WithActor(t.Context(), "cli"), k, fleet.Service{Component: "seal"}))
	if f, err := p.Facts(t.Context(), k); err != nil || len(f.Services) != 1 || f.Services[0].By != "cli" {
		t.Errorf("facts %+v, %v", f, err)
	}
	must(t, p.Revoke(t.Context(), k))
	wants(p.AddSpan(t.Context(), k, registry.Storage, fleet.Span{}), fleet.CodeInvalid, "revoked")
}

// TestFactsWhenTheClockGoesBack: what is told later is never of an earlier time, or it would be taken for something older.
func TestFactsWhenTheClockGoesBack(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := start(t, t.TempDir(), func() time.Time { return now })
	_, err := p.Register(t.Context(), washer("W-1"))
	must(t, err)
	k, log := key("W-1"), &factsLog{}
	must(t, p.SendFacts(t.Context(), log))
	first := log.last[k].At
	now = now.Add(-5 * time.Second)
	must(t, p.AddSpan(t.Context(), k, registry.Maintenance, fleet.Span{}))
	must(t, p.SendFacts(t.Context(), log))
	if f := log.last[k]; f.At.Before(first) || len(f.Maintenance) != 1 {
		t.Errorf("told at %s, before that %s: %+v", f.At, first, f)
	}
}
