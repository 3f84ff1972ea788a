package wire

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

var spTimeBase = time.UnixMilli(1700000000123)

func whole(n int64) fleet.Value { return fleet.Value{Type: fleet.Integer, Int: n} }

// metrics decodes a payload and returns copies of its readings.
func metrics(payload []byte) (*SparkplugPayload, []fleet.Reading, error) {
	var d SparkplugDecoder
	var p SparkplugPayload
	if err := d.Decode(payload, &p); err != nil {
		return &p, nil, err
	}
	var out []fleet.Reading
	err := d.Readings(&p, func(r *fleet.Reading) error {
		out = append(out, clone(r))
		return nil
	})
	return &p, out, err
}

func clone(r *fleet.Reading) fleet.Reading {
	c := *r
	c.Fields = nil
	for _, f := range r.Fields {
		f.Name, f.Value.Str = strings.Clone(f.Name), strings.Clone(f.Value.Str)
		c.Fields = append(c.Fields, f)
	}
	return c
}

func TestSparkplugBirthAndData(t *testing.T) {
	birth := AppendSparkplug(nil, &SparkplugPayload{Time: spTimeBase, HasSeq: true, Seq: 0, Metrics: []SparkplugMetric{
		{Name: "bdSeq", Type: SpInt64, Value: whole(4)},
		{Name: "Node Control/Rebirth", Type: SpBoolean, Value: boolValue(false)},
		{Name: "Motor/Temp C", Alias: 1, HasAlias: true, Type: SpFloat, Time: spTimeBase.Add(-3 * time.Millisecond), Value: fleet.Value{Float: 55.2}},
		{Name: "cycles", Alias: 2, HasAlias: true, Type: SpInt32, Value: whole(-812)},
		{Name: "door", Alias: 3, HasAlias: true, Type: SpBoolean, Value: boolValue(true)},
		{Name: "phase", Type: SpString, Value: fleet.Value{Type: fleet.String, Str: `sp"in`}},
		{Name: "gone", Type: SpInt8, Null: true},
		{Name: "peek", Type: SpInt8, Transient: true, Value: whole(1)},
	}})
	p, got, err := metrics(birth)
	if err != nil {
		t.Fatal(err)
	}
	if !p.HasBdSeq || p.BdSeq != 4 || !p.HasSeq || p.Seq != 0 || !p.Time.Equal(spTimeBase) || len(p.Metrics) != 8 || p.Metrics[2].Alias != 1 || !p.Metrics[2].HasAlias {
		t.Errorf("%+v", p)
	}
	want := []fleet.Reading{{Time: spTimeBase, Fields: []fleet.Field{num("Motor.Temp_C", "55.2", 55.2), num("cycles", "-812", -812),
		{Name: "door", Value: fleet.Value{Type: fleet.Boolean, Int: 1}}, str("phase", `sp"in`)}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	// Data: aliases only, no types; the receiver remembers both.
	data := AppendSparkplug(nil, &SparkplugPayload{Time: spTimeBase, HasSeq: true, Seq: 1, Metrics: []SparkplugMetric{{Alias: 2, HasAlias: true, Value: whole(-813)}}})
	var d SparkplugDecoder
	if err := d.Decode(data, p); err != nil {
		t.Fatal(err)
	}
	m := &p.Metrics[0]
	if m.Value.Str != "18446744073709550803" {
		t.Errorf("without a type: %+v", m.Value)
	}
	p.Retype(m, SpInt64)
	if m.Name = "cycles"; m.Value.Str != "-813" || m.Err != nil {
		t.Errorf("with its type: %+v, %v", m.Value, m.Err)
	}
}

func TestSparkplugRefuses(t *testing.T) { // SEC-08
	long := strings.Repeat("x", MaxString+1)
	for name, c := range map[string]struct {
		m      SparkplugMetric
		reason string
	}{
		"NaN":           {SparkplugMetric{Name: "a", Type: SpDouble, Value: fleet.Value{Float: math.NaN()}}, ReasonNumber},
		"Inf":           {SparkplugMetric{Name: "a", Type: SpFloat, Value: fleet.Value{Float: math.Inf(1)}}, ReasonNumber},
		"newline":       {SparkplugMetric{Name: "a", Type: SpString, Value: fleet.Value{Type: fleet.String, Str: "x\ny z=1"}}, ReasonString},
		"long":          {SparkplugMetric{Name: "a", Type: SpString, Value: fleet.Value{Type: fleet.String, Str: long}}, ReasonString},
		"not utf8":      {SparkplugMetric{Name: "a", Type: SpString, Value: fleet.Value{Type: fleet.String, Str: "\xff"}}, ReasonUTF8},
		"other type":    {SparkplugMetric{Name: "a", Type: SpInt8, Value: boolValue(true)}, ReasonNumber},
		"int8 is 300":   {SparkplugMetric{Name: "a", Type: SpInt8, Value: whole(300)}, ReasonNumber},
		"uint8 is -1":   {SparkplugMetric{Name: "a", Type: SpUInt8, Value: whole(-1)}, ReasonNumber},
		"no name":       {SparkplugMetric{Alias: 5, HasAlias: true, Type: SpInt8, Value: whole(1)}, ReasonName},
		"injected name": {SparkplugMetric{Name: "a=1,b", Type: SpInt8, Value: whole(1)}, ReasonName},
		"reserved":      {SparkplugMetric{Name: "tenant", Type: SpInt8, Value: whole(1)}, ReasonName},
		"negative seq":  {SparkplugMetric{Name: "seq", Type: SpInt8, Value: whole(-1)}, ReasonNumber},
	} {
		_, got, err := metrics(AppendSparkplug(nil, &SparkplugPayload{Time: spTimeBase, Metrics: []SparkplugMetric{c.m}}))
		var de *DecodeError
		if !errors.As(err, &de) || de.Reason != c.reason || len(got) != 0 {
			t.Errorf("%s: %v, want %s (%v)", name, err, c.reason, got)
		}
	}
	two := &SparkplugPayload{Time: spTimeBase, Metrics: []SparkplugMetric{{Name: "a/b", Type: SpInt8, Value: whole(1)}, {Name: "a.b", Type: SpInt8, Value: whole(2)}}}
	if _, _, err := metrics(AppendSparkplug(nil, two)); reasonOf(err) != ReasonDuplicate {
		t.Errorf("two names that become one: %v", err)
	}
	group := protowire.AppendTag(nil, 9, protowire.StartGroupType)
	for in, reason := range map[string]string{"\x0a": ReasonSyntax, "\x12\x05a": ReasonSyntax, string(group): ReasonSyntax, "\x0a\x00": ReasonSyntax,
		"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01": ReasonTime, "\x18\x80\x02": ReasonNumber, strings.Repeat("\x12\x00", MaxMetrics+1): ReasonTooMany} {
		if _, _, err := metrics([]byte(in)); reasonOf(err) != reason {
			t.Errorf("%.20q: %v, want %s", in, err, reason)
		}
	}
}

func reasonOf(err error) string {
	var de *DecodeError
	if errors.As(err, &de) {
		return de.Reason
	}
	return ""
}

func TestSparkplugUnsupportedIsCounted(t *testing.T) {
	m := protowire.AppendString(protowire.AppendTag(nil, spName, protowire.BytesType), "table")
	m = protowire.AppendBytes(protowire.AppendTag(m, spDataSet, protowire.BytesType), []byte{8, 1})
	payload := protowire.AppendBytes(protowire.AppendTag(nil, spPayloadMetrics, protowire.BytesType), m)
	payload = append(payload, AppendSparkplug(nil, &SparkplugPayload{Time: spTimeBase, Metrics: []SparkplugMetric{{Name: "a", Type: SpInt8, Value: whole(1)}}})...)
	p, got, err := metrics(payload)
	if err != nil || p.Unsupported != 1 || len(got) != 1 || len(got[0].Fields) != 1 {
		t.Errorf("%v %d %v", err, p.Unsupported, got)
	}
}

func TestSparkplugHistoryIsReadingsOfTheirOwn(t *testing.T) {
	at := func(s int) time.Time { return spTimeBase.Add(time.Duration(s) * time.Second) }
	payload := AppendSparkplug(nil, &SparkplugPayload{Time: at(0), Metrics: []SparkplugMetric{
		{Name: "a", Type: SpInt8, Time: at(-1), Value: whole(4)},
		{Name: "a", Type: SpInt8, Time: at(-60), Historical: true, Value: whole(1)},
		{Name: "b", Type: SpInt8, Time: at(-60), Historical: true, Value: whole(2)},
		{Name: "a", Type: SpInt8, Time: at(-50), Historical: true, Value: whole(3)},
		{Name: "c", Type: SpInt8, Time: at(-2), Value: whole(5)},
		{Name: "d", Type: SpInt8, Time: at(-2), Value: whole(6)},
		{Name: "d", Type: SpInt8, Time: at(-1), Value: whole(7)},
	}})
	_, got, err := metrics(payload)
	want := []fleet.Reading{
		{Time: at(-60), Fields: []fleet.Field{num("a", "1", 1), num("b", "2", 2)}},
		{Time: at(-50), Fields: []fleet.Field{num("a", "3", 3)}},
		{Time: at(-2), Fields: []fleet.Field{num("d", "6", 6)}},
		{Time: at(-1), Fields: []fleet.Field{num("d", "7", 7)}},
		{Time: at(0), Fields: []fleet.Field{num("a", "4", 4), num("c", "5", 5)}},
	}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
}

// TestSparkplugIntegers: every integer type comes back as it was sent, whichever way a library writes negative ones.
func TestSparkplugIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		typ := SparkplugType(rapid.IntRange(1, 4).Draw(t, "type"))
		bits := 8 << (typ - 1)
		n := rapid.Int64Range(math.MinInt64>>(64-bits), math.MaxInt64>>(64-bits)).Draw(t, "n")
		wide := uint64(n)
		field := protowire.Number(spLong)
		if typ != SpInt64 && rapid.Bool().Draw(t, "int") {
			field = spInt
			if wide = uint64(uint32(n)); rapid.Bool().Draw(t, "narrow") {
				wide &= 1<<bits - 1
			}
		}
		m := appendVarint(appendVarint(nil, spType, uint64(typ)), field, wide)
		m = protowire.AppendString(protowire.AppendTag(m, spName, protowire.BytesType), "a")
		p, _, err := metrics(protowire.AppendBytes(protowire.AppendTag(nil, spPayloadMetrics, protowire.BytesType), m))
		if v := p.Metrics[0].Value; err != nil || v.Float != float64(n) || v.Str != string(appendValue(nil, &fleet.Value{Type: fleet.Integer, Int: n})[:len(v.Str)]) {
			t.Fatalf("%d as type %d: %+v, %v %v", n, typ, v, err, p.Metrics[0].Err)
		}
	})
}

func TestRebirthPayload(t *testing.T) {
	var d SparkplugDecoder
	var p SparkplugPayload
	if err := d.Decode(RebirthPayload(spTimeBase), &p); err != nil || len(p.Metrics) != 1 || p.Metrics[0].Name != "Node Control/Rebirth" || p.Metrics[0].Value != boolValue(true) || p.HasSeq {
		t.Errorf("%+v, %v", p, err)
	}
}

func FuzzDecodeSparkplug(f *testing.F) {
	f.Add(RebirthPayload(spTimeBase))
	f.Add(AppendSparkplug(nil, &SparkplugPayload{Time: spTimeBase, HasSeq: true, Seq: 3, Metrics: []SparkplugMetric{
		{Name: "a/b c", Type: SpFloat, Value: fleet.Value{Float: 1.5}}, {Name: "n", Type: SpInt64, Time: spTimeBase, Historical: true, Value: whole(-5)},
		{Name: "s", Type: SpString, Value: fleet.Value{Type: fleet.String, Str: `a"\b`}}, {Alias: 7, HasAlias: true, Value: boolValue(true)}}}))
	goldenFiles(f, func(_ string, format fleet.Format, payload []byte) {
		if format == fleet.FormatSparkplug {
			f.Add(payload)
		}
	})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var d SparkplugDecoder
		var p SparkplugPayload
		if d.Decode(payload, &p) != nil {
			return
		}
		for i := range p.Metrics {
			if p.Metrics[i].Name == "" {
				p.Metrics[i].Name = "alias"
			}
		}
		_ = d.Readings(&p, func(r *fleet.Reading) error {
			comesBack(t, payload, r)
			return nil
		})
	})
}
