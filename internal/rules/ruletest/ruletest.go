// Package ruletest runs the tests that people write beside rule packs, in files named *_test.yaml: what a device sends, and
// what the rules are to find. It makes journal records of it and gives them to rules.Step with simulated time, so a test
// shows what the server would do. It is not the loop that runs rules, and it reads no clock and no files.
//
//	tests:
//	  - name: a blocked drain is told and cleared
//	    model: washer-w7
//	    every: 10m                   # optional: time between two values of a series; default: the model's interval
//	    series:                      # values by field, see parseSeries; the first is of time 0
//	      drain_s: 55x20 70..95/10 _x3
//	    events:
//	      - {at: 2h, code: E18}
//	    facts:                       # optional: what becomes known of it; keys that are not there stay as they were
//	      - {firmware: "2.2", region: DE, limits: {washer-drain-slow.slow: 80}, stored: {from: 1d, to: 3d}}
//	      - {at: 5d, firmware: "2.3", services: [drain-pump]}   # hardware, batch, maintenance and revoked too
//	    presence:                    # optional: what is said of its link
//	      - {at: 2h, online: false, cause: lost}
//	    offline:                     # optional: it cannot send, and sends at the end what it measured
//	      - {from: 5h, to: 6h}
//	    twice: true                  # optional: all it sends is received twice
//	    stopped:                     # optional: this system did not receive; what the device sent arrives at the end
//	      - {from: 3h, to: 4h}
//	    until: 2d                    # optional: time goes on without readings
//	    want:                        # all findings there are; or: want: none
//	      - {at: 2h, rule: washer-drain-blocked, phase: opened, severity: fault}
//
// A want's at is the finding's own time, or a range (2h..3h); its phase is opened and its severity the rule's, of a rule with
// levels any, unless it says otherwise. It may also say cause: rule-id and flapping: true.
//
// Who may import it: app, cmd. It imports fleet, wire and rules.
package ruletest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/rules"
	"aftercare/internal/wire"
)

// Result is what running a file showed.
type Result struct {
	Tests    int             // run
	Failed   int             // of these, how many did not find what they want
	Failures []fleet.Problem // file, line, name of the test, what was wanted and what came
	Opened   []string        // rules that opened an episode in a test that passed, sorted, each once
	Healthy  []string        // models with a test that wants nothing and passed, sorted, each once
}

// Run runs the tests of a file. Mistakes in the file itself are problems; a test with one is not run.
func Run(set *rules.Set, models []fleet.Model, file string, body []byte) (Result, []fleet.Problem) {
	c := &checker{file: file, models: models, known: set.Rule}
	for _, r := range set.Rules() {
		c.ids = append(c.ids, r.ID)
	}
	var out Result
	for _, t := range c.parse(body) {
		got := t.run(set)
		failures := t.compare(got, c.known)
		out.Tests++
		if len(failures) > 0 {
			out.Failed++
			for _, f := range failures {
				f.File, f.Path = file, t.name
				out.Failures = append(out.Failures, f)
			}
			continue
		}
		if len(got) == 0 {
			out.Healthy = append(out.Healthy, t.model.ID)
		}
		for _, f := range got {
			if f.Phase == fleet.Opened {
				out.Opened = append(out.Opened, f.Rule)
			}
		}
	}
	slices.Sort(out.Opened)
	slices.Sort(out.Healthy)
	out.Opened, out.Healthy = slices.Compact(out.Opened), slices.Compact(out.Healthy)
	return out, c.problems
}

// begin is when every test begins: a fixed moment, so that a test gives the same today and tomorrow.
var begin = time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC)

const (
	transit = time.Second      // from a reading's time to its receipt
	tick    = 30 * time.Second // between two records of an idle partition at most
)

// device is the device of every test.
var device = fleet.DeviceKey{Tenant: "test", Serial: "T-1"}

// message is something the device sends, or that is said of it.
type message struct {
	at      time.Duration // when it was measured, or said
	sent    time.Duration
	reading fleet.Reading
	facts   *fleet.Facts // instead of a reading
}

// messages returns what the device sends, in order of time.
func (t *test) messages() []message {
	length := 0
	for _, s := range t.series {
		length = max(length, len(s))
	}
	out := make([]message, 0, length+len(t.events))
	for i := range length {
		m := message{at: time.Duration(i) * t.every}
		for _, name := range t.fields {
			if s := t.series[name]; i < len(s) && !s[i].gap {
				m.reading.Fields = append(m.reading.Fields, fleet.Field{Name: name, Value: s[i].value})
			}
		}
		if len(m.reading.Fields) > 0 {
			m.reading.Class = fleet.Telemetry
			out = append(out, m)
		}
	}
	for _, e := range t.events {
		out = append(out, message{at: e.at, reading: fleet.Reading{Class: fleet.Event,
			Fields: []fleet.Field{{Name: "code", Value: fleet.Value{Type: fleet.String, Str: e.code}}}}})
	}
	slices.SortStableFunc(out, func(a, b message) int { return cmp.Compare(a.at, b.at) })
	for i := range out {
		r := &out[i].reading
		r.Device, r.Model = device, t.model.ID
		r.Time, r.Boot, r.Seq, r.HasSeq = begin.Add(out[i].at), 1, int64(i+1), true
		out[i].sent = t.sent(out[i].at)
	}
	all := make([]message, 0, len(t.facts)+len(t.links)+len(out)) // what is said at a time counts for what is measured then
	for i := range t.facts {
		all = append(all, message{sent: t.facts[i].at, facts: &t.facts[i].facts})
	}
	for _, l := range t.links {
		all = append(all, message{sent: l.at, reading: l.reading(t.model.ID)})
	}
	all = append(all, out...)
	slices.SortStableFunc(all, func(a, b message) int { return cmp.Compare(a.sent, b.sent) })
	return all
}

// partition is the journal's partition of a test: it makes records and steps them.
type partition struct {
	state *rules.State
	now   time.Duration // receipt time of the last record
	stops []span        // those to come
	got   []fleet.Finding
}

// until lets time go on to a moment, through ticks and the system's own stops. It returns when a record that was due at
// that moment can be received: at the end of a stop that it falls in.
func (p *partition) until(at time.Duration) time.Duration {
	for len(p.stops) > 0 && p.stops[0].from <= at {
		stop := p.stops[0]
		p.stops = p.stops[1:]
		p.idle(stop.from)
		p.step(wire.KindStop, stop.from, nil)
		p.step(wire.KindStart, stop.to, nil)
	}
	p.idle(at)
	return max(at, p.now)
}

func (p *partition) idle(to time.Duration) {
	for p.now+tick < to {
		p.step(wire.KindTick, p.now+tick, nil)
	}
}

func (p *partition) step(kind wire.Kind, at time.Duration, body []byte) {
	p.now = max(p.now, at)
	p.got = p.state.Step(&wire.Record{Stream: wire.Readings, Kind: kind, Received: begin.Add(p.now), Body: body}, p.got)
}

// run returns what the rules find, in the order they find it.
func (t *test) run(set *rules.Set) []fleet.Finding {
	p := &partition{state: rules.NewState(set), stops: t.stopped}
	p.step(wire.KindStart, 0, nil)
	for _, m := range t.messages() {
		kind, body := wire.KindReadings, []byte(nil)
		if m.facts == nil {
			body = wire.AppendReading(nil, &m.reading)
		} else if rec, err := wire.EncodeFacts(0, begin, *m.facts); err == nil { // texts and finite numbers: it cannot fail
			kind, body = wire.KindFacts, rec.Body
		}
		p.step(kind, p.until(m.sent+transit), body)
		if t.twice {
			p.step(kind, p.now, body)
		}
	}
	p.step(wire.KindTick, p.until(t.until+transit), nil)
	return p.got
}

// compare says where what came differs from what is wanted. Each finding answers one want; findings of one time may come in
// any order.
func (t *test) compare(got []fleet.Finding, known func(string) (*rules.Rule, bool)) (out []fleet.Problem) {
	used := make([]bool, len(got))
	for _, w := range t.want {
		i := slices.IndexFunc(got, func(f fleet.Finding) bool { return w.is(&f) })
		for i >= 0 && used[i] {
			next := slices.IndexFunc(got[i+1:], func(f fleet.Finding) bool { return w.is(&f) })
			if next < 0 {
				i = -1
				break
			}
			i += 1 + next
		}
		if i >= 0 {
			used[i] = true
			continue
		}
		rule, _ := known(w.rule)
		out = append(out, fleet.Problem{Line: w.line, Message: fmt.Sprintf("want %s, got %s; values at %s: %s", w, t.instead(w, rule, got), spell(w.to), t.values(w.to))})
	}
	for i := range got {
		if !used[i] {
			at := got[i].At.Sub(begin)
			out = append(out, fleet.Problem{Line: t.line, Message: fmt.Sprintf("got %s, which is not wanted; because of %s; values at %s: %s",
				describe(&got[i]), because(&got[i]), spell(at), t.values(at))})
		}
	}
	return out
}

func (w want) is(f *fleet.Finding) bool {
	at := f.At.Sub(begin)
	return f.Rule == w.rule && f.Phase == w.phase && (w.any || f.Severity == w.severity) && at >= w.from && at <= w.to &&
		(w.cause == nil || *w.cause == f.Cause) && (w.flapping == nil || *w.flapping == f.Flapping)
}

// instead is what the wanted rule did find.
func (t *test) instead(w want, rule *rules.Rule, got []fleet.Finding) string {
	var out []string
	for i := range got {
		if got[i].Rule == w.rule {
			out = append(out, describe(&got[i]))
		}
	}
	if len(out) == 0 {
		return "nothing of this rule" + t.scoped(rule)
	}
	return strings.Join(out, ", ")
}

func describe(f *fleet.Finding) string {
	out := fmt.Sprintf("%s %s (%s) at %s", f.Rule, f.Phase, f.Severity, spell(f.At.Sub(begin)))
	if f.Cause != "" {
		out += ", cause " + f.Cause
	}
	if f.Flapping {
		out += ", flapping"
	}
	return out
}

func because(f *fleet.Finding) string {
	out := make([]string, 0, len(f.Evidence))
	for _, e := range f.Evidence {
		v := e.Text
		if v == "" {
			v = strings.TrimSpace(strconv.FormatFloat(e.Value, 'g', 6, 64) + " " + e.Unit)
		}
		out = append(out, e.Name+" "+v)
	}
	if len(out) == 0 {
		return "nothing it names"
	}
	return strings.Join(out, ", ")
}

// values are the last values of all series at a moment, and the last event's code.
func (t *test) values(at time.Duration) string {
	var out []string
	for _, name := range t.fields {
		s := t.series[name]
		for i := min(int(at/t.every), len(s)-1); i >= 0; i-- {
			if !s[i].gap {
				out = append(out, fmt.Sprintf("%s %s", name, show(s[i].value)))
				break
			}
		}
	}
	last := -1
	for i, e := range t.events {
		if e.at <= at && (last < 0 || e.at >= t.events[last].at) {
			last = i
		}
	}
	if last >= 0 {
		out = append(out, "code "+t.events[last].code)
	}
	if len(out) == 0 {
		return "none yet"
	}
	return strings.Join(out, ", ")
}

func show(v fleet.Value) string {
	switch v.Type {
	case fleet.Float:
		return strconv.FormatFloat(v.Float, 'g', 6, 64)
	case fleet.Integer:
		return strconv.FormatInt(v.Int, 10)
	case fleet.Boolean:
		return strconv.FormatBool(v.Int != 0)
	default:
		return v.Str
	}
}
