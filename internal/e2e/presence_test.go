package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"aftercare/internal/fleet"
)

// wasPresent says whether the measurement "presence" tells this of a device: "true:connected false:lost".
func wasPresent(db influx, serial, want string) error {
	rows := db.of("presence", serial)
	got := make([]string, 0, len(rows))
	for _, r := range rows {
		got = append(got, fmt.Sprintf("%v:%v", r["online"], r["cause"]))
	}
	if s := strings.Join(got, " "); s != want {
		return fmt.Errorf("presence of %s: %q, want %q", serial, s, want)
	}
	return nil
}

// TestPresenceOfConnections: a device comes, and says good-bye, breaks off, or breaks off with a last will. Each is told apart in the
// database and in the API. A restart of the server, orderly or not, is no loss of anybody.
func TestPresenceOfConnections(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := settle(t, dir, "PC", 5)
	addr := freePort(t)
	args := []string{"--history.embedded.listen", addr, "--presence.every", "50ms"}
	p := start(t, dir, nil, args...)
	db := database(t, dir, addr)
	enter := func(serial string, change func(*mqtt.ClientOptions)) *breakable {
		t.Helper()
		return breakableWith(t, p, serial, h.secrets[serial], change)
	}
	enter("PC-001", nil).Disconnect(100)
	enter("PC-002", nil).snap()
	enter("PC-003", func(o *mqtt.ClientOptions) {
		o.SetWill("devices/"+tenant+"/washer-w7/PC-003/status", `{"online":false,"reason":"will"}`, 1, false)
	}).snap()
	stays := enter("PC-004", nil)
	if !publish(stays, "PC-004", "telemetry", `{"seq":1,"cycles":1}`) {
		t.Error("not acknowledged")
	}
	want := map[string]string{"PC-001": "true:connected false:disconnected", "PC-002": "true:connected false:lost",
		"PC-003": "true:connected false:will", "PC-004": "true:connected", "PC-005": ""}
	check := func() error {
		var errs []error
		for serial, story := range want {
			errs = append(errs, wasPresent(db, serial, story))
		}
		return errors.Join(append(errs, p.linkIs(t, "PC-001", false, "disconnected"), p.linkIs(t, "PC-002", false, "lost"), p.linkIs(t, "PC-003", false, "will"),
			p.linkIs(t, "PC-004", true, "connected"))...)
	}
	eventually(t, 15*time.Second, check)
	if err := p.linkIs(t, "PC-005", false); err == nil || !strings.Contains(err.Error(), "nil") {
		t.Errorf("a device that never came: %v", err)
	}
	p.conserved(t)

	p.stop(t)
	p = start(t, dir, nil, args...)
	eventually(t, 15*time.Second, check)
	stays = enter("PC-004", nil)
	if !publish(stays, "PC-004", "telemetry", `{"seq":2,"cycles":1}`) {
		t.Error("not acknowledged")
	}
	if err := check(); err != nil {
		t.Error(err)
	}
	p.conserved(t)
	p.kill()
	p = start(t, dir, nil, args...)
	eventually(t, 15*time.Second, func() error { return p.linkIs(t, "PC-004", true, "connected") })
	stays = enter("PC-004", nil)
	if !publish(stays, "PC-004", "telemetry", `{"seq":3,"cycles":1}`) {
		t.Error("not acknowledged")
	}
	enter("PC-001", nil)
	want["PC-001"] += " true:connected"
	eventually(t, 15*time.Second, func() error { return wasPresent(db, "PC-001", want["PC-001"]) })
	for serial := range want { // none is said to be lost
		if rows := db.of("presence", serial); strings.Count(fmt.Sprint(rows), "online:false") != strings.Count(want[serial], "false") {
			t.Errorf("presence of %s after a kill: %v", serial, rows)
		}
	}
	p.conserved(t)
}

// TestStationAndItsChildren: the loss of a child is its silence while its station goes on; the loss of the station is said of the station, and
// of the children that nothing is known of them. A child that speaks again through the station that came back is back.
func TestStationAndItsChildren(t *testing.T) {
	t.Parallel()
	dir, models := t.TempDir(), filepath.Join(t.TempDir(), "models")
	shipped(t, "models", models)
	drill := filepath.Join(models, "drill-d18.yaml")
	write(t, drill, strings.Replace(read(t, drill), "interval: 10m", "interval: 1s", 1))
	child := func(serial string) fleet.Device {
		return fleet.Device{Key: fleet.DeviceKey{Tenant: tenant, Serial: serial}, Model: "drill-d18", Parent: "ST-BASE", OwnerID: ownerID}
	}
	h := settleFleet(t, dir, []fleet.Device{{Key: fleet.DeviceKey{Tenant: tenant, Serial: "ST-BASE"}, Model: "base-b4", OwnerID: ownerID}, child("ST-T1"), child("ST-T2")},
		"AFTERCARE_MODELS="+models)
	addr := freePort(t)
	p := start(t, dir, nil, "--history.embedded.listen", addr, "--models", models, "--presence.every", "50ms", "--presence.min_grace", "1s", "--presence.missed", "2")
	db := database(t, dir, addr)
	base := breakableWith(t, p, "ST-BASE", h.secrets["ST-BASE"], nil)
	seq := 0
	report := func(serial string) {
		t.Helper()
		seq++
		tok := base.Publish("devices/"+tenant+"/drill-d18/"+serial+"/telemetry", 1, false, fmt.Sprintf(`{"boot":1,"seq":%d,"charge_pct":50,"pack_c":20}`, seq))
		if !tok.WaitTimeout(10*time.Second) || tok.Error() != nil {
			t.Fatalf("report of %s: %v", serial, tok.Error())
		}
	}
	eventually(t, 10*time.Second, func() error {
		report("ST-T1")
		report("ST-T2")
		return errors.Join(p.linkIs(t, "ST-BASE", true, "connected"), p.linkIs(t, "ST-T1", true, "heard"), p.linkIs(t, "ST-T2", true, "heard"))
	})
	eventually(t, 10*time.Second, func() error { // a child is lost: only the first goes on
		report("ST-T1")
		return errors.Join(p.linkIs(t, "ST-T2", false, "silent"), p.linkIs(t, "ST-T1", true, "heard"), p.linkIs(t, "ST-BASE", true, "connected"))
	})
	base.snap()
	eventually(t, 10*time.Second, func() error {
		return errors.Join(p.linkIs(t, "ST-BASE", false, "lost"), p.linkIs(t, "ST-T1", false, "station_lost"), p.linkIs(t, "ST-T2", false, "silent"))
	})
	base = breakableWith(t, p, "ST-BASE", h.secrets["ST-BASE"], nil)
	report("ST-T1")
	eventually(t, 10*time.Second, func() error {
		return errors.Join(
			wasPresent(db, "ST-BASE", "true:connected false:lost true:connected"),
			hasValues(db.of("presence", "ST-T1"), "cause", "heard station_lost heard"),
			hasValues(db.of("presence", "ST-T1"), "station", strings.TrimSpace(strings.Repeat("ST-BASE ", 3))),
			wasPresent(db, "ST-T2", "true:heard false:silent"))
	})
	p.conserved(t)
}
