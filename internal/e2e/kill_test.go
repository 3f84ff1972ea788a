package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/prometheus/client_golang/prometheus"

	"aftercare/internal/app"
	"aftercare/internal/config"
	"aftercare/internal/fleet"
	"aftercare/internal/history"
	"aftercare/internal/obs"
	"aftercare/internal/registry"
	"aftercare/internal/store"
)

const tenant = "demo"

// people and machines that a test makes known before the server starts.
type household struct {
	dir     string
	fleet   string            // the credentials' file
	secrets map[string]string // serial to secret
}

// settle registers one owner and n washing machines of hers, serials prefix-001 and so on.
func settle(t testing.TB, dir, prefix string, n int) household {
	t.Helper()
	devices := make([]fleet.Device, 0, n)
	for i := range n {
		devices = append(devices, fleet.Device{Key: fleet.DeviceKey{Tenant: tenant, Serial: fmt.Sprintf("%s-%03d", prefix, i+1)}, Model: "washer-w7",
			Name: "washing machine in the cellar", Region: "GB", OwnerID: ownerID})
	}
	return settleFleet(t, dir, devices)
}

const ownerID = "owner-1"

// settleFleet registers one owner and the devices. env is more of the server's settings ("AFTERCARE_MODELS=folder").
func settleFleet(t testing.TB, dir string, devices []fleet.Device, env ...string) household {
	t.Helper()
	owner := fleet.Person{ID: ownerID, Tenant: tenant, Name: "Ada Test", Locale: "en-GB", Zone: "Europe/London", Household: "h-1"}
	return settlePeople(t, dir, []fleet.Person{owner}, devices, env...)
}

// settlePeople registers people and devices.
func settlePeople(t testing.TB, dir string, people []fleet.Person, devices []fleet.Device, env ...string) household {
	t.Helper()
	cfg, problems := config.Load("", append([]string{"AFTERCARE_DATA=" + dir}, env...), nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	files, problems := app.LoadFiles(cfg)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	st, err := store.Open(t.Context(), cfg.Store, obs.Discard())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	reg, err := registry.New(t.Context(), cfg.Registry, registry.Deps{Store: st, Models: files.Models, Log: obs.Discard(), Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := reg.SavePeople(t.Context(), people); err != nil {
		t.Fatal(err)
	}
	secrets, err := reg.Import(t.Context(), devices)
	if err != nil {
		t.Fatal(err)
	}
	h := household{dir: dir, fleet: filepath.Join(dir, "fleet.json"), secrets: map[string]string{}}
	file := app.FleetFile{Tenant: tenant}
	for _, d := range devices {
		h.secrets[d.Key.Serial] = secrets[d.Key]
		file.Devices = append(file.Devices, app.DeviceCredential{Model: d.Model, Serial: d.Key.Serial, Parent: d.Parent, Secret: secrets[d.Key]})
	}
	if err := app.WriteFleetFile(h.fleet, file); err != nil {
		t.Fatal(err)
	}
	return h
}

// connect connects a device with the paho client.
func connect(t testing.TB, p *process, serial, secret string) mqtt.Client {
	t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + p.mqtt).SetClientID(serial).SetUsername(tenant + "/" + serial).SetPassword(secret).
		SetAutoReconnect(false).SetConnectRetry(false))
	if tok := c.Connect(); !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
		t.Fatalf("%s connects: %v", serial, tok.Error())
	}
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

// publish publishes with QoS 1 and reports whether the PUBACK came.
func publish(c mqtt.Client, serial, class, payload string) bool {
	tok := c.Publish("devices/"+tenant+"/washer-w7/"+serial+"/"+class, 1, false, payload)
	return tok.WaitTimeout(10*time.Second) && tok.Error() == nil
}

// freePort is a loopback address that nobody listens on right now. It is below the ports that systems give to outgoing connections, of which
// one could take it before the server does.
func freePort(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 15_000+rand.IntN(15_000))
		if ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr); err == nil {
			ln.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// TestKillAtFullLoadLosesNothing: the server is killed at a random moment under load from 50 connections, several times.
// Whatever was acknowledged is in InfluxDB afterwards; a fault reported before, and again after each restart, is one case and
// one message. (REL-01, REL-08, REL-09, REL-12)
func TestKillAtFullLoadLosesNothing(t *testing.T) {
	const rounds, connections = 3, 50
	dir := t.TempDir()
	h := settle(t, dir, "KT", connections+1)
	faulty := fmt.Sprintf("KT-%03d", connections+1)
	influx := freePort(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 1))
	acked := map[string]bool{}
	first := 1
	for round := range rounds {
		p := start(t, dir, nil, "--history.embedded.listen", influx)
		c := connect(t, p, faulty, h.secrets[faulty])
		if !publish(c, faulty, "event", fmt.Sprintf(`{"ts":%d,"boot":1,"seq":1,"code":"E18"}`, faultAt.UnixMilli())) {
			t.Fatal("the fault was not acknowledged")
		}
		file := filepath.Join(dir, fmt.Sprintf("acked-%d", round))
		load := exec.CommandContext(t.Context(), program(t, "firmware-sim"), "load", "--broker", "tcp://"+p.mqtt, "--fleet", h.fleet,
			"--connections", fmt.Sprint(connections), "--rate", "0", "--inflight", "20", "--duration", "60s", "--first-seq", fmt.Sprint(first), "--acked", file)
		var out syncBuffer
		load.Stdout, load.Stderr = &out, &out
		if err := load.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, func() error { // the load is on
			if p.metric(t, "aftercare_readings_stored_total", "") < 2000 {
				return errNotYet
			}
			return nil
		})
		<-time.After(time.Duration(dice.IntN(2000)) * time.Millisecond) // the random moment is what this test is about
		p.kill()
		if err := load.Wait(); err != nil && load.ProcessState.ExitCode() > 1 {
			t.Fatalf("the load ended with %v\n%s", err, out.String())
		}
		n := readAcked(t, file, acked)
		t.Logf("round %d: %d acknowledged before the kill", round, n)
		if n == 0 {
			t.Fatalf("nothing was acknowledged: the round shows nothing\n%s", out.String())
		}
		first += 1_000_000
	}
	p := start(t, dir, nil, "--history.embedded.listen", influx)
	c := connect(t, p, faulty, h.secrets[faulty])
	if !publish(c, faulty, "event", fmt.Sprintf(`{"ts":%d,"boot":1,"seq":1,"code":"E18"}`, faultAt.UnixMilli())) {
		t.Fatal("the fault was not acknowledged")
	}
	sameAsInflux(t, dir, influx, acked, rounds*connections*20)
	oneCaseOneMessage(t, p, faulty)
	p.conserved(t)
	if took := p.stop(t); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
}

var faultAt = time.Now().Add(-time.Minute).Truncate(time.Millisecond)

// readAcked adds the acknowledged readings that the load wrote down, a range a line: "serial boot first last".
func readAcked(t testing.TB, file string, into map[string]bool) (n int) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var serial string
		var boot, from, to int64
		if _, err := fmt.Sscan(lines.Text(), &serial, &boot, &from, &to); err != nil || to < from {
			t.Fatalf("%q in the list of the acknowledged: %v", lines.Text(), err)
		}
		for seq := from; seq <= to; seq++ {
			into[fmt.Sprintf("%s %d %d", serial, boot, seq)] = true
			n++
		}
	}
	return n
}

// sameAsInflux compares what was acknowledged with what the database answers. What was stored and whose acknowledgement the kill
// swallowed may be there too, but no more of it than was in flight.
func sameAsInflux(t testing.TB, dir, addr string, acked map[string]bool, inflight int) {
	t.Helper()
	token, err := os.ReadFile(filepath.Join(dir, "influxdb", "token"))
	if err != nil {
		t.Fatal(err)
	}
	sameIn(t, "http://"+addr, strings.TrimSpace(string(token)), acked, inflight)
}

// compare counts what is stored, what of it is there twice, and what was acknowledged and is missing.
func compare(t testing.TB, db *history.History, acked map[string]bool) (n, twice, missing int) {
	t.Helper()
	stored, err := db.Seqs(t.Context(), tenant, "washer-w7", "")
	if err != nil {
		t.Fatal(err)
	}
	missing = len(acked)
	for serial, seqs := range stored {
		seen := map[history.Seq]bool{}
		for _, s := range seqs {
			if seen[s] {
				twice++
			}
			seen[s] = true
			n++
			if acked[fmt.Sprintf("%s %d %d", serial, s.Boot, s.Seq)] {
				missing--
			}
		}
	}
	return n, twice, missing
}

func oneCaseOneMessage(t testing.TB, p *process, serial string) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		var mine []map[string]any
		for _, m := range list(t, p, "/messages") {
			if strings.Contains(fmt.Sprint(m), serial) {
				mine = append(mine, m)
			}
		}
		if len(mine) == 0 {
			return errNotYet
		}
		if len(mine) != 1 {
			t.Fatalf("%d messages about one fault: %v", len(mine), mine)
		}
		return nil
	})
	n := 0
	for _, c := range list(t, p, "/cases") {
		if strings.Contains(fmt.Sprint(c), serial) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d cases of one fault", n)
	}
}

// list reads a list from the API, which is named like its path: "/messages?limit=10" answers "messages", and what became of them besides.
func list(t testing.TB, p *process, path string) (out []map[string]any) {
	t.Helper()
	var body map[string]json.RawMessage
	p.api(t, path, &body)
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "?")
	if err := json.Unmarshal(body[name], &out); err != nil {
		t.Fatalf("%s: no list %q: %v", path, name, err)
	}
	return out
}
