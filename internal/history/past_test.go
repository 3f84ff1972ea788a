//go:build !slim

package history

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// TestReadingsOfThePast: more than a page of telemetry with events and presence between, in order of time, each once.
func TestReadingsOfThePast(t *testing.T) {
	h := open(t)
	var body []byte
	var want []string
	for n := range int64(pastPage + 50) {
		r := reading(washer, t0.Add(time.Duration(n)*time.Second), n, number("drain_s", float64(n)), fleet.Field{Name: "mode", Value: fleet.Value{Type: fleet.String, Str: `a "b", c`}})
		body = wire.AppendReading(body, r)
		if n < 10 || n >= pastPage+40 {
			continue
		}
		want = append(want, fmt.Sprint(fleet.Telemetry, " ", n, " ", r.Time.UnixMilli()))
		if n%1000 != 0 {
			continue
		}
		for _, class := range []fleet.Class{fleet.Event, fleet.Status, fleet.Presence} {
			e := reading(washer, r.Time.Add(time.Millisecond*time.Duration(class)), n, fleet.Field{Name: "code", Value: fleet.Value{Type: fleet.String, Str: "E18"}})
			e.Class = class
			body = wire.AppendReading(body, e)
			if class != fleet.Status {
				want = append(want, fmt.Sprint(class, " ", n, " ", e.Time.UnixMilli()))
			}
		}
	}
	other := reading(fleet.DeviceKey{Tenant: "demo", Serial: "WM-0002"}, t0.Add(time.Minute), 1, number("drain_s", 1))
	h.store(t, body, lineOf(other))
	var got []string
	err := h.Readings(t.Context(), washer, model, t0.Add(10*time.Second), t0.Add((pastPage+40)*time.Second), func(r *fleet.Reading) error {
		got = append(got, fmt.Sprint(r.Class, " ", r.Seq, " ", r.Time.UnixMilli()))
		if r.Device != washer || r.Model != model || r.Boot != 3 || !r.HasSeq || len(r.Fields) == 0 {
			return fmt.Errorf("reading %+v", r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d readings, want %d", len(got), len(want))
	}
}

// TestFindingsOfThePast: the newest of each rule before a moment, with when it opened.
func TestFindingsOfThePast(t *testing.T) {
	h := open(t)
	var recs []wire.Record
	put := func(rule string, opened, at time.Duration, revision int, phase fleet.Phase, severity fleet.Severity) {
		f := fleet.Finding{ID: fleet.ID("find", rule, fmt.Sprint(opened)), Revision: revision, Phase: phase, Device: washer, Model: model, Rule: rule,
			Problem: "p", Kind: fleet.KindFault, Severity: severity, OpenedAt: t0.Add(opened), At: t0.Add(at), Live: revision > 0}
		r, err := wire.EncodeFinding(0, f)
		if err != nil {
			t.Fatal(err)
		}
		r.Seq = uint64(len(recs) + 1)
		recs = append(recs, r)
	}
	put("a", 0, 0, 0, fleet.Opened, fleet.Watch)
	put("a", 0, time.Hour, 1, fleet.Updated, fleet.Danger) // another severity is another series
	put("b", 0, 0, 0, fleet.Opened, fleet.Due)
	put("b", 0, time.Hour, 1, fleet.Cleared, fleet.Due)
	put("c", 3*time.Hour, 3*time.Hour, 0, fleet.Opened, fleet.Due) // later
	runAll(t, h.RunFindings, &feed{recs: recs})
	got, err := h.Findings(t.Context(), washer, t0.Add(2*time.Hour))
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	slices.SortFunc(got, func(x, y fleet.Finding) int { return int(x.Rule[0]) - int(y.Rule[0]) })
	a, b := got[0], got[1]
	if a.Rule != "a" || a.ID != fleet.ID("find", "a", "0s") || a.Revision != 1 || a.Phase != fleet.Updated || !a.Live || a.Severity != fleet.Danger ||
		!a.OpenedAt.Equal(t0) || !a.At.Equal(t0.Add(time.Hour)) || a.Device != washer || a.Model != model || a.Kind != fleet.KindFault || a.Problem != "p" {
		t.Errorf("a: %+v", a)
	}
	if b.Rule != "b" || b.Phase != fleet.Cleared || b.Revision != 1 {
		t.Errorf("b: %+v", b)
	}
	if got, err = h.Findings(t.Context(), fleet.DeviceKey{Tenant: "demo", Serial: "nobody"}, t0.Add(2*time.Hour)); err != nil || len(got) != 0 {
		t.Errorf("of nobody: %+v, %v", got, err)
	}
}
