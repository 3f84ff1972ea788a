package rules

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
	"pgregory.net/rapid"
)

var propertyRules = []string{
	`slow | when: drain_s > 70`,
	`held | when: drain_s > 60 | for: 25m | clear: drain_s < 40 | clear_for: 15m`,
	`mean | when: avg(drain_s, "2h") > 55 and count(drain_s, "6h") >= 2`,
	`span | when: max(drain_s, "1h") - min(drain_s, "1h") > 50`,
	`lost | when: age(vibration_mm_s) > 3000`,
	`e18 | when: code == "E18"`,
	`e19 | when: code == "E19" | clear: code == "OK"`,
	`eco | when: mode == "eco" and changed(mode) or door_open`,
	`fast | when: rate(drain_s) > 100 and delta(drain_s) > 3`,
	`steps | levels: [{severity: watch, when: drain_s > 40, for: 5m}, {severity: due, when: drain_s > 60}, {severity: danger, when: drain_s > 80, for: 10m}] | step_down: 10m | clear: drain_s < 20`,
	`off | when: not link.online | for: 20m`,
	`gone | when: link.cause == "lost" and drain_s > 30 | in_storage: true`,
	`quiet | when: silent() > 1500 | min_hold: 15m`,
	`flaps | when: drain_s > 50 | flapping: {times: 2, within: 2h, quiet: 20m} | cause: [e19, off]`,
	`e18late | when: code == "E18" | clear: code == "OK" | cause: [slow]`,
	`both | when: finding("slow") and not finding("off") | for: 10m | applies: {firmware: ">=2 <3"}`,
	`own | when: drain_s > limits.top | limits: {top: {value: 75, unit: s}} | applies: {region: [DE]}`,
	`frost | when: vibration_mm_s == 1 | season: "11-15..11-15"`,
	`even | when: ewma(drain_s, "2h") > 55`,
	`kept | when: held(drain_s > 30) > 3000 or since(door_open) < 600`,
	`often | when: times(drain_s > 60, "6h") >= 3 or share(drain_s > 60, "6h") > 0.8 or codes("E18", "6h") > 2`,
	`wear | when: hours(drain_s > 20) > 3 or starts(door_open) > 3 or total(drain_s) > 1500`,
	`odd | when: quantile(drain_s, 0.9, "6h") > 90 or stddev(drain_s, "6h") > 40 or slope(drain_s, "6h") > 500`,
	`used | when: avg(drain_s, "5 cycles") > 60`,
	`where | when: avg(where(drain_s, door_open), "2h") > 55 or ewma(max(drain_s, "1h") - min(drain_s, "1h"), "6h") > 40`,
	`pump | when: used("drain-pump") > 20 or used("door-lock") > 2 or eta(used("drain-pump"), 60, "6h") < 500 or eta(drain_s, 90, "6h") < 9`,
	`strange | when: anomaly(drain_s) > 0.9 or anomaly(drain_s, vibration_mm_s) > 0.5`,
	`worse | when: peers(avg(drain_s, "6h")) > 0.7 or fleet_rate("slow") > 0.3`,
}

// lines is one moment of receipt: what came in then, in order.
type lines struct {
	at       time.Time
	readings []fleet.Reading
	facts    []fleet.Facts
	fleet    *fleet.Summary
}

// drawLife makes the readings of a few devices as they are received: live, uploaded later, out of order.
func drawLife(t *rapid.T) []lines {
	out := make([]lines, 0, 60)
	now := t0
	type dev struct {
		at     time.Time
		seq    [2]int64
		cycles int
	}
	devs := map[string]*dev{"A": {at: t0.Add(-9 * hour)}, "B": {at: t0.Add(-time.Minute)}, "C": {at: t0}}
	links := 0
	for range rapid.IntRange(1, 60).Draw(t, "moments") {
		now = now.Add(time.Duration(rapid.IntRange(1, 1200).Draw(t, "pause")) * time.Second)
		g := lines{at: now}
		if rapid.IntRange(0, 5).Draw(t, "facts") == 0 {
			g.facts = append(g.facts, drawFacts(t, now))
		}
		if rapid.IntRange(0, 9).Draw(t, "fleet") == 0 {
			g.fleet = &fleet.Summary{At: now,
				Peers: []fleet.PeerTable{{Tenant: "demo", Model: "washer-w7", Value: `avg(drain_s, "6h")`, Devices: 30, At: []float64{0, 40, float64(rapid.IntRange(40, 90).Draw(t, "largest"))}}},
				Rates: []fleet.FleetRate{{Tenant: "demo", Model: "washer-w7", Firmware: "2.1", Rule: "slow", Devices: 20, Affected: rapid.IntRange(0, 20).Draw(t, "affected")}}}
		}
		for range rapid.IntRange(0, 4).Draw(t, "readings") {
			name := rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "device")
			d := devs[name]
			d.at = d.at.Add(time.Duration(rapid.IntRange(0, 1800).Draw(t, "step")) * time.Second)
			if d.at.After(now) || rapid.IntRange(0, 3).Draw(t, "live") == 0 {
				d.at = now
			}
			at := d.at.Add(-time.Duration(rapid.SampledFrom([]int{0, 0, 0, 300, 900}).Draw(t, "back")) * time.Second)
			r := fleet.Reading{Device: fleet.DeviceKey{Tenant: "demo", Serial: name}, Model: "washer-w7", Time: at, Boot: 1, HasSeq: true}
			if rapid.IntRange(0, 5).Draw(t, "presence") == 0 {
				links++
				r.Class, r.HasSeq, r.Time = fleet.Presence, false, now.Add(time.Duration(links)*time.Millisecond)
				r.Fields = fields(rapid.SampledFrom([]string{"online=true cause=heard", "online=false cause=lost", "online=false cause=station_lost"}).Draw(t, "link"))
				g.readings = append(g.readings, r)
				continue
			}
			if rapid.IntRange(0, 4).Draw(t, "class") == 0 {
				r.Class = fleet.Event
				r.Fields = fields("code=" + rapid.SampledFrom([]string{"E18", "E19", "OK"}).Draw(t, "code"))
			} else {
				fs := fmt.Sprintf("drain_s=%d", rapid.IntRange(0, 100).Draw(t, "v"))
				fs += rapid.SampledFrom([]string{"", " vibration_mm_s=1", " mode=eco", " mode=cotton door_open=false", " door_open=true", " cycles=#"}).Draw(t, "more")
				d.cycles += rapid.IntRange(0, 2).Draw(t, "cycles")
				r.Fields = fields(strings.Replace(fs, "#", fmt.Sprint(d.cycles)+"i", 1))
			}
			d.seq[r.Class]++
			r.Seq = d.seq[r.Class]
			g.readings = append(g.readings, r)
		}
		out = append(out, g)
	}
	return out
}

// drawFacts makes facts of one of the devices, or of one that never sends anything.
func drawFacts(t *rapid.T, now time.Time) fleet.Facts {
	f := fleet.Facts{Device: fleet.DeviceKey{Tenant: "demo", Serial: rapid.SampledFrom([]string{"A", "A", "B", "C", "D"}).Draw(t, "of")}, Model: "washer-w7", At: now,
		Firmware: rapid.SampledFrom([]string{"", "1.9", "2.1", "3.0"}).Draw(t, "firmware"), Region: rapid.SampledFrom([]string{"", "DE-BY", "AT"}).Draw(t, "region"),
		Revoked: rapid.IntRange(0, 9).Draw(t, "revoked") == 0}
	if rapid.Bool().Draw(t, "limits") {
		f.Limits = map[string]float64{"own.top": float64(rapid.IntRange(20, 90).Draw(t, "top")), "nobody.top": 1}
	}
	for _, spans := range []*[]fleet.Span{&f.Maintenance, &f.Stored} {
		if rapid.IntRange(0, 2).Draw(t, "span") == 0 {
			from := now.Add(time.Duration(rapid.IntRange(-60, 60).Draw(t, "from")) * time.Minute)
			*spans = append(*spans, fleet.Span{From: from, To: from.Add(time.Duration(rapid.IntRange(1, 120).Draw(t, "long")) * time.Minute)})
		}
	}
	return f
}

// records turns a life into records; how splits batches and injects resends, or is nil for neither.
func records(life []lines, how *rapid.T) (out []wire.Record) {
	var sent []fleet.Reading
	add := func(at time.Time, rs []fleet.Reading) {
		rec := wire.Record{Seq: uint64(len(out) + 1), Received: at, Kind: wire.KindReadings}
		if len(rs) == 0 {
			rec.Kind = wire.KindTick
		}
		for i := range rs {
			rec.Body = wire.AppendReading(rec.Body, &rs[i])
		}
		out = append(out, rec)
	}
	for _, g := range life {
		for _, f := range g.facts {
			rec, err := wire.EncodeFacts(0, g.at, f)
			if err != nil {
				panic(err)
			}
			for n := 0; n == 0 || how != nil && rapid.IntRange(0, 3).Draw(how, "facts again") == 0; n++ {
				rec.Seq = uint64(len(out) + 1)
				out = append(out, rec)
			}
		}
		if g.fleet != nil {
			body, err := json.Marshal(g.fleet)
			if err != nil {
				panic(err)
			}
			out = append(out, wire.Record{Seq: uint64(len(out) + 1), Received: g.at, Kind: wire.KindSummary, Body: body})
		}
		var part []fleet.Reading
		for _, r := range g.readings {
			part = append(part, r)
			sent = append(sent, r)
			if how == nil {
				continue
			}
			if rapid.IntRange(0, 3).Draw(how, "again") == 0 {
				part = append(part, rapid.SampledFrom(sent).Draw(how, "resend"))
			}
			if rapid.IntRange(0, 2).Draw(how, "split") == 0 {
				add(g.at, part)
				part = nil
			}
		}
		if len(part) > 0 || len(g.readings) == 0 {
			add(g.at, part)
		}
	}
	return out
}

// marks is what must not depend on batches, resends or crashes.
func marks(found []fleet.Finding) string {
	seen := map[string]bool{}
	var out []string
	for _, f := range found {
		m := fmt.Sprintf("%s %s/%s#%d %s %s live=%v flapping=%v cause=%s opened=%v at=%v %v", f.Rule, f.Device, f.ID, f.Revision, f.Phase, f.Severity,
			f.Live, f.Flapping, f.Cause, f.OpenedAt, f.At, f.Evidence)
		if !seen[m] {
			seen[m] = true
			out = append(out, m)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// episodes fails when one does not go from opened to cleared under an id of its own, or ends before it began. Where rules come and
// go, one that comes back may open at the very moment at which it did before.
func episodes(t interface{ Fatalf(string, ...any) }, found []fleet.Finding, comeBack bool) {
	last := map[string]fleet.Finding{}
	for _, f := range found {
		before, known := last[f.ID]
		known = known && (!comeBack || before.Phase != fleet.Cleared)
		switch {
		case known && (f.Revision != before.Revision+1 || f.Phase == fleet.Opened || before.Phase == fleet.Cleared),
			!known && (f.Revision != 0 || f.Phase != fleet.Opened), f.At.Before(f.OpenedAt):
			t.Fatalf("%+v\nafter %+v", f, before)
		}
		last[f.ID] = f
	}
}

// difference lists what only one side has.
func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	var b strings.Builder
	for _, l := range g {
		if !slices.Contains(w, l) {
			b.WriteString("+ " + l + "\n")
		}
	}
	for _, l := range w {
		if !slices.Contains(g, l) {
			b.WriteString("- " + l + "\n")
		}
	}
	return b.String()
}

func stepAll(s *State, recs []wire.Record) (out []fleet.Finding) {
	for i := range recs {
		out = s.Step(&recs[i], out)
	}
	return out
}

// TestSameFindingsWhateverTheDelivery is promise 5: the same readings in any batch split, with resends, with a crash and a
// restore from a snapshot anywhere, give the same findings.
func TestSameFindingsWhateverTheDelivery(t *testing.T) {
	set := loadPack(t, propertyRules...)
	rapid.Check(t, func(t *rapid.T) {
		life := drawLife(t)
		base := NewState(set)
		plain := stepAll(base, records(life, nil))
		episodes(t, plain, false)
		expect := marks(plain)

		recs := records(life, t)
		s, saved := NewState(set), newStored(set)
		var found []fleet.Finding
		for i := 0; i < len(recs); i++ {
			found = s.Step(&recs[i], found)
			switch rapid.IntRange(0, 4).Draw(t, "snapshot") {
			case 0:
				saved.save(s, i+1)
			case 1:
				saved.begin(s, i+1)
			}
			saved.work(s, rapid.IntRange(0, 2).Draw(t, "encode"))
			if rapid.IntRange(0, 9).Draw(t, "crash") == 0 {
				s, i = saved.restore(t)
				i--
			}
		}
		if got := marks(found); got != expect {
			t.Fatalf("findings differ:\n%s", difference(got, expect))
		}
		saved.save(s, len(recs))
		again, _ := saved.restore(t)
		if s.Hash() != again.Hash() {
			t.Fatal("the restored state is another one")
		}
	})
}

// stored is a snapshot in memory, with chunks that are replaced one by one.
type stored struct {
	set    *Set
	header []byte
	layout []byte
	chunks []Chunk
	at     int
	hash   string // of the state that is saved
	ids    uint32

	saving *Saving // one that is encoded while the state goes on, with what it began with
	begun  struct {
		header []byte
		layout []byte
		at     int
		hash   string
	}
}

func newStored(set *Set) *stored {
	return &stored{set: set, header: NewState(set).Header(), layout: set.Layout()}
}

// save saves all at once.
func (m *stored) save(s *State, at int) {
	m.work(s, math.MaxInt)
	m.begin(s, at)
	m.work(s, math.MaxInt)
}

// begin begins to save, unless that goes on.
func (m *stored) begin(s *State, at int) {
	if m.saving != nil {
		return
	}
	if m.ids%3 == 2 {
		s.Resave()
	}
	m.begun.header, m.begun.layout, m.begun.at, m.begun.hash = s.Header(), s.Set().Layout(), at, s.Hash()
	m.saving = s.BeginSave(300, func() uint32 { m.ids++; return m.ids })
}

// work encodes up to n devices of what was begun.
func (m *stored) work(s *State, n int) {
	if m.saving == nil || !m.saving.Go(n) {
		return
	}
	m.chunks = append(m.chunks, m.saving.Chunks()...)
	m.header, m.layout, m.at, m.hash, m.saving = m.begun.header, m.begun.layout, m.begun.at, m.begun.hash, nil
	held := s.Held()
	m.chunks = slices.DeleteFunc(m.chunks, func(c Chunk) bool { return held[c.ID] == 0 })
}

func (m *stored) restore(t interface{ Fatal(...any) }) (*State, int) {
	s, ended, err := Restore(m.set, m.header, m.layout, m.chunks)
	if err != nil || len(ended) > 0 {
		t.Fatal("restore", err, ended)
	}
	if m.hash != "" && s.Hash() != m.hash {
		t.Fatal("what is restored is not the state as it was when the snapshot began")
	}
	m.saving = nil // a crash ends it
	return s, m.at
}

func TestRestoreIntoOtherRules(t *testing.T) {
	old := loadPack(t, `slow | when: drain_s > 70`, `gone | when: drain_s > 71`, `wait | when: drain_s > 72 | for: 1h`,
		`waits | when: drain_s > 73 | for: 1h`, `mean | when: avg(drain_s, "6h") > 800`)
	l := &life{t: t, s: NewState(old), lag: time.Second}
	l.send(0, "drain_s=40 mode=eco")
	want(t, l.send(10*minute, "drain_s=80"), "slow opened", "gone opened")
	m := newStored(old)
	m.save(l.s, 1)

	other := loadPack(t, `new | when: mode == "eco"`, `waits | when: drain_s > 73 | for: 1h`, `slow | when: drain_s > 75 or drain_s > 99`,
		`wait | when: drain_s > 72 | for: 2h`, `mean | when: count(drain_s, "6h") == 3 and max(drain_s, "3h") == 80`)
	s, ended, err := Restore(other, m.header, old.Layout(), m.chunks)
	if err != nil {
		t.Fatal(err)
	}
	want(t, ended, "gone cleared")
	if f := ended[0]; f.ID != l.all[1].ID || f.Revision != 1 || f.Version != l.all[1].Version {
		t.Errorf("%+v", f)
	}
	l.s = s
	want(t, l.send(20*minute, "vibration_mm_s=1"))
	want(t, l.send(71*minute, "drain_s=80"), "waits opened", "mean opened") // 6h window kept, 3h begins anew
	want(t, l.send(72*minute, "drain_s=74"), "slow cleared", "mean cleared")
}
