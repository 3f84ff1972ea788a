package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// errStopped says that the session was stopped, which has been noted.
var errStopped = errors.New("session stopped")

// converse reads a connection to its end.
func (g *Gateway) converse(c *conn) error {
	defer c.in.release()
	s, err := g.greet(c)
	if err != nil {
		return err
	}
	for {
		fr, err := c.in.next()
		if err == nil {
			err = s.handle(fr)
		}
		if err != nil {
			return s.farewell(err)
		}
	}
}

// greet reads CONNECT and answers it.
func (g *Gateway) greet(c *conn) (*session, error) {
	fr, err := c.in.next()
	if err != nil {
		return nil, err
	}
	hello, err := decodeConnect(fr.body)
	if err != nil {
		var code packets.Code
		if errors.As(err, &code) && (hello.version >= 5 || code == packets.ErrUnsupportedProtocolVersion) {
			_ = c.answer(connack(&hello, code, false, nil))
		}
		return nil, err
	}
	s, kept, err := g.connect(c, &hello)
	if err != nil {
		return nil, err
	}
	if err := c.answer(connack(&hello, packets.CodeSuccess, kept.present, &g.cfg)); err != nil {
		return nil, err
	}
	c.in.greeted(g.cfg.MaxPacket, hello.deadAfter())
	g.established(s, kept.filters)
	return s, nil
}

// errClient is the good-bye of a client.
var errClient = errors.New("the client said good-bye")

// handle deals with one packet. An error ends the connection: a packets.Code is what was wrong with the packet.
func (s *session) handle(fr frame) error {
	switch fr.head {
	case packets.Disconnect << 4:
		return s.disconnected(fr.body)
	case packets.Puback << 4:
		id, reason, err := decodePuback(fr.body, s.v5)
		if err != nil {
			return err
		}
		s.pubacked(id, reason)
	}
	if !s.meter.pass(s, len(fr.body)) {
		return errStopped
	}
	if fr.head>>4 == packets.Publish {
		return s.g.publish(s, fr)
	}
	switch fr.head {
	case packets.Puback << 4:
		return nil
	case packets.Pingreq << 4:
		if len(fr.body) > 0 {
			return packets.ErrMalformedPacket
		}
		return s.conn.answer(pong)
	case packets.Subscribe<<4 | 2:
		return s.subscribe(fr.body)
	case packets.Unsubscribe<<4 | 2:
		return s.unsubscribe(fr.body)
	case packets.Pubrel<<4 | 2:
		return s.released(fr.body)
	case packets.Connect << 4:
		return packets.ErrProtocolViolationSecondConnect // MQTT-3.1.0-2
	}
	return unexpected(fr.head)
}

// unexpected tells flags that are not right from packets that a client may not send.
func unexpected(head byte) packets.Code {
	switch head >> 4 {
	case packets.Connack, packets.Suback, packets.Unsuback, packets.Pingresp, packets.Pubrec, packets.Pubcomp, packets.Auth:
		if head&15 == 0 {
			return packets.ErrProtocolViolation // AUTH too: who asks for it in CONNECT is refused
		}
	}
	return packets.ErrMalformedFlags // MQTT-2.2.2-2; and type 0
}

// released answers a PUBREL. We take no QoS 2, but a client that kept one from another server sends it until it is answered.
func (s *session) released(body []byte) error {
	id, _, err := decodePuback(body, s.v5)
	if err != nil {
		return err
	}
	out := []byte{packets.Pubcomp << 4, 2, byte(id >> 8), byte(id)}
	if s.v5 {
		out = append(out, packets.ErrPacketIdentifierNotFound.Code)
		out[1]++
	}
	return s.conn.answer(out)
}

// disconnected deals with a DISCONNECT. Only that of reason 0 takes the will back (MQTT-3.14.4-3).
func (s *session) disconnected(body []byte) error {
	f, err := decodeDisconnect(body, s.v5)
	if err != nil {
		return err
	}
	if f.hasExpiry {
		if f.expiry > 0 && s.keep.Load() == 0 {
			return packets.ErrProtocolViolationZeroNonZeroExpiry // MQTT 5, 3.14.2.2.2
		}
		s.keep.Store(int64(min(time.Duration(f.expiry)*time.Second, s.g.cfg.MaxSessionExpiry)))
	}
	if f.reason == packets.CodeDisconnect.Code {
		s.will = nil
	}
	s.bye = s.will == nil
	return errClient
}

// farewell ends a connection after its reader met an error, and tells an MQTT 5 client why.
func (s *session) farewell(err error) error {
	var code packets.Code
	switch reason := endReason(err); {
	case errors.Is(err, errStopped), errors.Is(err, errClient), errors.Is(err, errTurnedAway):
	case reason == "keepalive":
		_ = s.cut(packets.ErrKeepAliveTimeout, reason)
	case errors.As(err, &code):
		_ = s.cut(code, reason)
	}
	return err
}

// cut ends the connection from its reader because of what the client sent. There may be more of that on its way: closing now
// would make the kernel tell the client of a broken connection before it has read why. Always returns errStopped.
func (s *session) cut(code packets.Code, reason string) error {
	if s.because(reason) && s.v5 && s.sayWhy(code) {
		s.conn.linger()
	}
	s.stop(code, reason)
	return errStopped
}

const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 1 << 20
)

// linger says that nothing more comes and reads what the client is still sending, for a moment.
func (c *conn) linger() {
	half, ok := c.sock.Conn.(*net.TCPConn)
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = half.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, struct{ io.Reader }{half}, lingerBytes)
}

var pong = []byte{packets.Pingresp << 4, 0}

// answer writes a packet, unless the client said that it takes none so large (MQTT-3.1.2-24).
func (c *conn) answer(p []byte) error {
	if c.session != nil && c.session.down.largest > 0 && len(p) > c.session.down.largest {
		return nil
	}
	_, err := c.Write(p)
	return err
}

// connack encodes the answer to a CONNECT. cfg is what MQTT 5 clients are told is available; nil with a refusal.
func connack(hello *greeting, code packets.Code, present bool, cfg *Config) []byte {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ProtocolVersion: hello.version,
		ReasonCode: code.Code, SessionPresent: present}
	pk.Mods.DisallowProblemInfo = hello.quiet
	p := &pk.Properties
	switch {
	case hello.version < 5:
		pk.ReasonCode = oldCode(code)
	case cfg == nil:
		pk.ProtocolVersion = 5 // also to a version that is not known yet
		p.ReasonString = code.Reason
	default:
		p.ReceiveMaximum = uint16(cfg.MaxInflight)
		p.MaximumQos, p.MaximumQosFlag = 1, true
		p.MaximumPacketSize = uint32(cfg.MaxPacket)
		p.RetainAvailableFlag, p.SharedSubAvailableFlag = true, true // and the values are 0
		if limit := uint32(cfg.MaxSessionExpiry / time.Second); hello.expiry > limit {
			p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = limit, true
		}
	}
	var b bytes.Buffer
	_ = pk.ConnackEncode(&b) // it has no errors
	return b.Bytes()
}

// oldCode is a reason code in MQTT 3.1.1, which has codes up to 5 only.
func oldCode(code packets.Code) byte {
	switch code {
	case packets.CodeSuccess:
		return 0
	case packets.ErrUnsupportedProtocolVersion:
		return packets.Err3UnsupportedProtocolVersion.Code
	case packets.ErrClientIdentifierNotValid:
		return packets.Err3ClientIdentifierNotValid.Code
	case packets.ErrServerUnavailable, packets.ErrQuotaExceeded, packets.ErrServerBusy:
		return packets.Err3ServerUnavailable.Code // come again
	}
	return packets.Err3NotAuthorized.Code
}
