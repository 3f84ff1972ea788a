package gateway

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What the packets of a client hold, decoded by us: mochi's codec copies every message twice, takes what the specification
// calls malformed (properties that are there twice or reach past their length, bytes after the end, reserved bits) and panics
// over a SUBSCRIBE that ends in a filter. FuzzDecode holds both next to each other. Errors are packets.Code; nothing here keeps
// the bytes it is given unless it says so.

// cursor reads a packet's body. After the first value that is not there everything it returns is zero, and bad says so.
type cursor struct {
	b       []byte
	bad     bool
	notText bool // bad because of a text that is none
	long    bool // bad because of a variable byte integer that does not end
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// varint reads a variable byte integer: at most four bytes (MQTT-1.5.5).
func (c *cursor) varint() int {
	n := 0
	for i := range 4 {
		b := c.byte()
		n |= int(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			return n
		}
	}
	c.bad, c.long = true, true
	return 0
}

// data reads two bytes of length and so many bytes; they alias the packet.
func (c *cursor) data() []byte { return c.take(int(c.uint16())) }

// text reads data that must be UTF-8 without U+0000 (MQTT-1.5.4-1, -2).
func (c *cursor) text() []byte {
	b := c.data()
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		c.bad, c.notText = true, true
	}
	return b
}

// end is for after the last value.
func (c *cursor) end() error {
	switch {
	case c.bad:
		return packets.ErrMalformedPacket
	case len(c.b) > 0:
		return errSurplus
	}
	return nil
}

func (c *cursor) string() string { return string(c.text()) }

// properties are those of a packet that mean something to us. Byte slices alias the packet.
type properties struct {
	seen        uint64 // one bit an identifier
	contentType []byte
	subID       int
	expiry      uint32 // session expiry interval
	willDelay   uint32
	largest     uint32 // maximum packet size
	window      uint16 // receive maximum
	quiet       bool   // no problem information is wanted
}

func (p *properties) has(id byte) bool { return p.seen&(1<<id) != 0 }

// Which properties a packet may have, as bits; will properties are no packet but have a set of their own.
var (
	publishProps = propertySet(packets.PropPayloadFormat, packets.PropMessageExpiryInterval, packets.PropContentType,
		packets.PropResponseTopic, packets.PropCorrelationData, packets.PropSubscriptionIdentifier, packets.PropTopicAlias, packets.PropUser)
	willProps = propertySet(packets.PropPayloadFormat, packets.PropMessageExpiryInterval, packets.PropContentType,
		packets.PropResponseTopic, packets.PropCorrelationData, packets.PropWillDelayInterval, packets.PropUser)
	connectProps = propertySet(packets.PropSessionExpiryInterval, packets.PropAuthenticationMethod, packets.PropAuthenticationData,
		packets.PropRequestProblemInfo, packets.PropRequestResponseInfo, packets.PropReceiveMaximum, packets.PropTopicAliasMaximum,
		packets.PropUser, packets.PropMaximumPacketSize)
	subscribeProps   = propertySet(packets.PropSubscriptionIdentifier, packets.PropUser)
	unsubscribeProps = propertySet(packets.PropUser)
	pubackProps      = propertySet(packets.PropReasonString, packets.PropUser)
	disconnectProps  = propertySet(packets.PropSessionExpiryInterval, packets.PropServerReference, packets.PropReasonString, packets.PropUser)
)

func propertySet(ids ...byte) uint64 {
	var set uint64
	for _, id := range ids {
		set |= 1 << id
	}
	return set
}

// properties reads a packet's properties: only those of the set, each but User once, whole within their length, with values
// that the specification allows.
func (c *cursor) properties(set uint64, p *properties) error {
	in := cursor{b: c.take(c.varint())}
	switch {
	case c.long:
		return packets.ErrMalformedVariableByteInteger
	case c.bad:
		return packets.ErrMalformedProperties
	}
	for len(in.b) > 0 {
		id := in.byte()
		if id > 63 || set&(1<<id) == 0 {
			return packets.ErrProtocolViolationUnsupportedProperty
		}
		if p.has(id) && id != packets.PropUser {
			return errTwice
		}
		p.seen |= 1 << id
		switch allowed := in.property(id, p); {
		case in.long:
			return packets.ErrMalformedVariableByteInteger
		case in.notText:
			return packets.ErrMalformedInvalidUTF8
		case in.bad:
			return errOverrun
		case !allowed:
			return errValue
		}
	}
	return nil
}

// What mochi has no code for, because it lets it pass.
var (
	errTwice    = packets.Code{Code: packets.ErrProtocolViolation.Code, Reason: "protocol violation: a property is there twice"}
	errValue    = packets.Code{Code: packets.ErrProtocolViolation.Code, Reason: "protocol violation: a property has a value that is not allowed"}
	errReserved = packets.Code{Code: packets.ErrProtocolViolation.Code, Reason: "protocol violation: subscription options"}
	errOverrun  = packets.Code{Code: packets.ErrMalformedPacket.Code, Reason: "malformed packet: a property reaches past their length"}
	errSurplus  = packets.Code{Code: packets.ErrMalformedPacket.Code, Reason: "malformed packet: bytes after the end"}
	errNotText  = packets.Code{Code: packets.ErrMalformedPacket.Code, Reason: "malformed packet: the user name is not UTF-8"}
)

// property reads one value and reports whether it is one that is allowed.
func (c *cursor) property(id byte, p *properties) bool {
	switch id {
	case packets.PropPayloadFormat, packets.PropRequestResponseInfo:
		return c.byte() <= 1
	case packets.PropRequestProblemInfo:
		b := c.byte()
		p.quiet = b == 0
		return b <= 1
	case packets.PropMessageExpiryInterval:
		c.uint32()
	case packets.PropContentType:
		p.contentType = c.text()
	case packets.PropResponseTopic:
		return !bytes.ContainsAny(c.text(), "+#") // MQTT-3.3.2-14
	case packets.PropCorrelationData, packets.PropAuthenticationData:
		c.data()
	case packets.PropAuthenticationMethod, packets.PropServerReference, packets.PropReasonString:
		c.text()
	case packets.PropUser:
		c.text()
		c.text()
	case packets.PropSubscriptionIdentifier:
		p.subID = c.varint()
		return p.subID > 0
	case packets.PropSessionExpiryInterval:
		p.expiry = c.uint32()
	case packets.PropWillDelayInterval:
		p.willDelay = c.uint32()
	case packets.PropMaximumPacketSize:
		p.largest = c.uint32()
		return p.largest > 0
	case packets.PropReceiveMaximum:
		p.window = c.uint16()
		return p.window > 0
	case packets.PropTopicAliasMaximum, packets.PropTopicAlias:
		c.uint16()
	}
	return true
}

// publication is a PUBLISH. Its slices alias the packet.
type publication struct {
	qos         byte
	id          uint16
	topic       []byte
	contentType []byte
	payload     []byte
}

// decodePublish leaves wildcards in the topic to mayPublish, which counts them as a foreign topic, and QoS 2 to publish.
func decodePublish(head byte, body []byte, v5 bool) (publication, error) {
	m := publication{qos: head >> 1 & 3}
	c := cursor{b: body}
	m.topic = c.text()
	if c.bad {
		return m, packets.ErrMalformedTopic
	}
	if m.qos > 0 {
		if m.id = c.uint16(); c.bad {
			return m, packets.ErrMalformedPacketID
		}
		if m.id == 0 {
			return m, packets.ErrProtocolViolationNoPacketID // MQTT-2.2.1-3
		}
	}
	if v5 {
		var p properties
		if err := c.properties(publishProps, &p); err != nil {
			return m, err
		}
		switch {
		case p.has(packets.PropTopicAlias):
			return m, packets.ErrTopicAliasInvalid // MQTT-3.2.2-18: we said that there are none
		case p.has(packets.PropSubscriptionIdentifier):
			return m, packets.ErrProtocolViolationSurplusSubID // MQTT-3.3.4-6
		}
		m.contentType = p.contentType
	}
	if len(m.topic) == 0 {
		return m, packets.ErrProtocolViolationNoTopic // MQTT-4.7.3-1
	}
	m.payload = c.b
	return m, nil
}

// decodePuback returns which message it acknowledges, and how.
func decodePuback(body []byte, v5 bool) (id uint16, reason byte, err error) {
	c := cursor{b: body}
	id = c.uint16()
	if v5 && len(c.b) > 0 {
		reason = c.byte()
		if len(c.b) > 0 {
			if err := c.properties(pubackProps, new(properties)); err != nil {
				return id, reason, err
			}
		}
	}
	return id, reason, c.end()
}

// decodeSubscribe returns the packet id and what is asked for; the filters may be any text.
func decodeSubscribe(body []byte, v5 bool) (uint16, []listening, error) {
	c := cursor{b: body}
	id := c.uint16()
	var p properties
	if v5 {
		if err := c.properties(subscribeProps, &p); err != nil {
			return id, nil, err
		}
	}
	var filters []listening
	for len(c.b) > 0 {
		l := listening{filter: c.string(), id: p.subID}
		options := c.byte()
		l.qos = options & 3
		switch {
		case c.bad:
			return id, nil, packets.ErrMalformedTopic
		case l.qos == 3, !v5 && options > 3:
			return id, nil, packets.ErrProtocolViolationQosOutOfRange // MQTT-3.8.3-4
		case options > 0x3f, options>>4 == 3:
			return id, nil, errReserved // MQTT-3.8.3-5, and retain handling 3
		}
		filters = append(filters, l)
	}
	return id, filters, someFilters(&c, id, len(filters))
}

// decodeUnsubscribe returns the packet id and the filters.
func decodeUnsubscribe(body []byte, v5 bool) (uint16, []string, error) {
	c := cursor{b: body}
	id := c.uint16()
	if v5 {
		if err := c.properties(unsubscribeProps, new(properties)); err != nil {
			return id, nil, err
		}
	}
	var filters []string
	for len(c.b) > 0 {
		filters = append(filters, c.string())
	}
	return id, filters, someFilters(&c, id, len(filters))
}

func someFilters(c *cursor, id uint16, n int) error {
	switch {
	case c.bad:
		return packets.ErrMalformedPacket
	case id == 0:
		return packets.ErrProtocolViolationNoPacketID // MQTT-2.2.1-3
	case n == 0:
		return packets.ErrProtocolViolationNoFilters // MQTT-3.8.3-2, MQTT-3.10.3-2
	}
	return nil
}

// farewell is a DISCONNECT.
type farewell struct {
	reason    byte
	expiry    uint32 // session expiry interval
	hasExpiry bool
}

func decodeDisconnect(body []byte, v5 bool) (farewell, error) {
	c := cursor{b: body}
	var f farewell
	if v5 && len(c.b) > 0 {
		f.reason = c.byte()
		if len(c.b) > 0 {
			var p properties
			if err := c.properties(disconnectProps, &p); err != nil {
				return f, err
			}
			f.expiry, f.hasExpiry = p.expiry, p.has(packets.PropSessionExpiryInterval)
		}
	}
	return f, c.end()
}
