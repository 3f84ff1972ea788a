package mqttload

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"aftercare/firmware-sim/internal/fleetfile"
	"aftercare/firmware-sim/internal/testbroker"
)

func fleetOf(n int) *fleetfile.Fleet {
	f := &fleetfile.Fleet{Tenant: "demo"}
	for i := range n {
		f.Devices = append(f.Devices, fleetfile.Device{Model: []string{"washer-w7", "mower-m2", "base-b4"}[i%3], Serial: fmt.Sprintf("D-%03d", i), Secret: "s"})
	}
	return f
}

// stored is what a broker has taken in: how often each message.
type stored struct {
	mu      sync.Mutex
	count   map[string]int
	total   int
	reach   int
	reached chan struct{}
}

func newStored(reach int) *stored {
	return &stored{count: map[string]int{}, reach: reach, reached: make(chan struct{})}
}

func (s *stored) take(p testbroker.Publish) {
	var m struct{ TS, Boot, Seq int64 }
	if err := json.Unmarshal(p.Payload, &m); err != nil || m.TS < 1_600_000_000_000 {
		panic(fmt.Sprintf("payload %s: %v", p.Payload, err))
	}
	level := strings.Split(p.Topic, "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[key(level[3], m.Boot, m.Seq)]++
	if s.total++; s.total == s.reach {
		close(s.reached)
	}
}

func key(serial string, boot, seq int64) string { return fmt.Sprintf("%s/%d/%d", serial, boot, seq) }

// readAcked reads the record as a test of the whole system would; a message recorded twice fails.
func readAcked(t *testing.T, path string) map[string]bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var n [3]int64
		w := strings.Fields(lines.Text())
		if len(w) != 4 {
			t.Fatalf("line %q", lines.Text())
		}
		for i := range n {
			if n[i], err = strconv.ParseInt(w[i+1], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		for seq := n[1]; seq <= n[2]; seq++ {
			k := key(w[0], n[0], seq)
			if out[k] {
				t.Fatalf("%s is recorded twice", k)
			}
			out[k] = true
		}
	}
	return out
}

func config(t *testing.T, addr string) Config {
	return Config{Broker: "tcp://" + addr, Connections: 6, InFlight: 20, FirstSeq: 1, Boot: 1, Out: io.Discard,
		AckedPath: filepath.Join(t.TempDir(), "acked")}
}

func TestRecordIsExactlyWhatWasAcknowledged(t *testing.T) {
	s := newStored(1 << 30)
	b := testbroker.Start(t, "127.0.0.1:0", "s", s.take)
	c := config(t, b.Addr)
	c.Messages, c.FirstSeq, c.Boot = 500, 1001, 3
	res, err := Run(t.Context(), c, fleetOf(6))
	if err != nil {
		t.Fatal(err)
	}
	if res.Sent != 3000 || res.Acked != 3000 || res.Unacked != 0 || res.Strange != 0 || res.Broken != 0 {
		t.Errorf("%+v", res)
	}
	acked := readAcked(t, c.AckedPath)
	if len(acked) != 3000 || !acked[key("D-000", 3, 1001)] || !acked[key("D-005", 3, 1500)] {
		t.Errorf("%d recorded", len(acked))
	}
	for k := range acked {
		if s.count[k] != 1 {
			t.Errorf("%s was stored %d times", k, s.count[k])
		}
	}
	if res.P50 <= 0 || res.P99 < res.P50 || res.Max < res.P999 {
		t.Errorf("latencies %+v", res)
	}
}

func TestKilledServerEndsItWithATrueRecord(t *testing.T) {
	s := newStored(5000)
	b := testbroker.Start(t, "127.0.0.1:0", "s", s.take)
	go func() {
		<-s.reached
		b.Stop()
	}()
	c := config(t, b.Addr)
	c.Duration = 30 * time.Second
	res, err := Run(t.Context(), c, fleetOf(6))
	if err != nil {
		t.Fatal(err)
	}
	if res.Broken != 6 || res.Took > 20*time.Second {
		t.Errorf("%+v", res)
	}
	acked := readAcked(t, c.AckedPath)
	if int64(len(acked)) != res.Acked {
		t.Errorf("%d recorded, %d counted", len(acked), res.Acked)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range acked {
		if s.count[k] == 0 {
			t.Fatalf("%s is recorded and was never taken in", k)
		}
	}
}

func TestReconnectRepeatsWhatIsOpen(t *testing.T) {
	s := newStored(2000)
	b := testbroker.Start(t, "127.0.0.1:0", "s", s.take)
	restarted := make(chan struct{})
	go func() {
		<-s.reached
		b.Stop()
		close(restarted)
	}()
	c := config(t, b.Addr)
	c.Messages, c.Duration, c.Reconnect = 1000, time.Minute, true
	type answer struct {
		res Result
		err error
	}
	done := make(chan answer, 1)
	go func() {
		res, err := Run(t.Context(), c, fleetOf(6))
		done <- answer{res, err}
	}()
	<-restarted
	testbroker.Start(t, b.Addr, "s", s.take)
	a := <-done
	if a.err != nil || a.res.Acked != 6000 || a.res.Unacked != 0 {
		t.Fatalf("%+v, %v", a.res, a.err)
	}
	if n := len(readAcked(t, c.AckedPath)); n != 6000 {
		t.Errorf("%d recorded", n)
	}
	if len(s.count) != 6000 {
		t.Errorf("%d different messages taken in", len(s.count))
	}
}

func TestOpenLoopKeepsItsRateAndStopsWhenAsked(t *testing.T) {
	s := newStored(600)
	b := testbroker.Start(t, "127.0.0.1:0", "s", s.take)
	c := config(t, b.Addr)
	c.Rate, c.Duration = 1000, time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-s.reached
		cancel()
	}()
	res, err := Run(ctx, c, fleetOf(6))
	if err != nil {
		t.Fatal(err)
	}
	if res.PerSecond > 1100 || res.Sent > 2*600 || res.Unacked != 0 {
		t.Errorf("%+v", res)
	}
	if n := len(readAcked(t, c.AckedPath)); int64(n) != res.Acked {
		t.Errorf("%d recorded, %d counted", n, res.Acked)
	}
}

func TestWrongSecretIsAnError(t *testing.T) {
	b := testbroker.Start(t, "127.0.0.1:0", "other", func(testbroker.Publish) {})
	c := config(t, b.Addr)
	c.Messages = 1
	if _, err := Run(t.Context(), c, fleetOf(6)); err == nil || !strings.Contains(err.Error(), "refuses the connection") {
		t.Errorf("got %v", err)
	}
}

func TestConfigMistakesAreNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"broker":      func(c *Config) { c.Broker = "127.0.0.1" },
		"connections": func(c *Config) { c.Connections = 0 },
		"inflight":    func(c *Config) { c.InFlight = 70000 },
		"rate":        func(c *Config) { c.Rate = -1 },
		"messages":    func(c *Config) { c.Messages, c.Duration = 0, 0 },
		"first-seq":   func(c *Config) { c.FirstSeq = 0 },
		"boot":        func(c *Config) { c.Boot = 0 },
	} {
		c := config(t, "127.0.0.1:1")
		c.Messages = 1
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	c := config(t, "127.0.0.1:1")
	c.Messages, c.Connections = 1, 9
	if _, err := Run(t.Context(), c, fleetOf(6)); err == nil || !strings.Contains(err.Error(), "only 6") {
		t.Errorf("too few devices: %v", err)
	}
}
