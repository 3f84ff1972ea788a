package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"

	"github.com/google/go-cmp/cmp"
)

// decode returns deep copies of what a payload holds.
func decode(payload string) ([]fleet.Reading, error) {
	var out []fleet.Reading
	var d JSONDecoder
	err := d.Decode([]byte(payload), func(r *fleet.Reading, _ []byte) error {
		c := *r
		c.Fields = append([]fleet.Field(nil), r.Fields...)
		out = append(out, c)
		return nil
	})
	return out, err
}

func num(name, text string, f float64) fleet.Field {
	return fleet.Field{Name: name, Value: fleet.Value{Type: fleet.Float, Float: f, Str: text}}
}

func str(name, s string) fleet.Field {
	return fleet.Field{Name: name, Value: fleet.Value{Type: fleet.String, Str: s}}
}

func TestDecodeJSON(t *testing.T) {
	at := time.UnixMilli(1700000000123)
	for name, c := range map[string]struct {
		in   string
		want []fleet.Reading
	}{
		"object": {`{"ts":1700000000123,"boot":3,"seq":7,"temp_c":41.50,"phase":"spin","door":true,"x":null}`,
			[]fleet.Reading{{Time: at, Boot: 3, Seq: 7, HasSeq: true, Fields: []fleet.Field{num("temp_c", "41.50", 41.5), str("phase", "spin"),
				{Name: "door", Value: fleet.Value{Type: fleet.Boolean, Int: 1}}}}}},
		"array":                {` [ {"a":1} , {"a":-2e3} ] `, []fleet.Reading{{Fields: []fleet.Field{num("a", "1", 1)}}, {Fields: []fleet.Field{num("a", "-2e3", -2000)}}}},
		"envelope":             {`{"readings":[{"seq":1,"a":1}]}`, []fleet.Reading{{Seq: 1, HasSeq: true, Fields: []fleet.Field{num("a", "1", 1)}}}},
		"common boot":          {`{"boot":9,"readings":[{"seq":1,"a":1}]}`, []fleet.Reading{{Boot: 9, Seq: 1, HasSeq: true, Fields: []fleet.Field{num("a", "1", 1)}}}},
		"nested":               {`{"motor":{"temp":{"c":4}},"b":2}`, []fleet.Reading{{Fields: []fleet.Field{num("motor.temp.c", "4", 4), num("b", "2", 2)}}}},
		"rfc3339":              {`{"ts":"2023-11-14T23:13:20.123+01:00","a":1}`, []fleet.Reading{{Time: at, Fields: []fleet.Field{num("a", "1", 1)}}}},
		"escapes":              {`{"s":"a\"\\\/\u00e9\ud83d\ude00"}`, []fleet.Reading{{Fields: []fleet.Field{str("s", "a\"\\/é😀")}}}},
		"field named readings": {`{"readings":5}`, []fleet.Reading{{Fields: []fleet.Field{num("readings", "5", 5)}}}},
	} {
		got, err := decode(c.in)
		for i := range got {
			if got[i].Time.Equal(at) {
				got[i].Time = at
			}
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestDecodeJSONRefuses(t *testing.T) { // SEC-08
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	many := "{"
	for i := range 129 {
		many += fmt.Sprintf(`"k%d":1,`, i)
	}
	for in, reason := range map[string]string{
		``: ReasonSyntax, `5`: ReasonSyntax, `{`: ReasonSyntax, `{"a":1}}`: ReasonSyntax, `{"a":01}`: ReasonSyntax, `{"a":1,}`: ReasonSyntax,
		`{"a":NaN}`: ReasonSyntax, `{"a":1e999}`: ReasonNumber, `{"a":.5}`: ReasonSyntax, `{'a':1}`: ReasonSyntax, "{\"a\":\"\n\"}": ReasonSyntax,
		`{"a":"\u000a"}`: ReasonString, `{"a":"\ud800"}`: ReasonUTF8, "{\"a\":\"\xff\"}": ReasonUTF8, `{"a":1,"a":2}`: ReasonDuplicate,
		`{"a":{"b":1},"a.b":2}`: ReasonDuplicate, `{"a":[1]}`: ReasonArray, `{"a b":1}`: ReasonName, `{"time":1}`: ReasonName, `{"":1}`: ReasonName,
		`{"a,b=1":1}`: ReasonName, `{"seq":-1}`: ReasonNumber, `{"seq":1.5}`: ReasonNumber, `{"boot":1,"boot":2}`: ReasonDuplicate, `{"ts":"yesterday"}`: ReasonTime,
		`{"ts":true}`: ReasonTime, `{"ts":1.5}`: ReasonTime, `[]`: ReasonEmpty, `[1]`: ReasonSyntax, many + `"z":1}`: ReasonKeys, deep: ReasonDepth,
		`{"readings":[{"a":1}],"x":1}`: ReasonSyntax, `{"s":"` + strings.Repeat("x", 1025) + `"}`: ReasonString, "\ufeff{}": ReasonSyntax,
		strings.Repeat(`{"a":`, 31) + strings.Repeat("}", 31): ReasonSyntax,
	} {
		_, err := decode(in)
		var de *DecodeError
		if !errors.As(err, &de) || de.Reason != reason {
			t.Errorf("%.60q: %v, want %s", in, err, reason)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{`{"ts":1700000000123,"boot":3,"seq":7,"temp_c":41.50,"phase":"sp\"in","door":true}`, `[{"a":1}]`, `{"boot":1,"readings":[{"seq":2,"a":{"b":1e5}}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var d JSONDecoder
		_ = d.Decode(payload, func(r *fleet.Reading, raw []byte) error {
			comesBack(t, raw, r)
			return nil
		})
	})
}

// comesBack checks that a reading which was accepted is the same after AppendReading and NextLine (SEC-08).
func comesBack(t *testing.T, raw []byte, r *fleet.Reading) {
	t.Helper()
	r.Device, r.Model = fleet.DeviceKey{Tenant: "demo", Serial: "S-1"}, "m1"
	if len(r.Fields) == 0 || r.Time.Year() < 1970 || r.Time.Year() > 2200 {
		return
	}
	var back fleet.Reading
	rest, err := NextLine(AppendReading(nil, r), &back)
	if err != nil || len(rest) != 0 {
		t.Fatalf("%q does not come back: %v", raw, err)
	}
	for i := range r.Fields {
		if r.Fields[i].Value.Type == fleet.Float {
			r.Fields[i].Value.Str = ""
		}
	}
	if d := cmp.Diff(r.Fields, back.Fields); d != "" {
		t.Fatalf("%q: %s", raw, d)
	}
	if back.Seq != r.Seq || back.Boot != r.Boot || !back.Time.Equal(r.Time) {
		t.Fatalf("%q: boot %d seq %d time %v", raw, back.Boot, back.Seq, back.Time)
	}
}

const reference = `{"ts":1700000000123,"boot":3,"seq":1044,"drain_s":55.2,"vibration_mm_s":3.1,"temp_c":41.5,"cycles":812,"phase":"spin","door":false}`

func BenchmarkDecodeAppend(b *testing.B) {
	payload := []byte(reference)
	var d JSONDecoder
	buf := make([]byte, 0, 4096)
	yield := func(r *fleet.Reading, _ []byte) error {
		r.Device, r.Model = fleet.DeviceKey{Tenant: "demo", Serial: "WM-0001"}, "washer-w7"
		buf = AppendReading(buf[:0], r)
		return nil
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Decode(payload, yield); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNextLine(b *testing.B) {
	line := []byte("washer-w7,serial=WM-0001,tenant=demo drain_s=55.2,vibration_mm_s=3.1,temp_c=41.5,cycles=812i,phase=\"spin\",door=false,boot=3i,seq=1044i 1700000000123877903\n")
	var r fleet.Reading
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NextLine(line, &r); err != nil {
			b.Fatal(err)
		}
	}
}
