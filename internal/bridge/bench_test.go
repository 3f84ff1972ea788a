package bridge

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/prometheus/client_golang/prometheus"

	"aftercare/configs"
	"aftercare/internal/fleet"
	"aftercare/internal/ingest"
	"aftercare/internal/journal"
	"aftercare/internal/obs"
	"aftercare/internal/registry"
	"aftercare/internal/wire"
)

const (
	benchMessages = 200_000 // of one measurement
	benchSerials  = 10_000
	benchSeqWidth = 14    // makes the payload 127 bytes
	benchAhead    = 5_000 // published and not yet received, at most: a broker with a backlog is another measurement
)

// counting takes everything and answers at once.
type counting struct{ n *atomic.Int64 }

func (c counting) Submit(_ context.Context, m wire.Inbound) error {
	c.n.Add(1)
	m.Ack.Done(m.Ticket, wire.Stored)
	return nil
}

// stored counts what ingest has answered as stored, on the way to ingest.
type stored struct {
	in *ingest.Ingest
	n  *atomic.Int64
}

type countedAck struct {
	ack wire.Acker
	n   *atomic.Int64
}

func (c countedAck) Done(ticket uint64, o wire.Outcome) {
	if o == wire.Stored {
		c.n.Add(1)
	}
	c.ack.Done(ticket, o)
}

func (s stored) Submit(ctx context.Context, m wire.Inbound) error {
	m.Ack = countedAck{m.Ack, s.n}
	return s.in.Submit(ctx, m)
}

// benchDevices knows all serials of the benchmark.
type benchDevices map[fleet.DeviceKey]*fleet.Device

func (d benchDevices) Device(k fleet.DeviceKey) (*fleet.Device, bool)   { v, ok := d[k]; return v, ok }
func (d benchDevices) SpeaksFor(id fleet.DeviceKey, serial string) bool { return id.Serial == serial }
func (d benchDevices) Observed(fleet.DeviceKey, string)                 {}

// BenchmarkAgainstCountingSubscriber measures, one after the other and again for each b.N: a paho subscriber that only counts, the
// bridge with an ingest that answers at once, and the bridge with ingest and a journal that calls fsync before each
// acknowledgement. Same Mosquitto, same publishers (in this process), QoS 1, 10,000 serials. The figures are medians over b.N
// (run with -benchtime 3x or more); ratios count, rates are this machine's.
func BenchmarkAgainstCountingSubscriber(b *testing.B) {
	m := newBrokerWith(b, "allow_anonymous true\npersistence false\nmax_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n")
	kinds := []struct {
		name string
		run  func(b *testing.B, addr string, n *atomic.Int64) (stop func())
	}{{"count", subscribeAndCount}, {"bridge", bridgeAlone}, {"journal", bridgeAndJournal}}
	rates, cpus, calls := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	for b.Loop() {
		for _, k := range kinds {
			var n atomic.Int64
			stop := k.run(b, m.addr, &n)
			cpu, io, began := cpuTime(), ioCalls(), time.Now()
			publishBench(b, m.addr, &n)
			took := time.Since(began)
			cpus[k.name] = append(cpus[k.name], float64((cpuTime()-cpu).Microseconds())/benchMessages)
			calls[k.name] = append(calls[k.name], float64(ioCalls()-io)/benchMessages)
			rates[k.name] = append(rates[k.name], benchMessages/took.Seconds())
			stop()
		}
	}
	median := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	for _, k := range kinds {
		b.ReportMetric(median(rates[k.name]), k.name+"-msg/s")
		b.ReportMetric(median(cpus[k.name]), k.name+"-cpu-us/msg") // of this process, publishers included
		b.ReportMetric(median(calls[k.name]), k.name+"-io-calls/msg")
	}
	b.ReportMetric(median(rates["bridge"])/median(rates["count"]), "bridge/count")
	b.ReportMetric(median(rates["journal"])/median(rates["count"]), "journal/count")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// ioCalls is how many reading and writing system calls this process has made; 0 where the system does not say.
func ioCalls() int64 {
	text, _ := os.ReadFile("/proc/self/io")
	var sum int64
	for line := range strings.Lines(string(text)) {
		var n int64
		if _, err := fmt.Sscanf(line, "syscr: %d", &n); err == nil {
			sum += n
		}
		if _, err := fmt.Sscanf(line, "syscw: %d", &n); err == nil {
			sum += n
		}
	}
	return sum
}

func subscribeAndCount(b *testing.B, addr string, n *atomic.Int64) func() {
	o := mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID("counter").SetCleanSession(true).SetProtocolVersion(4).SetStore(nothing{})
	o.SetDefaultPublishHandler(func(mqtt.Client, mqtt.Message) { n.Add(1) })
	c := mqtt.NewClient(o)
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		b.Fatal(token.Error())
	}
	if token := c.Subscribe("devices/+/+/+/telemetry", 1, nil); !token.WaitTimeout(patience) || token.Error() != nil {
		b.Fatal(token.Error())
	}
	return func() { c.Disconnect(100) }
}

func bridgeAlone(b *testing.B, addr string, n *atomic.Int64) func() {
	return runBridge(b, addr, counting{n})
}

func bridgeAndJournal(b *testing.B, addr string, n *atomic.Int64) func() {
	cfg := journal.DefaultConfig()
	cfg.Dir = b.TempDir()
	j, err := journal.Open(context.Background(), cfg, obs.Discard(), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	shipped, err := fs.Sub(configs.FS, "models")
	if err != nil {
		b.Fatal(err)
	}
	models, _ := registry.LoadModels(shipped)
	devices := benchDevices{}
	for i := range benchSerials {
		k := fleet.DeviceKey{Tenant: "demo", Serial: benchSerial(i)}
		devices[k] = &fleet.Device{Key: k, Model: "washer-w7"}
	}
	in := ingest.New(ingest.DefaultConfig(), ingest.Deps{Journal: j, Devices: devices, Models: models, Log: obs.Discard(), Metrics: prometheus.NewRegistry()})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = in.Run(ctx) })
	stop := runBridge(b, addr, stored{in, n})
	return func() {
		stop()
		cancel()
		running.Wait()
		if err := j.Close(); err != nil {
			b.Error(err)
		}
	}
}

func runBridge(b *testing.B, addr string, in Ingest) func() {
	cfg := DefaultConfig()
	cfg.URL, cfg.ClientID = "tcp://"+addr, fmt.Sprintf("bench-%d", time.Now().UnixNano())
	br, err := New(cfg, Deps{Ingest: in})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = br.Run(ctx) })
	eventually(b, "subscribed", br.granted.Load)
	return func() {
		cancel()
		running.Wait()
		o := mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(cfg.ClientID).SetCleanSession(true) // ends the session
		if c := mqtt.NewClient(o); c.Connect().WaitTimeout(patience) {
			c.Disconnect(10)
		}
	}
}

func benchSerial(i int) string { return fmt.Sprintf("WM-%05d", i) }

// publishBench publishes from four connections until received has counted all messages.
func publishBench(b *testing.B, addr string, received *atomic.Int64) {
	const connections = 4
	var sent atomic.Int64
	var load sync.WaitGroup
	for i := range connections {
		load.Go(func() {
			if err := publishSome(addr, i, benchMessages/connections, &sent, received); err != nil {
				b.Error(err)
			}
		})
	}
	load.Wait()
	for late := time.Now().Add(patience); received.Load() < benchMessages; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(late) {
			b.Fatalf("%d of %d messages arrived", received.Load(), benchMessages)
		}
	}
}

// publishSome publishes n messages with QoS 1, in bursts that go out in one write.
func publishSome(addr string, publisher, n int, sent, received *atomic.Int64) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	id := fmt.Sprintf("load-%d", publisher)
	body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, byte(len(id))}, id...)
	if _, err := c.Write(append([]byte{0x10, byte(len(body))}, body...)); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, 64<<10)
	if _, err := r.Discard(4); err != nil {
		return err
	}
	acks := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, r, int64(4*n))
		acks <- err
	}()
	var out []byte
	for i := 0; i < n; {
		out = out[:0]
		for range min(50, n-i) {
			out = appendBench(out, benchSerial((i*4+publisher)%benchSerials), uint16(i%60_000+1), i*4+publisher)
			i++
		}
		for sent.Load()-received.Load() > benchAhead {
			time.Sleep(100 * time.Microsecond)
		}
		sent.Add(50)
		if _, err := c.Write(out); err != nil {
			return err
		}
	}
	return <-acks
}

// appendBench appends a PUBLISH with the reference payload: 127 bytes of JSON with 8 keys.
func appendBench(out []byte, serial string, id uint16, seq int) []byte {
	topic := "devices/demo/washer-w7/" + serial + "/telemetry"
	payload := fmt.Sprintf(`{"ts":%d,"boot":1,"seq":%*d,"cycles":812,"running":true,"power_w":142.5,"water_temp_c":38.4,"leak":false}`,
		time.Now().UnixMilli(), benchSeqWidth, seq)
	length := 2 + len(topic) + 2 + len(payload)
	out = append(out, 0x32, byte(length)|0x80, byte(length>>7))
	out = binary.BigEndian.AppendUint16(out, uint16(len(topic)))
	out = append(out, topic...)
	out = binary.BigEndian.AppendUint16(out, id)
	return append(out, payload...)
}

func TestBenchPayload(t *testing.T) {
	topic := "devices/demo/washer-w7/" + benchSerial(0) + "/telemetry"
	if n := len(appendBench(nil, benchSerial(0), 1, 7)) - 3 - 2 - len(topic) - 2; n != 127 {
		t.Errorf("%d bytes of payload, want 127", n)
	}
}
