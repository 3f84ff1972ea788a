package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/wire"
)

// SEC-02: a device publishes for itself and for those it speaks for, to three topics, and nowhere else.
func TestSEC02PublishMatrix(t *testing.T) {
	own := []string{"devices/demo/washer-w7/A1/telemetry", "devices/demo/washer-w7/A1/event", "devices/demo/washer-w7/A1/status"}
	foreign := []string{
		"devices/demo/washer-w7/A2/telemetry", "devices/other/washer-w7/A1/telemetry", "devices/demo/washer-w7/A1/command",
		"devices/demo/washer-w7/A1", "devices/demo/washer-w7/A1/telemetry/x", "devices/demo/washer-w7/+/telemetry", "devices/#", "#",
		"$SYS/broker/version", "$share/x/devices/demo/washer-w7/A1/telemetry", "/devices/demo/washer-w7/A1/telemetry",
		"devices/demo//A1/telemetry", strings.Repeat("x/", 200),
	}
	for _, version := range []byte{4, 5} {
		t.Run(fmt.Sprint("version", version), func(t *testing.T) {
			in := newInbox(false)
			r := start(t, in)
			d := r.device(t, version, "A1")
			id := uint16(0)
			for _, tp := range own {
				id++
				d.send(publish(tp, 1, id))
				if code := d.acked(id); code != 0 {
					t.Errorf("%s: code %#x", tp, code)
				}
				d.send(publish(tp, 0, 0))
			}
			for _, tp := range foreign {
				id++
				d.send(publish(tp, 1, id))
				code := d.acked(id)
				if version == 5 && code != packets.ErrNotAuthorized.Code || version == 4 && code != 0 {
					t.Errorf("%s: code %#x", tp, code)
				}
				d.send(publish(tp, 0, 0))
			}
			d.ping()
			want := make([]string, 0, 2*len(own))
			for _, tp := range own {
				want = append(want, tp, tp)
			}
			if got := in.topics(); !slices.Equal(got, want) {
				t.Errorf("ingest got %q", got)
			}
			for _, m := range in.all() {
				if m.Speaker.String() != "demo/A1" || m.Trusted || m.Door != "gateway" || string(m.Payload) != `{"drain_s":55}` {
					t.Errorf("inbound %+v", m)
				}
			}
			if got := r.reasons(); len(got) != 2*len(foreign) || slices.ContainsFunc(got, func(s string) bool { return s != ReasonTopic }) {
				t.Errorf("refused: %q", got)
			}
		})
	}
}

func TestBaseStationSpeaksForItsTools(t *testing.T) {
	in := newInbox(false)
	d := start(t, in).device(t, 4, "B1")
	for i, tp := range []string{topic("T1"), topic("T2"), topic("T3"), topic("B1")} {
		d.send(publish(tp, 1, uint16(i+1)))
		d.acked(uint16(i + 1))
	}
	if got := in.topics(); !slices.Equal(got, []string{topic("T1"), topic("T2"), topic("B1")}) {
		t.Errorf("ingest got %q", got)
	}
}

// REL-01: no PUBACK before Done, in the order of the messages whatever the order of the answers.
func TestREL01AckOnlyAfterDoneAndInOrder(t *testing.T) {
	in := newInbox(true)
	d := start(t, in).device(t, 5, "A1")
	d.send(publish(topic("A1"), 1, 11))
	d.send(publish(topic("A2"), 1, 12)) // refused at once, but its turn is second
	d.send(publish(topic("A1"), 1, 13))
	d.send(publish(topic("A1"), 1, 14))
	got := in.wait(t, 3)
	d.ping() // nothing but PINGRESP has come
	got[2].Ack.Done(got[2].Ticket, wire.Quarantined)
	d.ping()
	got[0].Ack.Done(got[0].Ticket, wire.Stored)
	if a, b := d.acked(11), d.acked(12); a != 0 || b != packets.ErrNotAuthorized.Code {
		t.Errorf("codes %#x, %#x", a, b)
	}
	d.ping()
	got[1].Ack.Done(got[1].Ticket, wire.Refused)
	if a, b := d.acked(13), d.acked(14); a != packets.ErrImplementationSpecificError.Code || b != 0 {
		t.Errorf("codes %#x, %#x", a, b)
	}
}

func TestFailedIsNeverAcknowledged(t *testing.T) {
	in := newInbox(true)
	r := start(t, in)
	d := r.device(t, 4, "A1", withWill("devices/demo/washer-w7/A1/status", 0, false))
	for id := range uint16(3) {
		d.send(publish(topic("A1"), 1, id+1))
	}
	got := in.wait(t, 3)
	got[0].Ack.Done(got[0].Ticket, wire.Stored)
	got[1].Ack.Done(got[1].Ticket, wire.Failed)
	got[2].Ack.Done(got[2].Ticket, wire.Stored)
	d.acked(1)
	d.closed()
	eventually(t, "disconnect counted", func() bool { return r.metric("disconnects_total", "not stored") == 1 })
	if n := len(in.all()); n != 3 {
		t.Errorf("%d messages: a will was sent", n)
	}
}

// A connection that has too much unanswered is not read on; when there is room, it is.
func TestInflightBoundPausesReader(t *testing.T) {
	in := newInbox(true)
	r := start(t, in, func(c *Config, _ *Deps) { c.MaxInflight = 4 })
	d := r.device(t, 4, "A1")
	for id := range uint16(10) {
		d.send(publish(topic("A1"), 1, id+1))
	}
	in.wait(t, 4)
	eventually(t, "reader paused", func() bool { return r.metric("paused_readers", "") == 1 })
	for i := range 10 {
		got := in.wait(t, i+1)
		if len(got) > i+4 {
			t.Fatalf("%d unanswered", len(got)-i)
		}
		got[i].Ack.Done(got[i].Ticket, wire.Stored)
		d.acked(uint16(i + 1))
	}
	eventually(t, "reader goes on", func() bool { return r.metric("paused_readers", "") == 0 })
}

func TestPauseEndsBeforeKeepAlive(t *testing.T) {
	in := newInbox(true)
	r := start(t, in, func(c *Config, _ *Deps) { c.MaxInflight = 1 })
	d := r.device(t, 5, "A1", func(pk *packets.Packet) { pk.Connect.Keepalive = 2 },
		withWill("devices/demo/washer-w7/A1/status", 0, false))
	d.send(publish(topic("A1"), 1, 1))
	d.send(publish(topic("A1"), 1, 2))
	if code := d.closed(); code != packets.ErrServerBusy.Code {
		t.Errorf("code %#x", code)
	}
	eventually(t, "disconnect counted", func() bool { return r.metric("disconnects_total", "paused too long") == 1 })
	if n := len(in.all()); n != 1 {
		t.Errorf("%d messages: a will was sent for a device that is there", n)
	}
}

func TestQoS2EndsTheConnection(t *testing.T) {
	for _, version := range []byte{4, 5} {
		r := start(t, newInbox(false))
		d := r.device(t, version, "A1")
		d.send(publish(topic("A1"), 2, 7))
		code := d.closed()
		if version == 5 && code != packets.ErrQosNotSupported.Code || version == 4 && code != 0 {
			t.Errorf("version %d: code %#x", version, code)
		}
		if got := r.reasons(); !slices.Equal(got, []string{ReasonQoS}) {
			t.Errorf("refused: %q", got)
		}
		if len(r.in.all()) != 0 {
			t.Error("ingested")
		}
	}
}

func TestTopicAliasAndRetain(t *testing.T) {
	in := newInbox(false)
	r := start(t, in)
	d := r.device(t, 5, "A1")
	pk := publish(topic("A1"), 1, 1)
	pk.FixedHeader.Retain = true
	d.send(pk)
	d.acked(1)
	d.subscribe(cmdTopic)
	d.ping() // and nothing else comes: nothing is retained
	pk = publish(topic("A1"), 1, 2)
	pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 1, true
	d.send(pk)
	if code := d.closed(); code != packets.ErrTopicAliasInvalid.Code {
		t.Errorf("code %#x", code)
	}
	if len(in.all()) != 1 {
		t.Errorf("ingest got %q", in.topics())
	}
}

// What a socket does not take at once is kept, and goes out whole and in order when the client reads again.
func TestTryWriteKeepsTheRest(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	c := newConn(server, TCP, DefaultConfig())
	var sent, block []byte
	for round := byte(0); ; round++ {
		block = bytes.Repeat([]byte{round}, 10_007)
		sent = append(sent, block...)
		left, complete, err := c.tryWrite(block)
		if err != nil {
			t.Fatal(err)
		}
		if complete {
			continue
		}
		if c.sock.pending() {
			if _, complete, _ := c.tryWrite([]byte("x")); complete {
				t.Error("a write overtook the rest")
			}
		}
		go func() { _, _ = c.Write(left); _ = server.Close() }()
		break
	}
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d, equal %v, %v", len(got), len(sent), bytes.Equal(got, sent), err)
	}
}

// The same over a connection whose writes cannot but wait, as on systems without the raw one: a client that does not read its
// acknowledgements holds up nobody, however long it is waited for, and is closed when that is over.
func TestSlowReaderStallsNobody(t *testing.T) {
	for timeout, closed := range map[time.Duration]bool{time.Hour: false, 50 * time.Millisecond: true} {
		r := start(t, newInbox(false), func(c *Config, _ *Deps) { c.WriteTimeout = timeout })
		c, server := net.Pipe() // without a buffer: what nobody reads is not taken
		r.start(server, TCP)
		slow := &device{t: t, c: c, r: bufio.NewReaderSize(c, 16), v: 4}
		slow.connect("demo/A2", "pw-A2", "A2")
		slow.send(publish(topic("A2"), 1, 1))
		eventually(t, "a write that the client does not take", func() bool { return r.metric("slow_writes_total", "") > 0 })
		good := r.device(t, 4, "A1")
		for id := uint16(1); id <= 100; id++ {
			good.send(publish(topic("A1"), 1, id))
			good.acked(id)
		}
		if closed {
			eventually(t, "slow reader closed", func() bool { return r.metric("disconnects_total", slowReader) == 1 })
		} else if r.metric("connections", "") != 2 {
			t.Error("the slow one is gone: nothing was proved")
		}
		_ = c.Close()
	}
}

// At the end what ingest still answers is acknowledged, nothing new is taken, and no wills are sent.
func TestShutdownAnswersWhatIsOpen(t *testing.T) {
	in := newInbox(true)
	r := start(t, in)
	d := r.device(t, 5, "A1", withWill("devices/demo/washer-w7/A1/status", 0, false))
	d.send(publish(topic("A1"), 1, 1))
	d.send(publish(topic("A1"), 1, 2))
	got := in.wait(t, 2)
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	eventually(t, "closing", r.closing.Load)
	d.send(publish(topic("A1"), 1, 3))
	got[0].Ack.Done(got[0].Ticket, wire.Stored)
	d.acked(1)
	got[1].Ack.Done(got[1].Ticket, wire.Stored)
	d.acked(2)
	if code := d.closed(); code != packets.ErrServerShuttingDown.Code {
		t.Errorf("code %#x", code)
	}
	<-stopped
	if n := len(in.all()); n != 2 {
		t.Errorf("%d messages: a late one or a will was taken", n)
	}
}

// What ingest never answers bounds the end by the drain timeout.
func TestShutdownDoesNotWaitForever(t *testing.T) {
	in := newInbox(true)
	r := start(t, in, func(c *Config, _ *Deps) { c.DrainTimeout = 50 * time.Millisecond; c.MaxInflight = 1 })
	d := r.device(t, 4, "A1")
	d.send(publish(topic("A1"), 1, 1))
	d.send(publish(topic("A1"), 1, 2)) // the reader pauses over this one
	in.wait(t, 1)
	begin := time.Now()
	r.stop()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	d.closed()
}

func TestDoneAfterTheConnectionIsGone(t *testing.T) {
	in := newInbox(true)
	r := start(t, in)
	d := r.device(t, 4, "A1")
	d.send(publish(topic("A1"), 1, 1))
	got := in.wait(t, 1)
	_ = d.c.Close()
	eventually(t, "connection over", func() bool { return r.metric("connections", "") == 0 })
	got[0].Ack.Done(got[0].Ticket, wire.Stored)
	if n := r.open.Load(); n != 0 {
		t.Errorf("%d open", n)
	}
}
