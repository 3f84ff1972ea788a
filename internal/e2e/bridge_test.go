package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// TestBridgeLosesNothing: devices report to a Mosquitto that was there before us. The server reads from it, and what Mosquitto
// acknowledged is in the database although Mosquitto is restarted in the middle, and the server too. What it should not have is
// refused by reason. (REL-01, REL-02, REL-12)
func TestBridgeLosesNothing(t *testing.T) {
	dir := t.TempDir()
	settle(t, dir, "BR", 2)
	m := newMosquitto(t)
	influx := freePort(t)
	args := []string{"--history.embedded.listen", influx, "--bridge.enabled", "true", "--bridge.url", "tcp://" + m.addr, "--bridge.max_reconnect", "200ms"}
	p := start(t, dir, nil, args...)
	p.bridged(t)
	d := &behindMosquitto{t: t, m: m, acked: map[string]bool{}}

	d.report("BR-001", 500)
	d.foreign("devices/demo/washer-w7/NOBODY/telemetry", `{"cycles":1}`)
	d.foreign("devices/demo/washer-w7/BR-001/telemetry", `{"cycles":`)
	p.hasTaken(t, len(d.acked))
	eventually(t, 10*time.Second, func() error {
		unknown := p.metric(t, "aftercare_readings_refused_total", label("reason", "unknown_device"))
		if aside := p.metric(t, "aftercare_readings_quarantined_total", label("reason", "syntax")); unknown != 1 || aside != 1 {
			return fmt.Errorf("refused %v, put aside %v: want 1 and 1", unknown, aside)
		}
		return nil
	})
	p.shows(t, "The device is not registered", "Not valid JSON")

	m.stop()
	eventually(t, 10*time.Second, func() error {
		if p.metric(t, "aftercare_bridge_connected", "") != 0 {
			return errNotYet
		}
		return nil
	})
	m.start()
	d.report("BR-001", 500) // at once: the bridge may not be back yet
	d.report("BR-002", 200)
	p.hasTaken(t, len(d.acked))
	p.conserved(t)
	if took := p.stop(t); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}

	d.report("BR-002", 200) // while we are away
	p = start(t, dir, nil, args...)
	p.hasTaken(t, 200)
	p.conserved(t)
	sameAsInflux(t, dir, influx, d.acked, 3*50*20)
	p.stop(t)
}

// bridged waits until the bridge reads.
func (p *process) bridged(t *testing.T) {
	t.Helper()
	eventually(t, 10*time.Second, func() error {
		if p.metric(t, "aftercare_bridge_subscribed", "") != 1 {
			return errNotYet
		}
		return nil
	})
}

// hasTaken waits until n readings are stored since the server's start. More is no mistake: a restart may deliver again.
func (p *process) hasTaken(t *testing.T, n int) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		if got := p.metric(t, "aftercare_readings_stored_total", ""); got < float64(n) {
			return fmt.Errorf("%v of %d readings are stored", got, n)
		}
		return nil
	})
}

// behindMosquitto plays devices that report to Mosquitto and keep what it acknowledged.
type behindMosquitto struct {
	t     *testing.T
	m     *mosquitto
	acked map[string]bool
}

func (d *behindMosquitto) connect() mqtt.Client {
	d.t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + d.m.addr).SetClientID("devices").SetAutoReconnect(false).SetConnectRetry(false))
	if tok := c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		d.t.Fatalf("a device connects to mosquitto: %v", tok.Error())
	}
	return c
}

// report publishes the next n readings of a device, many in flight.
func (d *behindMosquitto) report(serial string, n int) {
	d.t.Helper()
	c := d.connect()
	defer c.Disconnect(100)
	sent := map[string]mqtt.Token{}
	first := 1
	for d.acked[fmt.Sprintf("%s 1 %d", serial, first)] {
		first++
	}
	for seq := first; seq < first+n; seq++ {
		sent[fmt.Sprintf("%s 1 %d", serial, seq)] = c.Publish("devices/demo/washer-w7/"+serial+"/telemetry", 1, false,
			fmt.Sprintf(`{"ts":%d,"boot":1,"seq":%d,"cycles":1}`, time.Now().UnixMilli(), seq))
	}
	for name, tok := range sent {
		if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
			d.t.Fatalf("mosquitto does not acknowledge %s: %v", name, tok.Error())
		}
		d.acked[name] = true
	}
}

// foreign publishes what is not to be stored.
func (d *behindMosquitto) foreign(topic, payload string) {
	d.t.Helper()
	c := d.connect()
	defer c.Disconnect(100)
	if tok := c.Publish(topic, 1, false, payload); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		d.t.Fatalf("mosquitto does not take %s: %v", topic, tok.Error())
	}
}

// mosquitto is a process that keeps its sessions on disk, so that it can be stopped and started again.
type mosquitto struct {
	t    *testing.T
	path string
	addr string
	conf string
	cmd  *exec.Cmd
	log  *syncBuffer
}

func newMosquitto(t *testing.T) *mosquitto {
	t.Helper()
	m := &mosquitto{t: t, path: tool(t, "mosquitto"), addr: freePort(t), log: &syncBuffer{}}
	dir := t.TempDir()
	m.conf = filepath.Join(dir, "mosquitto.conf")
	_, port, err := net.SplitHostPort(m.addr)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\nmax_queued_messages 0\n", port, dir)
	if os.Getuid() == 0 {
		text += "user root\n" // or it gives up being root and cannot write its sessions
	}
	write(t, m.conf, text)
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.cmd = exec.CommandContext(context.Background(), m.path, "-c", m.conf)
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	eventually(m.t, 10*time.Second, func() error {
		c, err := new(net.Dialer).DialContext(m.t.Context(), "tcp", m.addr)
		if err != nil {
			return fmt.Errorf("mosquitto does not listen: %w\n%s", err, m.log)
		}
		return c.Close()
	})
}

// stop ends it in good order: it writes its sessions down.
func (m *mosquitto) stop() {
	if m.cmd != nil {
		_ = m.cmd.Process.Signal(syscall.SIGTERM)
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}
