package gateway

import (
	"bytes"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/wire"
)

// publish deals with a PUBLISH. It waits while too much is unanswered or ingest is full. An error ends the connection.
func (g *Gateway) publish(s *session, fr frame) error {
	if qos := fr.head >> 1 & 3; qos == 3 || qos == 0 && fr.head&8 != 0 {
		return packets.ErrProtocolViolationQosOutOfRange // MQTT-3.3.1-2, -4
	}
	m, err := decodePublish(fr.head, fr.body, s.v5)
	g.m.publishes[m.qos].Inc()
	if g.closing.Load() {
		<-s.ctx.Done() // read no more, but leave the connection open for the acknowledgements that are due
		return errStopped
	}
	if err != nil {
		return err
	}
	if m.qos > 1 {
		g.refuse(s.source(), string(m.topic), ReasonQoS)
		return s.cut(packets.ErrQosNotSupported, ReasonQoS)
	}
	if !fr.own {
		m.payload = bytes.Clone(m.payload) // it is ingest's from now on
	}
	s.blocked.Store(g.clock.Load())
	err = g.pass(s, &m)
	s.blocked.Store(0)
	return err
}

// pass checks the topic and hands the message to ingest.
func (g *Gateway) pass(s *session, p *publication) error {
	topic := s.topicOf(p.topic)
	m := wire.Inbound{Door: "gateway", Speaker: s.key, Topic: topic, Payload: p.payload, ContentType: s.typeOf(p.contentType)}
	why := s.mayPublish(topic)
	allowed := why == ""
	if !allowed {
		g.refuse(s.source(), topic, why)
	}
	if p.qos == 1 {
		a := ack{packetID: p.id}
		if !allowed {
			a.done, a.reason = true, packets.ErrNotAuthorized.Code
		}
		t, err := s.reserve(a)
		if err != nil {
			return errStopped
		}
		m.Ack, m.Ticket = s, t
	}
	if !allowed {
		return nil
	}
	if err := g.deps.Ingest.Submit(s.ctx, m); err != nil {
		s.silent.Store(true)
		s.stop(packets.ErrServerUnavailable, "not taken")
		return errStopped
	}
	return nil
}

// topicOf makes a string of a topic; of the one that a device uses all the time, without a copy.
func (s *session) topicOf(b []byte) string {
	if string(b) == s.topic {
		return s.topic
	}
	return string(b)
}

// typeOf makes a string of a content type, without a copy when it is the one of the message before.
func (s *session) typeOf(b []byte) string {
	if string(b) != s.contentType {
		s.contentType = string(b)
	}
	return s.contentType
}

func (s *session) source() string { return s.conn.host + " " + s.key.String() }
