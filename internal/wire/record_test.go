package wire

import (
	"reflect"
	"testing"
	"time"

	"aftercare/internal/fleet"
)

func TestFactsAndActivationsReadBack(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	want := []fleet.Facts{
		{Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, At: at, Model: "washer-w7", Limits: map[string]float64{"washer-drain-slow.slow": 90},
			Stored: []fleet.Span{{From: at}}, Services: []fleet.Service{{Component: "drain-pump", At: at, By: "owner"}}},
		{Device: fleet.DeviceKey{Tenant: "demo", Serial: "a\nb"}, Model: "washer-w7"},
	}
	r, err := EncodeFacts(3, at, want...)
	if err != nil || r.Kind != KindFacts || r.Partition != 3 || !r.Received.Equal(at) {
		t.Fatalf("record %+v, %v", r, err)
	}
	var got []fleet.Facts
	for body := r.Body; len(body) > 0; {
		f, rest, err := NextFacts(body)
		if err != nil {
			t.Fatal(err)
		}
		got, body = append(got, f), rest
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if _, _, err := NextFacts([]byte("{")); err == nil {
		t.Error("half a line is taken for facts")
	}

	act := Activation{Set: "abc", By: "cli", Packs: map[string]string{"a.yaml": "pack: a", "b.yaml": "pack: b"}}
	r, err = EncodeActivation(1, at, act)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := DecodeActivation(&r); err != nil || !reflect.DeepEqual(back, act) {
		t.Errorf("activation %+v, %v", back, err)
	}
	r.Body = r.Body[:len(r.Body)/2]
	if _, err := DecodeActivation(&r); err == nil {
		t.Error("half an activation is taken for one")
	}
}

func TestSpanHolds(t *testing.T) {
	at := time.Unix(1000, 0)
	for _, c := range []struct {
		s    fleet.Span
		want bool
	}{
		{fleet.Span{From: at, To: at.Add(1)}, true},
		{fleet.Span{From: at.Add(-1), To: at}, false},
		{fleet.Span{From: at.Add(1)}, false},
		{fleet.Span{From: at.Add(-1)}, true},
	} {
		if c.s.Holds(at) != c.want {
			t.Errorf("%+v holds %v: want %v", c.s, at, c.want)
		}
	}
}
