package gateway

import (
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/wire"
)

// hook is what mochi calls. A PUBLISH is dealt with when it has been read and goes no further: mochi's own path drops some
// topics in silence, lowers QoS 2, disconnects 3.1.1 clients over a topic, and copies the packet for a log line.
type hook struct {
	mqtt.HookBase
	g *Gateway
}

func (h *hook) ID() string { return "aftercare" }

func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnSessionEstablished, mqtt.OnPacketRead, mqtt.OnPacketEncode,
		mqtt.OnPacketSent, mqtt.OnACLCheck, mqtt.OnSubscribed, mqtt.OnUnsubscribed:
		return true
	}
	return false
}

func sessionOf(cl *mqtt.Client) *session {
	if c, ok := cl.Net.Conn.(*conn); ok {
		return c.session
	}
	return nil
}

func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error { return h.g.connect(cl, &pk) }

// OnConnectAuthenticate is asked after OnConnect, which has decided.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, _ packets.Packet) bool {
	return sessionOf(cl) != nil
}

func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	h.g.established(sessionOf(cl))
}

// OnPacketEncode corrects CONNACK: it adds what mochi does not say to MQTT 5 clients, and 3.1.1 has codes up to 5 only.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	switch {
	case pk.FixedHeader.Type != packets.Connack:
	case pk.ReasonCode == packets.CodeSuccess.Code:
		p := &pk.Properties
		p.MaximumPacketSize = uint32(h.g.cfg.MaxPacket)
		p.RetainAvailableFlag, p.SharedSubAvailableFlag = true, true
	case cl.Properties.ProtocolVersion >= 5 || pk.ReasonCode < packets.ErrUnspecifiedError.Code:
	case pk.ReasonCode == packets.ErrQuotaExceeded.Code, pk.ReasonCode == packets.ErrServerBusy.Code:
		pk.ReasonCode = packets.Err3ServerUnavailable.Code // come again
	default:
		pk.ReasonCode = packets.Err3NotAuthorized.Code
	}
	return pk
}

// nothing replaces a PUBLISH we have dealt with: a PUBACK of a message that was never sent, which mochi passes over.
var nothing = packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}}

// OnPacketRead returns ErrRejectPacket to end the connection.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	s := sessionOf(cl)
	if s == nil {
		return pk, nil // CONNECT: mochi lets nothing else come first
	}
	switch pk.FixedHeader.Type {
	case packets.Disconnect:
		if pk.ReasonCode != packets.CodeDisconnectWillMessage.Code {
			s.will, s.bye = nil, true
		}
		return pk, nil
	case packets.Puback:
		s.pubacked(pk.PacketID, pk.ReasonCode)
		pk = nothing
	}
	if !s.meter.pass(s, pk.FixedHeader.Remaining) {
		return nothing, packets.ErrRejectPacket
	}
	if pk.FixedHeader.Type == packets.Publish {
		if !h.g.publish(s, &pk) {
			return nothing, packets.ErrRejectPacket
		}
		pk = nothing
	}
	return pk, nil
}

// publish deals with a PUBLISH: true when the connection goes on. It waits while too much is unanswered or ingest is full.
func (g *Gateway) publish(s *session, pk *packets.Packet) bool {
	qos := pk.FixedHeader.Qos
	g.m.publishes[qos].Inc()
	if g.closing.Load() {
		<-s.ctx.Done() // read no more, but leave the connection open for the acknowledgements that are due
		return false
	}
	if code := validPublish(pk); code != packets.CodeSuccess {
		g.refuse(s.source(), pk.TopicName, ReasonPacket)
		s.stop(code, ReasonPacket)
		return false
	}
	if qos > 1 {
		g.refuse(s.source(), pk.TopicName, ReasonQoS)
		s.stop(packets.ErrQosNotSupported, ReasonQoS)
		return false
	}
	s.blocked.Store(g.clock.Load())
	ok := g.pass(s, pk)
	s.blocked.Store(0)
	return ok
}

// pass checks the topic and hands the message to ingest.
func (g *Gateway) pass(s *session, pk *packets.Packet) bool {
	m := wire.Inbound{Door: "gateway", Speaker: s.key, Topic: pk.TopicName, Payload: pk.Payload,
		ContentType: pk.Properties.ContentType}
	why := s.mayPublish(pk.TopicName)
	allowed := why == ""
	if !allowed {
		g.refuse(s.source(), pk.TopicName, why)
	}
	if pk.FixedHeader.Qos == 1 {
		a := ack{packetID: pk.PacketID}
		if !allowed {
			a.done, a.reason = true, packets.ErrNotAuthorized.Code
		}
		t, err := s.reserve(a)
		if err != nil {
			return false
		}
		m.Ack, m.Ticket = s, t
	}
	if !allowed {
		return true
	}
	if err := g.deps.Ingest.Submit(s.ctx, m); err != nil {
		s.silent.Store(true)
		s.stop(packets.ErrServerUnavailable, "not taken")
		return false
	}
	return true
}

// validPublish checks what mochi checks later, and that there is no topic alias. Wildcards are left to mayPublish.
func validPublish(pk *packets.Packet) packets.Code {
	switch {
	case pk.FixedHeader.Qos > 0 && pk.PacketID == 0:
		return packets.ErrProtocolViolationNoPacketID
	case pk.Properties.TopicAliasFlag:
		return packets.ErrTopicAliasInvalid
	case pk.TopicName == "":
		return packets.ErrProtocolViolationNoTopic
	case len(pk.Properties.SubscriptionIdentifier) > 0:
		return packets.ErrProtocolViolationSurplusSubID
	}
	return packets.CodeSuccess
}

func (s *session) source() string { return s.conn.host + " " + s.key.String() }
