package wire

import (
	"testing"
	"time"

	"aftercare/internal/fleet"

	"github.com/fxamacker/cbor/v2"
)

// referencePayloads are the reference reading in every format that Decoder takes.
func referencePayloads(tb testing.TB) map[fleet.Format][]byte {
	tb.Helper()
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		tb.Fatal(err)
	}
	asCBOR, err := mode.Marshal(map[string]any{"ts": 1700000000123, "boot": 3, "seq": 1044, "drain_s": float32(55.2), "vibration_mm_s": float32(3.1),
		"temp_c": float32(41.5), "cycles": 812, "phase": "spin", "door": false})
	if err != nil {
		tb.Fatal(err)
	}
	type m = map[int]any
	asSenML, err := mode.Marshal([]m{{-3: 1700000000.123, 0: "boot", 2: 3}, {0: "seq", 2: 1044}, {0: "drain_s", 2: float32(55.2)}, {0: "vibration_mm_s", 2: float32(3.1)},
		{0: "temp_c", 2: float32(41.5)}, {0: "cycles", 2: 812}, {0: "phase", 3: "spin"}, {0: "door", 4: false}})
	if err != nil {
		tb.Fatal(err)
	}
	return map[fleet.Format][]byte{
		fleet.FormatJSON: []byte(reference),
		fleet.FormatSenMLJSON: []byte(`[{"bt":1700000000.123,"n":"boot","v":3},{"n":"seq","v":1044},{"n":"drain_s","v":55.2},{"n":"vibration_mm_s","v":3.1},` +
			`{"n":"temp_c","v":41.5},{"n":"cycles","v":812},{"n":"phase","vs":"spin"},{"n":"door","vb":false}]`),
		fleet.FormatSenMLCBOR: asSenML,
		fleet.FormatCBOR:      asCBOR,
		fleet.FormatLine:      []byte("m drain_s=55.2,vibration_mm_s=3.1,temp_c=41.5,cycles=812i,phase=\"spin\",door=false,boot=3i,seq=1044i 1700000000123000000\n"),
	}
}

// The reference reading, decoded only and decoded and encoded, in every format.
func BenchmarkFormats(b *testing.B) {
	payloads := referencePayloads(b)
	buf := make([]byte, 0, 4096)
	drop := func(*fleet.Reading, []byte) error { return nil }
	encode := func(r *fleet.Reading, _ []byte) error {
		r.Device, r.Model = fleet.DeviceKey{Tenant: "demo", Serial: "WM-0001"}, "washer-w7"
		buf = AppendReading(buf[:0], r)
		return nil
	}
	for f := fleet.FormatJSON; f <= fleet.FormatLine; f++ {
		for name, yield := range map[string]func(*fleet.Reading, []byte) error{"decode": drop, "encode": encode} {
			b.Run(f.String()+"/"+name, func(b *testing.B) {
				var d Decoder
				b.ReportAllocs()
				b.SetBytes(int64(len(payloads[f])))
				for b.Loop() {
					if err := d.Decode(f, payloads[f], goldenNow, yield); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// The reference reading as a Sparkplug message of a device, decoded and encoded.
func BenchmarkSparkplug(b *testing.B) {
	payload := AppendSparkplug(nil, &SparkplugPayload{Time: time.UnixMilli(1700000000123), HasSeq: true, Seq: 7, Metrics: []SparkplugMetric{
		{Name: "drain_s", Type: SpFloat, Value: fleet.Value{Float: 55.2}}, {Name: "vibration_mm_s", Type: SpFloat, Value: fleet.Value{Float: 3.1}},
		{Name: "temp_c", Type: SpFloat, Value: fleet.Value{Float: 41.5}}, {Name: "cycles", Type: SpInt32, Value: whole(812)},
		{Name: "phase", Type: SpString, Value: fleet.Value{Type: fleet.String, Str: "spin"}}, {Name: "door", Type: SpBoolean, Value: boolValue(false)},
		{Name: "boot", Type: SpInt64, Value: whole(3)}, {Name: "seq", Type: SpInt64, Value: whole(1044)}}})
	var d SparkplugDecoder
	var p SparkplugPayload
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		if err := d.Decode(payload, &p); err != nil {
			b.Fatal(err)
		}
		if err := d.Readings(&p, func(r *fleet.Reading) error {
			r.Device, r.Model = fleet.DeviceKey{Tenant: "demo", Serial: "WM-0001"}, "washer-w7"
			buf = AppendReading(buf[:0], r)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestFormatsMeanTheSame: the reference reading is the same line in every format, and the decoder's buffers are enough for
// it: no allocation but the one of the line protocol library.
func TestFormatsMeanTheSame(t *testing.T) {
	payloads := referencePayloads(t)
	want := map[string]string{}
	read := func(f fleet.Format) *fleet.Reading {
		var d Decoder
		var out fleet.Reading
		if err := d.Decode(f, payloads[f], goldenNow, func(r *fleet.Reading, _ []byte) error {
			out = clone(r)
			return nil
		}); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		return &out
	}
	first := read(fleet.FormatJSON)
	for _, field := range first.Fields {
		want[field.Name] = field.Value.Str
	}
	for f := range payloads {
		r := read(f)
		if !r.Time.Equal(first.Time) || r.Boot != 3 || r.Seq != 1044 || !r.HasSeq || len(r.Fields) != len(want) {
			t.Errorf("%s: %+v", f, r)
		}
		for _, field := range r.Fields {
			if want[field.Name] != field.Value.Str {
				t.Errorf("%s: %s is %q, want %q", f, field.Name, field.Value.Str, want[field.Name])
			}
		}
		var d Decoder
		limit := map[fleet.Format]float64{fleet.FormatLine: 1}[f]
		if n := testing.AllocsPerRun(100, func() { _ = d.Decode(f, payloads[f], goldenNow, func(*fleet.Reading, []byte) error { return nil }) }); n > limit {
			t.Errorf("%s: %v allocations, at most %v", f, n, limit)
		}
	}
}
