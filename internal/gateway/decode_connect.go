package gateway

import (
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// greeting is a CONNECT. It holds nothing of the packet's bytes.
type greeting struct {
	version   byte // 4: MQTT 3.1.1, 5; with an error anything
	clean     bool
	keepAlive uint16 // seconds; 0: none
	clientID  string
	username  string
	password  string
	will      *lastWill
	expiry    uint32 // seconds that the session outlives the connection, as MQTT 5 asks for it
	window    uint16 // Receive Maximum; 0: not said
	largest   uint32 // Maximum Packet Size; 0: not said
	auth      bool   // wants another way to authenticate than a password
	quiet     bool   // wants no reason strings
}

// lastWill is the will in a CONNECT.
type lastWill struct {
	topic       string
	payload     []byte
	contentType string
	qos         byte
	retain      bool
	delay       uint32 // seconds
}

// Connect flags (MQTT 5, 3.1.2.3).
const (
	flagReserved = 1 << iota
	flagClean
	flagWill
	flagWillQoS // and the bit above
	_
	flagWillRetain
	flagPassword
	flagUsername
)

// decodeConnect reads a CONNECT and checks all that the specification says about it alone. With an error the version is what
// the client says it speaks, 0 if it does not even say MQTT.
func decodeConnect(body []byte) (greeting, error) {
	var g greeting
	c := cursor{b: body}
	name := string(c.data())
	version, flags := c.byte(), c.byte()
	g.keepAlive = c.uint16()
	switch {
	case c.bad:
		return g, packets.ErrMalformedPacket
	case name == "MQIsdp":
		return g, packets.ErrUnsupportedProtocolVersion
	case name != "MQTT":
		return g, packets.ErrProtocolViolationProtocolName // MQTT-3.1.2-1
	}
	g.version = version
	if version != 4 && version != 5 {
		return g, packets.ErrUnsupportedProtocolVersion // MQTT-3.1.2-2
	}
	if code := checkFlags(flags, version); code != packets.CodeSuccess {
		return g, code
	}
	g.clean = flags&flagClean != 0
	if err := c.greetingProperties(&g); err != nil {
		return g, err
	}
	g.clientID = c.string()
	if flags&flagWill != 0 {
		if err := c.lastWill(&g, flags); err != nil {
			return g, err
		}
	}
	if flags&flagUsername != 0 {
		before := c.bad
		if g.username = c.string(); c.notText && !before {
			return g, errNotText // MQTT-3.1.3-11
		}
	}
	if flags&flagPassword != 0 {
		g.password = string(c.data())
	}
	return g, c.end()
}

func checkFlags(flags, version byte) packets.Code {
	will := flags & (3*flagWillQoS | flagWillRetain)
	switch {
	case flags&flagReserved != 0:
		return packets.ErrProtocolViolationReservedBit // MQTT-3.1.2-3
	case flags&flagWill == 0 && will != 0:
		return packets.ErrProtocolViolationWillFlagSurplusRetain // MQTT-3.1.2-11, -13
	case flags>>3&3 == 3:
		return packets.ErrProtocolViolationQosOutOfRange // MQTT-3.1.2-12
	case version == 4 && flags&flagPassword != 0 && flags&flagUsername == 0:
		return packets.ErrProtocolViolationPasswordNoFlag // MQTT 3.1.1, MQTT-3.1.2-22; MQTT 5 allows it
	}
	return packets.CodeSuccess
}

func (c *cursor) greetingProperties(g *greeting) error {
	if g.version < 5 {
		return nil
	}
	var p properties
	if err := c.properties(connectProps, &p); err != nil {
		return err
	}
	g.expiry, g.window, g.largest, g.quiet = p.expiry, p.window, p.largest, p.quiet
	g.auth = p.has(packets.PropAuthenticationMethod)
	if !g.auth && p.has(packets.PropAuthenticationData) {
		return packets.ErrProtocolViolation // MQTT 5, 3.1.2.11.10
	}
	return nil
}

// lastWill reads a will. Its payload may be empty (MQTT 3.1.1, 3.1.3.3), its topic may not.
func (c *cursor) lastWill(g *greeting, flags byte) error {
	var p properties
	if g.version >= 5 {
		if err := c.properties(willProps, &p); err != nil {
			return err
		}
	}
	w := &lastWill{qos: flags >> 3 & 3, retain: flags&flagWillRetain != 0, delay: p.willDelay, contentType: string(p.contentType)}
	w.topic = c.string()
	w.payload = append([]byte{}, c.data()...)
	if !c.bad && w.topic == "" {
		return packets.ErrMalformedWillTopic // MQTT-4.7.3-1
	}
	g.will = w
	return nil
}

// deadAfter is how long the connection may be silent: one and a half times the keep-alive (MQTT-3.1.2-22); 0: for ever.
func (g *greeting) deadAfter() time.Duration {
	return time.Duration(g.keepAlive) * time.Second * 3 / 2
}
