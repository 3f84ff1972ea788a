package ingest

import (
	"strings"
	"sync"
	"time"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// Sparkplug B is a protocol with sessions: an edge node is born with all its metrics and their aliases, sends only what
// changed, by alias, and dies by its last will. What its messages mean is therefore known only to who has heard the birth.
// The memory here is of the running process: after a restart a node's data is put aside until the node, asked to, has been
// born again. Its seq and bdSeq number messages and sessions, not readings: the identity of a reading is its time.

// Bounds of what is remembered of edge nodes.
const (
	maxEdges     = 20_000
	maxEdgeNames = 10_000    // metrics of one node and its devices; long names count for several
	maxNames     = 2_000_000 // metrics of all nodes
	nameUnit     = 64        // bytes of a name that count for one
	rebirthPause = 30 * time.Second
)

// Reasons of quarantine of Sparkplug payloads.
const (
	reasonUnborn   = "sparkplug_unborn"   // data of a node or device whose birth was not heard
	reasonAlias    = "sparkplug_alias"    // an alias that its birth did not name
	reasonGap      = "sparkplug_gap"      // messages are missing before it, so what its aliases mean is uncertain
	reasonTooMuch  = "sparkplug_too_much" // more metrics than are remembered
	firmwareMetric = "Properties/Firmware"
	firmwareShort  = "Properties/FW"
)

// edges is the sessions of edge nodes.
type edges struct {
	mu    sync.Mutex
	of    map[fleet.DeviceKey]*edge
	names int
}

// edge is the session of one edge node. Who works on a message of it holds the lock.
type edge struct {
	mu       sync.Mutex
	born     bool
	bdSeq    uint64
	hasBdSeq bool
	next     uint64 // the seq the next message is to have
	hasNext  bool
	tables   map[string]*births // by device; "" is the node itself
	names    int
	gone     bool      // forgotten: who still has it remembers nothing more in it; under edges.mu
	asked    time.Time // when it was last asked to be born again
}

// births is what the birth of a node or device said of its metrics.
type births struct {
	stale   bool // messages are missing since: aliases may mean something else by now
	cost    int  // what was reserved for it
	byAlias map[uint64]birth
	byName  map[string]wire.SparkplugType
}

type birth struct {
	name string
	typ  wire.SparkplugType
}

func newEdges() *edges { return &edges{of: map[fleet.DeviceKey]*edge{}} }

// get returns a node's session. When there are too many, any other is forgotten: its node will be asked to be born again.
func (e *edges) get(k fleet.DeviceKey) *edge {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.of[k]
	if s == nil {
		if len(e.of) >= maxEdges {
			for victim, old := range e.of {
				if old.mu.TryLock() {
					e.names -= old.names
					old.names, old.gone, old.born = 0, true, false
					clear(old.tables)
					old.mu.Unlock()
					delete(e.of, victim)
					break
				}
			}
		}
		s = &edge{tables: map[string]*births{}}
		e.of[fleet.DeviceKey{Tenant: strings.Clone(k.Tenant), Serial: strings.Clone(k.Serial)}] = s
	}
	return s
}

// reserve takes n names for a session whose lock the caller holds, or reports that there is no room.
func (e *edges) reserve(s *edge, n int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.gone {
		return n <= 0
	}
	if n > 0 && (s.names+n > maxEdgeNames || e.names+n > maxNames) {
		return false
	}
	s.names += n
	e.names += n
	return true
}

// takeSparkplug is take for Sparkplug's topics.
func (w *worker) takeSparkplug() {
	m := &w.message
	topic, err := wire.ParseSparkplugTopic(m.Topic)
	if err != nil {
		w.refuse(RefusedTopic)
		return
	}
	speaks, about := topic.Speaks(), topic.About()
	if !m.Trusted && (m.Speaker != speaks || about != speaks && !w.in.deps.Devices.SpeaksFor(speaks, about.Serial)) {
		w.refuse(RefusedForeign)
		return
	}
	w.class = fleet.Telemetry
	if reason := w.lookup(speaks); reason != "" { // nothing is remembered of a node that is not ours
		w.refuse(reason)
		return
	}
	node := w.device
	s := w.in.edges.get(speaks)
	s.mu.Lock()
	defer s.mu.Unlock()
	if about != speaks {
		if reason := w.lookup(about); reason != "" {
			s.hasNext = false // the message had a number all the same
			w.refuse(reason)
			return
		}
		if w.in.deps.Presence != nil && !w.again {
			w.in.deps.Presence.Heard(node, w.now)
		}
	}
	if topic.Kind == wire.NDeath || topic.Kind == wire.DDeath {
		w.class = fleet.Status // a death is no sign of life
	}
	w.open()
	defer w.close()
	if w.tooLarge() || !w.known() {
		s.hasNext = false
		return
	}
	if err := w.sparkplug.Decode(m.Payload, &w.metrics); err != nil {
		s.hasNext = false
		w.settle(err)
		return
	}
	switch {
	case topic.Death():
		w.death(s, topic)
	case topic.Birth():
		w.birth(s, topic)
	default:
		w.data(s, topic)
	}
}

// count follows the numbers of a node's messages. After a gap all that is known of aliases is in doubt. A message that came
// before is no gap: it was delivered twice.
func (s *edge) count(p *wire.SparkplugPayload) {
	if !p.HasSeq {
		return
	}
	ahead := (p.Seq - s.next) & 255
	if s.hasNext && ahead >= 128 {
		return
	}
	if s.hasNext && ahead > 0 {
		for _, t := range s.tables {
			t.stale = true
		}
	}
	s.next, s.hasNext = (p.Seq+1)&255, true
}

func (w *worker) birth(s *edge, topic wire.SparkplugTopic) {
	p := &w.metrics
	if !w.again {
		if topic.Kind == wire.NBirth {
			w.in.edges.reserve(s, -s.names)
			clear(s.tables)
			s.born, s.bdSeq, s.hasBdSeq, s.asked = true, p.BdSeq, p.HasBdSeq, time.Time{}
			s.next, s.hasNext = (p.Seq+1)&255, p.HasSeq
		} else {
			s.count(p)
			if !s.born {
				w.unborn(s, topic, reasonUnborn, "the device was born before its edge node: no NBIRTH of the node was heard")
				return
			}
		}
		if !w.learn(s, topic.Device) {
			w.putAside(reasonTooMuch, "more metrics than are remembered of one edge node")
			return
		}
	}
	w.values(topic)
	if len(w.aside) == 0 {
		w.online(true, "", p.Time)
	}
	if w.again {
		return
	}
	if w.in.deps.Presence != nil {
		w.in.deps.Presence.Reported(w.device, true, fleet.CauseHeard, w.when(p.Time))
	}
	for i := range p.Metrics {
		m := &p.Metrics[i]
		if m.Value.Type == fleet.String && m.Err == nil && (strings.EqualFold(m.Name, firmwareMetric) || strings.EqualFold(m.Name, firmwareShort)) {
			w.observed(m.Value.Str)
		}
	}
}

// learn remembers the metrics of a birth.
func (w *worker) learn(s *edge, device string) bool {
	if old := s.tables[device]; old != nil {
		w.in.edges.reserve(s, -old.cost)
		delete(s.tables, device)
	}
	t := &births{byAlias: map[uint64]birth{}, byName: map[string]wire.SparkplugType{}}
	for i := range w.metrics.Metrics {
		m := &w.metrics.Metrics[i]
		if m.Name == "" {
			continue
		}
		name := strings.Clone(m.Name)
		if _, again := t.byName[name]; !again {
			t.cost += 1 + len(name)/nameUnit
		}
		t.byName[name] = m.Type
		if m.HasAlias {
			t.byAlias[m.Alias] = birth{name, m.Type}
		}
	}
	if !w.in.edges.reserve(s, t.cost) {
		return false
	}
	s.tables[strings.Clone(device)] = t
	return true
}

func (w *worker) data(s *edge, topic wire.SparkplugTopic) {
	p := &w.metrics
	if !w.again {
		s.count(p)
	}
	t := s.tables[topic.Device]
	if !s.born || t == nil {
		w.unborn(s, topic, reasonUnborn, "no birth of it was heard, so its metrics are not known; it was asked to be born again")
		return
	}
	for i := range p.Metrics {
		m := &p.Metrics[i]
		if m.Name == "" {
			b, ok := t.byAlias[m.Alias]
			switch {
			case !m.HasAlias || !ok:
				w.unborn(s, topic, reasonAlias, "a metric's alias is not in the birth; it was asked to be born again")
				return
			case t.stale:
				w.unborn(s, topic, reasonGap, "messages are missing before it, so what its aliases mean is uncertain; it was asked to be born again")
				return
			}
			m.Name = b.name
			if m.Type == 0 {
				p.Retype(m, b.typ)
			}
		} else if typ, ok := t.byName[m.Name]; ok && m.Type == 0 {
			p.Retype(m, typ)
		}
	}
	if t.stale {
		w.rebirth(s, topic)
	}
	w.values(topic)
}

// unborn puts a payload aside that cannot be understood, and asks the node to be born again.
func (w *worker) unborn(s *edge, topic wire.SparkplugTopic, reason, detail string) {
	w.putAside(reason, detail)
	w.rebirth(s, topic)
}

func (w *worker) rebirth(s *edge, topic wire.SparkplugTopic) {
	if w.again || w.in.deps.Outbound == nil || !s.asked.IsZero() && w.now.Sub(s.asked) < rebirthPause {
		return
	}
	s.asked = w.now
	w.in.meter.rebirths.Inc()
	w.in.deps.Outbound.Publish(topic.Speaks(), wire.RebirthTopic(topic.Tenant, topic.Edge), wire.RebirthPayload(w.now))
}

// values makes readings of the metrics at hand. Sparkplug reports what changed, each metric with a time of its own if it
// likes, so no reading has to hold what the profile requires of a report.
func (w *worker) values(topic wire.SparkplugTopic) {
	w.format = fleet.FormatSparkplug
	w.notes.partial = true
	defer func() { w.notes.partial = false }()
	err := w.sparkplug.Readings(&w.metrics, func(r *fleet.Reading) error { return w.reading(r, w.message.Payload) })
	if err == nil && w.stored+len(w.aside) == 0 && w.class == fleet.Telemetry && len(w.metrics.Metrics) > 0 && topic.Birth() {
		return // a birth may hold no value
	}
	w.settle(err)
}

func (w *worker) death(s *edge, topic wire.SparkplugTopic) {
	p := &w.metrics
	cause := fleet.CauseDisconnected
	if topic.Kind == wire.NDeath {
		cause = fleet.CauseWill
		if s.born && s.hasBdSeq && p.HasBdSeq && p.BdSeq != s.bdSeq {
			w.refuse(RefusedSession)
			return
		}
		if !w.again {
			w.in.edges.reserve(s, -s.names)
			clear(s.tables)
			s.born, s.hasNext = false, false
		}
	} else if !w.again {
		s.count(p)
		if t := s.tables[topic.Device]; t != nil {
			w.in.edges.reserve(s, -t.cost)
			delete(s.tables, topic.Device)
		}
	}
	at := p.Time
	if topic.Kind == wire.NDeath {
		at = time.Time{} // the will was written when the session began
	}
	w.online(false, cause, at)
	if !w.again && w.in.deps.Presence != nil {
		w.in.deps.Presence.Reported(w.device, false, cause, w.when(at))
	}
}

// when is at, or the time of receipt where at is missing or cannot be.
func (w *worker) when(at time.Time) time.Time {
	if at.IsZero() || at.After(w.now) || at.UnixMilli() < w.in.limits.earliest {
		return w.now
	}
	return at
}

// online stores what a birth or death says as a status report.
func (w *worker) online(is bool, reason string, at time.Time) {
	r := fleet.Reading{Device: w.device.Key, Model: w.device.Model, Class: fleet.Status, Time: w.when(at),
		Fields: []fleet.Field{{Name: "online", Value: fleet.Value{Type: fleet.Boolean}}}}
	if is {
		r.Fields[0].Value.Int = 1
	}
	if reason != "" {
		r.Fields = append(r.Fields, fleet.Field{Name: "reason", Value: fleet.Value{Type: fleet.String, Str: reason}})
	}
	w.stored++
	w.lines = wire.AppendReading(w.lines, &r)
}
