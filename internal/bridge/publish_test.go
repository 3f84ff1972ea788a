package bridge

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What is published goes out with QoS 1 in order, and acked is called once, when the broker has acknowledged.
func TestPublish(t *testing.T) {
	s := newScripted(t)
	r := start(t, s.addr(), newInbox(false))
	if r.Publish("devices/demo/washer-w7/A1/command", nil, nil) {
		t.Error("published without a connection")
	}
	s.accept(1)
	eventually(t, "connected", r.connected.Load)
	for _, topic := range []string{"", "devices/+/washer-w7/A1/command", "devices/#", "a\x00b"} {
		if r.Publish(topic, nil, nil) {
			t.Errorf("published to %q, for which a broker closes the connection", topic)
		}
	}
	acked := make(chan int, 10)
	for i := range 3 {
		if !r.Publish("devices/demo/washer-w7/A1/command", fmt.Append(nil, i), func() { acked <- i }) {
			t.Fatal("not published")
		}
	}
	ids := make([]uint16, 0, 3)
	for i := range 3 {
		pk := s.read(packets.Publish)
		if pk.FixedHeader.Qos != 1 || pk.FixedHeader.Retain || pk.TopicName != "devices/demo/washer-w7/A1/command" || string(pk.Payload) != fmt.Sprint(i) {
			t.Errorf("packet %+v", pk)
		}
		ids = append(ids, pk.PacketID)
	}
	if len(acked) != 0 {
		t.Error("called back before the broker acknowledged")
	}
	for i, id := range ids {
		s.write([]byte{0x40, 2, byte(id >> 8), byte(id)})
		if got := <-acked; got != i {
			t.Errorf("called back for %d, want %d", got, i)
		}
	}
	eventually(t, "counted", func() bool { return r.metric("published_total", publishedAcked) == 3 })
	if n := r.metric("published_total", publishedTopic); n != 4 {
		t.Errorf("%v topics counted", n)
	}
}

// A connection that ends leaves nothing hanging: what was not acknowledged is counted and not called back, and the next
// connection publishes again.
func TestPublishAcrossLoss(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	r := start(t, s.addr(), newInbox(false))
	s.accept(1)
	eventually(t, "connected", r.connected.Load)
	var called atomic.Int32
	for range 3 {
		if !r.Publish("devices/demo/washer-w7/A1/command", []byte("lost"), func() { called.Add(1) }) {
			t.Fatal("not published")
		}
		s.read(packets.Publish)
	}
	_ = s.c.Close()
	s.accept(1)
	eventually(t, "counted", func() bool { return r.metric("published_total", publishedLost) == 3 })
	eventually(t, "published", func() bool { return r.Publish("devices/demo/washer-w7/A1/command", []byte("x"), nil) })
	pk := s.read(packets.Publish)
	if string(pk.Payload) != "x" || pk.FixedHeader.Dup {
		t.Errorf("packet %+v", pk)
	}
	if called.Load() != 0 {
		t.Error("called back for what was never acknowledged")
	}
}

// A broker that acknowledges nothing must not make Publish wait: the queue becomes full and says so.
func TestPublishNeverBlocks(t *testing.T) {
	t.Parallel()
	s := newScripted(t)
	r := start(t, s.addr(), newInbox(false))
	s.accept(1)
	eventually(t, "connected", r.connected.Load)
	taken := 0
	for r.Publish("devices/demo/washer-w7/A1/command", make([]byte, 1000), nil) {
		if taken++; taken > 100_000 {
			t.Fatal("never full")
		}
	}
	if taken < outboxSize {
		t.Errorf("full after %d", taken)
	}
	if r.metric("published_total", publishedFull) != 1 {
		t.Error("not counted")
	}
	r.stop()
	if lost := r.metric("published_total", publishedLost); lost != float64(taken) {
		t.Errorf("%v given up of %d: all are to be accounted for", lost, taken)
	}
}

// Our own commands must not come back to us: the default topics name what devices publish.
func TestDefaultTopicsLeaveOutCommands(t *testing.T) {
	got := DefaultConfig().Topics
	want := []string{"devices/+/+/+/telemetry", "devices/+/+/+/event", "devices/+/+/+/status", "devices/+/+/+/reply"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
