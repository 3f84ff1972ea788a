//go:build !slim

package history

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/influxdata/influxql"
	"pgregory.net/rapid"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// day stores one device's readings of a day, one a minute: drain_s counts up, door is open in every other one.
func day(t *testing.T, h *setup) (from, to time.Time) {
	t.Helper()
	from = time.UnixMilli(1_700_006_400_000).UTC() // full hours
	var body []byte
	for i := range 1440 {
		r := reading(washer, from.Add(time.Duration(i)*time.Minute), int64(i), number("drain_s", float64(i)),
			fleet.Field{Name: "door", Value: fleet.Value{Type: fleet.Boolean, Int: int64(i % 2)}},
			fleet.Field{Name: "cycles", Value: fleet.Value{Type: fleet.Integer, Int: int64(1000 + i)}},
			fleet.Field{Name: "program", Value: fleet.Value{Type: fleet.String, Str: "cotton"}})
		body = wire.AppendReading(body, r)
	}
	other := reading(fleet.DeviceKey{Tenant: "demo", Serial: "WM-0002"}, from.Add(time.Hour), 1, number("drain_s", 1e6))
	foreign := reading(fleet.DeviceKey{Tenant: "rival", Serial: washer.Serial}, from.Add(2*time.Hour), 1, number("drain_s", 1e6))
	h.store(t, body, lineOf(other), lineOf(foreign))
	return from, from.Add(24 * time.Hour)
}

func TestSeries(t *testing.T) {
	h := open(t)
	from, to := day(t, h)
	raw, err := h.Series(t.Context(), washer, model, "drain_s", from.Add(time.Minute), from.Add(4*time.Minute), 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		raw[i].At = raw[i].At.Truncate(time.Millisecond)
	}
	if diff := cmp.Diff([]fleet.Point{{At: from.Add(time.Minute), Value: 1}, {At: from.Add(2 * time.Minute), Value: 2}, {At: from.Add(3 * time.Minute), Value: 3}}, raw); diff != "" {
		t.Error(diff)
	}
	for field, want := range map[string]float64{"drain_s": 29.5 + 60, "cycles": 1029.5 + 60, "door": 0.5} {
		hours, err := h.Series(t.Context(), washer, model, field, from, to, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if len(hours) != 24 || !hours[1].At.Equal(from.Add(time.Hour)) || hours[1].Value != want {
			t.Errorf("%s: %d hours, the second %v, want %v", field, len(hours), hours[1], want)
		}
	}
	for _, field := range []string{"program", "nothing"} {
		for _, every := range []time.Duration{0, time.Hour} {
			if got, err := h.Series(t.Context(), washer, model, field, from, to, every); err != nil || len(got) != 0 {
				t.Errorf("%s every %v: %v, %v, want no points", field, every, got, err)
			}
		}
	}
	if got, err := h.Series(t.Context(), washer, "no-such-model", "drain_s", from, to, 0); err != nil || len(got) != 0 {
		t.Errorf("unknown model: %v, %v", got, err)
	}
}

func TestTooManyPointsIsAnError(t *testing.T) {
	h := open(t, func(c *Config, _ *Deps) { c.MaxPoints = 100 })
	from, to := day(t, h)
	for _, every := range []time.Duration{0, time.Minute} {
		if _, err := h.Series(t.Context(), washer, model, "drain_s", from, to, every); fleet.CodeOf(err) != fleet.CodeInvalid {
			t.Errorf("every %v: %v, want CodeInvalid", every, err)
		}
	}
	if got, err := h.Series(t.Context(), washer, model, "drain_s", from, from.Add(100*time.Minute), 0); err != nil || len(got) != 100 {
		t.Errorf("100 points: %d, %v", len(got), err)
	}
}

func TestLatest(t *testing.T) {
	h := open(t)
	_, to := day(t, h)
	got, err := h.Latest(t.Context(), washer, model)
	if err != nil {
		t.Fatal(err)
	}
	want := fleet.Reading{Device: washer, Model: model, Time: to.Add(-time.Minute), Boot: 3, Seq: 1439, HasSeq: true, Fields: []fleet.Field{
		number("cycles", 2439),
		{Name: "door", Value: fleet.Value{Type: fleet.Boolean, Int: 1}},
		number("drain_s", 1439),
		{Name: "program", Value: fleet.Value{Type: fleet.String, Str: "cotton"}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := h.Latest(t.Context(), fleet.DeviceKey{Tenant: "demo", Serial: "nobody"}, model); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("unknown device: %v", err)
	}

	status := reading(washer, t0, 9, fleet.Field{Name: "online", Value: fleet.Value{Type: fleet.Boolean, Int: 1}})
	status.Class = fleet.Status
	h.store(t, lineOf(status))
	got, err = h.Latest(t.Context(), washer, wire.MeasurementStatus)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*status, got); diff != "" {
		t.Error(diff)
	}
}

// TestNothingStoredYet: on a new installation the database does not exist before the first write; that is no failure of a question.
func TestNothingStoredYet(t *testing.T) {
	h := open(t)
	if _, err := h.Latest(t.Context(), washer, model); fleet.CodeOf(err) != fleet.CodeNotFound {
		t.Errorf("latest: %v", err)
	}
	if got, err := h.Series(t.Context(), washer, model, "drain_s", t0, t0.Add(time.Hour), time.Minute); err != nil || len(got) != 0 {
		t.Errorf("series: %v, %v", got, err)
	}
}

func TestLastSeen(t *testing.T) {
	h := open(t)
	from, to := day(t, h)
	got, err := h.LastSeen(t.Context(), "demo", []string{model, "no-such-model"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]time.Time{"WM-0001": to.Add(-time.Minute), "WM-0002": from.Add(time.Hour)}, got); diff != "" {
		t.Error(diff)
	}
	if got, err := h.LastSeen(t.Context(), "demo", nil); err != nil || len(got) != 0 {
		t.Errorf("no models: %v, %v", got, err)
	}
}

func TestStatistics(t *testing.T) {
	h := open(t)
	from, to := day(t, h)
	got, err := h.Statistics(t.Context(), washer, model, "drain_s", from, to)
	if err != nil {
		t.Fatal(err)
	}
	if got.Count != 1440 || got.Mean != 719.5 || got.Min != 0 || got.Max != 1439 || got.P50 != 719 || got.P95 != 1367 || got.StdDev < 415 || got.StdDev > 417 {
		t.Errorf("%+v", got)
	}
	got, err = h.Statistics(t.Context(), washer, model, "nothing", from, to)
	if err != nil || got.Count != 0 {
		t.Errorf("no values: %+v, %v", got, err)
	}
}

// TestNothingIsCutSilently reads more rows than a server puts into one piece of an answer, in one series and in many.
func TestNothingIsCutSilently(t *testing.T) {
	h := open(t)
	const rows, devices = 25_000, 12_000
	bodies := make([][]byte, 0, rows+devices)
	for i := range rows {
		bodies = append(bodies, lineOf(reading(washer, t0.Add(time.Duration(i)*time.Second), int64(i), number("v", 1))))
	}
	for i := range devices {
		bodies = append(bodies, lineOf(reading(fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprintf("S-%05d", i)}, t0, 1, number("v", 1))))
	}
	h.store(t, bodies...)
	seqs, err := h.Seqs(t.Context(), "demo", model, washer.Serial)
	if err != nil {
		t.Fatal(err)
	}
	if got := seqs[washer.Serial]; len(seqs) != 1 || len(got) != rows || got[rows-1] != (Seq{3, rows - 1}) {
		t.Errorf("%d devices, %d rows", len(seqs), len(got))
	}
	all, err := h.Seqs(t.Context(), "demo", model, "")
	if err != nil || len(all) != devices+1 || len(all[washer.Serial]) != rows {
		t.Errorf("%d devices, %d rows, %v", len(all), len(all[washer.Serial]), err)
	}
	seen, err := h.LastSeen(t.Context(), "demo", []string{model})
	if err != nil || len(seen) != devices+1 {
		t.Errorf("%d devices seen, %v", len(seen), err)
	}
}

func TestAnAnswerThatBreaksOffIsAnError(t *testing.T) {
	none := func(*series) error { return nil }
	for name, body := range map[string]string{
		"more to come":  `{"results":[{"series":[{"name":"m","columns":["time"],"values":[[1]],"partial":true}],"partial":true}]}`,
		"half document": `{"results":[{"series":[{"name":"m"`,
		"error inside":  `{"results":[{"statement_id":0,"error":"max-select-point limit exceeded"}]}`,
		"error":         `{"error":"no"}`,
	} {
		if err := readAnswer(strings.NewReader(body), none); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNamesAreChecked(t *testing.T) {
	h := open(t)
	evil := `x' OR '1'='1`
	bad := fleet.DeviceKey{Tenant: "demo", Serial: evil}
	now := time.Now()
	_, e1 := h.Series(t.Context(), bad, model, "v", now.Add(-time.Hour), now, 0)
	_, e2 := h.Series(t.Context(), washer, `m"; DROP DATABASE x; --`, "v", now.Add(-time.Hour), now, 0)
	_, e3 := h.Series(t.Context(), washer, model, `v") FROM "other`, now.Add(-time.Hour), now, 0)
	_, e4 := h.Latest(t.Context(), bad, model)
	_, e5 := h.LastSeen(t.Context(), evil, []string{model})
	_, e6 := h.LastSeen(t.Context(), "demo", []string{evil})
	_, e7 := h.Seqs(t.Context(), "demo", model, evil)
	_, e8 := h.Count(t.Context(), evil, []string{model})
	_, e9 := h.Statistics(t.Context(), washer, model, evil, now.Add(-time.Hour), now)
	_, e10 := h.Series(t.Context(), washer, model, "v", now, now, 0)
	for i, err := range []error{e1, e2, e3, e4, e5, e6, e7, e8, e9, e10} {
		if fleet.CodeOf(err) != fleet.CodeInvalid {
			t.Errorf("case %d: %v, want CodeInvalid", i+1, err)
		}
	}
}

// TestASerialThatLooksLikeADate: InfluxQL reads some strings as times.
func TestASerialThatLooksLikeADate(t *testing.T) {
	h := open(t)
	key := fleet.DeviceKey{Tenant: "demo", Serial: "2023-11-14"}
	h.store(t, lineOf(reading(key, t0, 1, number("v", 7))))
	got, err := h.Series(t.Context(), key, model, "v", t0.Add(-time.Hour), t0.Add(time.Hour), 0)
	if err != nil || len(got) != 1 || got[0].Value != 7 {
		t.Errorf("%v, %v", got, err)
	}
}

// TestHostileStringsSurvive writes what a device may put into a string and reads it back.
func TestHostileStringsSurvive(t *testing.T) {
	h := open(t)
	seq := int64(0)
	check := func(values []string) error {
		var body []byte
		first := seq
		for _, v := range values {
			body = wire.AppendReading(body, reading(washer, t0.Add(time.Duration(seq)*time.Second), seq, fleet.Field{Name: "text", Value: fleet.Value{Type: fleet.String, Str: v}}))
			seq++
		}
		h.store(t, body)
		got := h.table(t, fmt.Sprintf(`SELECT "text" FROM %s WHERE seq >= %d`, quoteIdent(model), first))
		if len(got) != len(values) {
			return fmt.Errorf("%d values, want %d", len(got), len(values))
		}
		for i := range got {
			if got[i][0] != values[i] {
				return fmt.Errorf("got %q, want %q", got[i][0], values[i])
			}
		}
		return nil
	}
	if err := check([]string{`"`, `\`, `\\`, `\"`, `a,b=c d`, `' OR '1'='1`, "tab\there", "quote at the end\\", "#", "\u2028\u202e", "日本語", "\x01\x7f", "true", "12i", `\n`, " ", `","x="`}); err != nil {
		t.Error(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		values := rapid.SliceOfN(rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("\"\\ ,=\t'")))), 1, 20).Draw(rt, "values")
		for i := range values {
			values[i] = strings.NewReplacer("\n", "", "\r", "", "\x00", "").Replace(strings.ToValidUTF8(values[i], "?"))
		}
		if err := check(values); err != nil {
			rt.Fatal(err)
		}
	})
	h.wantRejected(t)
}

func FuzzQuoting(f *testing.F) {
	for _, s := range []string{"a", `"`, `'`, `\`, `\'`, "\n", "\r\n", "\x00", `x"; DROP DATABASE d; --`, "é", "2023-01-01", `a"."b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q := "SELECT " + quoteIdent(s) + " FROM " + quoteIdent(s) + " WHERE " + `"serial" = ` + quoteString(s)
		parsed, err := influxql.ParseQuery(q)
		if err != nil {
			if fleet.ValidName(s) {
				t.Fatalf("%s: %v", q, err)
			}
			return // refused by the server: no harm
		}
		if len(parsed.Statements) != 1 {
			t.Fatalf("%s: %d statements", q, len(parsed.Statements))
		}
		sel, ok := parsed.Statements[0].(*influxql.SelectStatement)
		if !ok || len(sel.Fields) != 1 || len(sel.Sources) != 1 {
			t.Fatalf("%s: parsed as %s", q, parsed.Statements[0])
		}
		cond, ok := sel.Condition.(*influxql.BinaryExpr)
		if !ok || cond.Op != influxql.EQ {
			t.Fatalf("%s: condition %s", q, sel.Condition)
		}
		value, isString := cond.RHS.(*influxql.StringLiteral)
		field, isRef := sel.Fields[0].Expr.(*influxql.VarRef)
		from, isMeasurement := sel.Sources[0].(*influxql.Measurement)
		if !isString || !isRef || !isMeasurement {
			t.Fatalf("%s: parsed as %s", q, sel)
		}
		if wire.ValidField(s) && (value.Val != s || field.Val != s || from.Name != s) {
			t.Fatalf("%s: value %q, field %q, measurement %q", q, value.Val, field.Val, from.Name)
		}
	})
}

func TestConfig(t *testing.T) {
	good := DefaultConfig()
	good.URL = "http://127.0.0.1:8086"
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	wrong := map[string]func(*Config){
		"url":           func(c *Config) { c.URL = "127.0.0.1:8086" },
		"database":      func(c *Config) { c.Database = "" },
		"batch_lines":   func(c *Config) { c.BatchLines = 0 },
		"writers":       func(c *Config) { c.Writers = -1 },
		"write_timeout": func(c *Config) { c.WriteTimeout = 0 },
		"retry_max":     func(c *Config) { c.RetryMax = 1 },
	}
	for field, spoil := range wrong {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "history."+field) {
			t.Errorf("wrong %s: %v", field, err)
		}
	}
	good.Token = "a:b"
	for _, s := range []string{fmt.Sprint(good), fmt.Sprintf("%+v", good), fmt.Sprintf("%#v", good)} {
		if strings.Contains(s, "a:b") {
			t.Errorf("prints the token: %s", s)
		}
	}
	if _, err := New(DefaultConfig(), Deps{}); err == nil {
		t.Error("New without a URL")
	}
}
