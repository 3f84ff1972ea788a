package gateway

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// raw sends bytes as they are.
func (d *device) raw(b ...byte) {
	d.t.Helper()
	if _, err := d.c.Write(b); err != nil {
		d.t.Fatal(err)
	}
}

// rawConnect builds a CONNECT of a protocol name, a version, flags and what follows the keep-alive.
func rawConnect(name string, version, flags byte, rest ...byte) []byte {
	body := append(appendText(nil, name), version, flags, 0, 60)
	body = append(body, rest...)
	return append(appendLength([]byte{packets.Connect << 4}, len(body)), body...)
}

func appendText(p []byte, s string) []byte {
	return append(append(p, byte(len(s)>>8), byte(len(s))), s...)
}

// credentials of A1 with its client id, as the end of a CONNECT.
func credentialsOfA1() []byte {
	return appendText(appendText(appendText(nil, "A1"), "demo/A1"), "pw-A1")
}

// MQTT 3.1.1, 3.1.2 and MQTT 5, 3.1.2: what is checked in a CONNECT, and how it is answered.
func TestConnectIsChecked(t *testing.T) {
	const none = -1 // the connection is closed without an answer
	with := func(props ...byte) []byte {
		return append(append([]byte{byte(len(props))}, props...), credentialsOfA1()...)
	}
	will := func(props string) []byte { // MQTT 5, will properties
		b := append([]byte{0}, appendText(nil, "A1")...)
		b = append(append(b, byte(len(props))), props...)
		b = appendText(appendText(b, "devices/demo/washer-w7/A1/status"), "{}")
		return appendText(appendText(b, "demo/A1"), "pw-A1")
	}
	r := start(t, newInbox(false))
	for name, c := range map[string]struct {
		packet []byte
		code   int
	}{
		"3.1.1":                                {rawConnect("MQTT", 4, 0xc2, credentialsOfA1()...), 0},
		"5":                                    {rawConnect("MQTT", 5, 0xc2, with()...), 0},
		"MQTT-3.1.2-1 protocol name":           {rawConnect("MQTX", 4, 0xc2, credentialsOfA1()...), none},
		"MQTT-3.1.2-2 version 3":               {rawConnect("MQIsdp", 3, 0xc2, credentialsOfA1()...), 1},
		"MQTT-3.1.2-2 version 2":               {rawConnect("MQTT", 2, 0xc2, credentialsOfA1()...), 1},
		"MQTT-3.1.2-2 version 6":               {rawConnect("MQTT", 6, 0xc2, with()...), 0x84},
		"MQTT-3.1.2-3 reserved flag, 3.1.1":    {rawConnect("MQTT", 4, 0xc3, credentialsOfA1()...), none},
		"MQTT-3.1.2-3 reserved flag, 5":        {rawConnect("MQTT", 5, 0xc3, with()...), 0x82},
		"MQTT-3.1.2-11 will QoS without will":  {rawConnect("MQTT", 5, 0xca, with()...), 0x82},
		"MQTT-3.1.2-13 will retain without":    {rawConnect("MQTT", 5, 0xe2, with()...), 0x82},
		"MQTT-3.1.2-12 will QoS 3":             {rawConnect("MQTT", 5, 0xde, will("")...), 0x82},
		"MQTT-3.1.2-22 password without user":  {rawConnect("MQTT", 4, 0x42, appendText(appendText(nil, "A1"), "pw-A1")...), none},
		"password without user, 5":             {rawConnect("MQTT", 5, 0x42, append([]byte{0}, appendText(appendText(nil, "A1"), "pw-A1")...)...), 0x86},
		"bytes after the end":                  {rawConnect("MQTT", 4, 0xc2, append(credentialsOfA1(), 0)...), none},
		"too short":                            {rawConnect("MQTT", 4, 0xc2, credentialsOfA1()[:15]...), none},
		"MQTT-1.5.4-2 U+0000 in the client id": {rawConnect("MQTT", 4, 0xc2, append(appendText(nil, "A\x00"), credentialsOfA1()[4:]...)...), none},
		"MQTT-1.5.4-1 user name is no UTF-8":   {rawConnect("MQTT", 4, 0xc2, appendText(appendText(appendText(nil, "A1"), "demo/\xff"), "pw")...), none},
		"a property twice":                     {rawConnect("MQTT", 5, 0xc2, with(33, 0, 9, 33, 0, 9)...), 0x82},
		"a property of PUBLISH":                {rawConnect("MQTT", 5, 0xc2, with(35, 0, 9)...), 0x82},
		"an unknown property":                  {rawConnect("MQTT", 5, 0xc2, with(99, 0)...), 0x82},
		"a property past the length":           {rawConnect("MQTT", 5, 0xc2, append([]byte{2, 33, 0}, credentialsOfA1()...)...), 0x81},
		"receive maximum 0":                    {rawConnect("MQTT", 5, 0xc2, with(33, 0, 0)...), 0x82},
		"maximum packet size 0":                {rawConnect("MQTT", 5, 0xc2, with(39, 0, 0, 0, 0)...), 0x82},
		"request problem information 2":        {rawConnect("MQTT", 5, 0xc2, with(23, 2)...), 0x82},
		"topic alias maximum":                  {rawConnect("MQTT", 5, 0xc2, with(34, 0, 7)...), 0},
		"user property twice":                  {rawConnect("MQTT", 5, 0xc2, with(38, 0, 1, 'a', 0, 0, 38, 0, 1, 'a', 0, 0)...), 0},
		"another way to authenticate":          {rawConnect("MQTT", 5, 0xc2, with(21, 0, 1, 'x')...), 0x8c},
		"authentication data alone":            {rawConnect("MQTT", 5, 0xc2, with(22, 0, 1, 'x')...), 0x82},
		"will properties":                      {rawConnect("MQTT", 5, 0xc6, will("\x18\x00\x00\x00\x05\x01\x01")...), 0},
		"a will property of CONNECT":           {rawConnect("MQTT", 5, 0xc6, will("\x21\x00\x01")...), 0x82},
		"an empty client id, 3.1.1":            {rawConnect("MQTT", 4, 0xc0, append([]byte{0, 0}, credentialsOfA1()[4:]...)...), 2},
	} {
		d := r.dial(t, 4)
		if name != "MQTT-3.1.2-2 version 6" && c.packet[8] == 5 {
			d.v = 5
		}
		d.raw(c.packet...)
		pk, err := d.next()
		code := none
		if err == nil {
			code = int(pk.ReasonCode)
		}
		if code != c.code || err == nil && pk.FixedHeader.Type != packets.Connack {
			t.Errorf("%s: code %#x, want %#x (%v)", name, code, c.code, err)
		}
		if code == 0 {
			d.ping()
		} else if code != none {
			d.closed() // MQTT-3.1.4-2: nothing is done after a refusal
		}
	}
}

// MQTT-3.1.4-5: a client may send on before it has CONNACK, and all of it may come at once.
func TestPacketsBehindConnect(t *testing.T) {
	for _, version := range []byte{4, 5} {
		in := newInbox(false)
		r := startDoors(t, in)
		all := encode(t, version, seedConnect("A1"))
		for id := uint16(1); id <= 100; id++ { // more than a buffer
			all = append(all, encode(t, version, publish(topic("A1"), 1, id))...)
		}
		for tr := range transports {
			d := r.dialVia(t, tr, version)
			d.raw(all...)
			if pk := d.read(); pk.FixedHeader.Type != packets.Connack || pk.ReasonCode != 0 {
				t.Fatalf("%s: %+v", tr, pk)
			}
			for id := uint16(1); id <= 100; id++ {
				d.acked(id)
			}
			_ = d.c.Close()
		}
	}
}

// What ends a connection, and what an MQTT 5 client is told; 3.1.1 is just closed. A good device does not notice.
func TestWhatIsNotAllowedEndsTheConnection(t *testing.T) {
	topicOfA1 := appendText(nil, topic("A1"))
	pub := func(head byte, rest ...byte) []byte {
		body := slices.Concat(topicOfA1, rest)
		return append(appendLength([]byte{head}, len(body)), body...)
	}
	packet := func(head byte, body ...byte) []byte { return append([]byte{head, byte(len(body))}, body...) }
	for name, c := range map[string]struct {
		packet []byte
		code   byte
		only   byte // version; 0: both
	}{
		"MQTT-3.1.0-2 second CONNECT":             {encode(t, 4, seedConnect("A1")), 0x82, 0},
		"MQTT-3.3.1-4 QoS 3":                      {pub(0x36, 0, 1), 0x82, 0},
		"MQTT-3.3.1-2 DUP with QoS 0":             {pub(0x38, 0), 0x82, 0},
		"MQTT-2.2.1-3 packet id 0":                {pub(0x32, 0, 0, 0), 0x82, 0},
		"no packet id":                            {pub(0x32), 0x81, 0},
		"MQTT-4.7.3-1 empty topic":                {packet(0x30, 0, 0, 0), 0x82, 0},
		"MQTT-1.5.4-2 U+0000 in the topic":        {packet(0x30, 0, 2, 'a', 0, 0), 0x81, 0},
		"MQTT-3.2.2-18 topic alias":               {pub(0x30, 3, 35, 0, 1), 0x94, 5},
		"MQTT-3.3.4-6 subscription identifier":    {pub(0x30, 2, 11, 1), 0x82, 5},
		"MQTT-3.3.2-14 response topic with #":     {pub(0x30, 4, 8, 0, 1, '#'), 0x82, 5},
		"payload format 2":                        {pub(0x30, 2, 1, 2), 0x82, 5},
		"content type twice":                      {pub(0x30, 8, 3, 0, 1, 'a', 3, 0, 1, 'b'), 0x82, 5},
		"a property of CONNECT":                   {pub(0x30, 3, 33, 0, 1), 0x82, 5},
		"properties past the end":                 {pub(0x30, 9, 1, 1), 0x81, 5},
		"MQTT-3.8.1-1 flags of SUBSCRIBE":         {packet(0x80, 0, 1, 0, 1, 'a', 0), 0x81, 0},
		"MQTT-3.8.3-2 SUBSCRIBE to nothing":       {packet(0x82, 0, 1), 0x82, 4},
		"MQTT-3.8.3-2 SUBSCRIBE to nothing, 5":    {packet(0x82, 0, 1, 0), 0x82, 5},
		"SUBSCRIBE with packet id 0":              {packet(0x82, 0, 0, 0, 1, 'a', 0), 0x82, 4},
		"SUBSCRIBE that ends in a filter":         {packet(0x82, 0, 1, 0, 0, 1, 'a'), 0x81, 5},
		"MQTT-3.8.3-4 QoS 3":                      {packet(0x82, 0, 1, 0, 1, 'a', 3), 0x82, 4},
		"MQTT-3.8.3-5 reserved bits":              {packet(0x82, 0, 1, 0, 0, 1, 'a', 0x40), 0x82, 5},
		"retain handling 3":                       {packet(0x82, 0, 1, 0, 0, 1, 'a', 0x30), 0x82, 5},
		"subscription identifier 0":               {packet(0x82, 0, 1, 2, 11, 0, 0, 1, 'a', 0), 0x82, 5},
		"MQTT-3.10.1-1 flags of UNSUBSCRIBE":      {packet(0xa0, 0, 1, 0, 1, 'a'), 0x81, 0},
		"MQTT-3.10.3-2 UNSUBSCRIBE from nothing":  {packet(0xa2, 0, 1, 0), 0x82, 5},
		"PUBACK too short":                        {packet(0x40, 0), 0x81, 0},
		"PUBACK too long":                         {packet(0x40, 0, 1, 0), 0x81, 4},
		"PINGREQ with a body":                     {packet(0xc0, 1), 0x81, 0},
		"MQTT-3.14.1-1 flags of DISCONNECT":       {packet(0xe1), 0x81, 0},
		"DISCONNECT with a body":                  {packet(0xe0, 0), 0x81, 4},
		"an expiry where there was none":          {packet(0xe0, 0, 5, 17, 0, 0, 0, 9), 0x82, 5},
		"CONNACK":                                 {packet(0x20, 0, 0), 0x82, 0},
		"SUBACK":                                  {packet(0x90, 0, 1, 0), 0x82, 0},
		"PINGRESP":                                {packet(0xd0), 0x82, 0},
		"PUBREC":                                  {packet(0x50, 0, 1), 0x82, 0},
		"AUTH that nobody asked for":              {packet(0xf0, 0x18, 0), 0x82, 5},
		"type 0":                                  {packet(0x00), 0x81, 0},
		"five bytes of length":                    {[]byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}, 0x81, 0},
		"MQTT-3.1.2-25 larger than we said":       {[]byte{0x30, 0xff, 0xff, 0x7f}, 0x95, 0},
		"larger than we said, and it comes whole": {pub(0x30, make([]byte, 80<<10)...), 0x95, 0},
	} {
		for _, version := range []byte{4, 5} {
			if c.only != 0 && c.only != version {
				continue
			}
			t.Run(fmt.Sprint(name, " version ", version), func(t *testing.T) {
				t.Parallel()
				in := newInbox(false)
				r := start(t, in)
				good, d := r.device(t, 4, "A2"), r.device(t, version, "A1", withWill("devices/demo/washer-w7/A1/status", 0, false))
				d.raw(c.packet...)
				want := c.code
				if version == 4 {
					want = 0
				}
				if code := d.closed(); code != want {
					t.Errorf("code %#x, want %#x", code, want)
				}
				reason := ReasonPacket
				if c.code == packets.ErrPacketTooLarge.Code {
					reason = ReasonSize
				}
				if version == 5 && r.metric("disconnects_sent_total", fmt.Sprintf("%#x", want)) != 1 {
					t.Error("DISCONNECT is not counted")
				}
				in.wait(t, 1) // the will: this is no good-bye
				eventually(t, "counted once", func() bool {
					return r.metric("disconnects_total", reason) == 1 && slices.Equal(r.reasons(), []string{reason})
				})
				good.ping()
			})
		}
	}
}

// MQTT-3.1.2-22: one and a half times the keep-alive, from the last packet that was whole. 0 is for ever.
func TestKeepAlive(t *testing.T) {
	r := start(t, newInbox(false))
	every := func(s uint16) func(*packets.Packet) { return func(pk *packets.Packet) { pk.Connect.Keepalive = s } }
	forever := r.device(t, 5, "A3", every(0))
	for version, want := range map[byte]byte{4: 0, 5: packets.ErrKeepAliveTimeout.Code} {
		d := r.device(t, version, "A1", every(1))
		time.Sleep(time.Second)
		d.ping() // the count begins again
		begin := time.Now()
		time.Sleep(time.Second)
		d.raw(0x30, 20) // half a packet says nothing
		if code := d.closed(); code != want {
			t.Errorf("version %d: code %#x", version, code)
		}
		if took := time.Since(begin); took < 1300*time.Millisecond {
			t.Errorf("version %d: closed after %v", version, took)
		}
	}
	forever.ping()
	eventually(t, "counted", func() bool { return r.metric("disconnects_total", "keepalive") == 2 })
	if long := (&greeting{keepAlive: 65535}).deadAfter(); long != 98302500*time.Millisecond {
		t.Errorf("longest keep-alive: dead after %v", long)
	}
}

// A packet of any size up to the limit is taken, however it is cut into pieces, and its payload is its own.
func TestPacketsOfEverySize(t *testing.T) {
	in := newInbox(false)
	r := start(t, in, func(c *Config, _ *Deps) { c.ReadBuffer = 256 })
	d := r.device(t, 5, "A1")
	var sizes []int
	id := uint16(0)
	for _, n := range []int{0, 1, 60, 127, 128, 200, 255, 256, 257, 300, 16383, 16384, 60000, 65470} {
		pk := publish(topic("A1"), 1, id+1)
		pk.Payload = bytes.Repeat([]byte{byte(n)}, n)
		for _, piece := range []int{1 << 20, 1000, 7} {
			if n > 1000 && piece == 7 {
				continue
			}
			id++
			pk.PacketID = id
			for part := range slices.Chunk(encode(t, 5, pk), piece) {
				d.raw(part...)
			}
			sizes = append(sizes, n)
		}
	}
	for i := range sizes {
		d.acked(uint16(i + 1))
	}
	for i, m := range in.all() {
		if !bytes.Equal(m.Payload, bytes.Repeat([]byte{byte(sizes[i])}, sizes[i])) || m.Topic != topic("A1") {
			t.Errorf("%d: %d bytes of %d on %q", i, len(m.Payload), sizes[i], m.Topic)
		}
	}
}
