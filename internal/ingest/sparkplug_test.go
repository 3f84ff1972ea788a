package ingest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/wire"
)

// ears hear what ingest tells others.
type ears struct {
	mu   sync.Mutex
	said []string
}

func (e *ears) say(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.said = append(e.said, fmt.Sprintf(format, args...))
}

func (e *ears) Heard(d *fleet.Device, _ time.Time) { e.say("heard %s", d.Key.Serial) }
func (e *ears) Reported(d *fleet.Device, online bool, cause string, at time.Time) {
	e.say("%s %v %s %s", d.Key.Serial, online, cause, at.UTC().Format("15:04:05"))
}
func (e *ears) Observed(k fleet.DeviceKey, firmware string) { e.say("%s runs %s", k.Serial, firmware) }
func (e *ears) Publish(k fleet.DeviceKey, topic string, payload []byte) {
	e.say("to %s on %s: %d bytes", k.Serial, topic, len(payload))
}

// take returns what was said since the last call, signs of life left out.
func (e *ears) take() (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.said {
		if !strings.HasPrefix(s, "heard") {
			out = append(out, s)
		}
	}
	e.said = nil
	return out
}

// edgeTest is an edge node (the base station) with the drill behind it.
type edgeTest struct {
	*bench
	t    *testing.T
	ears *ears
	acks *acks
	now  time.Time
}

func newEdgeTest(t *testing.T) *edgeTest {
	e := &edgeTest{t: t, ears: &ears{}, acks: &acks{}, now: at("12:00:00")}
	reg, l := prometheus.NewRegistry(), &log{}
	in := New(DefaultConfig(), Deps{Journal: l, Devices: known, Models: []fleet.Model{{ID: "b4"}, {ID: "d18", Fields: []fleet.FieldSpec{{Name: "charge", Type: fleet.Integer}}}}, Log: obs.Discard(), Metrics: reg,
		Presence: e.ears, Firmware: e.ears, Outbound: e.ears, Now: func() time.Time { return e.now }})
	e.bench = &bench{Ingest: in, log: l, reg: reg}
	return e
}

// send takes a message in and returns what became of it: the lines and the reasons.
func (e *edgeTest) send(kind, device string, p wire.SparkplugPayload) (lines, reason string) {
	e.t.Helper()
	topic := wire.SparkplugTopic{Tenant: "demo", Kind: kind, Edge: "BS-1", Device: device}.String()
	if p.Time.IsZero() {
		p.Time = e.now
	}
	if err := e.Submit(e.t.Context(), wire.Inbound{Door: "gateway", Speaker: base, Topic: topic, Payload: wire.AppendSparkplug(nil, &p), Ack: e.acks}); err != nil {
		e.t.Fatal(err)
	}
	c := e.swap(newCycle(4))
	if err := e.append(e.t.Context(), c.records(e.now)); err != nil {
		e.t.Fatal(err)
	}
	e.meter.cycle(c, e.now, 0)
	lines, aside := e.log.text(e.t)
	e.log.records = nil
	for _, q := range aside {
		reason += q.Reason
	}
	return lines, reason
}

func seq(n uint64, m ...wire.SparkplugMetric) wire.SparkplugPayload {
	return wire.SparkplugPayload{Seq: n, HasSeq: true, Metrics: m}
}

func bdSeq(n int64) wire.SparkplugMetric {
	return wire.SparkplugMetric{Name: "bdSeq", Type: wire.SpInt64, Value: fleet.Value{Type: fleet.Integer, Int: n}}
}

func charge(n int64) wire.SparkplugMetric {
	return wire.SparkplugMetric{Name: "charge", Alias: 7, HasAlias: true, Type: wire.SpInt32, Value: fleet.Value{Type: fleet.Integer, Int: n}}
}

func byAlias(alias uint64, n int64) wire.SparkplugMetric {
	return wire.SparkplugMetric{Alias: alias, HasAlias: true, Value: fleet.Value{Type: fleet.Integer, Int: n}}
}

func (e *edgeTest) want(what, lines, reason, wantLine, wantReason string, said ...string) {
	e.t.Helper()
	if !strings.Contains(lines, wantLine) || wantLine == "" && lines != "" || reason != wantReason {
		e.t.Errorf("%s: lines %q, reason %q; want %q, %q", what, lines, reason, wantLine, wantReason)
	}
	if got := e.ears.take(); !cmp.Equal(got, said) {
		e.t.Errorf("%s: said %q, want %q", what, got, said)
	}
}

func TestSparkplugSession(t *testing.T) {
	e := newEdgeTest(t)
	const ask = "to BS-1 on spBv1.0/demo/NCMD/BS-1: "
	rebirth := fmt.Sprintf("%s%d bytes", ask, len(wire.RebirthPayload(e.now)))

	l, r := e.send(wire.DData, "DR-1", seq(5, byAlias(7, 50)))
	e.want("data of nobody born", l, r, "", reasonUnborn, rebirth)
	l, r = e.send(wire.DData, "DR-1", seq(6, byAlias(7, 50)))
	e.want("asked only once", l, r, "", reasonUnborn)
	l, r = e.send(wire.NBirth, "", seq(0, bdSeq(3), wire.SparkplugMetric{Name: "Properties/Firmware", Type: wire.SpString, Value: fleet.Value{Type: fleet.String, Str: "9.1"}},
		wire.SparkplugMetric{Name: "volt", Alias: 1, HasAlias: true, Type: wire.SpDouble, Value: fleet.Value{Float: 5.5}}))
	e.want("the node is born", l, r, `b4,serial=BS-1,tenant=demo Properties.Firmware="9.1",volt=5.5 1777896000000000000`, "", "BS-1 true heard 12:00:00", "BS-1 runs 9.1")
	if !strings.Contains(l, "status,model=b4,serial=BS-1,tenant=demo online=true ") {
		t.Errorf("no status report: %s", l)
	}
	l, r = e.send(wire.DData, "DR-1", seq(1, byAlias(7, 50)))
	e.want("data of a device not born", l, r, "", reasonUnborn, rebirth)
	l, r = e.send(wire.DBirth, "DR-1", seq(2, charge(40)))
	e.want("the device is born", l, r, "d18,serial=DR-1,tenant=demo charge=40i ", "", "DR-1 true heard 12:00:00")
	l, r = e.send(wire.DData, "DR-1", seq(3, byAlias(7, -2)))
	e.want("data by alias, of the birth's type", l, r, "charge=-2i 1777896000000000000", "")
	historical := byAlias(7, 33)
	historical.Historical, historical.Time = true, e.now.Add(-time.Hour)
	l, r = e.send(wire.DData, "DR-1", seq(4, historical))
	e.want("late data keeps its time", l, r, fmt.Sprintf("charge=33i %d", e.now.Add(-time.Hour).UnixNano()), "")
	e.now = e.now.Add(time.Minute)
	l, r = e.send(wire.DData, "DR-1", seq(5, byAlias(8, 1)))
	e.want("unknown alias", l, r, "", reasonAlias, rebirth)
	l, r = e.send(wire.DData, "DR-1", seq(5, byAlias(7, 34)))
	e.want("delivered twice is no gap", l, r, "charge=34i", "")
	e.now = e.now.Add(time.Minute)
	l, r = e.send(wire.DData, "DR-1", seq(9, byAlias(7, 35)))
	e.want("gap", l, r, "", reasonGap, rebirth)
	l, r = e.send(wire.DData, "DR-1", seq(10, charge(36)))
	e.want("by name it is certain", l, r, "charge=36i", "")
	l, r = e.send(wire.DBirth, "DR-1", seq(11, charge(37)))
	e.want("born again", l, r, "charge=37i", "", "DR-1 true heard 12:02:00")
	l, r = e.send(wire.DData, "DR-1", seq(12, byAlias(7, 38)))
	e.want("and certain again", l, r, "charge=38i", "")
	l, r = e.send(wire.DDeath, "DR-1", seq(13))
	e.want("the device dies", l, r, `status,model=d18,serial=DR-1,tenant=demo online=false,reason="disconnected" `, "", "DR-1 false disconnected 12:02:00")
	l, r = e.send(wire.NDeath, "", wire.SparkplugPayload{Metrics: []wire.SparkplugMetric{bdSeq(2)}})
	e.want("an old session's death", l, r, "", "")
	l, r = e.send(wire.NDeath, "", wire.SparkplugPayload{Time: e.now.Add(-time.Hour), Metrics: []wire.SparkplugMetric{bdSeq(3)}})
	e.want("the node dies", l, r, `status,model=b4,serial=BS-1,tenant=demo online=false,reason="will" `, "", "BS-1 false will 12:02:00")
	e.now = e.now.Add(time.Minute)
	l, r = e.send(wire.NData, "", seq(14, wire.SparkplugMetric{Name: "volt", Type: wire.SpDouble, Value: fleet.Value{Float: 5}}))
	e.want("data of the dead", l, r, "", reasonUnborn, rebirth)
	if _, by := e.Refusals(); by[RefusedSession] != 1 {
		t.Errorf("refused %v", by)
	}
	e.conserved(t, 20)
	if e.edges.names != 0 {
		t.Errorf("%d names remembered of the dead", e.edges.names)
	}
}

func TestSparkplugWrapsAround(t *testing.T) {
	s := &edge{tables: map[string]*births{"": {}}}
	for n := range uint64(600) {
		s.count(&wire.SparkplugPayload{Seq: n & 255, HasSeq: true})
	}
	if s.tables[""].stale {
		t.Error("255 to 0 taken for a gap")
	}
	s.count(&wire.SparkplugPayload{Seq: 600&255 + 1, HasSeq: true})
	if !s.tables[""].stale {
		t.Error("a gap not noticed")
	}
}

func TestSparkplugIdentity(t *testing.T) { // SEC-02
	e := newEdgeTest(t)
	payload := wire.AppendSparkplug(nil, &wire.SparkplugPayload{Time: e.now, HasSeq: true, Metrics: []wire.SparkplugMetric{charge(1)}})
	for topic, want := range map[string]string{
		"spBv1.0/demo/DBIRTH/BS-1/WM-1": RefusedForeign, // not behind this node
		"spBv1.0/demo/NBIRTH/WM-1":      RefusedForeign,
		"spBv1.0/evil/NBIRTH/BS-1":      RefusedForeign,
		"spBv1.0/demo/NCMD/BS-1":        RefusedTopic,
		"spBv1.0/demo/NBIRTH":           RefusedTopic,
	} {
		before, _ := e.Refusals()
		if err := e.Submit(t.Context(), wire.Inbound{Door: "gateway", Speaker: base, Topic: topic, Payload: payload}); err != nil {
			t.Fatal(err)
		}
		recent, _ := e.Refusals()
		if len(recent) != len(before)+1 || recent[0].Reason != want {
			t.Errorf("%s: %+v, want %s", topic, recent, want)
		}
	}
	if len(e.edges.of) != 0 {
		t.Errorf("%d sessions of nobody", len(e.edges.of))
	}
}

func TestSparkplugMemoryIsBounded(t *testing.T) { // SEC-07
	e := newEdges()
	s := e.get(base)
	if !e.reserve(s, maxEdgeNames) || e.reserve(s, 1) {
		t.Error("one node may remember more than its share")
	}
	for i := range maxEdges + 50 {
		e.get(fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprint("E-", i)})
	}
	if len(e.of) > maxEdges {
		t.Errorf("%d sessions", len(e.of))
	}
	// Who still works on a session that was forgotten takes nothing that nobody would give back.
	var lost *edge
	for k := range e.of {
		lost = e.of[k]
		if !e.reserve(lost, 10) {
			t.Fatal("no room for 10 names")
		}
		for i := 0; e.of[k] == lost; i++ {
			e.get(fleet.DeviceKey{Tenant: "demo", Serial: fmt.Sprint("N-", i)})
		}
		break
	}
	if e.reserve(lost, 5) || !e.reserve(lost, -3) {
		t.Error("a forgotten session remembers more")
	}
	held := 0
	for _, s := range e.of {
		held += s.names
	}
	if held != e.names || lost.names != 0 {
		t.Errorf("%d names are held, %d are counted, %d by who is forgotten", held, e.names, lost.names)
	}
}

func TestSparkplugLongNamesCostMore(t *testing.T) { // SEC-07
	e := newEdgeTest(t)
	long := wire.SparkplugMetric{Name: strings.Repeat("n", 1000), Type: wire.SpBoolean, Value: fleet.Value{Type: fleet.Boolean}}
	e.send(wire.NBirth, "", seq(0, bdSeq(1), long))
	if want := 1 + 1 + 1000/nameUnit; e.edges.names != want {
		t.Errorf("%d names are counted, want %d", e.edges.names, want)
	}
	e.send(wire.NBirth, "", seq(0, bdSeq(2)))
	if e.edges.names != 1 {
		t.Errorf("%d names are counted after another birth, want 1", e.edges.names)
	}
}

// TestSparkplugEmptyData: only a birth may hold nothing, whatever the node is called.
func TestSparkplugEmptyData(t *testing.T) { // REL-12
	e := newEdgeTest(t)
	node, child := fleet.DeviceKey{Tenant: "demo", Serial: "BIRTH"}, fleet.DeviceKey{Tenant: "demo", Serial: "K-1"}
	e.deps.Devices = devices{node: {Key: node, Model: "b4"}, child: {Key: child, Model: "d18", Parent: "BIRTH"}}
	for _, m := range []struct {
		topic  string
		p      wire.SparkplugPayload
		reason string
	}{
		{"spBv1.0/demo/NBIRTH/BIRTH", seq(0, bdSeq(1)), ""},
		{"spBv1.0/demo/DBIRTH/BIRTH/K-1", seq(1, charge(5)), ""},
		{"spBv1.0/demo/DDATA/BIRTH/K-1", seq(2, wire.SparkplugMetric{Name: "charge", Null: true}), wire.ReasonEmpty},
	} {
		if err := e.Submit(t.Context(), wire.Inbound{Door: "gateway", Speaker: node, Topic: m.topic, Payload: wire.AppendSparkplug(nil, &m.p)}); err != nil {
			t.Fatal(err)
		}
		if c := e.swap(newCycle(4)); strings.Join(c.reasons, " ") != m.reason {
			t.Errorf("%s: put aside for %q, want %q", m.topic, c.reasons, m.reason)
		}
	}
}

func TestWhatAStatusReportSays(t *testing.T) {
	for payload, want := range map[string][]string{
		`{"online":true,"firmware":"1.2"}`:  {"WM-1 true heard 12:00:00"},
		`{"online":true,"firmware":"1.3"}`:  {"WM-1 runs 1.3", "WM-1 true heard 12:00:00"},
		`{"online":false}`:                  {"WM-1 false disconnected 12:00:00"},
		`{"online":false,"reason":"will"}`:  {"WM-1 false will 12:00:00"},
		`{"online":"no"}`:                   nil,
		`{"online":false,"reason":"sleep"}`: {"WM-1 false disconnected 12:00:00"},
	} {
		e := &ears{}
		in := New(DefaultConfig(), Deps{Journal: &log{}, Devices: known, Models: models, Log: obs.Discard(), Metrics: prometheus.NewRegistry(), Presence: e, Firmware: e, Now: func() time.Time { return at("12:00:00") }})
		submit := func(class, body string) {
			t.Helper()
			if err := in.Submit(t.Context(), wire.Inbound{Speaker: washer, Topic: "devices/demo/w7/WM-1/" + class, Payload: []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
		submit("status", payload)
		if !cmp.Equal(e.said, want) {
			t.Errorf("%s: %q, want %q", payload, e.said, want)
		}
		e.said = nil
		submit("telemetry", `{"cycles":1}`)
		submit("event", `{`) // bad, and yet a sign of life
		if want := []string{"heard WM-1", "heard WM-1"}; !cmp.Equal(e.said, want) {
			t.Errorf("heard %q", e.said)
		}
	}
}
