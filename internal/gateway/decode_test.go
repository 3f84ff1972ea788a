package gateway

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// reference is what mochi's decoder makes of a packet; refused: it does not take it. A panic of its own counts as that.
func reference(head byte, body []byte, version byte) (pk packets.Packet, refused error) {
	defer func() {
		if p := recover(); p != nil {
			refused = errPanic
		}
	}()
	pk.ProtocolVersion = version
	if err := pk.FixedHeader.Decode(head); err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining = len(body)
	check := func(err error, code packets.Code) error {
		if err == nil && code != packets.CodeSuccess {
			err = code
		}
		return err
	}
	body = bytes.Clone(body) // its strings alias it
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err := pk.ConnectDecode(body)
		return pk, check(err, pk.ConnectValidate())
	case packets.Publish:
		err := pk.PublishDecode(body)
		return pk, check(err, pk.PublishValidate(0))
	case packets.Subscribe:
		err := pk.SubscribeDecode(body)
		return pk, check(err, pk.SubscribeValidate())
	case packets.Unsubscribe:
		err := pk.UnsubscribeDecode(body)
		return pk, check(err, pk.UnsubscribeValidate())
	case packets.Puback:
		return pk, pk.PubackDecode(body)
	default:
		return pk, pk.DisconnectDecode(body)
	}
}

// FuzzDecode holds our decoder next to mochi's. What ours takes mochi takes too, with the same fields, but for what the
// specification allows and mochi does not; what mochi takes and ours refuses must be one of the things that mochi lets pass.
func FuzzDecode(f *testing.F) {
	for _, version := range []byte{4, 5} {
		for _, s := range seeds(f, version) {
			if len(s) > 2 && s[1] < 0x80 {
				f.Add(s[0], version == 5, s[2:])
			} else if len(s) > 3 {
				f.Add(s[0], version == 5, s[3:])
			}
		}
	}
	f.Add(byte(0x82), true, []byte{0, 1, 2, 11, 5, 0, 1, 'a', 0x2d})
	f.Add(byte(0x40), true, []byte{0, 1, 0x10, 0})
	f.Add(byte(0xe0), true, []byte{0, 5, 17, 0, 0, 0, 9})
	f.Add(byte(0x32), true, []byte{0, 1, 'a', 0, 1, 7, 3, 0, 1, 'b', 1, 1, 2})
	heads := []byte{0x10, 0x30, 0x32, 0x34, 0x82, 0xa2, 0x40, 0xe0}
	f.Fuzz(func(t *testing.T, head byte, five bool, body []byte) {
		if !slices.Contains(heads, head) {
			head = heads[int(head)%len(heads)]
		}
		version := byte(4)
		if five {
			version = 5
		}
		kept := bytes.Clone(body)
		defer func() {
			if !bytes.Equal(kept, body) {
				t.Error("the packet was changed")
			}
		}()
		want, refused := reference(head, body, version)
		same, err := compare(t, head, body, five, &want)
		var code packets.Code
		switch {
		case err != nil && !errors.As(err, &code):
			t.Errorf("%#v is no reason code", err)
		case err != nil && refused == nil && !slices.Contains(stricter, code) && (head != 0xe0 || len(body) != 2):
			t.Errorf("head %#x, 5 %v, % x: we say %v, mochi takes it", head, five, body, err)
		case err == nil && refused != nil && !laxer(head, refused):
			t.Errorf("head %#x, 5 %v, % x: mochi says %v, we take it", head, five, body, refused)
		case err == nil && refused == nil && !same:
			t.Errorf("head %#x, 5 %v, % x: other fields than %+v", head, five, body, want)
		}
	})
}

// compare decodes a packet and reports whether its fields are those of mochi's.
func compare(t *testing.T, head byte, body []byte, v5 bool, want *packets.Packet) (same bool, err error) {
	t.Helper()
	switch head >> 4 {
	case packets.Connect:
		g, err := decodeConnect(body)
		return sameConnect(&g, want), err
	case packets.Publish:
		m, err := decodePublish(head, body, v5)
		return m.qos == want.FixedHeader.Qos && m.id == want.PacketID && string(m.topic) == want.TopicName &&
			bytes.Equal(m.payload, want.Payload) && string(m.contentType) == want.Properties.ContentType, err
	case packets.Subscribe:
		id, filters, err := decodeSubscribe(body, v5)
		return id == want.PacketID && slices.EqualFunc(filters, want.Filters, func(l listening, s packets.Subscription) bool {
			return l.filter == s.Filter && l.qos == s.Qos && l.id == s.Identifier
		}), err
	case packets.Unsubscribe:
		id, filters, err := decodeUnsubscribe(body, v5)
		return id == want.PacketID && slices.EqualFunc(filters, want.Filters, func(f string, s packets.Subscription) bool { return f == s.Filter }), err
	case packets.Puback:
		id, reason, err := decodePuback(body, v5)
		return id == want.PacketID && reason == want.ReasonCode, err
	default:
		d, err := decodeDisconnect(body, v5)
		return (d.reason == want.ReasonCode || len(body) == 1) && // mochi does not read a reason that stands alone
			d.expiry == want.Properties.SessionExpiryInterval && d.hasExpiry == want.Properties.SessionExpiryIntervalFlag, err
	}
}

func sameConnect(g *greeting, want *packets.Packet) bool {
	c, p := &want.Connect, &want.Properties
	same := g.version == want.ProtocolVersion && g.clean == c.Clean && g.keepAlive == c.Keepalive && g.clientID == c.ClientIdentifier &&
		g.username == string(c.Username) && g.password == string(c.Password) && (g.will != nil) == c.WillFlag &&
		g.expiry == p.SessionExpiryInterval && g.window == p.ReceiveMaximum && g.largest == p.MaximumPacketSize &&
		g.quiet == (p.RequestProblemInfoFlag && p.RequestProblemInfo == 0)
	if w := g.will; same && w != nil {
		same = w.topic == c.WillTopic && bytes.Equal(w.payload, c.WillPayload) && w.qos == c.WillQos && w.retain == c.WillRetain &&
			w.contentType == c.WillProperties.ContentType && w.delay == c.WillProperties.WillDelayInterval
	}
	return same
}

// laxer lists what mochi refuses and the specification allows: an empty will message or password, and a password without a
// user name. Wildcards in a topic are refused by mayPublish.
func laxer(head byte, refused error) bool {
	var code packets.Code
	if !errors.As(refused, &code) {
		return false
	}
	return head == 0x10 && (code == packets.ErrProtocolViolationWillFlagNoPayload || code == packets.ErrProtocolViolationFlagNoPassword) ||
		head>>4 == packets.Publish && code == packets.ErrProtocolViolationSurplusWildcard
}

// stricter lists what mochi lets pass and the specification does not. Each has a code of its own, and a case in
// TestConnectIsChecked or TestWhatIsNotAllowedEndsTheConnection; about everything else the two must agree, but for the length
// of the properties in a DISCONNECT of two bytes, which mochi does not read.
var stricter = []packets.Code{errTwice, errOverrun, errValue, errSurplus, errReserved, packets.ErrMalformedVariableByteInteger,
	packets.ErrProtocolViolationWillFlagSurplusRetain, packets.ErrProtocolViolationPasswordNoFlag, errNotText,
	packets.ErrUnsupportedProtocolVersion, // MQTT 3.1
	packets.ErrTopicAliasInvalid}          // 0, which mochi takes for none
