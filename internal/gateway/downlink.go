package gateway

import (
	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

// downlink is what goes to the device of a session: what it listens to, and the messages it has not acknowledged. All of it is
// under session.mu.
type downlink struct {
	filters []listening
	queue   []message         // not written yet
	sent    map[uint16]func() // written with QoS 1 and not acknowledged; nil until there is one
	last    uint16            // packet id given last
	window  int               // the client's Receive Maximum
	largest int               // the client's Maximum Packet Size; 0: any
}

type listening struct {
	filter string
	qos    byte
	id     int // MQTT 5 subscription identifier; 0: none
}

type message struct {
	packet []byte // whole, with the packet id still to be put in
	idAt   int    // 0: QoS 0
	acked  func()
}

// Publish sends a message to one live session of identity that is subscribed to the topic: with QoS 1, or with QoS 0 if the
// device asked for that. It reports false when there is none, its queue is full or the message is larger than the client
// takes. acked is called at most once, from the connection's goroutine, when PUBACK has come: never for QoS 0, nor when the
// connection ends before; whoever asked sends it again when the device subscribes again. Publish never blocks, and acked must
// not either. Payload is copied; acked may be nil.
func (g *Gateway) Publish(identity fleet.DeviceKey, topic string, payload []byte, acked func()) bool {
	g.mu.Lock()
	live := append([]*session(nil), g.devices[identity]...)
	g.mu.Unlock()
	result := "away"
	for i := len(live) - 1; i >= 0; i-- {
		s := live[i]
		if s.silent.Load() || !s.listens(topic) || s.maySubscribe(topic) != "" {
			continue
		}
		if result = s.offer(topic, payload, acked); result == "taken" {
			break
		}
	}
	g.m.downlink.WithLabelValues(result).Inc()
	return result == "taken"
}

func (s *session) listens(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.down.find(topic)
	return ok
}

func (d *downlink) find(topic string) (best listening, ok bool) {
	for _, l := range d.filters {
		if matches(l.filter, topic) && (!ok || l.qos > best.qos) {
			best, ok = l, true
		}
	}
	return best, ok
}

// offer queues a message for the flusher and returns what became of it, for the metric.
func (s *session) offer(topic string, payload []byte, acked func()) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.down.find(topic)
	if s.closed || !ok || len(topic) > wire.MaxTopic || len(payload) > s.g.cfg.MaxPacket {
		return "away"
	}
	if len(s.down.queue)+len(s.down.sent) >= s.g.cfg.MaxOutgoing {
		return "full"
	}
	m := encodePublish(l, topic, payload, s.v5)
	m.acked = acked
	if s.down.largest > 0 && len(m.packet) > s.down.largest {
		return "too large"
	}
	s.down.queue = append(s.down.queue, m)
	s.markLocked()
	return "taken"
}

// encodePublish writes a PUBLISH, without a packet id.
func encodePublish(l listening, topic string, payload []byte, v5 bool) message {
	var props []byte
	if v5 {
		if l.id > 0 { // a client that gave its subscription a number wants to see it
			props = appendLength([]byte{packets.PropSubscriptionIdentifier}, l.id)
		}
		props = append(appendLength(nil, len(props)), props...)
	}
	idLen := 2 * int(l.qos)
	n := 2 + len(topic) + idLen + len(props) + len(payload)
	p := appendLength(append(make([]byte, 0, n+5), packets.Publish<<4|l.qos<<1), n)
	p = append(p, byte(len(topic)>>8), byte(len(topic)))
	p = append(p, topic...)
	m := message{}
	if l.qos > 0 {
		m.idAt = len(p)
		p = append(p, 0, 0)
	}
	m.packet = append(append(p, props...), payload...)
	return m
}

// appendLength writes a variable byte integer.
func appendLength(p []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		p = append(p, byte(n)|0x80)
	}
	return append(p, byte(n))
}

// ready reports whether a message may be written now.
func (d *downlink) ready() bool {
	return len(d.queue) > 0 && (d.queue[0].idAt == 0 || len(d.sent) < d.window)
}

// due appends the messages that may be written now.
func (d *downlink) due(buf []byte) []byte {
	for d.ready() {
		m := d.queue[0]
		d.queue[0] = message{}
		d.queue = d.queue[1:]
		if m.idAt > 0 {
			id := d.nextID()
			m.packet[m.idAt], m.packet[m.idAt+1] = byte(id>>8), byte(id)
			if d.sent == nil {
				d.sent = map[uint16]func(){}
			}
			d.sent[id] = m.acked
		}
		buf = append(buf, m.packet...)
	}
	if len(d.queue) == 0 {
		d.queue = nil
	}
	return buf
}

// nextID is free: there are fewer open messages than ids.
func (d *downlink) nextID() uint16 {
	for {
		if d.last++; d.last == 0 {
			continue
		}
		if _, taken := d.sent[d.last]; !taken {
			return d.last
		}
	}
}

// pubacked notes a PUBACK of the client, and makes room for the next message. One of an id that is not open means nothing.
func (s *session) pubacked(id uint16, reason byte) {
	s.mu.Lock()
	acked, ok := s.down.sent[id]
	delete(s.down.sent, id)
	if ok {
		s.markLocked()
	}
	s.mu.Unlock()
	switch {
	case !ok:
	case reason >= packets.ErrUnspecifiedError.Code:
		s.g.m.downlink.WithLabelValues("refused").Inc()
	default:
		s.g.m.downlink.WithLabelValues("acked").Inc()
		if acked != nil {
			acked()
		}
	}
}

// forget reports whether it was there.
func (d *downlink) forget(filter string) bool {
	for i, l := range d.filters {
		if l.filter == filter {
			d.filters = append(d.filters[:i], d.filters[i+1:]...)
			return true
		}
	}
	return false
}

// listen begins deliveries for filters and tells who asked for it.
func (s *session) listen(filters []listening) {
	s.mu.Lock()
	for _, l := range filters {
		s.down.forget(l.filter)
		s.down.filters = append(s.down.filters, l)
	}
	s.mu.Unlock()
	for _, l := range filters {
		switch {
		case s.first != nil:
			s.first.begin(s, l.filter)
		case s.g.deps.Subscribed != nil:
			s.g.deps.Subscribed(s.key, l.filter)
		}
	}
}

// resume takes up the subscriptions of an earlier connection, without those that are no longer allowed.
func (s *session) resume(filters []listening) {
	kept := make([]listening, 0, len(filters))
	for _, l := range filters {
		if why := s.maySubscribe(l.filter); why != "" {
			s.g.refuse(s.source(), l.filter, why)
			continue
		}
		kept = append(kept, l)
	}
	s.listen(kept)
}
