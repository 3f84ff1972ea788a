package registry_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"aftercare/internal/fleet"
	"aftercare/internal/obs"
	"aftercare/internal/registry"
	"aftercare/internal/store"
)

// process is one process on the installation in dir: a registry over a store of its own.
type process struct {
	*registry.Registry
	reg *prometheus.Registry
}

func start(t *testing.T, dir string, now func() time.Time) process {
	t.Helper()
	p, err := tryStart(t, dir, now)
	must(t, err)
	return p
}

func tryStart(t testing.TB, dir string, now func() time.Time, change ...func(*registry.Deps)) (process, error) {
	t.Helper()
	scfg := store.DefaultConfig()
	scfg.Path = filepath.Join(dir, "x.db")
	s, err := store.Open(t.Context(), scfg, obs.Discard())
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	cfg := registry.DefaultConfig()
	cfg.KeyFile = filepath.Join(dir, "registry.key")
	reg := prometheus.NewRegistry()
	d := registry.Deps{Store: s, Models: []fleet.Model{
		{ID: "washer-w7", Category: "washing-machine"}, {ID: "base-b4", Category: "base-station"}, {ID: "drill-d18", Category: "cordless-drill"}},
		Log: obs.Discard(), Registerer: reg, Now: now}
	for _, c := range change {
		c(&d)
	}
	r, err := registry.New(t.Context(), cfg, d)
	return process{r, reg}, err
}

func startFuzz(t testing.TB) process {
	t.Helper()
	p, err := tryStart(t, t.TempDir(), nil)
	must(t, err)
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func key(serial string) fleet.DeviceKey { return fleet.DeviceKey{Tenant: "demo", Serial: serial} }

func washer(serial string) fleet.Device { return fleet.Device{Key: key(serial), Model: "washer-w7"} }

func admit(t *testing.T, p process, serial, secret string) {
	t.Helper()
	if l, err := p.Authenticate(t.Context(), "demo/"+serial, secret); err != nil || l != (fleet.Login{Key: key(serial)}) {
		t.Fatalf("%s was not let in: %v, %v", serial, l, err)
	}
}

func deny(t *testing.T, p process, username, secret string) {
	t.Helper()
	if l, err := p.Authenticate(t.Context(), username, secret); fleet.CodeOf(err) != fleet.CodeDenied || l != (fleet.Login{}) {
		t.Fatalf("%s with %q: %v, %v", username, secret, l, err)
	}
}

func TestADeviceLogsInWithItsSecretOnly(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	secret, err := p.Register(t.Context(), washer("WM-1"))
	must(t, err)
	other, err := p.Register(t.Context(), washer("WM-2"))
	must(t, err)
	if len(secret) < 26 || secret == other {
		t.Fatalf("secrets %q and %q", secret, other)
	}
	admit(t, p, "WM-1", secret)
	deny(t, p, "demo/WM-1", other)
	deny(t, p, "demo/WM-1", "")
	deny(t, p, "demo/WM-1", strings.ToLower(secret))
	deny(t, p, "demo/WM-1", strings.Repeat("x", 10_000))
	deny(t, p, "demo/WM-3", secret)
	deny(t, p, "rival/WM-1", secret)
	deny(t, p, "WM-1", secret)
	deny(t, p, "demo/WM-1/x", secret)
	want := map[string]float64{"ok": 1, "wrong_secret": 2, "unknown_device": 2, "malformed": 4}
	for result, n := range want {
		got := counter(t, p, result)
		if got != n {
			t.Errorf("counted %v of %s, want %v", got, result, n)
		}
	}
	d, ok := p.Device(key("WM-1"))
	if !ok || d.Category != "washing-machine" {
		t.Errorf("device %+v", d)
	}
}

func counter(t *testing.T, p process, result string) float64 {
	t.Helper()
	families, err := p.reg.Gather()
	must(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "aftercare_registry_logins_total" && l.GetValue() == result {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

func TestNothingOfASecretIsOnDisk(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	secret, err := p.Register(t.Context(), washer("WM-1"))
	must(t, err)
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		if strings.Contains(string(text), secret) {
			t.Errorf("%s holds the secret", e.Name())
		}
		if st, _ := e.Info(); st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v", e.Name(), st.Mode())
		}
	}
	admit(t, start(t, dir, nil), "WM-1", secret) // after a restart
}

func TestWithoutItsKeyTheRegistryRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil)
	_, err := p.Register(t.Context(), washer("WM-1"))
	must(t, err)
	file := filepath.Join(dir, "registry.key")
	text, err := os.ReadFile(file)
	must(t, err)
	must(t, os.Remove(file))
	if _, err := tryStart(t, dir, nil); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("missing: %v", err)
	}
	must(t, os.WriteFile(file, text[:10], 0o600))
	if _, err := tryStart(t, dir, nil); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged: %v", err)
	}
	must(t, os.WriteFile(file, text, 0o600))
	must(t, os.Chmod(file, 0o644))
	if _, err := tryStart(t, dir, nil); err == nil || !strings.Contains(err.Error(), "others") {
		t.Errorf("open to others: %v", err)
	}
}

func TestTwoProcessesThatStartAtOnceShareOneKey(t *testing.T) {
	dir := t.TempDir()
	start(t, t.TempDir(), nil)
	secrets := make([]string, 2)
	procs := []process{start(t, dir, nil), start(t, dir, nil)}
	for i, p := range procs {
		var err error
		secrets[i], err = p.Register(t.Context(), washer(fmt.Sprint("WM-", i)))
		must(t, err)
	}
	must(t, procs[0].Refresh(t.Context()))
	admit(t, procs[0], "WM-1", secrets[1])
}

func TestRegisterRefuses(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	_, err := p.Register(t.Context(), washer("WM-1"))
	must(t, err)
	for name, c := range map[string]struct {
		d    fleet.Device
		code fleet.Code
		say  string
	}{
		"twice":      {washer("WM-1"), fleet.CodeConflict, "registered already"},
		"model":      {fleet.Device{Key: key("X"), Model: "x"}, fleet.CodeInvalid, `no profile of model "x"`},
		"name":       {fleet.Device{Key: key("a b"), Model: "washer-w7"}, fleet.CodeInvalid, `"demo/a b"`},
		"parent":     {fleet.Device{Key: key("X"), Model: "washer-w7", Parent: "none"}, fleet.CodeInvalid, `parent "none"`},
		"own parent": {fleet.Device{Key: key("X"), Model: "washer-w7", Parent: "X"}, fleet.CodeInvalid, `parent "X"`},
		"owner":      {fleet.Device{Key: key("X"), Model: "washer-w7", OwnerID: "p9"}, fleet.CodeInvalid, `owner "p9"`},
	} {
		if _, err := p.Register(t.Context(), c.d); fleet.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestImportKeepsCredentialsAndIsAllOrNothing(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	must(t, p.SavePeople(t.Context(), []fleet.Person{{ID: "p1", Tenant: "demo", Name: "Ada", Locale: "de-DE", Zone: "Europe/Berlin"}}))
	base := fleet.Device{Key: key("B-1"), Model: "base-b4", OwnerID: "p1"}
	drill := fleet.Device{Key: key("D-1"), Model: "drill-d18", Parent: "B-1"}
	first, err := p.Import(t.Context(), []fleet.Device{drill, base})
	must(t, err)
	if len(first) != 1 || first[key("B-1")] == "" {
		t.Fatalf("secrets %v: only the base station speaks for itself", first)
	}
	base.Name = "in the garage"
	second, err := p.Import(t.Context(), []fleet.Device{base, washer("WM-1")})
	must(t, err)
	if len(second) != 1 || second[key("WM-1")] == "" {
		t.Fatalf("secrets %v: only the new one gets one", second)
	}
	admit(t, p, "B-1", first[key("B-1")])
	if d, _ := p.Device(key("B-1")); d.Name != "in the garage" {
		t.Errorf("not updated: %+v", d)
	}
	if owner, ok := p.Owner(t.Context(), key("B-1")); !ok || owner.Name != "Ada" {
		t.Errorf("owner %v", owner)
	}
	if _, ok := p.Owner(t.Context(), key("WM-1")); ok {
		t.Error("an unclaimed device has an owner")
	}
	_, err = p.Import(t.Context(), []fleet.Device{washer("WM-2"), {Key: key("X"), Model: "none"}, washer("WM-2")})
	if err == nil || !strings.Contains(err.Error(), "none") || !strings.Contains(err.Error(), "twice") {
		t.Errorf("not every mistake is named: %v", err)
	}
	if _, ok := p.Device(key("WM-2")); ok {
		t.Error("half of an import was kept")
	}
}

func TestSpeaksFor(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	_, err := p.Import(t.Context(), []fleet.Device{{Key: key("B-1"), Model: "base-b4"}, {Key: key("D-1"), Model: "drill-d18", Parent: "B-1"},
		{Key: key("D-2"), Model: "drill-d18", Parent: "B-1"}, washer("WM-1")})
	must(t, err)
	must(t, p.Revoke(t.Context(), key("D-2")))
	for _, c := range []struct {
		identity fleet.DeviceKey
		serial   string
		want     bool
	}{
		{key("B-1"), "B-1", true}, {key("B-1"), "D-1", true}, {key("B-1"), "D-2", false}, {key("B-1"), "WM-1", false},
		{key("D-1"), "B-1", false}, {key("WM-1"), "WM-1", true}, {key("WM-1"), "none", false},
		{fleet.DeviceKey{Tenant: "rival", Serial: "B-1"}, "D-1", false}, {fleet.DeviceKey{}, "WM-1", false}, {key(""), "WM-1", false},
	} {
		if got := p.SpeaksFor(c.identity, c.serial); got != c.want {
			t.Errorf("%v for %s: %v", c.identity, c.serial, got)
		}
	}
}

func TestRotationAndRevocation(t *testing.T) {
	clock := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	p := start(t, t.TempDir(), func() time.Time { clock = clock.Add(time.Minute); return clock })
	var cut []fleet.DeviceKey
	p.OnRevoke(func(k fleet.DeviceKey) { cut = append(cut, k) })
	first, err := p.Register(t.Context(), washer("WM-1"))
	must(t, err)
	second, err := p.Rotate(t.Context(), key("WM-1"))
	must(t, err)
	admit(t, p, "WM-1", first)
	admit(t, p, "WM-1", second)
	if len(cut) != 0 {
		t.Fatalf("a rotation that takes nothing away ended sessions: %v", cut)
	}
	third, err := p.Rotate(t.Context(), key("WM-1"))
	must(t, err)
	deny(t, p, "demo/WM-1", first)
	admit(t, p, "WM-1", second)
	must(t, p.FinishRotation(t.Context(), key("WM-1")))
	deny(t, p, "demo/WM-1", second)
	admit(t, p, "WM-1", third)
	must(t, p.Revoke(t.Context(), key("WM-1")))
	deny(t, p, "demo/WM-1", third)
	if len(cut) != 3 {
		t.Errorf("sessions ended %d times, want 3", len(cut))
	}
	if _, err := p.Rotate(t.Context(), key("WM-1")); fleet.CodeOf(err) != fleet.CodeInvalid {
		t.Errorf("rotate after revocation: %v", err)
	}
	if s, err := p.Import(t.Context(), []fleet.Device{washer("WM-1")}); err != nil || len(s) != 0 {
		t.Errorf("an import takes a revoked device back: %v, %v", s, err)
	}
	again, err := p.Register(t.Context(), washer("WM-1"))
	must(t, err)
	admit(t, p, "WM-1", again)
	deny(t, p, "demo/WM-1", third)
	for _, err := range []error{p.Revoke(t.Context(), key("none")), func() error { _, err := p.Rotate(t.Context(), key("none")); return err }()} {
		if fleet.CodeOf(err) != fleet.CodeNotFound {
			t.Errorf("unknown device: %v", err)
		}
	}
}

func TestAnotherProcessRegistersADevice(t *testing.T) {
	dir := t.TempDir()
	clock := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	server, tool := start(t, dir, func() time.Time { return clock }), start(t, dir, nil)
	secret, err := tool.Register(t.Context(), washer("WM-1"))
	must(t, err)
	admit(t, server, "WM-1", secret) // the miss makes it look

	secret, err = tool.Register(t.Context(), washer("WM-2"))
	must(t, err)
	deny(t, server, "demo/WM-2", secret) // not more than once a second
	clock = clock.Add(time.Second)
	admit(t, server, "WM-2", secret)
}

func TestRunSeesWhatAnotherProcessRevokes(t *testing.T) {
	dir := t.TempDir()
	server, tool := start(t, dir, nil), start(t, dir, nil)
	secret, err := tool.Register(t.Context(), washer("WM-1"))
	must(t, err)
	admit(t, server, "WM-1", secret)
	must(t, tool.Revoke(t.Context(), key("WM-1")))
	synctest.Test(t, func(t *testing.T) {
		// The store's connections were opened outside the bubble and are used without waiting, so only Run's clock is virtual.
		cut := make(chan fleet.DeviceKey, 1)
		server.OnRevoke(func(k fleet.DeviceKey) { cut <- k })
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- server.Run(ctx) }()
		if k := <-cut; k != key("WM-1") {
			t.Errorf("session of %v ended", k)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	deny(t, server, "demo/WM-1", secret)
}

func TestReadersWhileTheFleetGrows(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	secret, err := p.Register(t.Context(), washer("WM-0"))
	must(t, err)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := p.Authenticate(t.Context(), "demo/WM-0", secret); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 10 {
		ds := make([]fleet.Device, 0, 200)
		for j := range 200 {
			ds = append(ds, washer(fmt.Sprintf("N-%d-%d", i, j)))
		}
		_, err := p.Import(t.Context(), ds)
		must(t, err)
	}
	close(stop)
	wg.Wait()
	n := 0
	for range p.Devices {
		n++
	}
	want := "# HELP aftercare_registry_devices Registered devices, revoked ones included.\n# TYPE aftercare_registry_devices gauge\naftercare_registry_devices 2001\n"
	if err := testutil.GatherAndCompare(p.reg, strings.NewReader(want), "aftercare_registry_devices"); err != nil || n != 2001 {
		t.Errorf("%d devices: %v", n, err)
	}
}

func TestLookUpsAllocateNothing(t *testing.T) {
	p := start(t, t.TempDir(), nil)
	_, err := p.Register(t.Context(), washer("WM-0"))
	must(t, err)
	k := key("WM-0")
	if n := testing.AllocsPerRun(100, func() { p.Device(k); p.SpeaksFor(k, "WM-0"); p.Model("washer-w7") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
