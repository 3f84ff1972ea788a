package wire

import (
	"errors"
	"testing"
	"time"

	"aftercare/internal/fleet"

	"github.com/google/go-cmp/cmp"
	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"pgregory.net/rapid"
)

func TestAppendReading(t *testing.T) {
	r := fleet.Reading{Device: fleet.DeviceKey{Tenant: "demo", Serial: "WM-1"}, Model: "washer-w7", Time: time.UnixMilli(1700000000123), Boot: 3, Seq: 1044, HasSeq: true,
		Fields: []fleet.Field{{Name: "a", Value: fleet.Value{Type: fleet.Integer, Int: -5}}, str("s", `x"\ y,=`), num("f", "1.50", 1.5)}}
	want := `washer-w7,serial=WM-1,tenant=demo a=-5i,s="x\"\\ y,=",f=1.50,boot=3i,seq=1044i 1700000000123836903` + "\n"
	if got := string(AppendReading(nil, &r)); got != want {
		t.Errorf("got  %s want %s", got, want)
	}
	r.Class, r.HasSeq = fleet.Event, false
	if got := string(AppendReading(nil, &r)); got != `event,model=washer-w7,serial=WM-1,tenant=demo a=-5i,s="x\"\\ y,=",f=1.50 1700000000123000000`+"\n" {
		t.Error(got)
	}
}

func TestNextLineRefuses(t *testing.T) {
	for _, bad := range []string{"x", "m a=1 5", "m,tenant=t,serial=s a=1", "m,tenant=t,serial=s a= 5", "m,tenant=t,serial=s 5", `m,tenant=t,serial=s a="x 5`,
		"m,tenant=t,serial=s a=1i,b 5", "m,tenant=t,serial=s,x=y a=1 5", "m,tenant=t,serial=s a=NaN 5", "m,tenant=t,serial=s a=1 x", `m,tenant=t,serial=s a="\`} {
		var r fleet.Reading
		rest, err := NextLine([]byte(bad+"\nnext"), &r)
		if !errors.Is(err, ErrLine) || string(rest) != "next" {
			t.Errorf("%q: %v, rest %q", bad, err, rest)
		}
	}
}

// TestBatchRoundTrip: what is appended comes back, and a library that others use reads the same out of it.
func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := genReading(t)
		line := AppendReading(nil, &r)
		var back fleet.Reading
		if _, err := NextLine(line, &back); err != nil {
			t.Fatal(err)
		}
		if !back.Time.Equal(r.Time) {
			t.Fatalf("time %v, want %v", back.Time, r.Time)
		}
		back.Time = r.Time
		if d := cmp.Diff(r, back); d != "" {
			t.Fatalf("%s: %s", line, d)
		}
		dec := lineprotocol.NewDecoderWithBytes(line)
		if !dec.Next() {
			t.Fatalf("the library does not read %s", line)
		}
		if _, err := dec.Measurement(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			k, _, err := dec.NextTag()
			if err != nil {
				t.Fatal(err)
			}
			if k == nil {
				break
			}
		}
		for {
			k, _, err := dec.NextField()
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if k == nil {
				break
			}
			n++
		}
		if want := len(r.Fields) + 2*b2i(r.HasSeq); n != want {
			t.Fatalf("the library sees %d fields, want %d", n, want)
		}
	})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func genReading(t *rapid.T) fleet.Reading {
	r := fleet.Reading{Model: rapid.StringMatching(`[a-z][a-z0-9-]{0,10}x`).Draw(t, "model"),
		Device: fleet.DeviceKey{Tenant: "t", Serial: rapid.StringMatching(`[A-Z0-9][A-Z0-9._-]{0,10}`).Draw(t, "serial")},
		Class:  fleet.Class(rapid.IntRange(0, 2).Draw(t, "class")), Time: time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "ms"))}
	if r.HasSeq = rapid.Bool().Draw(t, "hasSeq"); r.HasSeq {
		r.Boot, r.Seq = rapid.Int64Min(0).Draw(t, "boot"), rapid.Int64Min(0).Draw(t, "seq")
	}
	for i := range rapid.IntRange(1, 5).Draw(t, "n") {
		f := fleet.Field{Name: string(rune('a' + i))}
		switch f.Value.Type = fleet.FieldType(rapid.IntRange(0, 3).Draw(t, "type")); f.Value.Type {
		case fleet.Float:
			f.Value.Float = rapid.Float64().Draw(t, "f")
		case fleet.Integer:
			f.Value.Int = rapid.Int64().Draw(t, "i")
		case fleet.Boolean:
			f.Value.Int = int64(rapid.IntRange(0, 1).Draw(t, "b"))
		default:
			f.Value.Str = rapid.StringMatching(`[ -~äß€😀]{0,12}`).Draw(t, "s")
		}
		r.Fields = append(r.Fields, f)
	}
	return r
}

func TestFoldKeepsReadingsOfOneMillisecondApart(t *testing.T) {
	seen := map[int64]bool{}
	for boot := range int64(20) {
		for seq := range int64(500) {
			seen[Fold(boot, seq)] = true
		}
	}
	if len(seen) != 20*500 {
		t.Errorf("%d of %d different", len(seen), 20*500)
	}
}
