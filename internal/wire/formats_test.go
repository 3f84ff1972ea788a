package wire

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"pgregory.net/rapid"
)

func TestFormatOf(t *testing.T) {
	for in, want := range map[string]fleet.Format{
		"application/json": fleet.FormatJSON, "Application/JSON; charset=utf-8": fleet.FormatJSON, " application/senml+json ": fleet.FormatSenMLJSON,
		"application/senml+cbor": fleet.FormatSenMLCBOR, "application/cbor": fleet.FormatCBOR, "application/vnd.influxdata.line-protocol": fleet.FormatLine, "line": fleet.FormatLine,
	} {
		if f, ok := FormatOf(in); !ok || f != want {
			t.Errorf("%q: %v %v", in, f, ok)
		}
	}
	for _, in := range []string{"", "text/plain", "application/octet-stream", "sparkplug", "application/jsonx", "application/xml", ";"} {
		if f, ok := FormatOf(in); ok {
			t.Errorf("%q is %v", in, f)
		}
	}
	if n := testing.AllocsPerRun(10, func() { FormatOf("application/json; charset=utf-8") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if _, err := decodeAs(fleet.FormatSparkplug, []byte("x")); reasonOf(err) != ReasonFormat {
		t.Error(err)
	}
}

// refuses checks that each payload is refused for its reason, as SEC-08 wants it of every format.
func refuses(t *testing.T, f fleet.Format, cases map[string]string) {
	t.Helper()
	for in, reason := range cases {
		if out, err := decodeAs(f, []byte(in)); reasonOf(err) != reason {
			t.Errorf("%s %.70q: %v, want %s (%s)", f, in, err, reason, out)
		}
	}
}

func TestSenMLRefuses(t *testing.T) { // SEC-08, RFC 8428
	refuses(t, fleet.FormatSenMLJSON, map[string]string{
		``: ReasonSyntax, `{}`: ReasonSyntax, `[]`: ReasonEmpty, `[{}]`: ReasonEmpty, `[{"n":"a","v":1}] x`: ReasonSyntax, `[{"n":"a","v":1},]`: ReasonSyntax,
		`[{"n":"a","v":1,}]`: ReasonSyntax, `[{"n":"a" "v":1}]`: ReasonSyntax, `[{"n":"a","v":1`: ReasonSyntax, `[{"n":"a","v":1}`: ReasonSyntax,
		`[{"n":"a"}]`: ReasonEmpty, `[{"bn":"x/"}]`: ReasonEmpty, `[{"v":1}]`: ReasonName, `[{"bver":11,"n":"a","v":1}]`: ReasonVersion, `[{"bver":1.5,"n":"a","v":1}]`: ReasonVersion,
		`[{"bver":10,"n":"a","v":1},{"bver":9,"n":"b","v":1}]`: ReasonVersion, `[{"n":"a","v":1,"magic_":1}]`: ReasonRequired, `[{"n":"a","v":1,"vb":true}]`: ReasonSyntax,
		`[{"n":"a","v":1,"v":2}]`: ReasonDuplicate, `[{"n":"a","v":1},{"n":"a","v":2}]`: ReasonDuplicate, `[{"n":"a","v":"1"}]`: ReasonSyntax, `[{"n":"a","v":null}]`: ReasonSyntax,
		`[{"n":5,"v":1}]`: ReasonSyntax, `[{"bn":"urn:dev:ow:1:","n":"a","v":1},{"bn":"urn:dev:ow:2:","n":"b","v":1}]`: ReasonName, `[{"n":"a b","v":1}]`: ReasonName,
		`[{"bn":"x:","n":"","v":1}]`: ReasonName, `[{"n":"time","v":1}]`: ReasonName, `[{"n":"ts","v":1}]`: ReasonName, `[{"n":"seq","v":-1}]`: ReasonNumber,
		`[{"n":"a","v":1,"t":1e12}]`: ReasonTime, `[{"n":"a","v":1,"t":-3e8}]`: ReasonTime, `[{"n":"a","v":1,"t":-1e300}]`: ReasonTime, `[{"n":"a","vd":"a b"}]`: ReasonString,
		`[{"n":"a","v":1e999}]`: ReasonNumber, `[{"bv":1e308,"n":"a","v":1e308}]`: ReasonNumber, `[{"n":"a","vs":"\u0000"}]`: ReasonString, `[{"n":"` + strings.Repeat("a", 65) + `","v":1}]`: ReasonName,
		`[{"n":"a","v":1,"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}]`: ReasonDepth,
		`[` + strings.Repeat(`{"bt":1},`, MaxReadings) + `{"n":"a","v":1}]`:               ReasonTooMany,
		`[` + senmlRecords(MaxKeys+1) + `]`:                                               ReasonKeys,
	})
}

func senmlRecords(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"n":"k%d","v":1}`, i)
	}
	return b.String()[1:]
}

func TestSenMLTimes(t *testing.T) {
	for in, want := range map[string]string{
		`[{"n":"a","v":1}]`:                                              "0",             // no time: as in JSON
		`[{"n":"a","v":1,"t":0}]`:                                        "1700000100000", // now
		`[{"n":"a","v":1,"t":-2.5}]`:                                     "1700000097500",
		`[{"n":"a","v":1,"t":268435455}]`:                                "1968435555000",
		`[{"n":"a","v":1,"t":268435456}]`:                                "268435456000",
		`[{"bt":1700000000,"n":"a","v":1,"t":0.0004}]`:                   "1700000000000",
		`[{"bt":1700000000},{"n":"a","v":1,"t":-1},{"n":"b","v":2}]`:     "1699999999000 1700000000000",
		`[{"n":"b","v":2,"t":5},{"n":"a","v":1},{"n":"c","v":1,"t":-7}]`: "1700000093000 1700000100000 1700000105000",
	} {
		var d Decoder
		var got []string
		err := d.Decode(fleet.FormatSenMLJSON, []byte(in), goldenNow, func(r *fleet.Reading, raw []byte) error {
			ms := int64(0)
			if !r.Time.IsZero() {
				ms = r.Time.UnixMilli()
			}
			if got = append(got, strconv.FormatInt(ms, 10)); string(raw) != in {
				t.Errorf("raw is %q", raw)
			}
			return nil
		})
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v, want %s", in, got, err, want)
		}
	}
}

func unhex(s string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestCBORRefuses(t *testing.T) { // SEC-08
	many := map[string]int{}
	for i := range MaxKeys + 1 {
		many[fmt.Sprintf("k%d", i)] = i
	}
	tooMany, _ := cbor.Marshal(many)
	long, _ := cbor.Marshal(map[string]string{"a": strings.Repeat("x", MaxString+1)})
	blob, _ := cbor.Marshal(map[string][]byte{"a": make([]byte, MaxString)})
	bignum, _ := cbor.Marshal(map[string]*big.Int{"a": new(big.Int).Lsh(big.NewInt(1), 70)})
	refuses(t, fleet.FormatCBOR, map[string]string{
		"": ReasonSyntax, unhex("05"): ReasonSyntax, unhex("a16161"): ReasonSyntax, unhex("a1616101 00"): ReasonSyntax, unhex("80"): ReasonEmpty, unhex("8105"): ReasonSyntax,
		unhex("a1 01 02"): ReasonName, unhex("a1 41 61 02"): ReasonName, unhex("a2 6161 01 6161 02"): ReasonDuplicate, unhex("a1 6161 80"): ReasonArray,
		unhex("a1 6161 f97e00"): ReasonNumber, unhex("a1 6161 f97c00"): ReasonNumber, unhex("a1 6161 fbfff0000000000000"): ReasonNumber, unhex("a1 6161 d820 6161"): ReasonTag,
		unhex("a1 6161 61ff"): ReasonUTF8, unhex("a1 6161 610a"): ReasonString, unhex("a1 61 20 01"): ReasonName, unhex("a1 64 74696d65 01"): ReasonName,
		unhex("a1 63736571 20"): ReasonNumber, unhex("a1 627473 f93c00"): ReasonTime, unhex("a1 627473 c1 6161"): ReasonTime, unhex("a1 627473 c2 4101"): ReasonTime,
		unhex("a1 627473 1bffffffffffffffff"): ReasonTime, unhex("a2 627473 01 627473 02"): ReasonDuplicate, unhex("a1 6161 e0"): ReasonSyntax, unhex("9f"): ReasonSyntax,
		strings.Repeat(unhex("a1 6161"), 40) + "\x01": ReasonDepth, strings.Repeat(unhex("a1 6161"), 33) + "\x01": ReasonDepth, unhex("9a ffffffff"): ReasonTooMany, unhex("ba ffffffff"): ReasonKeys,
		string(tooMany): ReasonKeys, string(long): ReasonString, string(blob): ReasonString, string(bignum): ReasonTag,
		unhex("a2 68 72656164696e6773 81 a16161 01 6161 02"): ReasonSyntax, unhex("a1 68 72656164696e6773 80"): ReasonEmpty,
	})
	refuses(t, fleet.FormatSenMLCBOR, map[string]string{
		"": ReasonSyntax, unhex("a0"): ReasonSyntax, unhex("80"): ReasonEmpty, unhex("8101"): ReasonSyntax, unhex("81 a2 00 6161 02 f6"): ReasonSyntax, unhex("81 a3 00 6161 02 01 02 02"): ReasonDuplicate,
		unhex("81 a3 20 0b 00 6161 02 01"): ReasonVersion, unhex("81 a3 00 6161 02 01 62785f 01"): ReasonRequired, unhex("81 a2 00 6161 08 6161"): ReasonSyntax, unhex("81 a2 00 6161 02 fb7ff8000000000000"): ReasonNumber,
	})
}

func TestLineRefuses(t *testing.T) { // SEC-08
	var many strings.Builder
	for i := range MaxKeys + 1 {
		fmt.Fprintf(&many, ",k%d=1", i)
	}
	refuses(t, fleet.FormatLine, map[string]string{
		"": ReasonEmpty, "\n\n": ReasonEmpty, "m": ReasonSyntax, "m ": ReasonSyntax, "m a=": ReasonSyntax, "m a=1 2 3": ReasonTime, "m a=NaN": ReasonSyntax, "m a=inf": ReasonSyntax,
		"m a=1e999": ReasonNumber, "m a=9223372036854775808i": ReasonNumber, "m a=-1u": ReasonSyntax, `m a="x`: ReasonSyntax, "m a\\ b=1": ReasonName, "m a\\,b=1": ReasonName, "m a\\=b=1": ReasonName,
		"m tenant=1": ReasonName, "m ts=1": ReasonName, "m a=1,a=2": ReasonDuplicate, "m a=\"x\ny\"": ReasonString, `m a="\n"`: ReasonString, "m a=\"\xff\"": ReasonUTF8,
		"m seq=-1i": ReasonNumber, "m a=1 99999999999999999999": ReasonTime, "m x=1" + many.String(): ReasonKeys, "m a=\"" + strings.Repeat("x", MaxString+1) + "\"": ReasonString,
		"m " + strings.Repeat("a", 65) + "=1": ReasonName, strings.Repeat("m a=1\n", MaxReadings+1): ReasonTooMany,
	})
}

// TestLineRoundTrip: whatever a client's library writes comes back as it was meant, and nothing in a text gets out of its
// quotes (SEC-08).
func TestLineRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var enc lineprotocol.Encoder
		enc.StartLine("m x,y")
		enc.AddTag("serial", "other,tenant=x")
		var want []fleet.Field
		for i := range rapid.IntRange(1, 6).Draw(t, "n") {
			name := fmt.Sprintf("f%d", i)
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				n := rapid.Int64().Draw(t, "int")
				enc.AddField(name, lineprotocol.MustNewValue(n))
				want = append(want, num(name, strconv.FormatInt(n, 10), float64(n)))
			case 1:
				n := rapid.Uint64().Draw(t, "uint")
				enc.AddField(name, lineprotocol.MustNewValue(n))
				want = append(want, num(name, strconv.FormatUint(n, 10), float64(n)))
			case 2:
				f := rapid.Float64().Filter(func(f float64) bool { return !math.IsInf(f, 0) && !math.IsNaN(f) }).Draw(t, "float")
				enc.AddField(name, lineprotocol.MustNewValue(f))
				want = append(want, num(name, "", f))
			case 3:
				b := rapid.Bool().Draw(t, "bool")
				enc.AddField(name, lineprotocol.MustNewValue(b))
				want = append(want, fleet.Field{Name: name, Value: boolValue(b)})
			default:
				s := rapid.StringMatching(`[ -~äß😀]{0,20}`).Draw(t, "text")
				enc.AddField(name, lineprotocol.MustNewValue(s))
				want = append(want, str(name, s))
			}
		}
		at := time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "ms"))
		enc.EndLine(at)
		if enc.Err() != nil {
			t.Fatal(enc.Err())
		}
		var d Decoder
		var got fleet.Reading
		if err := d.Decode(fleet.FormatLine, enc.Bytes(), goldenNow, func(r *fleet.Reading, _ []byte) error {
			got = clone(r)
			return nil
		}); err != nil {
			t.Fatalf("%s: %v", enc.Bytes(), err)
		}
		sameReading(t, fleet.Reading{Time: at, Fields: want}, got)
	})
}

// TestCBORRoundTrip: what a library encodes is what is decoded, and its journal line says the same.
func TestCBORRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := map[string]any{}
		var want fleet.Reading
		for i := range rapid.IntRange(1, 6).Draw(t, "n") {
			name := fmt.Sprintf("f%d", i)
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				n := rapid.Int64().Draw(t, "int")
				in[name] = n
				want.Fields = append(want.Fields, num(name, strconv.FormatInt(n, 10), float64(n)))
			case 1:
				n := rapid.Uint64().Draw(t, "uint")
				in[name] = n
				want.Fields = append(want.Fields, num(name, strconv.FormatUint(n, 10), float64(n)))
			case 2:
				f := rapid.Float64().Filter(func(f float64) bool { return !math.IsInf(f, 0) && !math.IsNaN(f) }).Draw(t, "float")
				in[name] = f
				want.Fields = append(want.Fields, num(name, "", f))
			case 3:
				f := rapid.Float32().Filter(func(f float32) bool { return !math.IsInf(float64(f), 0) && f == f }).Draw(t, "float32")
				in[name] = f
				text := strconv.FormatFloat(float64(f), 'g', -1, 32)
				back, _ := strconv.ParseFloat(text, 64)
				want.Fields = append(want.Fields, num(name, text, back))
			case 4:
				b := rapid.Bool().Draw(t, "bool")
				in[name] = map[string]any{"x": b}
				want.Fields = append(want.Fields, fleet.Field{Name: name + ".x", Value: boolValue(b)})
			default:
				s := rapid.StringMatching(`[ -~äß😀]{0,20}`).Draw(t, "text")
				in[name] = s
				want.Fields = append(want.Fields, str(name, s))
			}
		}
		in["boot"], in["seq"] = 3, 4
		want.Boot, want.Seq, want.HasSeq = 3, 4, true
		mode, err := cbor.EncOptions{Sort: cbor.SortCanonical}.EncMode()
		if err != nil {
			t.Fatal(err)
		}
		payload, err := mode.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var d Decoder
		var got fleet.Reading
		if err := d.Decode(fleet.FormatCBOR, payload, goldenNow, func(r *fleet.Reading, _ []byte) error {
			got = clone(r)
			return nil
		}); err != nil {
			t.Fatalf("%x: %v", payload, err)
		}
		sameReading(t, want, got)
	})
}

// sameReading compares fields by name, and got with its own journal line.
func sameReading(t *rapid.T, want, got fleet.Reading) {
	t.Helper()
	got.Device, got.Model = fleet.DeviceKey{Tenant: "t", Serial: "s"}, "m1"
	want.Device, want.Model = got.Device, got.Model
	for i := range got.Fields {
		for j := range want.Fields {
			if want.Fields[j].Name == got.Fields[i].Name {
				if want.Fields[j].Value.Type == fleet.Float && want.Fields[j].Value.Str == "" {
					want.Fields[j].Value.Str = got.Fields[i].Value.Str
				}
				want.Fields[i], want.Fields[j] = want.Fields[j], want.Fields[i]
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatal(d)
	}
	if got.Time.IsZero() {
		got.Time = time.UnixMilli(0)
	}
	line := AppendReading(nil, &got)
	var back fleet.Reading
	if rest, err := NextLine(line, &back); err != nil || len(rest) != 0 || bytes.Count(line, []byte("\n")) != 1 {
		t.Fatalf("%s: %v", line, err)
	}
	for i := range got.Fields {
		if got.Fields[i].Value.Type == fleet.Float {
			got.Fields[i].Value.Str = ""
		}
	}
	if d := cmp.Diff(got, back); d != "" {
		t.Fatalf("%s: %s", line, d)
	}
}

func fuzzFormat(f *testing.F, formats ...fleet.Format) {
	f.Helper()
	goldenFiles(f, func(_ string, format fleet.Format, payload []byte) {
		for _, want := range formats {
			if format == want {
				f.Add(payload)
			}
		}
	})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var d Decoder
		for _, format := range formats {
			n := 0
			_ = d.Decode(format, payload, goldenNow, func(r *fleet.Reading, _ []byte) error {
				if n++; n > MaxReadings || len(r.Fields) > MaxKeys {
					t.Fatalf("%d readings, %d fields", n, len(r.Fields))
				}
				comesBack(t, payload, r)
				return nil
			})
		}
	})
}

func FuzzDecodeSenMLJSON(f *testing.F) { fuzzFormat(f, fleet.FormatSenMLJSON) }
func FuzzDecodeSenMLCBOR(f *testing.F) { fuzzFormat(f, fleet.FormatSenMLCBOR) }
func FuzzDecodeCBOR(f *testing.F)      { fuzzFormat(f, fleet.FormatCBOR) }
func FuzzDecodeLine(f *testing.F)      { fuzzFormat(f, fleet.FormatLine) }
