package mqttload

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"
)

// decode reads a packet with another implementation.
func decode(t testing.TB, raw []byte) packets.Packet {
	t.Helper()
	var pk packets.Packet
	r := bufio.NewReader(bytes.NewReader(raw))
	first, err := r.ReadByte()
	if err != nil {
		t.Fatal(err)
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		t.Fatal(err)
	}
	n, _, err := packets.DecodeLength(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	if err != nil || len(body) != n {
		t.Fatalf("length %d, body %d, %v", n, len(body), err)
	}
	pk.FixedHeader.Remaining, pk.ProtocolVersion = n, 4
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pk
}

func TestConnectPacket(t *testing.T) {
	pk := decode(t, appendConnect(nil, "demo/WM-1", "hush", 60*time.Second))
	if pk.Connect.ClientIdentifier != "demo/WM-1" || string(pk.Connect.Username) != "demo/WM-1" || string(pk.Connect.Password) != "hush" ||
		!pk.Connect.Clean || pk.Connect.Keepalive != 60 || pk.ProtocolVersion != 4 {
		t.Errorf("%+v", pk.Connect)
	}
}

func TestPublishPacket(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		id := uint16(rapid.IntRange(1, 65535).Draw(rt, "id"))
		ts := rapid.Int64Range(1_000_000_000_000, 9_999_999_999_999).Draw(rt, "ts")
		seq := rapid.Int64Range(1, 9_999_999_999).Draw(rt, "seq")
		dup := rapid.Bool().Draw(rt, "dup")
		tpl := newTemplate("devices/demo/washer-w7/WM-0001/telemetry", 7, fields["washer-w7"])
		tpl.append(nil, 1, 1, 1, true) // must leave no trace
		pk := decode(t, tpl.append(nil, id, ts, seq, dup))
		var m struct {
			TS, Boot, Seq int64
			Cycles        int64
		}
		if err := json.Unmarshal(pk.Payload, &m); err != nil {
			rt.Fatalf("%s: %v", pk.Payload, err)
		}
		if pk.PacketID != id || pk.FixedHeader.Qos != 1 || pk.FixedHeader.Dup != dup || pk.TopicName != "devices/demo/washer-w7/WM-0001/telemetry" {
			rt.Fatalf("%+v", pk)
		}
		if m.TS != ts || m.Boot != 7 || m.Seq != seq || m.Cycles != 812 {
			rt.Fatalf("%s", pk.Payload)
		}
	})
}

func TestPayloadsAreAboutTheSizeOfARealOne(t *testing.T) {
	for model, f := range fields {
		tpl := newTemplate("t", 1, f)
		payload := decode(t, tpl.append(nil, 1, 1_700_000_000_000, 12, false)).Payload
		var m map[string]any
		if err := json.Unmarshal(payload, &m); err != nil || len(m) != 8 {
			t.Errorf("%s: %d keys, %v", model, len(m), err)
		}
		if len(payload) < 110 || len(payload) > 140 {
			t.Errorf("%s: %d bytes", model, len(payload))
		}
	}
}

func TestReadAck(t *testing.T) {
	r := bufio.NewReader(bytes.NewReader([]byte{typePingresp, 0, typePuback, 2, 1, 2, typePuback, 2, 0}))
	if id, err := readAck(r); err != nil || id != 0x0102 {
		t.Errorf("%d, %v", id, err)
	}
	if _, err := readAck(r); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a packet: %v", err)
	}
	for _, raw := range [][]byte{{typePublish, 0}, {typePuback, 3, 0, 0, 0}, {typePuback, 0xff, 0xff, 0xff, 0xff, 1}} {
		if _, err := readAck(bufio.NewReader(bytes.NewReader(raw))); !errors.Is(err, errProtocol) {
			t.Errorf("%x: %v", raw, err)
		}
	}
	if err := readConnack(bufio.NewReader(bytes.NewReader([]byte{typeConnack, 2, 0, 5}))); err == nil {
		t.Error("refusal was read as welcome")
	}
}

func FuzzReadAck(f *testing.F) {
	f.Add([]byte{typePuback, 2, 1, 2})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := bufio.NewReader(bytes.NewReader(raw))
		for range 100 {
			if _, err := readAck(r); err != nil {
				return
			}
		}
	})
}

func TestHistogram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "d"))
		up := upper(bucket(d))
		if up < d || float64(up) > float64(d)*1.04+1 {
			t.Fatalf("%d is counted as %d", d, up)
		}
	})
	var h, o histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	o.add(time.Second)
	h.merge(&o)
	if p := h.quantile(0.5); p < 495*time.Microsecond || p > 520*time.Microsecond {
		t.Errorf("p50 %v", p)
	}
	if h.max != time.Second || h.quantile(1) != time.Second || h.n != 1001 {
		t.Errorf("max %v, p100 %v, n %d", h.max, h.quantile(1), h.n)
	}
}
