package bridge

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"aftercare/internal/wire"
)

// scripted is a broker that does what the test says, on one connection at a time.
type scripted struct {
	t  *testing.T
	ln net.Listener
	c  net.Conn
	r  *bufio.Reader
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{t: t, ln: ln}
	t.Cleanup(func() {
		_ = ln.Close()
		if s.c != nil {
			_ = s.c.Close()
		}
	})
	return s
}

func (s *scripted) addr() string { return s.ln.Addr().String() }

// accept takes the next connection and answers CONNECT and SUBSCRIBE with the codes; the session is new.
func (s *scripted) accept(suback byte) packets.Packet {
	s.t.Helper()
	connect := s.connack(0, 0)
	s.suback(suback)
	return connect
}

// connack takes the next connection and answers its CONNECT.
func (s *scripted) connack(present, code byte) packets.Packet {
	s.t.Helper()
	c, err := s.ln.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.c, s.r = c, bufio.NewReader(c)
	connect := s.read(packets.Connect)
	s.write([]byte{0x20, 2, present, code})
	return connect
}

// suback answers the next SUBSCRIBE with the same code for each filter, and returns the filters sorted.
func (s *scripted) suback(code byte) []string {
	s.t.Helper()
	sub := s.read(packets.Subscribe)
	codes := bytes.Repeat([]byte{code}, len(sub.Filters))
	s.write(append([]byte{0x90, byte(2 + len(codes)), byte(sub.PacketID >> 8), byte(sub.PacketID)}, codes...))
	return filtersOf(sub)
}

// unsuback answers the next UNSUBSCRIBE and returns its filters, sorted.
func (s *scripted) unsuback() []string {
	s.t.Helper()
	unsub := s.read(packets.Unsubscribe)
	s.write([]byte{0xb0, 2, byte(unsub.PacketID >> 8), byte(unsub.PacketID)})
	return filtersOf(unsub)
}

func filtersOf(pk packets.Packet) []string {
	out := make([]string, 0, len(pk.Filters))
	for _, f := range pk.Filters {
		out = append(out, f.Filter)
	}
	slices.Sort(out)
	return out
}

func (s *scripted) write(p []byte) {
	s.t.Helper()
	if _, err := s.c.Write(p); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scripted) publish(id uint16, payload string, qos byte) {
	s.t.Helper()
	s.send(id, "devices/demo/washer-w7/A1/telemetry", payload, qos, false)
}

func (s *scripted) send(id uint16, topic, payload string, qos byte, dup bool) {
	s.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos, Dup: dup}, PacketID: id, TopicName: topic,
		Payload: []byte(payload), ProtocolVersion: 4}
	var b bytes.Buffer
	if err := pk.PublishEncode(&b); err != nil {
		s.t.Fatal(err)
	}
	s.write(b.Bytes())
}

func (s *scripted) read(want byte) packets.Packet {
	s.t.Helper()
	pk, err := s.next()
	if err != nil || pk.FixedHeader.Type != want {
		s.t.Fatalf("packet type %d, %v; want %d", pk.FixedHeader.Type, err, want)
	}
	return pk
}

func (s *scripted) next() (packets.Packet, error) {
	_ = s.c.SetReadDeadline(time.Now().Add(patience))
	pk := packets.Packet{ProtocolVersion: 4}
	b, err := s.r.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(b); err != nil {
		return pk, err
	}
	if pk.FixedHeader.Remaining, _, err = packets.DecodeLength(s.r); err != nil {
		return pk, err
	}
	body := make([]byte, pk.FixedHeader.Remaining)
	if _, err := io.ReadFull(s.r, body); err != nil {
		return pk, err
	}
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectDecode(body)
	case packets.Subscribe:
		err = pk.SubscribeDecode(body)
	case packets.Unsubscribe:
		err = pk.UnsubscribeDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	}
	return pk, err
}

func (s *scripted) acked(ids ...uint16) {
	s.t.Helper()
	for _, id := range ids {
		if pk := s.read(packets.Puback); pk.PacketID != id {
			s.t.Fatalf("PUBACK of %d, want %d", pk.PacketID, id)
		}
	}
}

// quiet proves that no packet is there or on its way: all of the bridge's goroutines have had the time d.
func (s *scripted) quiet(d time.Duration) {
	s.t.Helper()
	_ = s.c.SetReadDeadline(time.Now().Add(d))
	if b, err := s.r.ReadByte(); err == nil {
		s.t.Fatalf("the bridge sent a packet of type %d", b>>4)
	}
}

// REL-02: acknowledged in the order of receipt, and never before ingest's Done.
func TestREL02AckOnlyAfterDoneAndInOrder(t *testing.T) {
	s := newScripted(t)
	in := newInbox(true)
	start(t, s.addr(), in)
	connect := s.accept(1)
	if connect.Connect.Clean || connect.Connect.ClientIdentifier != "aftercare-bridge" {
		t.Errorf("connect %+v", connect.Connect)
	}
	for id := range uint16(5) {
		s.publish(id+10, fmt.Sprint(id), 1)
	}
	in.until(t, "five messages", func() bool { return len(in.payloads()) == 5 })
	s.quiet(50 * time.Millisecond)
	got := in.got
	done := func(i int, o wire.Outcome) { got[i].Ack.Done(got[i].Ticket, o) }
	done(4, wire.Stored)
	done(1, wire.Quarantined)
	s.quiet(50 * time.Millisecond)
	done(0, wire.Stored)
	s.acked(10, 11)
	s.quiet(50 * time.Millisecond)
	done(2, wire.Refused)
	done(3, wire.Stored)
	s.acked(12, 13, 14)
}

// An acknowledgement that is due after its connection was lost is not sent on the next one, where its id means something else.
func TestLateAckIsNotSentOnTheNextConnection(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	in := newInbox(true)
	r := start(t, s.addr(), in)
	s.accept(1)
	s.publish(7, "old", 1)
	in.until(t, "the message", func() bool { return len(in.payloads()) == 1 })
	_ = s.c.Close()
	s.accept(1)
	s.publish(7, "new", 1)
	in.until(t, "the next", func() bool { return len(in.payloads()) == 2 })
	in.got[0].Ack.Done(in.got[0].Ticket, wire.Stored)
	eventually(t, "the first is through", func() bool { held, _ := r.w.state(); return held == 1 })
	s.quiet(50 * time.Millisecond)
	in.got[1].Ack.Done(in.got[1].Ticket, wire.Stored)
	s.acked(7)
}

func TestFailedIsNeverAcknowledged(t *testing.T) {
	s := newScripted(t)
	in := newInbox(true)
	start(t, s.addr(), in)
	s.accept(1)
	s.publish(1, "a", 1)
	s.publish(2, "b", 1)
	in.until(t, "two messages", func() bool { return len(in.payloads()) == 2 })
	in.got[0].Ack.Done(in.got[0].Ticket, wire.Failed)
	in.got[1].Ack.Done(in.got[1].Ticket, wire.Stored)
	s.acked(2)
}

// A full queue loses nothing that can be repeated: the bridge connects again when it has room.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	in := newInbox(true)
	r := start(t, s.addr(), in, func(c *Config) { c.Queue = 2 })
	s.accept(1)
	for id := range uint16(3) {
		s.publish(id+1, fmt.Sprint(id+1), 1)
	}
	s.publish(0, "lost", 0)
	eventually(t, "one postponed, one lost", func() bool {
		return r.metric("postponed_total", "") == 1 && slices.Equal(r.reasons(), []string{ReasonQueue})
	})
	in.release()
	s.acked(1, 2)
	if pk, err := s.next(); err == nil { // it closes the connection
		t.Fatalf("packet type %d", pk.FixedHeader.Type)
	}
	s.accept(1)
	s.publish(3, "3", 1)
	s.acked(3)
	if got := in.payloads(); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("ingest got %q", got)
	}
}

func TestRefusedSubscriptionIsNoticed(t *testing.T) {
	s := newScripted(t)
	r := start(t, s.addr(), newInbox(false))
	s.accept(0x80)
	eventually(t, "refusal counted", func() bool { return r.metric("connects_total", "subscription refused") == 4 })
	if r.subscribed() {
		t.Error("called subscribed")
	}
}

// At the end, what ingest still answers is acknowledged before the DISCONNECT.
func TestEndAnswersWhatIsOpen(t *testing.T) {
	s := newScripted(t)
	in := newInbox(true)
	r := start(t, s.addr(), in)
	s.accept(1)
	s.publish(1, "a", 1)
	in.until(t, "the message", func() bool { return len(in.payloads()) == 1 })
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	in.got[0].Ack.Done(in.got[0].Ticket, wire.Stored)
	s.acked(1)
	s.read(packets.Disconnect)
	<-stopped
}

// The end does not wait for a broker that is away, or that accepts and says nothing.
func TestEndWithoutBroker(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := start(t, ln.Addr().String(), newInbox(false))
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	silent.stop()
	_ = c.Close()
	_ = ln.Close()
	away := start(t, ln.Addr().String(), newInbox(false))
	eventually(t, "a failed try", func() bool { return away.metric("connects_total", "failed") > 0 })
	away.stop()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if away.Check(t.Context()) == nil {
		t.Error("healthy without a broker")
	}
}

// countedReads is a connection that counts its reads, each of which is a system call.
type countedReads struct {
	net.Conn
	reads int
}

func (c *countedReads) Read(p []byte) (int, error) {
	c.reads++
	return c.Conn.Read(p)
}

// paho reads a byte, a length, a body; what is there is fetched at once all the same.
func TestConnReadsInBlocks(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ours, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	counted := &countedReads{Conn: ours}
	c := newConn(counted, time.Second)
	defer c.Close()
	const packets = 200
	if _, err := theirs.Write(make([]byte, packets*200)); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 198)
	for range packets {
		for _, part := range [][]byte{body[:1], body[:1], body} {
			if _, err := io.ReadFull(c, part); err != nil {
				t.Fatal(err)
			}
		}
	}
	if counted.reads > packets/4 {
		t.Errorf("%d reads for %d packets", counted.reads, packets)
	}
}

// A connection that does not read must not hold up Close for long, and what is written together leaves together.
func TestConnCoalescesAndCloses(t *testing.T) {
	ours, theirs := net.Pipe()
	c := newConn(ours, 100*time.Millisecond)
	for i := range 100 {
		if _, err := c.Write([]byte{0x40, 2, 0, byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 4096)
	reads, total := 0, 0
	for total < 400 {
		n, err := theirs.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		reads++
		total += n
	}
	if reads > 50 {
		t.Errorf("%d writes for 100 acknowledgements", reads)
	}
	_, _ = c.Write([]byte{0xe0, 0}) // nobody reads it
	_ = c.Close()
	if _, err := c.Write([]byte{0xc0, 0}); err == nil {
		t.Error("write after close")
	}
	_ = theirs.Close()
}

func TestSecretPrintsRedacted(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Password = "canary"
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "password", cfg.Password, "config", cfg)
	j, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %s %s", cfg, cfg, cfg, cfg.Password, cfg.Password, j, log.String())
	if strings.Contains(all, "canary") || !strings.Contains(all, "[redacted]") {
		t.Error(all)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("disabled: %v", err)
	}
	ok := DefaultConfig()
	ok.Enabled, ok.URL = true, "ssl://broker.example:8883"
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Config){
		`bridge.url "http://x:1"`:    func(c *Config) { c.URL = "http://x:1" },
		`bridge.url "tcp://host"`:    func(c *Config) { c.URL = "tcp://host" },
		"bridge.username":            func(c *Config) { c.URL = "tcp://u:canary@host:1" },
		`bridge.client_id ""`:        func(c *Config) { c.ClientID = "" },
		`bridge.topics "$share/a/b"`: func(c *Config) { c.Topics = []string{"$share/a/b"} },
		`bridge.share "a/b"`:         func(c *Config) { c.Share = "a/b" },
		"bridge.keep_alive 0s":       func(c *Config) { c.KeepAlive = 0 },
		"bridge.queue 0":             func(c *Config) { c.Queue = 0 },
	} {
		c := ok
		change(&c)
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v: want %s", err, want)
		}
	}
}
