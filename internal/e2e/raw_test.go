package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// rawDevice is a client made of single packets: it speaks MQTT 5, which paho does not, and it can misbehave.
type rawDevice struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
	v byte
}

const rawPatience = 10 * time.Second

// dial opens a connection to the door for devices and says nothing yet.
func (p *process) dial(t *testing.T, version byte) *rawDevice {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.mqtt)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(rawPatience))
	return &rawDevice{t: t, c: c, r: bufio.NewReader(c), v: version}
}

// connect sends a CONNECT and returns the code of the answer.
func (d *rawDevice) connect(serial, secret string, change func(*packets.Packet)) byte {
	d.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: d.v, Connect: packets.ConnectParams{
		ProtocolName: []byte("MQTT"), Clean: true, Keepalive: 60, ClientIdentifier: serial,
		UsernameFlag: true, Username: []byte(tenant + "/" + serial), PasswordFlag: true, Password: []byte(secret)}}
	if change != nil {
		change(&pk)
	}
	var b bytes.Buffer
	if err := pk.ConnectEncode(&b); err != nil {
		d.t.Fatal(err)
	}
	d.write(b.Bytes())
	return d.answer(packets.Connack).ReasonCode
}

// publish sends a message with QoS 1 and returns the code of its PUBACK.
func (d *rawDevice) publish(topic, payload string) byte {
	d.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}, ProtocolVersion: d.v, TopicName: topic, PacketID: 7, Payload: []byte(payload)}
	var b bytes.Buffer
	if err := pk.PublishEncode(&b); err != nil {
		d.t.Fatal(err)
	}
	d.write(b.Bytes())
	return d.answer(packets.Puback).ReasonCode
}

func (d *rawDevice) write(b []byte) {
	d.t.Helper()
	_ = d.c.SetDeadline(time.Now().Add(rawPatience))
	if _, err := d.c.Write(b); err != nil {
		d.t.Fatal(err)
	}
}

// answer reads one packet, which must be of the type given.
func (d *rawDevice) answer(want byte) packets.Packet {
	d.t.Helper()
	pk := packets.Packet{ProtocolVersion: d.v}
	first, err := d.r.ReadByte()
	if err != nil {
		d.t.Fatalf("no answer: %v", err)
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		d.t.Fatal(err)
	}
	if pk.FixedHeader.Remaining, _, err = packets.DecodeLength(d.r); err != nil {
		d.t.Fatal(err)
	}
	body := make([]byte, pk.FixedHeader.Remaining)
	if _, err := io.ReadFull(d.r, body); err != nil {
		d.t.Fatal(err)
	}
	if pk.FixedHeader.Type != want {
		d.t.Fatalf("packet type %d instead of %d", pk.FixedHeader.Type, want)
	}
	if want == packets.Connack {
		err = pk.ConnackDecode(body)
	} else {
		err = pk.PubackDecode(body)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return pk
}

// cutOff waits until the server has closed the connection, whatever it says before.
func (d *rawDevice) cutOff() {
	d.t.Helper()
	if _, err := io.Copy(io.Discard, d.r); errors.Is(err, os.ErrDeadlineExceeded) {
		d.t.Fatalf("the server keeps the connection open for %v", rawPatience)
	}
}

// clientHello is what a client begins with that takes the port for an encrypted one.
func clientHello(t *testing.T) []byte {
	t.Helper()
	here, there := net.Pipe()
	defer there.Close()
	go func() {
		_ = tls.Client(here, &tls.Config{ServerName: "example.org", MinVersion: tls.VersionTLS12}).HandshakeContext(t.Context())
		here.Close()
	}()
	b := make([]byte, 200)
	if _, err := io.ReadFull(there, b); err != nil {
		t.Fatal(err)
	}
	return b
}
