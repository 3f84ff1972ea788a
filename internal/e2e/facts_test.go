package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"aftercare/internal/fleet"
)

// home is a running server with devices that speak to it and rules in a folder.
type home struct {
	t      *testing.T
	p      *process
	dir    string
	packs  string
	lines  map[string]mqtt.Client
	number int
}

// send publishes a reading of a washer, the next in order.
func (h *home) send(serial string, ago time.Duration, drain, water, vibration float64) {
	h.t.Helper()
	h.number++
	payload := fmt.Sprintf(`{"ts":%d,"boot":1,"seq":%d,"cycles":1,"drain_s":%g,"water_l":%g,"vibration_mm_s":%g}`, time.Now().Add(-ago).UnixMilli(), h.number, drain, water, vibration)
	if !publish(h.lines[serial], serial, "telemetry", payload) {
		h.t.Fatalf("%s: not acknowledged\n%s", serial, h.p.log)
	}
}

// run is a command on the server's data folder, and what it says.
func (h *home) run(args ...string) string {
	h.t.Helper()
	args = append(args, "--data", h.dir, "--rules.dir", h.packs, "--owner.listen", "127.0.0.1:0", "--web.listen", strings.TrimPrefix(h.p.web, "http://"))
	out, err := exec.CommandContext(h.t.Context(), program(h.t, "aftercare"), args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// hears does something after which so many more facts reach the rules, and waits until they did.
func (h *home) hears(facts float64, change func()) {
	h.t.Helper()
	before := h.p.metric(h.t, "aftercare_rules_facts_total", "")
	change()
	eventually(h.t, 20*time.Second, func() error {
		if n := h.p.metric(h.t, "aftercare_rules_facts_total", "") - before; n < facts {
			return fmt.Errorf("the rules heard of %v of %v changes", n, facts)
		}
		return nil
	})
}

// open waits until the open cases are these: "serial rule".
func (h *home) open(want ...string) {
	h.t.Helper()
	eventually(h.t, 20*time.Second, func() error {
		cases := list(h.t, h.p, "/cases?limit=1000")
		got := make([]string, 0, len(cases))
		for _, c := range cases {
			got = append(got, fmt.Sprintf("%s %s", c["serial"], c["rule"]))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("open cases %q, want %q\n%s", got, want, h.p.log)
		}
		return nil
	})
}

// explains waits until `rules explain` says all of it; history has the readings a moment later than the rules.
func (h *home) explains(rule, serial string, want ...string) {
	h.t.Helper()
	eventually(h.t, 20*time.Second, func() error {
		out := h.run("rules", "explain", rule, serial)
		for _, s := range want {
			if !strings.Contains(out, s) {
				return fmt.Errorf("%s on %s: want %q in\n%s", rule, serial, s, out)
			}
		}
		return nil
	})
}

// limit is the limit that a case's evidence shows.
func (h *home) limit(serial, rule string) float64 {
	h.t.Helper()
	for _, c := range list(h.t, h.p, "/cases?limit=1000") {
		if c["serial"] != serial || c["rule"] != rule {
			continue
		}
		var d struct {
			Episodes []struct{ Evidence []fleet.Evidence }
		}
		h.p.api(h.t, fmt.Sprintf("/cases/%s/%s", tenant, c["id"]), &d)
		for _, e := range d.Episodes[0].Evidence {
			if e.HasLimit {
				return e.Limit
			}
		}
	}
	return 0
}

const windowRule = `kind: maintenance, severity: due, when: 'count(water_l, "24h") >= 14 and avg(water_l, "24h") > %d'`

// TestWhatIsKnownOfADeviceDecides: while the server runs, a device's firmware, a limit of its own and somebody who works on it
// decide what is found; `rules explain` says so; and rules that change keep what they know. The marker, which is about safety and
// so is never barred, says each time that the reading was looked at.
func TestWhatIsKnownOfADeviceDecides(t *testing.T) {
	t.Parallel()
	h := &home{t: t, dir: t.TempDir(), packs: t.TempDir(), lines: map[string]mqtt.Client{}}
	devices := make([]fleet.Device, 0, 4)
	for i := range cap(devices) {
		devices = append(devices, fleet.Device{Key: fleet.DeviceKey{Tenant: tenant, Serial: fmt.Sprintf("LF-%d", i+1)}, Model: "washer-w7", OwnerID: ownerID, Firmware: "2.0"})
	}
	house := settleFleet(t, h.dir, devices)
	rules := func(above int) {
		t.Helper()
		pack(t, h.packs, "live", "washer-w7",
			"firmware", `kind: fault, severity: due, applies: {firmware: ">=2.1"}, when: drain_s > 100`,
			"limit", "kind: fault, severity: due, limits: {slow: {value: 90, unit: s}}, when: drain_s > limits.slow",
			"window", fmt.Sprintf(windowRule, above),
			"marker", "kind: safety, severity: watch, when: vibration_mm_s > 5")
	}
	rules(250)
	h.p = start(t, h.dir, nil, "--rules.dir", h.packs)
	for serial, secret := range house.secrets {
		h.lines[serial] = connect(t, h.p, serial, secret)
	}
	eventually(t, 20*time.Second, func() error { // of all devices, at the start
		if h.p.metric(t, "aftercare_rules_facts_total", "") < 4 {
			return errNotYet
		}
		return nil
	})

	h.hears(2, func() {
		h.run("device", "set", "LF-2", "--limit", "limit.slow=200")
		h.run("device", "maintenance", "LF-3")
	})
	for _, serial := range []string{"LF-1", "LF-2", "LF-3"} {
		h.send(serial, 0, 120, 0, 6)
	}
	h.open("LF-1 limit", "LF-1 marker", "LF-2 marker", "LF-3 marker")
	h.explains("firmware", "LF-1", "NOT OPEN: the first thing that is missing: applies to the device", `firmware "2.0"`, "drain_s > 100  is TRUE")
	h.explains("limit", "LF-2", "NOT OPEN: the first thing that is missing: condition holds", "slow = 200 s (the device's own)")
	h.explains("limit", "LF-3", "NO   not in maintenance")

	h.hears(3, func() {
		h.run("device", "set", "LF-2", "--limit", "limit.slow=110")
		h.run("device", "maintenance", "LF-3", "--end")
		if !publish(h.lines["LF-1"], "LF-1", "status", `{"boot":1,"seq":900,"online":true,"firmware":"2.1.3"}`) {
			t.Fatal("not acknowledged")
		}
	})
	for _, serial := range []string{"LF-1", "LF-2", "LF-3"} {
		h.send(serial, 0, 121, 0, 6)
	}
	h.open("LF-1 firmware", "LF-1 limit", "LF-1 marker", "LF-2 limit", "LF-2 marker", "LF-3 limit", "LF-3 marker")
	if own, usual := h.limit("LF-2", "limit"), h.limit("LF-3", "limit"); own != 110 || usual != 90 {
		t.Errorf("the evidence shows the limits %v of its own and %v", own, usual)
	}
	h.explains("limit", "LF-2", "OPEN since", "slow = 110 s (the device's own)")
	h.keepsWindow(rules)
	h.p.stop(t)
}

// keepsWindow: a window of a day that is half full when the rules change goes on, so that the new rule finds at once what it
// would otherwise have to wait for.
func (h *home) keepsWindow(rules func(above int)) {
	h.t.Helper()
	for i := range 12 {
		h.send("LF-4", time.Duration(12-i)*time.Hour, 1, 100, 1)
	}
	h.send("LF-4", 0, 1, 100, 6)
	all := []string{"LF-1 firmware", "LF-1 limit", "LF-1 marker", "LF-2 limit", "LF-2 marker", "LF-3 limit", "LF-3 marker", "LF-4 marker", "LF-4 window"}
	others := all[:len(all)-1]
	h.open(others...)
	changed := func() int { return strings.Count(h.p.log.String(), "rules changed") }
	before := changed()
	rules(60)
	if err := syscall.Kill(-h.p.cmd.Process.Pid, syscall.SIGHUP); err != nil {
		h.t.Fatal(err)
	}
	eventually(h.t, 20*time.Second, func() error {
		if n := changed() - before; n != 4 {
			return fmt.Errorf("%d of 4 partitions have the new rules\n%s", n, h.p.log)
		}
		return nil
	})
	h.open(others...)
	h.send("LF-4", 0, 1, 100, 6) // the fourteenth
	h.open(all...)
}
