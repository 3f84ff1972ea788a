package gateway

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// seeds are well-formed packets of every type a client may send, and some it may not.
func seeds(t testing.TB, version byte) [][]byte {
	t.Helper()
	connect := seedConnect("A1")
	withWill("devices/demo/washer-w7/A1/status", 1, false)(&connect)
	props := publish(topic("A1"), 1, 3)
	props.Properties.ContentType = "application/json"
	props.Properties.User = []packets.UserProperty{{Key: "k", Val: "v"}}
	return [][]byte{
		encode(t, version, connect),
		encode(t, version, publish(topic("A1"), 1, 1)),
		encode(t, version, publish(topic("A1"), 0, 0)),
		encode(t, version, publish(topic("A1"), 2, 2)),
		encode(t, version, props),
		encode(t, version, packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: 9,
			Filters: packets.Subscriptions{{Filter: "devices/demo/washer-w7/A1/command", Qos: 1}, {Filter: "$share/a/b"}}}),
		{0xa2, 7, 0, 4, 0, 3, 'a', '/', 'b'}, // UNSUBSCRIBE
		{0xc0, 0}, {0xd0, 0}, {0xe0, 0}, {0xe0, 2, 4, 0}, {0xf0, 2, 0x18, 0},
		{0x40, 2, 0, 1}, {0x50, 2, 0, 1}, {0x62, 2, 0, 1}, {0x70, 2, 0, 1}, {0x20, 2, 0, 0}, {0x90, 3, 0, 1, 0}, {0x00, 0},
		{0x30, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x32, 2, 0, 9},
	}
}

func seedConnect(serial string) packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Connect: packets.ConnectParams{
		ProtocolName: []byte("MQTT"), Clean: true, Keepalive: 60, ClientIdentifier: serial, UsernameFlag: true,
		Username: []byte("demo/" + serial), PasswordFlag: true, Password: []byte("pw-" + serial)}}
}

// FuzzPackets sends any bytes behind a good CONNECT, and alone. Nothing may panic (attach would count it) and the connection
// must end when the client is gone.
func FuzzPackets(f *testing.F) {
	for _, v := range []byte{4, 5} {
		for _, s := range seeds(f, v) {
			f.Add(v == 5, true, s)
			f.Add(v == 5, false, s)
		}
	}
	cfg := DefaultConfig()
	in := newInbox(false)
	f.Fuzz(func(t *testing.T, five, first bool, data []byte) {
		g, err := New(cfg, Deps{Ingest: in, Auth: &keys{revoked: map[string]bool{}}})
		if err != nil {
			t.Fatal(err)
		}
		version := byte(4)
		if five {
			version = 5
		}
		if first {
			data = append(encodeConnect(t, version), data...)
		}
		ours, theirs := net.Pipe()
		g.start(theirs, TCP)
		go func() {
			_ = ours.SetDeadline(time.Now().Add(patience))
			_, _ = ours.Write(data)
			_ = ours.Close()
		}()
		buf := make([]byte, 1024)
		for {
			if _, err := ours.Read(buf); err != nil {
				break
			}
		}
		g.shutdown()
		g.slow.Wait()
		if n := count(t, g.m.disconnects.WithLabelValues("panic")) + count(t, g.m.connects.WithLabelValues("panic")); n > 0 {
			t.Fatalf("panic over %x", data)
		}
	})
}

func count(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return number(&m)
}

func encodeConnect(t testing.TB, version byte) []byte { return seeds(t, version)[0] }

// SEC-07: mutated packets of every type against a running gateway: it goes on, and a good device does not notice.
func TestSEC07HostilePackets(t *testing.T) {
	r := start(t, newInbox(false))
	good := r.device(t, 4, "A2")
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 400 {
		version := byte(4 + i%2)
		all := seeds(t, version)
		data := bytes.Clone(all[0])
		if i%4 == 0 {
			data = nil
		}
		for range 1 + rnd.IntN(4) {
			bad := bytes.Clone(all[rnd.IntN(len(all))])
			for range rnd.IntN(3) {
				bad[rnd.IntN(len(bad))] ^= byte(1 << rnd.IntN(8))
			}
			data = append(data, bad[:len(bad)-rnd.IntN(2)]...)
		}
		d := r.dial(t, version)
		_, _ = d.c.Write(data)
		_ = d.c.(*net.TCPConn).CloseWrite()
		for {
			if _, err := d.r.ReadByte(); err != nil {
				break
			}
		}
		_ = d.c.Close()
	}
	good.send(publish(topic("A2"), 1, 1))
	good.acked(1)
	eventually(t, "hostile connections over", func() bool { return r.metric("connections", "") == 1 })
	if n := r.metric("disconnects_total", "panic") + r.metric("connects_total", "panic"); n > 0 {
		t.Errorf("%v panics", n)
	}
}
