package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What the doors do on this machine, with the load generator on the same cores. Each benchmark starts the real server on an empty folder
// and drives it with firmware-sim; run them with -benchtime 1x, a few times, and quote medians. The figures:
//
//	msgs/s   acknowledged messages a second, each one reading, fsynced before its PUBACK
//	cpu-us   microseconds of the server's CPU time a message
//	p99-ms   time to the acknowledgement, from when the message was written or, with a rate, due
//	rss-MB   the server's resident memory at its highest

// loadResult is what firmware-sim load --json prints.
type loadResult struct {
	Connections   int
	Acked, Sent   int64
	Unacked       int64
	Broken        int           `json:"broken_connections"`
	PerSecond     float64       `json:"acked_per_second"`
	P50           time.Duration `json:"p50_ns"`
	P99           time.Duration `json:"p99_ns"`
	TookNs        time.Duration `json:"took_ns"`
	UnexpectedAck int64         `json:"unexpected_acks"`
}

func (p *process) load(b testing.TB, fleetFile string, args ...string) loadResult {
	b.Helper()
	line := append([]string{"load", "--json", "--broker", "tcp://" + p.mqtt, "--fleet", fleetFile}, args...)
	cmd := exec.CommandContext(b.Context(), program(b, "firmware-sim"), line...)
	cmd.Stderr = io.Discard
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("firmware-sim %v: %v\n%s", line, err, p.log)
	}
	var r loadResult
	if err := json.Unmarshal(out, &r); err != nil {
		b.Fatalf("%v in %s", err, out)
	}
	return r
}

// usage reads the CPU time a process has used and its highest resident memory from /proc.
func (p *process) usage(b testing.TB) (cpu time.Duration, peakMB float64) {
	b.Helper()
	pid := strconv.Itoa(p.cmd.Process.Pid)
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		b.Skipf("SKIPPED: no /proc to measure with: %v", err)
	}
	words := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	for _, w := range words[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		cpu += time.Duration(n) * 10 * time.Millisecond
	}
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			peakMB = kb / 1024
		}
	}
	return cpu, peakMB
}

// unlimited sets the limits of devices off: one connection of the generator stands for hundreds of devices.
var unlimited = []string{"--gateway.limits.device_messages=0", "--gateway.limits.device_bytes=0", "--gateway.limits.tenant_messages=0", "--gateway.limits.tenant_bytes=0"}

// benchmarkLoad loads a server of the given roles and reports; wait is called before the time is taken.
func benchmarkLoad(b *testing.B, roles string, connections, inflight int, wait func(p *process)) {
	dir := b.TempDir()
	h := settle(b, dir, "LD", connections)
	p := start(b, dir, nil, append([]string{"--roles", roles, "--log.level", "warn"}, unlimited...)...)
	b.ResetTimer()
	for i := range b.N {
		before, _ := p.usage(b)
		began := time.Now()
		r := p.load(b, h.fleet, "--connections", strconv.Itoa(connections), "--inflight", strconv.Itoa(inflight), "--duration", "10s", "--first-seq", strconv.Itoa(1+i*10_000_000))
		rate := r.PerSecond
		if wait != nil {
			wait(p)
			rate = float64(r.Acked) / time.Since(began).Seconds()
		}
		after, peak := p.usage(b)
		if r.Unacked != 0 || r.Broken != 0 {
			b.Errorf("%+v", r)
		}
		b.ReportMetric(rate, "msgs/s")
		b.ReportMetric(float64((after-before).Microseconds())/float64(r.Acked), "cpu-us/msg")
		b.ReportMetric(float64(r.P99.Microseconds())/1000, "p99-ms")
		b.ReportMetric(peak, "rss-MB")
		b.ReportMetric(0, "ns/op")
	}
	p.conserved(b)
}

// BenchmarkDoor is gateway, decoding, check and journal, without rules and database.
func BenchmarkDoor(b *testing.B) {
	for _, c := range []struct{ connections, inflight int }{{50, 20}, {1000, 20}, {1000, 1}} {
		b.Run(fmt.Sprintf("%dx%d", c.connections, c.inflight), func(b *testing.B) {
			benchmarkLoad(b, "gateway,web", c.connections, c.inflight, nil)
		})
	}
}

// BenchmarkChain is everything: the time runs until the last reading can be read from the database in the process.
func BenchmarkChain(b *testing.B) {
	for _, c := range []struct{ connections, inflight int }{{50, 20}, {1000, 20}} {
		b.Run(fmt.Sprintf("%dx%d", c.connections, c.inflight), func(b *testing.B) {
			benchmarkLoad(b, "gateway,bridge,history,rules,cases,outreach,web", c.connections, c.inflight, func(p *process) {
				eventually(b, time.Minute, func() error {
					if p.metric(b, "aftercare_history_points_total", `"readings"`) < p.metric(b, "aftercare_readings_stored_total", "") {
						return errNotYet
					}
					return nil
				})
			})
		})
	}
}

// BenchmarkHerd kills the server while as many devices as the limit of open files allows report, and takes the time until all are back
// (REL-13). Everything that was acknowledged before, during and after must be in the database in the end.
func BenchmarkHerd(b *testing.B) {
	const herds, each = 2, 9_850 // two generators: each may open as many files as the server
	dir := b.TempDir()
	h := settle(b, dir, "HD", herds*each)
	files := split(b, h.fleet, herds)
	influx := freePort(b)
	flags := append([]string{"--log.level", "warn", "--history.embedded.listen", influx}, unlimited...)
	p := start(b, dir, nil, flags...)
	acked := map[string]bool{}
	for i := range b.N {
		done := make(chan error, herds)
		for _, f := range files {
			cmd := exec.CommandContext(b.Context(), program(b, "firmware-sim"), "load", "--json", "--broker", "tcp://"+p.mqtt, "--fleet", f, "--connections", strconv.Itoa(each),
				"--inflight", "1", "--rate", "500", "--duration", "60s", "--first-seq", strconv.Itoa(1+i*1_000_000),
				"--reconnect", "--acked", f+".acked")
			go func() { done <- cmd.Run() }()
		}
		p.connected(b, herds*each, 2*time.Minute)
		address := p.mqtt
		p.kill()
		again := append([]string{"--gateway.listen", address}, flags...)
		began := time.Now()
		p = start(b, dir, nil, again...)
		p.connected(b, herds*each, 2*time.Minute)
		back := time.Since(began)
		for range herds {
			if err := <-done; err != nil {
				b.Error(err)
			}
		}
		for _, f := range files {
			readAcked(b, f+".acked", acked)
		}
		_, peak := p.usage(b)
		b.ReportMetric(float64(len(acked)), "acked")
		b.ReportMetric(back.Seconds(), "s-all-back")
		b.ReportMetric(float64(herds*each), "devices")
		b.ReportMetric(peak, "rss-MB")
		b.ReportMetric(0, "ns/op")
	}
	sameAsInflux(b, dir, influx, acked, b.N*herds*each)
	p.conserved(b)
}

// connected waits until so many devices are connected.
func (p *process) connected(b testing.TB, n int, within time.Duration) {
	b.Helper()
	eventually(b, within, func() error {
		if have := p.metric(b, "aftercare_gateway_connections", ""); have < float64(n) {
			return fmt.Errorf("%v of %d connected", have, n)
		}
		return nil
	})
}

// split divides a fleet file into n of equal size.
func split(b testing.TB, path string, n int) []string {
	b.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var whole struct {
		Tenant  string            `json:"tenant"`
		Broker  string            `json:"broker"`
		Devices []json.RawMessage `json:"devices"`
	}
	if err := json.Unmarshal(text, &whole); err != nil {
		b.Fatal(err)
	}
	all, each := whole.Devices, len(whole.Devices)/n
	out := make([]string, 0, n)
	for i := range n {
		whole.Devices = all[i*each : (i+1)*each]
		part, err := json.Marshal(whole)
		if err != nil {
			b.Fatal(err)
		}
		name := filepath.Join(filepath.Dir(path), fmt.Sprintf("fleet-%d.json", i))
		if err := os.WriteFile(name, part, 0o600); err != nil {
			b.Fatal(err)
		}
		out = append(out, name)
	}
	return out
}
