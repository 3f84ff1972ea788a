package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"aftercare/internal/fleet"
	"aftercare/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// inbox is the ingest of the tests. With hold set it answers nothing until the test says so.
type inbox struct {
	hold bool
	mu   sync.Mutex
	got  []wire.Inbound
	more chan struct{}
}

func newInbox(hold bool) *inbox { return &inbox{hold: hold, more: make(chan struct{}, 1)} }

func (i *inbox) Submit(ctx context.Context, m wire.Inbound) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	i.mu.Lock()
	i.got = append(i.got, m)
	i.mu.Unlock()
	select {
	case i.more <- struct{}{}:
	default:
	}
	if !i.hold && m.Ack != nil {
		m.Ack.Done(m.Ticket, wire.Stored)
	}
	return nil
}

func (i *inbox) all() []wire.Inbound {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]wire.Inbound(nil), i.got...)
}

// wait returns when n messages have come.
func (i *inbox) wait(t *testing.T, n int) []wire.Inbound {
	t.Helper()
	late := time.After(patience)
	for {
		if got := i.all(); len(got) >= n {
			return got
		}
		select {
		case <-i.more:
		case <-late:
			t.Fatalf("%d messages came, want %d", len(i.all()), n)
		}
	}
}

func (i *inbox) topics() []string {
	got := i.all()
	out := make([]string, len(got))
	for n, m := range got {
		out[n] = m.Topic
	}
	return out
}

// keys is the Auth of the tests: the password of every device is "pw-" and its serial.
type keys struct {
	mu      sync.Mutex
	revoked map[string]bool
	asked   int
	err     error
	lost    string
}

func (k *keys) Authenticate(_ context.Context, username, password string) (fleet.Login, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	if k.err != nil {
		return fleet.Login{}, k.err
	}
	key, _ := parseUsername(username)
	if password == "model-secret" {
		return fleet.Login{Key: key, FirstContact: true, Model: "washer-w7"}, nil
	}
	if password != "pw-"+key.Serial || k.revoked[username] {
		return fleet.Login{}, fleet.Errorf(fleet.CodeDenied, "credentials of %q are wrong", username)
	}
	return fleet.Login{Key: key}, nil
}

func (k *keys) Admit(_ context.Context, key fleet.DeviceKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.revoked[key.String()] {
		return fleet.Errorf(fleet.CodeDenied, "%s is revoked", key)
	}
	return nil
}

// FirstContact knows one device that it does not expect.
func (*keys) FirstContact(_ context.Context, l fleet.Login) (string, error) {
	if l.Key.Serial == "A9" {
		return "", fleet.Errorf(fleet.CodeDenied, "%s is not expected", l.Key)
	}
	return "pw-" + l.Key.Serial, nil
}

// SpeaksFor makes B1 a base station of T1 and T2.
func (k *keys) SpeaksFor(identity fleet.DeviceKey, serial string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return identity.Serial == serial || identity.Serial == "B1" && (serial == "T1" || serial == "T2") && k.lost != serial
}

// lose takes a device from its base station.
func (k *keys) lose(serial string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lost = serial
}

type rig struct {
	*Gateway
	t    *testing.T
	in   *inbox
	auth *keys
	reg  *prometheus.Registry
	stop func()

	mu      sync.Mutex
	refused []fleet.Refusal
}

func start(t *testing.T, in *inbox, change ...func(*Config, *Deps)) *rig {
	t.Helper()
	r := &rig{t: t, in: in, auth: &keys{revoked: map[string]bool{}}, reg: prometheus.NewRegistry()}
	cfg := DefaultConfig()
	cfg.Listen = "127.0.0.1:0"
	deps := Deps{Ingest: in, Auth: r.auth, Metrics: r.reg, Refuse: func(f fleet.Refusal) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.refused = append(r.refused, f)
	}}
	for _, c := range change {
		c(&cfg, &deps)
	}
	g, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	r.Gateway = g
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { r.stop() })
	select {
	case <-g.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	return r
}

func (r *rig) reasons() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]string, len(r.refused))
	for i, f := range r.refused {
		out[i] = f.Reason
	}
	return out
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// metric returns a number by name and label value ("" for none), 0 when it is not there.
func (r *rig) metric(name, label string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "aftercare_gateway_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) == 0 || m.GetLabel()[0].GetValue() == label {
				return number(m)
			}
		}
	}
	return 0
}

func number(m *dto.Metric) float64 {
	if m.GetCounter() != nil {
		return m.GetCounter().GetValue()
	}
	return m.GetGauge().GetValue()
}

// device is a client made of raw packets, so that it can misbehave.
type device struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
	v byte
}

func (r *rig) dial(t *testing.T, version byte) *device {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &device{t: t, c: c, r: bufio.NewReader(c), v: version}
}

// device connects demo/serial and fails the test when it is refused.
func (r *rig) device(t *testing.T, version byte, serial string, change ...func(*packets.Packet)) *device {
	t.Helper()
	d := r.dial(t, version)
	if code := d.connect("demo/"+serial, "pw-"+serial, serial, change...); code != 0 {
		t.Fatalf("%s: refused with %#x", serial, code)
	}
	return d
}

// connect returns CONNACK's code.
func (d *device) connect(user, password, id string, change ...func(*packets.Packet)) byte {
	d.t.Helper()
	d.sendConnect(user, password, id, change...)
	pk := d.read()
	if pk.FixedHeader.Type != packets.Connack {
		d.t.Fatalf("packet type %d instead of CONNACK", pk.FixedHeader.Type)
	}
	return pk.ReasonCode
}

func (d *device) sendConnect(user, password, id string, change ...func(*packets.Packet)) {
	d.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Connect: packets.ConnectParams{
		ProtocolName: []byte("MQTT"), Clean: true, Keepalive: 60, ClientIdentifier: id,
		UsernameFlag: true, Username: []byte(user), PasswordFlag: true, Password: []byte(password)}}
	for _, c := range change {
		c(&pk)
	}
	d.send(pk)
}

func (d *device) send(pk packets.Packet) {
	d.t.Helper()
	if _, err := d.c.Write(encode(d.t, d.v, pk)); err != nil {
		d.t.Fatalf("send: %v", err)
	}
}

func encode(t testing.TB, version byte, pk packets.Packet) []byte {
	t.Helper()
	pk.ProtocolVersion = version
	var b bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Subscribe:
		err = pk.SubscribeEncode(&b)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&b)
	case packets.Pingreq:
		err = pk.PingreqEncode(&b)
	default:
		err = fmt.Errorf("packet type %d", pk.FixedHeader.Type)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func publish(topic string, qos byte, id uint16) packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: topic,
		PacketID: id, Payload: []byte(`{"drain_s":55}`)}
}

// next reads a packet.
func (d *device) next() (packets.Packet, error) {
	_ = d.c.SetReadDeadline(time.Now().Add(patience))
	var pk packets.Packet
	b, err := d.r.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(b); err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining, _, err = packets.DecodeLength(d.r)
	if err != nil {
		return pk, err
	}
	body := make([]byte, pk.FixedHeader.Remaining)
	if _, err := io.ReadFull(d.r, body); err != nil {
		return pk, err
	}
	pk.ProtocolVersion = d.v
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	}
	return pk, err
}

func (d *device) read() packets.Packet {
	d.t.Helper()
	pk, err := d.next()
	if err != nil {
		d.t.Fatalf("read: %v", err)
	}
	return pk
}

// acked reads one PUBACK for id and returns its reason.
func (d *device) acked(id uint16) byte {
	d.t.Helper()
	pk := d.read()
	if pk.FixedHeader.Type != packets.Puback || pk.PacketID != id {
		d.t.Fatalf("packet type %d, id %d; want PUBACK of %d", pk.FixedHeader.Type, pk.PacketID, id)
	}
	return pk.ReasonCode
}

// ping proves that the connection is alive and that everything sent before was read, and nothing came back.
func (d *device) ping() {
	d.t.Helper()
	d.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	if pk := d.read(); pk.FixedHeader.Type != packets.Pingresp {
		d.t.Fatalf("packet type %d instead of PINGRESP", pk.FixedHeader.Type)
	}
}

// closed reads to the end of the connection and returns the code of the DISCONNECT before it, 0 if there was none.
func (d *device) closed() byte {
	d.t.Helper()
	var code byte
	for {
		pk, err := d.next()
		if err != nil {
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				d.t.Fatal("connection was not closed")
			}
			return code
		}
		if pk.FixedHeader.Type == packets.Disconnect {
			code = pk.ReasonCode
		} else {
			d.t.Fatalf("packet type %d before the end", pk.FixedHeader.Type)
		}
	}
}

func topic(serial string) string { return "devices/demo/washer-w7/" + serial + "/telemetry" }
